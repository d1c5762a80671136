//! Documents of operators, and what comes to an API that one describes. Part of [`crate::fuzzing`].

use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    api::{Api, Found, Reading, Wanted},
    schema::Document,
};
use crate::{fuzzing::header_lines, handler::mcp::fuzzing::tools_of};

/// A method, a path with its query and a media type on the first line, and below it a document of JSON or YAML: it is
/// refused with a sentence or compiled, as an API and as tools; and what it finds on a path it finds again.
pub fn openapi(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (first, rest) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let (Ok(first), Ok(text)) = (std::str::from_utf8(first), std::str::from_utf8(rest)) else { return };
    let root: Value = match serde_json::from_str(text) {
        Ok(root) => root,
        Err(_) => match model::document(&model::Source::new("fuzz.yaml", text)) {
            Ok(root) => root,
            Err(_) => return,
        },
    };
    for is_old in [true, false] {
        let document = Document { root: root.clone(), is_old };
        let wanted = Wanted { requests: true, answers: true };
        match Api::compile(&document, None, wanted) {
            Err(why) => assert!(!why.is_empty()),
            Ok(api) => asked(&api, first),
        }
        for (name, told) in tools_of(&document) {
            assert!(told["inputSchema"].is_object() && told["name"] == *name, "{told}");
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
            assert!(name.chars().all(is_plain), "{name}");
        }
    }
}

fn asked(api: &Api, line: &str) {
    let mut words = line.splitn(3, ' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, target, kind) = (word(), word(), word());
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = header_lines(format!("content-type: {kind}\ncookie: a=1; b=2\nx-a: 1").as_bytes());
    let Found::Operation(operation, captured) = api.find(&method, path) else { return };
    assert!(captured.iter().all(|(_, value)| path.contains(value)), "{captured:?} in {path}");
    let all: Vec<_> = api.operations().map(|one| one.name.clone()).collect();
    assert!(all.contains(&operation.name));
    let faults = operation.head(&captured, query, &headers, Some(&[]));
    assert_eq!(operation.head(&captured, query, &headers, Some(&[])).len(), faults.len());
    if let Ok(Reading::Yes(judged)) = operation.reading(&headers, true) {
        let _ = judged;
    }
    let _ = operation.answer_head(StatusCode::OK, &headers, true);
}
