//! `validate`: what fits goes on byte for byte, and what does not is told by its place alone.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually},
    last, refused,
};

const PETS: &str = r##"
openapi: 3.0.3
info: {title: Pets, version: "1"}
servers: [{url: "https://pets.example.com/v1"}]
components:
  securitySchemes: {key: {type: apiKey, in: query, name: api_key}}
  schemas:
    Pet:
      type: object
      required: [name]
      additionalProperties: false
      properties:
        id: {type: integer, format: int64, readOnly: true}
        name: {type: string, minLength: 1, pattern: "^[A-Z]"}
        age: {type: integer, format: int32, minimum: 0, nullable: true}
        born: {type: string, format: date}
        photo: {type: string, format: byte}
        friend: {$ref: "#/components/schemas/Pet"}
        secret: {type: string, enum: [open, sesame]}
        home: {$ref: "common.yaml#/Address"}
paths:
  /pets:
    parameters:
      - {name: limit, in: query, schema: {type: integer, maximum: 100}}
    get:
      operationId: listPets
      parameters:
        - {name: ids, in: query, style: pipeDelimited, explode: false, schema: {type: array, items: {type: integer}}}
        - {name: tags, in: query, style: spaceDelimited, explode: false, schema: {type: array, items: {type: string}, maxItems: 2}}
        - {name: kinds, in: query, schema: {type: array, items: {enum: [cat, dog]}}}
        - {name: filter, in: query, style: deepObject, schema: {type: object, properties: {age: {type: integer}}}}
        - {name: X-Tenant, in: header, required: true, schema: {type: string, format: uuid}}
        - {name: session, in: cookie, schema: {type: integer}}
      responses:
        "200":
          description: ok
          headers: {X-Total: {required: true, schema: {type: integer}}}
          content: {application/json: {schema: {type: array, items: {$ref: "#/components/schemas/Pet"}}}}
        "204": {description: none}
        4XX: {description: wrong}
    post:
      operationId: addPet
      requestBody:
        required: true
        content:
          application/json: {schema: {$ref: "#/components/schemas/Pet"}}
          application/x-www-form-urlencoded: {schema: {type: object, required: [name], properties: {name: {type: string}, age: {type: integer}, tags: {type: array, items: {type: string}, maxItems: 2}}}}
          multipart/form-data:
            schema: {type: object, required: [file], properties: {file: {type: string, format: binary, maxLength: 4}, age: {type: integer}}}
            encoding: {file: {contentType: "image/*"}}
          application/octet-stream: {}
      responses: {default: {description: any}}
  /pets/{id}:
    get:
      parameters: [{name: id, in: path, required: true, schema: {type: integer}}]
      responses: {default: {description: any}}
  /pets/mine:
    get: {operationId: mine, responses: {default: {description: any}}}
"##;

const COMMON: &str = "Address: {type: object, required: [city], properties: {city: {$ref: '#/City'}}}\nCity: {type: string, maxLength: 5}\n";

const TENANT: &str = "\nx-tenant: 123e4567-e89b-12d3-a456-426614174000";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("pets.yaml"), PETS).expect("a file");
    fs::write(folder.path().join("common.yaml"), COMMON).expect("a file");
    folder
}

fn policy(folder: &Path, rest: &str) -> String {
    let at = folder.display();
    format!("{{validate: {{openapi: {{file: {at}/pets.yaml, with: [{at}/common.yaml]}}{rest}}}}}")
}

fn gateway(upstream: &Upstream, policies: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policies}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ))
}

fn get(gateway: &Gateway, target: &str, headers: &str) -> Answer {
    gateway.send(&format!("GET {target} HTTP/1.1\nhost: a{headers}"), b"")
}

fn post(gateway: &Gateway, target: &str, kind: &str, body: &[u8]) -> Answer {
    let head =
        format!("POST {target} HTTP/1.1\nhost: a\ncontent-type: {kind}\ncontent-length: {}", body.len());
    gateway.send(&head, body)
}

/// The head of the answer to a HEAD.
fn head(gateway: &Gateway, target: &str, headers: &str) -> Answer {
    let mut client = Client::connect(gateway.address);
    let headers = headers.replace('\n', "\r\n");
    client.write(format!("HEAD {target} HTTP/1.1\r\nhost: a{headers}\r\nconnection: close\r\n\r\n"));
    client.read_head().expect("a head")
}

/// Each fault as `in name pointer`.
fn places(answer: &Answer) -> Vec<String> {
    let problem = answer.json();
    let text = |fault: &Value, key: &str| fault[key].as_str().unwrap_or_default().to_owned();
    let all = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors: {problem}"));
    all.iter()
        .map(|one| format!("{} {}{}", text(one, "in"), text(one, "name"), text(one, "pointer")))
        .collect()
}

const JSON: &str = "application/json";

#[test]
fn parameters_are_judged_in_each_style_and_place() {
    let (folder, upstream) = (folder(), Upstream::echo());
    let gateway = gateway(&upstream, &policy(folder.path(), ", unknownParameters: refuse"));
    for (target, headers) in [
        ("/v1/pets", ""),
        (
            "/v1/pets?limit=100&ids=1|2%7C3&tags=a%20b&kinds=cat&kinds=dog&filter[age]=5&api_key=x",
            "\ncookie: a=b; session=5",
        ),
        ("/v1/pets?filter%5Bage%5D=5", ""),
        ("/v1/pets/12", ""),
        ("/v1/pets/mine", ""),
    ] {
        let answer = get(&gateway, target, &format!("{TENANT}{headers}"));
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(last(&upstream).target(), target, "as it came");
    }
    for (target, headers, want) in [
        ("/v1/pets?limit=101", TENANT, &["query limit"][..]),
        ("/v1/pets?limit=x&ids=1|x", TENANT, &["query limit", "query ids#/1"]),
        ("/v1/pets?limit=1&limit=2", TENANT, &["query limit"]),
        ("/v1/pets?tags=a+b+c", TENANT, &["query tags"]),
        ("/v1/pets?kinds=cat&kinds=cow", TENANT, &["query kinds#/1"]),
        ("/v1/pets?filter[age]=x", TENANT, &["query filter#/age"]),
        ("/v1/pets?color=red", TENANT, &["query color"]),
        ("/v1/pets", "", &["header X-Tenant"]),
        ("/v1/pets", "\nx-tenant: 5", &["header X-Tenant"]),
        ("/v1/pets", &format!("{TENANT}\ncookie: session=x"), &["cookie session"]),
        ("/v1/pets/x", TENANT, &["path id"]),
    ] {
        let answer = get(&gateway, target, headers);
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (400, Some("invalid")),
            "{target}: {}",
            answer.text()
        );
        assert_eq!(places(&answer), want, "{target}");
    }
}

#[test]
fn bodies_are_judged_by_media_type_and_go_on_byte_for_byte() {
    let (folder, upstream) = (folder(), Upstream::echo());
    let gateway = gateway(&upstream, &policy(folder.path(), ", maxBodySize: 40KiB"));
    let multipart = "multipart/form-data; boundary=xyz";
    let part = |head: &str, value: &str| {
        format!("--xyz\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n--xyz--\r\n")
    };
    let spaced = format!("{{{}\"name\" : \"Rex\" }}", " ".repeat(20_000));
    for (kind, body) in [
        (
            JSON,
            "{ \"age\":null,\n \"name\":\"Re\\u0078\", \"friend\":{\"name\":\"Bo\"},\"photo\":\"AAE=\" }"
                .to_owned(),
        ),
        (
            "application/json; charset=utf-8",
            r#"{"name":"Rex","born":"2024-02-29","home":{"city":"Rome"}}"#.to_owned(),
        ),
        (JSON, spaced),
        ("application/x-www-form-urlencoded", "name=5&age=5&tags=a&tags=b".to_owned()),
        (multipart, part("name=file; filename=a.png\r\nContent-Type: image/png", "1234")),
        ("application/octet-stream", "anything".to_owned()),
    ] {
        let answer = post(&gateway, "/v1/pets", kind, body.as_bytes());
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        assert_eq!(last(&upstream).body, body.as_bytes(), "{kind}");
    }
    let seen = upstream.seen().len();
    let large = format!("{{\"name\":\"Rex\",\"age\":\"{}\"}}", "x".repeat(20_000));
    for (kind, body, want) in [
        (
            JSON,
            r#"{"name":"rex","age":-1,"born":"2024-02-30"}"#,
            &["body #/age", "body #/born", "body #/name"][..],
        ),
        (JSON, r#"{"age":3000000000}"#, &["body #/age", "body #/name"]),
        (JSON, r#"{"name":"Rex","id":5}"#, &["body #"]),
        (JSON, r#"{"name":"Rex","photo":"***"}"#, &["body #/photo"]),
        (
            JSON,
            r#"{"name":"Rex","friend":{"name":"Bo","friend":{"name":7}}}"#,
            &["body #/friend/friend/name"],
        ),
        (JSON, r#"{"name":"Rex","home":{"city":"Berlin"}}"#, &["body #/home/city"]),
        (JSON, r#"{"name":"Rex","name":"x"}"#, &["body #"]),
        (JSON, r#"{"name":"Rex""#, &["body #"]),
        (JSON, "", &["body #"]),
        (JSON, &large, &["body #/age"]),
        ("application/x-www-form-urlencoded", "name=a&age=x", &["body #/age"]),
        ("application/x-www-form-urlencoded", "tags=a&tags=b&tags=c&name=a", &["body #/tags"]),
        (multipart, &part("name=file; filename=a.png\r\nContent-Type: image/png", "12345"), &["body #/file"]),
        (multipart, &part("name=file; filename=a.png\r\nContent-Type: text/html", "1"), &["body #"]),
        (multipart, "--xyz\r\n", &["body #"]),
    ] {
        let answer = post(&gateway, "/v1/pets", kind, body.as_bytes());
        assert_eq!(answer.status, 400, "{kind} {body}: {}", answer.text());
        let mut found = places(&answer);
        found.sort();
        assert_eq!(found, want, "{body}");
    }
    for (kind, body, want) in [("text/xml", "<a/>".to_owned(), 415), (JSON, "x".repeat(41 * 1024), 413)] {
        assert_eq!(post(&gateway, "/v1/pets", kind, body.as_bytes()).status, want, "{kind}");
    }
    let head = "POST /v1/pets HTTP/1.1\nhost: a\ncontent-type: application/json\ncontent-encoding: gzip\ncontent-length: 2";
    assert_eq!(gateway.send(head, b"{}").status, 415, "what cannot be read is not let through unread");
    assert_eq!(upstream.seen().len(), seen, "none of it came through");
}

#[test]
fn what_was_sent_is_told_nobody() {
    let (folder, upstream) = (folder(), Upstream::echo());
    let gateway = gateway(&upstream, &policy(folder.path(), ""));
    let body = r#"{"name":"Rex","secret":"hunter2-is-mine","age":"hunter2-too","born":"hunter2"}"#;
    let query = post(&gateway, "/v1/pets?limit=hunter2", JSON, body.as_bytes());
    assert!(query.status == 400 && !query.text().contains("hunter2"), "{}", query.text());
    let answer = post(&gateway, "/v1/pets", JSON, body.as_bytes());
    assert_eq!(answer.status, 400);
    assert!(!answer.text().contains("hunter2") && answer.text().contains("sesame"), "{}", answer.text());
    let record =
        gateway.record("the refusal", |record| record["status"] == 400 && record.get("query").is_none());
    assert_eq!(record["content"]["operation"], "addPet", "{record}");
    assert_eq!(
        (&record["content"]["request"], &record["stopped_by"]),
        (&json!("invalid"), &json!("validate"))
    );
    assert!(!record.to_string().contains("hunter2"), "{record}");
    assert!(record["content"]["faults"].to_string().contains("body /age: expected"), "{record}");
    let many = format!("{{{}}}", (0..500).map(|at| format!("\"n{at}\":1")).collect::<Vec<_>>().join(","));
    let answer = post(&gateway, "/v1/pets", JSON, many.as_bytes());
    assert!(answer.status == 400 && answer.body.len() < 4_000, "{}", answer.text());
}

#[test]
fn operations_that_are_unknown_are_refused_or_pass_by_choice() {
    let (folder, upstream) = (folder(), Upstream::echo());
    let strict = gateway(&upstream, &policy(folder.path(), ""));
    assert_eq!(get(&strict, "/v1/cats", "").status, 404);
    assert_eq!(get(&strict, "/pets/mine", "").status, 404, "the base stands before each path");
    let answer = strict.send("DELETE /v1/pets HTTP/1.1\nhost: a", b"");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST, HEAD")));
    let answer = head(&strict, "/v1/pets?limit=x", TENANT);
    assert_eq!(answer.status, 400, "HEAD is judged as GET is");
    assert!(upstream.seen().is_empty());
    let open = gateway(&upstream, &policy(folder.path(), ", unknownOperations: pass"));
    assert_eq!(get(&open, "/v1/cats", "").status, 200);
    assert_eq!(open.send("DELETE /v1/pets HTTP/1.1\nhost: a", b"").status, 200);
    assert_eq!(get(&open, "/v1/pets/x", "").status, 400, "what is known is judged all the same");
}

#[test]
fn a_report_lets_everything_pass_and_tells_of_it() {
    let (folder, upstream) = (folder(), Upstream::echo());
    let gateway = gateway(&upstream, &policy(folder.path(), ", requests: report, maxBodySize: 1KiB"));
    let body = br#"{"age":"x"}"#;
    assert_eq!(post(&gateway, "/v1/pets", JSON, body).status, 200);
    assert_eq!(last(&upstream).body, body);
    let long = "x".repeat(5_000);
    assert_eq!(post(&gateway, "/v1/pets", JSON, long.as_bytes()).status, 200);
    assert_eq!(last(&upstream).body, long.as_bytes());
    assert_eq!(post(&gateway, "/v1/pets", JSON, br#"{"name":"Rex"}"#).status, 200);
    assert_eq!(get(&gateway, "/elsewhere", "").status, 200);
    let record = gateway.record("the first", |record| record["content"]["request"] == "invalid");
    assert!(record["content"]["faults"].to_string().contains("body /name: is required"), "{record}");
    eventually("the metrics", || {
        ["valid", "invalid", "unknown", "unread"].iter().all(|outcome| {
            let series = format!(
                "tidegate_validate_requests_total{{policy=\"routes/r/validate\",outcome=\"{outcome}\"}}"
            );
            gateway.metric(&series) == Some(1.0)
        })
    });
}

/// An upstream that answers with what the query says: status, header lines, body.
fn answering() -> Upstream {
    Upstream::scripted(|seen| {
        let query = seen.target().split_once('?').map_or("", |(_, query)| query);
        let (status, kind, total, body) = match query {
            "good" => ("200 OK", JSON, "x-total: 1\r\n", r#"[ {"name":"Rex","id":5} ]"#.to_owned()),
            "bad" => ("200 OK", JSON, "x-total: 1\r\n", r#"[{"name":"hunter2"}]"#.to_owned()),
            "headless" => ("200 OK", JSON, "", "[]".to_owned()),
            "html" => ("200 OK", "text/html", "x-total: 1\r\n", "<p>".to_owned()),
            "teapot" => ("418 I'm a teapot", JSON, "", "anything".to_owned()),
            "moved" => ("302 Found", JSON, "", String::new()),
            "none" => return Some(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            "large" => ("200 OK", JSON, "x-total: 1\r\n", format!("[{}]", " ".repeat(5_000))),
            "bigbad" => ("200 OK", JSON, "x-total: 1\r\n", format!("[{}1]", " ".repeat(40_000))),
            _ => ("200 OK", JSON, "x-total: 1\r\ncontent-encoding: gzip\r\n", "xx".to_owned()),
        };
        let length = body.len();
        Some(
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{total}content-length: {length}\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    })
}

#[test]
fn answers_are_judged_where_that_is_wanted() {
    let (folder, upstream) = (folder(), answering());
    let enforcing = gateway(&upstream, &policy(folder.path(), ", answers: enforce, maxAnswerSize: 64KiB"));
    let good = get(&enforcing, "/v1/pets?good", &format!("{TENANT}\naccept-encoding: gzip"));
    assert_eq!((good.status, good.text().as_str()), (200, r#"[ {"name":"Rex","id":5} ]"#));
    assert_eq!(last(&upstream).header("accept-encoding"), None, "what is judged must be readable");
    get(&enforcing, "/v1/pets?good", &format!("{TENANT}\nrange: bytes=0-\nif-range: \"1\""));
    let asked = last(&upstream);
    assert_eq!((asked.header("range"), asked.header("if-range")), (None, None), "and whole");
    for (what, want) in [
        ("bad", 502),
        ("headless", 502),
        ("html", 502),
        ("teapot", 418),
        ("moved", 502),
        ("none", 204),
        ("gzip", 502),
        ("large", 200),
        ("bigbad", 502),
    ] {
        let answer = get(&enforcing, &format!("/v1/pets?{what}"), TENANT);
        assert_eq!(answer.status, want, "{what}: {}", answer.text());
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    }
    let bodiless = head(&enforcing, "/v1/pets?bad", TENANT);
    assert_eq!(bodiless.status, 200, "there is no body to judge");
    let record =
        enforcing.record("the bad one", |record| record["query"] == "bad" && record["status"] == 502);
    assert_eq!(
        (&record["content"]["answer"], &record["stopped_by"]),
        (&json!("invalid"), &json!("validate"))
    );
    assert!(
        record["content"]["faults"]
            .to_string()
            .contains("answer body /0/name: expected to match the pattern ^[A-Z]"),
        "{record}"
    );
    let reporting =
        gateway(&upstream, &policy(folder.path(), ", answers: report, requests: off, maxAnswerSize: 1KiB"));
    for what in ["bad", "moved", "html", "gzip", "large"] {
        let answer = get(&reporting, &format!("/v1/pets?{what}"), "");
        assert!(answer.status < 400, "{what}: {}", answer.text());
    }
    let large = get(&reporting, "/v1/pets?large", "");
    assert_eq!(large.body.len(), 5_002, "whole, though unread");
    reporting
        .record("the bad one", |record| record["query"] == "bad" && record["content"]["answer"] == "invalid");
    reporting.record("the large one", |record| {
        record["query"] == "large" && record["content"]["answer"] == "unread"
    });
    eventually("the metrics", || {
        reporting.metric(
            "tidegate_validate_answers_total{policy=\"routes/r/validate/answers\",outcome=\"invalid\"}",
        ) == Some(3.0)
    });
}

#[test]
fn schemas_alone_judge_bodies_queries_headers_and_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, value: Value| fs::write(folder.path().join(name), value.to_string()).expect("a file");
    write(
        "order.json",
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
        "required": ["item"], "properties": {"item": {"$ref": "common.json#/definitions/item"}, "count": {"type": "integer"}}}),
    );
    write("common.json", json!({"definitions": {"item": {"type": "string", "maxLength": 3}}}));
    let at = folder.path().display();
    let upstream = Upstream::echo();
    let settings = format!(
        "{{validate: {{schemas: {{body: {{file: {at}/order.json, with: [{at}/common.json]}},
           query: {{schema: {{type: object, properties: {{page: {{type: integer}}, ids: {{type: array, items: {{type: integer}}}}}}, additionalProperties: false}}}},
           headers: {{schema: {{type: object, required: [x-tenant], properties: {{x-tenant: {{type: string, pattern: '^[a-z]+$'}}}}}}}}}}}}}}"
    );
    let gateway = gateway(&upstream, &settings);
    let send = |target: &str, tenant: &str, kind: &str, body: &str| {
        let length = body.len();
        gateway.send(&format!("POST {target} HTTP/1.1\nhost: a\nx-tenant: {tenant}\ncontent-type: {kind}\ncontent-length: {length}"), body.as_bytes())
    };
    let good = r#"{"item":"abc","count":5}"#;
    assert_eq!(send("/?page=1&ids=1&ids=2", "acme", JSON, good).status, 200);
    assert_eq!(send("/", "acme", "application/x-www-form-urlencoded", "item=abc&count=5").status, 200);
    assert_eq!(
        gateway.send("GET / HTTP/1.1\nhost: a\nx-tenant: acme", b"").status,
        200,
        "what has no body is let alone"
    );
    for (target, tenant, kind, body, want) in [
        ("/?page=x", "acme", JSON, good, "query page"),
        ("/?ids=1&ids=x", "acme", JSON, good, "query ids#/1"),
        ("/?other=1", "acme", JSON, good, "query #"),
        ("/", "ACME", JSON, good, "header x-tenant"),
        ("/", "acme", JSON, r#"{"item":"abcd"}"#, "body #/item"),
        ("/", "acme", "application/x-www-form-urlencoded", "item=a&count=x", "body #/count"),
    ] {
        let answer = send(target, tenant, kind, body);
        assert_eq!(answer.status, 400, "{target} {body}: {}", answer.text());
        assert_eq!(places(&answer), [want]);
    }
}

/// A gateway whose bodies have one field that is judged, `role`.
fn judging_role(upstream: &Upstream) -> Gateway {
    let schema = "{type: object, properties: {role: {enum: [guest]}}}";
    gateway(upstream, &format!("{{validate: {{schemas: {{body: {{schema: {schema}}}}}}}}}"))
}

#[test]
fn forms_of_parts_that_others_may_read_otherwise_do_not_pass() {
    let upstream = Upstream::echo();
    let gateway = judging_role(&upstream);
    let kind = "multipart/form-data; boundary=xyz";
    let form = |head: &str, value: &str| format!("--xyz\r\n{head}\r\n\r\n{value}\r\n--xyz--\r\n");
    let (note, role) =
        ("Content-Disposition: form-data; name=note", "Content-Disposition: form-data; name=role");
    let good = form(role, "guest");
    for body in [
        good.clone(),
        format!("A form.\r\n{good}And its end.\n"),
        "--xyz--".to_owned(),
        format!("{}-- \r\n", good.trim_end_matches("--\r\n")),
        form(&format!("{note}\r\nContent-Transfer-Encoding: binary"), "a--xyz\n-xyz"),
        form(&format!("{note}; filename=\"a.csv\"; filename*=UTF-8''a.csv"), "a"),
        form(&format!("{note}; filename=a.csv\r\nContent-Type: text/csv; charset=utf-16"), "a"),
        form(&format!("{note}\r\nContent-Type: text/plain; charset=UTF-8"), "a"),
    ] {
        let answer = post(&gateway, "/", kind, body.as_bytes());
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    }
    let seen = upstream.seen().len();
    let hidden = format!("\n--xyz\n{role}\n\nadmin");
    for (kind, body) in [
        (kind, form(role, "admin")),
        ("multipart/form-data; boundary=xyz; boundary=abc", good.clone()),
        ("multipart/form-data; boundary=xyz; boundary*=utf-8''abc", good.clone()),
        ("multipart/form-data; x; boundary=xyz", good.clone()),
        // To some a line ends without a carriage return, and a part begins there.
        (kind, format!("A form.{hidden}\r\n{good}")),
        // There are readers that look for parts behind the last one.
        (kind, format!("--xyz--\r\n{}", form(role, "admin"))),
        (kind, format!("{good}{}", form(role, "admin"))),
        (kind, format!("{good}{}", form(role, "admin").replace("\r\n", "\n"))),
        (kind, format!("--xyz--x\r\n{good}")),
        (kind, form(note, &hidden)),
        (kind, form(note, &hidden.replace('\n', "\r"))),
        (kind, form(&format!("{note}\r\n--xyz\r\n{role}"), "admin")),
        (kind, form(&format!("{note}\r\n{role}"), "admin")),
        (kind, form(&format!("{note}\n{role}"), "admin")),
        (kind, form(&format!("{note}; name=role"), "admin")),
        (kind, form(&format!("{note}; name*=utf-8''role"), "admin")),
        (kind, form(&format!("{note}; x; name=role"), "admin")),
        (kind, form(&format!("{note};\r\n name=role"), "admin")),
        (kind, form(&format!("{note}\0; name=role"), "admin")),
        (kind, form(&format!("{note}\r\nContent-Transfer-Encoding: base64"), "YWRtaW4=")),
        (kind, form(&format!("{note}\r\nContent-Type: text/plain; charset=utf-16le"), "a")),
    ] {
        let answer = post(&gateway, "/", kind, body.as_bytes());
        assert_eq!(answer.status, 400, "{kind} {body:?}: {}", answer.text());
    }
    assert_eq!(upstream.seen().len(), seen, "none of it came through");
}

#[test]
fn bodies_in_character_sets_in_which_they_are_something_else_do_not_pass() {
    let upstream = Upstream::echo();
    let gateway = judging_role(&upstream);
    for (kind, body) in [
        ("application/json;charset=UTF-8", r#"{"role":"guest"}"#),
        ("application/json; charset=\"utf-8\"", r#"{"role":"guest"}"#),
        ("application/json; charset=ISO-8859-1; profile=x", r#"{"role":"guest"}"#),
        ("application/x-www-form-urlencoded; charset=windows-1252", "role=guest"),
    ] {
        let answer = post(&gateway, "/", kind, body.as_bytes());
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
    }
    let seen = upstream.seen().len();
    // Whoever decodes it reads `{"note":"","role":"admin"}`.
    let other = r#"{"note":"+ACIALAAi-role+ACIAOgAi-admin"}"#;
    for kind in [
        "application/json; charset=utf-7",
        "application/json; charset=\"UTF-7\"",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json; x; charset=utf-7",
        "application/json; charset*=utf-8''utf-7",
        "application/json; charset=Shift_JIS",
        "application/merge-patch+json; charset=utf-7",
    ] {
        let answer = post(&gateway, "/", kind, other.as_bytes());
        assert_eq!(answer.status, 400, "{kind}: {}", answer.text());
        assert_eq!(places(&answer), ["body #"], "{kind}");
    }
    let form = post(&gateway, "/", "application/x-www-form-urlencoded; charset=utf-7", b"note=a");
    assert_eq!(form.status, 400, "{}", form.text());
    assert_eq!(upstream.seen().len(), seen, "none of it came through");
}

#[test]
fn ranges_of_what_is_not_read_go_on_where_answers_must_fit() {
    let upstream = Upstream::scripted(|seen| {
        let (status, body) = if seen.header("range").is_some() { (206, "b") } else { (200, "\"ab\"") };
        let kind = if seen.target() == "/film" { "video/mp4" } else { JSON };
        let length = body.len();
        Some(
            format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
                .into_bytes(),
        )
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("films.yaml");
    let paths = ["/film", "/list", "/whole"].map(|path| {
        let kind = if path == "/list" { JSON } else { "video/mp4" };
        let content = format!("{{description: d, content: {{{kind}: {{schema: {{type: string}}}}}}}}");
        let part = if path == "/whole" { String::new() } else { format!(", \"206\": {content}") };
        format!("  {path}: {{get: {{responses: {{\"200\": {content}{part}}}}}}}\n")
    });
    let text = format!("openapi: 3.1.0\ninfo: {{title: T, version: \"1\"}}\npaths:\n{}", paths.concat());
    fs::write(&file, text).expect("a file");
    let policies = format!("{{validate: {{openapi: {{file: {}}}, answers: enforce}}}}", file.display());
    let gateway = gateway(&upstream, &policies);
    for (path, want) in [("/film", 206), ("/list", 200)] {
        let answer = get(&gateway, path, "\nrange: bytes=1-1\nif-range: \"1\"");
        assert_eq!(answer.status, want, "{path}: {}", answer.text());
        assert_eq!(last(&upstream).header("if-range").is_some(), want == 206, "{path}");
    }
    get(&gateway, "/whole", "\nrange: bytes=1-1");
    assert_eq!(last(&upstream).header("range"), None, "a part is none of its answers");
}

/// A document whose one operation answers and takes bodies of these types.
fn of_types(content: &str) -> String {
    format!(
        "openapi: 3.1.0\ninfo: {{title: T, version: \"1\"}}\npaths:\n  /x:\n    get: {{responses: {{\"200\": {{description: d, content: {{{content}}}}}}}}}\n    post: {{requestBody: {{content: {{{content}}}}}, responses: {{default: {{description: d}}}}}}\n"
    )
}

#[test]
fn a_stream_is_no_whole_body_whatever_range_it_fits_by_name() {
    // One piece comes, and no end.
    let upstream = Upstream::raw(|mut reader, _| {
        while let Some(seen) = super::super::harness::read_request(&mut reader) {
            let kind = seen.header("x-kind").unwrap_or("text/plain").to_owned();
            let piece = match kind.as_str() {
                "text/event-stream" => "data: {}\n\n",
                "text/plain" | "application/json" => "{}",
                _ => "{}\n",
            };
            let is_stream = !matches!(kind.as_str(), "text/plain" | "application/json");
            let framing = match is_stream {
                true => format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{piece}\r\n", piece.len()),
                false => format!("content-length: {}\r\n\r\n{piece}", piece.len()),
            };
            let text = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}");
            if std::io::Write::write_all(reader.get_mut(), text.as_bytes()).is_err() {
                return;
            }
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let (events, lines, json) = ("text/event-stream", "application/x-ndjson", JSON);
    for (content, kind, want) in [
        // Nothing of it would be judged: it is none of the answers that are meant.
        ("text/*: {schema: {type: object}}", events, 502),
        ("\"*/*\": {schema: {type: object}}", events, 502),
        ("\"*/*\": {schema: {type: object}}", lines, 502),
        ("application/*: {schema: {type: object}}", lines, 502),
        ("application/*: {schema: {type: object}}", "application/stream+json", 502),
        // A range that judges nothing, and what is meant by its own name: they flow.
        ("\"*/*\": {}", events, 200),
        ("\"*/*\": {}", "application/stream+json", 200),
        ("text/*: {}", events, 200),
        ("text/event-stream: {schema: {type: string}}, text/*: {schema: {type: object}}", events, 200),
        ("application/x-ndjson: {schema: {type: object}}", lines, 200),
        // What has an end is judged, by the range too.
        ("text/*: {schema: {type: integer}}", "text/plain", 502),
        ("text/*: {schema: {type: string}}", "text/plain", 200),
        ("application/*: {schema: {type: integer}}", json, 502),
        ("\"*/*\": {schema: {type: object}}", json, 200),
    ] {
        fs::write(folder.path().join("types.yaml"), of_types(content)).expect("a file");
        let file = folder.path().join("types.yaml").display().to_string();
        let gateway =
            gateway(&upstream, &format!("{{validate: {{openapi: {{file: {file}}}, answers: enforce}}}}"));
        let mut client = Client::connect(gateway.address);
        client.patience(std::time::Duration::from_secs(5));
        client.write(format!("GET /x HTTP/1.1\r\nhost: a\r\nx-kind: {kind}\r\n\r\n"));
        let line = client.read_line();
        assert!(line.contains(&format!(" {want} ")), "{content} {kind}: {line}");
        if want == 200 && kind != "text/plain" && kind != json {
            let mut head = String::new();
            while head != "\r\n" {
                head = client.read_line();
            }
            client.read_line();
            assert!(client.read_line().contains("{}"), "{content} {kind}: it comes before its end");
        }
        // Requests that are streams are not held either.
        if want == 502 && kind != "text/plain" && kind != json {
            let answer = post(&gateway, "/x", kind, b"{}\n");
            assert_eq!(answer.status, 415, "{content} {kind}: {}", answer.text());
        }
    }
}

/// Faults of a value that lies deep are as many as there are ways through the schema, unless they are bounded.
#[test]
fn a_schema_that_leads_back_to_itself_judges_deep_values_in_bounded_time_and_memory() {
    let node = |more: &str| {
        format!(
            "{{$ref: '#/$defs/node', $defs: {{node: {{type: object, additionalProperties: false, properties: {{v: {{type: integer}}, kids: {{type: array, items: {{{more}}}}}, next: {{{more}}}}}}}}}}}"
        )
    };
    let one = "$ref: '#/$defs/node'";
    let twice = format!("[{{{one}}}, {{{one}}}, {{{one}}}]");
    let chain = |depth: usize| {
        format!("{}{{\"v\":\"x\"}}{}", "{\"next\":".repeat(depth), "}".repeat(depth)).into_bytes()
    };
    let wide = |depth: usize, count: usize| {
        let leaves = vec!["{\"v\":\"x\"}"; count].join(",");
        format!("{}{leaves}{}", "{\"kids\":[".repeat(depth), "]}".repeat(depth)).into_bytes()
    };
    for choice in ["anyOf", "oneOf", "allOf"] {
        let upstream = Upstream::echo();
        let schema = node(&format!("{choice}: {twice}"));
        let gateway =
            gateway(&upstream, &format!("{{validate: {{schemas: {{body: {{schema: {schema}}}}}}}}}"));
        let before = gateway.rss();
        let begun = std::time::Instant::now();
        for body in
            [chain(1), chain(4), chain(8), chain(60), chain(120), wide(1, 900), wide(3, 900), wide(3, 60_000)]
        {
            let answer = post(&gateway, "/", JSON, &body);
            assert_eq!(
                (answer.status, answer.problem().as_deref()),
                (400, Some("invalid")),
                "{choice}: {}",
                answer.text()
            );
            let all = places(&answer);
            assert!((1..=16).contains(&all.len()), "{choice}: {all:?}");
        }
        let near = post(&gateway, "/", JSON, &chain(0));
        assert_eq!(places(&near), ["body #/v"], "{choice}: what lies near is told");
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{choice}: {:?}", begun.elapsed());
        let grown = gateway.rss().saturating_sub(before) / 1024 / 1024;
        assert!(grown < 200, "{choice}: {grown} MiB more");
        // What fits goes on, however deep it lies.
        let good = format!("{}{{\"v\":1}}{}", "{\"next\":".repeat(40), "}".repeat(40));
        if choice != "oneOf" {
            assert_eq!(post(&gateway, "/", JSON, good.as_bytes()).status, 200, "{choice}");
        }
    }
}

#[test]
fn a_document_whose_schemas_lead_back_to_themselves_in_many_ways_is_loaded_in_bounded_time() {
    let node = "{$ref: '#/components/schemas/Node'}";
    let members: String = (0..12).map(|number| format!("m{number}: {{anyOf: [{node}, {node}]}}, ")).collect();
    let text = format!(
        "openapi: 3.1.0
info: {{title: T, version: \"1\"}}
components: {{schemas: {{Node: {{type: object, properties: {{{members}v: {{type: integer}}}}}}}}}}
paths:
  /x:
    get:
      parameters: [{{name: f, in: query, style: deepObject, schema: {node}}}]
      responses: {{default: {{description: d}}}}
    post:
      requestBody: {{content: {{application/x-www-form-urlencoded: {{schema: {node}}}}}}}
      responses: {{default: {{description: d}}}}
"
    );
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("deep.yaml"), text).expect("a file");
    let begun = std::time::Instant::now();
    let upstream = Upstream::echo();
    let file = folder.path().join("deep.yaml").display().to_string();
    let gateway = gateway(&upstream, &format!("{{validate: {{openapi: {{file: {file}}}}}}}"));
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(get(&gateway, "/x?f[v]=1", "").status, 200);
    assert_eq!(places(&get(&gateway, "/x?f[v]=x", "")), ["query f#/v"]);
}

#[test]
fn documents_that_cannot_be_used_are_told_when_they_are_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("api.yaml");
    let text = |policy: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policy}], respond: {{}}}}]\n"
        )
    };
    let with = |schema: &str| {
        let body = format!("requestBody: {{content: {{application/json: {{schema: {schema}}}}}}}");
        format!("openapi: 3.1.0\npaths: {{/a: {{post: {{{body}, responses: {{}}}}}}}}\n")
    };
    for (document, words) in [
        ("openapi: 3.1.0\npaths: {}\n".to_owned(), &["api.yaml", "no operations"][..]),
        ("swagger: '2.0'\n".to_owned(), &["Swagger 2.0"]),
        ("openapi: 3.1.0\npaths: [\n".to_owned(), &["cannot be read", "api.yaml:"]),
        (with("{type: strin}"), &["paths./a.post", "strin"]),
        (with("{$ref: 'https://example.com/x.json'}"), &["leads out of the document"]),
        (with("{$ref: '../../etc/passwd#/a'}"), &["leads out of the document"]),
        (with("{$ref: '#/nowhere'}"), &["leads to nothing"]),
        (with("{type: string, pattern: '(?=look)ahead'}"), &["paths./a.post", "pattern"]),
        (with("{type: string, pattern: '('}"), &["pattern"]),
    ] {
        fs::write(&file, &document).expect("a file");
        refused(&text(&format!("{{validate: {{openapi: {{file: {}}}}}}}", file.display())), words);
    }
    fs::write(&file, "{\"$ref\": \"https://127.0.0.1:9/x.json\"}").expect("a file");
    refused(
        &text(&format!("{{validate: {{schemas: {{body: {{file: {}}}}}}}}}", file.display())),
        &["nothing is fetched"],
    );
    for (settings, words) in [
        ("{}", &["expected `openapi` or `schemas`"][..]),
        ("{schemas: {}}", &["expected at least one"]),
        ("{schemas: {body: {}}}", &["expected a schema"]),
        ("{schemas: {body: {schema: {}}}, requests: off}", &["neither requests nor answers"]),
        ("{schemas: {answer: {schema: {}}}}", &["is `off`"]),
        ("{schemas: {body: {schema: {}}}, maxBodySize: 0B}", &["more than nothing"]),
    ] {
        refused(&text(&format!("{{validate: {settings}}}")), words);
    }
}
