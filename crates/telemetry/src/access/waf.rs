//! What rules against attacks said, in a line.

use model::WafRecord;

use super::line::{field, key, number};
use crate::json;

pub(super) fn write(waf: &WafRecord, out: &mut Vec<u8>) {
    key("waf", out);
    out.extend_from_slice(b"{\"outcome\":");
    json::text(waf.outcome, out);
    if let Some(by) = waf.by {
        number("by", u64::from(by), out);
    }
    for (name, score) in [("score", waf.score), ("answer_score", waf.answer_score)] {
        if score != 0 {
            number(name, score.unsigned_abs(), out);
        }
    }
    key("rules", out);
    out.push(b'[');
    for (at, fired) in waf.fired.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(fired.rule.to_string().as_bytes());
    }
    out.push(b']');
    let matched = || waf.fired.iter().filter_map(|fired| Some((fired.rule, fired.matched.as_ref()?)));
    if matched().next().is_some() {
        key("matches", out);
        let mut separator = b'[';
        for (rule, (place, text)) in matched() {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(b"{\"rule\":");
            out.extend_from_slice(rule.to_string().as_bytes());
            field("at", place, out);
            field("text", text, out);
            out.push(b'}');
        }
        out.push(b']');
    }
    out.push(b'}');
}
