//! A directory of the test's own: Debian's `slapd` on private ports with temporary data, ended by pid.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::harness::{eventually, free_port, peers_folder};

/// People, groups, and who searches. `memberOf` is what the overlay of that name would keep.
const DATA: &str = "dn: dc=example,dc=test
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: ou=people,dc=example,dc=test
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=test
objectClass: organizationalUnit
ou: groups

dn: ou=clubs,dc=example,dc=test
objectClass: organizationalUnit
ou: clubs

dn: cn=gateway,dc=example,dc=test
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: gateway
userPassword: searcher-of-the-test

dn: uid=ann,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: ann
cn: Ann Example
sn: Example
mail: ann@example.test
userPassword: pass:word of ann
memberOf: cn=staff,ou=groups,dc=example,dc=test
memberOf: cn=admins,ou=groups,dc=example,dc=test
memberOf: cn=chess,ou=clubs,dc=example,dc=test

dn: uid=bob,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: bob
cn: Bob Example
sn: Example
userPassword: password-of-bob
memberOf: cn=admins,ou=clubs,dc=example,dc=test

dn: uid=j\\C3\\B6rg\\, (a*b),ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid:: asO2cmcsIChhKmIp
cn: Joerg
sn: Example
userPassword: password-of-joerg

dn: uid=nopass,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: nopass
cn: Nobody
sn: Example

dn: uid=twin,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: twin
cn: Twin
sn: Example
mail: twin@example.test
userPassword: password-of-twin

dn: uid=twin2,ou=people,dc=example,dc=test
objectClass: inetOrgPerson
uid: twin2
cn: Twin
sn: Example
mail: twin@example.test
userPassword: password-of-twin

dn: cn=staff,ou=groups,dc=example,dc=test
objectClass: groupOfNames
cn: staff
member: uid=ann,ou=people,dc=example,dc=test

dn: cn=admins,ou=groups,dc=example,dc=test
objectClass: groupOfNames
cn: admins
member: uid=ann,ou=people,dc=example,dc=test

dn: cn=chess,ou=clubs,dc=example,dc=test
objectClass: groupOfNames
cn: chess
member: uid=ann,ou=people,dc=example,dc=test

dn: cn=admins,ou=clubs,dc=example,dc=test
objectClass: groupOfNames
cn: admins
member: uid=bob,ou=people,dc=example,dc=test

dn: cn=elsewhere,ou=people,dc=example,dc=test
objectClass: extensibleObject
objectClass: referral
cn: elsewhere
ref: ldap://127.0.0.1:1/cn=elsewhere
";

/// A running directory; ends with the test.
pub struct Directory {
    child: Option<Child>,
    pub plain: SocketAddr,
    pub tls: SocketAddr,
    folder: tempfile::TempDir,
    pub ca: PathBuf,
}

fn home() -> PathBuf {
    let home = peers_folder().join("slapd");
    assert!(home.join("usr/sbin/slapd").exists(), "{} is missing: run scripts/peers.sh", home.display());
    // The server's own folder: it looks for modules and schemas where it is told.
    fs::canonicalize(home).expect("a folder")
}

fn program(name: &str) -> Command {
    let home = home();
    let mut command = Command::new(home.join("usr/sbin/slapd"));
    command.env("LD_LIBRARY_PATH", home.join("usr/lib/x86_64-linux-gnu"));
    if name == "slapadd" {
        command.arg("-T").arg("add");
    }
    command
}

impl Directory {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let ca = certificates(folder.path());
        fs::create_dir(at("data")).expect("a folder");
        let home = home();
        let schemas = ["core", "cosine", "inetorgperson"].map(|name| {
            format!("include {}\n", home.join(format!("etc/ldap/schema/{name}.schema")).display())
        });
        let settings = format!(
            "{}modulepath {}
moduleload back_mdb
moduleload memberof
TLSCertificateFile {}
TLSCertificateKeyFile {}
pidfile {}
database mdb
suffix \"dc=example,dc=test\"
rootdn \"cn=root,dc=example,dc=test\"
rootpw root-of-the-test
directory {}
access to attrs=userPassword by self write by anonymous auth by * none
access to dn.subtree=\"ou=people,dc=example,dc=test\" by self read by dn=\"cn=gateway,dc=example,dc=test\" read by * none
access to * by users read by * none
overlay memberof
",
            schemas.concat(),
            home.join("usr/lib/ldap").display(),
            at("server.pem").display(),
            at("server.key").display(),
            at("pid").display(),
            at("data").display(),
        );
        fs::write(at("slapd.conf"), settings).expect("a file");
        fs::write(at("data.ldif"), DATA).expect("a file");
        let added =
            program("slapadd").arg("-f").arg(at("slapd.conf")).arg("-l").arg(at("data.ldif")).output();
        let added = added.expect("slapadd runs");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut directory = Self { child: None, plain: address(), tls: address(), folder, ca };
        directory.up();
        directory
    }

    /// Starts the server on what is there.
    pub fn up(&mut self) {
        let child = program("slapd")
            .args(["-d", "0", "-h", &format!("ldap://{} ldaps://{}", self.plain, self.tls), "-f"])
            .arg(self.folder.path().join("slapd.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("slapd starts"));
        eventually("slapd listens", || {
            TcpStream::connect(self.plain).is_ok() && TcpStream::connect(self.tls).is_ok()
        });
    }

    /// Ends the server; its data stays.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.down();
    }
}

/// An authority, and a certificate of the server's for `localhost` and the loopback address.
fn certificates(folder: &Path) -> PathBuf {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let server =
        CertificateParams::new(names).expect("params").signed_by(&own, &issuer).expect("a certificate");
    let path = folder.join("ca.pem");
    fs::write(&path, ca.pem()).expect("a file");
    fs::write(folder.join("server.pem"), server.pem()).expect("a file");
    fs::write(folder.join("server.key"), own.serialize_pem()).expect("a file");
    path
}
