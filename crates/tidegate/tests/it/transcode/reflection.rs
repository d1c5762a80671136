//! Descriptors from the server itself.

use super::*;

#[test]
fn a_server_tells_of_itself_in_either_version() {
    for how in [How { v1: true, ..How::default() }, How { v1alpha: true, ..How::default() }] {
        let server = Server::start(how);
        let gateway = gateway(&server, "reflection: {}", "");
        let answer = gateway.get("/v1/greetings/Ada");
        assert_eq!(
            (answer.status, answer.json()["message"].clone()),
            (200, "Hello, Ada".into()),
            "{}",
            answer.text()
        );
        // It was asked once for all of them.
        assert_eq!(gateway.get("/v1/shelves/1/books/2").status, 200);
        assert_eq!(server.log().len(), 2);
    }
}

#[test]
fn a_server_that_is_away_at_the_start_is_asked_when_it_is_back() {
    let port = free_port();
    let gateway = started(&format!("127.0.0.1:{port}"), "reflection: {refresh: 1s}", "");
    let answer = gateway.get("/v1/greetings/Ada");
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("unavailable")), "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
    let server = Server::on(port, How { v1: true, ..How::default() });
    eventually("it is known", || gateway.get("/v1/greetings/Ada").status == 200);
    // It goes away, and what it said still holds.
    drop(server);
    pause(1200);
    eventually("it is away", || gateway.get("/v1/greetings/Ada").status == 502);
    pause(1200);
    assert_eq!(gateway.get("/v1/greetings/Ada").status, 502, "what it told holds");
    assert_eq!(gateway.get("/v1/nowhere").status, 404);
}

#[test]
fn a_server_without_reflection_is_told_in_the_log() {
    let server = Server::start(How::default());
    let gateway = gateway(&server, "reflection: {}", "");
    assert_eq!(gateway.get("/v1/greetings/Ada").status, 503);
    eventually("it is told", || gateway.stderr().contains("no server reflection"));
    let record = gateway.record("it", |record| record["status"] == 503);
    assert!(record["failure"]["detail"].to_string().contains("no server reflection"), "{record}");
}
