//! Parameters of paths, queries, header fields and cookies, in the styles of OpenAPI, read and judged.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{
    check::{Fault, Where},
    kinds::Kinds,
    read_json::read_json,
    schema::{Converter, Document, Told},
};
use crate::schema::Schema;

/// How deep names in brackets nest.
const BRACKETS_MAX: usize = 8;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    Space,
    Pipe,
    DeepObject,
}

/// One parameter.
pub(crate) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) place: Where,
    required: bool,
    allows_empty: bool,
    style: Style,
    explode: bool,
    /// Its text is JSON.
    is_json: bool,
    kinds: Kinds,
    schema: Option<Schema>,
}

/// The pairs of a query as they came.
pub(super) struct Pairs<'q>(pub(super) Vec<(String, &'q str)>);

impl<'q> Pairs<'q> {
    pub(super) fn of(query: &'q str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (plain(name, true), value))
                .collect(),
        )
    }
}

/// A text without its escapes; in a query `+` is a space.
pub(super) fn plain(text: &str, is_query: bool) -> String {
    let spaced = if is_query && text.contains('+') { text.replace('+', " ") } else { text.to_owned() };
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

impl Parameter {
    /// Reads one; none where OpenAPI says that it means nothing.
    pub(super) fn read(written: &Value, document: &Document) -> Result<Option<Self>, String> {
        let name = written.get("name").and_then(Value::as_str).ok_or("a parameter lacks its `name`")?;
        let wrong = |error: String| format!("parameter `{name}`: {error}");
        let place = match written.get("in").and_then(Value::as_str) {
            Some("path") => Where::Path,
            Some("query") => Where::Query,
            Some("header") => Where::Header,
            Some("cookie") => Where::Cookie,
            _ => return Err(wrong("its `in` is none of path, query, header and cookie".to_owned())),
        };
        let is_other =
            ["accept", "content-type", "authorization"].iter().any(|known| known.eq_ignore_ascii_case(name));
        if place == Where::Header && is_other {
            return Ok(None);
        }
        let flag = |key: &str| written.get(key).and_then(Value::as_bool);
        let style = match (written.get("style").and_then(Value::as_str), place) {
            (None, Where::Query | Where::Cookie) | (Some("form"), Where::Query | Where::Cookie) => {
                Style::Form
            }
            (None, Where::Path | Where::Header) | (Some("simple"), Where::Path | Where::Header) => {
                Style::Simple
            }
            (Some("label"), Where::Path) => Style::Label,
            (Some("matrix"), Where::Path) => Style::Matrix,
            (Some("spaceDelimited"), Where::Query) => Style::Space,
            (Some("pipeDelimited"), Where::Query) => Style::Pipe,
            (Some("deepObject"), Where::Query) => Style::DeepObject,
            (other, _) => {
                return Err(wrong(format!("`style: {}` is not for its place", other.unwrap_or_default())));
            }
        };
        let content =
            written.get("content").and_then(Value::as_object).and_then(|content| content.iter().next());
        let is_json = content.is_some_and(|(kind, _)| {
            super::media::MediaRange::parse(kind).is_some_and(|kind| kind.is_json())
        });
        let schema = content.map_or_else(|| written.get("schema"), |(_, media)| media.get("schema"));
        let nothing = Value::Bool(true);
        Ok(Some(Self {
            name: name.into(),
            place,
            required: flag("required") == Some(true) || place == Where::Path,
            allows_empty: flag("allowEmptyValue") == Some(true),
            style,
            explode: flag("explode").unwrap_or(style == Style::Form),
            is_json,
            kinds: Kinds::of(schema.unwrap_or(&nothing), document).map_err(wrong)?,
            schema: schema
                .map(|schema| compiled(schema, document, Told::Request))
                .transpose()
                .map_err(wrong)?,
        }))
    }

    /// A header field of an answer.
    pub(super) fn header(name: &str, written: &Value, document: &Document) -> Result<Option<Self>, String> {
        let mut own = written.as_object().cloned().unwrap_or_default();
        own.insert("name".to_owned(), name.into());
        own.insert("in".to_owned(), "header".into());
        Self::read(&Value::Object(own), document)
    }

    fn fault(&self, pointer: &str, expected: impl Into<String>) -> Fault {
        Fault {
            at: self.place,
            name: Some(self.name.clone()),
            pointer: pointer.to_owned(),
            expected: expected.into(),
        }
    }

    /// Judges the values that stand for it, each with its escapes.
    pub(super) fn check(&self, values: &[&str], faults: &mut Vec<Fault>) {
        match values {
            [] if self.required => faults.push(self.fault("", "is required")),
            [] => {}
            [""] if self.allows_empty => {}
            values if self.is_json => match values {
                [text] => match read_json(self.plain(text).as_bytes()) {
                    Ok(value) => self.fits(&value, faults),
                    Err(wrong) => faults.push(self.fault("", wrong)),
                },
                _ => faults.push(self.fault("", "expected once")),
            },
            values => self.judge(|prefer| self.value(values, prefer), faults),
        }
    }

    /// Judges an object whose members stand in a query by themselves.
    pub(super) fn check_spread(
        &self,
        pairs: &Pairs<'_>,
        claimed: &dyn Fn(&str) -> bool,
        faults: &mut Vec<Fault>,
    ) {
        let is_own = |name: &str| match self.style {
            Style::DeepObject => name.strip_prefix(&*self.name).is_some_and(|rest| rest.starts_with('[')),
            _ => {
                self.kinds.properties.contains_key(name)
                    || (self.kinds.additional.is_some() && !claimed(name))
            }
        };
        let own: Vec<(&str, &str)> = pairs
            .0
            .iter()
            .filter(|(name, _)| is_own(name))
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        if own.is_empty() {
            if self.required {
                faults.push(self.fault("", "is required"));
            }
            return;
        }
        self.judge(|prefer| self.spread(&own, prefer), faults);
    }

    /// Whether its members stand in the query by themselves.
    pub(super) fn is_spread(&self) -> bool {
        let is_object = self.kinds.object && !self.kinds.array;
        self.place == Where::Query
            && !self.is_json
            && (self.style == Style::DeepObject || (is_object && self.explode && self.style == Style::Form))
    }

    /// Whether a name in a query is its own.
    pub(super) fn owns(&self, name: &str) -> bool {
        match (self.is_spread(), self.style) {
            (true, Style::DeepObject) => {
                name.strip_prefix(&*self.name).is_some_and(|rest| rest.starts_with('['))
            }
            (true, _) => self.kinds.properties.contains_key(name) || self.kinds.additional.is_some(),
            (false, _) => *self.name == *name,
        }
    }

    fn judge(&self, read: impl Fn(bool) -> Result<Value, String>, faults: &mut Vec<Fault>) {
        let value = match read(false) {
            Ok(value) => value,
            Err(wrong) => return faults.push(self.fault("", wrong)),
        };
        let Some(schema) = &self.schema else { return };
        // Where a text may be text or something else, one of them must fit.
        let fits_otherwise =
            || self.kinds.is_ambiguous() && read(true).is_ok_and(|value| schema.fits(&value));
        if !schema.fits(&value) && !fits_otherwise() {
            self.fits(&value, faults);
        }
    }

    fn fits(&self, value: &Value, faults: &mut Vec<Fault>) {
        let Some(schema) = &self.schema else { return };
        faults.extend(
            schema.violations(value).into_iter().map(|(pointer, expected)| self.fault(&pointer, expected)),
        );
    }

    fn plain(&self, text: &str) -> String {
        match self.place {
            Where::Header => text.trim().to_owned(),
            place => plain(text, place == Where::Query),
        }
    }

    /// The value that texts stand for.
    fn value(&self, values: &[&str], prefer: bool) -> Result<Value, String> {
        let [text] = values else {
            if self.kinds.array && self.explode && self.style == Style::Form {
                return Ok(Value::Array(
                    values.iter().map(|text| self.kinds.item(&self.plain(text), prefer)).collect(),
                ));
            }
            return Err("expected once".to_owned());
        };
        let name = &*self.name;
        let (text, separator) = match (self.style, self.explode) {
            (Style::Label, explode) => {
                let rest = text.strip_prefix('.').ok_or("expected to begin with `.`")?;
                (rest.to_owned(), if explode { "." } else { "," })
            }
            (Style::Matrix, explode) => {
                let rest = text.strip_prefix(';').ok_or("expected to begin with `;`")?;
                let is_members = self.kinds.object && !self.kinds.array && explode;
                let begins = format!("{name}=");
                match is_members {
                    true => (rest.to_owned(), ";"),
                    false if explode => (
                        rest.replace(&format!(";{begins}"), ";")
                            .strip_prefix(&begins)
                            .ok_or_else(|| format!("expected to begin with `;{begins}`"))?
                            .to_owned(),
                        ";",
                    ),
                    false => (
                        rest.strip_prefix(&begins)
                            .ok_or_else(|| format!("expected to begin with `;{begins}`"))?
                            .to_owned(),
                        ",",
                    ),
                }
            }
            (Style::Space, _) => (text.replace("%20", "+"), "+"),
            (Style::Pipe, _) => (text.replace("%7C", "|").replace("%7c", "|"), "|"),
            _ => ((*text).to_owned(), ","),
        };
        if self.kinds.array {
            // One value of a list whose values stand by themselves.
            let is_one = self.style == Style::Form && self.explode;
            let items = if is_one { vec![text.as_str()] } else { text.split(separator).collect() };
            return Ok(Value::Array(
                items.into_iter().map(|item| self.kinds.item(&self.plain(item), prefer)).collect(),
            ));
        }
        if self.kinds.object {
            return self.members(&text, separator, prefer);
        }
        Ok(self.kinds.value(&self.plain(&text), prefer))
    }

    fn members(&self, text: &str, separator: &str, prefer: bool) -> Result<Value, String> {
        let pieces = text.split(separator);
        let mut pairs = Vec::new();
        if self.explode && self.style != Style::Form {
            for piece in pieces {
                let (name, value) = piece.split_once('=').ok_or("expected members as `name=value`")?;
                pairs.push((self.plain(name), self.plain(value)));
            }
        } else {
            let pieces: Vec<&str> = pieces.collect();
            for pair in pieces.chunks(2) {
                let [name, value] = pair else { return Err("expected names and values in turn".to_owned()) };
                pairs.push((self.plain(name), self.plain(value)));
            }
        }
        Ok(self.kinds.members(pairs.into_iter(), prefer))
    }

    /// The object whose members stand in a query by themselves.
    fn spread(&self, own: &[(&str, &str)], prefer: bool) -> Result<Value, String> {
        let mut all = Map::new();
        for (name, text) in own {
            let steps: Vec<&str> = match self.style {
                Style::DeepObject => {
                    let inside = name.strip_prefix(&*self.name).and_then(|rest| rest.strip_prefix('['));
                    let inside = inside.and_then(|rest| rest.strip_suffix(']'));
                    inside.ok_or("expected names in brackets")?.split("][").collect()
                }
                _ => vec![name],
            };
            if steps.len() > BRACKETS_MAX {
                return Err(format!("expected at most {BRACKETS_MAX} names in brackets"));
            }
            put(&mut all, &self.kinds, &steps, &self.plain(text), prefer)?;
        }
        Ok(Value::Object(all))
    }
}

/// Puts a text at a place in an object.
fn put(
    all: &mut Map<String, Value>,
    kinds: &Kinds,
    steps: &[&str],
    text: &str,
    prefer: bool,
) -> Result<(), String> {
    let Some((name, rest)) = steps.split_first() else { return Ok(()) };
    let nothing = Kinds::default();
    let own = kinds.property(name).unwrap_or(&nothing);
    if !rest.is_empty() && rest != [""] {
        let below = all.entry((*name).to_owned()).or_insert_with(|| Value::Object(Map::new()));
        let below = below.as_object_mut().ok_or("expected one value or members, not both")?;
        return put(below, own, rest, text, prefer);
    }
    if own.array {
        let list = all.entry((*name).to_owned()).or_insert_with(|| Value::Array(Vec::new()));
        let list = list.as_array_mut().ok_or("expected one value or members, not both")?;
        list.push(own.item(text, prefer));
        return Ok(());
    }
    match all.insert((*name).to_owned(), own.value(text, prefer)) {
        None => Ok(()),
        Some(_) => Err("expected each member once".to_owned()),
    }
}

/// A schema of the document that judges traffic.
pub(super) fn compiled(schema: &Value, document: &Document, told: Told) -> Result<Schema, String> {
    let mut converter = Converter::strict(document, told);
    let mut converted = converter.convert(schema)?;
    if let Value::Object(root) = &mut converted {
        converter.finish(root)?;
    }
    Schema::judging(&converted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(parameter: Value, values: &[&str]) -> Result<Value, String> {
        let document = Document { root: json!({}), is_old: false };
        let parameter =
            Parameter::read(&parameter, &document).expect("a parameter").expect("one that means something");
        parameter.value(values, false)
    }

    #[test]
    fn values_are_read_in_every_style() {
        let list = json!({"type": "array", "items": {"type": "integer"}});
        let object = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}});
        let want_object = json!({"a": 1, "b": "x y"});
        for (place, style, explode, schema, values, want) in [
            ("path", "simple", false, &list, &["1,2"][..], json!([1, 2])),
            ("path", "simple", true, &object, &["a=1,b=x%20y"], want_object.clone()),
            ("path", "simple", false, &object, &["a,1,b,x%20y"], want_object.clone()),
            ("path", "label", false, &list, &[".1,2"], json!([1, 2])),
            ("path", "label", true, &list, &[".1.2"], json!([1, 2])),
            ("path", "matrix", false, &list, &[";p=1,2"], json!([1, 2])),
            ("path", "matrix", true, &list, &[";p=1;p=2"], json!([1, 2])),
            ("path", "matrix", true, &object, &[";a=1;b=x%20y"], want_object.clone()),
            ("query", "form", true, &list, &["1", "2"], json!([1, 2])),
            ("query", "form", true, &list, &["1"], json!([1])),
            ("query", "form", false, &list, &["1,2"], json!([1, 2])),
            ("query", "form", false, &object, &["a,1,b,x+y"], want_object.clone()),
            ("query", "spaceDelimited", false, &list, &["1%202+3"], json!([1, 2, 3])),
            ("query", "pipeDelimited", false, &list, &["1%7C2|3"], json!([1, 2, 3])),
            ("header", "simple", false, &list, &["1, 2"], json!([1, 2])),
            ("cookie", "form", false, &list, &["1,2"], json!([1, 2])),
        ] {
            let written =
                json!({"name": "p", "in": place, "style": style, "explode": explode, "schema": schema});
            assert_eq!(read(written.clone(), values), Ok(want), "{written} {values:?}");
        }
        // What is escaped is no separator.
        let texts = json!({"type": "array", "items": {"type": "string"}});
        let written = json!({"name": "p", "in": "query", "explode": false, "schema": texts});
        assert_eq!(read(written, &["a%2Cb,c"]), Ok(json!(["a,b", "c"])));
        let one = json!({"name": "p", "in": "query", "schema": {"type": "integer"}});
        assert!(read(one, &["1", "2"]).is_err(), "twice");
    }

    #[test]
    fn members_in_brackets_and_by_themselves_become_an_object() {
        let document = Document { root: json!({}), is_old: false };
        let schema = json!({"type": "object", "properties": {
            "n": {"type": "integer"}, "tags": {"type": "array"}, "in": {"type": "object", "properties": {"x": {"type": "boolean"}}}}});
        let deep =
            json!({"name": "f", "in": "query", "style": "deepObject", "explode": true, "schema": schema});
        let deep = Parameter::read(&deep, &document).expect("good").expect("one");
        let own = [("f[n]", "5"), ("f[tags]", "a"), ("f[tags][]", "b"), ("f[in][x]", "true")];
        assert_eq!(deep.spread(&own, false), Ok(json!({"n": 5, "tags": ["a", "b"], "in": {"x": true}})));
        assert!(deep.is_spread() && deep.owns("f[z]") && !deep.owns("f") && !deep.owns("fx[n]"));
        for wrong in
            [&[("f[n]", "1"), ("f[n]", "2")][..], &[("f[n", "1")], &[("f[n]", "1"), ("f[n][x]", "2")]]
        {
            assert!(deep.spread(wrong, false).is_err(), "{wrong:?}");
        }
        let deepest = format!("f{}", "[a]".repeat(1000));
        assert!(deep.spread(&[(&deepest, "1")], false).is_err());
    }
}
