//! `ipReputation`: refuses client addresses that lists tell of.
//!
//! A call looks at what is known now, and waits for nothing: fetching and reading are the background's.

mod list;
pub(crate) mod parse;

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use aws_lc_rs::digest;
use http::{HeaderName, HeaderValue};
use model::{Enforcement, policy::ip_reputation::UntilLoaded};

use self::list::{Content, List, Share};
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
    /// Whether calls wait for all lists to be there.
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
            let new = |content| List::new(list, content, Share::of(&networks), Share::of(&failing));
            let wrong = |error: String| format!("the list `{}`: {error}", list.name);
            lists.push(match &list.file {
                Some(file) => {
                    // Read once, whoever uses it and however often the configuration is loaded.
                    let bytes = cx.snapshot.file(file);
                    let digest = digest::digest(&digest::SHA256, &bytes);
                    let identity = (list, digest.as_ref());
                    let kept = cx.keep(&format!("file-{}", list.name), &identity, || new(Arc::default()));
                    if !kept.is_there() {
                        kept.fill(&bytes, list).map_err(wrong)?;
                    }
                    kept
                }
                None => {
                    // What was fetched stays while the address does.
                    let content = cx.keep(&format!("content-{}", list.name), &list.url, Content::default);
                    let kept = cx.keep(&format!("list-{}", list.name), list, || new(content));
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

    /// The names of the lists that tell of the client, and whether all lists are there.
    fn listed(&self, call: &Call) -> (Vec<&str>, bool) {
        let mut names = Vec::new();
        let mut are_all_there = true;
        for list in &self.lists {
            match list.tells_of(call.client) {
                Some(true) => names.push(&*list.name),
                Some(false) => {}
                None => are_all_there = false,
            }
        }
        (names, are_all_there)
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
        let (names, are_all_there) = self.listed(call);
        let is_allowed = self.allow.contains(call.client);
        if names.is_empty() && !are_all_there && self.waits && !is_allowed {
            self.counted.note(UNLOADED);
            if !judged::object(call, "ipReputation", self.mode, "not every list is there yet") {
                return Flow::Continue;
            }
            return Flow::Fail(
                Failure::refused(Problem::Unavailable)
                    .with_retry_after(RETRY_AFTER)
                    .with_detail("not every list of addresses was fetched yet"),
            );
        }
        if names.is_empty() {
            self.counted.note(PASSED);
            return Flow::Continue;
        }
        if is_allowed {
            self.counted.note(ALLOWED);
            return Flow::Continue;
        }
        let names = names.join(",");
        if judged::object(call, "ipReputation", self.mode, names.as_str()) {
            self.counted.note(REFUSED);
            return Flow::Fail(
                Failure::refused(Problem::Forbidden)
                    // Its address is in the record, masked where that is wanted.
                    .with_detail(format!("the client address is on the list {names}")),
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
