//! Expressions and templates of `compose`: where a value comes from, and texts that such values are put into.

use std::{fmt, str::FromStr};

/// Steps of one expression.
const STEPS_MAX: usize = 32;

/// Where a value comes from: `$.order.items[0].sku`, `$item.sku`, `$index`, `$request.query.lang`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposePath {
    /// What it begins at.
    pub root: ComposeRoot,
    /// How it goes on from there.
    pub steps: Vec<ComposeStep>,
}

/// What an expression begins at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComposeRoot {
    /// `$.name`: the result of a call.
    Call(String),
    /// `$`: the results of all calls by their names.
    Calls,
    /// `$request`: `method`, `path`, `captures`, `query` and `body` of the client's request.
    Request,
    /// `$item`: the item that a call of `forEach` is made for.
    Item,
    /// `$index`: the place of that item.
    Index,
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComposeStep {
    /// `.name` or `['name']`: a member of an object.
    Key(String),
    /// `[0]`: an item of a list; `[-1]` is the last one.
    Index(i64),
    /// `[*]` or `.*`: every item or member, as a list.
    All,
}

impl FromStr for ComposePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |reason: &str| format!("`{text}` is no expression such as `$.order.items[0].sku`: {reason}");
        let rest = text.strip_prefix('$').ok_or_else(|| wrong("it does not begin with `$`"))?;
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (root, rest) = rest.split_at(end);
        let mut steps = steps(rest).map_err(|reason| wrong(&reason))?;
        if steps.len() > STEPS_MAX {
            return Err(wrong(&format!("it has more than {STEPS_MAX} steps")));
        }
        let root = match root {
            "" if steps.is_empty() => ComposeRoot::Calls,
            "" => match steps.remove(0) {
                ComposeStep::Key(name) => ComposeRoot::Call(name),
                _ => return Err(wrong("`$` is followed by the name of a call")),
            },
            "request" => match steps.first() {
                None => ComposeRoot::Request,
                Some(ComposeStep::Key(key))
                    if ["method", "path", "captures", "query", "body"].contains(&key.as_str()) =>
                {
                    ComposeRoot::Request
                }
                _ => {
                    return Err(wrong(
                        "`$request` has `method`, `path`, `captures`, `query` and `body`; header fields are \
                         `{{ request.header.<name> }}`",
                    ));
                }
            },
            "item" => ComposeRoot::Item,
            "index" if steps.is_empty() => ComposeRoot::Index,
            other => {
                return Err(wrong(&format!(
                    "`${other}` is unknown; expected `$.<call>`, `$request`, `$item` or `$index`"
                )));
            }
        };
        Ok(Self { root, steps })
    }
}

fn steps(mut rest: &str) -> Result<Vec<ComposeStep>, String> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (step, after) = bracket(inner)?;
            steps.push(step);
            rest = after;
        } else if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at(end);
            let is_plain = |letter: char| letter.is_alphanumeric() || "_-@$".contains(letter);
            steps.push(match name {
                "*" => ComposeStep::All,
                name if !name.is_empty() && name.chars().all(is_plain) => ComposeStep::Key(name.to_owned()),
                "" => return Err("a name is missing after `.`".to_owned()),
                name => {
                    return Err(format!(
                        "`{name}` has other signs than letters, digits, `_` and `-`; write `['{name}']`"
                    ));
                }
            });
            rest = after;
        } else {
            return Err(format!("expected `.` or `[` before `{rest}`"));
        }
    }
    Ok(steps)
}

/// What stands behind a `[`, and the rest behind its `]`.
fn bracket(inner: &str) -> Result<(ComposeStep, &str), String> {
    if let Some(quote) = inner.chars().next().filter(|first| ['\'', '"'].contains(first)) {
        let body = inner.get(1..).unwrap_or_default();
        let end = body.find(quote).ok_or("a quoted name is not closed")?;
        let (name, after) = body.split_at(end);
        let after = after.get(1..).and_then(|after| after.strip_prefix(']'));
        return Ok((ComposeStep::Key(name.to_owned()), after.ok_or("a `[` is not closed by `]`")?));
    }
    let (inside, after) = inner.split_once(']').ok_or("a `[` is not closed by `]`")?;
    let step = match inside.trim() {
        "*" => ComposeStep::All,
        number => {
            let index = number.parse();
            ComposeStep::Index(index.map_err(|_| {
                format!("expected a number, `*` or a quoted name in `[…]`, found `{number}`; slices and filters are jq's")
            })?)
        }
    };
    Ok((step, after))
}

impl fmt::Display for ComposePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            ComposeRoot::Call(name) => write!(f, "$.{name}")?,
            ComposeRoot::Calls => f.write_str("$")?,
            ComposeRoot::Request => f.write_str("$request")?,
            ComposeRoot::Item => f.write_str("$item")?,
            ComposeRoot::Index => f.write_str("$index")?,
        }
        for step in &self.steps {
            match step {
                ComposeStep::Key(name) if is_word(name) => write!(f, ".{name}")?,
                ComposeStep::Key(name) => write!(f, "['{name}']")?,
                ComposeStep::Index(index) => write!(f, "[{index}]")?,
                ComposeStep::All => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

/// Whether a key is written behind a dot.
fn is_word(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

/// A text with places for values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeText {
    /// Its parts in order.
    pub parts: Vec<ComposePart>,
}

/// A part of such a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComposePart {
    /// As it stands.
    Text(String),
    /// `{{ $.order.id }}`: a value of a call's result, of an item or of the request.
    Path(ComposePath),
    /// `{id}`, in a path alone: what the route's template captured.
    Capture(String),
    /// `{{ jwt.sub }}`: what any template may name.
    Name(String),
}

impl ComposeText {
    /// Takes a text apart. In a path `{name}` is a capture of the route.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn parse(text: &str, is_path: bool) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut plain = String::new();
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let here = &rest[at..];
            let part;
            if let Some(inner) = here.strip_prefix("{{") {
                let (inside, after) = inner.split_once("}}").ok_or("a `{{` is not closed by `}}`")?;
                let name = inside.trim();
                if name.is_empty() || name.contains('{') {
                    return Err("expected a name between `{{` and `}}`".to_owned());
                }
                part = match name.starts_with('$') {
                    true => ComposePart::Path(name.parse()?),
                    false => ComposePart::Name(name.to_owned()),
                };
                rest = after;
            } else if is_path {
                let captured = here.strip_prefix('{').and_then(|inner| inner.split_once('}'));
                let (name, after) =
                    captured.ok_or("a `{` is not closed by `}`, or a `}` was never opened")?;
                if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    return Err(format!(
                        "`{{{name}}}` is no capture such as `{{id}}`; values are `{{{{ … }}}}`"
                    ));
                }
                part = ComposePart::Capture(name.to_owned());
                rest = after;
            } else {
                plain.push_str(&here[..1]);
                rest = &here[1..];
                continue;
            }
            if !plain.is_empty() {
                parts.push(ComposePart::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(ComposePart::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The expressions in it.
    pub fn paths(&self) -> impl Iterator<Item = &ComposePath> {
        self.parts.iter().filter_map(|part| match part {
            ComposePart::Path(path) => Some(path),
            _ => None,
        })
    }

    /// The captures of the route that it needs.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            ComposePart::Capture(name) => Some(name.as_str()),
            ComposePart::Name(name) => name.strip_prefix("captures."),
            _ => None,
        })
    }
}

/// A text in a shape: what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComposeLeaf {
    /// `$.order`: the value itself.
    Path(ComposePath),
    /// `Order {{ $.order.id }}`: a text.
    Text(ComposeText),
}

impl ComposeLeaf {
    /// Reads a text of a shape. `$$` at its beginning is a `$` of its own.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(literal) = text.strip_prefix("$$") {
            return Ok(Self::Text(ComposeText::parse(&format!("${literal}"), false)?));
        }
        match text.starts_with('$') {
            true => text.parse().map(Self::Path),
            false => ComposeText::parse(text, false).map(Self::Text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        text.parse::<ComposePath>().map(|path| path.to_string())
    }

    #[test]
    fn expressions_are_read_and_others_refused() {
        for (text, want) in [
            ("$.order", "$.order"),
            ("$", "$"),
            ("$.order.items[0].sku", "$.order.items[0].sku"),
            ("$['order']['a.b'][*].x", "$.order['a.b'][*].x"),
            ("$.naïve.straße[-1]", "$.naïve['straße'][-1]"),
            ("$item.sku", "$item.sku"),
            ("$index", "$index"),
            ("$request.query.lang", "$request.query.lang"),
            ("$.a.*", "$.a[*]"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(want), "{text}");
        }
        for text in [
            "",
            "order",
            "$.",
            "$..a",
            "$.a[",
            "$.a[1:2]",
            "$.a[?x]",
            "$[0]",
            "$foo",
            "$index.a",
            "$request.headers",
            "$.a b",
            "$.a['b",
            "$.a['b'",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_are_taken_apart() {
        let path = ComposeText::parse("/v1/{id}/x?q={{ $.a.b }}&u={{ jwt.sub }}", true).expect("a text");
        assert_eq!(path.parts.len(), 6);
        assert_eq!(path.captures().collect::<Vec<_>>(), ["id"]);
        let json = ComposeText::parse("{\"a\": {{ $.a }}}", false).expect("a text");
        assert_eq!(json.parts.len(), 3);
        for (text, is_path) in
            [("{{ }}", false), ("{{ a", false), ("{id", true), ("id}", true), ("{a b}", true)]
        {
            assert!(ComposeText::parse(text, is_path).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_back(text in "[$.\\[\\]{}'\"a-z0-9* ü-]{0,40}", is_path: bool) {
            let _ = ComposeText::parse(&text, is_path);
            let _ = ComposeLeaf::parse(&text);
            if let Ok(path) = text.parse::<ComposePath>() {
                let told = path.to_string();
                // A name with a quote of its own is told in a form for people.
                if !told.contains("\\'") && !text.contains(['\'', '"']) {
                    proptest::prop_assert_eq!(told.parse::<ComposePath>(), Ok(path));
                }
            }
        }
    }
}
