//! Signatures and tokens: what a provider is shown is what the vendors' own libraries make of it, and what is fetched is
//! fetched in the background.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use ai::dialect::Dialect;
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{KEY, post, provider};
use crate::harness::{Answer, Gateway, Peer, Seen, Upstream, eventually, python};

/// A gateway with one provider, whose settings are `provider`, behind the model `smart`.
pub(super) fn gateway(provider: &str, model: &str) -> Gateway {
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n    - {{name: one, {provider}}}\n  models:\n    - name: smart\n      targets: [{{provider: one, model: \"{model}\"}}]\n"
    ))
}

pub(super) fn ask(gateway: &Gateway, stream: bool) -> Answer {
    let body = format!(
        r#"{{"model":"smart","stream":{stream},"messages":[{{"role":"user","content":"case: text"}}]}}"#
    );
    post(gateway, "/ai/v1/chat/completions", "", &body)
}

/// What the vendors' libraries say.
fn judged(asked: &[Value]) -> Vec<Value> {
    let texts: Vec<String> = asked.iter().map(Value::to_string).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (well, output) = Peer::start(python(include_str!("signing.py"), &texts)).finish();
    assert!(well, "{output}");
    output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A request as the judge of signatures wants it, made with this key.
fn for_judge(seen: &Seen, service: &str, key: (&str, &str, Option<&str>)) -> Value {
    let headers: serde_json::Map<String, Value> =
        seen.headers.iter().map(|(name, value)| (name.to_lowercase(), value.as_str().into())).collect();
    let host = seen.header("host").expect("a host");
    json!({"aws": {
        "method": seen.line.split(' ').next(), "url": format!("http://{host}{}", seen.target()),
        "body": STANDARD.encode(&seen.body), "headers": headers, "region": "eu-central-1", "service": service,
        "id": key.0, "secret": key.1, "token": key.2,
    }})
}

pub(super) const MODEL: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

#[test]
fn requests_are_signed_as_botocore_signs_them() {
    for token in [None, Some("a+session/token==")] {
        let upstream = provider::of(Dialect::Bedrock);
        let session = token.map_or(String::new(), |token| format!(", sessionToken: \"{token}\""));
        let gateway = gateway(
            &format!(
                "kind: bedrock, baseUrl: \"http://{}\", values: {{region: eu-central-1}}, aws: {{accessKeyId: AKIDEXAMPLE, secretAccessKey: the/secret+key{session}}}",
                upstream.address
            ),
            MODEL,
        );
        for stream in [false, true] {
            let answer = ask(&gateway, stream);
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        // A query is signed too.
        let converse = r#"{"messages":[{"role":"user","content":[{"text":"case: text"}]}]}"#;
        let path = "/ai/model/smart/converse?b=2%20x&a=1&a=0~";
        assert_eq!(post(&gateway, path, "", converse).status, 200);
        let seen = upstream.seen();
        assert_eq!(seen.len(), 3);
        assert!(seen[0].target().contains("v1%3A0/converse"), "{}", seen[0].target());
        assert!(seen[2].target().ends_with("?b=2%20x&a=1&a=0~"), "{}", seen[2].target());
        let asked: Vec<Value> = seen
            .iter()
            .map(|seen| for_judge(seen, "bedrock", ("AKIDEXAMPLE", "the/secret+key", token)))
            .collect();
        for (seen, judged) in seen.iter().zip(judged(&asked)) {
            let told = seen.header("authorization").expect("a signature");
            assert_eq!(judged["authorization"], told, "{}", seen.line);
            assert!(
                told.contains(
                    "/eu-central-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date"
                )
            );
            assert_eq!(seen.header("x-amz-security-token"), token);
            assert!(!format!("{seen:?}").contains("the/secret+key"));
        }
    }
}

#[test]
fn a_callers_own_signature_goes_no_further() {
    let upstream = provider::of(Dialect::Bedrock);
    let gateway = gateway(
        &format!("kind: bedrock, baseUrl: \"http://{}\", keys: [the-bedrock-key]", upstream.address),
        MODEL,
    );
    let body = r#"{"messages":[{"role":"user","content":[{"text":"case: text"}]}]}"#;
    let fields = "\nauthorization: AWS4-HMAC-SHA256 Credential=AKIDCALLER/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=00\nx-amz-date: 20260101T000000Z\nx-amz-security-token: the-callers-session\nx-amz-content-sha256: 00\nx-amzn-bedrock-trace: ENABLED";
    let answer = post(
        &gateway,
        "/ai/model/smart/converse?X-Amz-Signature=00&X-Amz-Credential=AKIDCALLER",
        fields,
        body,
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.header("authorization"), Some("Bearer the-bedrock-key"));
    assert_eq!(seen.header("x-amzn-bedrock-trace"), Some("ENABLED"), "what asks for something goes on");
    let whole = format!("{seen:?}");
    for private in
        ["AKIDCALLER", "the-callers-session", "x-amz-date", "x-amz-content-sha256", "X-Amz-Signature"]
    {
        assert!(!whole.contains(private), "{private}: {whole}");
    }
}

/// A server of tokens: it answers as told, and numbers its tokens.
pub(super) struct Tokens {
    upstream: Upstream,
    answers: Arc<Mutex<(u16, String)>>,
}

impl Tokens {
    /// Every `N` in the answer is the number of the token.
    pub(super) fn start(answer: &str) -> Self {
        let answers = Arc::new(Mutex::new((200, answer.to_owned())));
        let (known, count) = (answers.clone(), AtomicUsize::new(0));
        let upstream = Upstream::scripted(move |_| {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            let (status, text) = known.lock().expect("not poisoned").clone();
            let text = text.replace("#N", &number.to_string());
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}",
                text.len()
            );
            Some(format!("{head}\r\n\r\n{text}").into_bytes())
        });
        Self { upstream, answers }
    }

    /// Where it gives them.
    pub(super) fn url(&self) -> String {
        format!("http://{}/token", self.upstream.address)
    }

    fn say(&self, status: u16, answer: &str) {
        *self.answers.lock().expect("not poisoned") = (status, answer.to_owned());
    }

    /// The form of each request.
    fn forms(&self) -> Vec<String> {
        self.upstream.seen().iter().map(|seen| String::from_utf8_lossy(&seen.body).into_owned()).collect()
    }
}

pub(super) fn bearer(upstream: &Upstream) -> String {
    let seen = upstream.seen().pop().expect("a request");
    seen.header("authorization").unwrap_or_default().to_owned()
}

fn oauth(tokens: &Tokens, upstream: &Upstream, more: &str) -> String {
    format!(
        "kind: openai, baseUrl: \"http://{}/v1\", oauth: {{tokenUrl: \"http://{}/token\", clientId: \"the client\", clientSecret: \"s:e/c\"{more}}}",
        upstream.address, tokens.upstream.address
    )
}

#[test]
fn a_token_is_fetched_once_and_again_shortly_before_it_ends() {
    let (tokens, upstream) = (
        Tokens::start(r#"{"access_token":"token-#N","token_type":"Bearer","expires_in":4}"#),
        provider::of(Dialect::OpenAiChat),
    );
    let gateway =
        gateway(&oauth(&tokens, &upstream, ", scope: \"a b\", params: {audience: \"x&y\"}"), "gpt-4o");
    for _ in 0..5 {
        assert_eq!(ask(&gateway, false).status, 200);
        assert_eq!(bearer(&upstream), "Bearer token-1");
    }
    let seen = tokens.upstream.seen();
    assert_eq!(seen.len(), 1, "one token for all of them");
    assert_eq!(seen[0].line, "POST /token HTTP/1.1");
    assert_eq!(
        seen[0].header("authorization"),
        Some(&*format!("Basic {}", STANDARD.encode("the%20client:s%3Ae%2Fc")))
    );
    assert_eq!(tokens.forms(), ["grant_type=client_credentials&scope=a%20b&audience=x%26y"]);
    eventually("the next token, before the first one ends", || {
        let began = Instant::now();
        assert_eq!(ask(&gateway, false).status, 200);
        assert!(began.elapsed() < Duration::from_secs(2), "no call waits for a token in between");
        tokens.upstream.seen().len() == 2
    });
    eventually("a call with it", || {
        ask(&gateway, false).status == 200 && bearer(&upstream) == "Bearer token-2"
    });
    let status = gateway.admin_get("/api/v1/status").json()["providers"][0]["keys"][0].clone();
    assert_eq!(status["key"], "oauth");
    assert!(status["tokenSeconds"].as_f64().is_some_and(|left| left > 0.0 && left <= 4.0), "{status}");
}

#[test]
fn a_fetch_that_fails_leaves_the_token_until_it_ends() {
    let (tokens, upstream) = (
        Tokens::start(r#"{"access_token":"token-#N","token_type":"bearer","expires_in":"4"}"#),
        provider::of(Dialect::OpenAiChat),
    );
    let gateway = gateway(&oauth(&tokens, &upstream, ", clientIn: form"), "gpt-4o");
    assert_eq!(ask(&gateway, false).status, 200);
    let began = Instant::now();
    tokens.say(400, r#"{"error":"invalid_client","error_description":"the secret is over"}"#);
    eventually("a fetch that fails", || tokens.upstream.seen().len() >= 2);
    if began.elapsed() < Duration::from_millis(3500) {
        assert_eq!(ask(&gateway, false).status, 200);
        assert_eq!(bearer(&upstream), "Bearer token-1");
    }
    assert!(
        tokens.forms()[0].ends_with("&client_id=the%20client&client_secret=s%3Ae%2Fc"),
        "{:?}",
        tokens.forms()
    );
    eventually("the end of the token", || ask(&gateway, false).status == 503);
    let answer = ask(&gateway, false);
    assert!(answer.header("retry-after").is_some() && answer.json()["error"]["message"].is_string());
    assert!(gateway.stderr().contains("invalid_client the secret is over"), "{}", gateway.stderr());
    tokens.say(200, r#"{"access_token":"again","token_type":"Bearer","expires_in":60}"#);
    eventually("the next good token", || ask(&gateway, false).status == 200);
    assert_eq!(bearer(&upstream), "Bearer again");
}

#[test]
fn a_token_goes_on_over_a_reload_and_is_not_fetched_again() {
    let (tokens, upstream) = (
        Tokens::start(r#"{"access_token":"token-#N","token_type":"Bearer","expires_in":600}"#),
        provider::of(Dialect::OpenAiChat),
    );
    let gateway = gateway(&oauth(&tokens, &upstream, ""), "gpt-4o");
    assert_eq!(ask(&gateway, false).status, 200);
    let text = std::fs::read_to_string(gateway.config()).expect("the configuration");
    // The harness writes the line of the admin endpoint itself.
    let text = text.split_once('\n').expect("two lines").1;
    assert_eq!(gateway.reload(&text.replace("gpt-4o", "gpt-4o-mini"))["reloadsApplied"], 1);
    assert_eq!(ask(&gateway, false).status, 200);
    assert_eq!(tokens.upstream.seen().len(), 1);
    gateway.reload(&text.replace("s:e/c", "another"));
    eventually("a token for another secret", || tokens.upstream.seen().len() == 2);
}

/// The document of a new service account of Google's, and its public key.
pub(super) fn service_account(token_uri: &str) -> (String, String) {
    let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let pem = |label: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("text")).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let private: Pkcs8V1Der<'_> = key.as_der().expect("a key");
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().expect("a key");
    let document = json!({
        "type": "service_account", "client_email": "gw@project.iam.gserviceaccount.com", "private_key_id": "key-1",
        "private_key": pem("PRIVATE KEY", private.as_ref()), "token_uri": token_uri,
    });
    (document.to_string(), pem("PUBLIC KEY", public.as_ref()))
}

#[test]
fn a_google_service_account_signs_what_google_verifies() {
    let (tokens, upstream) = (
        Tokens::start(r#"{"access_token":"ya29.x","token_type":"Bearer","expires_in":3599}"#),
        provider::of(Dialect::Gemini),
    );
    let url = tokens.url();
    let (document, public) = service_account(&url);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("account.json");
    std::fs::write(&file, document).expect("a file");
    let gateway = gateway(
        &format!(
            "kind: gemini, baseUrl: \"http://{}/v1beta\", google: {{serviceAccount: {{file: \"{}\"}}}}",
            upstream.address,
            file.display()
        ),
        "gemini-2.5-flash",
    );
    assert_eq!(ask(&gateway, false).status, 200);
    assert_eq!(bearer(&upstream), "Bearer ya29.x");
    let form = tokens.forms().pop().expect("a request");
    let assertion = form
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .expect(&form);
    let judge = |key: &str| json!({"jwt": assertion, "key": key, "audience": url});
    let told = judged(&[judge(&public), judge(&service_account(&url).1)]);
    let claims = &told[0]["claims"];
    assert_eq!(claims["iss"], "gw@project.iam.gserviceaccount.com", "{told:?}");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/generative-language");
    assert_eq!(
        claims["exp"].as_u64().zip(claims["iat"].as_u64()).map(|(end, begin)| end - begin),
        Some(3600)
    );
    assert_eq!(told[0]["head"]["kid"], "key-1");
    assert!(told[1]["error"].is_string(), "the judge tells keys apart: {told:?}");
}

#[test]
fn azures_tokens_are_asked_for_as_entra_wants_it() {
    for (credential, tail) in [
        ("clientSecret: \"a secret\"", "&client_secret=a%20secret"),
        (
            "federatedToken: the.federated.token",
            "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=the.federated.token",
        ),
    ] {
        let (tokens, upstream) = (
            Tokens::start(
                r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"eyJ.x"}"#,
            ),
            provider::of(Dialect::OpenAiChat),
        );
        let gateway = gateway(
            &format!(
                "kind: azure-openai, baseUrl: \"http://{}\", values: {{resource: r}}, azure: {{tenantId: contoso.example, clientId: app-1, {credential}, authority: \"http://{}/\"}}",
                upstream.address, tokens.upstream.address
            ),
            "my-deployment",
        );
        let answer = ask(&gateway, false);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(seen.header("authorization"), Some("Bearer eyJ.x"));
        assert_eq!(seen.header("api-key"), None);
        assert!(seen.target().starts_with("/openai/deployments/my-deployment/chat/completions?api-version="));
        assert_eq!(tokens.upstream.seen()[0].target(), "/contoso.example/oauth2/v2.0/token");
        let scope = "https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
        let want = format!("grant_type=client_credentials&client_id=app-1&scope={scope}{tail}");
        assert_eq!(tokens.forms(), [want]);
    }
}

const ROLE: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA#N</AccessKeyId><SecretAccessKey>temporary/secret</SecretAccessKey><SessionToken>session#N==</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";

#[test]
fn a_role_of_aws_is_taken_on_by_a_key_or_by_a_token() {
    for (credentials, role, action) in [
        ("accessKeyId: AKIDLONG, secretAccessKey: long/secret, ", "externalId: third, ", "AssumeRole"),
        ("", "webIdentityToken: the.web.token, ", "AssumeRoleWithWebIdentity"),
    ] {
        let (tokens, upstream) = (Tokens::start(ROLE), provider::of(Dialect::Bedrock));
        let gateway = gateway(
            &format!(
                "kind: bedrock, baseUrl: \"http://{}\", values: {{region: eu-central-1}}, aws: {{{credentials}assumeRole: {{roleArn: \"arn:aws:iam::1:role/gw\", {role}endpoint: \"http://{}/\"}}}}",
                upstream.address, tokens.upstream.address
            ),
            MODEL,
        );
        let answer = ask(&gateway, false);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (seen, asked) = (upstream.seen(), tokens.upstream.seen());
        assert_eq!(asked.len(), 1);
        let form = tokens.forms().pop().expect("a form");
        assert!(form.contains(&format!("&Action={action}")), "{form}");
        assert!(
            form.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fgw&RoleSessionName=tidegate"),
            "{form}"
        );
        let temporary = ("ASIA1", "temporary/secret", Some("session1=="));
        let mut judging = vec![for_judge(&seen[0], "bedrock", temporary)];
        if action == "AssumeRole" {
            assert!(form.contains("&ExternalId=third"), "{form}");
            judging.push(for_judge(&asked[0], "sts", ("AKIDLONG", "long/secret", None)));
        } else {
            assert!(form.contains("&WebIdentityToken=the.web.token"), "{form}");
            assert_eq!(asked[0].header("authorization"), None, "the token is the proof");
        }
        for (seen, judged) in [&seen[0], &asked[0]].into_iter().zip(judged(&judging)) {
            assert_eq!(judged["authorization"], seen.header("authorization").expect("a signature"));
        }
    }
}

#[test]
fn credentials_that_a_kind_does_not_take_are_refused_with_those_that_it_takes() {
    for (provider, says) in [
        ("kind: vertex-anthropic, values: {project: p}, keys: [k]", "takes `google`"),
        ("kind: vertex-anthropic, values: {project: p}", "takes `google`"),
        ("kind: openai, aws: {accessKeyId: a, secretAccessKey: b}", "takes `keys`"),
        (
            "kind: bedrock, baseUrl: \"http://127.0.0.1:1\", aws: {accessKeyId: a, secretAccessKey: b}",
            "the region is missing",
        ),
        ("kind: bedrock, values: {region: r}, aws: {accessKeyId: a}", "go together"),
        (
            "kind: bedrock, values: {region: r}, keys: [k], aws: {accessKeyId: a, secretAccessKey: b}",
            "in one way",
        ),
        ("kind: openai, oauth: {clientId: a, clientSecret: b}", "`oauth.tokenUrl` is needed"),
        (
            "kind: openai, oauth: {tokenUrl: \"http://192.0.2.1/\", clientId: a, clientSecret: b}",
            "not loopback",
        ),
        (
            "kind: openai, oauth: {tokenUrl: \"https://169.254.169.254/\", clientId: a, clientSecret: b}",
            "metadata",
        ),
        ("kind: gemini, google: {serviceAccount: nonsense}", "no key of a service account"),
        (
            "kind: azure-openai, values: {resource: r}, azure: {tenantId: t, clientId: c}",
            "`clientSecret` or `federatedToken`",
        ),
        ("kind: openai, keys: [k], keyCooldown: {first: 10m, max: 1m}", "`first` is longer than `max`"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        let text = format!(
            "listeners: [{{name: a, address: \"127.0.0.1:0\"}}]\nroutes: [{{name: r, match: [{{path: {{prefix: /}}}}], ai: {{}}}}]\nai:\n  providers: [{{name: one, {provider}}}]\n  models: [{{name: m, targets: [{{provider: one, model: m}}]}}]\n"
        );
        std::fs::write(&path, text).expect("a file");
        let (code, out, error) = crate::harness::run(&["validate", "-c", path.to_str().expect("a path")]);
        assert_ne!(code, 0, "{provider}");
        let told = format!("{out}{error}").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(says), "{provider}: {told}");
    }
}
