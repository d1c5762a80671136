//! `waf`: with Debian's files of the Core Rule Set, and with rules of its own where the set has none that tells.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually, h2, pause, peers_folder},
    decompress::packed,
    guarded, last, refused, with_policies,
};

/// Debian's rules.
fn core() -> PathBuf {
    let folder = peers_folder().join("modsecurity/usr/share/modsecurity-crs/rules");
    assert!(folder.exists(), "{} is missing: run scripts/peers.sh", folder.display());
    folder.canonicalize().expect("a path")
}

/// Settings with Debian's rules and these besides.
fn settings(rest: &str) -> String {
    format!("[{{waf: {{rules: [\"{}\"], {rest}}}}}]", core().display())
}

/// Rules of a test in a folder.
struct Own(tempfile::TempDir);

impl Own {
    fn new(text: &str) -> Self {
        let own = Self(tempfile::tempdir().expect("a folder"));
        own.write(text);
        own
    }

    fn write(&self, text: &str) {
        fs::write(self.0.path().join("own.conf"), text).expect("a file");
    }

    fn settings(&self, rest: &str) -> String {
        format!("[{{waf: {{rules: [\"{}\"], {rest}}}}}]", self.0.path().display())
    }
}

/// A request as an ordinary client sends it.
fn ask(gateway: &Gateway, target: &str, headers: &str) -> Answer {
    let head = format!("GET {target} HTTP/1.1\nhost: a.test\nuser-agent: curl/8.5.0\naccept: */*{headers}");
    gateway.send(&head, b"")
}

fn post(gateway: &Gateway, kind: &str, body: &str) -> Answer {
    let head = format!(
        "POST /a HTTP/1.1\nhost: a.test\nuser-agent: curl/8.5.0\naccept: */*\ncontent-type: {kind}\ncontent-length: {}",
        body.len()
    );
    gateway.send(&head, body.as_bytes())
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const SQLI: &str = "/a?id=1%27%20UNION%20SELECT%20password%20FROM%20users--";

#[test]
fn attacks_are_refused_wherever_they_stand_and_ordinary_calls_pass_whole() {
    let (gateway, upstream) = guarded(&settings("paranoia: 1"), "");
    let multipart = "multipart/form-data; boundary=xyz";
    let part = |text: &str| {
        format!("--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n{text}\r\n--xyz--\r\n")
    };
    let script = "<script>alert(document.cookie)</script>";
    for (what, answer) in [
        ("query", ask(&gateway, SQLI, "")),
        ("cookie", ask(&gateway, "/a", "\ncookie: a=<script>alert(1)</script>")),
        ("header", ask(&gateway, "/a", "\nreferer: <script>alert(1)</script>")),
        ("scanner", gateway.send("GET /a HTTP/1.1\nhost: a.test\nuser-agent: sqlmap/1.7\naccept: */*", b"")),
        ("form", post(&gateway, FORM, "a=1&b=%3Cscript%3Ealert(1)%3C/script%3E")),
        ("JSON", post(&gateway, JSON, &json!({"a": [{"b": script}]}).to_string())),
        ("XML", post(&gateway, "text/xml", "<a><b>&lt;script&gt;alert(1)&lt;/script&gt;</b></a>")),
        ("multipart", post(&gateway, multipart, &part("1; cat /etc/passwd"))),
    ] {
        assert_eq!((answer.status, answer.problem().as_deref()), (403, Some("forbidden")), "{what}");
        let text = String::from_utf8_lossy(&answer.body).to_lowercase();
        assert!(
            !["rule", "modsec", "inject", "949110"].iter().any(|word| text.contains(word)),
            "{what}: {text}"
        );
    }
    assert_eq!(post(&gateway, JSON, "{").status, 400, "what cannot be read is not let through unread");
    assert!(upstream.seen().is_empty());
    for (kind, body) in [
        (FORM, "name=Zo%C3%AB+O%27Brien&text=It%27s+a+nice+day%2C+isn%27t+it%3F".to_owned()),
        (
            JSON,
            json!({"text": "Select a chair from the union of both", "items": [1, 2.5, null, "😀"]})
                .to_string(),
        ),
        (multipart, part("plain text")),
    ] {
        assert_eq!(post(&gateway, kind, &body).status, 200, "{body}");
        assert_eq!(last(&upstream).body, body.as_bytes(), "the upstream gets all of it");
    }
    assert_eq!(ask(&gateway, "/a?page=2&sort=name", "").status, 200);
    assert_eq!(ask(&gateway, "/a", "\nauthorization: Bearer eyJh.eyJz.c2ln").status, 200);
}

#[test]
fn what_fired_is_in_the_record_and_the_metrics_and_what_matched_only_by_choice() {
    let (gateway, _upstream) = guarded(&settings("paranoia: 1"), "");
    assert_eq!(ask(&gateway, SQLI, "").status, 403);
    let record = gateway.record("the attack", |record| record["status"] == 403);
    assert_eq!(
        (&record["stopped_by"], &record["waf"]["outcome"]),
        (&json!("waf"), &json!("refused")),
        "{record}"
    );
    assert_eq!(record["waf"]["by"], 949110);
    let rules = record["waf"]["rules"].as_array().expect("a list");
    assert!(rules.contains(&json!(942100)) && record["waf"]["score"].as_u64() >= Some(5), "{record}");
    assert!(record["waf"].get("matches").is_none(), "{record}");
    assert_eq!(ask(&gateway, "/fine", "").status, 200);
    let fine = gateway.record("the other", |record| record["status"] == 200);
    assert!(fine.get("waf").is_none(), "{fine}");
    eventually("the metrics", || {
        let is = |series: &str, want: f64| gateway.metric(series) == Some(want);
        is("tidegate_waf_requests_total{policy=\"routes/r\",outcome=\"refused\"}", 1.0)
            && is("tidegate_waf_requests_total{policy=\"routes/r\",outcome=\"passed\"}", 1.0)
            && is("tidegate_waf_fired_total{policy=\"routes/r\",rule=\"942100\"}", 1.0)
    });
    let (gateway, _upstream) = guarded(&settings("paranoia: 1, recordMatches: true"), "");
    assert_eq!(ask(&gateway, SQLI, "").status, 403);
    let record = gateway.record("the attack", |record| record["status"] == 403);
    let matches = record["waf"]["matches"].as_array().expect("a list");
    let of_query =
        |one: &serde_json::Value| one["at"] == "ARGS:id" && one["text"].to_string().contains("UNION");
    assert!(matches.iter().any(of_query), "{record}");
}

#[test]
fn paranoia_thresholds_and_mode_decide_what_is_refused() {
    let unusual = "/a?name=caf%C3%A9";
    let (gateway, _upstream) = guarded(&settings("paranoia: 1"), "");
    assert_eq!((ask(&gateway, unusual, "").status, ask(&gateway, SQLI, "").status), (200, 403));
    let (gateway, _upstream) = guarded(&settings("paranoia: 4"), "");
    assert_eq!(ask(&gateway, unusual, "").status, 403);
    let (gateway, _upstream) = guarded(&settings("paranoia: 1, detectionParanoia: 4"), "");
    assert_eq!(ask(&gateway, unusual, "").status, 200);
    let record = gateway.record("the call", |record| record["status"] == 200);
    assert_eq!(record["waf"]["outcome"], "noted", "{record}");
    let (gateway, _upstream) = guarded(&settings("inboundThreshold: 1000"), "");
    assert_eq!(ask(&gateway, SQLI, "").status, 200);
    let (gateway, upstream) = guarded(&settings("mode: detect"), "");
    assert_eq!(ask(&gateway, SQLI, "").status, 200);
    let record = gateway.record("the call", |record| record["status"] == 200);
    assert_eq!(
        (&record["waf"]["outcome"], &record["waf"]["by"]),
        (&json!("detected"), &json!(949110)),
        "{record}"
    );
    assert_eq!(last(&upstream).target(), SQLI);
}

#[test]
fn methods_variables_and_a_setup_file_reach_the_rules() {
    let (gateway, _upstream) = guarded(&settings("variables: {max_num_args: '2'}"), "");
    let put = "PUT /a HTTP/1.1\nhost: a.test\nuser-agent: curl/8.5.0\naccept: */*\ncontent-length: 0";
    assert_eq!(gateway.send(put, b"").status, 200, "an API has more methods than pages have");
    assert_eq!(ask(&gateway, "/a?a=1&b=2", "").status, 200);
    assert_eq!(ask(&gateway, "/a?a=1&b=2&c=3", "").status, 403);
    let setup =
        peers_folder().join("modsecurity/etc/modsecurity/crs/crs-setup.conf").canonicalize().expect("a file");
    let more = format!("setup: \"{}\", allowedMethods: [GET]", setup.display());
    let (gateway, _upstream) = guarded(&settings(&more), "");
    assert_eq!((ask(&gateway, "/a", "").status, gateway.send(put, b"").status), (200, 403));
}

#[test]
fn rules_are_left_out_by_id_tag_target_and_path() {
    let own = Own::new(
        "SecRule ARGS \"@contains bad\" \"id:1,phase:2,deny,tag:'words'\"\n\
         SecRule ARGS \"@contains evil\" \"id:2,phase:2,deny,status:406\"\n",
    );
    let exclusions = "exclusions: [{rules: ['1'], targets: ['ARGS:text'], paths: ['/forum/*']},
      {tags: [words], paths: [/free]}, {rules: ['2-3'], paths: [/open]}]";
    let (gateway, _upstream) = guarded(&own.settings(exclusions), "");
    for (target, status) in [
        ("/?text=bad", 403),
        ("/forum/a?text=bad", 200),
        ("/forum/a?other=bad", 403),
        ("/free?text=bad", 200),
        ("/free?text=evil", 406),
        ("/open?text=evil", 200),
        ("/open/b?text=evil", 406),
    ] {
        assert_eq!(ask(&gateway, target, "").status, status, "{target}");
    }
}

#[test]
fn a_body_beyond_the_bound_is_refused_or_looked_at_in_its_beginning() {
    let own = Own::new("SecRule ARGS|REQUEST_BODY \"@contains bad\" \"id:1,phase:2,deny\"\n");
    let long = format!("a=1&b={}&c=bad", "x".repeat(100_000));
    let (gateway, upstream) = guarded(&own.settings("requestBody: {limit: 64KiB}"), "");
    let answer = post(&gateway, FORM, &long);
    assert_eq!((answer.status, answer.problem().as_deref()), (413, Some("body-too-large")));
    assert!(upstream.seen().is_empty());
    let (gateway, upstream) =
        guarded(&own.settings("requestBody: {limit: 64KiB, above: inspectBeginning}"), "");
    assert_eq!(post(&gateway, FORM, &long).status, 200);
    assert_eq!(last(&upstream).body, long.as_bytes(), "nothing is lost or doubled");
    assert_eq!(post(&gateway, FORM, &format!("c=bad&{long}")).status, 403);
    let (gateway, _upstream) = guarded(&own.settings(""), "");
    assert_eq!(post(&gateway, FORM, &long).status, 403, "a mebibyte is looked at where nothing is said");
}

#[test]
fn a_body_that_is_compressed_is_judged_by_what_is_in_it() {
    let own = Own::new("SecRule ARGS|REQUEST_BODY \"@contains bad\" \"id:1,phase:2,deny\"\n");
    let send = send_coded;
    let (gateway, upstream) = guarded(&own.settings("requestBody: {limit: 64KiB}"), "");
    for coding in ["gzip", "br", "zstd"] {
        let good = packed(coding, b"a=1&b=good");
        assert_eq!(send(&gateway, coding, &good).status, 200, "{coding}");
        let seen = last(&upstream);
        assert_eq!(
            (seen.header("content-encoding"), &seen.body),
            (Some(coding), &good),
            "it goes on as it came"
        );
        assert_eq!(send(&gateway, coding, &packed(coding, b"a=1&b=bad")).status, 403, "{coding}");
        let long = packed(coding, format!("b={}", "xy".repeat(40_000)).as_bytes());
        assert_eq!(send(&gateway, coding, &long).status, 413, "{coding}: it is what it unfolds to");
    }
    assert_eq!(send(&gateway, "identity", b"a=bad").status, 403);
    assert_eq!(send(&gateway, "gzip", b"a=good").status, 400, "it is no gzip");
    let bomb = packed("gzip", &vec![b'x'; 5_000_000]);
    assert_eq!(send(&gateway, "gzip", &bomb).status, 413);
    let (gateway, _upstream) =
        guarded(&own.settings("requestBody: {limit: 64KiB, above: inspectBeginning}"), "");
    // Such as does not look like a bomb.
    let long: String = (0..20_000).map(|number| number.to_string()).collect();
    assert_eq!(send(&gateway, "gzip", &packed("gzip", format!("b=bad&c={long}").as_bytes())).status, 403);
    assert_eq!(send(&gateway, "gzip", &packed("gzip", format!("c={long}&b=bad").as_bytes())).status, 200);
    // Where models are asked it is unpacked behind the rules.
    let upstream = Upstream::fixed(200, "{}");
    let gateway = Gateway::start(&format!(
        "routes: [{{name: models, match: [{{path: {{prefix: /a}}}}], policies: {}, ai: {{}}}}]\nai: {{providers: [{{name: p, kind: openai, baseUrl: \"http://{}\", keys: [k]}}], models: [{{name: m, targets: [{{provider: p, model: m}}]}}]}}\n",
        own.settings(""),
        upstream.address
    ));
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "bad"}]}).to_string();
    let answer = send(&gateway, "gzip", &packed("gzip", body.as_bytes()));
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(upstream.seen().is_empty());
}

/// A form in a content coding.
fn send_coded(gateway: &Gateway, coding: &str, body: &[u8]) -> Answer {
    send_coded_to(gateway, "/a", coding, body)
}

fn send_coded_to(gateway: &Gateway, path: &str, coding: &str, body: &[u8]) -> Answer {
    let head = format!(
        "POST {path} HTTP/1.1\nhost: a.test\ncontent-type: {FORM}\ncontent-encoding: {coding}\ncontent-length: {}",
        body.len()
    );
    gateway.send(&head, body)
}

/// Content codings that nobody unpacks for the rules, with bodies in them that an upstream might.
fn hidden() -> Vec<(&'static str, Vec<u8>)> {
    let twice = packed("gzip", &packed("gzip", b"a=bad"));
    let split = "gzip\ncontent-encoding: gzip";
    vec![
        ("deflate", b"no matter".to_vec()),
        ("gzip, gzip", twice.clone()),
        (split, twice),
        ("aws-chunked", b"a=1".to_vec()),
    ]
}

#[test]
fn a_body_in_a_coding_that_nobody_unpacks_is_refused_and_by_choice_let_through() {
    let own = Own::new("SecRule ARGS|REQUEST_BODY \"@contains bad\" \"id:1,phase:2,deny\"\n");
    let (gateway, upstream) = guarded(&own.settings(""), "");
    for (coding, body) in hidden() {
        let answer = send_coded(&gateway, coding, &body);
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (415, Some("unsupported-media-type")),
            "{coding}"
        );
        assert_eq!(answer.header("accept-encoding"), Some("gzip, br, zstd"), "{coding}");
    }
    assert!(upstream.seen().is_empty());
    let record = gateway.record("a refusal", |record| record["status"] == 415);
    assert_eq!((&record["stopped_by"], &record["waf"]["by"]), (&json!("waf"), &json!(190_006)), "{record}");
    assert_eq!(send_coded(&gateway, "identity", b"a=1").status, 200);
    assert_eq!(ask(&gateway, "/a", "\ncontent-encoding: deflate").status, 200, "there is no body to hide in");
    let let_in = "exclusions: [{rules: ['190006'], paths: [/a]}]";
    let (gateway, upstream) = guarded(&own.settings(let_in), "");
    for (coding, body) in hidden() {
        assert_eq!(send_coded(&gateway, coding, &body).status, 200, "{coding}");
        assert_eq!(last(&upstream).body, body, "it goes on as it came");
    }
    assert_eq!(send_coded(&gateway, "aws-chunked", b"a=bad").status, 403, "and is judged as it came");
}

#[test]
fn what_the_rules_cannot_see_of_a_body_is_recorded_where_nothing_is_refused() {
    let own = Own::new("SecRule ARGS|REQUEST_BODY \"@contains bad\" \"id:1,phase:2,deny\"\n");
    let (gateway, upstream) = guarded(&own.settings("mode: detect, requestBody: {limit: 256KiB}"), "");
    let numbers: String = (0..60_000).map(|number| number.to_string()).collect();
    let long = format!("a=bad&b={numbers}");
    let bomb = format!("a=bad&b={}", "x".repeat(255_000));
    let mut sent: Vec<_> = hidden().into_iter().map(|(coding, body)| (coding, body, 190_006)).collect();
    sent.push(("gzip", b"no gzip".to_vec(), 190_003));
    sent.push(("gzip", packed("gzip", bomb.as_bytes()), 0));
    sent.push(("gzip", packed("gzip", long.as_bytes()), 0));
    for (at, (coding, body, by)) in sent.iter().enumerate() {
        let path = format!("/{at}");
        assert_eq!(send_coded_to(&gateway, &path, coding, body).status, 200, "{coding}: nothing is refused");
        assert_eq!(&last(&upstream).body, body, "{coding}: it goes on as it came");
        let record = gateway.record(&path, |record| record["path"] == *path);
        let waf = &record["waf"];
        assert_eq!((&waf["outcome"], &waf["by"]), (&json!("detected"), &json!(by)), "{coding}: {record}");
        assert_eq!(waf["rules"].to_string().contains("[1]"), body.len() > 4_000, "{record}");
    }
}

#[test]
fn a_body_of_a_byte_at_a_time_takes_memory_for_its_bytes() {
    let own = Own::new("SecRule ARGS \"@contains bad\" \"id:1,phase:2,deny\"\n");
    let rules = own.settings("requestBody: {limit: 8MiB}");
    let policies = format!("[{{keyAuth: {{}}}}, {}", rules.trim_start_matches('['));
    let (gateway, _upstream) = guarded(&policies, super::CONSUMERS);
    let peak = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the most there was");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    };
    let send = |count: usize| {
        let head = "POST /a HTTP/1.1\nhost: a.test\ncontent-type: text/plain\ntransfer-encoding: chunked";
        gateway.send(head, &[b"1\r\na\r\n".repeat(count), b"0\r\n\r\n".to_vec()].concat()).status
    };
    // The pages of the executable that are used count, too: these are there before.
    assert_eq!(send(100_000), 401);
    let before = peak();
    assert_eq!(send(4_000_000), 401, "it is not known who calls");
    // 32 bytes for each piece would be 128 MB; the bytes are held, and copied to be looked at.
    let more = peak() - before;
    assert!(more < 64 * 1024 * 1024, "{more} bytes for four millions");
}

#[test]
fn what_has_been_looked_at_waits_for_no_leave_of_the_upstreams() {
    let own = Own::new("SecRule ARGS \"@contains bad\" \"id:1,phase:2,deny\"\n");
    let (gateway, upstream) = guarded(&own.settings(""), "");
    let head = format!(
        "POST /a HTTP/1.1\nhost: a.test\ncontent-type: {FORM}\nexpect: 100-continue\ncontent-length: 3"
    );
    assert_eq!(gateway.send(&head, b"a=b").status, 200);
    assert_eq!(upstream.seen()[0].header("expect"), None);
}

#[test]
fn what_is_called_grpc_is_looked_at_where_it_may_be_something_else() {
    let own = Own::new(
        "SecAction \"id:1,phase:1,pass,nolog,ctl:forceRequestBodyVariable=On\"\n\
         SecRule REQUEST_BODY \"@contains bad\" \"id:2,phase:2,deny\"\n",
    );
    let plain = Upstream::echo();
    let grpc = h2::Upstream::echo();
    let gateway = Gateway::start(&format!(
        "globalPolicies: {}
upstreams:
  - {{name: plain, endpoints: [{{address: \"{}\"}}]}}
  - {{name: grpc, protocol: grpc, endpoints: [{{address: \"{}\"}}]}}
routes:
  - {{name: p, match: [{{path: {{prefix: /plain}}}}], backends: [{{upstream: plain}}]}}
  - {{name: b, match: [{{path: {{prefix: /both}}}}], backends: [{{upstream: plain}}, {{upstream: grpc}}]}}
  - {{name: g, match: [{{path: {{prefix: /grpc}}}}], backends: [{{upstream: grpc}}]}}
  - name: m
    match: [{{path: {{prefix: /moved}}}}]
    policies: [{{strangler: {{sticky: {{header: x-user}}, rules: [{{name: all, to: plain, percent: 100}}]}}}}]
    backends: [{{upstream: grpc}}]
",
        own.settings(""),
        plain.address,
        grpc.address
    ));
    h2::run(async {
        let client = h2::Client::connect(gateway.address).await;
        for (path, refused) in [("/plain", true), ("/both", true), ("/moved", true), ("/grpc", false)] {
            for kind in ["application/grpc", "application/grpc+json; charset=utf-8"] {
                let mut request = h2::request("POST", path);
                request.headers_mut().insert("content-type", kind.parse().expect("a value"));
                let answer = client.fetch(request, b"{\"a\": \"bad\"}", None).await.expect("an answer");
                let told = answer.headers.get("grpc-status").map(|status| status.as_bytes().to_vec());
                let is_refused = answer.status == 403 || told.as_deref() == Some(b"7");
                assert_eq!(is_refused, refused, "{path} {kind}: {} {told:?}", answer.status);
            }
        }
    });
    assert_eq!((plain.seen().len(), grpc.seen().len()), (0, 2));
}

#[test]
fn answers_are_judged_by_what_is_in_them_and_as_a_whole() {
    let own = Own::new("SecRule RESPONSE_BODY \"@contains leak\" \"id:1,phase:4,deny\"\n");
    let upstream = Upstream::scripted(move |seen| {
        let (coding, body) = match seen.target() {
            "/deflate" => ("deflate", b"no matter".to_vec()),
            "/broken" => ("gzip", b"a leak that is no gzip".to_vec()),
            target => {
                let (coding, text) = target.split_once('-').expect("a coding and a text");
                let coding = coding.trim_start_matches('/');
                (coding, packed(coding, text.as_bytes()))
            }
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-encoding: {coding}\r\ncontent-length: {length}\r\n\r\n"
        );
        Some([head.into_bytes(), body].concat())
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {}, backends: [{{upstream: u}}]}}]",
        upstream.address,
        own.settings("response: {}")
    ));
    for coding in ["gzip", "br", "zstd"] {
        let ranged = "\nrange: bytes=0-1\nif-range: \"a\"";
        assert_eq!(ask(&gateway, &format!("/{coding}-leak"), ranged).status, 403, "{coding}");
        let seen = last(&upstream);
        assert_eq!((seen.header("range"), seen.header("if-range")), (None, None), "nobody gets it in parts");
        let fine = ask(&gateway, &format!("/{coding}-fine"), "");
        assert_eq!((fine.status, fine.body), (200, packed(coding, b"fine")), "it goes on as it came");
    }
    let unread = || gateway.metric("tidegate_waf_unread_answers_total{policy=\"routes/r\"}");
    assert_eq!(unread(), Some(0.0));
    assert_eq!((ask(&gateway, "/deflate", "").status, ask(&gateway, "/broken", "").status), (200, 200));
    assert_eq!(unread(), Some(2.0), "what nobody could look into is told");
}

#[test]
fn who_leaves_before_there_is_an_answer_is_told_all_the_same() {
    let own = Own::new("SecRule ARGS \"@contains bad\" \"id:1,phase:2,deny\"\n");
    let upstream = Upstream::scripted(|_| {
        pause(1_000);
        None
    });
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {}, backends: [{{upstream: u}}]}}]",
        upstream.address,
        own.settings("mode: detect, response: {}")
    ));
    let mut client = Client::connect(gateway.address);
    client.write("GET /a?a=bad HTTP/1.1\r\nhost: a.test\r\n\r\n");
    eventually("it is asked for", || !upstream.seen().is_empty());
    drop(client);
    let record = gateway.record("who left", |record| record["failure"]["reason"] == "client-left");
    let waf = &record["waf"];
    assert_eq!((&waf["outcome"], &waf["rules"]), (&json!("detected"), &json!([1])), "{record}");
    let counted = "tidegate_waf_requests_total{policy=\"routes/r\",outcome=\"detected\"}";
    eventually("it is counted", || gateway.metric(counted) == Some(1.0));
}

#[test]
fn answers_are_judged_by_choice_and_by_media_type() {
    let own = Own::new(
        "SecRule RESPONSE_BODY \"@rx SQL syntax.*MySQL\" \"id:1,phase:4,deny\"\n\
         SecRule RESPONSE_STATUS \"@streq 507\" \"id:2,phase:3,deny,status:502\"\n",
    );
    let body = "You have an error in your SQL syntax near MySQL";
    let upstream = Upstream::scripted(move |seen| {
        let (status, kind) = match seen.target() {
            "/page" => (200, "text/html; charset=utf-8"),
            "/image" => (200, "image/png"),
            "/full" => (507, "text/html"),
            _ => (200, "text/plain"),
        };
        let body = if seen.target() == "/fine" { "fine" } else { body };
        let length = body.len();
        Some(
            format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
                .into_bytes(),
        )
    });
    let start = |rest: &str| {
        Gateway::start(&format!(
            "accessLog: [{{kind: stdout}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {}, backends: [{{upstream: u}}]}}]",
            upstream.address,
            own.settings(rest)
        ))
    };
    let gateway = start("response: {}");
    for (target, status) in [("/page", 403), ("/image", 200), ("/full", 502), ("/fine", 200), ("/plain", 403)]
    {
        let answer = ask(&gateway, target, "\naccept-encoding: gzip");
        assert_eq!(answer.status, status, "{target}");
        assert!(status == 200 || !String::from_utf8_lossy(&answer.body).contains("MySQL"), "{target}");
    }
    assert!(last(&upstream).header("accept-encoding").is_none(), "what is looked at must be readable");
    let record = gateway.record("the page", |record| record["path"] == "/page");
    assert_eq!((&record["waf"]["by"], &record["stopped_by"]), (&json!(1), &json!("waf")), "{record}");
    let gateway = start("response: {limit: 8}");
    let answer = ask(&gateway, "/page", "");
    assert_eq!((answer.status, &*answer.body), (200, body.as_bytes()), "beyond its bound it passes");
    let gateway = start("");
    assert_eq!((ask(&gateway, "/page", "").status, ask(&gateway, "/full", "").status), (200, 507));
}

#[test]
fn rules_judge_the_head_as_the_client_sent_it() {
    let own = Own::new(
        "SecRuleEngine On\n\
         SecRule REQUEST_METHOD \"@streq POST\" \"id:1,phase:1,deny,status:411,chain\"\n\
           SecRule &REQUEST_HEADERS:Content-Length \"@eq 0\" \"chain\"\n\
             SecRule &REQUEST_HEADERS:Transfer-Encoding \"@eq 0\"\n\
         SecRule REQUEST_HEADERS:Connection \"@contains x-strange\" \"id:2,phase:1,deny,status:400\"\n\
         SecRule &REQUEST_HEADERS:X-Request-Id|&REQUEST_HEADERS:Traceparent|&REQUEST_HEADERS:X-Forwarded-For \"@gt 0\" \"id:3,phase:1,deny,status:409\"\n",
    );
    let (gateway, _upstream) = guarded(&own.settings("mode: enforce"), "");
    assert_eq!(post(&gateway, FORM, "a=1").status, 200);
    let chunked = "POST /a HTTP/1.1\nhost: a.test\ntransfer-encoding: chunked";
    assert_eq!(gateway.send(chunked, b"1\r\na\r\n0\r\n\r\n").status, 200);
    assert_eq!(gateway.send("POST /a HTTP/1.1\nhost: a.test", b"").status, 411);
    assert_eq!(ask(&gateway, "/a", "\nconnection: x-strange").status, 400);
    assert_eq!(ask(&gateway, "/a", "\nx-request-id: mine").status, 409);
    assert_eq!(ask(&gateway, "/a", "").status, 200);
    // Debian's rules count nothing against a form that is sent to an address.
    let (gateway, _upstream) = guarded(&settings("paranoia: 1"), "");
    let address = format!(
        "POST /a HTTP/1.1\nhost: 127.0.0.1:81\nuser-agent: curl/8.5.0\naccept: */*\ncontent-type: {FORM}\ncontent-length: 3"
    );
    assert_eq!(gateway.send(&address, b"a=1").status, 200);
    let with_body = gateway.send(
        "GET /a HTTP/1.1\nhost: a.test\nuser-agent: curl/8.5.0\naccept: */*\ncontent-length: 3",
        b"a=1",
    );
    assert_eq!(with_body.status, 403);
    let record =
        gateway.record("the GET with a body", |record| record["waf"]["rules"].to_string().contains("920170"));
    assert_eq!(record["method"], "GET", "{record}");
}

#[test]
fn it_judges_before_anybody_is_known_and_after_addresses() {
    let rules = settings("");
    let policies = format!("[{{keyAuth: {{}}}}, {}", rules.trim_start_matches('['));
    let (gateway, _upstream) = guarded(&policies, super::CONSUMERS);
    assert_eq!((ask(&gateway, SQLI, "").status, ask(&gateway, "/a", "").status), (403, 401));
    let policies = format!("[{{ipRestriction: {{deny: [127.0.0.0/8]}}}}, {}", rules.trim_start_matches('['));
    let (gateway, _upstream) = guarded(&policies, "");
    assert_eq!(ask(&gateway, SQLI, "").status, 403);
    let record = gateway.record("the call", |record| record["status"] == 403);
    assert_eq!(record["stopped_by"], "ipRestriction", "{record}");
}

#[test]
fn a_call_that_takes_too_many_steps_is_refused() {
    let mut text = String::new();
    for id in 1..100 {
        text.push_str(&format!(
            "SecRule ARGS \"@validateByteRange 0-255\" \"id:{id},phase:2,deny,t:none\"\n"
        ));
    }
    let own = Own::new(&text);
    let (gateway, _upstream) = guarded(&own.settings("maxSteps: 1000000"), "");
    assert_eq!(post(&gateway, FORM, "a=abc").status, 200);
    let long = format!("a={}e", "abcd".repeat(40_000));
    assert_eq!(post(&gateway, FORM, &long).status, 403);
    eventually("the metric", || gateway.metric("tidegate_waf_out_of_steps_total") == Some(1.0));
}

#[test]
fn changed_rules_are_taken_in_by_a_reload_and_broken_ones_are_not() {
    let own = Own::new("SecRule ARGS \"@contains bad\" \"id:1,phase:2,deny\"\n");
    let upstream = Upstream::echo();
    let text = format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: {}, backends: [{{upstream: u}}]}}]",
        upstream.address,
        own.settings("")
    );
    let gateway = Gateway::start(&text);
    let listening = fs::read_to_string(gateway.config()).expect("the configuration");
    let listening =
        listening.lines().filter(|line| !line.starts_with("admin:")).collect::<Vec<_>>().join("\n");
    assert_eq!((ask(&gateway, "/?a=bad", "").status, ask(&gateway, "/?a=new", "").status), (403, 200));
    own.write("SecRule ARGS \"@contains new\" \"id:1,phase:2,deny\"\n");
    gateway.reload(&format!("{listening}\n# again"));
    assert_eq!((ask(&gateway, "/?a=bad", "").status, ask(&gateway, "/?a=new", "").status), (200, 403));
    own.write("SecRule NOTHING \"@contains new\" \"id:1,phase:2,deny\"\n");
    gateway.reload(&format!("{listening}\n# once more"));
    assert_eq!(ask(&gateway, "/?a=new", "").status, 403, "the old rules go on");
}

#[test]
fn rules_that_cannot_be_used_refuse_the_configuration_by_file_and_line() {
    let own = Own::new("# a comment\nSecRule ARGS \"@rx (\" \"id:1,phase:2,deny\"\nSecFoo on\n");
    refused(&with_policies(&own.settings("")), &["own.conf:2", "unclosed", "own.conf:3", "SecFoo"]);
    refused(&with_policies("[{waf: {rules: []}}]"), &["at least one folder"]);
    refused(&with_policies("[{waf: {rules: [rules]}}]"), &["absolute path"]);
    refused(&with_policies("[{waf: {rules: [/nowhere/at/all]}}]"), &["/nowhere/at/all"]);
    refused(&with_policies(&settings("paranoia: 5")), &["paranoia"]);
    refused(&with_policies(&settings("requestBody: {limit: 33MiB}")), &["32MiB or less"]);
    refused(&with_policies(&settings("response: {limit: 1GiB}")), &["32MiB or less"]);
    refused(&with_policies(&settings("paranoia: 2, detectionParanoia: 1")), &["at least `paranoia`"]);
    refused(&with_policies(&settings("exclusions: [{rules: [x]}]")), &["the id of a rule"]);
    refused(&with_policies(&settings("exclusions: [{paths: [/a]}]")), &["`rules` or `tags`"]);
    refused(
        &with_policies(&settings("exclusions: [{rules: ['942100'], paths: [/a, login]}]")),
        &["waf.exclusions[0].paths[1]", "begins with `/`", "`/login`"],
    );
    refused(&with_policies(&settings("allowedMethods: [GET, post]")), &["allowedMethods[1]", "`POST`"]);
    refused(
        &with_policies(&settings("exclusions: [{rules: ['942100'], targets: ['NOTHING']}]")),
        &["NOTHING"],
    );
}

#[test]
fn what_has_no_effect_in_the_rules_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tidegate.yaml");
    fs::write(&path, with_policies(&settings(""))).expect("a file");
    let (code, out, problems) = super::super::harness::run(&["validate", "-c", &path.display().to_string()]);
    assert_eq!(code, 0, "{problems}");
    // Long lines are broken, also within names.
    let told = format!("{out}{problems}").replace("\n  │ ", "");
    for part in ["REQUEST-910-IP-REPUTATION.conf:", "@rbl", "@geoLookup", "ctl:auditLogParts"] {
        assert!(told.contains(part), "lacks {part}: {told}");
    }
}
