//! Any bytes as files of rules and as requests: what the fuzz targets run, and a short run of each.
#![allow(unreachable_pub, reason = "`fuzz/` exports them")]

use std::sync::{Arc, LazyLock};

use waf::{Collections, Files, Head, Options, Phase, Rules, Source, Transaction};

/// No files at all.
pub struct Nothing;

impl Files for Nothing {
    fn read(&self, _: &str, name: &str) -> Result<Vec<u8>, String> {
        match name {
            "words.data" => Ok(b"# words\nsqlmap\nnikto\n".to_vec()),
            _ => Err("there is no such file".into()),
        }
    }

    fn list(&self, _: &str, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

/// Rules that use most of the language.
const RULES: &str = r#"
SecDefaultAction "phase:2,log,pass"
SecAction "id:1,phase:1,pass,nolog,setvar:tx.score=0,setvar:tx.level=1,initcol:ip=%{REMOTE_ADDR}"
SecRule REQUEST_HEADERS:User-Agent "@pmFromFile words.data" "id:2,phase:1,block,capture,setvar:tx.score=+5"
SecRule ARGS|ARGS_NAMES|REQUEST_COOKIES|!ARGS:/^free/|XML:/*|XML://@* "@rx (?i)union\s+(?:all\s+)?select" \
    "id:3,block,t:none,t:urlDecodeUni,t:htmlEntityDecode,t:lowercase,t:replaceComments,setvar:tx.score=+5"
SecRule ARGS|REQUEST_BODY|REQUEST_FILENAME "@detectSQLi" "id:4,block,capture,t:none,t:urlDecodeUni,setvar:tx.score=+5"
SecRule ARGS|REQUEST_HEADERS:Referer "@detectXSS" "id:5,block,t:none,t:utf8toUnicode,t:urlDecodeUni,t:htmlEntityDecode,t:jsDecode,t:cssDecode,setvar:tx.score=+5"
SecRule ARGS "@rx (\w+)=\1" "id:6,block,capture,chain,msg:'%{TX.1}'"
    SecRule TX:1 "!@within %{tx.score} abc" "setvar:tx.score=+%{tx.level},multiMatch,t:base64Decode,t:cmdLine,t:normalizePathWin"
SecRule FILES|FILES_NAMES|MULTIPART_PART_HEADERS "@rx \.php$" "id:7,deny,t:lowercase"
SecRule &ARGS "@gt 200" "id:8,deny"
SecRule REQUEST_URI|ARGS "@validateByteRange 1-255" "id:9,deny,t:urlDecodeUni"
SecRule ARGS "@validateUtf8Encoding" "id:10,block,setvar:ip.count=+1,expirevar:ip.count=60"
SecRule TX:SCORE "@lt 1" "id:11,pass,nolog,skipAfter:END"
SecRule TX:/^s/ "@ge 5" "id:12,deny,status:403"
SecMarker END
SecRule RESPONSE_BODY "@contains SQL syntax" "id:13,phase:4,deny"
"#;

/// A file of rules.
pub fn rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let sources = [Source { name: "fuzzed.conf".into(), text: text.into() }];
    let Ok((rules, _)) = Rules::compile(&sources, &Nothing, &Options::default()) else { return };
    judge(
        &Arc::new(rules),
        b"GET /a?b=c&union=select HTTP/1.1\r\nhost: a\r\ncookie: a=b\r\n\r\nbody",
        200_000,
    );
}

/// A request: its first line, its headers, an empty line, its body.
pub fn request(bytes: &[u8]) {
    static COMPILED: LazyLock<Arc<Rules>> = LazyLock::new(|| {
        let sources = [Source { name: "rules.conf".into(), text: RULES.into() }];
        Arc::new(Rules::compile(&sources, &Nothing, &Options::default()).expect("good rules").0)
    });
    judge(&COMPILED, bytes, 5_000_000);
}

fn judge(rules: &Arc<Rules>, bytes: &[u8], steps: usize) {
    let split = |text: &[u8], mark: &[u8]| match text.windows(mark.len()).position(|window| window == mark) {
        Some(at) => (text[..at].to_vec(), text[at + mark.len()..].to_vec()),
        None => (text.to_vec(), Vec::new()),
    };
    let (head, body) = split(bytes, b"\r\n\r\n");
    let (line, fields) = split(&head, b"\r\n");
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, target, protocol) = (word(), word(), word());
    let fields: Vec<(Vec<u8>, Vec<u8>)> =
        fields.split(|byte| *byte == b'\n').map(|field| split(field.trim_ascii(), b": ")).collect();
    let head = Head {
        method,
        target,
        protocol,
        client: [192, 0, 2, 1].into(),
        server: b"a",
        unique: b"1",
        now: 1_000,
    };
    let collections = Arc::new(Collections::new(16));
    let headers = fields.iter().map(|(name, value)| (&name[..], &value[..]));
    let mut call = Transaction::new(rules.clone(), collections, &head, headers, steps);
    call.keep_matched();
    call.run(Phase::Head);
    call.body(&body, true);
    call.run(Phase::Body);
    call.answer(b"HTTP/1.1", 200, [(&b"content-type"[..], &b"text/html"[..])].into_iter());
    call.run(Phase::AnswerHead);
    call.answer_body(&body, true);
    call.run(Phase::AnswerBody);
    call.run(Phase::Logging);
    assert!(call.fired().len() <= 64, "what is told is bounded");
    assert!(call.verdict().is_none() || call.refused_by().is_some(), "who refused is told");
}

#[cfg(test)]
mod short {
    #[test]
    fn waf_rules() {
        mutate::fuzz("waf_rules", super::rules);
    }

    #[test]
    fn waf_request() {
        mutate::fuzz("waf_request", super::request);
    }
}

#[test]
fn the_rules_of_the_target_are_good_and_find_something() {
    let sources = [Source { name: "rules.conf".into(), text: RULES.into() }];
    let options = Options { mode: Some(waf::Mode::On), ..Options::default() };
    let (compiled, warnings) = Rules::compile(&sources, &Nothing, &options).expect("good rules");
    assert!(warnings.is_empty() && compiled.len() > 10, "{warnings:?}");
}
