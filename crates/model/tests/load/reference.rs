//! The reference configuration loads as it reads.

use crate::support::load;
use model::{Policy, PolicyUse, resource::route::Handler};

const REFERENCE: &str = include_str!("../../../../tests/contract/tidegate.yaml");

#[test]
fn the_reference_loads_as_it_reads() {
    let snapshot = load(REFERENCE).unwrap();
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
        "hello-as-rest",
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
    assert_eq!(files.len(), 4, "{files:?}");
}
