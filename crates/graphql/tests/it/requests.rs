//! What came, read once.

use graphql::{Code, multipart, request};

#[test]
fn bodies_are_read_strictly() {
    for (body, wanted) in [
        (r#"{"query":"{a}"}"#, Ok(1)),
        (r#"{"query":"{a}","operationName":null,"variables":null,"extensions":null}"#, Ok(1)),
        (r#"{"query":"{a}","variables":{"n":1},"other":true}"#, Ok(1)),
        (r#"[{"query":"{a}"},{"query":"{b}"}]"#, Ok(2)),
        (r#" [{"query":"{a}"},{"query":"{b}"},{"query":"{c}"}]"#, Err(Code::Batch)),
        ("[]", Err(Code::BadRequest)),
        ("[[]]", Err(Code::BadRequest)),
        ("", Err(Code::BadRequest)),
        ("null", Err(Code::BadRequest)),
        (r#""{a}""#, Err(Code::BadRequest)),
        (r#"{"query":"{a}"} x"#, Err(Code::BadRequest)),
        (r#"{"query":1}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","query":"{b}"}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","qu\u0065ry":"{b}"}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","Query":"{b}"}"#, Err(Code::BadRequest)),
        ("{\"query\":\"{a}\",\"variable\u{17f}\":{}}", Err(Code::BadRequest)),
        (r#"{"query":"{a}","variables":[1]}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","variables":"{}"}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","extensions":{"persistedQuery":{"version":1}}}"#, Err(Code::BadRequest)),
        (
            r#"{"query":"{a}","extensions":{"persistedQuery":{"version":2,"sha256Hash":"a"}}}"#,
            Err(Code::BadRequest),
        ),
        (
            r#"{"documentId":"a","extensions":{"persistedQuery":{"version":1,"sha256Hash":"a"}}}"#,
            Err(Code::BadRequest),
        ),
        (r#"{"documentId":""}"#, Err(Code::BadRequest)),
        // What lenient services take for one of these names.
        (r#"{"query":"{a}"," query":"{b}"}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","query\u0000x":"{b}"}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","variables[n]":1}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","variables.n":1}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","querying":1}"#, Ok(1)),
        (r#"{"query":"{a}","extensions":{"a":1,"a":2}}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","extensions":{"b":[{"a":1,"a":2}]}}"#, Err(Code::BadRequest)),
        (r#"{"query":"{a}","extensions":[]}"#, Err(Code::BadRequest)),
    ] {
        let read = request::from_json(body.as_bytes(), 2);
        assert_eq!(read.map(|payload| payload.asked.len()).map_err(|refusal| refusal.code), wanted, "{body}");
    }
    assert_eq!(request::from_json(b"\xff", 1).expect_err("no text").code, Code::BadRequest);
    let deep =
        format!(r#"{{"query":"{{a}}","variables":{{"a":{}{}}}}}"#, "[".repeat(9_000), "]".repeat(9_000));
    let read = request::from_json(deep.as_bytes(), 1);
    assert!(
        read.is_err() || read.expect("read").asked[0].variables().is_err(),
        "deep variables are not read"
    );
}

#[test]
fn urls_are_read_as_strictly() {
    for (query, wanted) in [
        ("", Ok(None)),
        ("token=a", Ok(None)),
        ("query=%7Ba%7D&token=b", Ok(Some("{a}"))),
        ("query=%7Ba%7D&variables=%7B%22n%22%3A1%7D&operationName=", Ok(Some("{a}"))),
        ("query=%7Ba%7D&query=%7Bb%7D", Err(())),
        ("query=%7Ba%7D&Query=%7Bb%7D", Err(())),
        ("query=%7Ba%7D&variables=1", Err(())),
        ("query=%7Ba%7D&variables=%7B", Err(())),
        ("query=%7Ba%7D&extensions=x", Err(())),
        // What lenient services take for one of these names, or cut otherwise.
        ("query=%7Ba%7D&%20query=%7Bb%7D", Err(())),
        ("query=%7Ba%7D&+query=%7Bb%7D", Err(())),
        ("query=%7Ba%7D&query%00x=%7Bb%7D", Err(())),
        ("query=%7Ba%7D&query%5B%5D=%7Bb%7D", Err(())),
        ("query=%7Ba%7D&variables[n]=1", Err(())),
        ("query=%7Ba%7D&Variables.n=1", Err(())),
        ("query=%7Ba%7D&x=1;query=%7Bb%7D", Err(())),
        ("x=1;query=%7Bb%7D", Err(())),
        ("query=%7Ba%7D&x=1%3Bquery", Ok(Some("{a}"))),
        ("query=%7Ba%7D&x=%FF", Err(())),
        ("query=%7Ba%7D&x=%C0%AE", Err(())),
        ("query=%7Ba%7D&x=%zz", Err(())),
        ("query=%7Ba%7D&x=%7", Err(())),
        ("query=%7Ba%7D&x=%", Err(())),
        ("query=%7Ba%7D&x=%C3%A4", Ok(Some("{a}"))),
    ] {
        let read = request::from_query(query);
        let text = read.map(|asked| asked.map(|asked| asked.query.unwrap_or_default()));
        assert_eq!(text.map_err(|_| ()), wanted.map(|text| text.map(str::to_owned)), "{query}");
    }
}

#[test]
fn variables_have_each_name_once() {
    for (variables, is_right) in [
        (r#"{"a":1,"b":{"a":[{"a":null,"b":true},{"a":-1.5}]},"c":"x"}"#, true),
        (r#"{"a":1,"a":2}"#, false),
        (r#"{"a":1,"\u0061":2}"#, false),
        (r#"{"b":{"a":1,"a":2}}"#, false),
        (r#"{"b":[1,{"c":{"a":1,"a":2}}]}"#, false),
    ] {
        let body = format!(r#"{{"query":"{{a}}","variables":{variables}}}"#);
        let asked = &request::from_json(body.as_bytes(), 1).expect("a body").asked[0];
        match asked.variables() {
            Ok(read) => {
                assert!(is_right, "{variables}");
                assert_eq!(serde_json::to_string(&read).expect("JSON"), variables);
            }
            Err(refusal) => assert!(!is_right && refusal.code == Code::BadRequest, "{variables}: {refusal}"),
        }
    }
}

#[test]
fn what_was_not_read_does_not_go_on() {
    let hash = "a".repeat(64);
    let body = format!(
        r#"{{"query":"{{a}}","variables":{{"n": 1}},"other":1,"extensions":{{"persistedQuery":{{"version":1,"sha256Hash":"{hash}"}},"trace":true}}}}"#
    );
    let payload = request::from_json(body.as_bytes(), 1).expect("a body");
    assert!(payload.asked[0].must_change());
    let written = request::to_json(&payload, &["{b}"]);
    assert_eq!(written, r#"{"query":"{b}","variables":{"n": 1},"extensions":{"trace":true}}"#);
    let plain = request::from_json(br#"{"query":"{a}","extensions":{"trace":1}}"#, 1).expect("a body");
    assert!(!plain.asked[0].must_change());
    let more = request::from_json(br#"{"query":"{a}","id":"x"}"#, 1).expect("a body");
    assert!(more.asked[0].must_change(), "a name that was not read does not go on");
    let batch = request::from_json(br#"[{"query":"{a}","operationName":"A"},{"documentId":"x"}]"#, 2)
        .expect("a body");
    assert_eq!(
        request::to_json(&batch, &["{a}", "{b}"]),
        r#"[{"query":"{a}","operationName":"A"},{"query":"{b}"}]"#
    );

    let query = format!("token=t&documentId={hash}&operationName=A&variables=%7B%7D");
    let asked = request::from_query(&query).expect("a query").expect("an operation");
    assert_eq!(
        request::to_query(&query, &asked, "{a b}"),
        "token=t&query=%7Ba+b%7D&operationName=A&variables=%7B%7D"
    );
}

fn form(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (head, content) in parts {
        body.push_str(&format!("--b\r\n{head}\r\n\r\n{content}\r\n"));
    }
    body.push_str("--b--\r\n");
    body.into_bytes()
}

#[test]
fn uploads_have_their_operations_in_one_place() {
    let named = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
    let (operations, map) = (named("operations"), named("map"));
    let file = r#"content-disposition: form-data; name="0"; filename="a \"b\".txt""#;
    let good = form(&[
        (&operations, "{}"),
        (&map, r#"{"0":["variables.file"]}"#),
        (&format!("{file}\r\nContent-Type: text/plain"), "a\r\n--c"),
    ]);
    let upload = multipart::read(&good, "b").expect("operations");
    assert_eq!(&good[upload.operations], b"{}");
    let lower = named("Operations");
    let extended = "Content-Disposition: form-data; name=\"a\"; name*=utf-8''operations";
    let typed = format!("{operations}\r\nContent-Type: application/json; charset=utf-16");
    let encoded = format!("{operations}\r\nContent-Transfer-Encoding: base64");
    let as_file = format!("{operations}; filename=\"a\"");
    let (zero, query) = (named("0"), named("query"));
    let file_of = |name: &str| format!("{}; filename=\"a\"", named(name));
    let (zero_file, one_file, query_file) = (file_of("0"), file_of("1"), file_of("query"));
    let (spaced, array) = (file_of(" operations"), file_of("map[]"));
    let own = r#"{"0":["variables.file"]}"#;
    for parts in [
        &[(map.as_str(), "{}"), (&operations, "{}")][..],
        // A map, once and second, and files of it alone, each once.
        &[(&operations, "{}")],
        &[(&operations, "{}"), (&zero_file, "")],
        &[(&operations, "{}"), (&zero_file, ""), (&map, own)],
        &[(&operations, "{}"), (&map, own), (&map, own)],
        &[(&operations, "{}"), (&map, own), (&zero, "{ slow }")],
        &[(&operations, "{}"), (&map, own), (&query, "{ slow }")],
        &[(&operations, "{}"), (&map, own), (&one_file, "")],
        &[(&operations, "{}"), (&map, own), (&zero_file, ""), (&zero_file, "")],
        &[(&operations, "{}"), (&map, r#"{"query":["variables.file"]}"#), (&query_file, "")],
        &[(&operations, "{}"), (&map, r#"{" operations":["variables.file"]}"#), (&spaced, "")],
        &[(&operations, "{}"), (&map, r#"{"map[]":["variables.file"]}"#), (&array, "")],
        &[(&operations, "{}"), (&map, r#"{"0":["variables.file"],"0":["query"]}"#), (&zero_file, "")],
        &[(&operations, "{}"), (&map, r#"{"0":"variables.file"}"#), (&zero_file, "")],
        &[(&operations, "{}"), (&map, r#"["variables.file"]"#)],
        &[(&operations, "{}"), (&map, "")],
        &[(&operations, "{}"), (&map, "{}"), (&operations, "{}")],
        &[(&operations, "{}"), (&lower, "{}")],
        &[(&operations, "{}"), (extended, "{}")],
        &[(&operations, "{}"), ("Content-Disposition: form-data; name=\"oper\\ations\"", "{}")],
        &[(&operations, "{}"), ("Content-Disposition: form-data; name=operations", "{}")],
        &[(&operations, "{}"), ("Content-Disposition: form-data; name=\"a\"; name=\"operations\"", "{}")],
        &[(&operations, "{}"), ("X: 1\nContent-Disposition: form-data; name=\"operations\"", "{}")],
        &[(&operations, "a\r\n--b x\r\n")],
        &[(&operations, "{}"), ("Content-Disposition: form-data; name=\"0\"; filename=\"a\nb\"", "")],
        &[(&typed, "{}")],
        &[(&encoded, "{}")],
        &[(&as_file, "{}")],
        &[],
    ] {
        let body = form(parts);
        multipart::read(&body, "b").expect_err(&String::from_utf8_lossy(&body));
    }
    for cut in [0, 1, 10, good.len() - 4] {
        multipart::read(&good[..cut], "b").expect_err("cut off");
    }
    multipart::read(&[b"x".as_slice(), &good].concat(), "b").expect_err("a preamble");
    multipart::read(&[good.as_slice(), b"x"].concat(), "b").expect_err("an epilogue");
}

#[test]
fn files_are_put_in_the_place_of_nulls_among_variables() {
    let one = r#"{"query":"{a}","variables":{"file":null,"all":[null,1],"in":{"file":null},"text":"a"}}"#;
    let several = format!("[{one},{{\"query\":\"{{b}}\"}}]");
    for (operations, paths, is_right) in [
        (one, &["variables.file"][..], true),
        (one, &["variables.all.0", "variables.in.file"], true),
        (one, &[], true),
        (one, &["query"], false),
        (one, &["operationName"], false),
        (one, &["extensions.a"], false),
        (one, &["variables"], false),
        (one, &["variables."], false),
        (one, &["variables.other"], false),
        (one, &["variables.text"], false),
        (one, &["variables.in"], false),
        (one, &["variables.all.1"], false),
        (one, &["variables.all.00"], false),
        (one, &["variables.all.2"], false),
        (one, &["variables.file.a"], false),
        (one, &["variables.file", "query"], false),
        (one, &["0.variables.file"], false),
        (several.as_str(), &["0.variables.file"], true),
        (&several, &["00.variables.file"], false),
        (&several, &["1.variables.file"], false),
        (&several, &["2.variables.file"], false),
        (&several, &["variables.file"], false),
        (&several, &["0.query"], false),
    ] {
        let named = |name: &str| format!("Content-Disposition: form-data; name=\"{name}\"");
        let map = serde_json::json!({ "0": paths }).to_string();
        let file = format!("{}; filename=\"a\"", named("0"));
        let body = form(&[(&named("operations"), operations), (&named("map"), &map), (&file, "x")]);
        let upload = multipart::read(&body, "b").expect("parts");
        let payload = request::from_json(&body[upload.operations.clone()], 2).expect("operations");
        assert_eq!(upload.judge(&payload).is_ok(), is_right, "{map} in {operations}");
    }
}

#[test]
fn boundaries_are_read_in_one_way() {
    for (value, wanted) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        ("multipart/form-data; charset=utf-8; Boundary=\"a-b\"", Some("a-b")),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; boundary=a b", None),
        ("multipart/form-data; boundary=\"a", None),
    ] {
        assert_eq!(multipart::boundary(value), wanted, "{value}");
    }
}
