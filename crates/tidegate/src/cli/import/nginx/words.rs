//! Words of nginx's as ours: times, sizes, variables, paths, regular expressions, names.

use super::lookahead;

/// A time: `30s`, `1h 30m` without the space, `500ms`, and seconds without a unit.
pub(super) fn time(text: &str) -> Option<String> {
    let mut millis: u64 = 0;
    let mut digits = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let number: u64 = std::mem::take(&mut digits).parse().ok()?;
        let unit = match letter {
            'm' if letters.peek() == Some(&'s') => {
                letters.next();
                1
            }
            's' => 1000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            'w' => 604_800_000,
            'M' => 2_592_000_000,
            'y' => 31_536_000_000,
            _ => return None,
        };
        millis = millis.checked_add(number.checked_mul(unit)?)?;
    }
    if !digits.is_empty() {
        millis = millis.checked_add(digits.parse::<u64>().ok()?.checked_mul(1000)?)?;
    }
    Some(if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") })
}

/// The seconds of a time.
pub(super) fn seconds(text: &str) -> Option<u64> {
    time(text)?.strip_suffix('s').filter(|rest| !rest.ends_with('m'))?.parse().ok()
}

/// A size: `10m`, `8k`, `1g`, and bytes without a unit.
pub(super) fn size(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    Some(match &text[digits.len()..] {
        "" => format!("{number}B"),
        "k" | "K" => format!("{number}KiB"),
        "m" | "M" => format!("{number}MiB"),
        "g" | "G" => format!("{number}GiB"),
        _ => return None,
    })
}

/// A value with variables as one of our templates; none where a variable has no counterpart, or where no header can say it.
pub(super) fn template(text: &str) -> Option<String> {
    if text.contains("{{") || !text.chars().all(|letter| matches!(letter, ' '..='~' | '\t' | '\r' | '\n')) {
        return None;
    }
    // A value over several lines is one in nginx as well.
    let lines: Vec<&str> = text.split(['\r', '\n']).map(str::trim).filter(|line| !line.is_empty()).collect();
    let joined = lines.join(" ");
    let text = if text.contains(['\r', '\n']) { joined.as_str() } else { text };
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let (name, after) = match behind.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => {
                let end = behind.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                behind.split_at(end.unwrap_or(behind.len()))
            }
        };
        let place = match name {
            "remote_addr" | "realip_remote_addr" => "client.address".to_owned(),
            "host" | "http_host" => "request.host".to_owned(),
            "scheme" => "request.scheme".to_owned(),
            "request_method" => "request.method".to_owned(),
            "uri" | "document_uri" => "request.path".to_owned(),
            "request_id" => "request.id".to_owned(),
            "args" | "query_string" => "request.query".to_owned(),
            "ssl_server_name" => "tls.sni".to_owned(),
            _ => match (name.strip_prefix("http_"), name.strip_prefix("arg_")) {
                (Some(header), _) => format!("request.header.{}", header.replace('_', "-")),
                (_, Some(parameter)) => format!("request.query.{parameter}"),
                _ => return None,
            },
        };
        out.push_str("{{ ");
        out.push_str(&place);
        out.push_str(" }}");
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// The names of the variables in a text.
pub(super) fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(|rest| {
        let rest = rest.trim_start_matches('{');
        rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next().unwrap_or_default()
    })
}

/// A path, which nginx looks at decoded, as it stands in a request here.
pub(super) fn path(text: &str) -> String {
    let mut path = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' | b'#' | b'?' | b'%' | b'\\' | 0..=31 | 127.. => path.push_str(&format!("%{byte:02X}")),
            byte => path.push(char::from(byte)),
        }
    }
    path
}

/// The same of a regular expression, but for its classes: spaces and letters beyond ASCII.
pub(super) fn path_pattern(pattern: &str) -> String {
    let mut out = String::new();
    let (mut in_class, mut letters) = (false, pattern.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(' ') if !in_class => out.push_str("%20"),
                Some(next) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            letter if !in_class && (letter == ' ' || !letter.is_ascii()) => {
                out.push_str(&format!("(?:{})", path(&letter.to_string())));
            }
            letter => {
                in_class = letter == '[' || (in_class && letter != ']');
                out.push(letter);
            }
        }
    }
    out
}

/// The regular expression of a location as one for whole paths here.
pub(super) fn location(pattern: &str, is_blind: bool) -> Option<String> {
    whole(&path_pattern(pattern), is_blind)
}

/// A regular expression that is found anywhere as one that holds for the whole; none where ours cannot have it.
pub(super) fn whole(pattern: &str, is_blind: bool) -> Option<String> {
    let mut inner = lookahead::spelled(pattern).unwrap_or_else(|| pattern.to_owned());
    let (mut before, mut behind) = (".*", ".*");
    if inner.contains('|') {
        inner = format!("(?:{inner})");
    } else {
        if let Some(rest) = inner.strip_prefix('^') {
            inner = rest.to_owned();
            before = "";
        }
        if let Some(rest) = inner.strip_suffix('$').filter(|rest| !rest.ends_with('\\')) {
            inner = rest.to_owned();
            behind = "";
        }
    }
    let all = format!("{}{before}{inner}{behind}", if is_blind { "(?i)" } else { "" });
    regex::Regex::new(&all).is_ok().then_some(all)
}

/// A name as ours are: letters, digits and hyphens.
pub(super) fn name(text: &str) -> String {
    let mut name = String::new();
    for letter in text.chars() {
        match letter {
            letter if letter.is_ascii_alphanumeric() => name.push(letter.to_ascii_lowercase()),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    name.truncate(48);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

/// An address to listen on: `80`, `*:80`, `127.0.0.1:80`, `[::]:80`, `unix:/path`, `127.0.0.1`.
pub(super) fn listen(text: &str) -> Option<String> {
    if text.starts_with("unix:") {
        return Some(text.to_owned());
    }
    if text.chars().all(|letter| letter.is_ascii_digit()) {
        return Some(format!("0.0.0.0:{text}"));
    }
    if let Some(port) = text.strip_prefix("*:") {
        return Some(format!("0.0.0.0:{port}"));
    }
    let text =
        text.strip_prefix("localhost").map_or_else(|| text.to_owned(), |rest| format!("127.0.0.1{rest}"));
    let has_port = match text.rfind(']') {
        Some(end) => text[end..].contains(':'),
        None => text.contains(':'),
    };
    let address = if has_port { text } else { format!("{text}:80") };
    address.parse::<std::net::SocketAddr>().is_ok().then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_ours() {
        assert_eq!(time("1h30m").as_deref(), Some("5400s"));
        assert_eq!(time("500ms").as_deref(), Some("500ms"));
        assert_eq!(time("60").as_deref(), Some("60s"));
        assert_eq!(time("soon"), None);
        assert_eq!((seconds("2m"), seconds("500ms")), (Some(120), None));
        assert_eq!(size("10m").as_deref(), Some("10MiB"));
        assert_eq!(
            template("$scheme://${host}-a").as_deref(),
            Some("{{ request.scheme }}://{{ request.host }}-a")
        );
        assert_eq!(template("$http_x_user").as_deref(), Some("{{ request.header.x-user }}"));
        assert_eq!(template("$ssl_client_s_dn"), None);
        assert_eq!(whole("^/a/(\\d+)$", false).as_deref(), Some("/a/(\\d+)"));
        assert_eq!(whole("\\.php$", true).as_deref(), Some("(?i).*\\.php"));
        assert_eq!(whole("^/a|b$", false).as_deref(), Some(".*(?:^/a|b$).*"));
        assert_eq!(whole("(?=a)b", false), None);
        assert_eq!(path("/a b/ü%"), "/a%20b/%C3%BC%25");
        assert_eq!(location("^/a b/[ x]ü$", false).as_deref(), Some("/a(?:%20)b/[ x](?:%C3%BC)"));
        assert_eq!(template("a;\n  b\n").as_deref(), Some("a; b"));
        assert_eq!((template("\u{e9}"), template("{{ a }}")), (None, None));
        assert_eq!(name("~ \\.php$"), "php");
        assert_eq!(listen("443").as_deref(), Some("0.0.0.0:443"));
        assert_eq!(listen("[::]:80").as_deref(), Some("[::]:80"));
        assert_eq!(listen("127.0.0.1").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(listen("unix:/run/a.sock").as_deref(), Some("unix:/run/a.sock"));
    }
}
