//! `priority`: places that are divided among classes, kept for some, and given in turn.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    super::harness::{Client, Gateway, Seen, Upstream, eventually, pause},
    CONSUMERS, refused, with_policies,
};

/// An upstream that answers when it is let, and tells how many calls it has at a time.
struct Busy {
    upstream: Upstream,
    is_let: Arc<AtomicBool>,
    most: Arc<AtomicUsize>,
    order: Arc<Mutex<Vec<String>>>,
}

fn busy(takes: u64) -> Busy {
    let (is_let, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (order, now) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (held, peak, seen) = (is_let.clone(), most.clone(), order.clone());
    let upstream = Upstream::scripted(move |request: &Seen| {
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        seen.lock().expect("whole").push(request.target().to_owned());
        eventually("it is let", || held.load(Ordering::Relaxed));
        pause(takes);
        now.fetch_sub(1, Ordering::SeqCst);
        Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    Busy { upstream, is_let, most, order }
}

fn gateway(busy: &Busy, settings: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{keyAuth: {{anonymous: web}}}}, {{priority: {settings}}}], backends: [{{upstream: u}}]}}]
{CONSUMERS}",
        busy.upstream.address
    ))
}

fn send(gateway: &Gateway, path: &str, headers: &str) -> Client {
    let mut client = Client::connect(gateway.address);
    client.write(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n"));
    client
}

fn gauge(gateway: &Gateway, what: &str, class: &str) -> f64 {
    let series = format!("tidegate_priority_{what}{{policy=\"routes/r/priority\",class=\"{class}\"}}");
    gateway.metric(&series).expect("a gauge")
}

fn outcomes(gateway: &Gateway, class: &str, outcome: &str) -> f64 {
    let labels = format!("policy=\"routes/r/priority\",class=\"{class}\",outcome=\"{outcome}\"");
    gateway.metric(&format!("tidegate_priority_calls_total{{{labels}}}")).expect("a count")
}

const CLASSES: &str = "{maxConcurrent: 2, classes: [
  {name: pay, when: \"request.path.startsWith('/pay')\", weight: 4, maxWait: 20s},
  {name: rest, weight: 1, maxWait: 20s}]}";

#[test]
fn places_go_by_weight_to_those_who_wait_and_never_more_than_there_are() {
    let busy = busy(5);
    let gateway = gateway(&busy, CLASSES);
    let mut clients: Vec<Client> = (0..2).map(|_| send(&gateway, "/first", "")).collect();
    eventually("all places are taken", || gauge(&gateway, "in_flight", "rest") == 2.0);
    for number in 0..20 {
        clients.push(send(&gateway, &format!("/rest/{number}"), ""));
        clients.push(send(&gateway, &format!("/pay/{number}"), ""));
    }
    eventually("all others wait", || {
        gauge(&gateway, "waiting", "pay") + gauge(&gateway, "waiting", "rest") == 40.0
    });
    busy.is_let.store(true, Ordering::Relaxed);
    assert!(clients.iter_mut().all(|client| client.read().is_some_and(|answer| answer.status == 200)));
    let order = busy.order.lock().expect("whole").clone();
    let pays = order[2..22].iter().filter(|path| path.starts_with("/pay")).count();
    assert!((15..=17).contains(&pays), "of the first twenty about sixteen: {order:?}");
    assert_eq!(busy.most.load(Ordering::SeqCst), 2);
    assert_eq!((outcomes(&gateway, "pay", "waited"), outcomes(&gateway, "rest", "entered")), (20.0, 2.0));
    let record = gateway.record("one that waited", |record| record["path"] == "/pay/19");
    assert_eq!(record["priority"]["class"], "pay");
    assert!(record["priority"]["waited_ms"].as_f64().is_some_and(|waited| waited > 0.0), "{record}");
    eventually("all places are free", || gauge(&gateway, "in_flight", "pay") == 0.0);
}

#[test]
fn what_is_kept_for_a_group_is_there_though_others_take_everything() {
    let busy = busy(0);
    let settings = "{maxConcurrent: 3, retryAfter: 7s, classes: [
      {name: partners, groups: [partners], guaranteed: 1, maxWaiting: 0},
      {name: rest, maxWaiting: 1, maxWait: 300ms}]}";
    let gateway = gateway(&busy, settings);
    let crowd: Vec<Client> = (0..2).map(|_| send(&gateway, "/", "")).collect();
    eventually("the others have what is theirs", || gauge(&gateway, "in_flight", "rest") == 2.0);
    let began = Instant::now();
    let mut waits = send(&gateway, "/waits", "");
    eventually("it waits", || gauge(&gateway, "waiting", "rest") == 1.0);
    let refused = send(&gateway, "/refused", "").read().expect("an answer");
    assert_eq!((refused.status, refused.problem().as_deref()), (503, Some("overloaded")));
    assert_eq!(refused.header("retry-after"), Some("7"));
    let _partner = send(&gateway, "/partner", "x-api-key: gold-key-of-the-test\r\n");
    eventually("the partner has its place", || {
        busy.order.lock().expect("whole").contains(&"/partner".to_owned())
    });
    let other =
        send(&gateway, "/partner/2", "x-api-key: gold-key-of-the-test\r\n").read().expect("an answer");
    assert_eq!(other.status, 503, "one place is kept, and the others are taken");
    let late = waits.read().expect("an answer");
    assert_eq!((late.status, late.problem().as_deref()), (503, Some("overloaded")));
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!((outcomes(&gateway, "rest", "full"), outcomes(&gateway, "rest", "timed_out")), (1.0, 1.0));
    busy.is_let.store(true, Ordering::Relaxed);
    drop(crowd);
}

#[test]
fn callers_take_turns_within_a_class() {
    let busy = busy(5);
    let settings = "{maxConcurrent: 1, fairBy: {header: x-tenant}, classes: [{name: all, maxWait: 20s}]}";
    let gateway = gateway(&busy, settings);
    let mut clients = vec![send(&gateway, "/first", "")];
    eventually("the place is taken", || gauge(&gateway, "in_flight", "all") == 1.0);
    for number in 0..10 {
        clients.push(send(&gateway, &format!("/greedy/{number}"), "x-tenant: greedy\r\n"));
        eventually("it waits", || gauge(&gateway, "waiting", "all") == f64::from(number + 1));
    }
    clients.push(send(&gateway, "/modest", "x-tenant: modest\r\n"));
    eventually("all wait", || gauge(&gateway, "waiting", "all") == 11.0);
    busy.is_let.store(true, Ordering::Relaxed);
    assert!(clients.iter_mut().all(|client| client.read().is_some_and(|answer| answer.status == 200)));
    let order = busy.order.lock().expect("whole").clone();
    let at = order.iter().position(|path| path == "/modest").expect("it was served");
    assert!(at <= 3, "{order:?}");
}

#[test]
fn who_leaves_while_it_waits_leaves_its_turn_to_others() {
    let busy = busy(0);
    let gateway = gateway(&busy, CLASSES);
    let mut clients: Vec<Client> = (0..2).map(|_| send(&gateway, "/first", "")).collect();
    eventually("all places are taken", || gauge(&gateway, "in_flight", "rest") == 2.0);
    let leavers: Vec<Client> = (0..5).map(|_| send(&gateway, "/leaves", "")).collect();
    eventually("they wait", || gauge(&gateway, "waiting", "rest") == 5.0);
    clients.push(send(&gateway, "/stays", ""));
    drop(leavers);
    eventually("they have left", || gauge(&gateway, "waiting", "rest") == 1.0);
    busy.is_let.store(true, Ordering::Relaxed);
    assert!(clients.iter_mut().all(|client| client.read().is_some_and(|answer| answer.status == 200)));
    assert!(!busy.order.lock().expect("whole").contains(&"/leaves".to_owned()));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let priority = |settings: &str| with_policies(&format!("[{{priority: {settings}}}]"));
    refused(&priority("{maxConcurrent: 1, classes: []}"), &["classes"]);
    refused(
        &priority(
            "{maxConcurrent: 3, classes: [{name: a, groups: [g], guaranteed: 2}, {name: b, guaranteed: 2}]}",
        ),
        &["guaranteed 4 places, and there are 3"],
    );
    refused(&priority("{maxConcurrent: 3, classes: [{name: a}, {name: b}]}"), &["takes every call"]);
    refused(&priority("{maxConcurrent: 3, classes: [{name: a, groups: [g]}]}"), &["the last class"]);
    refused(
        &priority("{maxConcurrent: 3, classes: [{name: a, groups: [g], guaranteed: 3}, {name: b}]}"),
        &["all places are kept"],
    );
    refused(
        &priority("{maxConcurrent: 3, classes: [{name: a, when: '1 +'}, {name: b}]}"),
        &["classes[0].when"],
    );
}
