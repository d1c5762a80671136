//! What the cases of a prompt came to: a table, JSON, or JUnit's XML.

use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};

use super::{cases::Case, verdict::Verdict};

/// How the calls of a case went.
pub(super) struct Outcome {
    name: String,
    needed: u32,
    pub(super) verdicts: Vec<Verdict>,
}

impl Outcome {
    pub(super) fn new(case: &Case) -> Self {
        let needed = case.at_least.unwrap_or(case.repeat);
        Self { name: case.name.clone(), needed, verdicts: Vec::new() }
    }

    fn good(&self) -> u32 {
        u32::try_from(self.verdicts.iter().filter(|verdict| verdict.faults.is_empty()).count())
            .unwrap_or(u32::MAX)
    }

    /// Enough of its calls were as they must be.
    pub(super) fn passed(&self) -> bool {
        self.good() >= self.needed
    }

    fn took(&self) -> Duration {
        self.verdicts.iter().map(|verdict| verdict.took).max().unwrap_or_default()
    }

    fn version(&self) -> &str {
        self.verdicts.iter().find_map(|verdict| verdict.version.as_deref()).unwrap_or("-")
    }

    /// Each fault once.
    fn faults(&self) -> Vec<&str> {
        let mut faults: Vec<&str> = Vec::new();
        for fault in self.verdicts.iter().flat_map(|verdict| &verdict.faults) {
            if !faults.contains(&fault.as_str()) {
                faults.push(fault);
            }
        }
        faults
    }
}

/// For people.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let width = outcomes.iter().map(|outcome| outcome.name.chars().count()).max().unwrap_or(0).max(4);
    let mut out = String::new();
    let _ = writeln!(out, "      {:width$}  {:>7}  {:>8}  VERSION", "CASE", "PASSED", "SLOWEST");
    for outcome in outcomes {
        let word = if outcome.passed() { "ok" } else { "FAIL" };
        let passed = format!("{}/{}", outcome.good(), outcome.verdicts.len());
        let took = format!("{:.0?}", outcome.took());
        let _ =
            writeln!(out, "{word:4}  {:width$}  {passed:>7}  {took:>8}  {}", outcome.name, outcome.version());
        for fault in outcome.faults() {
            let _ = writeln!(out, "        {fault}");
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let _ = writeln!(out, "{} passed, {failed} failed", outcomes.len() - failed);
    out
}

/// For programs.
pub(super) fn json(outcomes: &[Outcome]) -> Value {
    let cases: Vec<Value> = outcomes
        .iter()
        .map(|outcome| {
            let calls: Vec<Value> = outcome
                .verdicts
                .iter()
                .map(|verdict| {
                    json!({
                        "passed": verdict.faults.is_empty(),
                        "faults": verdict.faults,
                        "millis": u64::try_from(verdict.took.as_millis()).unwrap_or(u64::MAX),
                        "answer": verdict.answer,
                        "version": verdict.version,
                    })
                })
                .collect();
            json!({"name": outcome.name, "passed": outcome.passed(), "calls": calls})
        })
        .collect();
    json!({"passed": outcomes.iter().all(Outcome::passed), "cases": cases})
}

/// For build servers.
pub(super) fn junit(outcomes: &[Outcome], file: &str) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites><testsuite name=\"{}\" tests=\"{}\" failures=\"{failed}\">",
        escaped(file),
        outcomes.len()
    );
    for outcome in outcomes {
        let (name, seconds) = (escaped(&outcome.name), outcome.took().as_secs_f64());
        let _ =
            write!(out, "  <testcase classname=\"{}\" name=\"{name}\" time=\"{seconds:.3}\">", escaped(file));
        if !outcome.passed() {
            let faults = outcome.faults().join("\n");
            let _ = write!(out, "<failure message=\"{}/{} passed\">", outcome.good(), outcome.verdicts.len());
            let _ = write!(out, "{}</failure>", escaped(&faults));
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("</testsuite></testsuites>\n");
    out
}

/// Text within XML. What XML 1.0 has no place for is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
    }
    out
}
