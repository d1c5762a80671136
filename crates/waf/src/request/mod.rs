//! Requests taken apart: what rules look at of a query, of cookies and of a body.

pub(crate) mod form;
mod json;
mod multipart;
mod xml;

use crate::rules::Processor;

/// Arguments that a request may have when the rules do not say otherwise, and the most that they may say. More are an
/// error of the body.
pub(crate) const ARGUMENTS: usize = 1_000;
pub(crate) const ARGUMENTS_MAX: usize = 20_000;

/// What is said of a request that has more arguments than it may.
pub(crate) fn too_many(most: usize) -> String {
    format!("more than {most} arguments")
}

/// Bytes that the names of all values may have: paths repeat what stands in the body once.
fn names_max(body: &[u8]) -> usize {
    4 * body.len() + (1 << 20)
}

/// A name and a value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// A body, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) arguments: Vec<Pair>,
    /// Name of the field, name of the file, size.
    pub(crate) files: Vec<(Vec<u8>, Vec<u8>, usize)>,
    /// Name of the field, line of the header.
    pub(crate) headers: Vec<Pair>,
    /// Bytes of names that headers repeat.
    name_bytes: usize,
    pub(crate) texts: Vec<Vec<u8>>,
    pub(crate) attributes: Vec<Pair>,
    pub(crate) faults: Faults,
    /// A percent sign that begins nothing.
    pub(crate) is_badly_encoded: bool,
    /// Why it could not be taken apart.
    pub(crate) error: Option<String>,
}

/// What is not strictly well-formed in a multipart body.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) boundary_quoted: bool,
    pub(crate) boundary_whitespace: bool,
    pub(crate) data_before: bool,
    pub(crate) data_after: bool,
    pub(crate) header_folding: bool,
    pub(crate) lf_line: bool,
    pub(crate) missing_semicolon: bool,
    pub(crate) invalid_quoting: bool,
    pub(crate) invalid_part: bool,
    pub(crate) invalid_header_folding: bool,
    pub(crate) too_many: bool,
    pub(crate) unmatched_boundary: bool,
}

impl Faults {
    /// Whether anything but an unmatched boundary is wrong.
    pub(crate) fn is_any(self) -> bool {
        Self { unmatched_boundary: false, ..self } != Self::default()
    }
}

/// Takes a body apart, into so many arguments at most.
pub(crate) fn take_apart(processor: Processor, content_type: &[u8], body: &[u8], most: usize) -> Parts {
    let mut parts = Parts::default();
    let result = match processor {
        Processor::Form => {
            let pairs = form::pairs(body, most);
            parts.arguments = pairs.found;
            parts.is_badly_encoded = pairs.is_badly_encoded;
            pairs.error.map_or(Ok(()), Err)
        }
        Processor::Json => json::flatten(body, most, &mut parts.arguments),
        Processor::Multipart => multipart::read(content_type, body, &mut parts),
        Processor::Xml => xml::read(body, &mut parts),
    };
    parts.error = result.err();
    if parts.arguments.len() > most {
        parts.error = Some(too_many(most));
        parts.arguments.truncate(most);
    }
    parts
}
