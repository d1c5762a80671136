//! XML as JSON, and back.
//!
//! An element is an object: `@name` for each attribute, a member for each child, a list where several children have one
//! name, and `#text`; one with nothing but text is that text. Document types are refused, and with them every entity but
//! the five that XML has itself: nothing is read from elsewhere and nothing unfolds.

use serde_json::{Map, Value};

/// Elements in one another.
const DEPTH_MAX: usize = 64;
/// Elements and attributes of one document.
const NODES_MAX: usize = 100_000;

/// Reads a document: an object with its root element.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0, nodes: 0 };
    reader.misc()?;
    let (name, value) = reader.element(0)?;
    reader.misc()?;
    match reader.rest().is_empty() {
        true => Ok(Value::Object(Map::from_iter([(name, value)]))),
        false => Err(reader.wrong("something stands behind the root element")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    nodes: usize,
}

fn is_name_start(letter: char) -> bool {
    letter.is_alphabetic() || matches!(letter, '_' | ':')
}

fn is_name(letter: char) -> bool {
    is_name_start(letter) || letter.is_numeric() || matches!(letter, '-' | '.' | '\u{b7}')
}

/// A letter that XML allows.
fn is_letter(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, what: &str) -> String {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("it is no XML that is understood: {what} (line {line})")
    }

    fn take(&mut self, text: &str) -> bool {
        let is_there = self.rest().starts_with(text);
        self.at += if is_there { text.len() } else { 0 };
        is_there
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// Takes up to a text and past it.
    fn until(&mut self, end: &str) -> Result<&'t str, String> {
        let rest = self.rest();
        let at = rest.find(end).ok_or_else(|| self.wrong(&format!("`{end}` is missing")))?;
        self.at += at + end.len();
        Ok(rest.get(..at).unwrap_or_default())
    }

    /// What may stand around the root: the declaration, comments, instructions.
    fn misc(&mut self) -> Result<(), String> {
        self.take("\u{feff}");
        loop {
            self.skip_space();
            if self.take("<?") {
                self.until("?>")?;
            } else if self.take("<!--") {
                self.until("-->")?;
            } else if self.rest().starts_with("<!") {
                return Err(self.wrong("a document type is not allowed"));
            } else {
                return Ok(());
            }
        }
    }

    fn name(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        if !name.starts_with(is_name_start) {
            return Err(self.wrong("a name was expected"));
        }
        self.at += end;
        Ok(name.to_owned())
    }

    fn count(&mut self) -> Result<(), String> {
        self.nodes += 1;
        match self.nodes > NODES_MAX {
            true => Err(self.wrong("it has too many elements")),
            false => Ok(()),
        }
    }

    fn element(&mut self, depth: usize) -> Result<(String, Value), String> {
        if depth > DEPTH_MAX {
            return Err(self.wrong("its elements are too deep"));
        }
        self.count()?;
        if !self.take("<") {
            return Err(self.wrong("an element was expected"));
        }
        let name = self.name()?;
        let mut members = Map::new();
        loop {
            let before = self.at;
            self.skip_space();
            if self.take("/>") {
                return Ok((name, finished(members, String::new())));
            }
            if self.take(">") {
                break;
            }
            if before == self.at {
                return Err(self.wrong("a tag does not end"));
            }
            self.count()?;
            let attribute = self.name()?;
            self.skip_space();
            if !self.take("=") {
                return Err(self.wrong("an attribute lacks its value"));
            }
            self.skip_space();
            let quote = if self.take("\"") {
                "\""
            } else if self.take("'") {
                "'"
            } else {
                return Err(self.wrong("an attribute's value lacks quotes"));
            };
            let raw = self.until(quote)?;
            if raw.contains('<') {
                return Err(self.wrong("`<` stands in an attribute"));
            }
            let value = self.plain(raw)?;
            if members.insert(format!("@{attribute}"), value.into()).is_some() {
                return Err(self.wrong("an attribute stands twice"));
            }
        }
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let at = rest.find('<').ok_or_else(|| self.wrong("an element does not end"))?;
            let raw = rest.get(..at).unwrap_or_default();
            text.push_str(&self.plain(raw)?);
            self.at += at;
            if self.take("</") {
                if self.name()? != name {
                    return Err(self.wrong("an end tag is that of another element"));
                }
                self.skip_space();
                return match self.take(">") {
                    true => Ok((name, finished(members, text))),
                    false => Err(self.wrong("an end tag does not end")),
                };
            } else if self.take("<!--") {
                self.until("-->")?;
            } else if self.take("<![CDATA[") {
                text.push_str(self.until("]]>")?);
            } else if self.take("<?") {
                self.until("?>")?;
            } else if self.rest().starts_with("<!") {
                return Err(self.wrong("a declaration is not allowed"));
            } else {
                let (child, value) = self.element(depth + 1)?;
                put(&mut members, child, value);
            }
        }
    }

    /// A text without references.
    fn plain(&self, raw: &str) -> Result<String, String> {
        if !raw.chars().all(is_letter) {
            return Err(self.wrong("a letter that XML does not have"));
        }
        let mut out = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once('&') {
            out.push_str(before);
            let (name, behind) =
                after.split_once(';').ok_or_else(|| self.wrong("a reference does not end"))?;
            let letter = match name {
                "amp" => Some('&'),
                "lt" => Some('<'),
                "gt" => Some('>'),
                "quot" => Some('"'),
                "apos" => Some('\''),
                name => {
                    let code = match (name.strip_prefix("#x"), name.strip_prefix('#')) {
                        (Some(digits), _) => {
                            u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
                        }
                        (None, Some(digits)) => digits.parse().ok().filter(|_| !digits.starts_with('+')),
                        (None, None) => None,
                    };
                    code.and_then(char::from_u32).filter(|letter| is_letter(*letter))
                }
            };
            out.push(letter.ok_or_else(|| self.wrong("an entity that nobody knows"))?);
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn put(members: &mut Map<String, Value>, name: String, value: Value) {
    match members.get_mut(&name) {
        None => _ = members.insert(name, value),
        Some(Value::Array(items)) => items.push(value),
        Some(one) => *one = Value::Array(vec![std::mem::take(one), value]),
    }
}

fn finished(mut members: Map<String, Value>, text: String) -> Value {
    let has_children = members.keys().any(|name| !name.starts_with('@'));
    // Between elements white space is only layout.
    let text = if has_children { text.trim().to_owned() } else { text };
    match (members.is_empty(), text.is_empty()) {
        (true, true) => Value::Null,
        (true, false) => text.into(),
        (false, true) => members.into(),
        (false, false) => {
            members.insert("#text".to_owned(), text.into());
            members.into()
        }
    }
}

/// Writes a value as a document. Without a root an object with one member is its own.
pub(crate) fn write(value: &Value, root: Option<&str>, bytes_max: usize) -> Result<String, String> {
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>".to_owned();
    match (root, value) {
        // There is one root element.
        (Some(root), Value::Array(_)) => {
            let items = Value::Object(Map::from_iter([("item".to_owned(), value.clone())]));
            element(root, &items, &mut out, 0, bytes_max)?;
        }
        (Some(root), value) => element(root, value, &mut out, 0, bytes_max)?,
        (None, Value::Object(members)) if members.len() == 1 && !members.values().any(Value::is_array) => {
            for (name, value) in members {
                element(name, value, &mut out, 0, bytes_max)?;
            }
        }
        _ => return Err("it has not one member that would be the root element; give a `root`".to_owned()),
    }
    Ok(out)
}

fn element(
    name: &str,
    value: &Value,
    out: &mut String,
    depth: usize,
    bytes_max: usize,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err("it is too deep to be written as XML".to_owned());
    }
    if !name.starts_with(is_name_start) || !name.chars().all(is_name) {
        return Err("a member has a name that no element can have".to_owned());
    }
    if let Value::Array(items) = value {
        for item in items {
            match item {
                Value::Array(_) => element(
                    name,
                    &Value::Object(Map::from_iter([("item".to_owned(), item.clone())])),
                    out,
                    depth + 1,
                    bytes_max,
                )?,
                item => element(name, item, out, depth, bytes_max)?,
            }
        }
        return Ok(());
    }
    out.push('<');
    out.push_str(name);
    let members = value.as_object();
    for (key, value) in members.into_iter().flatten() {
        let Some(attribute) = key.strip_prefix('@') else { continue };
        if !attribute.starts_with(is_name_start) || !attribute.chars().all(is_name) {
            return Err("a member has a name that no attribute can have".to_owned());
        }
        out.push(' ');
        out.push_str(attribute);
        out.push_str("=\"");
        escaped(&scalar(value)?, out)?;
        out.push('"');
    }
    if value.is_null() {
        out.push_str("/>");
        return Ok(());
    }
    out.push('>');
    match members {
        None => escaped(&scalar(value)?, out)?,
        Some(members) => {
            for (key, value) in members {
                match key.as_str() {
                    "#text" => escaped(&scalar(value)?, out)?,
                    key if key.starts_with('@') => {}
                    key => element(key, value, out, depth + 1, bytes_max)?,
                }
            }
        }
    }
    out.push_str("</");
    out.push_str(name);
    out.push('>');
    match out.len() > bytes_max {
        true => Err("it becomes too large".to_owned()),
        false => Ok(()),
    }
}

fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => {
            Err("a text or an attribute cannot be a list or an object".to_owned())
        }
    }
}

fn escaped(text: &str, out: &mut String) -> Result<(), String> {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            letter if is_letter(letter) => out.push(letter),
            _ => return Err("a text has a letter that XML cannot have".to_owned()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_read() {
        let text = "<?xml version='1.0'?>\n<!-- c --><o:order id=\"5\" a='&lt;&#65;'>\n <item>a</item><item n='1'>b</item>\n <none/><t>x &amp; <![CDATA[<y>]]></t> tail</o:order>\n";
        let want = json!({"o:order": {"@id": "5", "@a": "<A", "item": ["a", {"@n": "1", "#text": "b"}], "none": null, "t": "x & <y>", "#text": "tail"}});
        assert_eq!(read(text), Ok(want));
    }

    #[test]
    fn what_unfolds_or_leads_elsewhere_is_refused() {
        for text in [
            "<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;\">]><lolz>&lol2;</lolz>",
            "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>",
            "<a>&xxe;</a>",
            "<a><!ENTITY x 'y'></a>",
            "<a>&#0;</a>",
            "<a>&#xD800;</a>",
            "<a b='1' b='2'/>",
            "<a b='<'/>",
            "<a></b>",
            "<a>",
            "<a/><b/>",
            "",
            "text",
            "<a b=1/>",
            "<a\u{0}/>",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read(&"<a>".repeat(100_000)).is_err_and(|error| error.contains("deep")));
        assert!(
            read(&format!("<a>{}</a>", "<b/>".repeat(200_000))).is_err_and(|error| error.contains("many"))
        );
    }

    #[test]
    fn values_are_written() {
        let value =
            json!({"order": {"@id": 5, "item": ["a", {"@n": 1, "#text": "<b>"}], "none": null, "ok": true}});
        let want = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><order id=\"5\"><item>a</item><item n=\"1\">&lt;b&gt;</item><none/><ok>true</ok></order>";
        assert_eq!(write(&value, None, 1_000).as_deref(), Ok(want));
        assert_eq!(
            write(&json!([1, 2]), Some("n"), 1_000).as_deref(),
            Ok("<?xml version=\"1.0\" encoding=\"UTF-8\"?><n><item>1</item><item>2</item></n>")
        );
        for wrong in [
            json!({"a b": 1}),
            json!({"a": {"@x y": 1}}),
            json!({"a": 1, "b": 2}),
            json!({"a": {"@x": {}}}),
            json!({"a": "\u{0}"}),
            json!({"<": 1}),
        ] {
            assert!(write(&wrong, None, 1_000).is_err(), "{wrong}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            "[a-z<&\"' é]{1,6}".prop_map(|text| Value::from(text.trim().to_owned() + "x"))
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop::collection::btree_map("[a-z]{1,3}", inner, 1..4)
                .prop_map(|all| Value::Object(all.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in values()) {
            let written = write(&value, Some("root"), 1_000_000).expect("written");
            prop_assert_eq!(read(&written), Ok(json!({"root": value})));
        }

        #[test]
        fn no_text_breaks_it(text in "[<>/a=\"' &;#!\\[\\]x-]{0,60}") {
            let _ = read(&text);
        }
    }
}
