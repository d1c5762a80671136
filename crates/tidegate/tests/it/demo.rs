//! `scripts/demo.sh`: what it says, and that it leaves nothing behind, however it ends.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Once,
};

use ai::dialect::Dialect;

use super::{
    ai::parrot,
    harness::{eventually, free_port, get, pause},
    tidy::root,
};

/// A demo on ports and in a folder of its own, without a terminal; ended with the test.
struct Demo {
    child: Child,
    folder: tempfile::TempDir,
    /// Gateway, admin, catalog-1, catalog-2, orders, provider.
    ports: [u16; 7],
}

/// The folder with the gateway's binary; the shop's and the provider's are built beside it.
fn binaries() -> PathBuf {
    static BUILT: Once = Once::new();
    let folder = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().expect("a folder").to_owned();
    BUILT.call_once(|| {
        // All at once, as the demo does: features of what they share are those of all of them.
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet"])
            .args(["--package", "tidegate", "--package", "tidegate-mock-provider", "--package", "shop"])
            .current_dir(root())
            .env("CARGO_TARGET_DIR", folder.parent().expect("a folder"))
            .status();
        assert!(status.expect("cargo runs").success(), "the demo's programs do not build");
    });
    folder
}

impl Demo {
    /// Starts it with these binaries.
    fn with(binaries: &Path) -> Self {
        Self::start([(); 7].map(|()| free_port()), |command| {
            command.env("TIDEGATE_DEMO_BIN", binaries);
        })
    }

    fn start(ports: [u16; 7], prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name| fs::File::create(folder.path().join(name)).expect("a file");
        let mut command = Command::new(root().join("scripts/demo.sh"));
        command
            .env("TIDEGATE_DEMO_PORTS", ports.map(|port| port.to_string()).join(" "))
            .env("TIDEGATE_DEMO_DATA", folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"));
        prepare(&mut command);
        Self { child: command.spawn().expect("the script starts"), folder, ports }
    }

    /// The same, once it says that all is there.
    fn running() -> Self {
        let mut demo = Self::with(&binaries());
        demo.runs();
        demo
    }

    /// Waits until it says that all is there.
    fn runs(&mut self) {
        eventually("the banner", || {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the demo ended with {status}: {}", self.err());
            }
            self.out().contains("Ctrl-C ends everything.\n")
        });
    }

    fn out(&self) -> String {
        fs::read_to_string(self.folder.path().join("out")).expect("text")
    }

    fn err(&self) -> String {
        fs::read_to_string(self.folder.path().join("err")).expect("text")
    }

    /// The process of this name.
    fn pid(&self, name: &str) -> u32 {
        let text = fs::read_to_string(self.folder.path().join(format!("data/{name}.pid")));
        text.expect("a file").trim().parse().expect("a number")
    }

    fn pids(&self) -> [u32; 5] {
        ["catalog-1", "catalog-2", "orders", "provider", "gateway"].map(|name| self.pid(name))
    }

    /// Waits for the end of the script, after which none of these processes is there and all ports are free.
    fn ended(&mut self, started: &[u32]) -> ExitStatus {
        // What does not end when it is asked is given ten seconds; a busy machine takes longer for all of it.
        let mut status = None;
        for _ in 0..6_000 {
            status = self.child.try_wait().expect("a child");
            if status.is_some() {
                break;
            }
            pause(10);
        }
        for pid in started {
            assert!(!is_running(*pid), "{pid} is left: {}", self.err());
        }
        for port in self.ports {
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "somebody listens on {port}");
        }
        status.expect("the end of the demo")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal("TERM", self.child.id());
        }
        // It takes ten seconds at most to end what it has started.
        for _ in 0..1_500 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause(10);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.expect("kill runs").success());
}

/// Whether there is such a process, other than one that has ended and waits for its parent to notice.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A program that a test puts in the place of another.
fn program(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

#[test]
fn taken_ports_are_named_and_nothing_is_started() {
    let ports = [(); 7].map(|()| free_port());
    let taken = [ports[1], ports[3]].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a port"));
    let binaries = binaries();
    let mut demo = Demo::start(ports, |command| {
        command.env("TIDEGATE_DEMO_BIN", &binaries);
    });
    assert_eq!(demo.child.wait().expect("an end").code(), Some(1));
    let words = format!("the ports {} {} of 127.0.0.1 are taken", ports[1], ports[3]);
    assert!(demo.err().contains(&words), "{}", demo.err());
    assert!(!demo.folder.path().join("data").exists(), "nothing was begun");
    drop(taken);
    assert_eq!(demo.ended(&[]).code(), Some(1));
}

#[test]
fn a_folder_that_holds_what_no_demo_wrote_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("thesis"), "years of work").expect("a file");
    let none = tempfile::tempdir().expect("a folder");
    let mut demo = Demo::start([(); 7].map(|()| free_port()), |command| {
        command.env("TIDEGATE_DEMO_DATA", folder.path()).env("TIDEGATE_DEMO_BIN", none.path());
    });
    assert_eq!(demo.child.wait().expect("an end").code(), Some(1));
    assert!(folder.path().join("thesis").exists(), "deleted: {}", demo.err());
    assert!(demo.err().contains("TIDEGATE_DEMO_DATA"), "{}", demo.err());
}

#[test]
fn sigterm_and_sigint_end_all_that_was_started() {
    for name in ["TERM", "INT", "HUP"] {
        let mut demo = Demo::running();
        let started = demo.pids();
        signal(name, demo.child.id());
        assert_eq!(demo.ended(&started).code(), Some(0), "{name}: {}", demo.err());
        let left = fs::read_dir(demo.folder.path().join("data")).expect("a folder").flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".pid")), "{left:?}");
    }
}

#[test]
fn the_banner_tells_addresses_and_fourteen_commands_without_a_terminal() {
    let demo = Demo::running();
    let out = demo.out();
    for port in demo.ports {
        assert!(out.contains(&format!("://127.0.0.1:{port}")), "{port}: {out}");
    }
    let mut lines = out.lines();
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("  # ") {
            commands.push(lines.next().expect("a command").trim());
        }
    }
    assert_eq!(commands.len(), 14, "{out}");
    // What is printed works as it is printed, in the repository's folder.
    for (command, words) in commands.iter().zip([
        "\"Sea chart\",\"price\":1890",
        "\"currency\":\"EUR\"",
        "429",
        "200 200 200 200 200 200 200 200",
        "keyAuth",
        "x-tidegate-provider: provider",
        "event: message_stop … x-tidegate-cost: ",
        "x-tidegate-cost: ",
        "\"tidegate/receipt\":{",
        "\"greeting\":\"Welcome aboard\"",
        "data: {",
        "route=\"products\"",
        "tidegate; hit",
        "\"duplicate\":true",
    ]) {
        let output = Command::new("bash").args(["-c", command]).current_dir(root()).output().expect("bash");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        says(command, &said, words);
    }
    // The outage among them was a service that was asked to end.
    eventually("a word about it", || demo.out().contains("catalog-1 was asked to end; the others go on"));
    eventually("its number is forgotten", || !demo.folder.path().join("data/catalog-1.pid").exists());
    assert_eq!(get(([127, 0, 0, 1], demo.ports[0]).into(), "/ping").expect("an answer").status, 200);
}

#[test]
fn the_things_of_the_readme_do_what_they_say() {
    let demo = Demo::running();
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let section = readme.split("## Things to try").nth(1).expect("the section");
    let block = section.split("```sh\n").nth(1).expect("commands").split("```").next().expect("commands");
    let commands: Vec<_> = block.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(commands.len(), 13, "{block}");
    let (data, bin) = (demo.folder.path().join("data"), binaries());
    for (command, words) in commands.into_iter().zip([
        "\"Sea chart\",\"price\":1890",
        "429",
        "200 200 200 200 200 200 200 200",
        "keyAuth",
        "x-tidegate-cost: ",
        "event: message_stop … x-tidegate-cost: ",
        "{\"text\":",
        "\"serverInfo\":{",
        "\"greeting\":\"Welcome aboard\"",
        "data: {",
        "tidegate; hit",
        "\"duplicate\":true",
        "EXPOSED: GET,HEAD */v1/products/*",
    ]) {
        let command = command
            .replace(":8080", &format!(":{}", demo.ports[0]))
            .replace(":9080", &format!(":{}", demo.ports[1]))
            .replace("target/demo", &data.display().to_string())
            .replace("target/debug", &bin.display().to_string())
            .replace("examples/shop", &data.display().to_string());
        let output = Command::new("bash").args(["-c", &command]).current_dir(root()).output().expect("bash");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        says(&command, &said, words);
    }
}

/// These words, one after the other.
fn says(command: &str, said: &str, words: &str) {
    let mut rest = said;
    for word in words.split(" … ") {
        let Some(at) = rest.find(word) else { panic!("`{command}` said {said:?}, not {words:?}") };
        rest = &rest[at..];
    }
}

#[test]
fn with_a_vendors_key_the_model_is_that_vendors() {
    for (name, written) in [
        ("OPENAI_API_KEY", "kind: openai, keys: [{env: OPENAI_API_KEY}]"),
        ("ANTHROPIC_API_KEY", "kind: anthropic, keys: [{env: ANTHROPIC_API_KEY}]"),
        ("GEMINI_API_KEY", "kind: gemini, keys: [{env: GEMINI_API_KEY}]"),
    ] {
        let mut demo = Demo::start([(); 7].map(|()| free_port()), |command| {
            command
                .env("TIDEGATE_DEMO_BIN", binaries())
                .env(name, "no-real-key")
                .env("TIDEGATE_DEMO_MODEL", "some/model&more|");
        });
        demo.runs();
        let config = fs::read_to_string(demo.folder.path().join("data/tidegate.yaml")).expect("a file");
        assert!(config.contains(written), "{config}");
        assert!(config.contains("model: 'some/model&more|'") && !config.contains("model: mock"), "{config}");
        assert!(!config.contains("prices:"), "they are those of the catalogue: {config}");
    }
}

#[test]
fn with_a_vendors_key_what_the_demo_prints_asks_that_vendor() {
    for (name, dialect, base, model, shown) in [
        (
            "OPENAI_API_KEY",
            Dialect::OpenAiChat,
            "/v1",
            "gpt-4o-mini",
            ("authorization", "Bearer no-real-key"),
        ),
        ("ANTHROPIC_API_KEY", Dialect::Anthropic, "", "claude-haiku-4-5", ("x-api-key", "no-real-key")),
        ("GEMINI_API_KEY", Dialect::Gemini, "/v1beta", "gemini-2.5-flash", ("x-goog-api-key", "no-real-key")),
    ] {
        // The prompt wants JSON, and gets it.
        let vendor = parrot::provider(dialect, |request| {
            let is_prompt = format!("{:?}", request.messages).contains("Sea chart");
            parrot::says(match is_prompt {
                true => r#"{"text": "The sea, drawn flat."}"#,
                false => "The sea goes up and down.",
            })
        });
        let mut demo = Demo::start([(); 7].map(|()| free_port()), |command| {
            command
                .env("TIDEGATE_DEMO_BIN", binaries())
                .env(name, "no-real-key")
                .env("TIDEGATE_DEMO_BASE_URL", format!("http://{}{base}", vendor.address));
        });
        demo.runs();
        let out = demo.out();
        let asks = |line: &&str| ["/ai/v1/", "/v1/describe", "/mcp "].iter().any(|path| line.contains(path));
        let commands = out.lines().filter(|line| line.contains("curl")).filter(asks);
        let mut asked = 0;
        for (command, words) in commands.zip([
            "x-tidegate-provider: ",
            "event: message_stop",
            r#"{"text":"The sea, drawn flat."}"#,
            r#""tidegate/receipt":{"#,
        ]) {
            let output =
                Command::new("bash").args(["-c", command]).current_dir(root()).output().expect("bash");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            says(command, &said, words);
            asked += 1;
            let seen = vendor.seen();
            assert_eq!(seen.len(), asked, "{name}: {seen:?}");
            let last = seen.last().expect("a request");
            assert_eq!(last.header(shown.0), Some(shown.1), "{name}");
            assert!(format!("{last:?}{}", String::from_utf8_lossy(&last.body)).contains(model), "{last:?}");
            assert!(!format!("{last:?}").contains("demo-key"), "{last:?}");
        }
        assert_eq!(asked, 4, "{out}");
    }
}

#[test]
fn a_process_that_breaks_ends_the_demo_and_is_named() {
    for (name, how, status) in [("orders", "KILL", 137), ("gateway", "TERM", 0)] {
        let mut demo = Demo::running();
        let started = demo.pids();
        signal(how, demo.pid(name));
        assert_eq!(demo.ended(&started).code(), Some(1), "{name}: {}", demo.err());
        assert!(demo.err().contains(&format!("demo: {name} ended with status {status}")), "{}", demo.err());
    }
}

#[test]
fn a_service_that_does_not_come_up_ends_the_demo_and_is_named_with_its_last_words() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["tidegate", "catalog"] {
        symlink(binaries().join(name), folder.path().join(name)).expect("a link");
    }
    program(&folder.path().join("orders"), "#!/bin/sh\necho the store is locked\nexit 3\n");
    let mut demo = Demo::with(folder.path());
    assert_eq!(demo.ended(&[]).code(), Some(1));
    assert!(demo.err().contains("the store is locked"), "{}", demo.err());
    assert!(demo.err().contains("demo: orders ended with status 3"), "{}", demo.err());
    assert!(!demo.out().contains("is running"), "{}", demo.out());
}

#[test]
fn sigterm_while_it_builds_ends_the_build_and_what_it_has_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display();
    let cargo = format!("#!/bin/sh\nsleep 600 &\necho $! > {at}/compiler\necho $$ > {at}/cargo\nwait\n");
    program(&folder.path().join("cargo"), &cargo);
    let path = format!("{at}:{}", std::env::var("PATH").expect("a path"));
    let mut demo = Demo::start([(); 7].map(|()| free_port()), |command| {
        command.env("PATH", path).env_remove("TIDEGATE_DEMO_BIN");
    });
    let pid = |name: &str| -> Option<u32> {
        fs::read_to_string(folder.path().join(name)).ok()?.trim().parse().ok()
    };
    eventually("a build", || pid("cargo").is_some());
    let started = [pid("cargo").expect("a number"), pid("compiler").expect("a number")];
    signal("TERM", demo.child.id());
    assert_eq!(demo.ended(&started).code(), Some(0), "{}", demo.err());
}
