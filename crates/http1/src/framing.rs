//! Where a body ends: from Content-Length and Transfer-Encoding, as RFC 9112 §6 has it, with nothing forgiven.

use crate::{ParseErrorKind, rules};

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body comes in chunks and may end in trailers.
    Chunked,
    /// The body ends with the connection; responses only.
    UntilClose,
}

/// A larger body is refused, so that no peer's signed arithmetic can overflow.
pub(crate) const LENGTH_MAX: u64 = i64::MAX as u64;

/// What the field lines said of framing and of the connection.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    /// `Connection: upgrade`.
    pub(crate) wants_upgrade: bool,
    /// `Upgrade` is there.
    pub(crate) has_upgrade: bool,
    pub(crate) expect_continue: bool,
    /// Where the value of Host lies in the head.
    pub(crate) host: Option<(usize, usize)>,
}

impl Facts {
    /// Content-Length is one run of digits, said once (RFC 9110 §8.6, RFC 9112 §6.3).
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), ParseErrorKind> {
        if self.length.is_some() {
            return Err(ParseErrorKind::RepeatedContentLength);
        }
        self.length = Some(parse_length(value)?);
        Ok(())
    }

    /// Transfer-Encoding is `chunked`, said once (RFC 9112 §6.1, §7).
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), ParseErrorKind> {
        if self.chunked {
            return Err(ParseErrorKind::RepeatedTransferEncoding);
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if codings.clone().filter(|coding| coding.eq_ignore_ascii_case(b"chunked")).count() > 1 {
            return Err(ParseErrorKind::RepeatedTransferEncoding);
        }
        if codings.all(rules::is_token) {
            return Err(ParseErrorKind::UnknownTransferCoding);
        }
        Err(ParseErrorKind::MalformedTransferEncoding)
    }

    /// Connection is a list of tokens; empty elements are allowed (RFC 9110 §7.6.1, §5.6.1).
    pub(crate) fn connection(&mut self, value: &[u8]) -> Result<(), ParseErrorKind> {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.wants_upgrade = true;
            } else if !option.is_empty() && !rules::is_token(option) {
                return Err(ParseErrorKind::MalformedConnection);
            }
        }
        Ok(())
    }

    /// Whether the connection lasts beyond this message (RFC 9112 §9.3).
    pub(crate) fn persists(&self, is_11: bool) -> bool {
        !self.close && (is_11 || self.keep_alive)
    }

    /// What both sides refuse: two framings at once, and chunks on HTTP/1.0 (RFC 9112 §6.1, §6.3).
    pub(crate) fn check(&self, is_11: bool) -> Result<(), ParseErrorKind> {
        if self.chunked && self.length.is_some() {
            return Err(ParseErrorKind::BothLengthAndChunked);
        }
        if self.chunked && !is_11 {
            return Err(ParseErrorKind::ChunkedOnHttp10);
        }
        Ok(())
    }
}

fn parse_length(value: &[u8]) -> Result<u64, ParseErrorKind> {
    if value.is_empty() {
        return Err(ParseErrorKind::MalformedContentLength);
    }
    let mut length = 0u64;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(ParseErrorKind::MalformedContentLength);
        }
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit)))
            .filter(|length| *length <= LENGTH_MAX)
            .ok_or(ParseErrorKind::ContentLengthTooLarge)?;
    }
    Ok(length)
}
