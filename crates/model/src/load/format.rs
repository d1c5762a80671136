//! Formats of texts that the schema names: each checks a text and says what was expected.

use std::{net::SocketAddr, str::FromStr};

use crate::{
    Cidr, Duration, HeaderName, Percent, Size,
    resource::{path_template::PathTemplate, tries::RetryOn},
    types::{Date, EndpointAddress, Usd, VaultName},
};

/// Bytes that a regular expression may take when compiled.
pub(crate) const REGEX_BYTES_MAX: usize = 1 << 20;

/// Checks a text against a format; formats of numbers and unknown ones accept everything.
pub(crate) fn check(format: &str, text: &str) -> Result<(), String> {
    match format {
        "duration" => parse::<Duration>(text),
        "size" => parse::<Size>(text),
        "percent" => parse::<Percent>(text),
        "usd" => parse::<Usd>(text),
        "header-name" => parse::<HeaderName>(text),
        "cidr" => parse::<Cidr>(text),
        "retry-on" => parse::<RetryOn>(text),
        "path-template" => parse::<PathTemplate>(text),
        "rewrite-template" => rewrite_template(text),
        "date-or-time" => parse::<Date>(text),
        "vault-name" => parse::<VaultName>(text),
        "sha256" => match text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => Ok(()),
            // What was written may be the key itself.
            false => Err("expected 64 hexadecimal digits, as `tidegate hash` prints them".to_owned()),
        },
        "endpoint-address" => parse::<EndpointAddress>(text),
        "name" => require(name(text), "a name of letters, digits, `-`, `_` and `.`", text),
        "socket-address" => socket_address(text),
        "ip-port" => require(text.parse::<SocketAddr>().is_ok(), "`ip:port`", text),
        "host-pattern" => require(host(text.strip_prefix("*.").unwrap_or(text)), "a host or `*.host`", text),
        "absolute-path" => require(absolute_path(text), "a path that begins with `/`, without query", text),
        "method" => require(method(text), "a method in capitals, such as `GET`", text),
        "url" => url(text),
        "regex" => regex(text),
        "json-pointer" => pointer(text),
        "cel" => require(!text.trim().is_empty(), "a CEL expression", text),
        _ => Ok(()),
    }
}

/// What a format expects, for texts that are something else altogether.
pub(crate) fn expectation(format: &str) -> Option<&'static str> {
    Some(match format {
        "duration" => "a duration such as `250ms`, `10s` or `5m`",
        "size" => "a size such as `512`, `64KiB` or `1MiB`",
        "percent" => "a number from 0 to 100",
        "usd" => "an amount of dollars such as `5` or `0.25`",
        "header-name" => "the name of a header",
        "cidr" => "an IP address or network such as `10.0.0.0/8`",
        "socket-address" => "an address such as `127.0.0.1:8080`",
        "endpoint-address" => "an address such as `orders.internal:8080`",
        "secret" => "a secret: `{env: NAME}`, `{file: path}` or `{vault: path#key}`",
        "regex" => "a regular expression",
        "url" => "an address such as `https://host/path`",
        "json-pointer" => "a JSON pointer such as `/text`",
        "method" => "a method such as `GET`",
        _ => return None,
    })
}

fn parse<T: FromStr<Err = String>>(text: &str) -> Result<(), String> {
    text.parse::<T>().map(drop)
}

fn require(holds: bool, expected: &str, text: &str) -> Result<(), String> {
    holds.then_some(()).ok_or_else(|| format!("expected {expected}, found `{text}`"))
}

/// RFC 6901: each step behind a `/`, in which `~` is written `~0` and `/` is written `~1`.
fn pointer(text: &str) -> Result<(), String> {
    let wrong = |remedy: String| Err(format!("`{text}` is no JSON pointer: {remedy}"));
    if !text.is_empty() && !text.starts_with('/') {
        // As other languages of paths have it.
        let steps = text.trim_start_matches('$').replace(['.', '['], "/").replace([']', '"', '\''], "");
        return wrong(format!("did you mean `/{}`?", steps.trim_start_matches(['/', '#'])));
    }
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once('~') {
        if !behind.starts_with(['0', '1']) {
            return wrong("in a step `~` is written `~0`, and `/` is written `~1`".to_owned());
        }
        rest = behind;
    }
    Ok(())
}

fn name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(plain)
}

fn socket_address(text: &str) -> Result<(), String> {
    let unix = text.strip_prefix("unix:").is_some_and(|path| path.starts_with('/'));
    let good = unix || text.parse::<SocketAddr>().is_ok();
    require(good, "`ip:port` or `unix:/path`", text)
}

/// A host name, an IP address, or an IPv6 address in brackets.
pub(crate) fn host(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = inner {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !label.is_empty() && label.len() <= 63 && label.bytes().all(plain)
    };
    text.len() <= 253 && !text.is_empty() && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// A path template in which places such as `{{ request.query.id }}` may stand, too.
fn rewrite_template(text: &str) -> Result<(), String> {
    parse::<PathTemplate>(&without_places(text)).map_err(|_| {
        format!("expected a path such as `/v2/{{id}}` or `/users/{{{{ jwt.sub }}}}`, found `{text}`")
    })
}

/// The text with something plain in the place of each `{{ … }}`.
pub(crate) fn without_places(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, (_, after))) =
        rest.split_once("{{").and_then(|(before, inner)| Some((before, inner.split_once("}}")?)))
    {
        plain.push_str(before);
        plain.push('x');
        rest = after;
    }
    plain + rest
}

fn absolute_path(text: &str) -> bool {
    text.starts_with('/') && !text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || b"?#".contains(&byte))
}

fn method(text: &str) -> bool {
    http::Method::from_bytes(text.as_bytes()).is_ok() && !text.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn url(text: &str) -> Result<(), String> {
    let uri = text.parse::<http::Uri>().ok();
    let good = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|name| !name.is_empty())
    });
    require(good, "an address such as `https://host/path`", text)
}

fn regex(text: &str) -> Result<(), String> {
    let built = regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    match built {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => Err("this regular expression is too large".to_owned()),
        Err(wrong) => {
            // The last line of the crate's drawing is the reason.
            let drawn = wrong.to_string();
            let reason = drawn.lines().last().unwrap_or_default();
            Err(format!("not a regular expression: {}", reason.trim_start_matches("error: ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(format: &str, texts: &[&str]) {
        for text in texts {
            assert_eq!(check(format, text), Ok(()), "{format} {text}");
        }
    }

    fn refuses(format: &str, texts: &[&str]) {
        for text in texts {
            assert!(check(format, text).is_err(), "{format} {text}");
        }
    }

    #[test]
    fn each_format_accepts_its_own_and_refuses_others() {
        accepts("duration", &["250ms", "10s", "5m", "1h", "1d", "0"]);
        refuses("duration", &["", "10", "s", "-1s", "1.5s", "1w", "99999999999999999999s", "1 s"]);
        accepts("size", &["0", "64KiB", "1MiB", "1GB"]);
        refuses("size", &["", "KiB", "1kib", "-1", "99999999999999999999"]);
        accepts("percent", &["0", "99.5", "100%"]);
        refuses("percent", &["-1", "101", "NaN", "inf", "%"]);
        accepts("cidr", &["10.0.0.0/8", "::1", "2001:db8::/32", "127.0.0.1", "0.0.0.0/0"]);
        refuses("cidr", &["10.0.0.0/33", "10/8", "::/129", "1.2.3.4/+8", "host"]);
        accepts("header-name", &["x-api-key", "X-Api_Key"]);
        refuses("header-name", &["", "x api", "x:y", "ü"]);
        accepts("socket-address", &["127.0.0.1:80", "[::1]:80", "unix:/run/a.sock"]);
        refuses("socket-address", &["localhost:80", "127.0.0.1", "unix:a", ":80"]);
        accepts("endpoint-address", &["a.b:80", "127.0.0.1:80", "[::1]:80", "unix:/run/a.sock"]);
        refuses(
            "endpoint-address",
            &["a.b", "a.b:0", "a.b:99999", "http://a:80", "[::1:80", "a b:80", "::1:80"],
        );
        accepts("host-pattern", &["a.b", "*.b.c", "localhost", "127.0.0.1", "[::1]"]);
        refuses("host-pattern", &["", "*", "*.", "a..b", "a/b", "a:80", "*a.b", "a.*.b"]);
        accepts("absolute-path", &["/", "/a/b"]);
        refuses("absolute-path", &["", "a", "/a?b", "/a b", "/a#b"]);
        accepts("method", &["GET", "M-SEARCH"]);
        refuses("method", &["get", "", "G T"]);
        accepts("url", &["https://a/b", "http://127.0.0.1:1"]);
        refuses("url", &["a", "/a", "ftp://a", "https://"]);
        accepts("regex", &["a+", r"application/vnd\.shop\.v2\+json"]);
        refuses("regex", &["a(", "(?=a)", r"\w{1000}{1000}"]);
        accepts("date-or-time", &["2026-06-01", "2026-06-01T12:00:00Z"]);
        refuses(
            "date-or-time",
            &["2026-13-01", "2026-02-30", "01.06.2026", "2026-06-01T25:00:00Z", "2026-06-01 12"],
        );
        accepts("path-template", &["/", "/a/{id}", "/a/{id:int}/b/{x:uuid}", "/a/{rest*}"]);
        refuses(
            "path-template",
            &["a", "/{", "/{}", "/{a}{b}", "/{a}/{a}", "/{rest*}/b", "/{a:float}", "/x{a}"],
        );
        accepts("rewrite-template", &["/v2/{id}", "/u/{{ request.query.u }}/x-{{jwt.sub}}"]);
        refuses("rewrite-template", &["a", "/{{ open", "/{", "/a?b"]);
        accepts("retry-on", &["reset", "5xx", "503"]);
        refuses("retry-on", &["200", "6xx", ""]);
        accepts("name", &["orders-canary", "a.b_c"]);
        refuses("name", &["", "a b", "a/b"]);
    }
}
