//! Laws: any bytes in, no panic out; the same text gives the same revision; secrets show nowhere.

use model::Source;
use proptest::prelude::*;

use crate::support::{Memory, load};

const SEED: &str = include_str!("../../../../tests/contract/tidegate.yaml");

proptest! {
    #[test]
    fn any_text_is_loaded_or_refused_without_panic(text in "\\PC{0,200}") {
        let _ = load(&text).map_err(|found| found.render(false));
    }

    #[test]
    fn yaml_with_holes_is_loaded_or_refused_without_panic(
        cuts in prop::collection::vec((0usize..20_000, 0usize..40, "[ \\n:\\[\\]{}a-z0-9&*!|>'\"#-]{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = SEED.chars().collect();
        for (at, length, put) in cuts {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        let _ = load(&text).map_err(|found| (found.render(false), found.to_string()));
    }
}

#[test]
fn the_revision_follows_the_meaning_and_not_the_spelling() {
    let revision = |text: &str| load(text).unwrap().revision;
    let one = "routes:\n  - name: a\n    respond: {status: 204}\n";
    let same = "# a comment\nroutes: [{respond: {\"status\": 204}, name: a}]\n";
    let other = "routes: [{respond: {status: 205}, name: a}]\n";
    assert_eq!(revision(one), revision(same));
    assert_ne!(revision(one), revision(other));
    let with_key = |key: &str| revision(&format!("consumers: [{{name: a, keys: [{key}]}}]"));
    assert_ne!(with_key("literal-one"), with_key("literal-two"));
}

#[test]
fn a_secret_is_never_shown() {
    let documents = [
        "consumers: [{name: a, keys: [hunter2hunter2]}]",
        "consumers: [{name: a, keys: [hunter2hunter2], what: 1}]",
        "consumers: [{name: a, key: hunter2hunter2}]",
        "consumers:\n  - name: a\n    basic: [{username: u, password: hunter2hunter2, x: 1}]\n",
        "consumers:\n  - name: a\n    password: hunter2hunter2\n   bad: [\n",
        "admin: {address: '127.0.0.1:1', token: [hunter2hunter2]}",
        "consumers: [{name: a, keys: [hunter2hunter2]}, {name: b, keys: [hunter2hunter2]}]",
    ];
    for document in documents {
        let shown = match load(document) {
            Ok(snapshot) => {
                let config = serde_json::to_string(&*snapshot.config).unwrap();
                format!("{snapshot:?} {:?} {config} {}", snapshot.config, snapshot.warnings.render(false))
            }
            Err(found) => format!("{found} {found:?} {}", found.render(true)),
        };
        assert!(!shown.contains("hunter2"), "{document}\n{shown}");
    }
}

#[test]
fn aliases_cannot_blow_up_and_depth_is_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 10].join(", "));
    }
    assert!(load(&bomb).unwrap_err().to_string().contains("aliases expand"));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(load(&deep).is_err());
}

#[test]
fn several_files_are_joined_and_duplicates_name_both_places() {
    let one = Source::new("a.yaml", "upstreams:\n  - {name: u, endpoints: [{address: 'h:1'}]}\n");
    let two = Source::new("b.yaml", "routes:\n  - {name: r, backends: [{upstream: u}]}\n");
    let both = model::load(&[one.clone(), two.clone()], &Memory).unwrap();
    assert_eq!((both.config.upstreams.len(), both.config.routes.len()), (1, 1));
    let again = Source::new("c.yaml", "routes:\n  - {name: x, respond: {}}\n  - {name: r, respond: {}}\n");
    let found = model::load(&[one, two, again], &Memory).unwrap_err();
    let text = found.to_string();
    assert_eq!(text, "c.yaml:3:12: routes[1].name: the name `r` is that of another route");
    assert!(found.render(false).contains("the first one: b.yaml:2:12"), "{}", found.render(false));
    let admin = |name: &str| Source::new(name, "admin: {address: '127.0.0.1:9080'}");
    let found = model::load(&[admin("a.yaml"), admin("b.yaml")], &Memory).unwrap_err();
    assert!(found.to_string().starts_with("b.yaml:1:1: admin: "), "{found}");
}

#[test]
fn a_hundred_thousand_routes_load_in_seconds() {
    let mut text = "upstreams: [{name: u, endpoints: [{address: 'h:1'}]}]\nroutes:\n".to_owned();
    for number in 0..100_000 {
        text += &format!(
            "- {{name: r{number}, match: [{{path: {{prefix: /p{number}}}}}], backends: [{{upstream: u}}]}}\n"
        );
    }
    let start = cpu_seconds();
    assert_eq!(load(&text).unwrap().config.routes.len(), 100_000);
    let took = cpu_seconds() - start;
    assert!(took < 20.0, "{took} s");
}

/// What this thread has used: a busy machine makes a test wait, not work.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    stat.split(' ').next().expect("a field").parse::<f64>().expect("nanoseconds") / 1e9
}
