//! Protobuf's mapping of JSON, judged by Google's implementation in Python and by protobuf-es, both ways: texts as clients may
//! write them, right and wrong ones, and messages at random. Where both are of one mind, the gateway has to be.

use serde_json::Value;

use super::{super::harness::python, *};

/// How many texts and messages both judges are of one mind about, at least.
const JUDGED_MIN: u64 = 700;

#[test]
fn texts_and_messages_mean_what_they_mean_to_two_implementations_of_others() {
    let port = free_port();
    let gateway = started(&format!("127.0.0.1:{port}"), "descriptorSet: \"SET\"", "");
    let folder = tempfile::tempdir().expect("a folder");
    let (set, rows) = (folder.path().join("greeter.binpb"), folder.path().join("rows"));
    fs::write(&set, SET).expect("a file");
    let (set, rows) = (set.display().to_string(), rows.display().to_string());
    let arguments = [&*gateway.address.to_string(), &port.to_string(), &set, &rows];
    let (ended_well, text) = Peer::start(python(include_str!("judge.py"), &arguments)).finish();
    assert!(ended_well, "{text}\n{}", gateway.stderr());
    let judge = rpc_client("judge", include_str!("judge.mjs"), &[&set, &rows]);
    let (ended_well, text) = Peer::start(judge).finish();
    let verdicts: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let wrong: Vec<&Value> = verdicts.iter().filter(|verdict| verdict["wrong"].is_object()).collect();
    assert!(ended_well && wrong.is_empty(), "{} are wrong: {wrong:#?}", wrong.len());
    let judged = verdicts.last().and_then(|verdict| verdict["judged"].as_u64());
    assert!(judged >= Some(JUDGED_MIN), "{judged:?}");
}
