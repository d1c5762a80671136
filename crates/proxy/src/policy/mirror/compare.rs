//! How two answers differ: by status, chosen header fields, and JSON by value or bodies by their bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use model::Difference;
use serde_json::{Number, Value};

/// Differences that are told of one comparison.
const DIFFERENCES_MAX: usize = 32;
/// Characters of a value that are shown.
const SHOWN_MAX: usize = 80;
/// How deep JSON is compared.
const DEPTH_MAX: usize = 64;

/// What is compared.
pub(super) struct Comparing {
    pub(super) headers: Vec<HeaderName>,
    pub(super) body: bool,
    pub(super) ignore: Vec<Vec<String>>,
}

/// One of two answers. Without a body where that was too large, or did not come to its end.
pub(super) struct Side {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

/// What differs, and whether that is more than is told.
#[derive(Default)]
pub(super) struct Found {
    pub(super) differences: Vec<Difference>,
    pub(super) is_cut: bool,
}

impl Found {
    fn add(&mut self, field: String, own: String, other: String) {
        match self.differences.len() < DIFFERENCES_MAX {
            true => self.differences.push(Difference { field, own: cut(&own), other: cut(&other) }),
            false => self.is_cut = true,
        }
    }
}

/// A path as it is written in `ignore`: `items[].name` is a list's name, its items, and a name in them.
pub(super) fn path(text: &str) -> Vec<String> {
    let mut steps = Vec::new();
    for part in text.trim_start_matches("$.").split('.') {
        let name = part.trim_end_matches("[]");
        if !name.is_empty() {
            steps.push(name.to_owned());
        }
        steps.extend((0..(part.len() - name.len()) / 2).map(|_| "[]".to_owned()));
    }
    steps
}

impl Comparing {
    pub(super) fn compare(&self, own: &Side, other: &Side) -> Found {
        let mut found = Found::default();
        if own.status != other.status {
            found.add("status".into(), own.status.as_str().into(), other.status.as_str().into());
        }
        for name in &self.headers {
            let (one, two) = (shown(&own.headers, name), shown(&other.headers, name));
            if one != two {
                found.add(format!("header:{name}"), one, two);
            }
        }
        let (Some(one), Some(two)) = (&own.body, &other.body) else { return found };
        if !self.body || one == two {
            return found;
        }
        let parsed = match is_plain(&own.headers) && is_plain(&other.headers) {
            true => serde_json::from_slice(one).ok().zip(serde_json::from_slice(two).ok()),
            false => None,
        };
        match parsed {
            Some((one, two)) => self.values(&one, &two, &mut Vec::new(), &mut found),
            None => found.add("body".into(), summary(one), summary(two)),
        }
        found
    }

    fn values(&self, one: &Value, two: &Value, at: &mut Vec<String>, found: &mut Found) {
        if one == two || at.len() > DEPTH_MAX || self.is_ignored(at) {
            return;
        }
        match (one, two) {
            (Value::Object(one), Value::Object(two)) => {
                let more = two.keys().filter(|name| !one.contains_key(*name));
                for name in one.keys().chain(more) {
                    at.push(name.clone());
                    match (one.get(name), two.get(name)) {
                        (Some(one), Some(two)) => self.values(one, two, at, found),
                        (one, two) if !self.is_ignored(at) => found.add(field(at), text(one), text(two)),
                        _ => {}
                    }
                    at.pop();
                }
            }
            (Value::Array(one), Value::Array(two)) => {
                at.push("[]".to_owned());
                if one.len() != two.len() && !self.is_ignored(at) {
                    found.add(field(at), format!("{} items", one.len()), format!("{} items", two.len()));
                }
                for (one, two) in one.iter().zip(two) {
                    self.values(one, two, at, found);
                }
                at.pop();
            }
            (Value::Number(one), Value::Number(two)) if is_same_number(one, two) => {}
            (one, two) => found.add(field(at), text(Some(one)), text(Some(two))),
        }
    }

    fn is_ignored(&self, at: &[String]) -> bool {
        self.ignore.iter().any(|path| {
            let fits = |(step, name): (&String, &String)| step == name || (step == "*" && name != "[]");
            path.len() <= at.len() && path.iter().zip(at).all(fits)
        })
    }
}

/// One number in two ways of writing it, as `1`, `1.0` and `1e0` are. Whole ones are told apart to their last digit.
fn is_same_number(one: &Number, two: &Number) -> bool {
    let is_whole = |number: &Number| number.is_i64() || number.is_u64();
    match is_whole(one) && is_whole(two) {
        true => one == two,
        false => one.as_f64().zip(two.as_f64()).is_some_and(|(one, two)| one == two),
    }
}

/// `json:` and where it is.
fn field(at: &[String]) -> String {
    let mut text = "json:".to_owned();
    for step in at {
        if step != "[]" && !text.ends_with(':') {
            text.push('.');
        }
        text.push_str(&cut(step));
    }
    text
}

fn text(value: Option<&Value>) -> String {
    value.map_or_else(|| "(none)".to_owned(), ToString::to_string)
}

fn is_plain(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding == "identity")
}

fn shown(headers: &HeaderMap, name: &HeaderName) -> String {
    let all: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    if all.is_empty() { "(none)".to_owned() } else { all.join(", ") }
}

fn summary(body: &Bytes) -> String {
    format!("{} bytes, hash {:016x}", body.len(), resilience::hash::hash64(body))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn side(status: u16, body: &str) -> Side {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        let status = StatusCode::from_u16(status).expect("a status");
        Side { status, headers, body: Some(Bytes::copy_from_slice(body.as_bytes())) }
    }

    fn fields(ignore: &[&str], own: &Side, other: &Side) -> Vec<String> {
        let comparing = Comparing {
            headers: vec![header::CONTENT_TYPE],
            body: true,
            ignore: ignore.iter().map(|text| path(text)).collect(),
        };
        comparing.compare(own, other).differences.into_iter().map(|one| one.field).collect()
    }

    #[test]
    fn json_is_compared_by_value_and_paths_can_be_left_out() {
        let own = side(200, r#"{"a":1,"b":{"c":[{"d":1,"e":2},{"d":3}]},"id":"x","n":null}"#);
        let same = side(200, r#"{"id":"x", "n":null, "b":{"c":[{"e":2,"d":1},{"d":3}]}, "a":1}"#);
        assert!(fields(&[], &own, &same).is_empty(), "the order of names does not matter");
        let other = side(500, r#"{"a":1.5,"b":{"c":[{"d":1,"e":3},{"d":4},{}]},"id":"y","m":1}"#);
        let found = fields(&[], &own, &other);
        assert_eq!(
            found,
            ["status", "json:a", "json:b.c[]", "json:b.c[].e", "json:b.c[].d", "json:id", "json:n", "json:m"]
        );
        let found = fields(&["id", "b.c[].d", "$.n", "m"], &own, &other);
        assert_eq!(found, ["status", "json:a", "json:b.c[]", "json:b.c[].e"]);
        assert_eq!(fields(&["*"], &own, &other), ["status"]);
        assert_eq!(fields(&["b", "*.c"], &own, &other).len(), 5);
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        let own = side(200, r#"{"a":1,"b":[100,0.5],"c":9007199254740993}"#);
        let same = side(200, r#"{"a":1.0,"b":[1e2,5e-1],"c":9007199254740993}"#);
        assert!(fields(&[], &own, &same).is_empty());
        let other = side(200, r#"{"a":1.01,"b":["100",0.5],"c":9007199254740992}"#);
        assert_eq!(fields(&[], &own, &other), ["json:a", "json:b[]", "json:c"]);
    }

    #[test]
    fn what_is_no_json_is_compared_by_its_bytes_and_what_is_not_whole_is_not() {
        let (own, mut other) = (side(200, "plain"), side(200, "plane"));
        assert_eq!(fields(&[], &own, &other), ["body"]);
        other.headers.insert("content-type", http::HeaderValue::from_static("text/plain"));
        assert_eq!(fields(&[], &own, &other), ["header:content-type", "body"]);
        other.body = None;
        assert_eq!(fields(&[], &own, &other), ["header:content-type"]);
        let coded = |text: &str| {
            let mut side = side(200, text);
            side.headers.insert("content-encoding", http::HeaderValue::from_static("gzip"));
            side
        };
        assert_eq!(fields(&[], &coded("{\"a\":1}"), &coded("{\"a\": 1}")), ["body"]);
    }

    #[test]
    fn what_is_told_is_bounded() {
        let of = |number: usize| {
            let names: Vec<_> = (0..1000).map(|at| format!("\"{at}{}\":{number}", "x".repeat(200))).collect();
            side(200, &format!("{{{}}}", names.join(",")))
        };
        let comparing = Comparing { headers: Vec::new(), body: true, ignore: Vec::new() };
        let found = comparing.compare(&of(1), &of(2));
        assert!(found.is_cut && found.differences.len() == DIFFERENCES_MAX);
        assert!(found.differences.iter().all(|one| one.field.len() < 100), "{:?}", found.differences[0]);
    }

    proptest! {
        #[test]
        fn bodies_differ_where_neither_their_bytes_nor_their_values_are_the_same(one in ".{0,60}", two in ".{0,60}") {
            let comparing = Comparing { headers: Vec::new(), body: true, ignore: Vec::new() };
            let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
            let is_same = one == two || (parsed(&one).is_some() && parsed(&one) == parsed(&two));
            prop_assert_eq!(comparing.compare(&side(200, &one), &side(200, &two)).differences.is_empty(), is_same);
        }
    }
}
