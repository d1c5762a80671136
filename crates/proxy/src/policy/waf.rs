//! `waf`: judges requests, and answers by choice, by rules in ModSecurity's language.
//!
//! The engine is the crate `waf`; here a call is brought to it, its bodies within their bounds, and what it says is
//! done. It runs in slices, between which the worker does others' work. A client is told that it was refused and no
//! more; which rules fired is in the record.

mod apart;
mod load;
pub(crate) mod report;
mod unpacked;

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use model::{
    WafFired, WafRecord,
    policy::waf::{WafAbove, WafResponse},
};
use waf::{Head, Phase, Progress, Rules, Transaction, UNREAD_CODING, Verdict as Judgement};

use self::{
    report::{Kept, Outcome},
    unpacked::{Unpacked, unpacked},
};
use super::{Flow, Needs, NeedsOf, Policy, Verdict, held::Held};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Side, Stage},
};

/// Steps between which the worker looks after others: about a millisecond.
const SLICE: usize = 250_000;
/// Steps of the phase of logging where nobody can look after others between them.
const LOGGING: usize = 10 * SLICE;

/// The compiled policy.
pub(crate) struct Waf {
    rules: Arc<Rules>,
    kept: Arc<Kept>,
    limit: usize,
    above: WafAbove,
    answers: Option<WafResponse>,
    steps_max: usize,
    records_matches: bool,
}

impl Waf {
    pub(crate) fn compile(settings: &model::policy::Waf, cx: &Building<'_>) -> Result<Self, String> {
        if cx.owner.starts_with("upstreams/") || cx.owner.starts_with("consumers/") {
            return Err(
                "`waf` runs before it is known who calls: it stands on a route, a listener or globally"
                    .into(),
            );
        }
        let loaded = load::load(settings, cx)?;
        let kept = cx.keep(report::KEPT, settings, || Kept::new(settings.max_collections as usize));
        *kept.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = loaded.warnings;
        Ok(Self {
            rules: loaded.rules,
            kept,
            limit: usize::try_from(settings.request_body.limit.bytes()).unwrap_or(usize::MAX),
            above: settings.request_body.above,
            answers: settings.response.clone(),
            steps_max: usize::try_from(settings.max_steps).unwrap_or(usize::MAX),
            records_matches: settings.record_matches,
        })
    }

    fn begin(&self, call: &Call) -> Box<Transaction> {
        let head = &call.head;
        let target = head.uri.path_and_query().map_or(head.uri.path(), |target| target.as_str());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let head_of_call = Head {
            method: head.method.as_str().as_bytes(),
            target: target.as_bytes(),
            protocol: protocol(head.version),
            client: call.client,
            server: call.host.as_ref().map_or("", |host| host.as_str()).as_bytes(),
            unique: call.record.request_id.as_bytes(),
            now: u64::try_from(now.as_millis()).unwrap_or_default(),
        };
        // Rules judge what the client sent: its length and its connection too, and nothing of the gateway's own.
        let headers = fields(call.received.head.as_deref().unwrap_or(&head.headers));
        let collections = self.kept.collections.clone();
        let mut judging =
            Transaction::new(self.rules.clone(), collections, &head_of_call, headers, self.steps_max);
        if self.records_matches {
            judging.keep_matched();
        }
        Box::new(judging)
    }

    async fn judge(&self, call: &mut Call, body: &mut Body) -> Verdict {
        let mut judging = self.begin(call);
        run(&mut judging, Phase::Head).await;
        // What goes on in both directions cannot be held; nor can what is no body at all.
        let is_open =
            call.body_is_tunnel() || (is_grpc(call.head.version, &call.head.headers) && speaks_grpc(call));
        let mut stopped = None;
        if judging.wants_body() && !is_open && !body.is_empty() {
            match Held::read(body, self.limit).await {
                Err(failure) => stopped = Some(failure),
                Ok(held) => {
                    call.has_been_sent();
                    stopped = self.look_into(&call.head.headers, &held, &mut judging).await.err();
                    *body = held.into_body();
                }
            }
        }
        if judging.verdict().is_none() && stopped.is_none() {
            run(&mut judging, Phase::Body).await;
        }
        let verdict = self.refusal(&judging, true);
        if self.answers.is_some() {
            // What is looked at must be readable, and whole: nobody gets past a pattern in small ranges.
            for name in [header::ACCEPT_ENCODING, header::RANGE, header::IF_RANGE] {
                call.head.headers.remove(name);
            }
        }
        if self.answers.is_some() && matches!(verdict, Verdict::Continue) && stopped.is_none() {
            judging.rest();
            // Whoever leaves before there is an answer is on record all the same.
            record(call, &judging);
            call.keep(self, Waiting { judging, kept: self.kept.clone(), is_counted: false });
        } else {
            // Nothing more is asked: what the call holds is not kept while others answer it.
            run(&mut judging, Phase::Logging).await;
            self.close(call, &judging);
        }
        stopped.map_or(verdict, Verdict::Fail)
    }

    /// Shows a body to the rules, and says where they cannot see what is in it. What cannot be judged is a failure.
    async fn look_into(
        &self,
        headers: &HeaderMap,
        held: &Held,
        judging: &mut Transaction,
    ) -> Result<(), Failure> {
        let came = (held.beginning(self.limit), held.is_whole());
        let found = unpacked(headers, came.clone(), self.limit).await?;
        let is_bomb = matches!(found, Unpacked::Bomb(_));
        let (read, is_whole) = match &found {
            Unpacked::Plain(plain, is_whole) => (plain.clone(), *is_whole),
            Unpacked::Bomb(plain) => (plain.clone(), false),
            _ => came,
        };
        if is_bomb || (!is_whole && self.above == WafAbove::Refuse) {
            // Where nothing is refused, the beginning is looked at and the rest passes.
            judging.refuse_long_body();
        }
        if judging.verdict().is_some() {
            let hint = match is_bomb {
                true => "the body unfolds to more than is allowed here".to_owned(),
                false => format!("the body has more than the {} bytes that are looked at", self.limit),
            };
            return Err(Failure::refused(Problem::BodyTooLarge).with_hint(hint));
        }
        let apart = match judging.cut(&read) {
            Some(cut) => Some(apart::apart(cut, read.clone()).await?),
            None => None,
        };
        judging.body_apart(&read, is_whole, apart);
        match found {
            Unpacked::Broken(why) => judging.broken_coding(&why),
            Unpacked::Unread => judging.unread_coding(),
            _ => {}
        }
        Ok(())
    }

    /// What becomes of a call by what the rules say of it.
    fn refusal(&self, judging: &Transaction, is_request: bool) -> Verdict {
        let by = judging.refused_by().unwrap_or_default();
        let told = match judging.verdict() {
            None => return Verdict::Continue,
            Some(Judgement::Redirect(status, to)) => {
                let mut answer = Response::new(Body::Empty);
                *answer.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::FOUND);
                match HeaderValue::from_str(to) {
                    Ok(to) => answer.headers_mut().insert(header::LOCATION, to),
                    Err(_) => return Verdict::Fail(forbidden(is_request, 403, "a redirect that is no URL")),
                };
                return Verdict::Answer(Box::new(answer));
            }
            Some(Judgement::OutOfSteps) => {
                let detail = format!("the rules would have taken more than {} steps", self.steps_max);
                return Verdict::Fail(forbidden(is_request, 403, &detail));
            }
            Some(Judgement::Deny(status)) => *status,
            Some(Judgement::Drop) => 403,
        };
        let place = self.rules.place(by).map(|(file, line)| format!(" ({file}:{line})")).unwrap_or_default();
        let failure = forbidden(is_request, told, &format!("rule {by}{place} refused it"));
        Verdict::Fail(match by {
            UNREAD_CODING => {
                let accepted = HeaderValue::from_static("gzip, br, zstd");
                let hint = "the body's content coding is not supported";
                failure.with_header(header::ACCEPT_ENCODING, accepted).with_hint(hint)
            }
            _ => failure,
        })
    }

    /// Writes down what the rules said.
    fn close(&self, call: &mut Call, judging: &Transaction) {
        count(&self.kept, judging);
        record(call, judging);
    }

    async fn judge_answer(
        &self,
        answers: &WafResponse,
        judging: &mut Transaction,
        answer: &mut Response<Body>,
    ) -> Result<(), Failure> {
        let version = protocol(answer.version());
        judging.answer(version, answer.status().as_u16(), fields(answer.headers()));
        run(judging, Phase::AnswerHead).await;
        if judging.verdict().is_some() {
            return Ok(());
        }
        let limit = usize::try_from(answers.limit.bytes()).unwrap_or(usize::MAX);
        let is_read =
            judging.wants_answer() && is_listed(answers, answer.headers()) && !answer.body().is_empty();
        if is_read {
            let held = Held::read(answer.body_mut(), limit).await?;
            let came = (held.beginning(limit), held.is_whole());
            // Some compress without being asked.
            let (read, is_whole) = match unpacked(answer.headers(), came.clone(), limit).await? {
                Unpacked::AsItCame => came,
                Unpacked::Plain(plain, is_whole) => (plain, is_whole),
                Unpacked::Bomb(plain) => (plain, false),
                Unpacked::Broken(_) | Unpacked::Unread => {
                    self.kept.unread();
                    (Bytes::new(), false)
                }
            };
            judging.answer_body(&read, is_whole);
            *answer.body_mut() = held.into_body();
        }
        run(judging, Phase::AnswerBody).await;
        Ok(())
    }
}

/// A call whose answer is waited for. One that is given up meanwhile counts by what was found of its request.
struct Waiting {
    judging: Box<Transaction>,
    kept: Arc<Kept>,
    is_counted: bool,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_counted {
            count(&self.kept, &self.judging);
        }
    }
}

fn outcome(judging: &Transaction) -> Outcome {
    match (judging.verdict(), judging.would(), judging.fired()) {
        (Some(_), ..) => Outcome::Refused,
        (None, Some(_), _) => Outcome::Detected,
        (None, None, []) => Outcome::Passed,
        (None, None, _) => Outcome::Noted,
    }
}

fn count(kept: &Kept, judging: &Transaction) {
    let is_out = [judging.verdict(), judging.would()].contains(&Some(&Judgement::OutOfSteps));
    let rules = judging.fired().iter().map(|fired| fired.rule);
    kept.note(outcome(judging), rules, judging.steps(), is_out);
}

/// Has the call's record tell what the rules have said.
fn record(call: &mut Call, judging: &Transaction) {
    let outcome = outcome(judging);
    if outcome == Outcome::Passed {
        return;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (score, answer_score) = judging.scores();
    let fired = judging.fired().iter().map(|fired| WafFired {
        rule: fired.rule,
        matched: fired.matched.as_ref().map(|matched| (text(&fired.at), text(matched))),
    });
    call.record.waf = Some(Box::new(WafRecord {
        outcome: outcome.as_str(),
        by: judging.refused_by(),
        score,
        answer_score,
        fired: fired.collect(),
    }));
}

/// Runs a phase in slices.
async fn run(judging: &mut Transaction, phase: Phase) {
    judging.begin(phase);
    while judging.advance(SLICE) == Progress::More {
        tokio::task::yield_now().await;
    }
}

fn forbidden(is_request: bool, status: u16, detail: &str) -> Failure {
    let problem = match status {
        400 => Problem::Invalid,
        415 => Problem::UnsupportedMedia,
        _ => Problem::Forbidden,
    };
    let failure = match is_request {
        true => Failure::refused(problem),
        false => Failure::new(Side::Upstream, Stage::Policy, problem),
    };
    let failure = match StatusCode::from_u16(status).ok().filter(|status| status.as_u16() >= 400) {
        Some(status) => failure.with_status(status),
        None => failure,
    };
    failure.with_detail(detail)
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        Version::HTTP_3 => b"HTTP/3.0",
        _ => b"HTTP/1.1",
    }
}

fn fields(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

/// Whether both sides may send at once: what is only called so is held like any other. Handlers ask the same, so that none reads
/// as something else what was let pass as gRPC.
fn is_grpc(version: Version, headers: &HeaderMap) -> bool {
    matches!(version, Version::HTTP_2 | Version::HTTP_3) && crate::failure::is_grpc(headers)
}

/// Whether all that a call may be sent to by its route and the policies there is spoken to in HTTP/2: what is called gRPC is so by
/// the client's word alone, and other servers take such a body for what it looks like.
fn speaks_grpc(call: &Call) -> bool {
    let Some(route) = call.route.and_then(|route| call.plan.routes.get(route)) else { return false };
    route.handler.passes_grpc() && route.chain.leads_to().iter().all(|upstream| upstream.is_http2())
}

/// Whether an answer's body is one that is looked at.
fn is_listed(answers: &WafResponse, headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    answers.mime_types.iter().any(|listed| listed.eq_ignore_ascii_case(kind))
}

impl NeedsOf for model::policy::Waf {
    fn needs(&self) -> Needs {
        Needs { whole_head: true, ..Needs::default() }
    }
}

impl Policy for Waf {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        Flow::Wait(Box::pin(self.judge(call, body)))
    }

    fn response(&self, call: &mut Call, _: &mut Response<Body>) {
        if let Some(mut waiting) = call.take::<Self, Waiting>(self) {
            waiting.judging.begin(Phase::Logging);
            waiting.judging.advance(LOGGING);
            waiting.is_counted = true;
            self.close(call, &waiting.judging);
        }
    }

    fn waits_for_answers(&self) -> bool {
        self.answers.is_some()
    }

    fn judge<'a>(
        &'a self,
        call: &'a mut Call,
        answer: &'a mut Response<Body>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(mut waiting) = call.take::<Self, Waiting>(self) else { return Ok(()) };
            let Some(answers) = &self.answers else { return Ok(()) };
            let is_tunnel = call.is_switched_by(answer);
            if waiting.judging.verdict().is_some() || is_tunnel {
                run(&mut waiting.judging, Phase::Logging).await;
                waiting.is_counted = true;
                self.close(call, &waiting.judging);
                return Ok(());
            }
            let judged = self.judge_answer(answers, &mut waiting.judging, answer).await;
            run(&mut waiting.judging, Phase::Logging).await;
            waiting.is_counted = true;
            self.close(call, &waiting.judging);
            judged?;
            match self.refusal(&waiting.judging, false) {
                Verdict::Continue => Ok(()),
                Verdict::Answer(other) => {
                    *answer = *other;
                    call.record.stopped_by = Some("waf");
                    Ok(())
                }
                Verdict::Fail(failure) => {
                    call.record.stopped_by = Some("waf");
                    Err(failure)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::policy::testing::{building, call, outcome};

    #[test]
    fn what_is_called_grpc_in_another_spelling_is_held() {
        let of = |version, kind: &'static str| {
            let value = HeaderValue::from_static(kind);
            is_grpc(version, &HeaderMap::from_iter([(header::CONTENT_TYPE, value)]))
        };
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc+json; charset=utf-8"] {
            assert!(of(Version::HTTP_2, kind) && of(Version::HTTP_3, kind), "{kind}");
            assert!(!of(Version::HTTP_11, kind), "{kind}");
        }
        // `transcode` takes these for the body of a method that wants any.
        for kind in ["application/grpc ;a=b", "application/grpc-web", "Application/grpc", "application/grpcs"]
        {
            assert!(!of(Version::HTTP_2, kind), "{kind}");
        }
    }

    #[test]
    fn what_is_logged_where_nobody_can_wait_is_bounded() {
        let rule =
            |id| format!("SecRule ARGS \"@validateByteRange 0-255\" \"id:{id},phase:5,pass,nolog,t:none\"\n");
        let path = std::env::temp_dir().join(format!("tidegate-waf-logging-{}.conf", std::process::id()));
        fs::write(&path, (1..100).map(rule).collect::<String>()).expect("a file");
        let settings = format!("{{\"rules\": [{path:?}], \"response\": {{}}}}");
        let settings: model::policy::Waf = serde_json::from_str(&settings).expect("settings");
        let target = format!("/?a={}", "b".repeat(60_000));
        let steps = building("", |cx| {
            let policy = Waf::compile(&settings, cx).expect("compiles");
            let mut call = call("GET", &target);
            outcome(&policy, &mut call).expect("it passes");
            // Something failed before there was an answer to look at.
            policy.response(&mut call, &mut Response::new(Body::Empty));
            policy.kept.steps()
        });
        fs::remove_file(&path).expect("a file");
        // Each rule looks at 60,000 bytes.
        assert!((LOGGING..2 * LOGGING).contains(&steps), "{steps} steps");
    }
}
