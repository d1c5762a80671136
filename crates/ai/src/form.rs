//! Forms (`multipart/form-data`, RFC 7578) read over: the names of their fields, and where their values stand.

use std::ops::Range;

use memchr::memmem;

use crate::canon::{Error, ErrorKind};

/// Fields of one form, at most.
const FIELDS_MAX: usize = 200;

/// One field.
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// Where its value stands in the body.
    pub(crate) value: Range<usize>,
    /// The media type that its part tells.
    pub(crate) kind: Option<String>,
}

/// The fields of a body.
pub(crate) fn fields(content_type: &str, body: &[u8]) -> Result<Vec<Field>, Error> {
    let boundary = parameter(content_type, "boundary").filter(|boundary| (1..=70).contains(&boundary.len()));
    let boundary = boundary.ok_or_else(|| broken("its `boundary` is missing"))?;
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    // The first delimiter may stand at the very beginning, without a line before it.
    let mut at = match body.starts_with(&delimiter.as_bytes()[2..]) {
        true => delimiter.len() - 2,
        false => finder.find(body).ok_or_else(|| broken("it has no parts"))? + delimiter.len(),
    };
    let mut fields = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(fields);
        }
        // White space may stand behind a delimiter (RFC 2046 §5.1.1).
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if !rest[padding..].starts_with(b"\r\n") {
            return Err(broken("a boundary is followed by something else"));
        }
        let head_at = at + padding + 2;
        let (head, value_at) = match body[head_at..].starts_with(b"\r\n") {
            true => (&[][..], head_at + 2),
            false => {
                let end = memmem::find(&body[head_at..], b"\r\n\r\n");
                let end = end.ok_or_else(|| broken("the head of a part does not end"))?;
                (&body[head_at..head_at + end], head_at + end + 4)
            }
        };
        // The value of an empty part shares its line's end with the head.
        let from = value_at - 2;
        let end = from + finder.find(&body[from..]).ok_or_else(|| broken("its last part does not end"))?;
        let value = value_at..end.max(value_at);
        at = end + delimiter.len();
        if let Some(name) = name(head)? {
            if fields.len() == FIELDS_MAX {
                return Err(broken("it has too many fields"));
            }
            fields.push(Field { name, value, kind: kind(head) });
        }
    }
}

/// The name in the head of a part.
fn name(head: &[u8]) -> Result<Option<String>, Error> {
    let head = std::str::from_utf8(head).map_err(|_| broken("the head of a part is not UTF-8"))?;
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    Ok(disposition.and_then(|value| parameter(value, "name")))
}

/// The media type in the head of a part, without its parameters.
fn kind(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let kind = value.split(';').next()?.trim().to_ascii_lowercase();
        name.trim().eq_ignore_ascii_case("content-type").then_some(kind)
    })
}

/// A parameter of a header field's value, with its quotes taken off.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = left.trim_start().strip_prefix(';')?;
    }
}

/// What stands before the closing quote, and what behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("the body is no form: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peek::Peek;

    const TYPE: &str = "multipart/form-data; boundary=\"b ~\"";

    fn form(parts: &[(&str, &str)]) -> String {
        let part = |(name, value): &(&str, &str)| {
            format!("--b ~\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        parts.iter().map(part).collect::<String>() + "--b ~--\r\n"
    }

    #[test]
    fn the_model_alone_is_replaced() {
        let body = form(&[("file", "\r\nmodel\r\n--b"), ("model", "smart"), ("stream", "true")]);
        let peek = Peek::of_form(TYPE, body.as_bytes()).expect("a form");
        assert_eq!((peek.model.as_deref(), peek.stream), (Some("smart"), true));
        let other = form(&[("file", "\r\nmodel\r\n--b"), ("model", "whisper-1"), ("stream", "true")]);
        assert_eq!(String::from_utf8(peek.with_model(body.as_bytes(), "whisper-1")).expect("text"), other);
    }

    #[test]
    fn values_may_be_empty_and_heads_may_have_more() {
        let body = "preamble\r\n--b ~ \r\ncontent-type: text/plain\r\nCONTENT-DISPOSITION: form-data; filename=\"a;name=x\\\".wav\"; name=model\r\n\r\n\r\n--b ~\r\n\r\nno name\r\n--b ~--";
        let fields = fields(TYPE, body.as_bytes()).expect("a form");
        assert_eq!(fields.len(), 1);
        assert_eq!((fields[0].name.as_str(), fields[0].value.len()), ("model", 0));
    }

    #[test]
    fn the_prompt_alone_is_replaced() {
        let body = form(&[("prompt", "ask Acme"), ("file", "\r\nprompt\r\n--b"), ("model", "m")]);
        let peek = Peek::of_form(TYPE, body.as_bytes()).expect("a form");
        assert_eq!(peek.prompt().map(|at| &body[at]), Some("ask Acme"));
        let other = form(&[("prompt", "ask <WORD_1>"), ("file", "\r\nprompt\r\n--b"), ("model", "m")]);
        assert_eq!(
            String::from_utf8(peek.with_prompt(body.as_bytes(), "ask <WORD_1>")).expect("text"),
            other
        );
        for none in [form(&[("model", "m")]), form(&[("prompt", ""), ("model", "m")])] {
            let peek = Peek::of_form(TYPE, none.as_bytes()).expect("a form");
            assert_eq!(peek.with_prompt(none.as_bytes(), "x"), none.as_bytes());
        }
    }

    #[test]
    fn what_is_broken_or_twice_is_refused() {
        let twice = form(&[("model", "a"), ("model", "b")]);
        assert!(Peek::of_form(TYPE, twice.as_bytes()).is_err());
        let twice = form(&[("prompt", "a"), ("prompt", "b")]);
        assert!(Peek::of_form(TYPE, twice.as_bytes()).is_err());
        let whole = form(&[("model", "a"), ("file", "x")]);
        for end in 0..whole.len() - 4 {
            assert!(Peek::of_form(TYPE, &whole.as_bytes()[..end]).is_err(), "{end}");
        }
        for kind in
            ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"x"]
        {
            assert!(Peek::of_form(kind, whole.as_bytes()).is_err(), "{kind}");
        }
    }
}
