//! `faultInjection`: breaks a share of the calls, for trials.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Flow, Needs, NeedsOf, Policy, Verdict};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
};

/// How often a throttled body gives something.
const TICK: Duration = Duration::from_millis(50);
/// Told apart, so that delay and abort hit different calls.
const DELAY: u64 = 1;
const JITTER: u64 = 2;
const ABORT: u64 = 3;

/// The compiled policy.
pub(crate) struct FaultInjection {
    delay: Option<model::policy::fault_injection::DelayFault>,
    abort: Option<(StatusCode, f64)>,
    bytes_per_second: Option<u64>,
    marker: Option<HeaderName>,
}

/// What the request phase leaves for the response phase: this answer is throttled.
struct Throttle;

impl FaultInjection {
    pub(crate) fn compile(
        settings: &model::policy::FaultInjection,
        _: &Building<'_>,
    ) -> Result<Self, String> {
        let abort = settings.abort.as_ref().map(|abort| {
            let status = StatusCode::from_u16(abort.status).ok().filter(|status| !status.is_informational());
            let status =
                status.ok_or_else(|| format!("`abort.status` is {}; expected 200 to 599", abort.status))?;
            Ok::<_, String>((status, abort.percent.fraction()))
        });
        let bytes_per_second = settings.bandwidth.map(model::Size::bytes);
        if bytes_per_second == Some(0) {
            return Err("`bandwidth` is 0; expected at least one byte per second".into());
        }
        Ok(Self {
            delay: settings.delay.clone(),
            abort: abort.transpose()?,
            bytes_per_second,
            marker: settings.only_when_header.as_ref().map(model::HeaderName::to_http),
        })
    }

    /// How long this call waits.
    fn delay(&self, random: u64) -> Duration {
        match &self.delay {
            Some(delay) if share(random, DELAY) < delay.percent.fraction() => {
                delay.fixed.get() + delay.jitter.mul_f64(share(random, JITTER))
            }
            _ => Duration::ZERO,
        }
    }

    fn abort(&self, random: u64) -> Option<Failure> {
        let (status, _) = self.abort.filter(|(_, percent)| share(random, ABORT) < *percent)?;
        Some(Failure::gateway(crate::failure::Stage::Policy, Problem::InjectedFault).with_status(status))
    }
}

/// The call's number as an even share of 0 to 1, another one for each purpose (splitmix64).
fn share(random: u64, purpose: u64) -> f64 {
    let mut mixed = random.wrapping_add(purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // The upper 53 bits are what a double holds exactly.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

impl NeedsOf for model::policy::FaultInjection {
    fn needs(&self) -> Needs {
        Needs::headers(self.only_when_header.iter().map(model::HeaderName::to_http))
    }
}

impl Policy for FaultInjection {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if self.marker.as_ref().is_some_and(|marker| !call.head.headers.contains_key(marker)) {
            return Flow::Continue;
        }
        if self.bytes_per_second.is_some() {
            call.keep(self, Throttle);
        }
        let delay = self.delay(call.random);
        let abort = self.abort(call.random);
        match abort {
            Some(failure) if delay.is_zero() => Flow::Fail(failure),
            None if delay.is_zero() => Flow::Continue,
            abort => Flow::Wait(Box::pin(async move {
                tokio::time::sleep(delay).await;
                abort.map_or(Verdict::Continue, Verdict::Fail)
            })),
        }
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        if let (Some(rate), Some(Throttle)) = (self.bytes_per_second, call.take(self))
            && answer.headers().get(header::UPGRADE).is_none()
        {
            let inner = std::mem::take(answer.body_mut());
            *answer.body_mut() = Body::boxed(Throttled { inner, rate, left: Bytes::new(), wait: None });
        }
    }
}

/// A body that gives so many bytes per second.
struct Throttled {
    inner: Body,
    rate: u64,
    /// What is received and not given yet.
    left: Bytes,
    /// Until when nothing is given.
    wait: Option<Pin<Box<Sleep>>>,
}

impl Wrapper for Throttled {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Throttled {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        if let Some(wait) = &mut this.wait {
            ready!(wait.as_mut().poll(cx));
            this.wait = None;
        }
        if this.left.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => this.left = data,
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                None => return Poll::Ready(None),
            }
        }
        let per_tick = (this.rate as f64 * TICK.as_secs_f64()).max(1.0) as usize;
        let data = this.left.split_to(this.left.len().min(per_tick));
        let pause = Duration::from_secs_f64(data.len() as f64 / this.rate as f64);
        this.wait = Some(Box::pin(sleep_until(Instant::now() + pause)));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.inner.size_hint().exact() {
            Some(inner) => SizeHint::with_exact(inner + self.left.len() as u64),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::policy::testing::{building, call, with_header};

    fn compile(settings: serde_json::Value) -> Result<FaultInjection, String> {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| FaultInjection::compile(&settings, cx))
    }

    #[test]
    fn shares_are_kept() {
        let policy = compile(serde_json::json!({
            "abort": {"status": 503, "percent": 20}, "delay": {"fixed": "10ms", "jitter": "10ms", "percent": 50},
        }))
        .expect("compiles");
        let (mut aborted, mut delayed, mut both) = (0, 0, 0);
        for random in 0..100_000_u64 {
            let (abort, delay) = (policy.abort(random).is_some(), policy.delay(random));
            aborted += u32::from(abort);
            delayed += u32::from(!delay.is_zero());
            both += u32::from(abort && !delay.is_zero());
            assert!(delay.is_zero() || (10..20).contains(&delay.as_millis()));
        }
        for (count, want) in [(aborted, 20_000), (delayed, 50_000), (both, 10_000)] {
            assert!((count as i32 - want).abs() < 500, "{count} of {want}");
        }
    }

    #[test]
    fn only_marked_calls_break_where_that_is_wanted() {
        let settings = serde_json::json!({"abort": {"status": 418}, "onlyWhenHeader": "x-chaos"});
        let policy = compile(settings).expect("compiles");
        let mut plain = call("GET", "/");
        assert!(matches!(policy.request(&mut plain, &mut Body::Empty), Flow::Continue));
        let mut marked = with_header(call("GET", "/"), "x-chaos", "");
        match policy.request(&mut marked, &mut Body::Empty) {
            Flow::Fail(failure) => assert_eq!(failure.status(), StatusCode::IM_A_TEAPOT),
            _ => panic!("the marked call went on"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_call_waits() {
        let policy = compile(serde_json::json!({"delay": {"fixed": "3s"}})).expect("compiles");
        let (mut call, mut body) = (call("GET", "/"), Body::Empty);
        let before = Instant::now();
        match policy.request(&mut call, &mut body) {
            Flow::Wait(wait) => assert!(matches!(wait.await, Verdict::Continue)),
            _ => panic!("the call did not wait"),
        }
        assert_eq!(before.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_answer_takes_its_time_and_stays_whole() {
        let policy = compile(serde_json::json!({"bandwidth": 1000})).expect("compiles");
        let mut call = call("GET", "/");
        assert!(matches!(policy.request(&mut call, &mut Body::Empty), Flow::Continue));
        let mut answer = Response::new(Body::Full(Bytes::from(vec![7; 5000])));
        policy.response(&mut call, &mut answer);
        assert_eq!(answer.body().length(), Some(5000));
        let before = Instant::now();
        let whole = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(whole.len(), 5000);
        let seconds = before.elapsed().as_secs_f64();
        assert!((4.5..5.5).contains(&seconds), "{seconds}");
    }

    #[test]
    fn nonsense_refuses_the_configuration() {
        for settings in [serde_json::json!({"abort": {"status": 101}}), serde_json::json!({"bandwidth": 0})] {
            assert!(compile(settings.clone()).is_err(), "{settings}");
        }
    }
}
