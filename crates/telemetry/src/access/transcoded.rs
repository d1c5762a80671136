//! The gRPC call of a `transcode` route, in a line.

use model::TranscodeRecord;

use super::line::{key, number};
use crate::json;

pub(super) fn write(call: &TranscodeRecord, out: &mut Vec<u8>) {
    key("rpc", out);
    out.extend_from_slice(b"{\"method\":");
    json::text(&call.method, out);
    out.extend_from_slice(b",\"protocol\":");
    json::text(call.protocol, out);
    if call.messages() > 0 {
        number("messages", call.messages(), out);
    }
    out.push(b'}');
}
