//! Calls through components: what they see, change, answer and ask for.

use bytes::Bytes;
use http::StatusCode;
use wasm::{Answer, Response, Verdict};

use super::world::{World, component, limits, on_request, plugin, run, subject};

/// Sets `x-seen: yes`.
const SET_HEADER: &str =
    "(call $set-header (i32.const 16) (i32.const 6) (i32.const 32) (i32.const 3) (i32.const 2048))";

#[test]
fn a_policy_changes_the_request() {
    let tried = plugin(
        &on_request(&format!(
            "{SET_HEADER} (call $set-path (i32.const 48) (i32.const 6) (i32.const 2048)) (call $next)"
        )),
        limits(),
    );
    let (subject, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    assert_eq!(said, Ok(Verdict::Next));
    assert_eq!(subject.request.headers["x-seen"], "yes");
    assert_eq!(subject.request.headers["accept"], "*/*", "what it does not touch stays");
    assert_eq!(subject.request.uri, "/other?c=d");
    assert!(!subject.request.has_new_body);
}

#[test]
fn what_the_gateway_says_itself_is_not_for_a_component() {
    // The result of `set-header` with a name of the gateway's is an error: its first byte is 1.
    let code =
        "(call $set-header (i32.const 128) (i32.const 7) (i32.const 32) (i32.const 3) (i32.const 2048))
      (call $answer (i32.add (i32.const 500) (i32.load8_u (i32.const 2048))))";
    let tried = plugin(&on_request(code), limits());
    let (subject, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    assert_eq!(said, Ok(Verdict::Answer(Answer { status: 501, ..Answer::default() })));
    assert!(!subject.request.headers.contains_key("upgrade"));
}

#[test]
fn a_policy_answers_itself() {
    // One field, whose strings lie at 16 and 32, and a body at 80.
    let code = "
      (i32.store (i32.const 1200) (i32.const 16)) (i32.store (i32.const 1204) (i32.const 6))
      (i32.store (i32.const 1208) (i32.const 32)) (i32.store (i32.const 1212) (i32.const 3))
      (i32.store (i32.const 1096) (i32.const 1200)) (i32.store (i32.const 1100) (i32.const 1))
      (i32.store (i32.const 1104) (i32.const 80)) (i32.store (i32.const 1108) (i32.const 3))
      (call $answer (i32.const 403))";
    let tried = plugin(&on_request(code), limits());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    let Ok(Verdict::Answer(answer)) = said else { panic!("{said:?}") };
    let (status, headers, body) = answer.into_parts().expect("an answer");
    assert_eq!(
        (status, &headers["x-seen"], &*body),
        (StatusCode::FORBIDDEN, &"yes".parse().expect("a value"), &b"new"[..])
    );
}

#[test]
fn an_answer_that_cannot_be_sent_is_told() {
    for status in [0, 101, 199, 600, 65535] {
        let answer = Answer { status, ..Answer::default() };
        assert!(answer.into_parts().is_err(), "{status}");
    }
    let answer = Answer { status: 200, headers: vec![("a b".into(), "c".into())], ..Answer::default() };
    assert!(answer.into_parts().is_err());
}

#[test]
fn a_policy_sees_the_body_when_it_asks_for_it() {
    // Without a body it asks for it; with one it sends another on.
    let code = "(call $body (i32.const 2048))
      (if (result i32) (i32.load8_u (i32.const 2048))
        (then (call $set-body (i32.const 80) (i32.const 3) (i32.const 2064)) (call $next))
        (else (call $read-body)))";
    let tried = plugin(&on_request(code), limits());
    let (mut subject, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    assert_eq!(said, Ok(Verdict::ReadBody));
    assert!(subject.request.body.is_none() && !subject.request.has_new_body);
    subject.request.body = Some(Bytes::from_static(b"old"));
    let (subject, said) = run(tried.plugin.on_request(subject, &mut World::default()));
    assert_eq!(said, Ok(Verdict::Next));
    assert_eq!(subject.request.body.as_deref(), Some(&b"new"[..]));
    assert!(subject.request.has_new_body);
}

#[test]
fn half_of_a_switched_protocol_is_no_body_to_set() {
    // The result of `set-body` is an error: its first byte is 1.
    let code = "(call $set-body (i32.const 80) (i32.const 3) (i32.const 2064))
      (call $answer (i32.add (i32.const 500) (i32.load8_u (i32.const 2064))))";
    let tried = plugin(&on_request(code), limits());
    for (is_tunnel, status) in [(false, 500), (true, 501)] {
        let mut subject = subject();
        subject.request.is_tunnel = is_tunnel;
        let (subject, said) = run(tried.plugin.on_request(subject, &mut World::default()));
        assert_eq!(said, Ok(Verdict::Answer(Answer { status, ..Answer::default() })));
        assert_eq!(subject.request.has_new_body, !is_tunnel);
    }
}

#[test]
fn a_policy_changes_the_answer() {
    // 200 becomes 201, with another body.
    let code = "(func (export \"on-response\") (result i32)
      (call $set-status (i32.add (call $status) (i32.const 1)) (i32.const 2048))
      (call $set-answer-body (i32.const 80) (i32.const 3) (i32.const 2048))
      ;; The request has gone on.
      (call $set-header (i32.const 16) (i32.const 6) (i32.const 32) (i32.const 3) (i32.const 2048))
      (call $next))";
    let tried = plugin(&component("on-response", code), limits());
    assert!(!tried.plugin.component().sees_requests() && tried.plugin.component().sees_responses());
    let mut subject = subject();
    subject.response = Some(Response::default());
    let (subject, said) = run(tried.plugin.on_response(subject, &mut World::default()));
    assert_eq!(said, Ok(Verdict::Next));
    let response = subject.response.expect("an answer");
    assert_eq!(response.status, StatusCode::CREATED);
    assert_eq!(response.body.as_deref(), Some(&b"new"[..]));
    assert!(!subject.request.headers.contains_key("x-seen"), "a request that has gone on is not changed");
    let (_, said) = run(tried.plugin.on_request(Default::default(), &mut World::default()));
    assert_eq!(said, Ok(Verdict::Next), "it exports nothing that sees requests");
}

#[test]
fn a_handler_answers() {
    // The answer without a variant around it: the status at 1092.
    let code =
        "(func (export \"handle\") (result i32) (drop (call $answer (i32.const 204))) (i32.const 1092))";
    let tried = plugin(&component("handle", code), limits());
    let (subject, said) = run(tried.plugin.handle(subject(), &mut World::default()));
    assert_eq!(said, Ok(Answer { status: 204, ..Answer::default() }));
    assert_eq!(subject.request.headers["accept"], "*/*", "the head comes back");
}

/// Asks an upstream whose name has `length` bytes of `authority`, and answers with 500 and whether that failed.
fn fetch(length: u32) -> String {
    format!(
        "(call $fetch (i32.const 64) (i32.const {length}) (i32.const 96) (i32.const 3) (i32.const 112) (i32.const 6)
           (i32.const 0) (i32.const 0) (i32.const 80) (i32.const 3) (i32.const 2048))
         (call $answer (i32.add (i32.const 500) (i32.load8_u (i32.const 2048))))"
    )
}

#[test]
fn upstreams_are_asked_when_they_are_allowed() {
    let mut world = World::default();
    let tried = plugin(&on_request(&fetch(9)), limits());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut world));
    assert_eq!(said, Ok(Verdict::Answer(Answer { status: 500, ..Answer::default() })));
    let [asked] = &world.asked[..] else { panic!("{:?}", world.asked) };
    assert_eq!(
        (&*asked.upstream, asked.method.as_str(), asked.target.path()),
        ("authority", "GET", "/check")
    );
    assert_eq!(&*asked.body, b"new");
    let mut world = World::default();
    let tried = plugin(&on_request(&fetch(4)), limits());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut world));
    assert_eq!(
        said,
        Ok(Verdict::Answer(Answer { status: 501, ..Answer::default() })),
        "`auth` is not allowed"
    );
    assert!(world.asked.is_empty());
}

#[test]
fn upstreams_are_asked_so_often() {
    let one =
        "(call $fetch (i32.const 64) (i32.const 9) (i32.const 96) (i32.const 3) (i32.const 112) (i32.const 6)
           (i32.const 0) (i32.const 0) (i32.const 80) (i32.const 3) (i32.const 2048))";
    let code =
        format!("{one} {one} {one} (call $answer (i32.add (i32.const 500) (i32.load8_u (i32.const 2048))))");
    let tried = plugin(&on_request(&code), limits());
    for _ in 0..2 {
        let mut world = World::default();
        let (_, said) = run(tried.plugin.on_request(subject(), &mut world));
        assert_eq!(said, Ok(Verdict::Answer(Answer { status: 501, ..Answer::default() })));
        assert_eq!(world.asked.len(), 2, "each call has its own bound");
    }
}

#[test]
fn counters_and_lines_come_out() {
    let code = "(call $count (i32.const 32) (i32.const 3) (i64.const 2) (i32.const 2048))
      (call $log (i32.const 2) (i32.const 16) (i32.const 6)) (call $next)";
    let tried = plugin(&on_request(code), limits());
    for _ in 0..3 {
        let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
        assert_eq!(said, Ok(Verdict::Next));
    }
    assert_eq!(tried.counters.get("yes"), 6);
    let lines = tried.lines.lock().expect("lines");
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], (wasm::Level::Warn, "x-seen".to_owned()));
}

#[test]
fn an_instance_is_used_again_as_often_as_it_may() {
    // Counts in a global of its own.
    let code = "(global $n (mut i32) (i32.const 200)) (func (export \"on-request\") (result i32)
      (global.set $n (i32.add (global.get $n) (i32.const 1))) (call $answer (global.get $n)))";
    for (reuse, want) in [(1000, [201, 202, 203]), (2, [201, 202, 201]), (1, [201, 201, 201])] {
        let tried = plugin(&component("on-request", code), wasm::Limits { reuse, ..limits() });
        let statuses = [0; 3].map(|_| {
            let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
            let Ok(Verdict::Answer(answer)) = said else { panic!("{said:?}") };
            answer.status
        });
        assert_eq!(statuses, want, "reuse {reuse}");
    }
}
