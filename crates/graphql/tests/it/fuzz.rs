//! Any bytes as requests and as schemas: what the fuzz targets run, and a short run of each.
#![allow(unreachable_pub, reason = "`fuzz/` exports them")]

use std::sync::LazyLock;

use graphql::{Document, Guard, Schema, Settings, multipart, request};

const SCHEMA: &str = r#"
type Query { a(first: Int, in: In): A @listSize(slicingArguments: ["first", "in.n"], sizedFields: ["l"])
             l(last: Int): [A] i: I u: U s(t: String @cost(weight: "2")): Int }
type Mutation { m(in: [In!]): A }
interface I { x: Int y: I }
type A implements I { x: Int y: I l: [A] z: [[A]] @cost(weight: "3") }
type B implements I @cost(weight: "0.5") { x: Int y: I }
union U = A | B
input In { n: Int @cost(weight: "1") in: [In] }
"#;

fn guard(settings: Settings, schema: Option<&str>) -> Guard {
    let schema = schema.map(|text| Schema::parse(text).expect("a schema"));
    Guard::compile(settings, schema).expect("good settings")
}

/// A request: its body, or a document as it is.
pub fn graphql_request(bytes: &[u8]) {
    static STRICT: LazyLock<Guard> = LazyLock::new(|| {
        let rules = vec![vec!["A.x".to_owned()], vec!["Mutation.*".to_owned()]];
        guard(Settings { rules, ..Settings::default() }, Some(SCHEMA))
    });
    static LAX: LazyLock<Guard> = LazyLock::new(|| {
        let mut settings = Settings { introspection: true, passes_unknown: true, ..Settings::default() };
        settings.limits.depth = u32::MAX;
        settings.limits.fields = u64::MAX;
        settings.limits.aliases = u64::MAX;
        settings.limits.root_fields = u64::MAX;
        settings.limits.directives = u64::MAX;
        guard(settings, Some(SCHEMA))
    });
    static BARE: LazyLock<Guard> = LazyLock::new(|| guard(Settings::default(), None));
    if let Ok(upload) = multipart::read(bytes, "b") {
        let own = bytes.get(upload.operations.clone()).expect("the operations are within the body");
        if let Ok(payload) = request::from_json(own, 3) {
            let _ = upload.judge(&payload);
        }
    }
    let text = String::from_utf8_lossy(bytes);
    if let Ok(Some(asked)) = request::from_query(&text)
        && let Ok(_) = asked.variables()
    {
        let written = request::to_query(&text, &asked, "{a}");
        let again =
            request::from_query(&written).expect("what is written can be read").expect("an operation");
        assert_eq!(again.query.as_deref(), Some("{a}"));
        assert!(again.id.is_none(), "an id does not go on");
    }
    let payload = match request::from_json(bytes, 3) {
        Ok(payload) => payload,
        Err(_) => {
            request::Payload { asked: vec![request::Asked::of_text(text.into_owned())], is_batch: false }
        }
    };
    let texts: Vec<&str> =
        payload.asked.iter().map(|asked| asked.query.as_deref().unwrap_or_default()).collect();
    let written = request::to_json(&payload, &texts);
    let again = request::from_json(written.as_bytes(), 3).expect("what is written can be read");
    assert_eq!((again.asked.len(), again.is_batch), (payload.asked.len(), payload.is_batch));
    for (one, other) in payload.asked.iter().zip(&again.asked) {
        assert_eq!(one.query.as_deref().unwrap_or_default(), other.query.as_deref().unwrap_or_default());
        assert_eq!(one.operation_name, other.operation_name);
        assert_eq!(one.variables().ok(), other.variables().ok());
        assert!(other.id.is_none(), "an id does not go on");
    }
    for asked in &payload.asked {
        let variables = asked.variables().ok().flatten();
        for guard in [&*STRICT, &*LAX, &*BARE] {
            let Ok(document) = Document::parse(asked.query.as_deref().unwrap_or_default(), guard.limits())
            else {
                continue;
            };
            for operation in document.operations() {
                if let Ok(measured) = guard.measure(&document, operation, variables.as_ref()) {
                    assert!(measured.cost >= 0.0, "a cost is a number");
                    assert!(u64::from(measured.depth) <= measured.fields, "each step down is a field");
                    assert!(measured.aliases <= measured.fields && measured.root_fields <= measured.fields);
                }
            }
        }
    }
}

/// A schema.
pub fn graphql_schema(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(schema) = Schema::parse(text) else { return };
    let settings = Settings { passes_unknown: true, ..Settings::default() };
    let guard = Guard::compile(settings, Some(schema)).expect("a schema alone is no reason");
    let text =
        "query($n: In) { a(first: 3, in: $n) { ...F l { x y { x } } } } fragment F on A { l { z { x } } }";
    let document = Document::parse(text, guard.limits()).expect("a document");
    let operation = document.operation(None).expect("one");
    let variables = serde_json::json!({"n": {"n": 1, "in": [{"n": 2}, {"in": {}}]}});
    if let Ok(measured) = guard.measure(&document, operation, variables.as_object()) {
        assert!(measured.cost >= 0.0, "a cost is a number");
    }
}

#[cfg(test)]
mod short {
    #[test]
    fn graphql_request() {
        mutate::fuzz("graphql_request", super::graphql_request);
    }

    #[test]
    fn graphql_schema() {
        mutate::fuzz("graphql_schema", super::graphql_schema);
    }
}
