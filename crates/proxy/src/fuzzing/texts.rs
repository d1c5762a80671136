//! What an operator writes and a request fills: templates, expressions, path patterns.

use http::Method;
use model::{
    Route,
    resource::{path_template::PathTemplate, route_match::PathMatch},
};

use super::requests::header_lines;
use crate::{
    expression::{Expression, Scope},
    guard::path::canonical,
    policy::{fuzzing::facts_of, testing},
    router::{Captures, Found, RequestView, Router},
    template::Template,
};

/// The first line and the rest.
fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// A template on the first line, filled from the headers below it: nothing that a header cannot hold comes out, and
/// what a header says stays one segment of a path.
pub fn template(bytes: &[u8]) {
    let (first, rest) = first_line(bytes);
    let Ok(text) = std::str::from_utf8(first) else { return };
    let Ok(template) = Template::compile(text) else { return };
    let mut call = testing::call("GET", "/v1/orders/42?page=2&q=a%20b&odd=%zz");
    call.head.headers.extend(header_lines(rest));
    call = testing::with_claims(call, r#"{"sub":"u1","roles":["a","b"],"org":{"id":1},"x.y":"z"}"#);
    let rendered = template.render(&call);
    if let Some(value) = template.render_header(&call) {
        assert_eq!(Some(value.as_bytes()), rendered.as_deref().map(str::as_bytes));
    }
    if let Some(path) = template.render_path(&call)
        && template.constant().is_none()
        && text.contains("request.header.")
        && !text.contains("request.path")
        && !text.contains("request.query")
    {
        let slashes = |text: &str| text.matches('/').count();
        assert!(slashes(&path) <= slashes(text), "{text:?} became {path:?}");
    }
}

/// An expression on the first line is refused or runs, over the headers below it, without harm.
pub fn expression(bytes: &[u8]) {
    let (first, rest) = first_line(bytes);
    let Ok(text) = std::str::from_utf8(first) else { return };
    let captures: [Box<str>; 1] = ["id".into()];
    let _ = Expression::condition(text, Scope::Route { captures: &captures });
    let Ok(expression) = Expression::compile(text, Scope::Call) else { return };
    let mut call = testing::call("GET", "/v1/orders/42?page=2&q=a%20b");
    call.head.headers.extend(header_lines(rest));
    call = testing::with_claims(call, r#"{"sub":"u1","roles":["a","b"],"org":{"id":1}}"#);
    let facts = facts_of(&call);
    let once = (expression.eval_bool(&facts), expression.eval_string(&facts));
    assert_eq!((expression.eval_bool(&facts), expression.eval_string(&facts)), once, "it has one value");
}

/// A pattern on the first line and a path on the second: the router finds the route exactly when the pattern on its
/// own matches.
pub fn pattern(bytes: &[u8]) {
    let (first, rest) = first_line(bytes);
    let (Ok(text), Ok(path)) = (std::str::from_utf8(first), std::str::from_utf8(first_line(rest).0)) else {
        return;
    };
    let (kind, text) = text.split_at_checked(1).unwrap_or(("", text));
    let settings = match kind {
        "=" => PathMatch::Exact(text.into()),
        "*" => PathMatch::Prefix(text.into()),
        "{" if text.parse::<PathTemplate>().is_ok() => PathMatch::Template(text.into()),
        "~" if text.len() < 100 => PathMatch::Regex(text.into()),
        _ => return,
    };
    let route = |paths: serde_json::Value| -> Option<Route> {
        serde_json::from_value(serde_json::json!({"name": "r", "match": paths, "respond": {"status": 200}}))
            .ok()
    };
    let Ok(one) = serde_json::to_value(&settings) else { return };
    let others =
        serde_json::json!([{"path": one}, {"path": {"prefix": "/zz"}}, {"path": {"template": "/zz/{a}/b"}}]);
    let (Some(alone), Some(among)) = (route(serde_json::json!([{"path": one}])), route(others)) else {
        return;
    };
    let (Ok((alone, _)), Ok((among, _))) = (Router::compile(&[alone], &[]), Router::compile(&[among], &[]))
    else {
        return;
    };
    let Ok(canonical) = canonical(path, true) else { return };
    let view = RequestView {
        listener: 0,
        host: None,
        path: &canonical.path,
        method: &Method::GET,
        headers: &http::HeaderMap::new(),
        query: None,
        client: testing::CLIENT,
        sni: None,
        tls: false,
    };
    let found = |router: &Router| {
        matches!(router.find(&view, &mut Captures::default()), Found::Route { rule: 0, .. })
    };
    let is_other = canonical.path.starts_with("/zz");
    assert!(is_other || found(&alone) == found(&among), "{text:?} on {:?}", canonical.path);
    if kind == "=" && found(&alone) {
        assert_eq!(crate::guard::path::canonical_pattern(text, true).as_deref(), Ok(&*canonical.path));
    }
}
