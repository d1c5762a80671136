//! What is refused, and that it never reaches the service; what passes, and that it is answered.

use super::*;

#[test]
fn what_is_beyond_a_bound_is_refused_before_the_service_sees_it() {
    let shop = Shop::start();
    let gateway =
        shop.guarded("limits: {depth: 4, aliases: 2, rootFields: 3, directives: 1, cost: 40, tokens: 60}");
    for (text, wanted) in [
        ("{ me { books { author { books { id } } } } }", "DEPTH_LIMIT_EXCEEDED"),
        ("{ a: me { id } b: me { id } c: me { id } }", "ALIAS_LIMIT_EXCEEDED"),
        ("{ me { id } me { id } me { id } me { id } }", "ROOT_FIELD_LIMIT_EXCEEDED"),
        ("{ me @skip(if: false) { id @skip(if: false) } }", "DIRECTIVE_LIMIT_EXCEEDED"),
        ("{ books(first: 100) { id } }", "COST_LIMIT_EXCEEDED"),
        ("{ slow }", "COST_LIMIT_EXCEEDED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ me { id }", "GRAPHQL_PARSE_FAILED"),
        ("{ __schema { types { name } } }", "INTROSPECTION_DISABLED"),
        ("{ ...F } fragment F on Query { __type(name: \"User\") { name } }", "INTROSPECTION_DISABLED"),
        ("{ ...F } fragment F on Query { ...F }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let answer = ask(&gateway, text);
        assert_eq!((answer.status, code(&answer).as_str()), (400, wanted), "{text}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let long = format!("{{ me {{ {} }} }}", "id ".repeat(60));
    assert_eq!(code(&ask(&gateway, &long)), "TOKEN_LIMIT_EXCEEDED");
    let variables = r#"{"query":"query($n: Int) { books(first: $n) { id } }","variables":{"n":1000}}"#;
    assert_eq!(code(&post(&gateway, variables)), "COST_LIMIT_EXCEEDED");
    assert!(shop.asked().is_empty(), "nothing reached the service: {:?}", shop.asked());

    let answer = ask(&gateway, "{ __typename books(first: 30) { id } }");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["data"]["books"].as_array().map(Vec::len), Some(30));
    assert_eq!(shop.asked(), ["POST /graphql"]);
}

#[test]
fn requests_that_two_might_read_differently_are_refused() {
    let shop = Shop::start();
    let gateway = shop.guarded("");
    for body in [
        r#"{"query":"{ me { id } }","query":"{ slow }"}"#,
        r#"{"query":"{ me { id } }","Query":"{ slow }"}"#,
        r#"{"query":"{ me { id } }","variables":[]}"#,
        r#"{"variables":{}}"#,
        "[]",
        "{",
    ] {
        let answer = post(&gateway, body);
        assert_eq!((answer.status, code(&answer).as_str()), (400, "BAD_REQUEST"), "{body}");
    }
    let one = r#"{"query":"{ me { id } }"}"#;
    assert_eq!(code(&post(&gateway, &format!("[{one},{one}]"))), "BATCH_LIMIT_EXCEEDED");
    for headers in [
        "content-type: text/plain",
        "content-type: application/x-www-form-urlencoded",
        "content-type: multipart/form-data; boundary=b",
        "content-type: application/json; charset=utf-16",
        "content-type: application/json\ncontent-type: application/json",
        "content-type: application/json\ncontent-encoding: gzip",
        "x-other: 1",
    ] {
        let answer = post_with(&gateway, headers, one);
        assert_eq!((answer.status, code(&answer).as_str()), (415, "UNSUPPORTED_MEDIA_TYPE"), "{headers}");
    }
    let head = format!(
        "POST /graphql?query=%7Bslow%7D HTTP/1.1\nhost: a\ncontent-type: application/json\ncontent-length: {}",
        one.len()
    );
    assert_eq!(code(&gateway.send(&head, one.as_bytes())), "BAD_REQUEST");
    let large =
        format!(r#"{{"query":"{{ me {{ id }} }}","variables":{{"a":"{}"}}}}"#, "x".repeat(300 * 1024));
    let answer = post(&gateway, &large);
    assert_eq!((answer.status, code(&answer).as_str()), (413, "REQUEST_TOO_LARGE"));
    assert!(shop.asked().is_empty(), "{:?}", shop.asked());

    let own = "content-type: application/json\naccept: application/graphql-response+json";
    let answer = post_with(&gateway, own, "{");
    assert_eq!(answer.header("content-type"), Some("application/graphql-response+json"));
    let unread = r#"{"query":"{ me { id } }","documentId":null,"doc_id":"abc"}"#;
    assert_eq!(post(&gateway, unread).json()["data"]["me"]["id"], "u1");
    let text = post_with(&gateway, "content-type: application/graphql", "{ me { name } }");
    assert_eq!(text.json()["data"]["me"]["name"], "Ada", "{}", text.text());
}

#[test]
fn get_asks_and_changes_nothing() {
    let shop = Shop::start();
    let gateway = shop.guarded("");
    let answer = get(&gateway, "query=%7Bme%7Bname%7D%7D", "");
    assert_eq!(answer.json()["data"]["me"]["name"], "Ada", "{}", answer.text());
    let mutation = "query=mutation%7Brename(id:1,title:%22a%22)%7Bid%7D%7D";
    let answer = get(&gateway, mutation, "");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{}", answer.text());
    assert_eq!(code(&answer), "METHOD_NOT_ALLOWED");
    let subscription = "query=subscription%7Bcountdown(from:3)%7D";
    assert_eq!(get(&gateway, subscription, "").status, 405);
    assert_eq!(get(&gateway, "", "").status, 400);
    assert_eq!(get(&gateway, "query=%7Bme%7Bid%7D%7D&query=%7Bslow%7D", "").status, 400);
    assert_eq!(gateway.send("DELETE /graphql HTTP/1.1\nhost: a", b"").status, 405);
    assert_eq!(
        gateway.send("DELETE /graphql HTTP/1.1\nhost: a", b"").header("allow"),
        Some("GET, HEAD, POST")
    );
    for alike in [
        "query=%7Bme%7Bid%7D%7D&%20query=%7Bslow%7D",
        "query=%7Bme%7Bid%7D%7D&query[]=%7Bslow%7D",
        "query=%7Bme%7Bid%7D%7D&x=1;query=%7Bslow%7D",
        "query=%7Bme%7Bid%7D%7D&variables[n]=1",
        "query=%7Bme%7Bid%7D%7D&x=%FF",
    ] {
        let answer = get(&gateway, alike, "");
        assert_eq!((answer.status, code(&answer).as_str()), (400, "BAD_REQUEST"), "{alike}");
    }
    let before = shop.asked().len();
    assert_eq!(before, 1, "{:?}", shop.asked());

    let events = get(&gateway, subscription, "\naccept: text/event-stream");
    assert_eq!(events.status, 200);
    for at in ["3", "2", "1"] {
        assert!(events.text().contains(&format!("\"countdown\":{at}")), "{}", events.text());
    }
}

#[test]
fn websocket_is_refused_unless_it_may_pass_unjudged() {
    let shop = Shop::start();
    let upgrade = "GET /graphql HTTP/1.1\nhost: a\nconnection: upgrade\nupgrade: websocket\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-protocol: graphql-transport-ws";
    let gateway = shop.guarded("");
    let answer = gateway.send(upgrade, b"");
    assert_eq!((answer.status, code(&answer).as_str()), (400, "UPGRADE_REFUSED"));
    assert!(shop.asked().is_empty());
    let open = shop.guarded("webSocket: passUnjudged");
    let _ = open.send(upgrade, b"");
    assert_eq!(shop.asked(), ["GET /graphql"], "the service is asked");
    let smuggled = upgrade.replace("/graphql", "/graphql?query=%7Bslow%7D");
    assert_eq!(code(&open.send(&smuggled, b"")), "UPGRADE_REFUSED", "an operation beside it");
    let loaded = format!("{upgrade}\ncontent-type: application/json\ncontent-length: 16");
    assert_eq!(
        code(&open.send(&loaded, br#"{"query":"{slow}"}"#.get(..16).unwrap_or_default())),
        "UPGRADE_REFUSED",
        "a body"
    );
    assert_eq!(shop.asked().len(), 1);
}

#[test]
fn uploads_are_judged_by_their_operations() {
    let shop = Shop::start();
    let gateway = shop.guarded("maxUploadSize: 64KiB");
    let form = |query: &str, more: &str| {
        let operations = serde_json::json!({"query": query, "variables": {"file": null}});
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{operations}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"map\"\r\n\r\n{{\"0\":[\"variables.file\"]}}\r\n{more}\
             --b\r\nContent-Disposition: form-data; name=\"0\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n"
        )
    };
    let headers = "content-type: multipart/form-data; boundary=b";
    let upload = "mutation Up($file: File!) { upload(file: $file) }";
    let answer = post_with(&gateway, headers, &form(upload, ""));
    assert_eq!(answer.json()["data"]["upload"], "a.txt: hello", "{}", answer.text());
    let deep = "mutation { nothing }";
    assert_eq!(code(&post_with(&gateway, headers, &form(deep, ""))), "GRAPHQL_VALIDATION_FAILED");
    let twice =
        "--b\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{\"query\":\"{slow}\"}\r\n";
    assert_eq!(code(&post_with(&gateway, headers, &form(upload, twice))), "BAD_REQUEST");
    assert_eq!(shop.asked().len(), 1);
    // What a map would put in the place of what was judged: the service would run it.
    let replaced = |path: &str, head: &str, content: &str| {
        let operations = serde_json::json!({"query": "query A { me { id } } query B { slow }", "operationName": "A", "variables": {"file": null}});
        let map = serde_json::json!({"0": [path]});
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{operations}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"map\"\r\n\r\n{map}\r\n\
             --b\r\nContent-Disposition: form-data; name=\"0\"{head}\r\n\r\n{content}\r\n--b--\r\n"
        )
    };
    for (path, head, content) in [
        ("query", "", "query A { slow }"),
        ("operationName", "", "B"),
        ("variables.file", "", "text"),
        ("query", "; filename=\"a\"", "{ slow }"),
        ("variables.other", "; filename=\"a\"", "text"),
    ] {
        let body = replaced(path, head, content);
        let told = shop.told(headers, &body);
        if head.is_empty() && path != "variables.file" {
            assert_eq!(told.json()["data"]["slow"], 1, "the service itself runs it: {}", told.text());
        }
        let known = shop.asked().len();
        assert_eq!(code(&post_with(&gateway, headers, &body)), "BAD_REQUEST", "{path} {head}");
        assert_eq!(shop.asked().len(), known, "{path} {head}");
    }
    let before = shop.asked().len();
    let large = form(upload, &"x".repeat(70 * 1024));
    assert_eq!(post_with(&gateway, headers, &large).status, 413);
    assert_eq!(shop.asked().len(), before);
}

#[test]
fn fields_are_for_those_who_may_ask_for_them() {
    let shop = Shop::start();
    let gateway = shop.behind(&format!(
        "{{keyAuth: {{header: x-api-key}}}}, {{graphql: {{schema: \"{}\", fields: [{{of: [User.email], allow: [staff]}}, \
         {{of: [\"Mutation.*\"], when: \"request.headers['x-change'] == 'yes'\"}}]}}}}",
        shop.schema()
    ));
    let asked = |key: &str, more: &str, text: &str| {
        let headers = format!("content-type: application/json\nx-api-key: {key}{more}");
        post_with(&gateway, &headers, &serde_json::json!({ "query": text }).to_string())
    };
    let emails = [
        "{ me { email } }",
        "{ x: me { y: email } }",
        "{ ...F } fragment F on Query { book(id: 1) { author { ...U } } } fragment U on User { email }",
    ];
    for text in emails {
        let answer = asked("the-key-of-web", "", text);
        assert_eq!((answer.status, code(&answer).as_str()), (403, "FORBIDDEN"), "{text}");
        assert!(!answer.text().contains("staff"), "nothing of the inside is told");
        assert_eq!(asked("the-key-of-gold", "", text).status, 200, "{text}");
    }
    assert_eq!(asked("the-key-of-web", "", "{ me { name } }").json()["data"]["me"]["name"], "Ada");
    let rename = "mutation { rename(id: 1, title: \"a\") { title } }";
    assert_eq!(asked("the-key-of-gold", "", rename).status, 403);
    assert_eq!(asked("the-key-of-gold", "\nx-change: yes", rename).json()["data"]["rename"]["title"], "a");
    // Whoever shows no key is told so before anything is read.
    assert_eq!(ask(&gateway, "{ me { name } }").status, 401);
}
