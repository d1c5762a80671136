//! What the language promises, rule by rule.

use std::sync::Arc;

use waf::{
    Collections, Exclusion, Finding, Head, Mode, Options, Phase, Rules, Source, Target, Transaction, Verdict,
};

use super::fuzz::Nothing;

fn sources(text: &str) -> [Source; 1] {
    [Source { name: "rules.conf".into(), text: text.into() }]
}

fn compile(text: &str, options: &Options) -> Result<(Rules, Vec<Finding>), Vec<Finding>> {
    Rules::compile(&sources(text), &Nothing, options)
}

/// A gateway with rules.
struct Site {
    rules: Arc<Rules>,
    collections: Arc<Collections>,
    now: u64,
}

/// What a request is like.
#[derive(Clone, Copy)]
struct Asked<'a> {
    target: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
}

const GET: Asked<'_> = Asked { target: "/", headers: &[], body: "" };

fn get(target: &str) -> Asked<'_> {
    Asked { target, ..GET }
}

fn post<'a>(headers: &'a [(&'a str, &'a str)], body: &'a str) -> Asked<'a> {
    Asked { headers, body, ..GET }
}

impl Site {
    fn new(text: &str) -> Self {
        Self::with(text, &Options::default())
    }

    fn with(text: &str, options: &Options) -> Self {
        let (rules, _) = compile(text, options).unwrap_or_else(|errors| panic!("{errors:?}"));
        Self { rules: Arc::new(rules), collections: Arc::new(Collections::new(100)), now: 1_000 }
    }

    fn begin(&self, asked: &Asked<'_>, steps: usize) -> Transaction {
        let head = Head {
            method: if asked.body.is_empty() { b"GET" } else { b"POST" },
            target: asked.target.as_bytes(),
            protocol: b"HTTP/1.1",
            client: [192, 0, 2, 1].into(),
            server: b"api.example.test",
            unique: b"unique",
            now: self.now,
        };
        let headers = asked.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Transaction::new(self.rules.clone(), self.collections.clone(), &head, headers, steps)
    }

    fn judge(&self, asked: &Asked<'_>) -> Transaction {
        let mut call = self.begin(asked, 10_000_000);
        call.run(Phase::Head);
        call.body(asked.body.as_bytes(), true);
        call.run(Phase::Body);
        call
    }

    fn is_refused(&self, asked: &Asked<'_>) -> bool {
        self.judge(asked).verdict().is_some()
    }
}

fn fired(call: &Transaction) -> Vec<u32> {
    call.fired().iter().map(|fired| fired.rule).collect()
}

#[test]
fn arguments_of_every_kind_of_body_are_looked_at() {
    let site =
        Site::new(r#"SecRule ARGS|XML:/*|XML://@*|FILES "@contains attack" "id:1,phase:2,deny,status:406""#);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let json = [("Content-Type", "application/json; charset=utf-8")];
    let problem = [("Content-Type", "application/problem+json")];
    let xml = [("Content-Type", "application/soap+xml")];
    let multipart = [("Content-Type", "multipart/form-data; boundary=b")];
    let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nattack\r\n--b--\r\n";
    let file =
        "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"attack.sh\"\r\n\r\nx\r\n--b--\r\n";
    for asked in [
        get("/?a=att%61ck"),
        post(&form, "x=1&a=an+attack"),
        post(&json, r#"{"a": [{"b": "an attack"}]}"#),
        post(&json, r#"{"a": "an att\u0061ck"}"#),
        post(&problem, r#"["attack"]"#),
        post(&xml, "<a><b>attack</b></a>"),
        post(&xml, "<a b='attack'/>"),
        post(&multipart, part),
        post(&multipart, file),
    ] {
        let call = site.judge(&asked);
        assert_eq!(call.verdict(), Some(&Verdict::Deny(406)), "{} {}", asked.target, asked.body);
        assert_eq!(fired(&call), [1]);
    }
    for asked in [get("/attack"), post(&form, "a=b"), post(&json, r#"{"attack": "b"}"#), post(&[], "attack")]
    {
        assert!(!site.is_refused(&asked), "{} {}", asked.target, asked.body);
    }
}

#[test]
fn a_body_that_cannot_be_read_is_refused_with_400() {
    let site = Site::new("");
    for (kind, body) in [
        ("application/json", "{"),
        ("application/vnd.a_b+json", "{"),
        ("text/json", "{"),
        ("text/xml", "<a>"),
        ("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx"),
        (
            "multipart/form-data; boundary=b",
            "x\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\n",
        ),
    ] {
        let call = site.judge(&post(&[("content-type", kind)], body));
        assert_eq!(call.verdict(), Some(&Verdict::Deny(400)), "{kind} {body}");
    }
    for kinds in [
        [("content-type", "application/json"), ("content-type", "application/json")],
        [("content-type", "text/plain"), ("Content-Type", "application/x-www-form-urlencoded")],
    ] {
        let call = site.judge(&post(&kinds, "1"));
        assert_eq!(call.verdict(), Some(&Verdict::Deny(400)), "nobody knows which of them counts: {kinds:?}");
    }
    let quoted = [("content-type", "multipart/form-data; boundary=\"b\"")];
    assert!(
        !site.is_refused(&post(
            &quoted,
            "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\n"
        ))
    );
}

#[test]
fn scores_add_up_by_matches_and_decide_at_the_end() {
    let site = Site::new(
        r#"
SecDefaultAction "phase:2,log,pass"
SecAction "id:1,phase:1,pass,nolog,setvar:tx.anomaly_score=0,setvar:tx.critical=5"
SecRule ARGS "@rx (?i)evil" "id:2,block,setvar:tx.anomaly_score=+%{tx.critical},severity:CRITICAL"
SecRule TX:ANOMALY_SCORE "@ge 10" "id:3,deny,log,status:403,msg:'score %{tx.anomaly_score}'"
"#,
    );
    assert!(!site.is_refused(&get("/?a=evil")));
    let call = site.judge(&get("/?a=evil&b=EVIL"));
    assert_eq!(
        (call.verdict(), call.refused_by(), call.scores().0),
        (Some(&Verdict::Deny(403)), Some(3), 10)
    );
    assert_eq!(fired(&call), [2, 3]);
    assert_eq!(&*call.fired()[0].at, b"ARGS:b");
}

#[test]
fn chains_match_as_a_whole_and_captures_go_on() {
    let site = Site::new(
        r#"
SecRule ARGS:a "@rx ^(\w+)-(\w+)$" "id:1,phase:2,deny,capture,chain"
    SecRule TX:2 "@streq bad" "chain,t:lowercase"
    SecRule &ARGS "@eq 2"
"#,
    );
    assert!(site.is_refused(&get("/?a=x-BAD&b=1")));
    for target in ["/?a=x-good&b=1", "/?a=x-bad", "/?b=x-bad&c=1", "/?a=x&b=bad"] {
        assert!(!site.is_refused(&get(target)), "{target}");
    }
}

#[test]
fn markers_are_skipped_to_and_count_in_their_phase() {
    let site = Site::new(
        r#"
SecRule ARGS:level "@lt 2" "id:1,phase:1,pass,nolog,skipAfter:END"
SecRule ARGS:level "@lt 2" "id:2,phase:2,pass,nolog,skipAfter:END"
SecRule ARGS:a "@rx ." "id:3,phase:1,deny"
SecRule ARGS:b "@rx ." "id:4,phase:2,deny"
SecMarker END
SecRule ARGS:c "@rx ." "id:5,phase:2,deny"
"#,
    );
    for (target, want) in [
        ("/?level=1&a=1", false),
        ("/?level=2&a=1", true),
        ("/?level=1&b=1", false),
        ("/?level=2&b=1", true),
        ("/?level=1&c=1", true),
    ] {
        assert_eq!(site.is_refused(&get(target)), want, "{target}");
    }
}

#[test]
fn targets_are_left_out_by_name_pattern_directive_control_and_setting() {
    let text = r#"
SecRule REQUEST_FILENAME "@beginsWith /free/" "id:1,phase:1,pass,nolog,ctl:ruleRemoveTargetById=9;ARGS:x"
SecRule REQUEST_FILENAME "@beginsWith /open/" "id:2,phase:1,pass,nolog,ctl:ruleRemoveByTag=probe"
SecRule REQUEST_FILENAME "@beginsWith /off/" "id:3,phase:1,pass,nolog,ctl:ruleEngine=Off"
SecRule ARGS|!ARGS:ok|!ARGS:/^skip_/ "@contains bad" "id:9,phase:2,deny,tag:'probe'"
SecRuleUpdateTargetById 9 "!ARGS:later"
"#;
    let exclusion = Exclusion {
        ids: vec![(9, 9)],
        targets: vec![Target("ARGS:set".into())],
        paths: vec!["/api/*".into()],
        ..Exclusion::default()
    };
    let site = Site::with(text, &Options { exclusions: vec![exclusion], ..Options::default() });
    for (target, want) in [
        ("/?x=bad", true),
        ("/?OK=bad", false),
        ("/?skip_it=bad", false),
        ("/?later=bad", false),
        ("/free/?x=bad", false),
        ("/free/?y=bad", true),
        ("/open/?x=bad", false),
        ("/off/?x=bad", false),
        ("/api/a?set=bad", false),
        ("/api/a?x=bad", true),
        ("/other?set=bad", true),
    ] {
        assert_eq!(site.is_refused(&get(target)), want, "{target}");
    }
    let gone = Exclusion { tags: vec!["probe".into()], ..Exclusion::default() };
    let site = Site::with(text, &Options { exclusions: vec![gone], ..Options::default() });
    assert!(!site.is_refused(&get("/?x=bad")));
    let removed = format!("{text}\nSecRuleRemoveById 5-9");
    assert!(!Site::new(&removed).is_refused(&get("/?x=bad")));
    let updated = format!("{text}\nSecRuleUpdateActionById 9 \"pass\"");
    assert!(!Site::new(&updated).is_refused(&get("/?x=bad")));
}

#[test]
fn each_step_is_looked_at_where_that_is_asked() {
    let rule = |multi| {
        format!(
            r#"SecRule ARGS "@contains <b>" "id:1,phase:2,deny,t:none,t:htmlEntityDecode,t:removeWhitespace,t:length{multi}""#
        )
    };
    assert!(Site::new(&rule(",multiMatch")).is_refused(&get("/?a=%26lt;b%26gt;")));
    assert!(!Site::new(&rule("")).is_refused(&get("/?a=%26lt;b%26gt;")));
}

#[test]
fn a_command_line_is_looked_at_again_as_modsecurity_does() {
    let rule = |transform| {
        format!(
            "SecRule ARGS \"@contains ../\" \"id:1,phase:2,pass,t:none,{transform},multiMatch,setvar:tx.anomaly_score=+5\""
        )
    };
    let score = |transform| Site::new(&rule(transform)).judge(&get("/?a=../b")).scores().0;
    assert_eq!((score("t:cmdLine"), score("t:removeNulls"), score("t:removeNulls,t:cmdLine")), (10, 5, 10));
}

#[test]
fn negated_rules_and_patterns_with_macros_mean_what_they_say() {
    let site = Site::new(
        r#"
SecAction "id:1,phase:1,pass,nolog,setvar:'tx.allowed=utf-8|latin1'"
SecRule REQUEST_METHOD "!@within GET HEAD" "id:2,phase:1,deny,status:405"
SecRule ARGS:charset "!@rx ^%{tx.allowed}$" "id:3,phase:2,deny"
SecRule ARGS:word "!@rx union select" "id:4,phase:2,deny"
"#,
    );
    for (target, want) in [
        ("/?charset=utf-8", false),
        ("/?charset=utf-7", true),
        ("/?word=union+select", false),
        ("/?word=other", true),
        ("/", false),
    ] {
        assert_eq!(site.is_refused(&get(target)), want, "{target}");
    }
    assert_eq!(site.judge(&post(&[], "x")).verdict(), Some(&Verdict::Deny(405)));
}

#[test]
fn what_is_counted_by_address_goes_on_over_calls_and_expires() {
    let mut site = Site::new(
        r#"
SecAction "id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR},setvar:ip.hits=+1,expirevar:ip.hits=10"
SecRule IP:HITS "@gt 2" "id:2,phase:1,deny,status:429"
"#,
    );
    let verdicts: Vec<bool> = (0..4).map(|_| site.is_refused(&GET)).collect();
    assert_eq!(verdicts, [false, false, true, true]);
    site.now += 20_000;
    assert!(!site.is_refused(&GET));
}

#[test]
fn nothing_is_refused_where_it_is_only_detected() {
    let text = r#"SecRule ARGS "@contains bad" "id:1,phase:1,deny,status:406""#;
    let site = Site::with(text, &Options { mode: Some(Mode::DetectionOnly), ..Options::default() });
    let call = site.judge(&get("/?a=bad"));
    assert_eq!((call.verdict(), call.would(), call.refused_by()), (None, Some(&Verdict::Deny(406)), Some(1)));
    let on = format!("SecAction \"id:2,phase:1,pass,ctl:ruleEngine=On\"\n{text}");
    let site = Site::with(&on, &Options { mode: Some(Mode::DetectionOnly), ..Options::default() });
    assert!(!site.is_refused(&get("/?a=bad")), "a rule cannot switch refusing on");
    assert!(!Site::new(&format!("SecRuleEngine Off\n{text}")).is_refused(&get("/?a=bad")));
}

#[test]
fn answers_are_judged_too() {
    let site = Site::new(
        r#"
SecRule RESPONSE_STATUS "@rx ^5" "id:1,phase:3,deny,status:502"
SecRule RESPONSE_BODY "@rx SQL syntax.*MySQL" "id:2,phase:4,deny"
"#,
    );
    let judge = |status, body: &[u8]| {
        let mut call = site.judge(&GET);
        call.answer(b"HTTP/1.1", status, [(&b"content-type"[..], &b"text/html"[..])].into_iter());
        call.run(Phase::AnswerHead);
        call.answer_body(body, true);
        call.run(Phase::AnswerBody);
        call.verdict().cloned()
    };
    assert_eq!(judge(200, b"fine"), None);
    assert_eq!(judge(500, b"fine"), Some(Verdict::Deny(502)));
    assert_eq!(judge(200, b"You have an error in your SQL syntax; see MySQL"), Some(Verdict::Deny(403)));
}

#[test]
fn a_call_takes_no_more_steps_than_it_may_and_lets_others_run_between() {
    let mut text = String::new();
    for id in 1..200 {
        text.push_str(&format!(
            "SecRule ARGS \"@rx ^[ab]+[cd]{{{id}}}$\" \"id:{id},phase:2,deny,t:none,t:urlDecode\"\n"
        ));
    }
    let site = Site::new(&text);
    let long = format!("a={}", "ab".repeat(50_000));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let mut call = site.begin(&post(&form, &long), 1_000_000);
    call.body(long.as_bytes(), true);
    call.begin(Phase::Body);
    let mut slices = 0;
    while call.advance(100_000) == waf::Progress::More {
        slices += 1;
    }
    assert!(slices >= 5, "{slices}");
    let few = Site::new("SecRule ARGS \"@unconditionalMatch\" \"id:1,phase:2,pass\"");
    let mut call = few.begin(&post(&form, &long), 50_000);
    call.body(long.as_bytes(), true);
    call.run(Phase::Body);
    assert_eq!(call.verdict(), Some(&Verdict::OutOfSteps));
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_remedy() {
    for (text, line, part) in [
        ("SecRule ARGS", 1, "2 words"),
        ("\nSecRule NOTHING \"@rx a\" \"id:1\"", 2, "no variable `NOTHING`"),
        ("SecRule FILES_TMPNAMES \"@inspectFile x\" \"id:1\"", 1, "not written to files"),
        ("SecRule ARGS \"@inspectFile x\" \"id:1\"", 1, "@inspectfile"),
        ("SecRule ARGS \"@rx (\" \"id:1\"", 1, "unclosed group"),
        ("SecRule ARGS \"@pmFromFile none.data\" \"id:1\"", 1, "cannot read `none.data`"),
        ("SecRule ARGS \"@rx a\" \"phase:1\"", 1, "expected `id`"),
        ("SecRule ARGS \"@rx a\" \"id:1\"\nSecAction \"id:1\"", 2, "is that of another rule"),
        ("SecRule ARGS \"@rx a\" \"id:1,chain\"\nSecMarker X", 1, "no rule follows"),
        (
            "SecRule ARGS \"@rx a\" \"id:1,chain\"\nSecRule ARGS \"@rx b\" \"id:2\"",
            2,
            "first rule of a chain",
        ),
        ("SecRule ARGS \"@rx a\" \"id:1,skipAfter:X\"", 1, "no `SecMarker`"),
        ("SecRule ARGS \"@rx a\" \"id:1,t:rot13\"", 1, "t:rot13"),
        ("SecRule ARGS \"@rx a\" \"id:1,exec:x\"", 1, "`exec` is not supported"),
        ("SecRule ARGS \"@rx a\" \"id:1,ctl:x=y\"", 1, "`ctl:x`"),
        ("SecRule ARGS \"@rx a\" \"id:1,setvar:env.a=b\"", 1, "TX, IP"),
        ("SecRule XML:/a/b \"@rx a\" \"id:1\"", 1, "XPath"),
        ("SecRemoteRules key https://x", 1, "not fetched"),
        ("SecRule RULE:id \"@rx a\" \"id:1\"", 1, "RULE is for macros"),
        ("SecRule REMOTE_PORT \"@eq 1\" \"id:1\"", 1, "does not have it"),
        ("SecAction \"id:2\"\nSecRuleUpdateTargetById 2:7 ARGS", 2, "there is no 7"),
        ("SecAction \"id:2\"\nSecRuleUpdateTargetById 2:abc ARGS", 2, "found `2:abc`"),
        ("SecFoo on", 1, "not known"),
        ("Include x.conf", 1, "names no file"),
        ("SecRule ARGS \"@rx a", 1, "not closed"),
        ("SecRule ARGS \"@eq %{tx}%{nothing}\" \"id:1\"", 1, "macro"),
    ] {
        let errors = compile(text, &Options::default()).expect_err(text);
        let found = |error: &Finding| {
            error.place.line == line && error.message.to_lowercase().contains(&part.to_lowercase())
        };
        assert!(errors.iter().any(found), "{text}: expected `{part}`, found {errors:?}");
        assert!(errors.iter().all(|error| &*error.place.file == "rules.conf"), "{errors:?}");
    }
}

#[test]
fn what_has_no_effect_is_warned_about() {
    for (text, part) in [
        ("SecRequestBodyLimit 100", "`requestBody` of the policy"),
        ("SecAuditEngine On", "record of each call"),
        ("SecUnicodeMapFile unicode.mapping 20127", "low byte"),
        ("SecRule ARGS \"@rbl x\" \"id:1\"", "never matches"),
        ("SecRule ARGS \"@geoLookup\" \"id:1\"", "never matches"),
        ("SecAction \"id:1,ctl:auditLogParts=+E\"\nSecAction \"id:2,ctl:auditLogParts=+E\"", "2 times"),
        ("SecMarker A\nSecMarker A", "of this name before"),
        ("SecAction \"id:1,sanitiseArg:password\"", "recordMatches"),
        ("SecRuleRemoveById 7", "no rule before this line"),
    ] {
        let (_, warnings) =
            compile(text, &Options::default()).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        assert!(warnings.iter().any(|warning| warning.message.contains(part)), "{text}: {warnings:?}");
    }
    let (_, warnings) =
        compile("SecComponentSignature \"x\"\nSecCollectionTimeout 600", &Options::default()).expect("good");
    assert!(warnings.is_empty());
}

/// The forms that the Core Rule Set has from 4 on: levels of their own for blocking and detecting, scores by level that
/// are added up in either phase, early blocking, variables whose names begin with digits.
#[test]
fn scores_are_added_up_as_the_fourth_version_does() {
    let text = r#"
SecDefaultAction "phase:1,log,auditlog,pass"
SecDefaultAction "phase:2,log,auditlog,pass"
SecAction "id:10,phase:1,pass,t:none,nolog,setvar:tx.blocking_inbound_anomaly_score=0,setvar:tx.critical=5,setvar:tx.threshold=5"
SecRule &TX:detection_paranoia_level "@eq 0" "id:11,phase:1,pass,nolog,setvar:'tx.detection_paranoia_level=%{TX.BLOCKING_PARANOIA_LEVEL}'"
SecRule REQUEST_HEADERS:User-Agent "@rx (?i)^evil" "id:20,phase:1,block,setvar:'tx.inbound_anomaly_score_pl1=+%{tx.critical}'"
SecRule TX:DETECTION_PARANOIA_LEVEL "@lt 2" "id:21,phase:2,pass,nolog,skipAfter:END-LEVELS"
SecRule REQUEST_FILENAME|ARGS_NAMES|ARGS|XML:/*|XML://@* "@rx [^\s\x0b-\"/:-\?\[-\]a-z0-9=\{\}]" \
    "id:22,phase:2,block,capture,t:none,t:urlDecodeUni,setvar:'tx.inbound_anomaly_score_pl2=+%{tx.critical}'"
SecMarker "END-LEVELS"
SecRule TX:BLOCKING_PARANOIA_LEVEL "@ge 1" "id:30,phase:1,pass,nolog,setvar:'tx.blocking_inbound_anomaly_score=+%{tx.inbound_anomaly_score_pl1}'"
SecAction "id:31,phase:2,pass,nolog,setvar:'tx.blocking_inbound_anomaly_score=0'"
SecRule TX:BLOCKING_PARANOIA_LEVEL "@ge 1" "id:32,phase:2,pass,nolog,setvar:'tx.blocking_inbound_anomaly_score=+%{tx.inbound_anomaly_score_pl1}'"
SecRule TX:BLOCKING_PARANOIA_LEVEL "@ge 2" "id:33,phase:2,pass,nolog,setvar:'tx.blocking_inbound_anomaly_score=+%{tx.inbound_anomaly_score_pl2}'"
SecRule &ARGS:_charset_ "!@eq 0" "id:34,phase:2,pass,nolog,setvar:tx.34_charset=|%{ARGS._charset_}|,chain"
    SecRule TX:34_CHARSET "!@within |utf-8| |latin1|" "t:lowercase,setvar:tx.blocking_inbound_anomaly_score=+5"
SecRule TX:BLOCKING_INBOUND_ANOMALY_SCORE "@ge %{tx.threshold}" "id:40,phase:1,deny,t:none,chain"
    SecRule TX:EARLY_BLOCKING "@eq 1"
SecRule TX:BLOCKING_INBOUND_ANOMALY_SCORE "@ge %{tx.threshold}" "id:41,phase:2,deny,t:none"
"#;
    let at = |blocking: &str, detection: &str, early: &str| {
        let variables = [
            ("blocking_paranoia_level", blocking),
            ("detection_paranoia_level", detection),
            ("early_blocking", early),
        ];
        let variables =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Site::with(text, &Options { variables, ..Options::default() })
    };
    let evil = Asked { headers: &[("User-Agent", "Evil/1")], ..GET };
    assert_eq!(at("1", "1", "0").judge(&evil).refused_by(), Some(41));
    assert_eq!(at("1", "1", "1").judge(&evil).refused_by(), Some(40));
    let odd = get("/?a=x%7e");
    assert!(!at("1", "1", "0").is_refused(&odd) && at("2", "2", "0").is_refused(&odd));
    let noted = at("1", "2", "0").judge(&odd);
    assert_eq!((noted.verdict(), fired(&noted)), (None, vec![22]), "it is told and does not count");
    let site = at("1", "1", "0");
    assert!(site.is_refused(&get("/?_charset_=utf-7")) && !site.is_refused(&get("/?_charset_=UTF-8")));
}

/// What else its files have that 3.3 has not: names by patterns with bytes in them, bytes in braces, headers of parts that
/// are put under names of their own, a share of the calls that is judged, texts over several lines.
#[test]
fn names_bytes_parts_and_shares_are_written_as_in_the_fourth_version() {
    let site = Site::new(
        r#"
SecRule REQUEST_COOKIES:/\x22?\x24Version/ "@streq 1" "id:1,phase:1,deny,status:401,t:none,t:lowercase"
SecRule ARGS "@rx \x{e2}\x91[\xa0-\x{bf}]" "id:2,phase:2,deny,status:402,t:none,msg:'One: \
two=%{tx.1}, \
three'"
SecRule MULTIPART_PART_HEADERS "@rx ^content-type\s*:\s*(.*)$" "id:3,phase:2,pass,nolog,capture,t:none,t:lowercase,\
    setvar:'tx.part_type_%{tx.parts}=%{tx.1}',setvar:'tx.parts=+1'"
SecRule TX:/PART_TYPE_*/ "!@within text/plain image/png" "id:4,phase:2,deny,status:404"
SecRule &MULTIPART_PART_HEADERS:_charset_ "!@eq 0" "id:5,phase:2,deny,status:405"
"#,
    );
    let status = |asked: &Asked<'_>| match site.judge(asked).verdict() {
        Some(Verdict::Deny(status)) => *status,
        _ => 200,
    };
    assert_eq!(status(&Asked { headers: &[("Cookie", "$Version=1; a=b")], ..GET }), 401);
    assert_eq!((status(&get("/?a=%e2%91%a0")), status(&get("/?a=%e2%92%a0"))), (402, 200));
    let form = [("content-type", "multipart/form-data; boundary=b")];
    let part = |name: &str, kind: &str| {
        format!("--b\r\nContent-Disposition: form-data; name={name}\r\nContent-Type: {kind}\r\n\r\nx\r\n")
    };
    for (name, kind, want) in
        [("a", "text/plain", 200), ("a", "text/html", 404), ("_charset_", "text/plain", 405)]
    {
        let body = format!("{}{}--b--\r\n", part("first", "image/png"), part(name, kind));
        assert_eq!(status(&post(&form, &body)), want, "{name} {kind}");
    }
    let share = |percent: &str| {
        let variables = vec![("percent".to_owned(), percent.to_owned())];
        let text = r#"
SecRule UNIQUE_ID "@rx ^[a-f]*([0-9])[a-f]*([0-9])" "id:1,phase:1,pass,nolog,capture,t:sha1,t:hexEncode,setvar:'TX.drawn=%{TX.1}%{TX.2}'"
SecRule TX:drawn "!@lt %{tx.percent}" "id:2,phase:1,pass,nolog,tag:'set',ctl:ruleRemoveByTag=set"
SecRule ARGS "@contains bad" "id:3,phase:2,deny,tag:'set'"
"#;
        Site::with(text, &Options { variables, ..Options::default() }).is_refused(&get("/?a=bad"))
    };
    assert_eq!((share("0"), share("100")), (false, true));
}

#[test]
fn settings_win_over_a_setup_file_and_begin_a_call() {
    let text = "SecAction \"id:1,phase:1,pass,nolog,setvar:tx.level=1\"";
    let rest = "SecRule TX:level \"@ge 3\" \"id:2,phase:1,deny\"\nSecRule TX:given \"!@streq x\" \"id:3,phase:1,deny,status:400\"";
    let options = Options {
        pinned: vec![("level".into(), "3".into())],
        pinned_after: 1,
        variables: vec![("given".into(), "x".into())],
        ..Options::default()
    };
    let sources = [text, rest].map(|text| Source { name: "a".into(), text: text.into() });
    let (rules, _) = Rules::compile(&sources, &Nothing, &options).expect("good");
    let site = Site { rules: Arc::new(rules), collections: Arc::new(Collections::new(1)), now: 1 };
    assert_eq!(site.judge(&GET).verdict(), Some(&Verdict::Deny(403)));
}

/// Whether something takes less than this long; much more than it should, much less than it would.
fn is_quick(milliseconds: u128, run: impl FnOnce()) -> bool {
    let start = std::time::Instant::now();
    run();
    start.elapsed().as_millis() < milliseconds
}

#[test]
fn a_long_word_is_judged_in_time() {
    let site = Site::new(r#"SecRule ARGS "@detectSQLi" "id:1,phase:2,deny,t:none""#);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let long = format!("a={}", "a.".repeat(500_000));
    assert!(is_quick(5_000, || assert!(!site.is_refused(&post(&form, &long)))));
}

#[test]
fn a_body_that_would_be_copied_without_bound_is_refused() {
    let site = Site::new("SecArgumentsLimit 20000");
    let json = [("content-type", "application/json")];
    let body = format!(r#"{{"{}": [1{}]}}"#, "k".repeat(500), ",1".repeat(19_000));
    assert_eq!(site.judge(&post(&json, &body)).verdict(), Some(&Verdict::Deny(400)));
}

#[test]
fn names_below_long_ones_and_of_what_is_empty_are_looked_at() {
    let site = Site::new(r#"SecRule ARGS_NAMES "@contains <script>" "id:1,phase:2,deny""#);
    let json = [("content-type", "application/json")];
    for body in [
        format!(r#"{{"{}": {{"<script>alert(1)</script>": 1}}}}"#, "k".repeat(520)),
        r#"{"k": {"<script>alert(1)</script>": {}}}"#.into(),
        r#"{"k": {"<script>alert(1)</script>": []}}"#.into(),
    ] {
        assert_eq!(site.judge(&post(&json, &body)).refused_by(), Some(1), "{body}");
    }
}

#[test]
fn entities_do_not_hide_what_an_upstream_would_read() {
    let site = Site::new("");
    let xml = [("content-type", "text/xml")];
    for body in [
        "<!DOCTYPE a [<!ENTITY x \"1' UNION SELECT password FROM users-- \">]><a>&x;</a>",
        "<!DOCTYPE a SYSTEM 'http://192.0.2.1/a.dtd'><a>&x;</a>",
        "<a b='&x;'/>",
    ] {
        assert_eq!(site.judge(&post(&xml, body)).verdict(), Some(&Verdict::Deny(400)), "{body}");
    }
    assert!(!site.is_refused(&post(&xml, "<!DOCTYPE a SYSTEM 'a.dtd'><a b='&lt;'>&#39;</a>")));
}

#[test]
fn arguments_are_as_many_as_the_rules_say() {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let many = |count: usize| vec!["a=1"; count].join("&");
    let usual = Site::new("");
    assert!(!usual.is_refused(&post(&form, &many(1_000))));
    assert_eq!(usual.judge(&post(&form, &many(1_001))).verdict(), Some(&Verdict::Deny(400)));
    assert!(!usual.is_refused(&get(&format!("/?{}", many(1_000)))));
    assert_eq!(usual.judge(&get(&format!("/?{}", many(1_001)))).verdict(), Some(&Verdict::Deny(400)));
    let half = format!("/?{}", many(600));
    let both = Asked { target: &half, headers: &form, body: &many(600) };
    assert_eq!(usual.judge(&both).verdict(), Some(&Verdict::Deny(400)), "they are counted together");
    let more = Site::new("SecArgumentsLimit 5000");
    assert!(!more.is_refused(&post(&form, &many(5_000))) && more.is_refused(&post(&form, &many(5_001))));
    assert!(compile("SecArgumentsLimit 20001", &Options::default()).is_err());
}

#[test]
fn rules_of_exclusions_may_come_in_any_order() {
    let text = r#"
SecRule ARGS "@contains bad" "id:10,phase:2,deny,tag:'one'"
SecRule ARGS "@contains bad" "id:20,phase:2,deny,tag:'two'"
SecRule ARGS "@contains bad" "id:30,phase:2,deny,tag:'two'"
"#;
    for (ids, tags) in [
        (vec![(30, 30), (20, 20), (10, 10)], vec![]),
        (vec![(20, 30)], vec!["one".to_owned(), "two".to_owned()]),
    ] {
        let exclusion =
            Exclusion { ids, tags, targets: vec![Target("ARGS:x".into())], ..Exclusion::default() };
        let site = Site::with(text, &Options { exclusions: vec![exclusion], ..Options::default() });
        assert!(!site.is_refused(&get("/?x=bad")) && site.is_refused(&get("/?y=bad")));
    }
}

#[test]
fn who_is_allowed_a_phase_is_judged_in_the_next() {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let bad = post(&form, "a=bad");
    for (allow, wants, is_refused) in
        [("allow:phase", true, true), ("allow:request", false, false), ("allow", false, false)]
    {
        let site = Site::new(&format!(
            "SecAction \"id:1,phase:1,nolog,{allow}\"\nSecRule ARGS \"@contains bad\" \"id:2,phase:2,deny\""
        ));
        let mut call = site.begin(&bad, 1_000_000);
        call.run(Phase::Head);
        assert_eq!(call.wants_body(), wants, "{allow}");
        assert_eq!(site.is_refused(&bad), is_refused, "{allow}");
    }
}

#[test]
fn many_texts_of_one_rule_are_paused_between_and_counted() {
    let text = "SecRule ARGS \"@rx ^[x-z]{{id}}$\" \"id:{id},phase:2,pass,t:none,t:lowercase\"";
    let mut rules: String = (1..40).map(|id| text.replace("{id}", &id.to_string()) + "\n").collect();
    rules.push_str(
        "SecArgumentsLimit 20000\nSecRule ARGS \"!@streq A\" \"id:90,phase:2,deny,chain,t:none\"\n",
    );
    rules.push_str("SecRule MATCHED_VARS \"@streq last\" \"t:none\"\n");
    let site = Site::new(&rules);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("{}a=last", "a=A&".repeat(10_000));
    let asked = post(&form, &body);
    let mut whole = site.begin(&asked, usize::MAX / 4);
    whole.body(body.as_bytes(), true);
    whole.run(Phase::Body);
    assert!(whole.steps() > 39 * 10_000 * 8, "every text counts: {}", whole.steps());
    let mut call = site.begin(&asked, usize::MAX / 4);
    call.body(body.as_bytes(), true);
    call.begin(Phase::Body);
    let mut before = call.steps();
    let mut slices = 0;
    while call.advance(20_000) == waf::Progress::More {
        assert!(call.steps() - before < 120_000, "a slice of {}", call.steps() - before);
        (before, slices) = (call.steps(), slices + 1);
    }
    assert!(slices > 20, "{slices}");
    assert_eq!((call.refused_by(), whole.refused_by()), (Some(90), Some(90)));
}

#[test]
fn a_long_body_is_refused_or_noted_and_logging_is_bounded() {
    let asked = get("/");
    let text = "SecAction \"id:1,phase:5,pass\"\nSecAction \"id:2,phase:5,pass\"";
    for (mode, verdict, would) in
        [(Mode::On, Some(Verdict::Deny(413)), None), (Mode::DetectionOnly, None, Some(Verdict::Deny(413)))]
    {
        let site = Site::with(text, &Options { mode: Some(mode), ..Options::default() });
        let mut call = site.begin(&asked, 100_000);
        call.refuse_long_body();
        call.rest();
        call.run(Phase::Logging);
        assert_eq!((call.verdict(), call.would()), (verdict.as_ref(), would.as_ref()));
        assert_eq!((call.refused_by(), fired(&call)), (Some(0), vec![1, 2]));
    }
    let mut call = Site::new(text).begin(&asked, 0);
    call.run(Phase::Logging);
    assert_eq!(fired(&call), [1]);
}

#[test]
fn what_is_hidden_in_a_coding_is_refused_by_rules_that_can_be_left_out() {
    type Say = fn(&mut Transaction);
    let cases: [(Say, u32, u16); 2] = [
        (Transaction::unread_coding, waf::UNREAD_CODING, 415),
        (|call| call.broken_coding("it is no gzip"), 190_003, 400),
    ];
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let asked = post(&form, "a=b");
    for (say, rule, status) in cases {
        let judge = |options: &Options| {
            let site = Site::with("", options);
            let mut call = site.begin(&asked, 100_000);
            call.run(Phase::Head);
            call.body(asked.body.as_bytes(), true);
            say(&mut call);
            call.run(Phase::Body);
            call
        };
        let refused = judge(&Options::default());
        assert_eq!((refused.verdict(), fired(&refused)), (Some(&Verdict::Deny(status)), vec![rule]));
        let watched = judge(&Options { mode: Some(Mode::DetectionOnly), ..Options::default() });
        assert_eq!((watched.verdict(), watched.refused_by()), (None, Some(rule)));
        let without = Exclusion { ids: vec![(rule, rule)], ..Exclusion::default() };
        let let_in = judge(&Options { exclusions: vec![without], ..Options::default() });
        assert_eq!((let_in.verdict(), let_in.would()), (None, None));
    }
}

#[test]
fn a_line_that_is_nearly_a_boundary_is_refused() {
    let multipart = [("content-type", "multipart/form-data; boundary=b")];
    let body = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--bc\r\ny\r\n--b--\r\n";
    assert_eq!(Site::new("").judge(&post(&multipart, body)).refused_by(), Some(190_004));
}

#[test]
fn a_pattern_that_is_not_searched_to_its_end_does_not_let_a_call_in() {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let site = Site::new(r#"SecRule ARGS "@rx (\w+)=\1" "id:1,phase:2,deny,status:406""#);
    assert!(!site.is_refused(&post(&form, "a=short")));
    let long = format!("a={}", "x".repeat(17_000));
    assert_eq!(site.judge(&post(&form, &long)).refused_by(), Some(190_005));
    let given = "SecRule ARGS:p \"@rx .\" \"id:1,phase:2,pass,capture,setvar:tx.p=%{MATCHED_VAR}\"\n\
                 SecRule ARGS:t \"@rx %{tx.p}\" \"id:2,phase:2,deny,status:406\"";
    let site = Site::new(given);
    assert_eq!(site.judge(&get("/?p=a&t=cab")).refused_by(), Some(2));
    assert_eq!(site.judge(&get("/?p=(&t=cab")).refused_by(), Some(190_005));
}

#[test]
fn what_is_left_out_is_named_as_it_is() {
    for target in ["!ARGS:x", "&ARGS:x"] {
        let exclusion =
            Exclusion { ids: vec![(1, 1)], targets: vec![Target(target.into())], ..Exclusion::default() };
        let options = Options { exclusions: vec![exclusion], ..Options::default() };
        let errors = compile("SecAction \"id:1\"", &options).expect_err(target);
        assert!(errors.iter().any(|error| error.message.contains(target)), "{errors:?}");
    }
}
