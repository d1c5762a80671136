//! A store that moves while it is used: a cluster's slots, a primary that is lost to a copy; and Valkey in Redis' place.

use super::{
    super::harness::{Gateway, Redis, Upstream, eventually},
    ask,
    rate_limit_shared::{is_up, sharing, storm},
};

/// A limit that nobody gets anything back of while a test runs.
fn limit(count: usize) -> String {
    format!(
        "{{rateLimit: {{limit: {count}, window: 10h, key: {{header: x-t}}, store: redis, whenAway: closed}}}}"
    )
}

/// How many of these calls for one caller pass, turn by turn at the gateways.
fn passed(gateways: &[Gateway; 2], who: &str, calls: usize) -> usize {
    let status = |round: usize| ask(&gateways[round % 2], "/", &format!("\nx-t: {who}")).status;
    (0..calls).filter(|round| status(*round) == 200).count()
}

fn keys(node: &Redis) -> Vec<String> {
    let told = node.ask("KEYS tidegate:*");
    told.lines().map(str::trim).filter(|line| line.starts_with("tidegate:")).map(str::to_owned).collect()
}

fn number(told: &str) -> u64 {
    told.trim().trim_start_matches(':').parse().unwrap_or_else(|_| panic!("{told} is no number"))
}

#[test]
fn a_limit_holds_over_the_nodes_of_a_cluster_and_while_a_slot_moves() {
    let nodes = Redis::cluster_of_three();
    let gateways = [0, 1].map(|at| sharing(&nodes[at], &limit(3), ", cluster: true"));
    for caller in 0..24 {
        assert_eq!(passed(&gateways, &format!("caller-{caller}"), 5), 3, "{}", gateways[0].stderr());
    }
    let held: Vec<usize> = nodes.iter().map(|node| keys(node).len()).collect();
    assert!(held.iter().all(|held| *held > 0) && held.iter().sum::<usize>() >= 24, "{held:?}");
    // A slot of the first node goes to the second: with its keys, as operators move them.
    let key = keys(&nodes[0]).pop().expect("a key");
    let slot = number(&nodes[0].ask(&format!("CLUSTER KEYSLOT {key}")));
    let id = |node: &Redis| {
        let told = node.ask("CLUSTER MYID");
        told.lines().nth(1).expect("an id").trim().to_owned()
    };
    let (from, to) = (id(&nodes[0]), id(&nodes[1]));
    let said = |node: &Redis, command: String| {
        let told = node.ask(&command);
        assert!(told.starts_with("+OK"), "{command}: {told}");
    };
    said(&nodes[1], format!("CLUSTER SETSLOT {slot} IMPORTING {from}"));
    said(&nodes[0], format!("CLUSTER SETSLOT {slot} MIGRATING {to}"));
    said(&nodes[0], format!("MIGRATE 127.0.0.1 {} {key} 0 5000", nodes[1].port));
    // In between the first node sends who asks to the second (ASK), and afterwards for good (MOVED).
    let used_up = |when: &str| {
        for caller in 0..24 {
            assert_eq!(passed(&gateways, &format!("caller-{caller}"), 2), 0, "{when}: caller-{caller}");
        }
    };
    used_up("while it moves");
    for node in &nodes {
        said(node, format!("CLUSTER SETSLOT {slot} NODE {to}"));
    }
    used_up("when it has moved");
    assert!(keys(&nodes[1]).contains(&key) && !keys(&nodes[0]).contains(&key));
    for gateway in &gateways {
        assert_eq!(gateway.metric("tidegate_redis_errors_total{reason=\"answer\"}"), Some(0.0));
    }
    // And new callers are counted as before.
    for caller in 24..36 {
        assert_eq!(passed(&gateways, &format!("caller-{caller}"), 5), 3);
    }
}

#[test]
fn when_the_primary_is_lost_its_copy_goes_on_with_what_was_counted() {
    let mut primary = Redis::start();
    let copy = Redis::replica(&primary);
    let sentinel = Redis::sentinel(&primary);
    eventually("the sentinel knows the copy", || {
        sentinel.ask("SENTINEL REPLICAS primary").contains(&copy.port.to_string())
    });
    let gateways =
        [0, 1].map(|_| sharing(&sentinel, &limit(3), ", sentinel: {master: primary}, timeout: 300ms"));
    assert_eq!(passed(&gateways, "a", 2), 2);
    assert_eq!(passed(&gateways, "b", 5), 3);
    let told = |redis: &Redis, name: &str| {
        let info = redis.ask("INFO replication");
        info.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
    };
    eventually("the copy has it all", || {
        told(&copy, "slave_repl_offset:").is_some_and(|at| Some(at) == told(&primary, "master_repl_offset:"))
            && keys(&copy).len() == 2
    });
    primary.kill();
    eventually("the copy is the primary", || copy.ask("ROLE").contains("master"));
    // While it is away nobody passes who is not known to have used up what there is.
    let mut number = 0;
    for gateway in &gateways {
        eventually("it is counted again", || {
            number += 1;
            ask(gateway, "/", &format!("\nx-t: new-{number}")).status == 200
        });
        assert_eq!(ask(gateway, "/", "\nx-t: b").status, 429);
    }
    // Of three one was left, and it is counted at the new primary.
    assert_eq!(passed(&gateways, "a", 4), 1);
    assert!(keys(&copy).len() >= 4, "{:?}", keys(&copy));
}

#[test]
fn what_is_counted_in_redis_is_counted_in_valkey_as_well() {
    let valkey = Redis::valkey();
    for algorithm in ["gcra", "slidingWindow"] {
        let policy = format!(
            "{{rateLimit: {{name: {algorithm}, algorithm: {algorithm}, limit: 50, window: 10h, key: global, store: redis}}}}"
        );
        let (one, two) = (sharing(&valkey, &policy, ""), sharing(&valkey, &policy, ""));
        assert_eq!(storm([&one, &two], 8, 20), 50, "{algorithm}");
    }
    let policy = "{quota: {limit: 40, per: month, key: global, name: plan, store: redis}}";
    let (one, two) = (sharing(&valkey, policy, ""), sharing(&valkey, policy, ""));
    assert_eq!(storm([&one, &two], 8, 10), 40);
    let policy = "{antiReplay: {store: redis, window: 1h}}";
    let (one, two) = (sharing(&valkey, policy, ""), sharing(&valkey, policy, ""));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    let shown = format!("\nx-nonce: a-nonce-of-some-length\nx-timestamp: {now}");
    assert_eq!(ask(&one, "/", &shown).status, 200, "{}", one.stderr());
    for gateway in [&one, &two] {
        assert_eq!(ask(gateway, "/", &shown).status, 403);
    }
    let upstream = Upstream::echo();
    let keeping = || {
        let gateway = Gateway::start(&format!(
            "redis: {{addresses: [\"127.0.0.1:{}\"]}}
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, policies: [{{idempotency: {{store: redis}}}}], backends: [{{upstream: u}}]}}]\n",
            valkey.port, upstream.address
        ));
        eventually("a connection to redis", || is_up(&gateway));
        gateway
    };
    let (one, two) = (keeping(), keeping());
    let post = |gateway: &Gateway, body: &str| {
        let head = format!(
            "POST /pay HTTP/1.1\nhost: a.test\nidempotency-key: \"pay-1\"\ncontent-length: {}",
            body.len()
        );
        gateway.send(&head, body.as_bytes())
    };
    let first = post(&one, "ten");
    assert_eq!(first.status, 200, "{}", first.text());
    let again = post(&two, "ten");
    assert_eq!((again.status, again.text(), upstream.seen().len()), (200, first.text(), 1));
    assert_eq!(post(&two, "eleven").status, 422);
}
