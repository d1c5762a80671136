//! How Redis is connected to: one server, the primary that sentinels name, or a cluster.

use std::{sync::Arc, time::Duration};

use ::redis::{
    AsyncConnectionConfig, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates, TlsMode,
    cluster::ClusterClient,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use model::{EndpointAddress, Snapshot, resource::redis::Redis};

use super::{Connection, Link};

/// All that is needed to connect, secrets included.
pub(crate) struct Connecting {
    way: Way,
    names: Vec<String>,
    addresses: Vec<ConnectionAddr>,
    username: Option<String>,
    password: Option<String>,
    database: i64,
    certificates: Option<TlsCertificates>,
    connections: usize,
    timeout: Duration,
    connect_timeout: Duration,
}

enum Way {
    One,
    Cluster,
    Sentinel { master: String, username: Option<String>, password: Option<String> },
}

impl Connecting {
    pub(crate) fn of(settings: &Redis, snapshot: &Snapshot) -> Self {
        let text = |secret: &model::Secret| snapshot.secret(secret).to_owned();
        let way = match &settings.sentinel {
            Some(sentinel) => Way::Sentinel {
                master: sentinel.master.clone(),
                username: sentinel.username.clone(),
                password: sentinel.password.as_ref().map(text),
            },
            None if settings.cluster => Way::Cluster,
            None => Way::One,
        };
        let certificates = settings.tls.as_ref().map(|tls| {
            let pem = |path: &model::FilePath| snapshot.file(path).to_vec();
            let client_tls = tls.cert_file.as_ref().zip(tls.key_file.as_ref());
            TlsCertificates {
                client_tls: client_tls.map(|(certificate, key)| ClientTlsConfig {
                    client_cert: pem(certificate),
                    client_key: pem(key),
                }),
                root_cert: tls.ca_file.as_ref().map(pem),
            }
        });
        Self {
            way,
            names: settings.addresses.iter().map(ToString::to_string).collect(),
            addresses: settings.addresses.iter().map(|one| address(one, settings.tls.is_some())).collect(),
            username: settings.username.clone(),
            password: settings.password.as_ref().map(text),
            database: i64::from(settings.database),
            certificates,
            connections: settings.connections.clamp(1, 64),
            timeout: settings.timeout.get(),
            connect_timeout: settings.connect_timeout.get(),
        }
    }

    pub(super) fn addresses(&self) -> &[String] {
        &self.names
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.way, Way::Cluster)
    }

    /// Whether all of it can be understood; nothing is sent.
    pub(crate) fn check(&self) -> Result<(), String> {
        match &self.way {
            Way::Cluster => self.cluster().map(drop),
            Way::Sentinel { .. } => self.sentinel().map(drop),
            Way::One => self.one().map(drop),
        }
        .map_err(|error| error.to_string())
    }

    /// Connects, within the time that there is for it.
    pub(super) async fn connect(&self) -> Result<Link, String> {
        let connecting = async {
            let all = match &self.way {
                Way::Cluster => vec![Connection::Cluster(self.cluster()?.get_async_connection().await?)],
                Way::One => {
                    let (client, waiting) = (self.one()?, self.waiting());
                    let mut all = Vec::with_capacity(self.connections);
                    for _ in 0..self.connections {
                        let one = client.get_multiplexed_async_connection_with_config(&waiting);
                        all.push(Connection::One(one.await?));
                    }
                    all
                }
                Way::Sentinel { .. } => {
                    let (mut client, waiting) = (self.sentinel()?, self.waiting());
                    let mut all = Vec::with_capacity(self.connections);
                    for _ in 0..self.connections {
                        let one = client.get_async_connection_with_config(&waiting);
                        all.push(Connection::One(one.await?));
                    }
                    all
                }
            };
            let link = Link { all, next: Default::default() };
            Ok::<_, RedisError>(link)
        };
        let link = match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(link) => link.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("not connected within {:?}", self.connect_timeout)),
        };
        match tokio::time::timeout(self.timeout, link.answers()).await {
            Ok(answered) => answered.map(|()| link),
            Err(_) => Err(format!("connected, and no answer within {:?}", self.timeout)),
        }
    }

    fn waiting(&self) -> AsyncConnectionConfig {
        // Who asks bounds the answer; this one ends what nobody waits for any more.
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.timeout * 2))
    }

    fn spoken(&self) -> RedisConnectionInfo {
        let mut spoken = RedisConnectionInfo::default().set_db(self.database);
        if let Some(username) = &self.username {
            spoken = spoken.set_username(username);
        }
        if let Some(password) = &self.password {
            spoken = spoken.set_password(password);
        }
        spoken
    }

    fn info(&self, address: &ConnectionAddr) -> Result<ConnectionInfo, RedisError> {
        Ok(address.clone().into_connection_info()?.set_redis_settings(self.spoken()))
    }

    fn one(&self) -> Result<::redis::Client, RedisError> {
        let Some(address) = self.addresses.first() else {
            return Err(RedisError::from((::redis::ErrorKind::InvalidClientConfig, "no address")));
        };
        let info = self.info(address)?;
        match &self.certificates {
            Some(certificates) => ::redis::Client::build_with_tls(info, certificates.clone()),
            None => ::redis::Client::open(info),
        }
    }

    fn cluster(&self) -> Result<ClusterClient, RedisError> {
        let nodes: Result<Vec<_>, _> = self.addresses.iter().map(|address| self.info(address)).collect();
        let mut builder = ClusterClient::builder(nodes?)
            .connection_timeout(self.connect_timeout)
            .response_timeout(self.timeout * 2)
            .retries(1);
        if let Some(certificates) = &self.certificates {
            builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
        }
        builder.build()
    }

    fn sentinel(&self) -> Result<::redis::sentinel::SentinelClient, RedisError> {
        let Way::Sentinel { master, username, password } = &self.way else {
            return Err(RedisError::from((::redis::ErrorKind::InvalidClientConfig, "no sentinel")));
        };
        let mut builder =
            SentinelClientBuilder::new(self.addresses.clone(), master, SentinelServerType::Master)?
                .set_client_to_redis_db(self.database);
        if let Some(username) = &self.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(username) = username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }
}

fn address(address: &EndpointAddress, has_tls: bool) -> ConnectionAddr {
    let (host, port) = match address {
        EndpointAddress::Ip(ip, port) => (ip.to_string(), *port),
        EndpointAddress::Name(name, port) => (name.clone(), *port),
        EndpointAddress::Unix(path) => return ConnectionAddr::Unix(path.clone()),
    };
    match has_tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

/// What a client is kept by over reloads: its settings, and what its secrets are now.
pub(crate) fn identity(settings: &Redis, snapshot: &Snapshot) -> (Redis, Vec<u8>) {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let sentinel = settings.sentinel.as_ref().and_then(|sentinel| sentinel.password.as_ref());
    for secret in settings.password.iter().chain(sentinel) {
        let text = snapshot.secret(secret);
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let files = settings.tls.iter().flat_map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]);
    files.flatten().for_each(|path| context.update(&snapshot.file(path)));
    (settings.clone(), context.finish().as_ref().to_vec())
}

/// A client for these settings, which does not connect yet.
pub(crate) fn client(settings: &Redis, snapshot: &Snapshot) -> Arc<super::Client> {
    Arc::new(super::Client::new(Connecting::of(settings, snapshot), settings.timeout.get()))
}
