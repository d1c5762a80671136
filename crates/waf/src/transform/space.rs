//! Space and comments.

/// What counts as space: that of C, and the no-break space of Latin-1.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C)
}

fn is_any_space(byte: u8) -> bool {
    is_space(byte) || byte == 0xA0
}

pub(super) fn trim_left(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

pub(super) fn trim_right(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

pub(super) fn remove(text: &[u8]) -> Option<Vec<u8>> {
    let is_kept = |byte: &u8| !is_any_space(*byte);
    (!text.iter().all(is_kept)).then(|| text.iter().copied().filter(is_kept).collect())
}

/// Each run of space as one blank.
pub(super) fn compress(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut was_space = false;
    for &byte in text {
        let space = is_any_space(byte);
        if !space {
            out.push(byte);
        } else if !was_space {
            out.push(b' ');
        }
        was_space = space;
    }
    (out != text).then_some(out)
}

/// As commands of shells are compared: without quotes and escapes, lower-case, blanks few and none before `/` and `(`.
pub(super) fn cmd_line(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut after_space = false;
    for &byte in text {
        match byte {
            b'"' | b'\'' | b'\\' | b'^' => {}
            b' ' | b',' | b';' | b'\t' | b'\r' | b'\n' => {
                if !after_space {
                    out.push(b' ');
                    after_space = true;
                }
            }
            b'/' | b'(' => {
                if after_space {
                    out.pop();
                }
                after_space = false;
                out.push(byte);
            }
            byte => {
                out.push(byte.to_ascii_lowercase());
                after_space = false;
            }
        }
    }
    (out != text).then_some(out)
}

/// Each C comment as one blank; one that is not closed too.
pub(super) fn replace_comments(text: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(text, b"/*")?;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = memchr::memmem::find(rest, b"/*") {
        out.extend_from_slice(rest.get(..start).unwrap_or_default());
        out.push(b' ');
        let after = rest.get(start + 2..).unwrap_or_default();
        let end = memchr::memmem::find(after, b"*/").map_or(after.len(), |end| end + 2);
        rest = after.get(end..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Without comments of C, HTML and SQL.
pub(super) fn remove_comments(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        let (skipped, end): (usize, Option<&[u8]>) = match rest {
            [] => break,
            [b'/', b'*', ..] => (2, Some(b"*/")),
            [b'<', b'!', b'-', b'-', ..] => (4, Some(b"-->")),
            [b'-', b'-', ..] | [b'#', ..] => (rest.len(), None),
            [byte, after @ ..] => {
                out.push(*byte);
                rest = after;
                continue;
            }
        };
        rest = rest.get(skipped..).unwrap_or_default();
        if let Some(end) = end {
            let length = memchr::memmem::find(rest, end).map_or(rest.len(), |at| at + end.len());
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    (out.len() != text.len()).then_some(out)
}

/// Without the signs that begin and end comments, but with what is in them.
pub(super) fn remove_comments_char(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        let skipped = match rest {
            [] => break,
            [b'<', b'!', b'-', b'-', ..] => 4,
            [b'-', b'-', b'>', ..] => 3,
            [b'/', b'*', ..] | [b'*', b'/', ..] | [b'-', b'-', ..] => 2,
            [b'#', ..] => 1,
            [byte, ..] => {
                out.push(*byte);
                1
            }
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    (out.len() != text.len()).then_some(out)
}
