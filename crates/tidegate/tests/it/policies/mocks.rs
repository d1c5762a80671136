//! `respond` with `openapi`: answers that a document describes.

use std::fs;

use serde_json::{Value, json};

use super::{
    super::harness::{Answer, Client, Gateway},
    refused,
};

const PETS: &str = r##"
openapi: 3.1.0
info: {title: Pets, version: "1"}
servers: [{url: /v1}]
components:
  examples: {cat: {value: {name: Tom, kind: cat}}}
  schemas:
    Pet:
      type: object
      required: [name, kind]
      properties:
        name: {type: string, minLength: 3}
        kind: {enum: [cat, dog]}
        born: {type: string, format: date-time}
        friends: {type: array, items: {$ref: "#/components/schemas/Pet"}}
        token: {type: string, writeOnly: true}
paths:
  /pets/{id}:
    get:
      operationId: onePet
      parameters:
        - {name: id, in: path, required: true, schema: {type: integer}}
      responses:
        "200":
          description: a pet
          headers: {X-Rate: {schema: {type: integer, minimum: 7}}}
          content:
            application/json:
              schema: {$ref: "#/components/schemas/Pet"}
              examples:
                cat: {$ref: "#/components/examples/cat"}
                dog: {value: {name: Rex, kind: dog}}
            text/plain: {example: "Tom, a cat"}
        "404": {description: none, content: {application/problem+json: {schema: {type: object, properties: {title: {const: gone}}}}}}
        5XX: {description: broken}
    delete: {operationId: remove, responses: {"204": {description: gone}}}
  /pets:
    get:
      operationId: all
      responses:
        default:
          description: pets
          content: {application/json: {schema: {type: array, minItems: 2, items: {$ref: "#/components/schemas/Pet"}}}}
    post:
      operationId: add
      requestBody: {required: true, content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}
      responses: {"201": {description: made, content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}}
"##;

fn gateway(validate: bool, policies: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pets.yaml");
    fs::write(&file, PETS).expect("a file");
    let policies = policies.replace("FILE", &file.display().to_string());
    let gateway = Gateway::start(&format!(
        "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{policies}], respond: {{openapi: {{file: {}{}}}}}}}]\n",
        file.display(),
        // Without a word they are.
        if validate { "" } else { ", validate: false" }
    ));
    (gateway, folder)
}

fn get(gateway: &Gateway, target: &str, headers: &str) -> Answer {
    gateway.send(&format!("GET {target} HTTP/1.1\nhost: a{headers}"), b"")
}

/// The head of the answer to a HEAD.
fn head(gateway: &Gateway, target: &str, headers: &str) -> Answer {
    let mut client = Client::connect(gateway.address);
    let headers = headers.replace('\n', "\r\n");
    client.write(format!("HEAD {target} HTTP/1.1\r\nhost: a{headers}\r\nconnection: close\r\n\r\n"));
    client.read_head().expect("a head")
}

fn post(gateway: &Gateway, body: &str) -> Answer {
    let head = format!(
        "POST /v1/pets HTTP/1.1\nhost: a\ncontent-type: application/json\ncontent-length: {}",
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}

#[test]
fn examples_are_given_as_prefer_and_accept_choose() {
    let (gateway, _folder) = gateway(false, "");
    let tom = json!({"name": "Tom", "kind": "cat"});
    let plain = get(&gateway, "/v1/pets/1", "");
    assert_eq!((plain.status, plain.json(), plain.header("x-rate")), (200, tom, Some("7")));
    assert_eq!(plain.header("content-type"), Some("application/json"));
    assert_eq!(plain.header("vary"), Some("accept, prefer"), "whoever keeps it tells choices apart");
    assert_eq!(
        get(&gateway, "/v1/pets/1", "\nprefer: example=dog").json(),
        json!({"name": "Rex", "kind": "dog"})
    );
    let text = get(&gateway, "/v1/pets/1", "\naccept: application/json;q=0.5, text/*");
    assert_eq!((text.text().as_str(), text.header("content-type")), ("Tom, a cat", Some("text/plain")));
    let none = get(&gateway, "/v1/pets/1", "\nprefer: code=404");
    assert_eq!(
        (none.status, none.header("content-type"), none.json()),
        (404, Some("application/problem+json"), json!({"title": "gone"}))
    );
    let broken = get(&gateway, "/v1/pets/1", "\nprefer: code=503");
    assert_eq!((broken.status, broken.body.len()), (503, 0));
    assert_eq!(gateway.send("DELETE /v1/pets/1 HTTP/1.1\nhost: a", b"").status, 204);
    for (headers, want, says) in [
        ("\nprefer: code=418", 400, "404"),
        ("\nprefer: example=cow", 400, "cat, dog"),
        ("\naccept: image/png", 406, "text/plain"),
    ] {
        let answer = get(&gateway, "/v1/pets/1", headers);
        assert_eq!(answer.status, want, "{headers}: {}", answer.text());
        assert!(answer.text().contains(says), "{}", answer.text());
    }
    assert_eq!(get(&gateway, "/v1/cats", "").status, 404);
    let method = gateway.send("PUT /v1/pets/1 HTTP/1.1\nhost: a", b"");
    assert_eq!((method.status, method.header("allow")), (405, Some("GET, DELETE, HEAD")));
    let head = head(&gateway, "/v1/pets/1", "");
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some(plain.body.len().to_string().as_str()))
    );
}

#[test]
fn data_in_the_shape_of_the_schema_is_the_same_for_the_same_request() {
    // What is made fits the document, by which `validate` judges it.
    let (gateway, _folder) = gateway(false, "{validate: {openapi: {file: FILE}, answers: enforce}}");
    let pets = get(&gateway, "/v1/pets", "");
    assert_eq!(pets.status, 200, "{}", pets.text());
    assert!(pets.json().as_array().is_some_and(|all| all.len() >= 2), "{}", pets.text());
    let dynamic = |target: &str| {
        let answer = get(&gateway, target, "\nprefer: dynamic=true");
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    };
    assert_eq!(dynamic("/v1/pets/1"), dynamic("/v1/pets/1"));
    let several: Vec<Value> = (1..9).map(|id| dynamic(&format!("/v1/pets/{id}"))).collect();
    assert!(several.iter().any(|one| one != &several[0]), "other requests, other data");
    assert!(several.iter().all(|one| one.get("token").is_none()), "what is never told is not");
}

#[test]
fn requests_are_judged_unless_they_are_not_to_be() {
    let (open, _folder) = gateway(false, "");
    assert_eq!((post(&open, "{}").status, get(&open, "/v1/pets/x", "").status), (201, 200));
    let (strict, _folder) = gateway(true, "");
    assert_eq!(post(&strict, r#"{"name":"Rex","kind":"dog","token":"t"}"#).status, 201);
    let answer = post(&strict, r#"{"name":"Rex","kind":"cow"}"#);
    assert_eq!((answer.status, answer.problem().as_deref()), (400, Some("invalid")));
    assert_eq!(answer.json()["errors"][0]["pointer"], "#/kind");
    assert_eq!(get(&strict, "/v1/pets/x", "").status, 400);
}

#[test]
fn schemas_that_lead_back_to_themselves_in_many_ways_are_answered_in_bounded_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("knot.yaml");
    let knot = json!({"$ref": "#/components/schemas/Knot"});
    let mut all = vec![knot.clone(); 8];
    all.push(json!({"type": "object", "required": ["name"], "properties": {"name": {"const": "Ann"}}}));
    let answer = json!({"description": "d", "content": {"application/json": {"schema": knot}}});
    let document = json!({"openapi": "3.1.0", "info": {"title": "K", "version": "1"},
        "components": {"schemas": {"Knot": {"allOf": all}}},
        "paths": {"/k": {"get": {"responses": {"200": answer}}}}});
    fs::write(&file, document.to_string()).expect("a file");
    let gateway = Gateway::start(&format!(
        "routes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{openapi: {{file: {}}}}}}}]\n",
        file.display()
    ));
    for prefer in ["", "\nprefer: dynamic=true"] {
        assert_eq!(get(&gateway, "/k", prefer).json(), json!({"name": "Ann"}));
    }
}

#[test]
fn what_cannot_be_answered_is_told_when_it_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("api.yaml");
    let text = |rest: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:8080\"}}]\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], respond: {{openapi: {{file: {}}}{rest}}}}}]\n",
            file.display()
        )
    };
    for (responses, words) in [
        ("{}", &["op: it has no `responses`"][..]),
        (
            "{'200': {content: {application/json: {schema: {$ref: '#/nowhere'}}}}}",
            &["op: responses.200: content.application", "leads to nothing"],
        ),
        ("{'20': {}}", &["responses.20", "no status"]),
    ] {
        fs::write(
            &file,
            format!("openapi: 3.1.0\npaths: {{/a: {{get: {{operationId: op, responses: {responses}}}}}}}\n"),
        )
        .expect("a file");
        refused(&text(""), words);
    }
    let post = "parameters: [{name: x, in: path, required: true, schema: {}}], responses: {'200': {description: good}}";
    fs::write(&file, format!("openapi: 3.1.0\npaths: {{/a: {{post: {{{post}}}}}}}\n")).expect("a file");
    refused(
        &text(""),
        &[
            "paths./a.post: parameter `x` is not in the path",
            "`validate: false` answers without judging requests",
        ],
    );
    fs::write(&file, PETS).expect("a file");
    refused(&text(", status: 200"), &["has both `openapi` and `status`"]);
}
