//! Tokens that are not what they say.

use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

use super::super::harness::{Answer, Gateway, Upstream, raw};

struct Keys {
    ec: EcdsaKeyPair,
    other: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

impl Keys {
    fn new() -> Self {
        let ec = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self { ec: ec(), other: ec(), rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key") }
    }

    fn jwks(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        // A DER sequence of modulus and exponent: of 2048 bits, the modulus has its place.
        let rsa = self.rsa.public_key().as_ref();
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "ec", "alg": "ES256",
             "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])},
            {"kty": "RSA", "kid": "rsa", "alg": "RS256",
             "n": BASE64.encode(&rsa[9..265]),
             "e": BASE64.encode([1, 0, 1])},
        ]})
    }

    fn es(&self, head: Value, claims: Value) -> String {
        let input = input(head, claims);
        let signature = self.ec.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature");
        format!("{input}.{}", BASE64.encode(signature))
    }

    fn rs(&self, head: Value, claims: Value) -> String {
        let input = input(head, claims);
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
            .expect("a signature");
        format!("{input}.{}", BASE64.encode(signature))
    }
}

fn input(head: Value, claims: Value) -> String {
    format!("{}.{}", BASE64.encode(head.to_string()), BASE64.encode(claims.to_string()))
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs()
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": "https://id.example.test", "aud": "shop", "sub": "ann", "scope": "profile orders",
        "exp": now() + 600, "nbf": now() - 10,
    });
    change(&mut claims);
    claims
}

/// Tokens that must be refused: name, source, status, token.
fn forgeries(keys: &Keys) -> Vec<(&'static str, &'static str, u16, String)> {
    let good = || claims(|_| {});
    let es = |kid: &str| json!({"alg": "ES256", "kid": kid, "typ": "JWT"});
    let whole = keys.es(es("ec"), good());
    let (unsigned, signature) = whole.rsplit_once('.').expect("three parts");
    let root = claims(|claims| claims["sub"] = json!("root"));
    let swapped = {
        let parts: Vec<_> = whole.split('.').collect();
        format!("{}.{}.{}", parts[0], BASE64.encode(root.to_string()), parts[2])
    };
    let hs = |secret: &[u8], kid: &str| {
        let input = input(json!({"alg": "HS256", "kid": kid}), good());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", BASE64.encode(tag))
    };
    let der = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(keys.rsa.public_key()).expect("DER");
    let by_other = {
        let input = input(es("ec"), good());
        let signature = keys.other.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature");
        format!("{input}.{}", BASE64.encode(signature))
    };
    let none = |alg: &str| format!("{}.", input(json!({"alg": alg}), good()));
    let point = keys.other.public_key().as_ref().to_vec();
    let own_key = json!({"kty": "EC", "crv": "P-256", "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])});
    let embedded = {
        let input = input(json!({"alg": "ES256", "jwk": own_key}), good());
        let signature = keys.other.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature");
        format!("{input}.{}", BASE64.encode(signature))
    };
    let with = |change: fn(&mut Value)| keys.es(es("ec"), claims(change));
    vec![
        ("none", "RFC 8725 §2.1", 401, none("none")),
        ("None", "CVE-2015-9235", 401, none("None")),
        ("nOnE", "CVE-2015-9235", 401, none("nOnE")),
        ("empty algorithm", "RFC 8725 §2.1", 401, none("")),
        ("no algorithm", "RFC 7515 §4.1.1", 401, format!("{}.", input(json!({}), good()))),
        ("HS256 with the RSA key", "CVE-2016-5431", 401, hs(der.as_ref(), "rsa")),
        ("HS256 with the EC key", "CVE-2016-5431", 401, hs(keys.ec.public_key().as_ref(), "ec")),
        ("HS256 with nothing", "CVE-2020-28637", 401, hs(b"", "ec")),
        ("RS256 for the EC key", "RFC 8725 §3.1", 401, keys.rs(json!({"alg": "RS256", "kid": "ec"}), good())),
        (
            "ES256 for the RSA key",
            "RFC 8725 §3.1",
            401,
            keys.es(json!({"alg": "ES256", "kid": "rsa"}), good()),
        ),
        (
            "PS256 is not allowed",
            "RFC 8725 §3.1",
            401,
            keys.rs(json!({"alg": "PS256", "kid": "rsa"}), good()),
        ),
        ("small es256", "RFC 7515 §4.1.1", 401, keys.es(json!({"alg": "es256", "kid": "ec"}), good())),
        ("another's key", "RFC 7515 §5.2", 401, by_other),
        ("embedded key", "CVE-2018-0114", 401, embedded),
        (
            "jku",
            "RFC 8725 §3.10",
            401,
            keys.es(json!({"alg": "ES256", "jku": "http://127.0.0.1:1/", "kid": "x"}), good()),
        ),
        ("kid path", "RFC 8725 §3.10", 401, keys.es(es("../../../dev/null"), good())),
        ("kid SQL", "RFC 8725 §3.10", 401, keys.es(es("ec' OR '1'='1"), good())),
        ("unknown kid", "RFC 7515 §4.1.4", 401, keys.es(es("other"), good())),
        (
            "critical extension",
            "RFC 7515 §4.1.11",
            401,
            keys.es(json!({"alg": "ES256", "kid": "ec", "crit": ["x"], "x": 1}), good()),
        ),
        ("no signature", "RFC 7515 §5.2", 401, format!("{unsigned}.")),
        ("two parts", "RFC 7515 §3.1", 401, unsigned.to_owned()),
        ("four parts", "RFC 7515 §3.1", 401, format!("{whole}.x")),
        ("cut signature", "RFC 7515 §5.2", 401, format!("{unsigned}.{}", &signature[..40])),
        ("zero signature", "CVE-2022-21449", 401, format!("{unsigned}.{}", BASE64.encode([0; 64]))),
        ("swapped claims", "RFC 7515 §5.2", 401, swapped),
        ("expired", "RFC 7519 §4.1.4", 401, with(|claims| claims["exp"] = json!(now() - 3600))),
        ("no expiry", "RFC 8725 §3.8", 401, with(|claims| claims["exp"] = Value::Null)),
        ("expiry as text", "RFC 7519 §2", 401, with(|claims| claims["exp"] = json!("9999999999"))),
        ("not yet", "RFC 7519 §4.1.5", 401, with(|claims| claims["nbf"] = json!(now() + 3600))),
        ("wrong audience", "RFC 8725 §3.9", 401, with(|claims| claims["aud"] = json!("other"))),
        ("no audience", "RFC 8725 §3.9", 401, with(|claims| claims["aud"] = Value::Null)),
        ("audience prefix", "RFC 7519 §4.1.3", 401, with(|claims| claims["aud"] = json!("shop.evil"))),
        ("wrong issuer", "RFC 8725 §3.8", 401, with(|claims| claims["iss"] = json!("https://evil.test"))),
        ("no scope", "RFC 6750 §3.1", 403, with(|claims| claims["scope"] = json!("profile"))),
        ("scope prefix", "RFC 6749 §3.3", 403, with(|claims| claims["scope"] = json!("orders-admin"))),
        ("not base64url", "RFC 7515 §2", 401, whole.replacen('.', "=.", 1)),
        ("not JSON", "RFC 7519 §7.2", 401, format!("{}.{signature}", BASE64.encode("no"))),
        ("claims not an object", "RFC 7519 §7.2", 401, keys.es(es("ec"), json!(["ann"]))),
        ("empty", "RFC 6750 §2.1", 401, String::new()),
    ]
}

/// Tokens signed by the right key that say something two readers may take differently, and forms that are no token.
fn oddities(keys: &Keys) -> Vec<(&'static str, &'static str, u16, String)> {
    let head = |more: Value| {
        let mut head = json!({"alg": "ES256", "kid": "ec"});
        for (name, value) in more.as_object().into_iter().flatten() {
            head[name] = value.clone();
        }
        head
    };
    let good = || claims(|_| {});
    let whole = keys.es(head(json!({})), good());
    let raw = |head: &str, claims: &str| {
        let input = format!("{}.{}", BASE64.encode(head), BASE64.encode(claims));
        let signature = keys.ec.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature");
        format!("{input}.{}", BASE64.encode(signature))
    };
    let plain = r#"{"alg":"ES256","kid":"ec"}"#;
    let text = good().to_string();
    let twice = |name: &str, value: &str| format!("{},\"{name}\":{value}}}", text.trim_end_matches('}'));
    let with = |change: fn(&mut Value)| keys.es(head(json!({})), claims(change));
    let (start, end) = whole.split_at(whole.len() / 2);
    vec![
        (
            "x5u",
            "RFC 8725 §3.10",
            401,
            keys.es(json!({"alg": "ES256", "kid": "x", "x5u": "http://127.0.0.1:1/"}), good()),
        ),
        ("x5c", "CVE-2018-0114", 401, keys.es(json!({"alg": "ES256", "kid": "x", "x5c": ["AAAA"]}), good())),
        ("kid number", "RFC 7515 §4.1.4", 401, keys.es(json!({"alg": "ES256", "kid": 1}), good())),
        ("kid list", "RFC 7515 §4.1.4", 401, keys.es(json!({"alg": "ES256", "kid": ["ec"]}), good())),
        (
            "kid of an URL",
            "RFC 8725 §3.10",
            401,
            keys.es(json!({"alg": "ES256", "kid": "http://127.0.0.1:1/"}), good()),
        ),
        ("kid with NUL", "RFC 8725 §3.10", 401, keys.es(json!({"alg": "ES256", "kid": "ec\u{0}"}), good())),
        ("alg list", "RFC 7515 §4.1.1", 401, keys.es(json!({"alg": ["ES256"], "kid": "ec"}), good())),
        ("alg with a space", "RFC 7515 §4.1.1", 401, keys.es(json!({"alg": "ES256 ", "kid": "ec"}), good())),
        ("crit empty", "RFC 7515 §4.1.11", 401, keys.es(head(json!({"crit": []})), good())),
        ("crit null", "RFC 7515 §4.1.11", 401, keys.es(head(json!({"crit": null})), good())),
        ("crit b64", "RFC 7797 §6", 401, keys.es(head(json!({"crit": ["b64"], "b64": false})), good())),
        ("alg twice", "RFC 7515 §4", 401, raw(r#"{"alg":"none","alg":"ES256","kid":"ec"}"#, &text)),
        ("kid twice", "RFC 7515 §4", 401, raw(r#"{"alg":"ES256","kid":"x","kid":"ec"}"#, &text)),
        ("sub twice", "RFC 7519 §4", 401, raw(plain, &twice("sub", "\"root\""))),
        ("bound to a key", "RFC 9449 §7.1", 401, with(|claims| claims["cnf"] = json!({"jkt": "x"}))),
        (
            "bound to a certificate",
            "RFC 8705 §3",
            401,
            with(|claims| claims["cnf"] = json!({"x5t#S256": "x"})),
        ),
        ("bound to nothing", "RFC 7800 §3", 401, with(|claims| claims["cnf"] = json!([]))),
        ("exp twice", "RFC 7519 §4", 401, raw(plain, &twice("exp", "9999999999"))),
        ("head with a tail", "RFC 7515 §5.2", 401, raw(&format!("{plain}{{}}"), &text)),
        ("claims with a tail", "RFC 7519 §7.2", 401, raw(plain, &format!("{text}{{}}"))),
        (
            "deep claims",
            "RFC 8259 §9",
            401,
            raw(plain, &twice("x", &format!("{}{}", "[".repeat(500), "]".repeat(500)))),
        ),
        ("not UTF-8", "RFC 7519 §3", 401, {
            let input = format!("{}.{}", BASE64.encode(plain), BASE64.encode(b"{\"iss\":\"\xff\"}"));
            let signature = keys.ec.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature");
            format!("{input}.{}", BASE64.encode(signature))
        }),
        ("exp zero", "RFC 7519 §4.1.4", 401, with(|claims| claims["exp"] = json!(0))),
        ("exp negative", "RFC 7519 §4.1.4", 401, with(|claims| claims["exp"] = json!(-1))),
        (
            "exp beyond numbers",
            "RFC 7519 §2",
            401,
            raw(plain, &text.replace("\"exp\":", "\"exp\":1e999,\"y\":")),
        ),
        ("exp list", "RFC 7519 §2", 401, with(|claims| claims["exp"] = json!([9_999_999_999_u64]))),
        ("nbf as text", "RFC 7519 §2", 401, with(|claims| claims["nbf"] = json!("0"))),
        ("audience object", "RFC 7519 §4.1.3", 401, with(|claims| claims["aud"] = json!({"shop": true}))),
        ("audience in capitals", "RFC 7519 §4.1.3", 401, with(|claims| claims["aud"] = json!("SHOP"))),
        ("audience with a space", "RFC 7519 §4.1.3", 401, with(|claims| claims["aud"] = json!("shop other"))),
        (
            "issuer list",
            "RFC 7519 §4.1.1",
            401,
            with(|claims| claims["iss"] = json!(["https://id.example.test"])),
        ),
        (
            "issuer with a slash",
            "RFC 8725 §3.8",
            401,
            with(|claims| claims["iss"] = json!("https://id.example.test/")),
        ),
        (
            "scope in a list of lists",
            "RFC 8693 §4.2",
            403,
            with(|claims| claims["scope"] = json!([["orders"]])),
        ),
        ("space within", "RFC 7515 §7.1", 401, format!("{start} {end}")),
        ("tab within", "RFC 7515 §7.1", 401, format!("{start}\t{end}")),
        ("a word behind", "RFC 6750 §2.1", 401, format!("{whole} x")),
        ("padding", "RFC 7515 §2", 401, format!("{whole}=")),
        ("the other alphabet", "RFC 7515 §2", 401, whole.replace(['-', '_'], "+").replacen('.', "+.", 1)),
        ("stray bits", "RFC 4648 §3.5", 401, stray_bits(&whole)),
        ("encrypted", "RFC 7516 §7.1", 401, format!("{whole}.x.y")),
        ("JSON serialisation", "RFC 7515 §7.2", 401, json!({"payload": "x", "signatures": []}).to_string()),
        ("quoted", "RFC 6750 §2.1", 401, format!("\"{whole}\"")),
        ("huge", "RFC 8725 §3.6", 401, format!("{whole}{}", "A".repeat(20_000))),
    ]
}

/// The same signature with a bit set that no byte has room for.
fn stray_bits(token: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = token.as_bytes().to_vec();
    let last = bytes.last_mut().expect("not empty");
    let at = ALPHABET.iter().position(|letter| letter == last).expect("a letter");
    *last = ALPHABET[at | 1];
    String::from_utf8(bytes).expect("letters")
}

#[test]
fn forged_tokens_are_refused_and_good_ones_are_not() {
    let keys = Keys::new();
    let upstream = Upstream::fixed(200, "reached");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("jwks.json"), keys.jwks().to_string()).expect("a file");
    let port = super::super::harness::free_port();
    let text = format!(
        "listeners: [{{name: public, address: 127.0.0.1:{port}}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: r
    match: [{{path: {{prefix: /}}}}]
    policies:
      - jwt: {{issuer: https://id.example.test, audiences: [shop], jwks: {{file: jwks.json}}, algorithms: [RS256, ES256], requiredScopes: [orders]}}
      - headers: {{request: {{set: {{x-user: \"{{{{ jwt.sub }}}}\"}}}}}}
    backends: [{{upstream: u}}]
",
        upstream.address
    );
    let address = ([127, 0, 0, 1], port).into();
    let gateway = Gateway::in_folder(folder, &text, address, |_| {});
    let ask = |headers: &str| {
        let bytes = format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{headers}Connection: close\r\n\r\n");
        Answer::parse(&raw(gateway.address, bytes.as_bytes())).expect("an answer")
    };
    let mut wrong = Vec::new();
    let rows = [forgeries(&keys), oddities(&keys)].concat();
    assert!(rows.len() >= 70, "{}", rows.len());
    let before = gateway.rss();
    for (name, source, status, token) in rows {
        let answer = ask(&format!("Authorization: Bearer {token}\r\n"));
        if answer.status != status || !upstream.seen().is_empty() {
            wrong.push(format!("{name} ({source}): {} instead of {status}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 16 << 20, "memory grew by {grown} bytes");
    let good = keys.es(json!({"alg": "ES256", "kid": "ec"}), claims(|_| {}));
    for (name, headers) in [
        ("none at all", String::new()),
        ("two headers", format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n")),
        ("another scheme", format!("Authorization: Basic {good}\r\n")),
        ("in an underscore header", format!("Author_ization: Bearer {good}\r\n")),
    ] {
        let answer = ask(&headers);
        assert_eq!(answer.status, 401, "{name}");
        assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{name}");
    }
    assert!(upstream.seen().is_empty());
    let rs = keys.rs(json!({"alg": "RS256", "kid": "rsa"}), claims(|_| {}));
    let many = claims(|claims| claims["aud"] = json!(["other", "shop"]));
    for token in [good, rs, keys.es(json!({"alg": "ES256", "kid": "ec"}), many)] {
        let before = upstream.seen().len();
        assert_eq!(ask(&format!("Authorization: Bearer {token}\r\nX-User: root\r\n")).status, 200);
        let seen = &upstream.seen()[before];
        assert_eq!(seen.header("x-user"), Some("ann"));
    }
}
