//! Requests taken apart: what rules look at of a query, of cookies and of a body.

pub(crate) mod form;
mod json;
mod multipart;
mod xml;

use crate::rules::Processor;

/// Arguments and parts that a request may have; more are an error of the body.
pub(crate) const ARGUMENTS_MAX: usize = 20_000;

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

/// Takes a body apart.
pub(crate) fn take_apart(processor: Processor, content_type: &[u8], body: &[u8]) -> Parts {
    let mut parts = Parts::default();
    let result = match processor {
        Processor::Form => {
            let (arguments, is_well) = form::pairs(body);
            parts.arguments = arguments;
            parts.is_badly_encoded = !is_well;
            Ok(())
        }
        Processor::Json => json::flatten(body, &mut parts.arguments),
        Processor::Multipart => multipart::read(content_type, body, &mut parts),
        Processor::Xml => xml::read(body, &mut parts),
    };
    parts.error = result.err();
    let count =
        parts.arguments.len().max(parts.files.len()).max(parts.headers.len()).max(parts.attributes.len());
    if count > ARGUMENTS_MAX {
        parts.error = Some(format!("more than {ARGUMENTS_MAX} arguments"));
        parts.arguments.truncate(ARGUMENTS_MAX);
        parts.files.truncate(ARGUMENTS_MAX);
        parts.headers.truncate(ARGUMENTS_MAX);
        parts.attributes.truncate(ARGUMENTS_MAX);
    }
    parts
}
