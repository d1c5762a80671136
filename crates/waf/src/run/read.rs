//! What is read of a call into the variables that rules look at: its head, its body taken apart, and its answer.

use std::rc::Rc;

use super::{Head, Transaction, values::Entry};
use crate::{
    request::{self, form},
    rules::Processor,
    variable::Variable,
};

/// How a body is to be taken apart. That is linear in its length and in one piece, and may be done on another thread.
#[derive(Debug)]
pub struct Cut {
    processor: Processor,
    content_type: Vec<u8>,
    most: usize,
}

/// A body that was taken apart.
#[derive(Debug)]
pub struct Apart(request::Parts);

impl Cut {
    /// Does it.
    pub fn apart(self, body: &[u8]) -> Apart {
        Apart(request::take_apart(self.processor, &self.content_type, body, self.most))
    }
}

impl Transaction {
    pub(super) fn read_head<'h>(
        &mut self,
        head: &Head<'h>,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) {
        let (path, query) = match memchr::memchr(b'?', head.target) {
            Some(at) => {
                (head.target.get(..at).unwrap_or_default(), head.target.get(at + 1..).unwrap_or_default())
            }
            None => (head.target, &[][..]),
        };
        let base = path.iter().rposition(|byte| matches!(byte, b'/' | b'\\')).map_or(0, |at| at + 1);
        let line = [head.method, head.target, head.protocol].join(&b' ');
        self.single(Variable::RequestMethod, head.method);
        self.single(Variable::RequestUri, head.target);
        self.single(Variable::RequestUriRaw, head.target);
        self.single(Variable::RequestFilename, path);
        self.single(Variable::RequestBasename, path.get(base..).unwrap_or_default());
        self.single(Variable::QueryString, query);
        self.single(Variable::RequestLine, &line);
        self.single(Variable::RequestProtocol, head.protocol);
        let client = head.client.to_canonical().to_string();
        self.single(Variable::RemoteAddr, client.as_bytes());
        self.single(Variable::RemoteHost, client.as_bytes());
        self.single(Variable::ServerName, head.server);
        self.single(Variable::UniqueId, head.unique);
        let pairs = form::pairs(query, self.rules.arguments_max);
        self.single(Variable::UrlencodedError, if pairs.is_badly_encoded { b"1" } else { b"0" });
        let size = self.arguments(&pairs.found, [Variable::ArgsGet, Variable::ArgsGetNames]);
        self.single(Variable::ArgsCombinedSize, size.to_string().as_bytes());
        let (mut length, mut kinds) = (line.len() + 4, 0);
        for (name, value) in headers {
            length += name.len() + value.len() + 4;
            let (name, text): (Rc<[u8]>, u32) = (name.into(), self.texts.add(value));
            self.push(Variable::RequestHeaders, Entry { name: name.clone(), text });
            let own = self.texts.add(&name);
            self.push(Variable::RequestHeadersNames, Entry { name: name.clone(), text: own });
            if name.eq_ignore_ascii_case(b"cookie") {
                for (name, value) in form::cookies(value) {
                    self.named(Variable::RequestCookies, Some(Variable::RequestCookiesNames), name, value);
                }
            }
            if name.eq_ignore_ascii_case(b"content-type") {
                kinds += 1;
                let value = value.to_ascii_lowercase();
                let is = |kind: &[u8]| value.starts_with(kind);
                self.processor = match () {
                    () if is(b"application/x-www-form-urlencoded") => Some(Processor::Form),
                    () if is(b"multipart/form-data") => Some(Processor::Multipart),
                    () => self.processor,
                };
            }
        }
        self.single(Variable::FullRequestLength, length.to_string().as_bytes());
        for zero in [Variable::ReqbodyError, Variable::ReqbodyProcessorError, Variable::MultipartStrictError]
        {
            self.single(zero, b"0");
        }
        for zero in [
            Variable::MultipartUnmatchedBoundary,
            Variable::InboundDataError,
            Variable::OutboundDataError,
            Variable::FilesCombinedSize,
        ] {
            self.single(zero, b"0");
        }
        if let Some(error) = pairs.error {
            self.unreadable(&error);
        }
        // Whoever reads the body goes by the first, or by the last.
        if kinds > 1 {
            self.unreadable("the request has more than one Content-Type");
        }
        self.name_processor();
    }

    pub(super) fn name_processor(&mut self) {
        let name: &[u8] = match self.processor {
            None => b"",
            Some(Processor::Form) => b"URLENCODED",
            Some(Processor::Multipart) => b"MULTIPART",
            Some(Processor::Json) => b"JSON",
            Some(Processor::Xml) => b"XML",
        };
        self.single(Variable::ReqbodyProcessor, name);
    }

    /// Takes the request's body, or its beginning when `is_whole` is not so.
    pub fn body(&mut self, body: &[u8], is_whole: bool) {
        let apart = self.cut(body).map(|cut| cut.apart(body));
        self.body_apart(body, is_whole, apart);
    }

    /// How this body is to be taken apart; nothing when it is not. What comes of it is for [`Self::body_apart`].
    pub fn cut(&self, body: &[u8]) -> Option<Cut> {
        let processor = self.processor.filter(|_| !body.is_empty())?;
        let header = self
            .list(Variable::RequestHeaders)
            .iter()
            .find(|entry| entry.name.eq_ignore_ascii_case(b"content-type"));
        let content_type = header.map(|entry| self.texts.bytes(entry.text).to_vec()).unwrap_or_default();
        let most = self.rules.arguments_max.saturating_sub(self.list(Variable::ArgsGet).len());
        Some(Cut { processor, content_type, most })
    }

    /// Takes the request's body, and what it was taken apart into by [`Self::cut`].
    pub fn body_apart(&mut self, body: &[u8], is_whole: bool, apart: Option<Apart>) {
        self.steps += body.len();
        self.single(Variable::RequestBodyLength, body.len().to_string().as_bytes());
        if !is_whole {
            self.single(Variable::InboundDataError, b"1");
        }
        let is_shown = self.forces_body || matches!(self.processor, Some(Processor::Form));
        if is_shown || !is_whole {
            self.single(Variable::RequestBody, body);
        }
        let Some(Apart(parts)) = apart else { return };
        let get: usize = self
            .list(Variable::ArgsGet)
            .iter()
            .map(|entry| entry.name.len() + self.texts.len(entry.text))
            .sum();
        let size = get + self.arguments(&parts.arguments, [Variable::ArgsPost, Variable::ArgsPostNames]);
        self.single(Variable::ArgsCombinedSize, size.to_string().as_bytes());
        let mut total = 0;
        for (field, file, size) in &parts.files {
            total += size;
            self.named(Variable::Files, None, field, file);
            self.named(Variable::FilesNames, None, field, field);
            self.named(Variable::FilesSizes, None, field, size.to_string().as_bytes());
            self.named(Variable::MultipartFilename, None, field, file);
            self.named(Variable::MultipartName, None, field, field);
        }
        self.single(Variable::FilesCombinedSize, total.to_string().as_bytes());
        for (field, line) in &parts.headers {
            self.named(Variable::MultipartPartHeaders, None, field, line);
        }
        for text in &parts.texts {
            self.named(Variable::Xml, None, b"", text);
        }
        for (_, value) in &parts.attributes {
            self.named(Variable::Xml, None, b"@", value);
        }
        if parts.is_badly_encoded {
            self.single(Variable::UrlencodedError, b"1");
        }
        // What is missing of a body that was cut is no error of its sender's.
        if let Some(error) = parts.error.filter(|_| is_whole) {
            self.unreadable(&error);
        }
        self.faults(parts.faults);
    }

    /// Notes that a request cannot be taken apart.
    pub(super) fn unreadable(&mut self, error: &str) {
        self.single(Variable::ReqbodyError, b"1");
        self.single(Variable::ReqbodyProcessorError, b"1");
        self.single(Variable::ReqbodyErrorMsg, error.as_bytes());
        self.single(Variable::ReqbodyProcessorErrorMsg, error.as_bytes());
    }

    fn faults(&mut self, faults: request::Faults) {
        let flags = [
            (Variable::MultipartStrictError, faults.is_any()),
            (Variable::MultipartUnmatchedBoundary, faults.unmatched_boundary),
            (Variable::MultipartBoundaryQuoted, faults.boundary_quoted),
            (Variable::MultipartBoundaryWhitespace, faults.boundary_whitespace),
            (Variable::MultipartDataBefore, faults.data_before),
            (Variable::MultipartDataAfter, faults.data_after),
            (Variable::MultipartHeaderFolding, faults.header_folding),
            (Variable::MultipartLfLine, faults.lf_line),
            (Variable::MultipartMissingSemicolon, faults.missing_semicolon),
            (Variable::MultipartInvalidQuoting, faults.invalid_quoting),
            (Variable::MultipartInvalidPart, faults.invalid_part),
            (Variable::MultipartInvalidHeaderFolding, faults.invalid_header_folding),
            (Variable::MultipartFileLimitExceeded, faults.too_many),
        ];
        for (variable, is_set) in flags {
            self.single(variable, if is_set { b"1" } else { b"0" });
        }
    }

    /// Takes the head of the answer.
    pub fn answer<'h>(
        &mut self,
        protocol: &[u8],
        status: u16,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) {
        self.single(Variable::ResponseStatus, status.to_string().as_bytes());
        self.single(Variable::ResponseProtocol, protocol);
        for (name, value) in headers {
            self.named(Variable::ResponseHeaders, Some(Variable::ResponseHeadersNames), name, value);
            if name.eq_ignore_ascii_case(b"content-type") {
                self.single(Variable::ResponseContentType, value);
            } else if name.eq_ignore_ascii_case(b"content-length") {
                self.single(Variable::ResponseContentLength, value);
            }
        }
    }

    /// Takes the body of the answer, or its beginning.
    pub fn answer_body(&mut self, body: &[u8], is_whole: bool) {
        self.single(Variable::ResponseBody, body);
        if !is_whole {
            self.single(Variable::OutboundDataError, b"1");
        }
    }
}
