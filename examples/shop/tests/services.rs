//! The services as processes, over sockets.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

struct Service {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(binary: &str) -> Self {
        Self::with(binary, &[])
    }

    fn with(binary: &str, more: &[&str]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let folder = tempfile::tempdir().expect("a folder");
        let child = Command::new(binary)
            .args(["--listen", &address.to_string(), "--instance", "test", "--store"])
            .arg(folder.path().join("store.sqlite"))
            .args(more)
            .spawn()
            .expect("the service starts");
        let service = Self { child, address, _folder: folder };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the service does not come up");
            pause();
        }
        service
    }

    fn send(&self, request: &str, headers: &str, body: &str) -> (u16, String, Value) {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        let length = body.len();
        let bytes = format!(
            "{request} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(bytes.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or_else(|_| json!(body)))
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.send(&format!("GET {path}"), "", "");
        (status, body)
    }
}

#[test]
fn the_catalogue_sells_in_two_versions() {
    let catalog = Service::start(env!("CARGO_BIN_EXE_catalog"));
    assert_eq!(catalog.get("/v1/products/2").1, json!({"id": 2, "name": "Brass compass", "price": 4900}));
    let v2 = json!({"id": 2, "name": "Brass compass", "price": {"amount": 4900, "currency": "EUR"}});
    assert_eq!(catalog.get("/v2/products/2").1, v2);
    assert_eq!(catalog.get("/v1/products").1["items"].as_array().map(Vec::len), Some(5));
    assert_eq!(catalog.get("/v1/products/99").0, 404);
    assert_eq!(catalog.get("/v1/greeting").1["text"], "Welcome aboard");
    assert_eq!((catalog.get("/livez").0, catalog.get("/readyz").0), (200, 200));
    assert_eq!(catalog.get("/openapi.json").1["openapi"], "3.1.0");
    let (_, head, _) = catalog.send("GET /v1/products", "", "");
    assert!(head.contains("x-instance: test"), "{head}");
}

#[test]
fn orders_tell_of_their_health_and_document_themselves() {
    let orders = Service::start(env!("CARGO_BIN_EXE_orders"));
    assert_eq!((orders.get("/livez").0, orders.get("/readyz").0), (200, 200));
    let (status, document) = orders.get("/openapi.json");
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let methods = methods.as_object().expect("methods").keys().filter(|key| *key != "parameters");
        operations.extend(methods.map(|method| format!("{method} {path}")));
    }
    operations.sort();
    assert_eq!(operations, ["get /v1/orders", "get /v1/orders/{id}", "post /v1/orders"]);
}

#[test]
fn a_slow_instance_takes_as_much_longer_as_it_is_told_and_is_healthy_at_once() {
    let quickest = |service: &Service, path: &str| {
        let times = (0..5).map(|_| {
            let start = Instant::now();
            assert_eq!(service.get(path).0, 200, "{path}");
            start.elapsed()
        });
        times.min().expect("some")
    };
    let slow = Duration::from_millis(250);
    for binary in [env!("CARGO_BIN_EXE_catalog"), env!("CARGO_BIN_EXE_orders")] {
        let path = if binary.ends_with("orders") { "/v1/orders" } else { "/v1/products" };
        let service = Service::with(binary, &["--slow", "250"]);
        assert!(quickest(&service, path) >= slow, "{binary}");
        assert!(quickest(&service, "/readyz") < slow, "{binary}: health is not slowed");
        assert!(quickest(&Service::start(binary), path) < slow, "{binary}");
    }
}

#[test]
fn an_order_is_placed_once_per_key() {
    let orders = Service::start(env!("CARGO_BIN_EXE_orders"));
    let order = r#"{"items":[{"productId":1,"quantity":2}]}"#;
    let key = "idempotency-key: k1\r\n";
    let (status, head, first) = orders.send("POST /v1/orders", key, order);
    assert_eq!((status, &first["items"][0]["quantity"]), (201, &json!(2)));
    assert!(head.contains("location: /v1/orders/1"), "{head}");
    let (status, _, again) = orders.send("POST /v1/orders", key, order);
    assert_eq!((status, again), (200, first.clone()));
    let other = order.replace('2', "3");
    let (status, _, refused) = orders.send("POST /v1/orders", key, &other);
    assert_eq!((status, &refused["type"]), (422, &json!("urn:shop:problem:idempotency-key-reused")));
    assert_eq!(orders.get("/v1/orders").1["items"], json!([first]));
    assert_eq!(orders.get("/v1/orders/1"), (200, first));
    assert_eq!(orders.get("/v1/orders/2").0, 404);
}

#[test]
fn a_bad_order_is_told_all_that_is_wrong() {
    let orders = Service::start(env!("CARGO_BIN_EXE_orders"));
    let body = r#"{"items":[{"productId":0,"quantity":2},{"productId":1,"quantity":0}]}"#;
    let (status, head, problem) = orders.send("POST /v1/orders", "", body);
    assert_eq!(status, 422);
    assert!(head.contains("application/problem+json"), "{head}");
    let places: Vec<_> =
        problem["errors"].as_array().expect("errors").iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(places, ["/items/0/productId", "/items/1/quantity"]);
    for body in ["", "[]", "{\"items\":[]}"] {
        assert_eq!(orders.send("POST /v1/orders", "", body).0, 422, "{body}");
    }
}

/// Lets a little time pass between two looks.
#[expect(clippy::disallowed_methods, reason = "a test is no worker")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}
