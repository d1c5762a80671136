//! Laws of streams: whatever a provider sends, and whatever is told of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::stream::Reader;
use crate::{
    dialect::{
        Telling,
        anthropic::{inbound::Writer, laws},
    },
    stream::{Frame, FrameReader, Framing},
};

fn event() -> impl Strategy<Value = Value> {
    let index = || prop_oneof![Just(json!(0)), Just(json!(1)), Just(json!(u64::MAX)), Just(json!("x"))];
    let blocks = prop::sample::select(vec![
        json!({"type": "text", "text": "a"}),
        json!({"type": "thinking", "thinking": "", "signature": "s"}),
        json!({"type": "redacted_thinking", "data": "d"}),
        json!({"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}),
        json!({"type": "server_tool_use", "id": "t", "name": "web_search", "input": {}}),
        json!({"type": 7}),
        json!(null),
    ]);
    let deltas = prop::sample::select(vec![
        json!({"type": "text_delta", "text": "b"}),
        json!({"type": "thinking_delta", "thinking": "b"}),
        json!({"type": "signature_delta", "signature": "s"}),
        json!({"type": "input_json_delta", "partial_json": "{"}),
        json!({"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "c"}}),
        json!({"type": "citations_delta"}),
        json!([]),
    ]);
    let others = prop::sample::select(vec![
        json!({"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": u64::MAX, "cache_read_input_tokens": 2}}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_details": {"explanation": "no"}}, "usage": {"output_tokens": -1}}),
        json!({"type": "message_delta"}),
        json!({"type": "ping"}),
        json!({"type": "message_stop"}),
        json!({"type": "error", "error": {}}),
        json!({"type": "unheard_of"}),
        json!(3),
    ]);
    let with = |kind: &'static str, key: &'static str| move |(index, value): (Value, Value)| json!({"type": kind, "index": index, key: value});
    prop_oneof![
        3 => (index(), blocks).prop_map(with("content_block_start", "content_block")),
        5 => (index(), deltas).prop_map(with("content_block_delta", "delta")),
        2 => index().prop_map(|index| json!({"type": "content_block_stop", "index": index})),
        1 => others,
    ]
}

proptest! {
    #[test]
    fn whatever_comes_the_order_of_events_is_kept_and_what_is_told_is_read_again(
        events in proptest::collection::vec(event(), 0..24),
    ) {
        let frame = |event: Value| Frame { data: event.to_string().into_bytes(), ..Frame::default() };
        let frames: Vec<Frame> = events.into_iter().map(frame).collect();
        let told = laws::hold(&mut Reader::default(), &mut Writer::new(Telling::default()), frames);
        let mut again = Vec::new();
        prop_assert!(FrameReader::new(Framing::Sse).push(&told, &mut again).is_ok());
        laws::hold(&mut Reader::default(), &mut Writer::new(Telling::default()), again);
    }
}
