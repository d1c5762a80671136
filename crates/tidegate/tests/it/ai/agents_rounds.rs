//! Codex over several rounds, with tools of an MCP server that stands behind the same gateway: what the model thought in
//! each round comes back to it as it wants it, encrypted, signed or marked, whichever vendor's it is.

use ai::{
    canon::{Answer, Part, Proof, ProofKind, Request, flat},
    dialect::Dialect,
};
use serde_json::json;

use super::{
    KEY,
    agents::{Desk, call, codex, free, function, parts, results, says},
    parrot,
    sdk::KINDS,
};
use crate::{harness::Gateway, mcp::server::Server};

/// Rounds in which a tool is called.
const ROUNDS: usize = 4;

/// What a model proves the thoughts of a round with, in base64.
fn mark(round: usize) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(format!("the proof of round {round}"))
}

fn proof(dialect: Dialect, round: usize) -> Option<Proof> {
    let (issuer, kind, id) = match dialect {
        Dialect::OpenAiResponses => ("openai", ProofKind::Encrypted, Some(format!("rs_{round}"))),
        Dialect::Anthropic | Dialect::Bedrock => ("anthropic", ProofKind::Signature, None),
        Dialect::Gemini => ("gemini", ProofKind::Mark, None),
        Dialect::OpenAiChat | Dialect::Cohere => return None,
    };
    Some(Proof { issuer: issuer.into(), kind, value: mark(round), id })
}

/// The name of the MCP server's tool as the model was told it.
fn tool(request: &Request) -> Option<String> {
    let named = request.tools.iter().find(|tool| flat(&tool.name) == "mcp__tides__high_water")?;
    Some(named.name.clone())
}

/// What the model does: it thinks before each call, of the server's tool where it is told of it, else of a script that calls
/// it; and of the shell.
fn reply(request: &Request, dialect: Dialect) -> Answer {
    let results = results(request);
    let round = results.len();
    if round >= ROUNDS {
        return says(vec![Part::text(format!("done: {}", results.join(", ")))]);
    }
    let id = format!("call_{round}");
    let line = "printf ahoy > NOTE.txt; cat NOTE.txt";
    let script = format!(
        "const r = await tools.{};\ntext(JSON.stringify(r));",
        match round % 2 {
            0 => "mcp__tides__high_water({port: \"Brest\"})".to_owned(),
            _ => format!("exec_command({})", json!({"cmd": line})),
        }
    );
    let shell = function(request, &id, "exec_command", &json!({"cmd": line}));
    let called = match tool(request) {
        Some(name) if round.is_multiple_of(2) => {
            Some(call(&id, &name, json!({"port": "Brest"}).to_string(), false))
        }
        None if round.is_multiple_of(2) => free(request, &id, "exec", &script),
        _ => shell.or_else(|| free(request, &id, "exec", &script)),
    };
    let mut called = called.unwrap_or_else(|| panic!("nothing to call among {:?}", request.tools));
    let proof = proof(dialect, round);
    let mut parts = Vec::new();
    if dialect == Dialect::Gemini {
        if let Part::ToolCall { proof: place, .. } = &mut called {
            *place = proof;
        }
        parts.push(Part::Thinking { text: format!("Round {round}."), proof: None });
    } else {
        parts.push(Part::Thinking { text: format!("Round {round}."), proof });
    }
    parts.push(called);
    says(parts)
}

/// The proofs of a conversation, in their order.
fn proofs(request: &Request) -> Vec<String> {
    let proof = |part: &Part| match part {
        Part::Thinking { proof, .. } | Part::ToolCall { proof, .. } | Part::Text { proof, .. } => {
            proof.as_ref().map(|proof| proof.value.clone())
        }
        _ => None,
    };
    parts(request).filter_map(proof).collect()
}

/// What is wrong with what came of it.
fn at(dialect: Dialect, model: &str) -> Vec<String> {
    let desk = Desk::new(&format!("rounds-{}-{model}", dialect.name()));
    let tides = Server::with(&["high_water"]);
    let upstream = parrot::provider(dialect, move |request| reply(request, dialect));
    let (_, kind, path, target) = *KINDS.iter().find(|(known, ..)| *known == dialect).expect("a kind");
    let base = format!("http://{}{path}", upstream.address);
    let text = super::config(&[("p", kind, base)], &[(model, &[("p", target, 1)])], "")
        .replace("\n      targets:", "\n      checkCapabilities: false\n      targets:");
    let route = format!(
        "routes:\n  - name: tools\n    match: [{{path: {{prefix: /mcp}}}}]\n    policies: [{{keyAuth: {{header: x-api-key}}}}]\n    mcp: {{servers: [{{name: tides, prefix: \"\", url: \"{}\"}}]}}\n",
        tides.url()
    );
    let gateway = Gateway::start(&text.replacen("routes:\n", &route, 1));
    let settings = format!(
        "[mcp_servers.tides]\nurl = \"http://{}/mcp\"\nhttp_headers = {{ \"x-api-key\" = \"{KEY}\" }}\n",
        gateway.address
    );
    let (said, output) = codex(&desk, &gateway, model, &settings);
    let mut wrong = Vec::new();
    let mut want = |is_so: bool, what: String| {
        if !is_so {
            wrong.push(format!("{} as {model}: {what}", dialect.name()));
        }
    };
    let asked: Vec<Request> = upstream.seen().iter().map(|seen| parrot::asked(dialect, seen).0).collect();
    let names: Vec<Vec<&str>> =
        asked.iter().map(|one| one.tools.iter().map(|tool| tool.name.as_str()).collect()).collect();
    want(said.starts_with("done: ") && said.contains("ahoy"), format!("it says {said}; {output}; {names:?}"));
    want(said.contains("high_water"), format!("the server's tool was not called: {said}; {names:?}"));
    want(desk.file("NOTE.txt") == "ahoy", "the shell was not run".into());
    want(asked.len() == ROUNDS + 1, format!("{} requests", asked.len()));
    want(!tides.saw("tools/call").is_empty(), "nobody called the server".into());
    let Some(last) = asked.last() else { return wrong };
    let proven: Vec<String> = (0..ROUNDS).filter(|_| proof(dialect, 0).is_some()).map(mark).collect();
    want(proofs(last) == proven, format!("proofs {:?}", proofs(last)));
    wrong
}

#[test]
fn codex_calls_tools_of_a_server_over_several_rounds_and_its_thoughts_come_back() {
    const ALL: [(Dialect, &str); 5] = [
        (Dialect::OpenAiResponses, "gpt-5.6-sol"),
        (Dialect::Anthropic, "gpt-5.6-sol"),
        (Dialect::Bedrock, "gpt-5.6-sol"),
        (Dialect::Gemini, "gpt-5.6-sol"),
        // A model that it does not know is told of the tool itself.
        (Dialect::OpenAiChat, "house-model"),
    ];
    let mut wrong = Vec::new();
    for pair in ALL.chunks(2) {
        wrong.extend(std::thread::scope(|scope| {
            let running: Vec<_> =
                pair.iter().map(|(dialect, model)| scope.spawn(move || at(*dialect, model))).collect();
            running.into_iter().flat_map(|one| one.join().expect("it ran")).collect::<Vec<String>>()
        }));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
