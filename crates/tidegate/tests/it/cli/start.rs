//! Starting without a file, and what else the command line promises.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
};

use super::super::harness::{eventually, get, run, run_with};

#[test]
fn without_a_file_there_is_a_page_that_says_what_to_do_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "--data-dir"])
        .arg(folder.path().join("data"))
        .env_remove("TIDEGATE_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.path().join("stderr")).expect("a file"))
        .spawn()
        .expect("the binary starts");
    let told = || fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
    // The usual port, or the next free one: what is said is where it is.
    let address = |before: &str| -> Option<std::net::SocketAddr> {
        let text = told();
        let rest = text.split(before).nth(1)?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    let mut page = None;
    eventually("the page", || {
        page = address("listening on http://").and_then(|address| get(address, "/"));
        page.is_some()
    });
    let page = page.expect("an answer");
    assert_eq!(page.status, 200);
    for part in ["tidegate schema", "tidegate validate --config", "tidegate run --config"] {
        assert!(page.text().contains(part), "lacks {part:?}: {}", page.text());
    }
    let admin = address("admin endpoint on http://").expect("an address");
    assert_eq!(get(admin, "/readyz").expect("an answer").status, 200);
    assert!(page.text().contains(&format!("http://{admin}/readyz")), "{}", page.text());
    assert!(told().contains("no --config was given"), "{}", told());
    let _ = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
    assert!(child.wait().expect("an end").success(), "{}", told());
}

#[test]
fn every_command_explains_itself_and_completions_know_it() {
    let (_, help, _) = run(&["--help"]);
    let (_, bash, _) = run(&["completions", "bash"]);
    for command in ["run", "validate", "schema", "routes", "diff", "fmt", "version", "completions"] {
        assert!(help.contains(&format!("  {command}")), "{help}");
        assert_eq!(run(&[command, "--help"]).0, 0, "{command}");
        assert!(bash.contains(command), "{command}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run(&["completions", shell]).1.contains("tidegate"), "{shell}");
    }
    assert_eq!(run(&["completions", "cmd"]).0, 2);
}

#[test]
fn the_environment_stands_in_for_options_and_tokens_are_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, "listeners: [{name: public, address: \"127.0.0.1:8080\"}]\n").expect("a file");
    let shown = path.display().to_string();
    assert_eq!(
        run_with(&["validate"], &[("TIDEGATE_CONFIG", &shown)]).1,
        "ok: 1 listener, 0 routes, 0 upstreams, 0 consumers\n"
    );
    let (_, help, _) = run_with(&["run", "--help"], &[("TIDEGATE_ADMIN_TOKEN", "a-token-of-the-test")]);
    assert!(help.contains("TIDEGATE_ADMIN_TOKEN") && !help.contains("a-token-of-the-test"), "{help}");
}

#[test]
fn a_schema_that_is_cut_off_by_its_reader_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("schema")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut first = [0; 1];
    child.stdout.take().expect("output").read_exact(&mut first).expect("a byte");
    let output = child.wait_with_output().expect("an end");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn formatting_keeps_blocks_of_text_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let text = "#top\nroutes:   \n  - name: r # the one\n    respond:\n      body: |\n        #not a comment\n\n\n        end\n";
    fs::write(&path, text).expect("a file");
    let shown = path.display().to_string();
    let (code, out, problems) = run(&["fmt", &shown]);
    assert_eq!((code, out.contains("formatted")), (0, true), "{problems}");
    let now = fs::read_to_string(&path).expect("a file");
    assert!(
        now.contains("#not a comment\n\n\n        end")
            && now.contains("# the one")
            && now.contains("routes:\n"),
        "{now}"
    );
    assert_eq!(run(&["fmt", "--check", &shown]).0, 0);
    fs::write(&path, "a: [\n").expect("a file");
    assert_eq!(run(&["fmt", &shown]).0, 3);
    assert_eq!(run(&["fmt", "/no/such/file.yaml"]).0, 1);
}

#[test]
fn a_log_level_that_is_none_is_a_wrong_command_line() {
    let (code, _, problems) = run(&["run", "--log-level", "loud"]);
    assert!(code == 2 && problems.contains("loud"), "{code} {problems}");
}

#[test]
fn the_digest_of_a_password_is_no_literal_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    let validate = |password: &str| {
        let basic = format!("[{{username: u, password: '{password}'}}]");
        fs::write(&path, format!("listeners: []\nconsumers: [{{name: c, basic: {basic}}}]\n"))
            .expect("a file");
        run(&["validate", "-c", &path.display().to_string()])
    };
    let (code, out, problems) = validate(&format!("sha256:{}", "0a".repeat(32)));
    assert_eq!(
        (code, out.as_str()),
        (0, "ok: 0 listeners, 0 routes, 0 upstreams, 1 consumer\n"),
        "{problems}"
    );
    assert!(!problems.contains("literal secret"), "{problems}");
    for literal in ["a-password-of-the-test", "sha256:short"] {
        assert!(validate(literal).2.contains("literal secret"), "{literal}");
    }
}
