//! User names as they are counted: whoever a directory takes for one is one here, however the name is written.

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// A name without what directories pass over: capitals, compatibility forms, spaces, characters that nobody sees (RFC 4518),
/// and marks, which Active Directory passes over as well. That may make one of two users who are two elsewhere, which
/// costs less than one user who has many counts.
pub(super) fn folded(name: &str) -> String {
    // By way of capitals, so that `ß` is `ss`.
    let plain: String = name.nfkd().filter(|c| !is_passed_over(*c)).collect();
    let folded = plain.to_uppercase().to_lowercase();
    folded.nfkd().filter(|c| !is_passed_over(*c)).collect()
}

fn is_passed_over(c: char) -> bool {
    c.is_whitespace() || c.is_control() || is_combining_mark(c) || is_unseen(c)
}

/// What is there and not seen.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_one_however_it_is_written() {
        for name in [
            "ann",
            "ANN",
            " ann ",
            "a nn",
            "\u{ff41}nn",
            "a\u{ad}nn",
            "a\u{200b}nn",
            "\u{e4}nn",
            "a\u{308}nn",
            "ann\u{feff}",
            "a\tnn",
        ] {
            assert_eq!(folded(name), "ann", "{name:?}");
        }
        assert_eq!(folded("Stra\u{df}e"), folded("STRASSE"));
        assert_eq!(folded("\u{212a}im"), "kim", "the sign of Kelvin");
        for other in ["anne", "an", "nan", "\u{430}nn"] {
            assert_ne!(folded(other), "ann", "{other}");
        }
    }
}
