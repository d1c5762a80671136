//! The router against the naive law on random tables, and what its order promises in examples.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::Route;
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use super::{
    Captures, Found, RequestView, Router,
    naive::{self, Told},
};

const HOSTS: &[&str] = &["a.test", "b.a.test", "c.b.a.test", "other.test"];
const WILDCARDS: &[&str] = &["*.a.test", "*.b.a.test", "*.test"];
const SEGMENTS: &[&str] = &["v1", "v2", "7", "x", "V1", "Caf%C3%A9", "a%20b", UUID];
/// The same segments as an operator may spell them.
const SPELLED: &[&str] = &["v1", "v%32", "%37", "x", "V1", "Caf%c3%a9", "a%20b", UUID];
const CLIENTS: &[&[&str]] = &[&["10.0.0.0/8"], &["192.0.2.1"], &["10.1.0.0/16", "2001:db8::/32"]];
const SNI: &[&[&str]] = &[&["a.test"], &["*.a.test"], &["other.test", "*.test"]];
const UUID: &str = "123e4567-e89b-12d3-a456-42661417400A";

fn path_match() -> impl Strategy<Value = Value> {
    let literal = || select(SPELLED).prop_map(str::to_owned);
    let piece = prop_oneof![
        4 => literal(),
        1 => Just("{}".to_owned()),
        1 => Just("{:int}".to_owned()),
        1 => Just("{:uuid}".to_owned()),
    ];
    let template =
        (prop::collection::vec(piece, 1..4), prop::bool::weighted(0.25)).prop_map(|(mut pieces, rest)| {
            if rest {
                pieces.push("{*}".to_owned());
            }
            let named = pieces.iter().enumerate().map(|(at, piece)| piece.replace('{', &format!("{{n{at}")));
            json!({"template": format!("/{}", named.collect::<Vec<_>>().join("/"))})
        });
    let literals = |range| prop::collection::vec(select(SPELLED), range).prop_map(|all| all.join("/"));
    prop_oneof![
        3 => literals(0..4).prop_map(|path| json!({"exact": format!("/{path}")})),
        3 => literals(0..3).prop_map(|path| json!({"prefix": format!("/{path}")})),
        3 => template,
        1 => select(&["/v[12]/.*", "/[0-9]+", "/x(/y)?", "/(v1|V1)", "/v1|/x", "/[^/]+/7", "/.*"][..]).prop_map(|regex| json!({"regex": regex})),
    ]
}

fn entry() -> impl Strategy<Value = Value> {
    let methods = prop::collection::vec(select(&["GET", "POST", "DELETE"][..]), 0..3);
    let header = (select(&["x-a", "X-B"][..]), value_test()).prop_map(|(name, test)| named(name, test));
    let query = value_test().prop_map(|test| named("q", test));
    let cookie = value_test().prop_map(|test| named("s", test));
    let clients = select(CLIENTS);
    let names = select(SNI);
    let parts = (
        prop::option::weighted(0.9, path_match()),
        methods,
        prop::collection::vec(header, 0..2),
        prop::collection::vec(query, 0..2),
        prop::collection::vec(cookie, 0..2),
        prop::option::weighted(0.15, clients),
        prop::option::weighted(0.15, names),
    );
    parts.prop_map(|(path, methods, headers, query, cookies, clients, names)| {
        let mut entry = json!({
            "methods": methods, "headers": headers, "query": query, "cookies": cookies,
            "clientAddress": clients.unwrap_or_default(), "sni": names.unwrap_or_default(),
        });
        if let Some(path) = path {
            entry["path"] = path;
        }
        entry
    })
}

fn value_test() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!({"exact": "1"})),
        1 => Just(json!({})),
        1 => Just(json!({"prefix": "1"})),
        1 => Just(json!({"regex": "[12]x?"})),
        1 => Just(json!({"present": false})),
    ]
}

fn named(name: &str, mut test: Value) -> Value {
    test["name"] = name.into();
    test
}

fn table() -> impl Strategy<Value = Vec<Route>> {
    let host = prop_oneof![2 => select(HOSTS), 1 => select(WILDCARDS)];
    let priority = prop_oneof![8 => Just(0), 1 => -1..2];
    let route = (prop::collection::vec(host, 0..3), prop::collection::vec(entry(), 0..3), priority);
    prop::collection::vec(route, 1..12).prop_map(|routes| {
        let route = |(at, (hosts, entries, priority)): (usize, (Vec<&str>, Vec<Value>, i32))| {
            let route = json!({
                "name": format!("r{at}"), "hosts": hosts, "match": entries, "priority": priority,
                "respond": {"status": 200},
            });
            serde_json::from_value(route).expect("a good route")
        };
        routes.into_iter().enumerate().map(route).collect()
    })
}

#[derive(Debug, Clone)]
struct Asked {
    host: Option<&'static str>,
    path: String,
    method: Method,
    headers: HeaderMap,
    query: Option<&'static str>,
    client: IpAddr,
    sni: Option<&'static str>,
}

fn asked() -> impl Strategy<Value = Asked> {
    let path = prop::collection::vec(prop_oneof![4 => select(SEGMENTS), 1 => Just("")], 0..4);
    let header = prop_oneof![
        3 => (select(&["x-a", "x-b"][..]), select(&["1", "2", "1x", "12"][..])),
        1 => (Just("cookie"), select(&["s=1", "s=1; s=2", "t=1", "t=1;s=1x"][..])),
    ];
    let clients = [Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(10, 2, 2, 3), Ipv4Addr::new(192, 0, 2, 1)];
    let parts = (
        prop::option::weighted(0.9, select(HOSTS)),
        path,
        select(&[Method::GET, Method::POST, Method::DELETE, Method::PUT][..]),
        prop::collection::vec(header, 0..3),
        prop::option::of(select(&["q=1", "q=2", "r=1&q=1", "q=1&q=2", "q=1&q=1x", "q", "&&q=12"][..])),
        select(clients.to_vec()),
        prop::option::of(select(HOSTS)),
    );
    parts.prop_map(|(host, path, method, pairs, query, client, sni)| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Asked {
            host,
            path: format!("/{}", path.join("/")),
            method,
            headers,
            query,
            client: client.into(),
            sni,
        }
    })
}

impl Asked {
    fn view(&self) -> RequestView<'_> {
        RequestView {
            listener: 0,
            host: self.host,
            path: &self.path,
            method: &self.method,
            headers: &self.headers,
            query: self.query,
            client: self.client,
            sni: self.sni,
            tls: false,
        }
    }
}

fn told(router: &Router, asked: &Asked) -> Told {
    match router.find(&asked.view(), &mut Captures::default()) {
        Found::Route { id, rule } => Told::Route(id.0, rule),
        Found::MethodNotAllowed { allow } => {
            let allow = allow.to_str().expect("text").split(", ").map(str::to_owned);
            Told::OtherMethod(allow.filter(|method| method != "OPTIONS" && method != "HEAD").collect())
        }
        Found::NotFound => Told::Nothing,
    }
}

/// Routes for a thousand other hosts, with patterns of every kind.
fn crowd() -> Vec<Route> {
    let route = |at: usize| {
        let path = match at % 5 {
            0 => json!({"prefix": "/v1"}),
            1 => json!({"template": "/v1/{id}"}),
            2 => json!({"exact": "/v1/x"}),
            3 => json!({"regex": "/v[0-9]+/.*"}),
            _ => json!({"template": "/{rest*}"}),
        };
        let host = if at.is_multiple_of(7) { format!("*.h{at}.example") } else { format!("h{at}.example") };
        json!({"name": format!("crowd-{at}"), "hosts": [host], "match": [{"path": path}], "respond": {"status": 200}})
    };
    let routes: Vec<Value> = (0..1000).map(route).collect();
    serde_json::from_value(routes.into()).expect("good routes")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_router_is_the_naive_law_made_fast(routes in table(), asked in prop::collection::vec(asked(), 12)) {
        let (router, _) = Router::compile(&routes, &[]).expect("a good table");
        for asked in asked {
            prop_assert_eq!(told(&router, &asked), naive::find(&routes, &asked.view()), "{:?}", asked);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_thousand_other_hosts_change_no_answer(routes in table(), asked in prop::collection::vec(asked(), 40)) {
        let (alone, _) = Router::compile(&routes, &[]).expect("a good table");
        let crowded = [routes, crowd()].concat();
        let (crowded, _) = Router::compile(&crowded, &[]).expect("a good table");
        for asked in asked {
            prop_assert_eq!(told(&crowded, &asked), told(&alone, &asked), "{:?}", asked);
        }
    }

    #[test]
    fn hosts_are_one_name_in_any_case(routes in table(), mut asked in asked()) {
        let (router, _) = Router::compile(&routes, &[]).expect("a good table");
        let small = told(&router, &asked);
        asked.host = asked.host.map(|host| match host {
            "a.test" => "A.Test",
            "b.a.test" => "B.a.TEST",
            "c.b.a.test" => "C.B.A.TEST",
            _ => "OTHER.test",
        });
        prop_assert_eq!(told(&router, &asked), small);
    }
}

fn router(routes: &str) -> Router {
    let routes: Vec<Route> = serde_json::from_str(routes).expect("good routes");
    Router::compile(&routes, &[]).expect("a good table").0
}

fn route_of(router: &Router, path: &str) -> String {
    let asked = Asked {
        host: Some("a.test"),
        path: path.to_owned(),
        method: Method::GET,
        headers: HeaderMap::new(),
        query: None,
        client: Ipv4Addr::LOCALHOST.into(),
        sni: None,
    };
    match router.find(&asked.view(), &mut Captures::default()) {
        Found::Route { id, .. } => router.route_name(id).to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn patterns_match_alike_whatever_their_capitals_and_escapes() {
    let router = router(
        r#"[{"name": "caps", "match": [{"path": {"prefix": "/API/Caf%C3%A9"}}], "respond": {"status": 200}},
            {"name": "space", "match": [{"path": {"exact": "/a%20b"}}], "respond": {"status": 200}}]"#,
    );
    assert_eq!(route_of(&router, "/API/Caf%C3%A9/x"), "caps");
    assert_eq!(route_of(&router, "/api/caf%C3%A9/x"), "NotFound");
    assert_eq!(route_of(&router, "/a%20b"), "space");
}

/// The method that a preflight to `/x` stands for beside a wider route; the route `own` answers preflights.
fn preflight_for(wide: &str, headers: &[(&'static str, &'static str)]) -> Option<Method> {
    let router = router(&format!(
        r#"[{{"name": "own", "match": [{{"path": {{"prefix": "/x"}}, "methods": ["POST"]}}], "respond": {{}}}},
            {{"name": "wide", "match": [{{"path": {{"prefix": "/"}}{wide}}}], "respond": {{}}}}]"#
    ));
    let mut asked = Asked {
        host: None,
        path: "/x".to_owned(),
        method: Method::OPTIONS,
        headers: HeaderMap::new(),
        query: None,
        client: Ipv4Addr::LOCALHOST.into(),
        sni: None,
    };
    for (name, value) in headers.iter().copied() {
        asked.headers.append(name, HeaderValue::from_static(value));
    }
    router.stands_for(&asked.view(), |id| router.route_name(id) == "own")
}

#[test]
fn a_preflight_stands_for_the_request_after_it_unless_a_rule_is_there_for_it() {
    const ORIGIN: (&str, &str) = ("origin", "https://a.test");
    const POST: (&str, &str) = ("access-control-request-method", "POST");
    let asks = |method: &'static str| [ORIGIN, ("access-control-request-method", method)];
    assert_eq!(preflight_for("", &asks("POST")), Some(Method::POST));
    for headers in [&asks("DELETE")[..], &asks("post"), &asks(""), &asks("P OST"), &[ORIGIN], &[POST], &[]] {
        assert_eq!(preflight_for("", headers), None, "{headers:?}");
    }
    for wide in [
        r#", "methods": ["OPTIONS"]"#,
        r#", "when": "request.method == 'OPTIONS'""#,
        r#", "headers": [{"name": "access-control-request-method"}]"#,
        r#", "when": "request.method in ['GET', 'OPTIONS']""#,
        r#", "when": "request.headers['Access-Control-Request-Method'] == 'POST'""#,
    ] {
        assert_eq!(preflight_for(wide, &asks("POST")), None, "{wide}");
    }
    for wide in [r#", "headers": [{"name": "x-other"}]"#, r#", "when": "request.method != 'POST'""#] {
        assert_eq!(preflight_for(wide, &asks("POST")), Some(Method::POST), "{wide}");
    }
}

#[test]
fn prefixes_end_at_segments() {
    let router = router(
        r#"[{"name": "p", "match": [{"path": {"prefix": "/v1/products"}}], "respond": {"status": 200}}]"#,
    );
    assert_eq!(route_of(&router, "/v1/products"), "p");
    assert_eq!(route_of(&router, "/v1/products/7"), "p");
    assert_eq!(route_of(&router, "/v1/products-internal"), "NotFound");
    assert_eq!(route_of(&router, "/v1/product"), "NotFound");
}

#[test]
fn a_route_that_can_never_match_is_told() {
    let routes: Vec<Route> = serde_json::from_value(json!([
        {"name": "all", "match": [{"path": {"prefix": "/v1"}}], "respond": {"status": 200}},
        {"name": "never", "match": [{"path": {"prefix": "/v1"}, "methods": []}], "respond": {"status": 200}},
        {"name": "sometimes", "match": [{"path": {"prefix": "/v2"}}], "respond": {"status": 200}},
    ]))
    .expect("good routes");
    let warnings = Router::compile(&routes, &[]).expect("a good table").1;
    let names: Vec<_> = warnings.iter().map(|warning| warning.route.as_str()).collect();
    assert_eq!(names, ["never"]);
}

#[test]
fn a_hundred_thousand_routes_are_found() {
    let route = |at: usize| {
        json!({"name": format!("r{at}"), "hosts": [format!("h{}.test", at % 1000)],
               "match": [{"path": {"template": format!("/t{at}/{{id}}")}}], "respond": {"status": 200}})
    };
    let routes: Vec<Route> =
        (0..100_000).map(|at| serde_json::from_value(route(at)).expect("a route")).collect();
    let (router, warnings) = Router::compile(&routes, &[]).expect("a good table");
    assert!(warnings.is_empty());
    for at in (0..100_000).step_by(997) {
        let host = format!("h{}.test", at % 1000);
        let (path, headers) = (format!("/t{at}/7"), HeaderMap::new());
        let view = RequestView {
            listener: 0,
            host: Some(&host),
            path: &path,
            method: &Method::GET,
            headers: &headers,
            query: None,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            sni: None,
            tls: false,
        };
        let mut captures = Captures::default();
        let Found::Route { id, .. } = router.find(&view, &mut captures) else {
            panic!("{path} is not found")
        };
        assert_eq!(id.0, at as u32);
        assert_eq!(captures.get(&path, "id"), Some("7"));
    }
}
