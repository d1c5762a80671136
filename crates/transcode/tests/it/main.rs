//! What descriptors, paths and JSON come to, on the descriptors of tests/protos/demo/greeter.proto.

mod flowing;
mod fuzz;
mod reflection;
mod written;

use std::{borrow::Cow, fs, path::Path, sync::Arc};

use prost::Message as _;
use serde_json::{Value, json};
use transcode::{
    binding::{Binding, Bindings, Body, Found},
    json::{Choices, Json},
    schema::Schema,
};

const SET: &[u8] = include_bytes!("../greeter.binpb");

fn schema() -> Schema {
    Schema::decode(SET).expect("descriptors")
}

fn bindings() -> Bindings {
    let schema = schema();
    Bindings::of(&schema, &schema.services()).expect("bindings")
}

/// The message that a request comes to, as JSON; the error as text.
fn asked(method: &str, target: &str, body: Option<&str>) -> Result<Value, String> {
    asked_with(&Json::default(), method, target, body)
}

fn asked_with(json: &Json, method: &str, target: &str, body: Option<&str>) -> Result<Value, String> {
    let bindings = bindings();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let Found::Binding(index) = bindings.find(method, path) else { panic!("{method} {path}") };
    let (binding, captures) = bindings.bound(index, path).expect("a binding");
    let body = body.map(|text| Body { bytes: text.as_bytes(), content_type: "application/json" });
    let message = binding.message(&captures, query, body, json).map_err(|wrong| wrong.to_string())?;
    let mut out = Vec::new();
    Json::default().write(&message, &mut out).expect("JSON");
    Ok(serde_json::from_slice(&out).expect("JSON"))
}

#[test]
fn the_descriptors_are_those_of_the_files() {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protos");
    for (file, set) in [
        ("demo/greeter.proto", SET),
        ("google/rpc/error_details.proto", include_bytes!("../../src/error_details.binpb").as_slice()),
    ] {
        let compiled = protox::compile([file], [&protos]).expect("a file that compiles");
        let messages: Vec<String> = compiled
            .file
            .iter()
            .filter(|one| one.name() == file)
            .flat_map(|file| file.message_type.iter().map(|one| format!("{}.{}", file.package(), one.name())))
            .collect();
        let compiled = Schema::decode(&compiled.encode_to_vec()).expect("descriptors");
        let kept = Schema::decode(set).expect("descriptors");
        assert!(!messages.is_empty(), "{file}");
        for name in messages {
            let fields = |schema: &Schema| -> Vec<String> {
                let message = schema.message(&name).unwrap_or_else(|| panic!("no {name}"));
                let told = message.fields().map(|one| {
                    let (kind, cardinality) = (one.kind(), one.cardinality());
                    format!("{} {} {kind:?} {cardinality:?}", one.number(), one.json_name())
                });
                told.collect()
            };
            assert_eq!(fields(&kept), fields(&compiled), "{name}");
        }
        assert_eq!(kept.services(), compiled.services(), "{file}");
        for service in kept.services() {
            let names = |schema: &Schema| -> Vec<Arc<str>> {
                schema.methods(&service).expect("methods").into_iter().map(|method| method.name).collect()
            };
            assert_eq!(names(&kept), names(&compiled));
        }
    }
    assert!(fs::exists(protos.join("google/api/http.proto")).expect("a folder"));
}

#[test]
fn paths_bodies_and_queries_are_messages() {
    for (method, target, body, want) in [
        ("GET", "/v1/greetings/Ada%20L", None, json!({"name": "Ada L"})),
        (
            "GET",
            "/v1/greetings/a?count=3&language=fr",
            None,
            json!({"name": "a", "count": 3, "language": "fr"}),
        ),
        ("POST", "/v1/greetings", Some("{\"name\":\"a\"}"), json!({"name": "a"})),
        ("GET", "/v1/greetings/a:watch", None, json!({"name": "a"})),
        ("GET", "/v1/shelves/1/books/2", None, json!({"name": "shelves/1/books/2"})),
        ("ARCHIVE", "/v1/shelves/1/books/2", None, json!({"name": "shelves/1/books/2"})),
        ("GET", "/v1/files/a/b/c.txt", None, json!({"name": "files/a/b/c.txt"})),
        (
            "POST",
            "/v1/shelves/1/books?requestId=7",
            Some("{\"title\":\"Atlas\",\"pages\":\"9007199254740993\"}"),
            json!({"parent": "shelves/1", "requestId": "7", "book": {"title": "Atlas", "pages": "9007199254740993"}}),
        ),
        (
            "PATCH",
            "/v1/shelves/1/books/2?update_mask=title,author.givenName",
            Some("{\"title\":\"B\",\"name\":\"another\"}"),
            json!({"book": {"name": "shelves/1/books/2", "title": "B"}, "updateMask": "title,author.givenName"}),
        ),
        (
            "GET",
            "/v1/shelves/1/books?page_size=5&tags=a&tags=b+c&filter.author.familyName=L&filter.since=2026-01-02T03:04:05Z&filter.genres=ATLAS&filter.genres=1&filter.in_print=false",
            None,
            json!({
                "parent": "shelves/1", "pageSize": 5, "tags": ["a", "b c"],
                "filter": {
                    "author": {"familyName": "L"}, "since": "2026-01-02T03:04:05Z",
                    "genres": ["ATLAS", "NOVEL"], "inPrint": false,
                },
            }),
        ),
        (
            "GET",
            "/v1/echo?bytes_value=aGk&int64_value=-5&double_value=NaN&wrapped_int=7&duration=1.5s&otherName=x&bool_value=true&within.within.text=deep",
            None,
            json!({
                "bytesValue": "aGk=", "int64Value": "-5", "doubleValue": "NaN", "wrappedInt": "7", "duration": "1.500s",
                "otherName": "x", "boolValue": true, "within": {"within": {"text": "deep"}},
            }),
        ),
    ] {
        assert_eq!(asked(method, target, body), Ok(want), "{method} {target}");
    }
}

#[test]
fn what_does_not_fit_is_told_with_its_place() {
    for (method, target, body, want) in [
        ("GET", "/v1/greetings/a?count=x", None, "`count`: `x` is no int32"),
        ("GET", "/v1/greetings/a?nobody=1", None, "`nobody`: `demo.HelloRequest` has no field `nobody`"),
        ("GET", "/v1/greetings/a?count=1&count=2", None, "`count`: it is given twice"),
        ("GET", "/v1/greetings/a", Some("{}"), "takes no body"),
        ("POST", "/v1/greetings", Some("{\"name\":1}"), "`name`: invalid type: integer `1`"),
        ("POST", "/v1/greetings", Some("{\"nobody\":1}"), "unrecognized field name 'nobody'"),
        ("POST", "/v1/greetings", Some("{\"name\":"), "EOF"),
        ("POST", "/v1/greetings", Some("{} {}"), "trailing"),
        (
            "POST",
            "/v1/shelves/1/books",
            Some("{\"author\":{\"x\":1}}"),
            "`author`: unrecognized field name 'x'",
        ),
        ("POST", "/v1/shelves/1/books?book.title=x", Some("{}"), "`book.title`: it is in the body"),
        ("GET", "/v1/echo?double_value=1e999", None, "`1e999` is no double"),
        ("GET", "/v1/echo?double_value=inf", None, "`inf` is no double"),
        ("GET", "/v1/echo?float_value=1e39", None, "`1e39` is no float"),
        ("GET", "/v1/echo?wrapped_double=inf", None, "`inf` is no double"),
        ("GET", "/v1/shelves/1/books?filter=x", None, "`filter`: `filter` is a message"),
        ("GET", "/v1/shelves/1/books?filter.genres=POEM", None, "has no value `POEM`"),
        ("GET", "/v1/shelves/1/books?filter.since=noon", None, "`filter.since`"),
        ("GET", "/v1/echo?counts=x", None, "is a map"),
        ("GET", "/v1/echo?text=a&number=1", None, "another field of `choice` is set"),
        ("POST", "/v1/echo", Some("{\"text\":\"a\",\"number\":1}"), "choice"),
        ("POST", "/v1/echo", Some("{\"text\":\"a\",\"text\":\"b\"}"), "`text` stands twice"),
        ("POST", "/v1/echo", Some("{\"int32Value\":1,\"int32_value\":2}"), "`int32Value` stands twice"),
        ("POST", "/v1/echo", Some("{\"counts\":{\"a\":1,\"\\u0061\":2}}"), "`a` stands twice"),
        ("POST", "/v1/echo", Some("{\"doubleValue\":\"1e999\"}"), "`1e999` is no number that fits"),
        ("POST", "/v1/echo", Some("{\"doubleValue\":\"inf\"}"), "`inf` is no number that fits"),
        ("POST", "/v1/echo", Some("{\"floatValue\":\"1e39\"}"), "`1e39` is no number that fits"),
        ("POST", "/v1/echo", Some("{\"wrappedDouble\":\"nan\"}"), "`nan` is no number that fits"),
        ("POST", "/v1/echo", Some("{\"numbers\":[1,\"x\"]}"), "`numbers[1]`"),
        ("POST", "/v1/echo", Some("{\"int32Value\":2147483648}"), "`int32Value`"),
    ] {
        let error = asked(method, target, body).expect_err(target);
        assert!(error.contains(want), "{method} {target}: {error}");
    }
    let lenient = Json::new(Choices { ignore_unknown: true, ..Choices::default() });
    let read = asked_with(&lenient, "POST", "/v1/greetings", Some("{\"name\":\"a\",\"nobody\":{\"x\":[1]}}"));
    assert_eq!(read, Ok(json!({"name": "a"})));
    assert_eq!(asked_with(&lenient, "GET", "/v1/greetings/a?nobody=1", None), Ok(json!({"name": "a"})));
}

#[test]
fn json_is_mapped_as_protobuf_says() {
    let whole = json!({
        "doubleValue": 1.5, "floatValue": "Infinity", "int32Value": -1, "int64Value": "-9223372036854775808",
        "uint32Value": 4294967295u32, "uint64Value": "18446744073709551615", "sint32Value": -2, "sint64Value": "-3",
        "fixed32Value": 4, "fixed64Value": "5", "sfixed32Value": -6, "sfixed64Value": "-7", "boolValue": true,
        "stringValue": "Gr\u{fc}\u{df}e \u{2693}", "bytesValue": "AAH/", "enumValue": "ATLAS",
        "messageValue": {"givenName": "A"}, "numbers": ["1", "2"], "counts": {"a": "1"},
        "authors": {"7": {"familyName": "B"}}, "text": "t", "maybe": 0, "timestamp": "2026-01-02T03:04:05.000000006Z",
        "duration": "-1.500s", "mask": "a.bC,d", "struct": {"a": [1.0, null, {"b": "c"}]}, "value": [true, "x"],
        "list": [1.0, "two"], "any": {"@type": "type.googleapis.com/demo.Author", "givenName": "C"}, "wrappedInt": "0",
        "wrappedText": "", "wrappedBool": false, "wrappedBytes": "aGk=", "wrappedDouble": 2.5,
        "within": {"any": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"}}, "otherName": "o",
    });
    assert_eq!(asked("POST", "/v1/echo", Some(&whole.to_string())), Ok(whole));
    // Other spellings of the same.
    let spelled = json!({
        "double_value": "1.5", "int64Value": 5, "uint32_value": "7", "bytesValue": "AAH_", "enumValue": 2,
        "named_otherwise": "o", "stringValue": null, "int32Value": 3.0, "numbers": [1, "2"],
    });
    let want = json!({
        "doubleValue": 1.5, "int32Value": 3, "int64Value": "5", "uint32Value": 7, "bytesValue": "AAH/",
        "enumValue": "ATLAS", "numbers": ["1", "2"], "otherName": "o",
    });
    assert_eq!(asked("POST", "/v1/echo", Some(&spelled.to_string())), Ok(want));
}

#[test]
fn how_messages_are_written_may_be_chosen() {
    let method = schema().method("demo.Library/GetBook").expect("a method");
    let text = br#"{"title":"T","pages":"3","genre":"ATLAS"}"#;
    let book = Json::default().read(&method.output, text).expect("a message");
    let written = |choices| {
        let mut out = Vec::new();
        Json::new(choices).write(&book, &mut out).expect("JSON");
        serde_json::from_slice::<Value>(&out).expect("JSON")
    };
    let plain = Choices::default();
    assert_eq!(
        written(Choices { int64_numbers: true, ..plain }),
        json!({"title": "T", "pages": 3, "genre": "ATLAS"})
    );
    assert_eq!(written(Choices { enum_numbers: true, ..plain })["genre"], 2);
    let filled = json!({"name": "", "title": "T", "pages": "3", "genre": "ATLAS", "tags": []});
    assert_eq!(written(Choices { emit_defaults: true, ..plain }), filled);
    let all = schema().message("demo.Everything").expect("a message");
    let message = Json::default().read(&all, br#"{"otherName":"o"}"#).expect("a message");
    let mut out = Vec::new();
    Json::new(Choices { proto_names: true, ..plain }).write(&message, &mut out).expect("JSON");
    assert_eq!(out, br#"{"named_otherwise":"o"}"#);
}

#[test]
fn answers_may_be_a_field() {
    let bindings = bindings();
    let Found::Binding(index) = bindings.find("GET", "/v1/shelves/1/books") else { panic!("no binding") };
    let binding: &Binding = &bindings.all[index].1;
    let written = |text: &[u8]| {
        let message = Json::default().read(&binding.method.output, text).expect("a message");
        let mut out = Vec::new();
        binding.write(&message, &Json::default(), &mut out).expect("JSON");
        String::from_utf8(out).expect("text")
    };
    assert_eq!(written(br#"{"books":[{"title":"A:B"}],"nextPageToken":"x"}"#), r#"[{"title":"A:B"}]"#);
    assert_eq!(written(b"{}"), "[]");
}

#[test]
fn a_fixed_method_takes_captures_and_what_the_query_and_the_body_say() {
    let method = Arc::new(schema().method("demo.Greeter/SayHello").expect("a method"));
    let binding = Binding::fixed(method.clone(), &["name".to_owned()], "*", None).expect("a binding");
    let read = |query, body: Option<&str>| {
        let body = body.map(|text| Body { bytes: text.as_bytes(), content_type: "application/json" });
        let message = binding.message(&[Some(Cow::Borrowed("Ada"))], query, body, &Json::default());
        let mut out = Vec::new();
        Json::default().write(&message.expect("a message"), &mut out).expect("JSON");
        String::from_utf8(out).expect("text")
    };
    assert_eq!(read(Some("count=2"), None), r#"{"name":"Ada","count":2}"#);
    assert_eq!(read(None, Some(r#"{"name":"x","language":"fr"}"#)), r#"{"name":"Ada","language":"fr"}"#);
    let body = Body { bytes: br#"{"name":"x"}"#, content_type: "application/json" };
    let message = binding.message(&[None], None, Some(body), &Json::default()).expect("a message");
    let name = message.get_field_by_name("name").expect("a field").as_str().map(str::to_owned);
    assert_eq!(name.as_deref(), Some("x"), "a capture that is not there says nothing");
    let error = Binding::fixed(method, &["id".to_owned()], "*", None).expect_err("no such field");
    assert!(error.contains("`{id}`") && error.contains("demo.HelloRequest"), "{error}");
}

#[test]
fn what_is_wrong_with_descriptors_is_told() {
    let of = |set: &[u8]| Schema::decode(set).expect_err("no descriptors");
    assert!(of(b"certainly not").contains("no descriptor set"), "{}", of(b"certainly not"));
    assert!(of(b"").contains("empty"));
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protos");
    let set = protox::compile(["demo/greeter.proto"], [&protos]).expect("a file that compiles");
    let alone = prost_types_set(&set, "demo/greeter.proto");
    let error = of(&alone);
    assert!(error.contains("--include_imports") && error.contains("google/api/annotations.proto"), "{error}");
    let error = schema().method("demo.Greeter/SayBye").expect_err("no method");
    assert!(error.contains("`SayBye`") && error.contains("`Collect`"), "{error}");
    let error = schema().method("demo.Greet/SayHello").expect_err("no service");
    assert!(error.contains("`demo.Greeter`, `demo.Library`"), "{error}");
}

/// One file of a set alone.
fn prost_types_set(set: &impl prost::Message, name: &str) -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Set {
        #[prost(bytes = "vec", repeated, tag = "1")]
        file: Vec<Vec<u8>>,
    }
    let mut set = Set::decode(set.encode_to_vec().as_slice()).expect("a set");
    set.file.retain(|file| file.windows(name.len()).take(8).any(|at| at == name.as_bytes()));
    assert_eq!(set.file.len(), 1);
    set.encode_to_vec()
}

/// Compiles a service with these annotations, and takes its bindings.
fn annotated(methods: &str) -> Result<usize, Vec<String>> {
    let folder =
        std::env::temp_dir().join(format!("tidegate-transcode-{}-{:p}", std::process::id(), methods));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let text = format!(
        "syntax = \"proto3\"; package t; import \"google/api/annotations.proto\";
         message In {{ string a = 1; repeated string many = 2; In within = 3; }} message Out {{ string b = 1; }}
         service S {{ {methods} }}"
    );
    fs::write(folder.join("t.proto"), text).expect("a file");
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protos");
    let mut compiler = protox::Compiler::new([&folder, &protos]).expect("a compiler");
    compiler.include_imports(true).open_file("t.proto").expect("a file that compiles");
    // Annotations are kept in the bytes alone.
    let bytes = compiler.encode_file_descriptor_set();
    fs::remove_dir_all(&folder).expect("a folder");
    let schema = Schema::decode(&bytes).expect("descriptors");
    Bindings::of(&schema, &["t.S".to_owned()]).map(|bindings| bindings.all.len())
}

#[test]
fn what_is_wrong_with_annotations_is_told_at_once() {
    let rpc = |name: &str, rule: &str| {
        format!("rpc {name}(In) returns (Out) {{ option (google.api.http) = {{ {rule} }}; }}\n")
    };
    assert_eq!(annotated(&rpc("A", "get: \"/v1/{a}\"")), Ok(1));
    for (methods, wants) in [
        (
            rpc("A", "get: \"/v1/{a}\"") + &rpc("B", "get: \"/v1/{within.a}\""),
            vec!["t.S/B", "t.S/A", "same path"],
        ),
        (rpc("A", "get: \"/v1/{c}\""), vec!["`t.In` has no field `c`"]),
        (rpc("A", "get: \"/v1/{many}\""), vec!["`many` has many values"]),
        (rpc("A", "get: \"/v1/{within}\""), vec!["`within` is a message"]),
        (rpc("A", "post: \"/v1\" body: \"c\""), vec!["`body`", "no field `c`"]),
        (rpc("A", "get: \"/v1\" response_body: \"c\""), vec!["`response_body`", "no field `c`"]),
        (rpc("A", "get: \"v1\""), vec!["begin with `/`"]),
        (rpc("A", "body: \"*\""), vec!["no path"]),
        (rpc("A", "get: \"/v1\" body: \"*\""), vec!["`get` has no `body`"]),
    ] {
        let errors = annotated(&methods).expect_err(&methods).join("\n");
        for want in wants {
            assert!(errors.contains(want), "{methods}: {errors}");
        }
    }
    let two = annotated(&(rpc("A", "get: \"/v1/{c}\"") + &rpc("B", "get: \"v1\""))).expect_err("two errors");
    assert_eq!(two.len(), 2, "{two:?}");
}
