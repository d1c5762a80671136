//! What operators see of copies: how many were sent, and which fields of their answers differ.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;
use telemetry::{Collect, Exposition};

use super::{compare::Found, overheard::LeftOut};
use crate::{compiled::Compiled, worker::Shared};

/// The name under which compiled snapshots keep what copies came to.
pub(super) const KEPT: &str = "mirrored";
/// Fields that are told apart; the others are counted as one.
const FIELDS_MAX: usize = 200;
/// The same of one route, of which there may be many.
const FIELDS_OF_ROUTE_MAX: usize = 50;
/// Routes that are told apart.
const ROUTES_MAX: usize = 500;
/// What the fields beyond that are counted as.
const OTHERS: &str = "(others)";

/// What the copies of one policy came to. It goes on over reloads while its upstream stays.
#[derive(Default)]
pub(crate) struct Mirrored {
    pub(super) sent: AtomicU64,
    left_out: [AtomicU64; LeftOut::ALL.len()],
    pub(super) failed: AtomicU64,
    pub(super) uncompared: AtomicU64,
    same: AtomicU64,
    different: AtomicU64,
    found: Mutex<Differing>,
}

/// In what answers differ.
#[derive(Default)]
struct Differing {
    fields: Fields,
    routes: BTreeMap<String, OfRoute>,
}

type Fields = BTreeMap<String, Field>;

/// A field that differs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// How many answers differ in it.
    pub count: u64,
    /// What the last of those clients got.
    pub own: String,
    /// What its copy got.
    pub other: String,
}

/// The copies of one policy.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorStatus {
    /// Where the policy stands, such as `routes/catalog`.
    pub name: String,
    /// Copies that were sent.
    pub sent: u64,
    /// Requests that were not copied.
    pub left_out: u64,
    /// The same by why: `busy`, `memory`, `too-large`, `slow`, `broken`.
    pub left_out_by: BTreeMap<&'static str, u64>,
    /// Copies without an answer in time.
    pub failed: u64,
    /// Answers to copies whose clients got none to compare them with.
    pub uncompared: u64,
    /// Answers that are the same.
    pub same: u64,
    /// Answers that differ.
    pub different: u64,
    /// In what: `status`, `header:` and a name, `body`, `json:` and a path.
    pub fields: BTreeMap<String, Field>,
    /// The same of each route whose requests were copied.
    pub routes: BTreeMap<String, OfRoute>,
}

/// The copies of one route's requests.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OfRoute {
    /// Answers that are the same.
    pub same: u64,
    /// Answers that differ.
    pub different: u64,
    /// In what.
    pub fields: BTreeMap<String, Field>,
}

impl Mirrored {
    pub(super) fn left_out(&self, why: LeftOut) {
        self.left_out[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note(&self, route: Option<&str>, found: &Found) {
        let is_same = found.differences.is_empty();
        let counter = if is_same { &self.same } else { &self.different };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut all.fields, found, FIELDS_MAX);
        let Some(route) = route else { return };
        let is_known = all.routes.contains_key(route) || all.routes.len() < ROUTES_MAX;
        let of_route = all.routes.entry(if is_known { route } else { OTHERS }.to_owned()).or_default();
        of_route.same += u64::from(is_same);
        of_route.different += u64::from(!is_same);
        add(&mut of_route.fields, found, FIELDS_OF_ROUTE_MAX);
    }

    fn status(&self, name: String) -> MirrorStatus {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let left_out_by: BTreeMap<&'static str, u64> =
            LeftOut::ALL.iter().map(|why| (why.as_str(), count(&self.left_out[*why as usize]))).collect();
        MirrorStatus {
            name,
            sent: count(&self.sent),
            left_out: left_out_by.values().sum(),
            left_out_by,
            failed: count(&self.failed),
            uncompared: count(&self.uncompared),
            same: count(&self.same),
            different: count(&self.different),
            fields: found.fields.clone(),
            routes: found.routes.clone(),
        }
    }
}

/// Counts the fields in which one answer differs from another.
fn add(fields: &mut Fields, found: &Found, fields_max: usize) {
    let mut seen = Vec::with_capacity(found.differences.len());
    for one in &found.differences {
        let is_known = fields.contains_key(&one.field) || fields.len() < fields_max;
        let name = if is_known { one.field.as_str() } else { OTHERS };
        // Of a list each item may differ in the same field: that is one answer all the same.
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let empty = || Field { count: 0, own: String::new(), other: String::new() };
        let field = fields.entry(name.to_owned()).or_insert_with(empty);
        field.count += 1;
        (field.own, field.other) = (one.own.clone(), one.other.clone());
    }
}

/// The copies of every policy, by its place.
pub(crate) fn status(compiled: &Compiled) -> Vec<MirrorStatus> {
    let all: Vec<(String, Arc<Mirrored>)> = compiled.kept::<Mirrored>();
    let place = |place: &str| place.replacen(&format!("/mirror/{KEPT}"), "", 1);
    let mut all: Vec<_> = all.iter().map(|(name, mirrored)| mirrored.status(place(name))).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// Tells of the live configuration's copies at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let all = status(&shared.compiled.load());
        let help = "Requests that were to be copied to another upstream, by what came of their copies.";
        for one in &all {
            for (outcome, count) in [
                ("left_out", one.left_out),
                ("failed", one.failed),
                ("uncompared", one.uncompared),
                ("same", one.same),
                ("different", one.different),
            ] {
                let labels = [("mirror", one.name.as_str()), ("outcome", outcome)];
                out.counter("tidegate_mirror_copies_total", help, &labels, count as f64);
            }
        }
        let help = "Requests that were to be copied to another upstream and were not, by why.";
        for one in &all {
            for (why, count) in &one.left_out_by {
                let labels = [("mirror", one.name.as_str()), ("reason", *why)];
                out.counter("tidegate_mirror_left_out_total", help, &labels, *count as f64);
            }
        }
        let help = "Copies that were sent to another upstream.";
        for one in &all {
            out.counter("tidegate_mirror_sent_total", help, &[("mirror", &one.name)], one.sent as f64);
        }
        let help = "Answers to copies that differ from their clients', by kind of the field.";
        for one in &all {
            for kind in ["status", "header", "body", "json"] {
                let of_kind = |name: &String| name.split(':').next() == Some(kind);
                let fields = one.fields.iter().filter(|(name, _)| of_kind(name));
                let count: u64 = fields.map(|(_, field)| field.count).sum();
                let labels = [("mirror", one.name.as_str()), ("kind", kind)];
                out.counter("tidegate_mirror_differences_total", help, &labels, count as f64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Difference;

    use super::*;

    #[test]
    fn fields_are_counted_once_for_each_answer_and_bounded() {
        let mirrored = Mirrored::default();
        let found = |fields: &[String]| {
            let one =
                |field: &String| Difference { field: field.clone(), own: "1".into(), other: "2".into() };
            Found { differences: fields.iter().map(one).collect(), is_cut: false }
        };
        mirrored.note(Some("r"), &found(&[]));
        mirrored.note(Some("r"), &found(&["status".into(), "json:a[]".into(), "json:a[]".into()]));
        for number in 0..1000 {
            mirrored.note(Some("r"), &found(&[format!("json:{number}")]));
        }
        let status = mirrored.status("routes/r".into());
        assert_eq!((status.same, status.different), (1, 1001));
        assert_eq!(status.fields["json:a[]"].count, 1);
        assert_eq!(status.fields.len(), FIELDS_MAX + 1);
        assert_eq!(status.fields[OTHERS].count, 1000 - (FIELDS_MAX as u64 - 2));
        let route = &status.routes["r"];
        assert_eq!((route.same, route.different, route.fields.len()), (1, 1001, FIELDS_OF_ROUTE_MAX + 1));
        for number in 0..2 * ROUTES_MAX {
            mirrored.note(Some(&format!("r{number}")), &found(&["status".into()]));
        }
        let routes = mirrored.status("routes/r".into()).routes;
        assert_eq!((routes.len(), routes[OTHERS].different), (ROUTES_MAX + 1, ROUTES_MAX as u64 + 1));
    }
}
