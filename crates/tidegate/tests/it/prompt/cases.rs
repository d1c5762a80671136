//! `prompt test`: cases pass and fail by what the answer is, by what a judge says, and over several calls.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use ai::canon::Request;
use serde_json::{Value, json};

use super::{
    KEY, configuration,
    model::{self, last, turns},
};
use crate::harness::{Gateway, Upstream, run_with};

const PROMPT: &str = r#"{model: smart, default: "1", input: {type: object, required: [text], properties: {text: {type: string}}},
      versions: {"1": {messages: [{role: user, content: "say: {{ text }}"}]}, "2": {messages: [{role: user, content: "shout: {{ text }}"}]}}}"#;

/// A model that greets, and judges whether an answer is a greeting.
fn model() -> Upstream {
    let calls = AtomicUsize::new(0);
    model::text(move |request: &Request| {
        let said = last(request);
        if turns(request)[0].1.starts_with("You judge") {
            let question: Value = serde_json::from_str(&said).expect("the question");
            let pass = question["answer"].as_str().is_some_and(|answer| answer.contains("Moin"));
            return json!({"reason": format!("`{}` is what it says", question["answer"]), "pass": pass})
                .to_string();
        }
        match said.split_once(": ") {
            Some(("say", "now and then")) => {
                ["yes", "no"][calls.fetch_add(1, Ordering::Relaxed) % 2].to_owned()
            }
            Some(("say", text)) => format!("Moin, {text}"),
            Some((_, text)) => text.to_uppercase(),
            None => "?".to_owned(),
        }
    })
}

fn gateway(model: &Upstream) -> Gateway {
    let base = format!("http://{}/v1", model.address);
    let text = configuration(PROMPT, &[("one", "openai-compatible", base, "m")]);
    let ai = "routes:\n  - {name: models, match: [{path: {prefix: /ai}}], policies: [{keyAuth: {}}], ai: {stripPrefix: /ai}}\n";
    Gateway::start(&text.replace("routes:\n", ai))
}

/// Runs cases against a gateway.
fn tested(gateway: &Gateway, cases: &str, arguments: &[&str]) -> (i32, String, String) {
    let url = format!("http://{}", gateway.address);
    run_cases(cases, &[&["--url", &url][..], arguments].concat())
}

fn run_cases(cases: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cases.yaml");
    fs::write(&path, cases).expect("a file");
    let path = path.display().to_string();
    let mut all = vec!["prompt", "test", &path];
    all.extend(arguments);
    run_with(&all, &[("TIDEGATE_TEST_PROMPT_KEY", KEY)])
}

const HEAD: &str = "url: /v1/summary\nkey: {env: TIDEGATE_TEST_PROMPT_KEY}\njudge: {model: smart}\ncases:\n";

#[test]
fn cases_that_hold_end_with_0_and_a_table() {
    let model = model();
    let gateway = gateway(&model);
    let cases = format!(
        "{HEAD}  - {{name: greets, input: {{text: you}}, repeat: 3, expect: {{contains: Moin, notContains: [Hello], equals: 'Moin, you', matches: '^Moin, \\w+$', maxLatency: 30s}}}}
  - {{name: a shape, input: {{text: you}}, expect: {{schema: {{type: object, required: [text]}}, judge: {{criterion: is a greeting}}}}}}
  - {{name: shouts, input: {{text: you}}, version: '2', expect: {{at: /text, equals: YOU}}}}
  - {{name: refuses nonsense, input: {{txt: you}}, expect: {{status: 400, contains: /text}}}}
  - {{name: half of the time, input: {{text: now and then}}, repeat: 4, atLeast: 2, expect: {{contains: 'yes'}}}}
"
    );
    let (code, out, problems) = tested(&gateway, &cases, &[]);
    assert_eq!((code, problems.as_str()), (0, ""), "{out}");
    assert!(out.contains("ok    greets") && out.contains("3/3") && out.contains("2/4"), "{out}");
    assert!(out.ends_with("5 passed, 0 failed\n"), "{out}");
    let judged =
        model.seen().iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains("You judge")).count();
    assert_eq!(judged, 1);
}

#[test]
fn each_case_that_fails_is_named_with_what_was_not_so_and_the_command_ends_with_1() {
    let model = model();
    let gateway = gateway(&model);
    let cases = format!(
        "{HEAD}  - {{name: holds, input: {{text: you}}}}
  - {{name: one, input: {{text: you}}, expect: {{contains: Hello}}}}
  - {{name: two, input: {{text: 'a <b> & c'}}, expect: {{notContains: '<b>'}}}}
  - {{name: three, input: {{text: you}}, expect: {{schema: {{properties: {{text: {{maxLength: 2}}}}}}}}}}
  - {{name: four, input: {{}}, expect: {{contains: x}}}}
  - {{name: five, input: {{text: you}}, version: '2', expect: {{judge: {{criterion: is a greeting}}}}}}
  - {{name: six, input: {{text: now and then}}, repeat: 4, expect: {{contains: 'yes'}}}}
  - {{name: seven, input: {{text: you}}, expect: {{maxLatency: 1us}}}}
"
    )
    .replace("1us", "1ms");
    let (code, out, _) = tested(&gateway, &cases, &["--format", "json"]);
    assert_eq!(code, 1, "{out}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(told["passed"], false);
    let fault =
        |index: usize| told["cases"][index]["calls"][0]["faults"][0].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (&told["cases"][0]["passed"], &told["cases"][0]["calls"][0]["version"]),
        (&json!(true), &json!("1"))
    );
    for (index, says) in [
        (1, "contains: `Hello` is not in Moin, you"),
        (2, "notContains: `<b>` is in"),
        (3, "schema: `/text`"),
        (4, "status: expected 200, got 400"),
        (5, "judge: is a greeting: `\"YOU\"` is what it says"),
    ] {
        assert!(fault(index).contains(says), "{index}: {}", fault(index));
        assert_eq!(told["cases"][index]["passed"], false, "{index}");
    }
    assert_eq!(told["cases"][6]["passed"], false, "two of four are not four");
    let (code, xml, _) = tested(&gateway, &cases, &["--format", "junit", "--only", "two"]);
    assert_eq!(code, 1);
    assert!(xml.contains("tests=\"1\" failures=\"1\""), "{xml}");
    assert!(xml.contains("&lt;b&gt;` is in Moin, a &lt;b&gt; &amp; c</failure>"), "{xml}");
    let (code, table, _) = tested(&gateway, &cases, &["--only", "one"]);
    assert_eq!(code, 1);
    assert!(table.contains("FAIL  one") && table.contains("`Hello` is not in"), "{table}");
    let (code, _, _) = tested(&gateway, &cases, &["--only", "holds"]);
    assert_eq!(code, 0);
}

#[test]
fn the_version_of_the_command_line_is_the_one_that_is_tested() {
    let model = model();
    let gateway = gateway(&model);
    let cases = format!("{HEAD}  - {{name: shouts, input: {{text: you}}, expect: {{equals: YOU}}}}\n");
    assert_eq!(tested(&gateway, &cases, &[]).0, 1);
    assert_eq!(tested(&gateway, &cases, &["--version", "2"]).0, 0);
}

#[test]
fn whoever_judges_is_at_the_prompts_own_gateway_or_at_an_address_of_its_own() {
    let (models, judges) = (model(), model());
    let [prompts, other] = [&models, &judges].map(gateway);
    let judged = |model: &Upstream| {
        let all = model.seen();
        all.iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains("You judge")).count()
    };
    let path = "/ai/v1/chat/completions";
    let [own, elsewhere] = [&prompts, &other].map(|gateway| format!("http://{}", gateway.address));
    let (prompt, gone) = (format!("{own}/v1/summary"), "http://127.0.0.1:1");
    for (url, judge, moved, want) in [
        // A path is one at the prompt's gateway, whoever names that.
        (&*prompt, path.to_owned(), None, (1, 0)),
        ("/v1/summary", path.to_owned(), Some(&own), (1, 0)),
        // What is at one gateway goes to another together.
        (&*format!("{gone}/v1/summary"), format!("{gone}{path}"), Some(&own), (1, 0)),
        // What is elsewhere stays there.
        (&*prompt, format!("{elsewhere}{path}"), None, (0, 1)),
        ("/v1/summary", format!("{elsewhere}{path}"), Some(&own), (0, 1)),
    ] {
        let head = HEAD.replace("/v1/summary", url).replace("smart}", &format!("smart, url: \"{judge}\"}}"));
        let case = "  - {name: a, input: {text: you}, expect: {judge: {criterion: is a greeting}}}\n";
        let before = (judged(&models), judged(&judges));
        let arguments = moved.map_or(Vec::new(), |moved| vec!["--url", moved.as_str()]);
        let (code, out, problems) = run_cases(&format!("{head}{case}"), &arguments);
        assert_eq!(code, 0, "{url} {judge}: {out} {problems}");
        let after = (judged(&models) - before.0, judged(&judges) - before.1);
        assert_eq!(after, want, "{url} {judge}");
    }
    let (code, _, problems) = run_cases(&format!("{HEAD}  - {{name: a}}\n"), &["--url", "127.0.0.1:8080"]);
    assert!(code == 3 && problems.contains("--url: `127.0.0.1:8080` is no address"), "{problems}");
}

#[test]
fn a_file_that_is_wrong_is_refused_before_anything_is_sent() {
    let model = model();
    let gateway = gateway(&model);
    for (cases, says) in [
        ("url: /v1/summary\ncases: []\n".to_owned(), "expected at least 1"),
        (
            format!("{HEAD}  - {{name: a, expect: {{contain: x}}}}\n"),
            "cases[0].expect.contain: unknown key `contain`",
        ),
        (
            format!("{HEAD}  - {{name: a, expect: {{matches: '('}}}}\n"),
            "cases[0].expect.matches: not a regular expression",
        ),
        (format!("{HEAD}  - {{name: a, expect: {{schema: {{type: strin}}}}}}\n"), "cases[0].expect.schema"),
        (format!("{HEAD}  - {{name: a, repeat: 0}}\n"), "cases[0].repeat: expected a number from 1, found 0"),
        (HEAD.replace("TEST_PROMPT_KEY", "TEST_NO_SUCH") + "  - {name: a}\n", "is not in the environment"),
        (
            HEAD.replace("judge: {model: smart}\n", "") + "  - {name: a, expect: {judge: {criterion: b}}}\n",
            "no `model` judges",
        ),
        ("url: [\n".to_owned(), "cases.yaml:"),
        ("url: v1/summary\ncases: [{name: a}]\n".to_owned(), "url: `v1/summary` is no address"),
        (
            HEAD.replace("smart}", "smart, url: 'localhost:80/v1'}") + "  - {name: a}\n",
            "judge.url: `localhost:80/v1` is no address",
        ),
    ] {
        let (code, out, problems) = tested(&gateway, &cases, &[]);
        assert_eq!((code, out.as_str()), (3, ""), "{cases}");
        assert!(problems.contains(says), "{cases}: {problems}");
    }
    assert!(model.seen().is_empty());
}

#[test]
fn what_is_wrong_in_a_file_is_told_all_at_once_with_its_line_and_what_was_meant() {
    let cases = "url: /v1/summary
keyheader: x-api-key
judge: {modle: smart}
cases:
  - name: a
    inputs: {text: you}
    expect:
      contain: Moin
      at: text
  - name: b
    repeat: two
    expect: {at: $.text, maxLatency: 10}
  - name: c
    expects: {}
    expect: {at: /a~2b, status: 2000}
  - {name: d, repeat: 2, atLeast: 3, expect: {matches: ['^ok$', '('], schema: {type: strin}}}
  - input: {text: you}
";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cases.yaml");
    fs::write(&path, cases).expect("a file");
    let (code, out, problems) = run_with(&["prompt", "test", &path.display().to_string(), "--check"], &[]);
    assert_eq!((code, out.as_str()), (3, ""), "{problems}");
    // Of what is drawn each piece stands with its line and its remedy.
    let told: Vec<&str> = problems.split("cases.yaml:").skip(1).collect();
    for (line, column, what, meant) in [
        (2, 1, "keyheader: unknown key `keyheader`", "did you mean `keyHeader`?"),
        (3, 9, "judge.modle: unknown key `modle`", "did you mean `model`?"),
        (6, 5, "cases[0].inputs: unknown key `inputs`", "did you mean `input`?"),
        (8, 7, "cases[0].expect.contain: unknown key `contain`", "did you mean `contains`?"),
        (9, 11, "cases[0].expect.at: `text` is no JSON pointer", "did you mean `/text`?"),
        (11, 13, "cases[1].repeat: expected a whole number, found a text", ""),
        (12, 18, "cases[1].expect.at: `$.text` is no JSON pointer", "did you mean `/text`?"),
        (12, 38, "cases[1].expect.maxLatency: expected a duration", "write `10s`"),
        (14, 5, "cases[2].expects: unknown key `expects`", "did you mean `expect`?"),
        (15, 18, "cases[2].expect.at: `/a~2b` is no JSON pointer", "`~0`"),
        (15, 33, "cases[2].expect.status: expected", "2000"),
        (16, 35, "cases[3].atLeast: expected from 1 to `repeat`, which is 2, found 3", ""),
        (16, 65, "cases[3].expect.matches", "unclosed group"),
        (16, 71, "cases[3].expect.schema", "strin"),
        (17, 5, "cases[4]: the key `name` is missing", ""),
    ] {
        let place = format!("{line}:{column}]");
        let is_it = |told: &&str| told.starts_with(&place);
        assert!(told.iter().any(is_it), "nothing at {place} {what}: {problems}");
        assert!(problems.contains(what), "{what}: {problems}");
        assert!(problems.contains(meant), "{what}, {meant}: {problems}");
    }
    assert_eq!(told.len(), 15, "{problems}");
}

#[test]
fn a_pointer_that_leads_nowhere_is_told_what_there_is() {
    let model = model();
    let gateway = gateway(&model);
    let cases = format!(
        "{HEAD}  - {{name: near, input: {{text: you}}, expect: {{at: /txt}}}}
  - {{name: far, input: {{text: you}}, expect: {{at: /choices/0}}}}
  - {{name: deep, input: {{text: you}}, expect: {{at: /text/0}}}}
"
    );
    let (code, out, _) = tested(&gateway, &cases, &["--format", "json"]);
    assert_eq!(code, 1, "{out}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let fault =
        |index: usize| told["cases"][index]["calls"][0]["faults"][0].as_str().unwrap_or_default().to_owned();
    assert!(
        fault(0).starts_with("at: the answer has nothing at /txt; did you mean `/text`?"),
        "{}",
        fault(0)
    );
    assert!(
        fault(1).starts_with("at: the answer has nothing at /choices/0; there is `/text`"),
        "{}",
        fault(1)
    );
    assert!(
        fault(2).starts_with("at: the answer has nothing at /text/0; there is a text at `/text`"),
        "{}",
        fault(2)
    );
}

#[test]
fn a_gateway_that_does_not_answer_fails_the_case() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cases.yaml");
    fs::write(&path, "url: http://127.0.0.1:1/v1/x\ncases: [{name: a}]\n").expect("a file");
    let (code, out, _) = run_with(&["prompt", "test", &path.display().to_string()], &[]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("http://127.0.0.1:1/v1/x:"), "{out}");
}
