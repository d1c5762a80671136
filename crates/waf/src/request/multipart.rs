//! Multipart forms, with all that is not strictly well-formed noted: others may read it otherwise.

use super::{ARGUMENTS_MAX, Parts, names_max};

/// Longest boundary (RFC 2046 §5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;
/// Header lines of a part.
const HEADERS_MAX: usize = 32;

/// Adds fields, files and headers of a body.
pub(super) fn read(content_type: &[u8], body: &[u8], parts: &mut Parts) -> Result<(), String> {
    let boundary = boundary(content_type, parts)?;
    let mut rest = body;
    let mut part: Option<Part<'_>> = None;
    let mut is_done = false;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        let start = body.len() - rest.len();
        rest = after;
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let has_cr = bare.ends_with(b"\r");
        let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
        let delimiter = bare.strip_prefix(b"--").and_then(|bare| bare.strip_prefix(boundary.as_slice()));
        match delimiter.map(<[u8]>::trim_ascii_end) {
            Some(b"" | b"--") if is_done => parts.faults.data_after = true,
            Some(tail @ (b"" | b"--")) => {
                parts.faults.lf_line |= line.ends_with(b"\n") && !has_cr;
                if let Some(part) = part.take() {
                    part.finish(body, start, parts)?;
                }
                is_done = tail == b"--";
                if !is_done {
                    part = Some(Part::default());
                }
                if parts.arguments.len() + parts.files.len() > ARGUMENTS_MAX {
                    parts.faults.too_many = true;
                    return Err(format!("more than {ARGUMENTS_MAX} parts"));
                }
            }
            Some(_) => {
                parts.faults.unmatched_boundary = true;
                if let Some(part) = &mut part {
                    part.line(bare, line, start, has_cr, parts)?;
                }
            }
            None => match &mut part {
                Some(part) => part.line(bare, line, start, has_cr, parts)?,
                None if is_done => parts.faults.data_after |= !bare.trim_ascii().is_empty(),
                None => parts.faults.data_before |= !bare.trim_ascii().is_empty(),
            },
        }
    }
    match is_done {
        true => Ok(()),
        false => Err("the final boundary is missing".into()),
    }
}

/// The boundary of a content type.
fn boundary(content_type: &[u8], parts: &mut Parts) -> Result<Vec<u8>, String> {
    let lower = content_type.to_ascii_lowercase();
    let at = memchr::memmem::find(&lower, b"boundary").ok_or("the content type has no boundary")?;
    if memchr::memmem::find(lower.get(at + 8..).unwrap_or_default(), b"boundary=").is_some() {
        return Err("the content type has more than one boundary".into());
    }
    let before = content_type.get(..at).unwrap_or_default().trim_ascii_end();
    parts.faults.missing_semicolon |= !before.ends_with(b";");
    let after = content_type.get(at + 8..).unwrap_or_default();
    let value =
        after.trim_ascii_start().strip_prefix(b"=").ok_or("the content type's boundary has no value")?;
    parts.faults.boundary_whitespace |=
        after.first() != Some(&b'=') || value.first().is_some_and(u8::is_ascii_whitespace);
    let value = value.trim_ascii();
    let boundary = match value.strip_prefix(b"\"") {
        Some(quoted) => {
            parts.faults.boundary_quoted = true;
            let end =
                memchr::memchr(b'"', quoted).ok_or("the content type's boundary has no closing quote")?;
            quoted.get(..end).unwrap_or_default()
        }
        None => {
            let end = value.iter().position(|byte| matches!(byte, b';' | b',')).unwrap_or(value.len());
            value.get(..end).unwrap_or_default().trim_ascii_end()
        }
    };
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(byte);
    if boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX || !boundary.iter().all(is_of_it) {
        return Err("the content type's boundary is not one of RFC 2046".into());
    }
    Ok(boundary.to_vec())
}

/// A part while it is read.
#[derive(Default)]
struct Part<'b> {
    headers: Vec<(&'b [u8], Vec<u8>)>,
    /// Where its content begins, once its headers are over.
    content: Option<usize>,
}

impl<'b> Part<'b> {
    fn line(
        &mut self,
        bare: &'b [u8],
        line: &[u8],
        start: usize,
        has_cr: bool,
        parts: &mut Parts,
    ) -> Result<(), String> {
        if self.content.is_some() {
            return Ok(());
        }
        parts.faults.lf_line |= !has_cr;
        // Where it ends a text, a name is another one.
        if bare.contains(&0) {
            parts.faults.invalid_part = true;
            return Err("a part has a NUL byte among its headers".into());
        }
        if bare.is_empty() {
            self.content = Some(start + line.len());
            return Ok(());
        }
        if bare.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            parts.faults.header_folding = true;
            parts.faults.invalid_header_folding |= self.headers.is_empty();
            if let Some((_, value)) = self.headers.last_mut() {
                value.push(b' ');
                value.extend_from_slice(bare.trim_ascii());
            }
            return Ok(());
        }
        let Some(colon) = memchr::memchr(b':', bare) else {
            parts.faults.invalid_part = true;
            return Err("a part has a line among its headers that is none".into());
        };
        if self.headers.len() >= HEADERS_MAX {
            return Err(format!("a part has more than {HEADERS_MAX} headers"));
        }
        let (name, value) = bare.split_at(colon);
        // Of two some read the first and some the last.
        if self.headers.iter().any(|(known, _)| known.trim_ascii().eq_ignore_ascii_case(name.trim_ascii())) {
            parts.faults.invalid_part = true;
            return Err("a part has a header twice".into());
        }
        self.headers.push((name, value.get(1..).unwrap_or_default().trim_ascii().to_vec()));
        Ok(())
    }

    fn finish(self, body: &[u8], end: usize, parts: &mut Parts) -> Result<(), String> {
        let Some(content) = self.content else {
            parts.faults.invalid_part = true;
            return Err("a part has no content".into());
        };
        let content = body.get(content..end).unwrap_or_default();
        // The line end before a boundary belongs to the boundary.
        let content =
            content.strip_suffix(b"\n").map(|cut| cut.strip_suffix(b"\r").unwrap_or(cut)).unwrap_or(content);
        let disposition =
            self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"content-disposition"));
        let Some((_, disposition)) = disposition else {
            parts.faults.invalid_part = true;
            return Err("a part has no Content-Disposition".into());
        };
        let described = describe(disposition, parts)?;
        let name = described.name.ok_or_else(|| {
            parts.faults.invalid_part = true;
            "a part has no name".to_owned()
        })?;
        for (header, value) in &self.headers {
            // The name stands in the body once and is told with every header.
            parts.name_bytes += name.len();
            if parts.headers.len() >= ARGUMENTS_MAX || parts.name_bytes > names_max(body) {
                return Err("the headers of its parts are too many, or their names too long".into());
            }
            parts.headers.push((name.clone(), [header, &b": "[..], value].concat()));
        }
        // A name of a file that is empty, or told in the extended form alone, makes a field of it to some.
        let is_no_file_chosen = described.filename.is_some() && content.is_empty();
        if !(described.is_surely_file || is_no_file_chosen) {
            parts.arguments.push((name.clone(), content.to_vec()));
        }
        if let Some(filename) = described.filename {
            parts.files.push((name, filename, content.len()));
        }
        Ok(())
    }
}

struct Described {
    name: Option<Vec<u8>>,
    filename: Option<Vec<u8>>,
    /// Everybody takes it for a file.
    is_surely_file: bool,
}

/// Name and file name of a Content-Disposition.
fn describe(text: &[u8], parts: &mut Parts) -> Result<Described, String> {
    let mut described = Described { name: None, filename: None, is_surely_file: false };
    let start = memchr::memchr(b';', text).unwrap_or(text.len());
    if !text.get(..start).unwrap_or_default().trim_ascii().eq_ignore_ascii_case(b"form-data") {
        parts.faults.invalid_part = true;
    }
    let mut rest = text.get(start..).unwrap_or_default();
    loop {
        rest = rest.trim_ascii_start();
        match rest.strip_prefix(b";") {
            Some(after) => rest = after.trim_ascii_start(),
            None if rest.is_empty() => return Ok(described),
            None => parts.faults.missing_semicolon = true,
        }
        if rest.is_empty() {
            return Ok(described);
        }
        let Some(equals) = memchr::memchr(b'=', rest) else {
            parts.faults.invalid_part = true;
            return Err("a Content-Disposition has a parameter without a value".into());
        };
        let key = rest.get(..equals).unwrap_or_default().trim_ascii().to_ascii_lowercase();
        let after = rest.get(equals + 1..).unwrap_or_default().trim_ascii_start();
        let value;
        (value, rest) = parameter(after, parts)?;
        described.is_surely_file |= key == b"filename" && !value.is_empty();
        let kept = match key.as_slice() {
            b"name" => &mut described.name,
            b"filename" | b"filename*" => &mut described.filename,
            _ => continue,
        };
        if kept.is_some() && key != b"filename*" {
            parts.faults.invalid_part = true;
            return Err("a Content-Disposition says a parameter twice".into());
        }
        kept.get_or_insert_default().extend_from_slice(&value);
    }
}

fn parameter<'t>(text: &'t [u8], parts: &mut Parts) -> Result<(Vec<u8>, &'t [u8]), String> {
    let Some(quote @ (b'"' | b'\'')) = text.first().copied() else {
        let end = text.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        parts.faults.invalid_quoting |= value.contains(&b'"');
        return Ok((value.to_vec(), rest));
    };
    parts.faults.invalid_quoting |= quote == b'\'';
    let mut value = Vec::new();
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match byte {
            b'\\' if text.get(at) == Some(&quote) => {
                value.push(quote);
                at += 1;
            }
            byte if byte == quote => {
                let rest = text.get(at..).unwrap_or_default();
                parts.faults.invalid_quoting |=
                    rest.trim_ascii_start().first().is_some_and(|next| *next != b';');
                return Ok((value, rest));
            }
            byte => value.push(byte),
        }
    }
    parts.faults.invalid_quoting = true;
    Err("a quote of a Content-Disposition is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &[u8] = b"multipart/form-data; boundary=xyz";

    fn read_all(content_type: &[u8], body: &str) -> (Result<(), String>, Parts) {
        let mut parts = Parts::default();
        let result = read(content_type, body.as_bytes(), &mut parts);
        (result, parts)
    }

    #[test]
    fn fields_files_and_headers_are_read() {
        let body = "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\ntwo\r\n--xyz\r\nContent-Disposition: \
                    form-data; name=\"f\"; filename=\"x\\\".php\"\r\nContent-Type: text/plain\r\n\r\n<?php\r\n--xyz--\r\n";
        let (result, parts) = read_all(TYPE, body);
        result.expect("well-formed");
        assert_eq!(parts.arguments, [(b"a".to_vec(), b"one\r\ntwo".to_vec())]);
        assert_eq!(parts.files, [(b"f".to_vec(), b"x\".php".to_vec(), 5)]);
        assert_eq!(parts.headers.last(), Some(&(b"f".to_vec(), b"Content-Type: text/plain".to_vec())));
        assert!(!parts.faults.is_any() && !parts.faults.unmatched_boundary);
    }

    #[test]
    fn what_only_some_take_for_a_file_is_looked_at_as_a_field_too() {
        let part = |more: &str, content: &str| {
            format!(
                "--xyz\r\nContent-Disposition: form-data; name=\"q\"{more}\r\n\r\n{content}\r\n--xyz--\r\n"
            )
        };
        for (more, is_field) in [
            ("", true),
            ("; filename=\"\"", true),
            ("; filename*=UTF-8''a.txt", true),
            ("; filename=\"a.txt\"", false),
            ("; filename=\"a.txt\"; filename*=UTF-8''a.txt", false),
        ] {
            let (result, parts) = read_all(TYPE, &part(more, "1 OR 1"));
            result.expect("well-formed");
            let fields = Vec::from_iter(is_field.then(|| (b"q".to_vec(), b"1 OR 1".to_vec())));
            assert_eq!(parts.arguments, fields, "{more}");
            assert_eq!(parts.files.len(), usize::from(!more.is_empty()), "{more}");
        }
        // What browsers send where no file was chosen.
        let (_, parts) = read_all(TYPE, &part("; filename=\"\"", ""));
        assert!(parts.arguments.is_empty() && parts.files.len() == 1);
    }

    #[test]
    fn what_is_not_strict_is_noted() {
        type Fault = fn(&super::super::Faults) -> bool;
        let cases: [(&[u8], &str, Fault); 8] = [
            (TYPE, "junk\r\n--xyz--\r\n", |f| f.data_before),
            (TYPE, "--xyz--\r\njunk", |f| f.data_after),
            (TYPE, "--xyz\nContent-Disposition: form-data; name=a\n\nb\n--xyz--\n", |f| f.lf_line),
            (TYPE, "--xyz\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\nb\r\n--xyz--\r\n", |f| {
                f.header_folding
            }),
            (TYPE, "--xyz\r\nContent-Disposition: form-data name=a\r\n\r\nb\r\n--xyz--\r\n", |f| {
                f.invalid_part
            }),
            (TYPE, "--xyz\r\nContent-Disposition: form-data; name='a'\r\n\r\nb\r\n--xyz--\r\n", |f| {
                f.invalid_quoting
            }),
            (b"multipart/form-data; boundary=\"xyz\"", "--xyz--\r\n", |f| f.boundary_quoted),
            (b"multipart/form-data; boundary= xyz", "--xyz--\r\n", |f| f.boundary_whitespace),
        ];
        for (content_type, body, has) in cases {
            let (_, parts) = read_all(content_type, body);
            assert!(has(&parts.faults) && parts.faults.is_any(), "{body}: {:?}", parts.faults);
        }
    }

    #[test]
    fn names_are_not_copied_without_bound() {
        let headers: String = (0..31).map(|number| format!("A{number}: b\r\n")).collect();
        let name = "n".repeat(400_000);
        let body =
            format!("--xyz\r\n{headers}Content-Disposition: form-data; name={name}\r\n\r\nb\r\n--xyz--\r\n");
        let (result, parts) = read_all(TYPE, &body);
        assert!(result.expect_err("too long").contains("too long"));
        let names: usize = parts.headers.iter().map(|(name, _)| name.len()).sum();
        assert!(names <= names_max(body.as_bytes()), "{names}");
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for (content_type, body) in [
            (TYPE, "--xyz\r\nContent-Disposition: form-data; name=a\r\n\r\nb"),
            (TYPE, "--xyz\r\nno header\r\n\r\n--xyz--\r\n"),
            (TYPE, "--xyz\r\nA: b\r\n\r\n--xyz--\r\n"),
            (
                TYPE,
                "--xyz\r\nContent-Disposition: form-data; name=\"a\0\"; filename=\"b\"\r\n\r\nc\r\n--xyz--\r\n",
            ),
            (
                TYPE,
                "--xyz\r\nContent-Disposition: form-data; name=a; filename=b\r\ncontent-disposition : form-data; \
                 name=a\r\n\r\nc\r\n--xyz--\r\n",
            ),
            (b"multipart/form-data", ""),
            (b"multipart/form-data; boundary=a; boundary=b", "--a--"),
            (b"multipart/form-data; boundary=\x7f", ""),
        ] {
            assert!(read_all(content_type, body).0.is_err(), "{body}");
        }
    }
}
