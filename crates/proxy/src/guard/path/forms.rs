//! Ambiguous forms in a path: what they are and whether the rules allow them.

use std::fmt;

use super::{Allowance, PathRefusal, PathRules};

/// A form that two readers may take for different paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `%2F`.
    EncodedSlash = 1,
    /// `;`, raw or as `%3B`.
    Semicolon = 2,
    /// A backslash, raw or as `%5C`.
    Backslash = 4,
    /// `%00`, or the escape of another control character.
    Nul = 8,
    /// `%25` before two hexadecimal digits.
    DoubleEncoding = 16,
}

const ALL: [Form; 5] =
    [Form::EncodedSlash, Form::Semicolon, Form::Backslash, Form::Nul, Form::DoubleEncoding];

impl Form {
    /// The form that an escape of this byte is.
    pub(super) fn of_escaped(byte: u8) -> Option<Self> {
        match byte {
            b'/' => Some(Self::EncodedSlash),
            b';' => Some(Self::Semicolon),
            b'\\' => Some(Self::Backslash),
            0..=0x1f | 0x7f => Some(Self::Nul),
            _ => None,
        }
    }

    fn rule(self, rules: &PathRules) -> Allowance {
        let rule = match self {
            Self::EncodedSlash => rules.encoded_slash,
            Self::Semicolon => rules.semicolon,
            Self::Backslash => rules.backslash,
            Self::Nul => rules.nul,
            Self::DoubleEncoding => rules.double_encoding,
        };
        rule.unwrap_or_default()
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EncodedSlash => "an encoded slash (`%2F`)",
            Self::Semicolon => "a semicolon",
            Self::Backslash => "a backslash",
            Self::Nul => "an encoded control character (`%00`)",
            Self::DoubleEncoding => "an escape that is escaped again (`%25..`)",
        })
    }
}

/// A set of forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Forms(u8);

impl Forms {
    /// Whether none was found.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn note(&mut self, form: Form) {
        self.0 |= form as u8;
    }

    /// Refuses the first form that the rules do not allow.
    pub(crate) fn judge(self, rules: &PathRules) -> Result<(), PathRefusal> {
        if self.is_empty() {
            return Ok(());
        }
        let refused = |form: &Form| self.0 & *form as u8 != 0 && form.rule(rules) == Allowance::Reject;
        ALL.into_iter().find(refused).map_or(Ok(()), |form| Err(PathRefusal::Form(form)))
    }
}
