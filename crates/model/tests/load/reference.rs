//! The reference configuration: refused for what is not in this build and for nothing else, and it loads without.

use crate::support::{errors, load};
use model::{Policy, PolicyUse, resource::route::Handler};

const REFERENCE: &str = include_str!("../../../../tests/contract/tidegate.yaml");

#[test]
fn the_reference_is_refused_for_exactly_what_is_not_in_this_build() {
    let paths: Vec<String> = errors(REFERENCE)
        .iter()
        .map(|line| {
            assert!(line.ends_with("is not in this build"), "{line}");
            line.split(": ").nth(1).unwrap().to_owned()
        })
        .collect();
    let want = ["routes[6].transcode"];
    assert_eq!(paths, want);
}

/// The reference without the routes that are not in this build.
fn trimmed() -> String {
    let (kept, models) = REFERENCE.split_once("\nai:\n").expect("the reference has this part");
    let (head, routes) = kept.split_once("\nroutes:\n").expect("the reference has this part");
    let mut text = format!("{head}\nroutes:\n");
    for route in routes.split_inclusive("\n\n") {
        let later = ["transcode:"];
        if !later.iter().any(|key| route.contains(key)) {
            text.push_str(route);
        }
    }
    format!("{text}\nai:\n{models}")
}

#[test]
fn the_reference_without_those_parts_loads_as_it_reads() {
    let snapshot = load(&trimmed()).unwrap();
    let config = &snapshot.config;
    assert!(snapshot.warnings.is_empty(), "{}", snapshot.warnings);
    let names: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    let want = [
        "catalog",
        "catalog-v2-by-header",
        "orders",
        "order-page",
        "old-shop",
        "ping",
        "models",
        "translate",
        "tools",
        "cached",
    ];
    assert_eq!(names, want);
    assert_eq!(config.upstreams[0].endpoints[1].weight, 2);
    assert_eq!(config.upstreams[0].retry.max_attempts, 3);
    assert_eq!(snapshot.secret(&config.consumers[0].keys[0]), "value-of-GOLD_KEY");
    let PolicyUse::Inline(Policy::RateLimit(limit)) = &config.routes[0].policies[1] else {
        panic!("rateLimit")
    };
    assert_eq!(limit.limit, Some(5));
    assert!(matches!(&config.routes[4].handler, Handler::Redirect(to) if to.status == 308));
    let files: Vec<_> = snapshot.referenced_files();
    assert_eq!(files.len(), 3, "{files:?}");
}
