//! `ipReputation`: refuses client addresses that lists tell of.
//!
//! A call looks at what is known now, and waits for nothing: fetching and reading are the background's.

mod list;
pub(crate) mod parse;

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use model::{Enforcement, policy::ip_reputation::UntilLoaded};

use self::list::{List, Share};
use super::{
    Flow, Needs, NeedsOf, Policy,
    counted::{Counted, Gauge, Metric},
    judged,
    networks::Networks,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
};

static METRIC: Metric = Metric {
    name: "tidegate_ip_reputation_total",
    help: "Calls by what lists say of the client's address; `allowed` are on one and let in all the same.",
    outcomes: &["passed", "allowed", "detected", "refused", "unloaded"],
    gauges: &[
        Gauge {
            name: "tidegate_ip_reputation_networks",
            help: "Networks that the lists of a policy tell of.",
        },
        Gauge {
            name: "tidegate_ip_reputation_failing_lists",
            help: "Lists of a policy that could not be fetched the last time, and are as they were.",
        },
    ],
};
const PASSED: usize = 0;
const ALLOWED: usize = 1;
const DETECTED: usize = 2;
const REFUSED: usize = 3;
const UNLOADED: usize = 4;
const NETWORKS: usize = 0;
const FAILING: usize = 1;

/// When callers may try again while there are no lists.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The compiled policy.
pub(crate) struct IpReputation {
    lists: Vec<Arc<List>>,
    allow: Networks,
    mode: Enforcement,
    header: Option<HeaderName>,
    waits: bool,
    counted: Arc<Counted>,
}

impl IpReputation {
    pub(crate) fn compile(settings: &model::policy::IpReputation, cx: &Building<'_>) -> Result<Self, String> {
        let counted = Counted::of(&METRIC, cx);
        let total = |gauge: usize, key: &str| {
            let total = cx.keep(key, &(), || AtomicU32::new(0));
            counted.watch(gauge, &total);
            total
        };
        let (networks, failing) = (total(NETWORKS, "networks"), total(FAILING, "failing"));
        let mut lists = Vec::with_capacity(settings.lists.len());
        for list in &settings.lists {
            let new = || List::new(list, Share::of(&networks), Share::of(&failing));
            let wrong = |error: String| format!("the list `{}`: {error}", list.name);
            lists.push(match &list.file {
                Some(file) => {
                    let filled = new();
                    filled.fill(&cx.snapshot.file(file), list).map_err(wrong)?;
                    Arc::new(filled)
                }
                None => {
                    let kept = cx.keep(&format!("list-{}", list.name), list, new);
                    List::start(&kept, list, cx.background).map_err(wrong)?;
                    kept
                }
            });
        }
        Ok(Self {
            lists,
            allow: Networks::new(&settings.allow),
            mode: settings.mode,
            header: settings.header.as_ref().map(model::HeaderName::to_http),
            waits: settings.until_loaded == UntilLoaded::Closed,
            counted,
        })
    }

    /// The names of the lists that tell of the client; `None` when they are not all there and that matters.
    fn listed(&self, call: &Call) -> Option<Vec<&str>> {
        let mut names = Vec::new();
        for list in &self.lists {
            match list.networks() {
                Some(networks) if networks.contains(call.client) => names.push(&*list.name),
                None if self.waits => return None,
                _ => {}
            }
        }
        Some(names)
    }
}

impl NeedsOf for model::policy::IpReputation {
    fn needs(&self) -> Needs {
        let header: Vec<HeaderName> = self.header.iter().map(model::HeaderName::to_http).collect();
        Needs { set: header.clone(), ..Needs::headers(header) }
    }
}

impl Policy for IpReputation {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        if let Some(header) = &self.header {
            call.head.headers.remove(header);
        }
        let Some(names) = self.listed(call) else {
            self.counted.note(UNLOADED);
            return Flow::Fail(
                Failure::refused(Problem::Unavailable)
                    .with_retry_after(RETRY_AFTER)
                    .with_detail("not every list of addresses was fetched yet"),
            );
        };
        if names.is_empty() {
            self.counted.note(PASSED);
            return Flow::Continue;
        }
        if self.allow.contains(call.client) {
            self.counted.note(ALLOWED);
            return Flow::Continue;
        }
        let names = names.join(",");
        if judged::object(call, "ipReputation", self.mode, names.as_str()) {
            self.counted.note(REFUSED);
            return Flow::Fail(
                Failure::refused(Problem::Forbidden)
                    .with_detail(format!("the client address {} is on the list {names}", call.client)),
            );
        }
        self.counted.note(DETECTED);
        if let Some(header) = &self.header
            && let Ok(value) = HeaderValue::from_str(&names)
        {
            call.head.headers.insert(header.clone(), value);
        }
        Flow::Continue
    }
}
