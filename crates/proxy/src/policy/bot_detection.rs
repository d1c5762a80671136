//! `botDetection`: finds programs among visitors.
//!
//! Who says that it is a bot is taken at its word, or verified where that can be; who seems to be a browser is looked at
//! for signs that it is none. Whoever is neither, such as an application with an agent of its own, passes.

mod signs;
mod table;
mod verify;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, header};
use model::{
    Judged,
    policy::bot_detection::{BotClass, BotMode, BotScores, OldestBrowsers},
};
use resilience::gcra::{Decision, KeyedGcra, Quota};
use tokio::sync::watch;

use self::{
    signs::{AGENT_BYTES_MAX, Signs},
    table::{Bot, Table, is_in},
    verify::{Bounds, Names, Told, Verifier},
};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    credentials::in_header,
};
use crate::{
    body::Body,
    call::{Call, Upgrade},
    compiled::Building,
    discovery::dns::Resolver,
    failure::{Failure, Problem},
};

static METRIC: Metric = Metric {
    name: "tidegate_bot_detection_total",
    help: "Calls by who seems to have sent them; `verified`, `unverified` and `impostor` ones say that they are a bot \
           whose addresses have names, `declared` ones another.",
    outcomes: &["passed", "declared", "verified", "unverified", "impostor", "suspect", "denied", "limited"],
    gauges: &[],
};
const PASSED: usize = 0;
const DECLARED: usize = 1;
const VERIFIED: usize = 2;
const UNVERIFIED: usize = 3;
const IMPOSTOR: usize = 4;
const SUSPECT: usize = 5;
const DENIED: usize = 6;
const LIMITED: usize = 7;

/// The compiled policy.
pub(crate) struct BotDetection {
    mode: BotMode,
    threshold: u32,
    table: Table,
    scores: BotScores,
    oldest: OldestBrowsers,
    header: Option<HeaderName>,
    limiter: Arc<KeyedGcra>,
    verifier: Option<Arc<Verifier>>,
    patience: Duration,
    /// What becomes of bots of which nobody says that they are who they say they are.
    unverified: BotClass,
    counted: Arc<Counted>,
}

/// Whether a bot is who it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// Nobody could find out: its operator names no domains, or it is not asked.
    Declared,
    Verified,
    /// Name servers did not say.
    Unverified,
    Impostor,
}

impl Identity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Impostor => "impostor",
        }
    }
}

impl BotDetection {
    pub(crate) fn compile(settings: &model::policy::BotDetection, cx: &Building<'_>) -> Result<Self, String> {
        let table = Table::compile(settings)?;
        let verify = &settings.verify;
        let domains = table.domains();
        let verifier = if verify.enabled && !domains.is_empty() {
            let servers = &cx.snapshot.config.runtime.dns_servers;
            let parse = |text: &String| text.parse().map_err(|_| format!("`{text}` is not `ip:port`"));
            let parsed = servers.iter().map(parse).collect::<Result<Vec<_>, String>>()?;
            let inside = cx.background.enter();
            let resolver = Resolver::new(&parsed)?;
            drop(inside);
            let bounds = Bounds {
                ttl: verify.ttl.get(),
                failure_ttl: verify.failure_ttl.get(),
                addresses_max: verify.max_addresses as usize,
            };
            let identity = (servers, verify, &domains);
            Some(cx.keep("addresses", &identity, || {
                Verifier::new(resolver, cx.background.clone(), domains.clone(), &bounds)
            }))
        } else {
            None
        };
        let limit = settings.limit;
        let quota = Quota::new(limit.calls, limit.window.get(), limit.calls);
        let bots = table.len();
        Ok(Self {
            mode: settings.mode,
            threshold: settings.threshold,
            scores: settings.scores,
            oldest: settings.oldest,
            header: settings.header.as_ref().map(model::HeaderName::to_http),
            limiter: cx
                .keep("limit", &(limit, bots), || KeyedGcra::new(quota, bots.max(1) * 2, Instant::now())),
            verifier,
            patience: verify.timeout.get(),
            unverified: verify.unverified,
            counted: Counted::of(&METRIC, cx),
            table,
        })
    }

    /// What is known of an address, or what is to be waited for.
    fn look(&self, bot: &Bot, call: &Call) -> Result<Identity, watch::Receiver<Option<Names>>> {
        let Some(verifier) = self.verifier.as_ref().filter(|_| !bot.domains.is_empty()) else {
            return Ok(Identity::Declared);
        };
        match Verifier::ask(verifier, call.client.to_canonical()) {
            Told::Known(names) => Ok(identity(bot, &names)),
            // Where nothing is refused nobody waits: the next call of the address is told.
            Told::Soon(_) if self.mode == BotMode::Flag => Ok(Identity::Unverified),
            Told::Soon(told) => Err(told),
        }
    }

    /// Judges a bot that says who it is.
    fn declared(&self, call: &mut Call, bot: &Bot, identity: Identity) -> Verdict {
        let (name, category) = (&bot.name, bot.category.as_str());
        // The name of a bot is no way around the signs, unless it is known to be one.
        let signs = match identity {
            Identity::Unverified => self.signs(call),
            Identity::Declared | Identity::Verified | Identity::Impostor => Signs::default(),
        };
        let signs = Signs { impostor: identity == Identity::Impostor, ..signs };
        let score = signs.score(&self.scores);
        let told = format!("score={score}; bot={name}; category={category}; identity={}", identity.as_str());
        self.tell(call, &told);
        self.counted.note(match identity {
            Identity::Declared => DECLARED,
            Identity::Verified => VERIFIED,
            Identity::Unverified => UNVERIFIED,
            Identity::Impostor => IMPOSTOR,
        });
        if score >= self.threshold {
            let reason = match identity {
                Identity::Unverified => format!("it says that it is {name}: {}", signs.words()),
                _ => format!("it is not {name}, which it says it is"),
            };
            return self.object(call, &reason, Some(score), forbidden(&reason));
        }
        let is_unverified = identity == Identity::Unverified;
        let class = if is_unverified { bot.class.max(self.unverified) } else { bot.class };
        match class {
            BotClass::Allow => Verdict::Continue,
            BotClass::Deny => {
                self.counted.note(DENIED);
                let reason = match bot.class {
                    BotClass::Deny => format!("{name} ({category}) is denied"),
                    _ => format!("nobody says that it is {name}, as it says itself"),
                };
                self.object(call, &reason, None, forbidden(&reason))
            }
            BotClass::Limit => {
                match self.limiter.check(&counted_as(name, is_unverified), Instant::now(), 1) {
                    Decision::Allowed { .. } => Verdict::Continue,
                    Decision::Limited { retry_after, .. } => {
                        self.counted.note(LIMITED);
                        let reason = format!("{name} ({category}) comes too often");
                        let failure = Failure::refused(Problem::RateLimited)
                            .with_retry_after(retry_after)
                            .with_detail(reason.clone());
                        self.object(call, &reason, None, failure)
                    }
                }
            }
        }
    }

    fn signs(&self, call: &Call) -> Signs {
        let switches = matches!(call.upgrade, Some(Upgrade::Connection | Upgrade::Stream));
        Signs::of(&call.head.headers, agent_of(call), switches, self.oldest)
    }

    /// Judges whoever does not say that it is a bot.
    fn undeclared(&self, call: &mut Call) -> Verdict {
        let signs = self.signs(call);
        let score = signs.score(&self.scores);
        let words = signs.words();
        let told = match words.is_empty() {
            true => format!("score={score}"),
            false => format!("score={score}; signs={words}"),
        };
        self.tell(call, &told);
        if score < self.threshold {
            self.counted.note(PASSED);
            return Verdict::Continue;
        }
        self.counted.note(SUSPECT);
        self.object(call, &words, Some(score), forbidden(&words))
    }

    fn tell(&self, call: &mut Call, told: &str) {
        if let (Some(header), Ok(value)) = (&self.header, HeaderValue::from_str(told)) {
            call.head.headers.insert(header.clone(), value);
        }
    }

    fn object(&self, call: &mut Call, reason: &str, score: Option<u32>, failure: Failure) -> Verdict {
        let refuses = self.mode == BotMode::Block;
        let outcome = if refuses { "refused" } else { "flagged" };
        call.record.judged.push(Judged { policy: "botDetection", outcome, reason: reason.into(), score });
        if refuses { Verdict::Fail(failure) } else { Verdict::Continue }
    }
}

/// Two agents are none: which one would be meant?
fn agent_of(call: &Call) -> Option<&[u8]> {
    in_header(&call.head.headers, &header::USER_AGENT).ok().flatten()
}

/// Whoever only says that it is a bot takes nothing of what the bot may. No name has a line break.
fn counted_as(name: &str, is_unverified: bool) -> Vec<u8> {
    let mark: &[u8] = if is_unverified { b"\n" } else { b"" };
    [name.as_bytes(), mark].concat()
}

fn forbidden(reason: &str) -> Failure {
    Failure::refused(Problem::Forbidden).with_detail(reason.to_owned())
}

fn identity(bot: &Bot, names: &Names) -> Identity {
    match names {
        None => Identity::Unverified,
        Some(names) if names.iter().any(|name| is_in(name, &bot.domains)) => Identity::Verified,
        Some(_) => Identity::Impostor,
    }
}

impl NeedsOf for model::policy::BotDetection {
    fn needs(&self) -> Needs {
        let read =
            ["user-agent", "accept", "accept-language", "accept-encoding", "sec-ch-ua", "sec-ch-ua-platform"];
        let set: Vec<HeaderName> = self.header.iter().map(model::HeaderName::to_http).collect();
        let all = read.into_iter().map(HeaderName::from_static).chain(set.clone());
        Needs { set, ..Needs::headers(all) }
    }
}

impl Policy for BotDetection {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if let Some(header) = &self.header {
            call.head.headers.remove(header);
        }
        let found =
            agent_of(call).and_then(|agent| self.table.find(agent.get(..AGENT_BYTES_MAX).unwrap_or(agent)));
        let verdict = match found {
            None => self.undeclared(call),
            // Who is denied need not be verified.
            Some((_, bot)) if bot.class == BotClass::Deny => self.declared(call, bot, Identity::Declared),
            Some((_, bot)) => match self.look(bot, call) {
                Ok(identity) => self.declared(call, bot, identity),
                Err(mut told) => {
                    return Flow::Wait(Box::pin(async move {
                        let told = tokio::time::timeout(self.patience, told.wait_for(Option::is_some)).await;
                        let names = match told {
                            Ok(Ok(names)) => names.clone().flatten(),
                            Ok(Err(_)) | Err(_) => None,
                        };
                        self.declared(call, bot, identity(bot, &names))
                    }));
                }
            },
        };
        match verdict {
            Verdict::Continue => Flow::Continue,
            Verdict::Answer(answer) => Flow::Answer(answer),
            Verdict::Fail(failure) => Flow::Fail(failure),
        }
    }
}
