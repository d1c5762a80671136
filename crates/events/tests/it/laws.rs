//! Whatever comes: no panic, and what is an event stays the same event.

use bytes::Bytes;
use events::cloud::{Event, decoded, encoded};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_told_and_an_event_stays_one(text in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = Event::batch(&text, 4);
        if let Ok(event) = Event::structured(&text) {
            prop_assert!(Event::structured(&event.to_structured()).is_ok());
        }
    }

    #[test]
    fn a_text_comes_back_from_a_field(text in "\\PC{0,40}") {
        let field = encoded(&text);
        prop_assert!(field.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert_eq!(decoded(field.as_bytes()), Some(text));
    }

    #[test]
    fn any_field_is_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = decoded(&bytes);
    }

    #[test]
    fn an_event_goes_there_and_back(id in "[ -~]{1,20}", subject in "\\PC{1,20}", data in prop::collection::vec(any::<u8>(), 1..64)) {
        let head = [("ce-specversion", "1.0".to_owned()), ("ce-id", encoded(&id)), ("ce-source", "/s".to_owned()),
            ("ce-type", "t".to_owned()), ("ce-subject", encoded(&subject))];
        let fields = head.iter().map(|(name, value)| (*name, value.as_bytes()));
        let kind = Some("application/octet-stream");
        if let Ok(event) = Event::binary(fields, kind, Bytes::from(data.clone())) {
            let again = Event::structured(&event.to_structured()).expect("what was written is read");
            prop_assert_eq!(again.attributes(), event.attributes());
            prop_assert_eq!(again.to_binary().1, data);
        }
    }
}
