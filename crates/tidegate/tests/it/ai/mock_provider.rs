//! The mock provider of the demo and of the benchmarks, spoken to by the official SDKs without a gateway between.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
    time::Instant,
};

use serde_json::{Value, json};

use super::{KEY, sdk};
use crate::{
    harness::{Peer, free_port, python},
    tidy::root,
};

const SDKS: [&str; 6] = ["openai-chat", "openai-responses", "anthropic", "gemini", "bedrock", "cohere"];

/// The program, built beside the gateway's.
fn binary() -> PathBuf {
    static BUILT: Once = Once::new();
    let folder = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().expect("a folder");
    BUILT.call_once(|| {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "tidegate-mock-provider"])
            .current_dir(root())
            .env("CARGO_TARGET_DIR", folder.parent().expect("a folder"))
            .status();
        assert!(status.expect("cargo runs").success(), "it does not build");
    });
    folder.join("mock-provider")
}

/// A mock provider with this conduct, and its address.
fn provider(conduct: &str) -> (Peer, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new(binary());
    command.args(["--listen", &address, "--conduct", conduct]);
    let mut peer = Peer::start(command);
    assert!(peer.line().is_some_and(|line| line.contains(&address)), "it listens");
    (peer, format!("http://{address}"))
}

/// What an SDK understood of these cases.
fn asked(base: &str, name: &str, cases: &[&str]) -> Vec<Value> {
    let mut program = sdk::in_python(&[&[name, base, KEY, "m-1"][..], cases].concat());
    program.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "secret");
    let (well, output) = Peer::start(program).finish();
    assert!(well, "{output}");
    output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_mock_provider_speaks_as_every_sdk_expects() {
    let (_peer, base) = provider("");
    for name in SDKS {
        for line in asked(&base, name, &["tide", "stream:tide", "image:tide"]) {
            assert_eq!(line["calls"], json!([["get_tide", {"port": "tide"}]]), "{name}: {line}");
            assert!(line["input"].as_u64() > Some(0) && line["output"].as_u64() > Some(0), "{name}: {line}");
        }
        let (well, output) =
            Peer::start(python(include_str!("features.py"), &[name, &base, KEY, "m-1"])).finish();
        assert!(well, "{output}");
        let told: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of = |case: &str| told.iter().find(|line| line[1] == case).map(|line| line[2].clone());
        assert_eq!(of("forced"), Some("get_wind".into()), "{name}: {output}");
        assert_eq!(of("parse"), Some(json!({"port": "tide", "height": 1})), "{name}: {output}");
        assert!(of("count").is_none_or(|counts| counts == true), "{name}: {output}");
        let said = of("document").map(|said| said.as_str().unwrap_or_default().to_owned());
        assert!(
            said.is_none_or(|said| said.starts_with("You said: feature: document tide gate")),
            "{name}: {output}"
        );
    }
}

#[test]
fn the_mock_provider_fails_as_it_is_told_to() {
    let (_slow, slow) = provider("ttft=300ms");
    let (_refuses, refuses) = provider("error=429");
    let (_breaks, breaks) = provider("cut=1");
    for name in SDKS {
        for line in asked(&refuses, name, &["tide", "stream:tide"]) {
            assert_eq!(line["status"], 429, "{name}: {line}");
        }
        for line in asked(&breaks, name, &["stream:tide"]) {
            assert!(line["error"].is_string(), "{name}: {line}");
        }
        let began = Instant::now();
        let lines = asked(&slow, name, &["tide", "stream:tide", "stream:tide", "stream:tide"]);
        assert!(lines.iter().all(|line| line["calls"][0][0] == "get_tide"), "{name}: {lines:?}");
        assert!(began.elapsed().as_millis() >= 1200, "{name}: {:?}", began.elapsed());
    }
}
