//! How the answer to a copied request differs, in a line of its own.

use model::MirrorRecord;

use super::line::{field, key, number};
use crate::json;

pub(super) fn write(mirrored: &MirrorRecord, out: &mut Vec<u8>) {
    key("mirror", out);
    out.extend_from_slice(b"{\"policy\":");
    json::text(&mirrored.policy, out);
    number("own_status", u64::from(mirrored.status.0), out);
    number("status", u64::from(mirrored.status.1), out);
    key("differences", out);
    let mut separator = b'[';
    for one in &mirrored.differences {
        out.push(separator);
        separator = b',';
        out.extend_from_slice(b"{\"field\":");
        json::text(&one.field, out);
        field("own", &one.own, out);
        field("other", &one.other, out);
        out.push(b'}');
    }
    out.extend_from_slice(if mirrored.differences.is_empty() { b"[]" } else { b"]" });
    out.extend_from_slice(if mirrored.is_cut { b",\"cut\":true}" } else { b"}" });
}
