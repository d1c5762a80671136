//! Finds the end of a head or of a trailer section, looking at each byte once however the bytes arrive.
//!
//! Every line must end in CRLF: a bare LF is refused here (RFC 9112 §2.2 lets a recipient accept one; we do not).

use crate::{Limits, ParseErrorKind, find::find};

/// Line ends found so far.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// How far the bytes were searched.
    scanned: usize,
    /// For each complete line, where the next one starts.
    ends: Vec<u32>,
}

/// Lines of a usual head; more make the vector grow.
const LINES_USUAL: usize = 32;

/// How the search ended.
pub(crate) enum Scan {
    /// More bytes are needed.
    Partial,
    /// The empty line ends here.
    Complete(usize),
    /// The limit is reached without an empty line.
    TooLong,
}

impl Lines {
    /// Goes on searching `bytes`, which start where they started at the last call.
    pub(crate) fn scan(
        &mut self,
        bytes: &[u8],
        bytes_max: usize,
        lines_max: usize,
    ) -> Result<Scan, ParseErrorKind> {
        let window = &bytes[..bytes.len().min(bytes_max)];
        if self.ends.capacity() == 0 {
            self.ends.reserve(LINES_USUAL);
        }
        let mut start = self.ends.last().map_or(0, |end| *end as usize);
        while let Some(offset) = window.get(self.scanned..).and_then(|rest| find(b'\n', rest)) {
            let feed = self.scanned + offset;
            if feed == start || window[feed - 1] != b'\r' {
                return Err(ParseErrorKind::BareLf);
            }
            self.scanned = feed + 1;
            if feed - start == 1 {
                return Ok(Scan::Complete(feed + 1));
            }
            if self.ends.len() == lines_max {
                return Err(ParseErrorKind::TooManyHeaders);
            }
            start = feed + 1;
            self.ends.push(u32::try_from(start).map_err(|_| ParseErrorKind::HeadTooLarge)?);
        }
        self.scanned = window.len();
        Ok(if window.len() == bytes_max { Scan::TooLong } else { Scan::Partial })
    }

    /// Lines found, without the empty one.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Where each line starts and ends, without its CRLF.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let line = (start, *end as usize - 2);
            start = *end as usize;
            line
        })
    }

    /// Forgets everything, for the next head.
    pub(crate) fn clear(&mut self) {
        self.scanned = 0;
        self.ends.clear();
    }
}

/// The limit on field lines in force.
pub(crate) fn headers_max(limits: &Limits) -> usize {
    limits.headers.min(Limits::HEADERS_MAX)
}
