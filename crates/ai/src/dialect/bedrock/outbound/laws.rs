//! Laws of streams: whatever a provider sends, and whatever is told of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::stream::Reader;
use crate::{
    dialect::{Telling, anthropic::laws, bedrock::inbound::Writer},
    stream::{Frame, FrameReader, Framing},
};

fn frame() -> impl Strategy<Value = Frame> {
    let starts = prop::sample::select(vec![
        json!({"toolUse": {"toolUseId": "t", "name": "f"}}),
        json!({"toolUse": {"toolUseId": "t", "name": "f", "type": "server_tool_use"}}),
        json!({"toolResult": {"toolUseId": "t"}}),
        json!({"image": {"format": "png"}}),
        json!({}),
    ]);
    let deltas = prop::sample::select(vec![
        json!({"text": "a"}),
        json!({"toolUse": {"input": "{"}}),
        json!({"reasoningContent": {"text": "a"}}),
        json!({"reasoningContent": {"signature": "s"}}),
        json!({"reasoningContent": {"redactedContent": "AA=="}}),
        json!({"citation": {"title": "t"}}),
        json!({"image": {"source": {"bytes": "AA=="}}}),
        json!({"toolResult": [{"text": "a"}]}),
        json!(null),
    ]);
    let others = prop::sample::select(vec![
        ("messageStart", json!({"role": "assistant"})),
        ("messageStop", json!({"stopReason": "end_turn"})),
        (
            "metadata",
            json!({"usage": {"inputTokens": u64::MAX, "outputTokens": 1, "cacheReadInputTokens": 1}}),
        ),
        ("throttlingException", json!({"message": "slow down"})),
        ("unheardOf", json!(3)),
    ]);
    let index = || prop_oneof![Just(json!(0)), Just(json!(1)), Just(json!(u64::MAX)), Just(json!("x"))];
    let with = |event: &'static str, key: &'static str| {
        move |(index, value): (Value, Value)| (event, json!({"contentBlockIndex": index, key: value}))
    };
    let frames = prop_oneof![
        3 => (index(), starts).prop_map(with("contentBlockStart", "start")),
        5 => (index(), deltas).prop_map(with("contentBlockDelta", "delta")),
        2 => index().prop_map(|index| ("contentBlockStop", json!({"contentBlockIndex": index}))),
        1 => others,
    ];
    frames.prop_map(|(event, data)| Frame {
        event: event.to_owned(),
        exception: event.ends_with("Exception"),
        data: data.to_string().into_bytes(),
    })
}

proptest! {
    #[test]
    fn whatever_comes_the_order_of_events_is_kept_and_what_is_told_is_read_again(
        frames in proptest::collection::vec(frame(), 0..24),
    ) {
        let told = laws::hold(&mut Reader::default(), &mut Writer::new(Telling::default()), frames);
        let mut again = Vec::new();
        prop_assert!(FrameReader::new(Framing::EventStream).push(&told, &mut again).is_ok());
        laws::hold(&mut Reader::default(), &mut Writer::new(Telling::default()), again);
    }
}
