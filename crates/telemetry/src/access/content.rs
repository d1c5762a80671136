//! What policies over content found, in a line.

use model::ContentRecord;

use super::line::key;
use crate::json;

pub(super) fn write(content: &ContentRecord, out: &mut Vec<u8>) {
    let texts = [
        ("operation", content.operation.as_deref()),
        ("request", content.request),
        ("answer", content.answer),
    ];
    key("content", out);
    let mut separator = b'{';
    let mut name = |name: &str, out: &mut Vec<u8>| {
        out.push(separator);
        separator = b',';
        json::text(name, out);
        out.push(b':');
    };
    for (key, text) in texts {
        if let Some(text) = text {
            name(key, out);
            json::text(text, out);
        }
    }
    name("faults", out);
    out.push(b'[');
    for (at, fault) in content.faults.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::text(fault, out);
    }
    out.extend_from_slice(b"]}");
}
