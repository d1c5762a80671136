//! Coding agents as their users have them, `claude -p` and `codex exec`, through the gateway to models of every vendor: they
//! are told to call their tools, run them here, and go on with what came of it. A model that is another vendor's answers
//! in its own dialect, with the tools that it was told.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use ai::{
    canon::{Answer, Choice, Finish, Part, Proof, ProofKind, Request, ToolKind, Usage, flat},
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{KEY, config, parrot, sdk::KINDS};
use crate::harness::{Gateway, Peer, Upstream, coding_agent};

/// What a model proves its thoughts with where its dialect has proofs.
pub(super) const PROOF: &str = "EqQBCkgIBhABGAIiQA==";

pub(super) fn call(id: &str, name: &str, arguments: String, custom: bool) -> Part {
    Part::ToolCall { id: id.into(), name: name.into(), arguments, custom, proof: None, cache: None }
}

pub(super) fn says(parts: Vec<Part>) -> Answer {
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let finish = Some(if calls { Finish::ToolCalls } else { Finish::Stop });
    let usage = Some(Usage { input: 90, output: 40, ..Usage::default() });
    Answer {
        id: "msg_1".into(),
        model: "m-1".into(),
        choices: vec![Choice { parts, finish, ..Choice::default() }],
        usage,
        ..Answer::default()
    }
}

pub(super) fn parts(request: &Request) -> impl Iterator<Item = &Part> {
    request.messages.iter().flat_map(|message| &message.parts)
}

/// What the calls of a conversation gave, in their order.
pub(super) fn results(request: &Request) -> Vec<String> {
    let text = |part: &Part| if let Part::Text { text, .. } = part { text.clone() } else { String::new() };
    parts(request)
        .filter_map(|part| match part {
            Part::ToolResult { content, .. } => Some(content.iter().map(text).collect()),
            _ => None,
        })
        .collect()
}

/// The name of a tool as the model was told it, and whether it takes a free text.
fn told(request: &Request, name: &str) -> Option<(String, bool)> {
    let tool = request.tools.iter().find(|tool| flat(&tool.name) == name)?;
    Some((tool.name.clone(), matches!(tool.kind, ToolKind::Custom { .. })))
}

/// A call of a tool that the agent has as one with a free text.
pub(super) fn free(request: &Request, id: &str, name: &str, text: &str) -> Option<Part> {
    let (name, is_free) = told(request, name)?;
    let arguments = if is_free { text.to_owned() } else { json!({"input": text}).to_string() };
    Some(call(id, &name, arguments, is_free))
}

/// A call of one of its functions.
pub(super) fn function(request: &Request, id: &str, name: &str, arguments: &Value) -> Option<Part> {
    let (name, _) = told(request, name)?;
    Some(call(id, &name, arguments.to_string(), false))
}

/// An empty folder for an agent.
pub(super) struct Desk(pub(super) PathBuf);

impl Desk {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-agent-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        for folder in ["home", "work", "codex"] {
            std::fs::create_dir_all(path.join(folder)).expect("a folder");
        }
        Self(path)
    }

    pub(super) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join("work").join(name)).unwrap_or_default()
    }

    /// An agent here, which is told nothing of whoever runs the test.
    pub(super) fn seat(&self, mut command: Command) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.0.join("home"))
            .current_dir(self.0.join("work"));
        command.stdin(std::process::Stdio::null());
        command
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway with one provider of a dialect behind all of these models.
pub(super) fn gateway(dialect: Dialect, upstream: &Upstream, models: &[&str], policies: &str) -> Gateway {
    let (_, kind, path, model) = *KINDS.iter().find(|(known, ..)| *known == dialect).expect("a kind");
    let base = format!("http://{}{path}", upstream.address);
    let target = [("p", model, 1)];
    let models: Vec<super::Named<'_>> = models.iter().map(|name| (*name, &target[..])).collect();
    let text = config(&[("p", kind, base)], &models, "")
        .replace("\n      targets:", "\n      checkCapabilities: false\n      targets:")
        .replace("]}}]\n    ai:", &format!("]}}}}{policies}]\n    ai:"));
    Gateway::start(&text)
}

/// What a model of Claude Code's does: it thinks and calls two tools at once, then a third, then it is done.
pub(super) fn reply_to_claude(request: &Request, folder: &Path, dialect: Dialect) -> Answer {
    let results = results(request);
    // Claude signs what it thinks; others prove their thoughts in other ways, or not at all.
    let is_signed = matches!(dialect, Dialect::Anthropic | Dialect::Bedrock);
    let proof =
        Proof { issuer: "anthropic".into(), kind: ProofKind::Signature, value: PROOF.into(), id: None };
    let shell = |id: &str, line: &str| {
        function(request, id, "Bash", &json!({"command": line, "description": "says it"})).expect("a shell")
    };
    match results.len() {
        0 => says(vec![
            Part::Thinking { text: "A note is wanted.".into(), proof: is_signed.then_some(proof) },
            Part::text("I shall look."),
            shell("call_1", "printf ahoy > NOTE.txt; cat NOTE.txt"),
            shell("call_2", "printf 'two words'"),
        ]),
        2 => {
            let note = json!({"file_path": folder.join("OTHER.txt"), "content": "from the \"model\"\n"});
            says(vec![function(request, "call_3", "Write", &note).expect("a pen")])
        }
        _ => says(vec![Part::text(format!("done: {}", results[..2].join(", ")))]),
    }
}

/// What Claude Code says in the end, and all that it prints.
pub(super) fn claude(desk: &Desk, gateway: &Gateway, prompt: &str) -> (String, String) {
    let mut command = desk.seat(coding_agent("claude"));
    command
        .args(["-p", prompt, "--model", "claude-sonnet-4-5", "--output-format", "json"])
        .args(["--permission-mode", "acceptEdits", "--allowedTools", "Bash Write"])
        .env("ANTHROPIC_BASE_URL", format!("http://{}/ai", gateway.address))
        .env("ANTHROPIC_API_KEY", KEY)
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("DISABLE_AUTOUPDATER", "1");
    let (_, output) = Peer::start(command).finish();
    let said: Value = serde_json::from_str(&output).unwrap_or_default();
    (said["result"].as_str().unwrap_or_default().to_owned(), output)
}

/// What is wrong with what came of it.
fn claude_at(dialect: Dialect) -> Vec<String> {
    let desk = Desk::new(&format!("claude-{}", dialect.name()));
    let folder = desk.0.join("work");
    let upstream = parrot::provider(dialect, move |request| reply_to_claude(request, &folder, dialect));
    let gateway = gateway(dialect, &upstream, &["claude-sonnet-4-5"], "");
    let (said, output) = claude(&desk, &gateway, "Leave a note.");
    let mut wrong = Vec::new();
    let mut want = |is_so: bool, what: String| {
        if !is_so {
            wrong.push(format!("{}: {what}", dialect.name()));
        }
    };
    // It adds reminders of its own to what tools gave.
    let is_done = said.starts_with("done: ahoy, two words");
    want(is_done, format!("it says {output}"));
    want(desk.file("NOTE.txt") == "ahoy", "the shell was not run".into());
    want(desk.file("OTHER.txt") == "from the \"model\"\n", "the file was not written".into());
    let asked: Vec<Request> = upstream.seen().iter().map(|seen| parrot::asked(dialect, seen).0).collect();
    want(asked.len() == 3, format!("{} requests", asked.len()));
    let Some(last) = asked.last() else { return wrong };
    let calls: Vec<&str> = parts(last)
        .filter_map(|part| if let Part::ToolCall { id, .. } = part { Some(&**id) } else { None })
        .collect();
    want(calls == ["call_1", "call_2", "call_3"], format!("calls {calls:?}"));
    // Thoughts come back to whoever signs them, and marks for the cache to whoever takes them.
    if matches!(dialect, Dialect::Anthropic | Dialect::Bedrock) {
        let is_proof =
            |part: &Part| matches!(part, Part::Thinking { proof: Some(proof), .. } if proof.value == PROOF);
        want(parts(last).any(is_proof), "the thoughts did not come back".into());
        want(parts(last).any(|part| part.cache().is_some()), "no mark for the cache".into());
    }
    want(
        last.tools.iter().all(|tool| tool.name != "DeferredToolPlaceholder") || dialect == Dialect::Anthropic,
        "a tool to be loaded later is there".into(),
    );
    let record = gateway
        .record("a call of it", |record| record["ai"]["dropped"].is_array() || dialect == Dialect::Anthropic);
    let dropped: Vec<&str> =
        record["ai"]["dropped"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let unknown: Vec<&&str> = dropped.iter().filter(|word| !is_of_claude_code(word)).collect();
    want(unknown.is_empty(), format!("dropped {dropped:?}"));
    want(dialect != Dialect::Anthropic || dropped.is_empty(), format!("dropped {dropped:?}"));
    wrong
}

/// What Claude Code asks of Claude alone.
fn is_of_claude_code(word: &str) -> bool {
    let exact = [
        "?beta",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "context_management",
        "metadata.user_id",
    ];
    exact.contains(&word)
        || word.starts_with("anthropic-beta: ")
        || word.ends_with("cache_control")
        || word.ends_with("defer_loading")
        || word.ends_with("thinking.display")
        || word == "thinking"
        || word.ends_with(".thinking")
}

#[test]
fn claude_code_works_with_models_of_every_vendor() {
    let wrong = everywhere(claude_at);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong at any target; two are tried at a time.
fn everywhere(at: fn(Dialect) -> Vec<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for pair in Dialect::ALL.chunks(2) {
        wrong.extend(std::thread::scope(|scope| {
            let running: Vec<_> = pair.iter().map(|dialect| scope.spawn(move || at(*dialect))).collect();
            running.into_iter().flat_map(|one| one.join().expect("it ran")).collect::<Vec<String>>()
        }));
    }
    wrong
}

/// The models that Codex knows by name get tools of other kinds than one that it does not know: one script that calls the
/// others (in a namespace, named in the input), a patch as a free text and a search that the agent answers, or functions.
pub(super) const CODEX: [&str; 3] = ["gpt-5.6-sol", "gpt-5.5", "house-model"];

const SCRIPT: &str = r#"const r = await tools.exec_command({cmd: "printf ahoy > NOTE.txt; cat NOTE.txt"});
text(r.output ?? r);"#;
const PATCH: &str = "*** Begin Patch\n*** Add File: OTHER.txt\n+from the \"model\" \\o/\n*** End Patch\n";

/// What a model of Codex's does.
pub(super) fn reply_to_codex(request: &Request) -> Answer {
    let results = results(request);
    if results.len() >= 2 {
        return says(vec![Part::text(format!("done: {}", results.join(", ")))]);
    }
    let shell = json!({"cmd": "printf ahoy > NOTE.txt; cat NOTE.txt"});
    let calls = [
        free(request, "call_1", "exec", SCRIPT).or(function(request, "call_1", "exec_command", &shell)),
        free(request, "call_2", "apply_patch", PATCH)
            .or(function(request, "call_2", "collaboration__list_agents", &json!({})))
            .or(function(request, "call_2", "multi_agent_v1__close_agent", &json!({"target": "nobody"}))),
    ];
    says([Part::text("I shall look.")].into_iter().chain(calls.into_iter().flatten()).collect())
}

/// What Codex says in the end, and all that it prints; with further settings of it.
pub(super) fn codex(desk: &Desk, gateway: &Gateway, model: &str, more: &str) -> (String, String) {
    let settings = format!(
        "model_provider = \"gateway\"\n[model_providers.gateway]\nname = \"gateway\"\nbase_url = \"http://{}/ai/v1\"\nenv_key = \"GATEWAY_KEY\"\nwire_api = \"responses\"\n{more}",
        gateway.address
    );
    std::fs::write(desk.0.join("codex/config.toml"), settings).expect("written");
    let mut command = desk.seat(coding_agent("codex"));
    command
        .args(["exec", "-m", model, "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"])
        .arg("--output-last-message")
        .arg(desk.0.join("work/SAID"))
        .arg("Leave a note.")
        .env("CODEX_HOME", desk.0.join("codex"))
        .env("GATEWAY_KEY", KEY)
        .stderr(std::fs::File::create(desk.0.join("codex/stderr")).expect("a file"));
    let (_, output) = Peer::start(command).finish();
    let trouble = std::fs::read_to_string(desk.0.join("codex/stderr")).unwrap_or_default();
    (desk.file("SAID"), format!("{output}\n{trouble}"))
}

fn codex_at(dialect: Dialect, model: &str, policies: &str) -> Vec<String> {
    let desk = Desk::new(&format!("codex-{}-{model}-{}", dialect.name(), policies.len()));
    let upstream = parrot::provider(dialect, reply_to_codex);
    let gateway = gateway(dialect, &upstream, &CODEX, policies);
    let (said, output) = codex(&desk, &gateway, model, "");
    let mut wrong = Vec::new();
    let mut want = |is_so: bool, what: String| {
        if !is_so {
            wrong.push(format!("{} as {model} {policies}: {what}", dialect.name()));
        }
    };
    let asked: Vec<Request> = upstream.seen().iter().map(|seen| parrot::asked(dialect, seen).0).collect();
    let names =
        |request: &Request| -> Vec<String> { request.tools.iter().map(|tool| tool.name.clone()).collect() };
    let tools = asked.first().map(names).unwrap_or_default();
    want(
        said.starts_with("done: ") && said.contains("ahoy"),
        format!("it says {said}; {output}; tools {tools:?}"),
    );
    want(!said.contains("unsupported call"), format!("a tool was not found: {said}"));
    want(desk.file("NOTE.txt") == "ahoy", "the shell was not run".into());
    let is_patched = desk.file("OTHER.txt") == "from the \"model\" \\o/\n";
    want(model != "gpt-5.5" || is_patched, format!("the patch was not applied: {said}"));
    want(asked.len() == 2, format!("{} requests", asked.len()));
    let free = tools.iter().filter(|name| ["exec", "apply_patch"].contains(&&*flat(name))).count();
    want(free == usize::from(model != "house-model"), format!("tools {tools:?}"));
    want(model != "gpt-5.5" || tools.iter().any(|name| name == "tool_search"), format!("tools {tools:?}"));
    wrong
}

#[test]
fn codex_works_with_models_of_every_vendor() {
    let wrong = everywhere(|dialect| {
        let models = match dialect {
            Dialect::OpenAiChat => &CODEX[..],
            Dialect::OpenAiResponses | Dialect::Gemini => &CODEX[..1],
            Dialect::Anthropic | Dialect::Bedrock => &CODEX[..2],
            Dialect::Cohere => &CODEX[1..2],
        };
        models.iter().flat_map(|model| codex_at(dialect, model, "")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where an answer of OpenAI's is told anew, the namespaces of its calls stay: it refuses the next turn without them.
#[test]
fn rules_over_answers_leave_codex_its_namespaces() {
    let policies = ", {guardrails: {rules: [{name: pii, mode: mask, personalData: [email]}]}}";
    let wrong = codex_at(Dialect::OpenAiResponses, CODEX[0], policies);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
