//! What was not carried, told in the caller's words: in the record, in a header field that every client reads, in what a
//! strict route refuses with.
//!
//! A long conversation may lose something in each of its turns. Clients refuse heads of more than 16 KiB and less, and
//! such a call is paid for by then; so the field names some and says how many more there are.

use ai::{
    canon::{Loss, Losses},
    dialect::Dialect,
};

/// Names in one field, and bytes of them.
const LISTED_MAX: usize = 64;
const LISTED_BYTES_MAX: usize = 2048;
/// Bytes of one name: unknown fields are called what their writers like.
const NAME_BYTES_MAX: usize = 160;
/// Stands behind the names of which each is known, where there were others.
const AND_MORE: &str = "and more";

/// What was not carried, in the caller's words.
pub(super) fn named(losses: &Losses, dialect: Dialect) -> Vec<String> {
    named_from(losses, dialect, 0)
}

/// The same without the first so many.
pub(super) fn named_from(losses: &Losses, dialect: Dialect, known: usize) -> Vec<String> {
    let name = |loss: &Loss| match loss {
        Loss::Feature(feature, None) => dialect.feature_name(*feature).to_owned(),
        Loss::Feature(feature, Some(place)) => format!("{place}.{}", dialect.feature_name(*feature)),
        Loss::Field(path) => path.clone(),
    };
    let more = losses.are_more().then(|| AND_MORE.to_owned());
    losses.iter().skip(known).map(|loss| cut(name(loss))).chain(more).collect()
}

/// A name that is no longer than anybody reads.
pub(super) fn cut(mut name: String) -> String {
    if name.len() > NAME_BYTES_MAX {
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
        name.push('…');
    }
    name
}

/// Names in one text of visible ASCII, as many as there is room for.
pub(super) fn listed(names: &[String]) -> String {
    let known = names.iter().filter(|name| *name != AND_MORE);
    let all = known.clone().count();
    let (mut text, mut told) = (String::new(), 0);
    for name in known.take(LISTED_MAX) {
        let before = text.len();
        if told > 0 {
            text.push_str(", ");
        }
        for byte in name.bytes() {
            match byte {
                b' '..=b'~' => text.push(char::from(byte)),
                other => text.push_str(&format!("%{other:02X}")),
            }
        }
        if text.len() > LISTED_BYTES_MAX {
            text.truncate(before);
            break;
        }
        told += 1;
    }
    let others = names.len() > all;
    match all - told {
        0 if others => text.push_str(", and more"),
        0 => {}
        left if others => text.push_str(&format!(", and more than {left} more")),
        left => text.push_str(&format!(", and {left} more")),
    }
    text
}

#[cfg(test)]
mod tests {
    use ai::canon::Feature;

    use super::*;

    #[test]
    fn a_field_is_valid_and_no_longer_than_clients_read() {
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            listed(&names(&["größe", "a\u{1f}b", "temperature"])),
            "gr%C3%B6%C3%9Fe, a%1Fb, temperature"
        );
        let mut losses = Losses::default();
        for at in 0..5000 {
            losses.feature_at(Feature::ForeignThoughts, format_args!("messages[{at}]"));
        }
        let all = named(&losses, Dialect::Anthropic);
        assert_eq!(all.len(), 1001);
        let told = listed(&all);
        assert!(told.starts_with("messages[0].") && told.ends_with(", and more than 936 more"), "{told}");
        assert!(listed(&all[..912]).ends_with(", and 848 more"));
    }

    #[test]
    fn a_name_is_cut() {
        let mut losses = Losses::default();
        losses.add(Loss::Field("ö".repeat(5000)));
        let all = named(&losses, Dialect::OpenAiChat);
        assert!(all[0].len() <= NAME_BYTES_MAX + 3 && all[0].ends_with('…'));
        assert!(listed(&all).starts_with("%C3%B6"));
    }
}
