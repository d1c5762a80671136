//! Builds calls, bodies and surroundings for the tests of policies.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::Pin,
    rc::Rc,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use model::{Resolver, Snapshot, Source};

use super::{Flow, Policy, Verdict};
use crate::{
    body::Body,
    call::{Call, Host, Received, new_record},
    compiled::{Building, Compiled},
    conn::peer::Peer,
    failure::Failure,
};

/// The address that test calls come from.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// No file and no variable.
struct Nothing;

impl Resolver for Nothing {
    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> io::Result<Bytes> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn snapshot(rest: &str) -> Arc<Snapshot> {
    let text = format!("listeners:\n- {{name: test, address: 127.0.0.1:0}}\n{rest}");
    match model::load(&[Source::new("test.yaml", &*text)], &Nothing) {
        Ok(snapshot) => Arc::new(snapshot),
        Err(found) => panic!("{found:?}\n{text}"),
    }
}

fn background() -> &'static tokio::runtime::Handle {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    RUNTIME.get_or_init(build).handle()
}

/// Runs a function with what policies of no one in particular are built with, under this configuration.
pub(crate) fn building<T>(rest: &str, run: impl FnOnce(&Building<'_>) -> T) -> T {
    building_for("", rest, run)
}

/// The same for policies of this owner.
pub(crate) fn building_for<T>(owner: &str, rest: &str, run: impl FnOnce(&Building<'_>) -> T) -> T {
    Building::in_test(&snapshot(rest), owner, background(), run)
}

/// A call from [`CLIENT`] to `api.example.test`.
pub(crate) fn call(method: &str, target: &str) -> Call {
    static EMPTY: OnceLock<Arc<Compiled>> = OnceLock::new();
    let compile = || Arc::new(Compiled::offline(snapshot(""), background()).expect("an empty configuration"));
    let plan = EMPTY.get_or_init(compile).clone();
    let request = Request::builder().method(method).uri(target).header("host", "api.example.test").body(());
    let head = request.expect("a good request").into_parts().0;
    let peer = Peer::new(plan.listeners[0].clone(), Some(SocketAddr::from((CLIENT, 40_000))), None);
    let record = new_record(&peer, &head, CLIENT, HeaderValue::from_static("test-1"), None);
    Call {
        plan: Rc::new(plan),
        peer: Rc::new(peer),
        listener: 0,
        client: CLIENT,
        host: Host::from_authority(Bytes::from_static(b"api.example.test")),
        expects_continue: false,
        started: Instant::now(),
        asked: None,
        route: None,
        captures: Default::default(),
        consumer: None,
        stands_in: false,
        is_stranger: false,
        authorization_is_judged: false,
        shown_key: None,
        token: None,
        claims: None,
        answer_headers: Default::default(),
        notes: Vec::new(),
        upgrade: None,
        host_from_endpoint: false,
        forms: Default::default(),
        chain: Default::default(),
        random: 7,
        received: Received::of(&head.headers),
        record,
        trail: Default::default(),
        dialect: None,
        rpc: None,
        ai: Default::default(),
        interim: None,
        head,
    }
}

/// A call under the configuration that a policy was built with.
pub(crate) fn call_in(_: &Building<'_>, method: &str, target: &str) -> Call {
    call(method, target)
}

/// The call with one more value of a header.
pub(crate) fn with_header(mut call: Call, name: &'static str, value: &str) -> Call {
    let value = HeaderValue::from_str(value).expect("a good value");
    call.head.headers.append(HeaderName::from_static(name), value);
    call.received = Received::of(&call.head.headers);
    call
}

/// The call with the claims of a verified token.
pub(crate) fn with_claims(mut call: Call, claims: &str) -> Call {
    call.claims = Some(Rc::new(serde_json::from_str(claims).expect("an object")));
    call
}

fn verdict(policy: &dyn Policy, call: &mut Call) -> Verdict {
    match policy.request(call, &mut Body::Empty) {
        Flow::Continue => Verdict::Continue,
        Flow::Answer(answer) => Verdict::Answer(answer),
        Flow::Fail(failure) => Verdict::Fail(failure),
        Flow::Wait(wait) => wait.now_or_never().expect("nothing to wait for"),
    }
}

/// What a policy says of a call that it does not answer itself.
pub(crate) fn outcome(policy: &dyn Policy, call: &mut Call) -> Result<(), Failure> {
    match verdict(policy, call) {
        Verdict::Continue => Ok(()),
        Verdict::Fail(failure) => Err(failure),
        Verdict::Answer(answer) => panic!("answered with {}", answer.status()),
    }
}

/// The answer of a policy that answers itself.
pub(crate) fn answered(policy: &dyn Policy, call: &mut Call) -> Response<Body> {
    match verdict(policy, call) {
        Verdict::Answer(answer) => *answer,
        Verdict::Continue => panic!("the call went on"),
        Verdict::Fail(failure) => panic!("refused: {failure:?}"),
    }
}

/// A body that comes in pieces and does not tell its length.
pub(crate) fn pieces(pieces: &[&str]) -> Body {
    chunks(pieces.iter().map(|piece| piece.as_bytes()))
}

/// The same of bytes.
pub(crate) fn chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Body {
    struct Pieces(VecDeque<Bytes>);
    impl crate::body::Wrapper for Pieces {
        fn inner(&mut self) -> Option<&mut Body> {
            None
        }
    }
    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Failure;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }
    Body::boxed(Pieces(chunks.into_iter().map(Bytes::copy_from_slice).collect()))
}
