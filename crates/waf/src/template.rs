//! Texts with macros: `%{tx.score}`, `%{MATCHED_VAR}`.

use crate::variable::{self, Variable};

/// A text whose macros are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Box<str>),
    Variable(Variable, Option<Box<str>>),
}

impl Template {
    /// Reads a text; a macro of something unknown is an error.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("%{") {
            let (before, from) = rest.split_at(start);
            let Some(end) = from.find('}') else { break };
            let inside = from.get(2..end).unwrap_or_default();
            let (name, key) = match inside.split_once(['.', ':']) {
                Some((name, key)) => (name, Some(key.to_ascii_lowercase())),
                None => (inside, None),
            };
            let upper = name.trim().to_ascii_uppercase();
            let Some(variable) = Variable::named(&upper) else {
                let remedy = variable::absent(&upper).unwrap_or("expected a variable such as `%{tx.name}`");
                return Err(format!("the macro `%{{{inside}}}` names no variable that is here: {remedy}"));
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            pieces.push(Piece::Variable(variable, key.map(String::into_boxed_str)));
            rest = from.get(end + 1..).unwrap_or_default();
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self { pieces })
    }

    /// The text, when it has no macro.
    pub(crate) fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}
