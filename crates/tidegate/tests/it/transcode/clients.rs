//! Official clients: Connect's for browsers and for Node, in both of its protocols, and Google's of gRPC-Web.

use super::*;

fn play(gateway: &Gateway, scenario: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let set = folder.path().join("greeter.binpb");
    fs::write(&set, SET).expect("a file");
    let arguments = [&*gateway.address.to_string(), scenario, &*set.display().to_string()];
    let client =
        Peer::start(rpc_client(&format!("clients-{scenario}"), include_str!("clients.mjs"), &arguments));
    let (ended_well, text) = client.finish();
    assert!(ended_well && text.trim_end() == "ok", "{scenario}: {text}\n{}", gateway.stderr());
}

fn played(scenario: &str, protocol: &str) {
    let (_server, gateway) = all(How::default());
    play(&gateway, scenario);
    let record = gateway.record("one", |record| record["rpc"]["protocol"] == protocol);
    assert_eq!(
        record["rpc"]["method"].as_str().map(|name| name.starts_with("demo.")),
        Some(true),
        "{record}"
    );
}

#[test]
fn connect_with_json_in_a_browser() {
    played("connect-json", "connect");
}

#[test]
fn connect_with_protobuf_in_a_browser() {
    played("connect-proto", "connect");
}

#[test]
fn connect_over_http2_streams_both_ways() {
    played("connect-node", "connect");
}

#[test]
fn grpc_web_of_connect_in_a_browser() {
    played("connect-grpc-web", "grpc-web");
}

#[test]
fn grpc_over_the_same_route() {
    played("grpc", "grpc");
}

#[test]
fn grpc_web_of_google_binary_and_text() {
    played("grpc-web", "grpc-web");
}

#[test]
fn messages_that_nobody_knows_pass_without_descriptors() {
    let server = Server::start(How { gzip: true, ..How::default() });
    let gateway = gateway(&server, "protocols: [grpcWeb, connect, grpc]", "");
    for scenario in ["connect-proto-alone", "connect-grpc-web", "grpc-web"] {
        play(&gateway, scenario);
    }
    let json = json(&gateway, "POST", "/demo.Greeter/SayHello", "{}");
    assert_eq!(json.status, 415, "{}", json.text());
}

#[test]
fn scripts_of_other_origins_may_read_how_a_call_ended() {
    let server = Server::start(How::default());
    for route in ["", "policies: [{cors: {allowOrigins: ['*']}}]"] {
        let gateway = gateway(&server, "descriptorSet: \"SET\"", route);
        let answer = gateway.send(
            "POST /demo.Greeter/SayHello HTTP/1.1\nhost: a.test\norigin: https://b.test\ncontent-type: application/grpc-web-text\ncontent-length: 8",
            b"AAAAAAA=",
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        let exposed = answer.header("access-control-expose-headers").expect("a field");
        assert!(exposed.contains("grpc-status") && exposed.contains("grpc-message"), "{exposed}");
        assert!(
            answer.header("content-type").is_some_and(|kind| kind.starts_with("application/grpc-web-text"))
        );
    }
}
