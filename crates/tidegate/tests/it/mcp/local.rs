//! Tools of the gateway's own: operations of an OpenAPI document, prompts and models, over sockets.

use std::fs;

use ai::canon::Request;
use serde_json::{Value, json};

use super::{Client, GOLD, WEB, said, sdk};
use crate::{
    harness::{Gateway, Peer, Seen, Upstream, eventually, pause, python, run},
    prompt::model,
};

pub(super) const DOCUMENT: &str = include_str!("petstore.yaml");

/// An API of pets. It tells of the path, the body and the fields that it was asked with.
pub(super) fn pets() -> Upstream {
    Upstream::scripted(|seen| {
        let target = seen.target().to_owned();
        let method = seen.line.split(' ').next().unwrap_or_default();
        let (status, kind, body) = match (method, target.as_str()) {
            ("GET", "/v1/pets/7/photo") => (200, "image/png", b"\x89PNG".to_vec()),
            ("GET", "/v1/pets/odd") => (200, "application/json", b"{\"id\": \"seven\"}".to_vec()),
            ("GET", "/v1/pets/gone") => (404, "application/json", b"{\"error\": \"no such pet\"}".to_vec()),
            ("GET", target) if target.starts_with("/v1/pets/") => {
                (200, "application/json", json!({"id": 7, "name": target}).to_string().into_bytes())
            }
            ("POST", "/v1/pets") => {
                let mut pet: Value = serde_json::from_slice(&seen.body).expect("JSON");
                pet["id"] = 8.into();
                (201, "application/json", pet.to_string().into_bytes())
            }
            ("PUT" | "DELETE", _) => (204, "", Vec::new()),
            _ => (200, "application/json", json!([{"id": 1, "name": target}]).to_string().into_bytes()),
        };
        let mut out = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n");
        if status != 204 {
            out.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        let mut out = format!("{out}\r\n").into_bytes();
        out.extend_from_slice(&body);
        Some(out)
    })
}

/// A folder with the document.
pub(super) fn document(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("pets.yaml"), text).expect("written");
    folder
}

/// Settings with `pets`, `ai`, and further settings of the route and of `pets`' `openapi`.
pub(super) fn config(
    pets: &Upstream,
    provider: &Upstream,
    folder: &tempfile::TempDir,
    openapi: &str,
    more: &str,
) -> String {
    format!(
        "consumers:
  - {{name: gold, keys: [{GOLD}]}}
  - {{name: web, keys: [{WEB}], models: [other]}}
accessLog: [{{kind: stdout, format: json}}]
upstreams: [{{name: pets, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: tools
    match: [{{path: {{prefix: /mcp}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}]
    mcp:
      servers:
        - name: pets
          headers: {{authorization: Bearer-of-the-pets}}
          openapi: {{file: {}, upstream: pets{openapi}}}
        - name: ai
          prompts: [summary]
          models: [{{name: ask, model: smart, description: Answers questions.}}]
{more}  - name: summary
    match: [{{path: {{exact: /v1/summary}}}}]
    policies:
      - keyAuth: {{header: x-api-key}}
      - rateLimit: {{limit: 2, window: 1h, key: consumer}}
    prompt:
      model: smart
      description: Sums a text up.
      input: {{type: object, required: [text], properties: {{text: {{type: string}}}}}}
      messages: [{{role: user, content: \"Sum up: {{{{ text }}}}\"}}]
      output: {{type: object, required: [short], properties: {{short: {{type: string}}}}}}
ai:
  providers:
    - {{name: p, kind: openai-compatible, baseUrl: \"http://{}/v1\", keys: [provider-key-of-the-test]}}
  models:
    - {{name: smart, targets: [{{provider: p, model: m}}]}}
    - {{name: other, targets: [{{provider: p, model: m}}]}}
",
        pets.address,
        folder.path().join("pets.yaml").display(),
        provider.address
    )
}

/// A model that sums up as JSON, and says of everything else how it was asked.
pub(super) fn smart() -> Upstream {
    model::text(|request: &Request| {
        let turns = model::turns(request);
        let last = model::last(request);
        match last.strip_prefix("Sum up: ") {
            Some(text) => json!({"short": format!("short {text}")}).to_string(),
            None => format!("{} turns, {last}", turns.len()),
        }
    })
}

pub(super) const NO_FILES: &str = ", exclude: [{tag: files}]";

struct World {
    pets: Upstream,
    _provider: Upstream,
    _folder: tempfile::TempDir,
    gateway: Gateway,
}

fn world(openapi: &str, more: &str) -> World {
    let (pets, provider, folder) = (pets(), smart(), document(DOCUMENT));
    let gateway = Gateway::start(&config(&pets, &provider, &folder, openapi, more));
    World { pets, _provider: provider, _folder: folder, gateway }
}

fn last(pets: &Upstream) -> Seen {
    pets.seen().pop().expect("a request")
}

#[test]
fn operations_are_tools_with_their_schemas() {
    let world = world(NO_FILES, "");
    let client = Client::begin(&world.gateway, GOLD);
    let listed = client.request("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().expect("tools");
    let tool = |name: &str| {
        tools.iter().find(|tool| tool["name"] == name).unwrap_or_else(|| panic!("{name}: {listed}"))
    };
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "pets_listPets",
            "pets_createPet",
            "pets_getPet",
            "pets_put_pets_petId",
            "pets_deletePet",
            "pets_photo",
            "ai_summary",
            "ai_ask"
        ]
    );
    let get = tool("pets_getPet");
    assert_eq!(get["description"], "One pet\n\nWith all that is known of it.");
    let properties = json!({"petId": {"type": "string", "description": "Which pet."}});
    assert_eq!(
        get["inputSchema"],
        json!({"type": "object", "required": ["petId"], "additionalProperties": false, "properties": properties})
    );
    assert_eq!(get["outputSchema"]["type"], "object");
    assert_eq!(get["outputSchema"]["$defs"]["Pet"]["required"], json!(["id", "name"]));
    assert_eq!(get["outputSchema"]["$defs"]["Pet"]["properties"]["nick"]["type"], json!(["string", "null"]));
    assert_eq!(get["annotations"]["readOnlyHint"], true);
    let create = tool("pets_createPet");
    // What the API gives is not asked for.
    assert_eq!(create["inputSchema"]["$defs"]["Pet"]["required"], json!(["name"]));
    assert_eq!(create["inputSchema"]["required"], json!(["body"]));
    assert_eq!(create["annotations"]["readOnlyHint"], false);
    assert_eq!(tool("pets_deletePet")["annotations"]["destructiveHint"], true);
    assert_eq!(tool("pets_put_pets_petId")["annotations"]["idempotentHint"], true);
    let list = &tool("pets_listPets")["inputSchema"]["properties"];
    assert!(list.get("authorization").is_none() && list.get("x-tenant").is_some(), "{list}");
    assert_eq!(tool("ai_summary")["outputSchema"]["required"], json!(["short"]));
    assert_eq!(tool("ai_summary")["description"], "Sums a text up.");
    assert_eq!(tool("ai_ask")["inputSchema"]["required"], json!(["prompt"]));
}

#[test]
fn rules_judge_what_prompts_and_models_are_asked_as_tools() {
    let (pets, provider, folder) = (pets(), smart(), document(DOCUMENT));
    let text = config(&pets, &provider, &folder, NO_FILES, "");
    let rules = |words: &str| {
        format!("{{guardrails: {{message: not here, rules: [{{name: no, words: [{words}]}}]}}}}")
    };
    let key = "policies: [{keyAuth: {header: x-api-key}}]";
    assert!(text.contains(key));
    // The endpoint's rules are those of its models; a prompt's are those of its own route.
    let text =
        text.replace(key, &format!("policies: [{{keyAuth: {{header: x-api-key}}}}, {}]", rules("Acme Corp")));
    let text = text.replace(
        "      - rateLimit: {limit: 2, window: 1h, key: consumer}\n",
        &format!("      - {}\n", rules("Wonka")),
    );
    let gateway = Gateway::start(&text);
    let client = Client::begin(&gateway, GOLD);
    for (tool, field, word, is_refused) in [
        ("ai_ask", "prompt", "of Acme Corp", true),
        ("ai_ask", "prompt", "of the tide", false),
        ("ai_summary", "text", "of Wonka", true),
        ("ai_summary", "text", "of the tide", false),
    ] {
        let count = provider.seen().len();
        let answer = client.call(tool, json!({field: word}));
        assert_eq!(answer["result"]["isError"] == true, is_refused, "{tool} {word}: {answer}");
        assert_eq!(said(&answer).contains("not here"), is_refused, "{tool} {word}: {answer}");
        assert_eq!(provider.seen().len(), count + usize::from(!is_refused), "{tool} {word}");
    }
}

#[test]
fn a_call_is_a_request_to_the_upstream() {
    let world = world(NO_FILES, "");
    let client = Client::begin(&world.gateway, GOLD);
    let arguments =
        json!({"limit": 5, "tag": ["a", "b&c"], "filter": {"age": 3}, "session": "s;1", "x-tenant": "acme"});
    let answer = client.call("pets_listPets", arguments);
    let text: Value = serde_json::from_str(said(&answer)).expect("JSON");
    assert_eq!(text[0]["id"], 1, "{answer}");
    assert!(answer["result"].get("structuredContent").is_none(), "a list is no object");
    let seen = last(&world.pets);
    let mut fields: Vec<&str> = seen.target().split_once('?').expect("a query").1.split('&').collect();
    fields.sort_unstable();
    assert_eq!(fields, ["filter%5Bage%5D=3", "limit=5", "tag=a", "tag=b%26c"]);
    assert_eq!(seen.header("cookie"), Some("session=s%3B1"));
    assert_eq!(seen.header("x-tenant"), Some("acme"));
    assert_eq!(seen.header("authorization"), Some("Bearer-of-the-pets"));
    assert_eq!(seen.header("host"), Some(world.pets.address.to_string().as_str()));
    assert!(!format!("{seen:?}").contains(GOLD), "the caller's key went on: {seen:?}");

    let answer = client.call("pets_createPet", json!({"body": {"name": "Rex"}}));
    assert_eq!(answer["result"]["structuredContent"], json!({"id": 8, "name": "Rex"}), "{answer}");
    assert_eq!(last(&world.pets).header("content-type"), Some("application/json"));
    client.call("pets_put_pets_petId", json!({"petId": "7", "body": {"name": "R & x"}}));
    let seen = last(&world.pets);
    assert_eq!((seen.line.as_str(), seen.body.as_slice()), ("PUT /v1/pets/7 HTTP/1.1", &b"name=R+%26+x"[..]));
    let answer = client.call("pets_photo", json!({"petId": "7"}));
    let image = &answer["result"]["content"][0];
    assert_eq!((&image["type"], &image["data"]), (&json!("image"), &json!("iVBORw==")), "{answer}");
    let record = world.gateway.record("the tool", |one| one["mcp"]["name"] == "pets_createPet");
    assert_eq!((&record["upstream"], &record["consumer"]), (&json!("pets"), &json!("gold")), "{record}");
    assert_eq!(record["mcp"]["is_error"], false);
}

#[test]
fn what_fails_is_told_to_the_model() {
    let world = world(NO_FILES, "");
    let client = Client::begin(&world.gateway, GOLD);
    let fails = |tool: &str, arguments: Value, says: &str| {
        let before = world.pets.seen().len();
        let answer = client.call(tool, arguments);
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        assert!(said(&answer).contains(says), "{answer}");
        world.pets.seen().len() - before
    };
    assert_eq!(
        fails("pets_getPet", json!({"petId": "gone"}), "404 Not Found\n{\"error\": \"no such pet\"}"),
        1
    );
    assert_eq!(fails("pets_getPet", json!({"petId": "odd"}), "not what its document says"), 1);
    for (tool, arguments, says) in [
        ("pets_getPet", json!({}), "`/petId` is required"),
        ("pets_getPet", json!({"petId": 7}), "string"),
        ("pets_getPet", json!({"petId": "7", "admin": true}), "admin"),
        ("pets_getPet", json!({"petId": "../admin"}), "leads out of its place"),
        ("pets_getPet", json!({"petId": ".."}), "leads out of its place"),
        ("pets_listPets", json!({"limit": 101}), "`/limit`"),
        ("pets_listPets", json!({"x-tenant": "a\r\nx: y"}), "header"),
        ("pets_createPet", json!({"body": {"nick": "x"}}), "required"),
    ] {
        assert_eq!(fails(tool, arguments, says), 0, "nothing reaches the API");
    }
    let answer = client.call("pets_getPet", json!({"petId": "a/b?c"}));
    assert_eq!(answer["result"]["structuredContent"]["name"], "/v1/pets/a%2Fb%3Fc", "{answer}");
    assert_eq!(client.call("pets_nothing", json!({}))["error"]["code"], -32602);
}

#[test]
fn prompts_and_models_are_tools_with_their_own_limits_and_receipts() {
    let more = "      tools: [{name: ai_ask, rateLimit: {limit: 1, window: 1h, key: consumer}}]\n";
    let world = world(NO_FILES, more);
    let client = Client::begin(&world.gateway, GOLD);
    let answer = client.call("ai_summary", json!({"text": "a tale"}));
    assert_eq!(answer["result"]["structuredContent"], json!({"short": "short a tale"}), "{answer}");
    let receipt = &answer["result"]["_meta"]["tidegate/receipt"];
    assert_eq!((&receipt["model"], &receipt["provider"]), (&json!("smart"), &json!("p")), "{answer}");
    assert_eq!(receipt["usage"]["inputTokens"], 11);
    let wrong = client.call("ai_summary", json!({}));
    assert!(wrong["result"]["isError"] == true && said(&wrong).contains("`/text` is required"), "{wrong}");
    // The limit of the prompt's own route counts calls of its tool.
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
                         "params": {"name": "ai_summary", "arguments": {"text": "x"}}});
    let refused = client.post(&message);
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.json()["id"], 7);

    let answer = client.call("ai_ask", json!({"prompt": "why?", "system": "Be brief."}));
    assert_eq!(said(&answer), "2 turns, why?");
    assert_eq!(answer["result"]["_meta"]["tidegate/receipt"]["usage"]["outputTokens"], 7, "{answer}");
    let message = json!({"jsonrpc": "2.0", "id": 8, "method": "tools/call",
                         "params": {"name": "ai_ask", "arguments": {"prompt": "again?"}}});
    assert_eq!(client.post(&message).status, 429, "the rule of the tool");
    // A consumer that may not use the model may not use it as a tool.
    let web = Client::begin(&world.gateway, WEB);
    let refused = web.call("ai_ask", json!({"prompt": "why?"}));
    assert_eq!(refused["error"]["code"], -32003, "{refused}");
    let is_answered = |one: &Value| one["mcp"]["name"] == "ai_ask" && one["ai"].is_object();
    let record = world.gateway.record("the model", is_answered);
    assert_eq!((&record["ai"]["output_tokens"], &record["route"]), (&json!(7), &json!("tools")), "{record}");
}

#[test]
fn budgets_of_the_endpoint_and_of_the_consumer_count_what_tools_spend() {
    let (pets, provider, folder) = (pets(), smart(), document(DOCUMENT));
    let text = config(&pets, &provider, &folder, NO_FILES, "").replace(
        "policies: [{keyAuth: {header: x-api-key}}]\n    mcp:",
        "policies: [{keyAuth: {header: x-api-key}}, {tokenRateLimit: {tokens: 60, window: 1h, key: consumer, assumedOutput: 10}}]\n    mcp:",
    );
    let gateway = Gateway::start(&text);
    let client = Client::begin(&gateway, GOLD);
    let ask = |tool: &str, arguments: Value| {
        let params = json!({"name": tool, "arguments": arguments});
        client.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})).status
    };
    // 18 tokens each, and beyond 60 nothing more.
    let asked = (0..10).take_while(|_| ask("ai_ask", json!({"prompt": "one"})) == 200).count();
    assert!((1..4).contains(&asked), "{asked}");
    assert_eq!(ask("ai_summary", json!({"text": "two"})), 429, "a prompt is counted with the endpoint");
    assert_eq!(ask("pets_getPet", json!({"petId": "7"})), 200, "what asks no model spends nothing");
}

#[test]
fn a_client_that_leaves_has_its_call_of_an_api_broken_off() {
    let gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = gone.clone();
    let slow = Upstream::raw(move |mut reader, seen| {
        use std::io::Read;
        let Some(request) = crate::harness::read_request(&mut reader) else { return };
        seen.lock().expect("not poisoned").push(request);
        let mut byte = [0];
        let closed = reader.get_mut().read(&mut byte);
        told.store(matches!(closed, Ok(0) | Err(_)), std::sync::atomic::Ordering::Relaxed);
    });
    let (provider, folder) = (smart(), document(DOCUMENT));
    let gateway = Gateway::start(&config(&slow, &provider, &folder, NO_FILES, ""));
    let client = Client::begin(&gateway, GOLD);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                      "params": {"name": "pets_getPet", "arguments": {"petId": "7"}}})
    .to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\nhost: {}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{}",
        gateway.address,
        body.len(),
        client.headers()
    );
    let mut socket = crate::harness::Client::connect(gateway.address);
    socket.write(format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n")));
    eventually("the API is asked", || !slow.seen().is_empty());
    pause(50);
    drop(socket);
    eventually("the call is broken off", || gone.load(std::sync::atomic::Ordering::Relaxed));
}

#[test]
fn pythons_client_of_either_kind_uses_such_tools() {
    for mode in ["legacy", "modern"] {
        let world = world(NO_FILES, "");
        let endpoint = format!("http://{}/mcp", world.gateway.address);
        let peer = Peer::start(python(include_str!("local.py"), &[&endpoint, GOLD, mode]));
        let report = sdk::report(&world.gateway, peer);
        assert_eq!(
            report["pet"]["structuredContent"],
            json!({"id": 7, "name": "/v1/pets/7"}),
            "{mode}: {report}"
        );
        assert_eq!(report["created"]["structuredContent"]["id"], 8, "{mode}: {report}");
        assert_eq!(report["missing"]["isError"], true, "{mode}: {report}");
        assert_eq!(report["misfit"]["isError"], true, "{mode}: {report}");
        assert_eq!(report["photo"]["content"][0]["type"], "image", "{mode}: {report}");
        assert_eq!(
            report["summary"]["structuredContent"],
            json!({"short": "short a long tale"}),
            "{mode}: {report}"
        );
        assert_eq!(report["asked"]["content"][0]["text"], "2 turns, why?", "{mode}: {report}");
        assert_eq!(report["asked"]["_meta"]["tidegate/receipt"]["model"], "smart", "{mode}: {report}");
    }
}

#[test]
fn mistakes_are_told_with_their_place_and_remedy() {
    let (pets, provider) = (pets(), smart());
    let swagger = DOCUMENT.replace("openapi: 3.0.3", "swagger: \"2.0\"");
    let twice =
        DOCUMENT.replace("operationId: createPet", "operationId: list_Pets").replace("listPets", "list.Pets");
    let broken = DOCUMENT.replace("operationId: listPets", "operationId: [listPets");
    let lost = DOCUMENT.replace("#/components/parameters/PetId", "#/components/parameters/Nothing");
    let out = DOCUMENT.replace("\"#/components/requestBodies/Pet\"", "\"other.yaml#/Pet\"");
    for (text, openapi, change, says) in [
        (DOCUMENT, "", ("", ""), &["upload: its body is image/png", "exclude"][..]),
        (
            DOCUMENT,
            ", include: [{operation: noSuch}]",
            ("", ""),
            &["include[0]", "no such operation", "listPets"],
        ),
        (DOCUMENT, ", exclude: [{tag: files}], names: {noSuch: a}", ("", ""), &["names.noSuch"]),
        (
            DOCUMENT,
            ", exclude: [{tag: files}], names: {getPet: listPets}",
            ("", ""),
            &["would both be the tool `listPets`"],
        ),
        (&twice, NO_FILES, ("", ""), &["would both be the tool `list_Pets`", "another name"]),
        (&swagger, "", ("", ""), &["Swagger 2.0", "convert"]),
        (&broken, "", ("", ""), &["cannot be read", "pets.yaml:"]),
        (&lost, NO_FILES, ("", ""), &["leads to nothing"]),
        (&out, NO_FILES, ("", ""), &["bundle"]),
        (DOCUMENT, NO_FILES, ("upstream: pets", "upstream: cats"), &["cats", "upstream"]),
        (DOCUMENT, NO_FILES, ("pets.yaml", "cats.yaml"), &["cats.yaml"]),
        (
            DOCUMENT,
            NO_FILES,
            ("prompts: [summary]", "prompts: [nothing]"),
            &["no route `nothing`", "summary"],
        ),
        (DOCUMENT, NO_FILES, ("prompts: [summary]", "prompts: [tools]"), &["only one with `prompt`"]),
        (DOCUMENT, NO_FILES, ("model: smart, description", "model: stupid, description"), &["stupid"]),
        (DOCUMENT, NO_FILES, ("name: ask,", "name: summary,"), &["already"]),
        (
            DOCUMENT,
            NO_FILES,
            ("prompts: [summary]", "prompts: [summary]\n          pool: {}"),
            &["only a server with `url`"],
        ),
        (
            DOCUMENT,
            NO_FILES,
            ("prompts: [summary]", "url: \"http://a/mcp\"\n          prompts: [summary]"),
            &["expected one of `url`"],
        ),
    ] {
        let folder = document(text);
        let config = config(&pets, &provider, &folder, openapi, "").replacen(change.0, change.1, 1);
        let path = folder.path().join("tidegate.yaml");
        let listeners = "listeners: [{name: public, address: \"127.0.0.1:1\"}]\n";
        fs::write(&path, format!("{listeners}{config}")).expect("written");
        let (code, out, error) = run(&["validate", "-c", path.to_str().expect("a path")]);
        // Lines are broken where they are too long.
        let told = format!("{out}{error}").replace('│', " ");
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_ne!(code, 0, "{says:?}: {told}");
        for says in says {
            assert!(told.contains(says), "{says}: {told}");
        }
    }
}

#[test]
fn what_judges_arrivals_on_a_prompts_route_leaves_its_tool_alone() {
    let (pets, provider, folder) = (pets(), smart(), document(DOCUMENT));
    let limit = "      - rateLimit: {limit: 2, window: 1h, key: consumer}\n";
    let more = "      - antiReplay: {}\n      - botDetection: {}\n      - csrf: {withoutHeaders: refuse}\n";
    let text = config(&pets, &provider, &folder, NO_FILES, "");
    assert!(text.contains(limit));
    let gateway = Gateway::start(&text.replace(limit, &format!("{more}{limit}")));
    let answer = Client::begin(&gateway, GOLD).call("ai_summary", json!({"text": "x"}));
    assert_eq!(answer["result"]["structuredContent"]["short"], "short x", "{answer}");
    let head = "POST /v1/summary HTTP/1.1\nhost: a\ncontent-type: application/json\ncontent-length: 12";
    assert_eq!(gateway.send(head, b"{\"text\":\"x\"}").status, 403, "who comes from outside is judged");
}

#[test]
fn who_is_nobody_to_a_prompts_route_runs_it_as_no_tool_either() {
    let (pets, provider, folder) = (pets(), smart(), document(DOCUMENT));
    let text = config(&pets, &provider, &folder, NO_FILES, "").replacen(
        "policies: [{keyAuth: {header: x-api-key}}]",
        "policies: [{keyAuth: {header: x-api-key, anonymous: gold}}]",
        1,
    );
    let gateway = Gateway::start(&text);
    let ask = |headers: &str, message: &Value| super::ask(&gateway, "POST", headers, &message.to_string());
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let begun = ask("", &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
    assert_eq!(begun.status, 200, "a stranger may come in: {}", begun.text());
    let session = begun.header("mcp-session-id").expect("a session");
    let headers = format!("\nmcp-session-id: {session}\nmcp-protocol-version: 2025-06-18");
    ask(&headers, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
                      "params": {"name": "ai_summary", "arguments": {"text": "x"}}});
    let answer = ask(&headers, &call).json();
    assert!(answer.get("result").is_none_or(|result| result["isError"] == true), "{answer}");
    assert!(provider.seen().is_empty(), "nothing was paid for a stranger: {:?}", provider.seen());
    let gold = Client::begin(&gateway, GOLD).call("ai_summary", json!({"text": "x"}));
    assert_eq!(gold["result"]["structuredContent"]["short"], "short x", "{gold}");
}

#[test]
fn policies_of_the_answer_see_the_clients_request_when_a_model_was_asked() {
    let (pets, provider, folder) = (pets(), smart(), document(DOCUMENT));
    let text = config(&pets, &provider, &folder, NO_FILES, "").replace(
        "policies: [{keyAuth: {header: x-api-key}}]\n    mcp:",
        "policies: [{compress: {}}, {headers: {response: {set: {x-path: \"{{ request.path }}\"}}}}, {keyAuth: {header: x-api-key}}]\n    mcp:",
    );
    let gateway = Gateway::start(&text);
    let client = Client::begin(&gateway, GOLD);
    let params = json!({"name": "ai_ask", "arguments": {"prompt": "a long tale ".repeat(500)}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let headers = format!("{}\naccept-encoding: gzip", client.headers());
    let answer = super::ask(&gateway, "POST", &headers, &message);
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(answer.header("x-path"), Some("/mcp"));
}

#[test]
fn no_argument_sets_a_field_that_says_who_calls() {
    let (pets, provider) = (pets(), smart());
    let names = [
        "authorization",
        "Cookie",
        "x-consumer-id",
        "X_Consumer_Id",
        "x-forwarded-for",
        "X-Real-IP",
        "proxy-authorization",
        "Keep-Alive",
        "x-plan",
        "X_Plan",
        "x-sub",
        "x-old",
        "x-new",
        "x-api-key",
    ];
    let parameters: String = names
        .iter()
        .map(|name| format!("        - {{name: {name}, in: header, schema: {{type: string}}}}\n"))
        .collect();
    let text = DOCUMENT.replace(
        "        - {name: authorization, in: header, schema: {type: string}}\n",
        &format!("{parameters}        - {{name: x-colour, in: header, schema: {{type: string}}}}\n"),
    );
    let folder = document(&text);
    // What a consumer's policy, one of another route and a shared one set is nobody's to set.
    let text = config(&pets, &provider, &folder, NO_FILES, "")
        .replace(
            &format!("keys: [{GOLD}]}}"),
            &format!("keys: [{GOLD}], policies: [{{headers: {{request: {{set: {{x-plan: gold}}}}}}}}]}}"),
        )
        .replace(
            "      - rateLimit: {limit: 2",
            "      - {use: renames}\n      - headers: {request: {add: {x-sub: \"{{ consumer.name }}\"}}}\n      - rateLimit: {limit: 2",
        );
    let shared = "policies: [{name: renames, policy: {headers: {request: {rename: {x-old: x-new}}}}}]\n";
    let gateway = Gateway::start(&format!("{shared}{text}"));
    let client = Client::begin(&gateway, GOLD);
    let listed = client.request("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().expect("tools");
    let list = tools.iter().find(|tool| tool["name"] == "pets_listPets").expect("it is there");
    let known = list["inputSchema"]["properties"].as_object().expect("properties");
    for name in names {
        assert!(!known.contains_key(name), "{name}: {list}");
        let refused = client.call("pets_listPets", json!({name: "admin"}));
        assert_eq!(refused["result"]["isError"], true, "{name}: {refused}");
    }
    assert!(pets.seen().is_empty(), "nothing of it reaches the API");
    assert!(client.call("pets_listPets", json!({"x-colour": "red"}))["result"]["isError"].is_null());
    assert_eq!(last(&pets).header("x-colour"), Some("red"));
}

#[test]
fn forms_with_files_are_bodies_of_several_parts() {
    let (pets, provider) = (pets(), smart());
    let upload = "
      requestBody:
        required: true
        content:
          multipart/form-data:
            schema: {$ref: \"#/components/schemas/Upload\"}
            encoding: {picture: {contentType: \"image/png, image/*\"}}
";
    let schema = "
    Upload:
      type: object
      required: [title, picture]
      properties:
        id: {type: integer, readOnly: true}
        title: {type: string}
        stars: {type: integer}
        about: {type: object, properties: {breed: {type: string}}}
        picture: {type: string, format: binary, description: How it looks.}
        notes: {type: array, items: {type: string, format: binary}}
";
    let text = DOCUMENT.replace("\n      requestBody: {required: true, content: {image/png: {}}}\n", upload);
    let folder = document(&format!("{text}{}", schema.trim_start_matches('\n')));
    let gateway = Gateway::start(&config(&pets, &provider, &folder, "", ""));
    let client = Client::begin(&gateway, GOLD);
    let listed = client.request("tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().expect("tools");
    let tool = tools.iter().find(|tool| tool["name"] == "pets_upload").expect("it is there");
    let body = &tool["inputSchema"]["properties"]["body"];
    assert_eq!(body["required"], json!(["title", "picture"]), "{tool}");
    assert!(body["properties"].get("id").is_none(), "what the API gives is not asked for: {tool}");
    assert!(body["properties"]["picture"]["properties"].get("base64").is_some(), "{tool}");
    let picture = json!({"base64": "iVBORwD/", "name": "a \"rex\"\r\nx: y.png"});
    let body = json!({"title": "R & x", "stars": 5, "about": {"breed": "pug"}, "picture": picture,
                      "notes": [{"text": "one"}, {"text": "two", "mediaType": "text/plain"}]});
    let answer = client.call("pets_upload", json!({"petId": "7", "body": body}));
    assert!(answer["result"]["isError"].is_null(), "{answer}");
    let seen = last(&pets);
    // Python's own reader of such bodies says what arrived.
    let kind = seen.header("content-type").expect("a media type").to_owned();
    let reader = "import email, email.policy, json, sys
kind, body = sys.argv[1], bytes.fromhex(sys.argv[2])
whole = email.message_from_bytes(b'content-type: ' + kind.encode() + b'\\r\\n\\r\\n' + body, policy=email.policy.HTTP)
print(json.dumps([[part.get_param('name', header='content-disposition'), part.get_filename(), part.get('content-type'),
                   part.get_payload(decode=True).hex()] for part in whole.iter_parts()]))";
    let hex: String = seen.body.iter().map(|byte| format!("{byte:02x}")).collect();
    let (is_well, out) = Peer::start(python(reader, &[&kind, &hex])).finish();
    assert!(is_well, "{out}");
    let mut parts: Vec<Value> =
        serde_json::from_str::<Value>(&out).expect("JSON").as_array().expect("parts").clone();
    parts.sort_by_key(|part| part[0].as_str().unwrap_or_default().to_owned());
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        Value::Array(parts),
        json!([
            ["about", null, "application/json", hex("{\"breed\":\"pug\"}")],
            ["notes", "notes", "application/octet-stream", hex("one")],
            ["notes", "notes", "text/plain", hex("two")],
            ["picture", "a %22rex%22%0D%0Ax: y.png", "image/png", "89504e4700ff"],
            ["stars", null, null, hex("5")],
            ["title", null, null, hex("R & x")],
        ])
    );
    let before = pets.seen().len();
    for (body, says) in [
        (json!({"title": "x"}), "picture"),
        (json!({"title": "x", "picture": {}}), "either `text` or `base64`"),
        (json!({"title": "x", "picture": {"base64": "?"}}), "no base64"),
        (json!({"title": "x", "picture": {"text": "x", "mediaType": "text/html"}}), "mediaType"),
        (json!({"title": "x", "picture": {"text": "x", "mediaType": "image/png\r\nx: y"}}), "mediaType"),
    ] {
        let refused = client.call("pets_upload", json!({"petId": "7", "body": body}));
        assert!(refused["result"]["isError"] == true && said(&refused).contains(says), "{says}: {refused}");
    }
    assert_eq!(pets.seen().len(), before, "nothing of it reaches the API");
}

#[test]
fn what_judges_whole_answers_on_a_prompts_route_judges_them_for_its_tool_too() {
    let (pets, provider, folder) = (pets(), smart(), document(DOCUMENT));
    let text = config(&pets, &provider, &folder, NO_FILES, "");
    let with = |policy: &str| {
        let text =
            text.replace("{limit: 2, window: 1h, key: consumer}", "{limit: 9, window: 1h, key: consumer}");
        text.replace("    prompt:\n", &format!("      - {policy}\n    prompt:\n"))
    };
    let ask = |gateway: &Gateway| Client::begin(gateway, GOLD).call("ai_summary", json!({"text": "a tale"}));
    let masked = Gateway::start(&with("mask: {fields: [short]}"));
    assert_eq!(ask(&masked)["result"]["structuredContent"], json!({"short": "[masked]"}));
    let made =
        Gateway::start(&with("transform: {answer: {body: [{jq: '{short: (.short | length | tostring)}'}]}}"));
    assert_eq!(ask(&made)["result"]["structuredContent"], json!({"short": "12"}));
    let schema = "{type: object, properties: {short: {type: string, maxLength: 3}}}";
    let judged = Gateway::start(&with(&format!(
        "validate: {{answers: enforce, schemas: {{answer: {{schema: {schema}}}}}}}"
    )));
    let told = ask(&judged);
    assert!(!told.to_string().contains("short a tale"), "{told}");
    // What only changes answers ran before, and does still.
    let set = Gateway::start(&with("headers: {response: {set: {x-a: b}}}"));
    assert_eq!(ask(&set)["result"]["structuredContent"], json!({"short": "short a tale"}));
}

#[test]
fn what_a_consumer_of_the_upstreams_own_has_masked_is_masked_for_tools() {
    let (pets, provider, folder) = (pets(), smart(), document(DOCUMENT));
    let text = config(&pets, &provider, &folder, NO_FILES, "")
        .replace("consumers:\n", "consumers:\n  - {name: tool, keys: [Bearer-of-the-pets-and-more], policies: [{mask: {fields: [name]}}]}\n")
        .replace("Bearer-of-the-pets}", "Bearer-of-the-pets-and-more}")
        .replace("    policies: [{keyAuth: {header: x-api-key}}]\n    mcp:", "    mcp:")
        .replace("}]}]\nroutes:", "}], policies: [{keyAuth: {header: authorization}}]}]\nroutes:");
    let gateway = Gateway::start(&text);
    let told = Client::begin(&gateway, GOLD).call("pets_getPet", json!({"petId": "7"}));
    assert_eq!(told["result"]["structuredContent"], json!({"id": 7, "name": "[masked]"}), "{told}");
}
