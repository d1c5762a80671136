//! Expressions: what they read, what is refused before they run, and what happens when they fail.

use http::{HeaderMap, HeaderValue};

use super::{AiFacts, ConsumerFacts, Expression, Facts, Scope};
use crate::router::Captures;

fn with_facts<T>(test: impl FnOnce(&Facts<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("acme"));
    headers.append("accept", HeaderValue::from_static("text/html"));
    headers.append("accept", HeaderValue::from_static("text/plain"));
    headers.insert("cookie", HeaderValue::from_static("session=s1; theme=dark"));
    let claims = serde_json::json!({
        "sub": "u1", "admin": true, "level": 7, "roles": ["reader", "writer"], "org": {"id": "o1"},
        "many": vec![0; 300],
    });
    let groups: [Box<str>; 2] = ["partners".into(), "eu".into()];
    let captures = Captures::default();
    test(&Facts {
        method: "GET",
        path: "/v1/orders/42",
        host: "api.example.test",
        scheme: "https",
        query: "page=2&tag=a&tag=b&q=a+b%21",
        headers: &headers,
        client: std::net::IpAddr::from([192, 0, 2, 7]),
        listener: "public",
        sni: "api.example.test",
        consumer: Some(ConsumerFacts { name: "gold", groups: &groups }),
        claims: claims.as_object(),
        tool: None,
        captures: captures.view("/v1/orders/42"),
        ai: None,
    })
}

const HOLD: &[&str] = &[
    "true",
    "request.method == 'GET'",
    "request.path.startsWith('/v1/') && request.host.endsWith('.test')",
    "request.path.matches('^/v[12]/')",
    "!request.path.matches('^/v[34]/')",
    "request.scheme == 'https' && tls.enabled && tls.sni == sni",
    "request.headers['x-tenant'] == 'acme'",
    "request.headers['X-Tenant'] == 'acme'",
    "request.headers.accept == 'text/html, text/plain'",
    "has(request.headers.accept) && !has(request.headers.origin)",
    "'x-tenant' in request.headers && !('x-none' in request.headers)",
    "request.query.page == '2' && int(request.query['page']) > 1",
    "request.query.q == 'a b!'",
    "'tag' in request.query && !has(request.query.tag)",
    "request.cookies.session == 's1' && request.cookies['theme'] != 'light'",
    "client.address == '192.0.2.7'",
    "listener == 'public'",
    "consumer.name == 'gold' && 'partners' in consumer.groups",
    "consumer.groups.exists(group, group.startsWith('e'))",
    "consumer.groups.size() == 2",
    "jwt.sub == 'u1' && jwt.admin && jwt.level >= 7",
    "'writer' in jwt.roles && jwt.roles.all(role, role.endsWith('er'))",
    "jwt.org.id == 'o1' && jwt['org']['id'] == 'o1'",
    "jwt.roles.filter(role, role == 'reader').size() == 1",
    "has(jwt.sub) && !has(jwt.none)",
    "request.method in ['GET', 'HEAD']",
    "(request.method == 'POST' ? 'a' : 'b') == 'b'",
    "jwt.none == 1 || true",
    "request.headers['x-tenant'].upperAscii() == 'ACME'",
    "size(request.path) == 13",
];

#[test]
fn conditions_read_the_call() {
    with_facts(|facts| {
        for text in HOLD {
            let expression =
                Expression::condition(text, Scope::Call).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(expression.eval_bool(facts), "{text}");
            assert_eq!(expression.failures(), 0, "{text}");
        }
    });
}

#[test]
fn a_failing_condition_is_false_and_counted() {
    let failing = [
        "request.headers['x-none'] == 'a'",
        "request.headers['x-none'] != 'a'",
        "request.query.tag == 'a'",
        "jwt.level == 7 && jwt.level.startsWith('7')",
        "jwt.level / 0 == 1",
        "jwt.many.exists(x, x == 0)",
        "jwt.sub",
        "jwt.org.exists(x, true)",
        "int(request.path) == 1",
    ];
    with_facts(|facts| {
        for text in failing {
            let expression =
                Expression::condition(text, Scope::Call).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(!expression.eval_bool(facts), "{text}");
            assert_eq!(expression.failures(), 1, "{text}");
        }
        let anonymous = Facts { consumer: None, claims: None, ..*facts };
        for text in ["consumer.name == 'gold'", "jwt.sub == 'u1'", "!(jwt.admin)"] {
            let expression = Expression::condition(text, Scope::Call).expect("a condition");
            assert!(!expression.eval_bool(&anonymous), "{text}");
        }
    });
}

#[test]
fn a_key_is_text() {
    let cases = [
        ("request.headers['x-tenant'] + '/' + client.address", Some("acme/192.0.2.7")),
        ("jwt.level", Some("7")),
        ("jwt.admin", Some("true")),
        ("1.5", Some("1.5")),
        ("jwt.roles", None),
        ("request.headers['x-none']", None),
        ("jwt", None),
        ("null", None),
    ];
    with_facts(|facts| {
        for (text, want) in cases {
            let expression =
                Expression::compile(text, Scope::Call).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(expression.eval_string(facts).as_deref(), want, "{text}");
        }
    });
}

#[test]
fn what_cannot_work_is_refused_before_it_runs() {
    let loops = "consumer.groups.exists(a, consumer.groups.exists(b, a == b))";
    let long = format!("'{}' == sni", "a".repeat(5000));
    let large = ["sni == 'a'"; 120].join(" || ");
    let deep = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    let cases: &[(&str, &str)] = &[
        ("", "column"),
        ("request.method ==", "column"),
        ("requests.method == 'GET'", "there is no variable `requests`"),
        ("request.methd == 'GET'", "there is no `methd` here: method, path"),
        ("request['methd'] == 'GET'", "there is no `methd` here"),
        ("client.port == 1", "there is no `port` here: address"),
        ("request.method.name == 'a'", "a string has no `name`"),
        ("request.method == 1", "a string is never equal an int"),
        ("request.method", "its value is a string, but a condition"),
        ("size(request.path)", "its value is an int, but a condition"),
        ("request.method && true", "`&&` wants true or false, not a string"),
        ("!request.path", "`!` wants true or false"),
        ("request.path + 1 == 'a'", "`+` is not between a string and an int"),
        ("request.path < 3", "a string is never in order with an int"),
        ("frobnicate(request.path)", "there is no function `frobnicate`"),
        ("request.path.startsWith(1)", "`startsWith` cannot be called on a string with (an int)"),
        ("request.path.startsWith()", "`startsWith` cannot be called on a string with ()"),
        ("request.path.matches('(')", "unclosed group"),
        ("request.path.matches(request.host)", "must stand in the expression"),
        ("matches(request.path, 'a')", "is called on a string"),
        ("request.headers.exists(h, true)", "only lists can be looped over, not a map"),
        ("'a' in request.path", "nothing is `in` a string"),
        ("request.headers[1] == 'a'", "has no member named by an int"),
        (loops, "inside of another is not allowed"),
        (&long, "longer than 4096 bytes"),
        (&large, "too large"),
        (&deep, "brackets are open"),
        ("request.?path == 'a'", "column"),
    ];
    for (text, want) in cases {
        let error = Expression::condition(text, Scope::Call).expect_err(text);
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn a_route_knows_its_captures_and_nobody_yet() {
    let names: [Box<str>; 1] = ["id".into()];
    let scope = Scope::Route { captures: &names };
    assert!(Expression::condition("captures.id == '42' && captures['id'] != ''", scope).is_ok());
    let error = Expression::condition("captures.name == 'a'", scope).expect_err("no such capture");
    assert!(error.contains("captures no `name`"), "{error}");
    for text in ["consumer.name == 'a'", "jwt.sub == 'a'"] {
        let error = Expression::condition(text, scope).expect_err(text);
        assert!(error.contains("nobody is authenticated yet"), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_refused_or_runs_without_a_panic(text in "[a-z0-9.()'+=!<&| \\[\\]]{0,40}") {
        if let Ok(expression) = Expression::compile(&text, Scope::Call) {
            with_facts(|facts| {
                let _ = (expression.eval_bool(facts), expression.eval_string(facts));
            });
        }
    }
}

#[test]
fn what_is_asked_of_a_model_is_known_where_a_target_is_chosen_and_nowhere_else() {
    let ai = AiFacts {
        model: "smart",
        dialect: "anthropic",
        stream: true,
        tools: false,
        images: true,
        input_tokens: 1200,
        max_tokens: 0,
    };
    with_facts(|facts| {
        let facts = Facts { ai: Some(ai), ..*facts };
        for (text, want) in [
            ("ai.model == 'smart' && ai.dialect == 'anthropic'", true),
            ("ai.stream && ai.images && !ai.tools", true),
            ("ai.inputTokens > 1000 && ai.maxTokens == 0", true),
            ("ai.inputTokens > 2000 || 'partners' in consumer.groups", true),
            ("ai.inputTokens > 2000", false),
        ] {
            let expression = Expression::condition(text, Scope::Model).expect(text);
            assert_eq!(expression.eval_bool(&facts), want, "{text}");
        }
    });
    assert!(Expression::condition("ai.stream", Scope::Call).is_err());
    assert!(Expression::condition("ai.price > 1", Scope::Model).is_err());
    assert!(Expression::condition("ai.inputTokens == 'many'", Scope::Model).is_err());
}
