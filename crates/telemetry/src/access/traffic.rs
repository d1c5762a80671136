//! How a call was sent on its way, in a line.

use model::TrafficRecord;

use super::line::{duration, field, key};
use crate::json;

pub(super) fn write(traffic: &TrafficRecord, out: &mut Vec<u8>) {
    if let Some(moved) = &traffic.moved {
        key("strangler", out);
        out.extend_from_slice(b"{\"rule\":");
        json::text(&moved.rule, out);
        field("side", moved.side, out);
        field("why", moved.why, out);
        out.push(b'}');
    }
    if let Some(class) = &traffic.class {
        key("priority", out);
        out.extend_from_slice(b"{\"class\":");
        json::text(&class.class, out);
        duration("waited_ms", class.waited, out);
        out.push(b'}');
    }
    if let Some(held) = traffic.held {
        duration("held_ms", held, out);
    }
    if let Some(paced) = &traffic.paced {
        let (request, response) = paced.waited();
        duration("request_paced_ms", request, out);
        duration("response_paced_ms", response, out);
    }
    if let Some(why) = traffic.socket_end.as_ref().and_then(|end| end.get()) {
        field("websocket_closed", why, out);
    }
}
