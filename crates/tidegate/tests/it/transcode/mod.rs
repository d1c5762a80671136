//! `transcode`: REST, gRPC-Web and Connect in front of a gRPC server that is made with tonic.

mod clients;
mod judged;
mod load;
mod reflection;
mod rest;
mod server;
mod streams;

use std::fs;

use self::server::{How, SET, Server};
use super::harness::{Answer, Client, Gateway, Peer, eventually, free_port, pause, rpc_client};

pub use self::server::{How as ServerHow, SET as GREETER_SET, Server as GrpcServer};

/// A gateway with one route over everything, whose `transcode` has this beside its upstream; `route` stands beside it.
fn gateway(server: &Server, settings: &str, route: &str) -> Gateway {
    started(&server.address.to_string(), settings, route)
}

fn started(address: &str, settings: &str, route: &str) -> Gateway {
    let port = free_port();
    let text = format!(
        "listeners:
  - {{name: public, address: 127.0.0.1:{port}}}
accessLog: [{{kind: stdout, format: json}}]
consumers: [{{name: c, keys: [the-key-of-the-test]}}]
upstreams:
  - {{name: greeter, protocol: grpc, endpoints: [{{address: \"{address}\"}}], retry: {{maxAttempts: 2}}}}
routes:
  - name: all
    match: [{{path: {{prefix: /}}}}]
    transcode: {{upstream: greeter, {settings}}}
    {route}
"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let set = folder.path().join("greeter.binpb");
    fs::write(&set, SET).expect("a file");
    let text = text.replace("SET", &set.display().to_string());
    let gateway = Gateway::from_text(&text, ([127, 0, 0, 1], port).into(), |_| {});
    // It has read the file.
    drop(folder);
    gateway
}

/// The whole of `demo.Greeter` and `demo.Library` behind a gateway.
fn all(how: How) -> (Server, Gateway) {
    let server = Server::start(how);
    let gateway = gateway(&server, "descriptorSet: \"SET\"", "");
    (server, gateway)
}

fn json(gateway: &Gateway, method: &str, target: &str, body: &str) -> Answer {
    let head = format!(
        "{method} {target} HTTP/1.1\nhost: a.test\ncontent-type: application/json\ncontent-length: {}",
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}
