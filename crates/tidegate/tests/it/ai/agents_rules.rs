//! Coding agents where their answers are told anew: masked and unmasked, given again by the cache, gone on with by another
//! model when a stream breaks off.

use std::io::Write;

use ai::{
    canon::{Answer, Delta, Event, Opening, Part, Request},
    dialect::{Dialect, Telling},
};
use serde_json::{Value, json};

use super::{
    agents::{
        self, CODEX, Desk, claude, codex, function, parts, reply_to_claude, reply_to_codex, results, says,
    },
    config, parrot, post,
    sdk::KINDS,
};
use crate::harness::{Answer as Answered, Gateway, Upstream, read_request};

/// What masks addresses.
const MASKS: &str = ", {guardrails: {rules: [{name: pii, mode: mask, personalData: [email]}]}}";
const ANN: &str = "ann@example.org";

/// Whom the user names, as the model is told it.
fn addressee(request: &Request) -> Option<String> {
    let named = parts(request).find_map(|part| match part {
        Part::Text { text, .. } => text.split_once("Leave a note to ").map(|(_, rest)| rest.to_owned()),
        _ => None,
    });
    named.and_then(|rest| rest.split_once('>').map(|(mask, _)| format!("{mask}>")))
}

/// What a model does that is told of nobody's address: it writes to whom it was told of, and reads it back.
fn reply_to_masked(request: &Request) -> Answer {
    let results = results(request);
    let mask = addressee(request).unwrap_or_default();
    if results.len() >= 2 {
        return says(vec![Part::text(format!("done: {}", results.join(", ")))]);
    }
    let shell = |id: &str, line: &str| {
        function(request, id, "Bash", &json!({"command": line, "description": "says it"})).expect("a shell")
    };
    says(vec![
        Part::text(format!("I shall write to {mask}.")),
        shell("call_1", &format!("printf 'to {mask}' > NOTE.txt; cat NOTE.txt")),
        // An address that the model alone tells is masked for good.
        shell("call_2", "printf 'bob@example.org'"),
    ])
}

#[test]
fn claude_code_works_where_addresses_are_masked() {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let at = |dialect: Dialect| {
            let desk = Desk::new(&format!("masked-{}", dialect.name()));
            let upstream = parrot::provider(dialect, reply_to_masked);
            let gateway = agents::gateway(dialect, &upstream, &["claude-sonnet-4-5"], MASKS);
            let (said, output) = claude(&desk, &gateway, &format!("Leave a note to {ANN}."));
            let mut wrong = Vec::new();
            let mut want = |is_so: bool, what: String| {
                if !is_so {
                    wrong.push(format!("{}: {what}", dialect.name()));
                }
            };
            let seen = upstream.seen();
            want(said.starts_with(&format!("done: to {ANN}, <EMAIL>")), format!("it says {output}"));
            want(
                desk.file("NOTE.txt") == format!("to {ANN}"),
                format!("the note is {:?}", desk.file("NOTE.txt")),
            );
            want(seen.len() == 2, format!("{} requests", seen.len()));
            for seen in &seen {
                let text = String::from_utf8_lossy(&seen.body).into_owned();
                for address in [ANN, "bob@example.org"] {
                    want(!text.contains(address), format!("{address} went out: {text}"));
                }
                want(text.contains("<EMAIL_1>"), format!("no mask: {text}"));
            }
            wrong
        };
        let running: Vec<_> =
            [Dialect::Anthropic, Dialect::OpenAiChat].map(|dialect| scope.spawn(move || at(dialect))).into();
        running.into_iter().flat_map(|one| one.join().expect("it ran")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Answers that are given again, whoever asks with tools and however hot.
const CACHES: &str = ", {aiCache: {tools: true, anyTemperature: true}}";

/// The texts and calls of what a provider was asked last.
fn last(dialect: Dialect, upstream: &Upstream) -> Vec<String> {
    let seen = upstream.seen().pop().expect("a request");
    parts(&parrot::asked(dialect, &seen).0).map(|part| format!("{part:?}")).collect()
}

/// A conversation of an agent's has so many bytes at least: what it says of itself and its tools.
const BODY_BYTES_MIN: usize = 4000;

/// What the agent asked first, once more: it must be in the cache.
fn asked_again(gateway: &Gateway, upstream: &Upstream, path: &str, model: &str) -> Answered {
    let seen = upstream.seen();
    let first = seen.iter().find(|seen| seen.body.len() > BODY_BYTES_MIN).expect("a conversation");
    let mut body: Value = serde_json::from_slice(&first.body).expect("JSON");
    body["model"] = model.into();
    let version = if path.contains("messages") { "\nanthropic-version: 2023-06-01" } else { "" };
    let answer = post(gateway, path, version, &body.to_string());
    assert_eq!((answer.status, answer.header("x-tidegate-cache")), (200, Some("hit")), "{}", answer.text());
    assert_eq!(upstream.seen().len(), seen.len(), "nobody was asked");
    answer
}

#[test]
fn agents_work_past_a_cache() {
    // Namespaces of Codex's tools are in what the cache keeps, and so are Claude's signed thoughts.
    let dialect = Dialect::OpenAiResponses;
    let upstream = parrot::provider(dialect, reply_to_codex);
    let gateway = agents::gateway(dialect, &upstream, &CODEX, CACHES);
    for round in 0..2 {
        let desk = Desk::new("cached-codex");
        let (said, output) = codex(&desk, &gateway, CODEX[0], "");
        assert!(said.starts_with("done: ") && said.contains("ahoy"), "{round}: {said}; {output}");
        assert!(!said.contains("unsupported call"), "{round}: {said}");
        assert_eq!(desk.file("NOTE.txt"), "ahoy", "{round}");
    }
    // Its requests name the session and the turn, so that another's are never the same: they pass the cache all the same.
    let told = |word: &str| gateway.stdout().matches(&format!("\"cache\":\"{word}\"")).count();
    assert_eq!(told("hit") + told("miss"), 4, "{}", gateway.stdout());
    // The very request of an agent's is known when it comes again, and its calls come under the agent's names.
    let answer = asked_again(&gateway, &upstream, "/ai/v1/responses", CODEX[0]);
    assert!(answer.text().contains("response.completed"), "{}", answer.text());

    let dialect = Dialect::Anthropic;
    let folder = Desk::new("cached-claude");
    let work = folder.0.join("work");
    let upstream = parrot::provider(dialect, move |request| reply_to_claude(request, &work, dialect));
    let gateway = agents::gateway(dialect, &upstream, &["claude-sonnet-4-5"], CACHES);
    for round in 0..2 {
        let desk = Desk::new("cached-claude");
        let (said, output) = claude(&desk, &gateway, "Leave a note.");
        assert!(said.starts_with("done: ahoy, two words"), "{round}: {output}");
        assert_eq!(
            (desk.file("NOTE.txt").as_str(), desk.file("OTHER.txt").as_str()),
            ("ahoy", "from the \"model\"\n")
        );
    }
    let told = |word: &str| gateway.stdout().matches(&format!("\"cache\":\"{word}\"")).count();
    assert!(told("hit") + told("miss") >= 6, "{}", gateway.stdout());
    let answer = asked_again(&gateway, &upstream, "/ai/v1/messages?beta=true", "claude-sonnet-4-5");
    assert!(answer.text().contains("message_stop"), "{}", answer.text());
    assert!(last(dialect, &upstream).iter().any(|part| part.contains(agents::PROOF)));
}

/// A provider that begins to say something and breaks off.
fn breaking(dialect: Dialect) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        if let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let telling = Telling { model: "m-1".into(), id: "a1".into(), ..Telling::default() };
            let (mut writer, mut body) = (dialect.stream_writer(telling), Vec::new());
            for event in [
                Event::Start { id: "a1".into(), model: "m-1".into(), created: None },
                Event::Open { choice: 0, part: 0, opening: Opening::Text },
                Event::Delta { choice: 0, part: 0, delta: Delta::Text("First, ".into()) },
            ] {
                writer.write(event, &mut body);
            }
            let kind = dialect.caller_framing(Some("alt=sse")).media_type();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
            let size = format!("{:x}\r\n", body.len());
            let out = [head.as_bytes(), size.as_bytes(), &body, b"\r\n"].concat();
            // The connection ends with this.
            let _ = reader.get_mut().write_all(&out);
        }
    })
}

/// A gateway whose models begin at one provider and go on at another of the same dialect, or of a second.
fn going_on(first: (Dialect, &Upstream), second: (Dialect, &Upstream), models: &[&str]) -> Gateway {
    let of = |(dialect, upstream): (Dialect, &Upstream)| {
        let (_, kind, path, model) = *KINDS.iter().find(|(known, ..)| *known == dialect).expect("a kind");
        (kind, format!("http://{}{path}", upstream.address), model)
    };
    let ((kind, base, model), (other, its_base, its_model)) = (of(first), of(second));
    let targets = [("first", model, 1), ("second", its_model, 0)];
    let models: Vec<super::Named<'_>> = models.iter().map(|name| (*name, &targets[..])).collect();
    let providers = [("first", kind, base), ("second", other, its_base)];
    let text = config(&providers, &models, "continueStreams: true")
        .replace("\n      targets:", "\n      checkCapabilities: false\n      targets:");
    Gateway::start(&text)
}

#[test]
fn agents_work_with_streams_that_go_on_elsewhere() {
    let codex_at = |second: Dialect, model: &str| {
        let (first, other) = (breaking(Dialect::OpenAiResponses), parrot::provider(second, reply_to_codex));
        let gateway = going_on((Dialect::OpenAiResponses, &first), (second, &other), &CODEX);
        let desk = Desk::new(&format!("goes-on-codex-{}-{model}", second.name()));
        let (said, output) = codex(&desk, &gateway, model, "");
        assert!(
            said.contains("done: ") && said.contains("ahoy"),
            "{model}: {said}; {output}; {}",
            gateway.stdout()
        );
        assert!(!said.contains("unsupported call"), "{model}: {said}");
        assert_eq!(desk.file("NOTE.txt"), "ahoy", "{model}");
        assert!(gateway.stdout().contains("\"continued\""), "{}", gateway.stdout());
        assert_eq!((first.seen().len(), other.seen().len()), (2, 2), "{model}");
    };
    let claude_at = |second: Dialect| {
        let desk = Desk::new(&format!("goes-on-claude-{}", second.name()));
        let work = desk.0.join("work");
        let first = breaking(Dialect::Anthropic);
        let other = parrot::provider(second, move |request| reply_to_claude(request, &work, second));
        let gateway = going_on((Dialect::Anthropic, &first), (second, &other), &["claude-sonnet-4-5"]);
        let (said, output) = claude(&desk, &gateway, "Leave a note.");
        assert!(said.contains("done: ahoy, two words"), "{output}; {}", gateway.stdout());
        assert_eq!(
            (desk.file("NOTE.txt").as_str(), desk.file("OTHER.txt").as_str()),
            ("ahoy", "from the \"model\"\n")
        );
        assert!(gateway.stdout().contains("\"continued\""), "{}", gateway.stdout());
    };
    std::thread::scope(|scope| {
        let codex = scope.spawn(|| {
            // Elsewhere its tools would have other names, for which nobody goes on.
            codex_at(Dialect::OpenAiResponses, CODEX[0]);
            codex_at(Dialect::OpenAiResponses, CODEX[1]);
        });
        let claude = scope.spawn(|| {
            claude_at(Dialect::Anthropic);
            claude_at(Dialect::OpenAiChat);
        });
        codex.join().expect("Codex works");
        claude.join().expect("Claude Code works");
    });
}
