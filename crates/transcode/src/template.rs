//! Templates of paths as `google.api.http` writes them: `/v1/{name=shelves/*/books/*}:read`.

use std::borrow::Cow;

/// Segments of a template.
const SEGMENTS_MAX: usize = 64;

/// A part of a path between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// Any one segment: `*`.
    One,
    /// All that are left, also none: `**`.
    Rest,
}

/// What a template captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The field's path: `book.name`.
    pub field: String,
    /// Its first segment.
    pub start: usize,
    /// Where it ends; none when it takes all that are left.
    pub end: Option<usize>,
    /// Whether it may be several segments, so that an encoded slash stays one.
    pub is_multi: bool,
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its segments, those of variables included.
    pub segments: Vec<Segment>,
    /// What it captures.
    pub variables: Vec<Variable>,
    /// The custom verb after a colon.
    pub verb: Option<String>,
}

impl Template {
    /// Reads a template. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or("it does not begin with `/`")?;
        let (path, verb) = split_verb(rest)?;
        let mut template = Self { segments: Vec::new(), variables: Vec::new(), verb };
        let mut at = path;
        loop {
            at = match at.strip_prefix('{') {
                Some(inner) => {
                    let (variable, after) = inner.split_once('}').ok_or("a `{` is not closed")?;
                    template.variable(variable)?;
                    after
                }
                None => {
                    let end = at.find('/').unwrap_or(at.len());
                    template.push(&at[..end])?;
                    &at[end..]
                }
            };
            match at.strip_prefix('/') {
                Some(next) => at = next,
                None if at.is_empty() => break,
                None => return Err(format!("`{at}` after a variable: expected `/`")),
            }
        }
        Ok(template)
    }

    fn push(&mut self, text: &str) -> Result<(), String> {
        if self.segments.last() == Some(&Segment::Rest) {
            return Err("nothing may come after `**` but a verb".to_owned());
        }
        if self.segments.len() == SEGMENTS_MAX {
            return Err(format!("more than {SEGMENTS_MAX} segments"));
        }
        self.segments.push(match text {
            "*" => Segment::One,
            "**" => Segment::Rest,
            "" => return Err("a segment is empty".to_owned()),
            literal if literal.contains(['*', '{', '}', '=']) => {
                return Err(format!("`{literal}`: `*`, `{{`, `}}` and `=` stand for themselves nowhere"));
            }
            literal => Segment::Literal(decoded(literal, false).into_owned()),
        });
        Ok(())
    }

    fn variable(&mut self, text: &str) -> Result<(), String> {
        let (field, pattern) = text.split_once('=').unwrap_or((text, "*"));
        let is_ident = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !field.split('.').all(is_ident) {
            return Err(format!("`{field}` is no path of fields"));
        }
        if self.variables.iter().any(|one| one.field == field) {
            return Err(format!("`{field}` is captured twice"));
        }
        let start = self.segments.len();
        for segment in pattern.split('/') {
            self.push(segment)?;
        }
        let is_rest = self.segments.last() == Some(&Segment::Rest);
        self.variables.push(Variable {
            field: field.to_owned(),
            start,
            end: (!is_rest).then_some(self.segments.len()),
            is_multi: is_rest || self.segments.len() - start > 1,
        });
        Ok(())
    }

    /// What its variables hold, by their order, for a path that it fits.
    pub fn captures<'p>(&self, path: &'p str) -> Vec<Cow<'p, str>> {
        let path = match (&self.verb, path.rsplit_once(':')) {
            (Some(_), Some((path, _))) => path,
            _ => path,
        };
        let path = path.strip_prefix('/').unwrap_or(path);
        // Where each segment begins, and the end of the last.
        let mut starts = vec![0];
        starts.extend(path.match_indices('/').map(|(at, _)| at + 1));
        starts.push(path.len() + 1);
        let one = |variable: &Variable| {
            let begin = starts.get(variable.start).copied().unwrap_or(path.len());
            let end = match variable.end {
                Some(end) => starts.get(end).map_or(path.len(), |next| next - 1),
                None => path.len(),
            };
            let text = path.get(begin.min(path.len())..end.max(begin).min(path.len())).unwrap_or_default();
            decoded(text, variable.is_multi)
        };
        self.variables.iter().map(one).collect()
    }
}

/// The verb stands after the last colon that is outside of a variable and after the last slash.
fn split_verb(text: &str) -> Result<(&str, Option<String>), String> {
    let closed = text.rfind(['}', '/']).map_or(0, |at| at + 1);
    let Some(at) = text[closed..].find(':').map(|at| at + closed) else { return Ok((text, None)) };
    let verb = &text[at + 1..];
    if verb.is_empty() || verb.contains(['*', '{', '}', '=', ':']) {
        return Err(format!("`:{verb}` is no verb"));
    }
    Ok((&text[..at], Some(verb.to_owned())))
}

/// A text without its percent-encoding. Of several segments, an encoded slash stays encoded, so that it makes no new one.
pub fn decoded(text: &str, keeps_slashes: bool) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let digit = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                let value = u8::try_from(high * 16 + low).unwrap_or_default();
                if keeps_slashes && value == b'/' {
                    out.extend_from_slice(&bytes[at..at + 3]);
                } else {
                    out.push(value);
                }
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        // What is no text is told as it came.
        Err(_) => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_capture_what_they_name() {
        for (template, path, want) in [
            ("/v1/{name}", "/v1/a%20b", vec!["a b"]),
            ("/v1/{name}", "/v1/a%2Fb", vec!["a/b"]),
            ("/v1/{name=shelves/*/books/*}", "/v1/shelves/1/books/2", vec!["shelves/1/books/2"]),
            ("/v1/{name=shelves/*}/{book.id}:read", "/v1/shelves/1/7:read", vec!["shelves/1", "7"]),
            ("/v1/{name=files/**}", "/v1/files/a/b%2Fc/d", vec!["files/a/b%2Fc/d"]),
            ("/v1/{rest=**}", "/v1", vec![""]),
            ("/v1/{rest=**}:undo", "/v1/a/b:undo", vec!["a/b"]),
            ("/v1/*/{b}", "/v1/x/y", vec!["y"]),
        ] {
            let found = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
            assert_eq!(found.captures(path), want, "{template} {path}");
        }
    }

    #[test]
    fn what_is_no_template_is_told() {
        for (template, why) in [
            ("v1", "begin"),
            ("/v1/", "empty"),
            ("/v1//a", "empty"),
            ("/v1/{a", "closed"),
            ("/v1/{a}b", "expected `/`"),
            ("/v1/{a=**}/b", "after `**`"),
            ("/v1/{a.b.}", "no path"),
            ("/v1/{1a}", "no path"),
            ("/v1/{a}/{a}", "twice"),
            ("/v1/a*", "stand for themselves"),
            ("/v1/a:", "no verb"),
        ] {
            let error = Template::parse(template).expect_err(template);
            assert!(error.contains(why), "{template}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_template_and_no_path_panics(template in "\\PC{0,30}", path in "/[a-z%/:*0-9]{0,30}") {
            if let Ok(template) = Template::parse(&template) {
                let _ = template.captures(&path);
            }
        }

        #[test]
        fn a_template_captures_what_it_was_filled_with(a in "[a-z ]{1,8}", b in "[a-z]{1,8}(/[a-z]{1,8}){0,3}") {
            let template = Template::parse("/x/{a}/y/{b=**}:z").expect("a template");
            let path = format!("/x/{}/y/{b}:z", a.replace(' ', "%20"));
            proptest::prop_assert_eq!(template.captures(&path), [a, b]);
        }
    }
}
