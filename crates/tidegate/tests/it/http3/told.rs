//! How clients of other versions learn of HTTP/3, and what the gateway's records and metrics say of it.

use super::{FIXED, Front, ONE_WORKER};
use crate::{
    harness::{
        Upstream,
        h2::{self, run},
    },
    wire::tls::{ask, client, dial},
};

#[test]
fn answers_of_other_versions_tell_of_http3() {
    let front = Front::start("{port: 8443, maxAge: 1h}", "", FIXED);
    let told = Some("h3=\":8443\"; ma=3600");
    let config = client(front.authority.roots(), None, &["http/1.1"]);
    let mut stream = dial(front.gateway.address, &config, "a.test").expect("a connection");
    assert_eq!(ask(&mut stream, "a.test", "/").expect("an answer").header("alt-svc"), told);
    run(async {
        let config = client(front.authority.roots(), None, &["h2"]);
        let io = tokio::net::TcpStream::connect(front.gateway.address).await.expect("a connection");
        let name = rustls::pki_types::ServerName::try_from("a.test").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let client = h2::Client::over(connector.connect(name, io).await.expect("TLS")).await;
        let request = http::Request::get("https://a.test/").body(()).expect("a request");
        assert_eq!(client.fetch(request, b"", None).await.expect("an answer").header("alt-svc"), told);
        // Here, too: a client that speaks nothing else would have forgotten it tomorrow.
        let mut client = front.client().await;
        assert_eq!(client.get("/").await.expect("an answer").header("alt-svc"), told);
    });
}

#[test]
fn what_an_upstream_tells_of_its_own_doors_is_not_passed_on() {
    let upstream = Upstream::scripted(|_| {
        Some(
            b"HTTP/1.1 200 OK\r\nalt-svc: h3=\":8443\", h2=\":9443\"\r\ncontent-length: 2\r\n\r\nok".to_vec(),
        )
    });
    let front = Front::before(upstream.address, "true", "", ONE_WORKER);
    let own = format!("h3=\":{}\"; ma=86400", front.gateway.address.port());
    run(async {
        let answer = front.client().await.get("/").await.expect("an answer");
        let told: Vec<_> = answer.headers.get_all("alt-svc").iter().collect();
        assert_eq!(told, [own.as_str()]);
    });
}

#[test]
fn by_default_its_own_port_is_told_and_nothing_where_it_is_not_wanted() {
    for (http3, is_told) in [("true", true), ("{altSvc: false}", false), ("false", false)] {
        let front = Front::start(http3, "", FIXED);
        let config = client(front.authority.roots(), None, &[]);
        let mut stream = dial(front.gateway.address, &config, "a.test").expect("a connection");
        let answer = ask(&mut stream, "a.test", "/").expect("an answer");
        let own = format!("h3=\":{}\"; ma=86400", front.gateway.address.port());
        assert_eq!(answer.header("alt-svc"), is_told.then_some(own.as_str()), "{http3}");
    }
}

#[test]
fn connections_are_counted_like_all_others() {
    let front = Front::start("true", "limits: {maxConnections: 2}", FIXED);
    run(async {
        let mut clients = vec![front.client().await, front.client().await];
        for client in &mut clients {
            assert_eq!(client.get("/").await.expect("an answer").text(), "inside");
        }
        let series = "tidegate_connections{listener=\"tls\"}";
        h2::eventually("both are counted", || front.gateway.metric(series) == Some(2.0)).await;
        // The third is refused, and has room when one of them goes.
        let how = super::client::How::plain(&front.authority);
        assert!(super::client::dial(front.gateway.address, &how).await.is_err());
        clients.pop().expect("two").connection.close(0u32.into(), b"");
        h2::eventually("one is gone", || front.gateway.metric(series) == Some(1.0)).await;
        assert_eq!(front.client().await.get("/").await.expect("an answer").text(), "inside");
    });
}
