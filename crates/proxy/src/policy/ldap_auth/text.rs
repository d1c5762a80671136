//! Names in filters and DNs, and what DNs say: nothing that somebody types is ever more than a value.

/// A value within a filter (RFC 4515 §3): everything that could mean something is written as its bytes.
pub(super) fn in_filter(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'*' | b'(' | b')' | b'\\' | 0 | 0x80.. => text.push_str(&format!("\\{byte:02x}")),
            plain => text.push(char::from(plain)),
        }
    }
    text
}

/// A value within a DN (RFC 4514 §2.4).
pub(super) fn in_dn(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (place, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => {
                text.push('\\');
                text.push(c);
            }
            '#' if place == 0 => text.push_str("\\#"),
            ' ' if place == 0 || place == last => text.push_str("\\ "),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    text.push_str(&format!("\\{byte:02x}"));
                }
            }
            c => text.push(c),
        }
    }
    text
}

/// A template with values in the places of their names in braces; what stands in a value is no place.
pub(super) fn filled(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let place = values
            .iter()
            .find(|(name, _)| from[1..].strip_prefix(name).is_some_and(|after| after.starts_with('}')));
        match place {
            Some((name, value)) => {
                text.push_str(value);
                rest = &from[name.len() + 2..];
            }
            None => {
                text.push('{');
                rest = &from[1..];
            }
        }
    }
    text + rest
}

/// Without the spaces around it, which are those of ASCII alone (RFC 4514 §3); one that is escaped is part of the value.
fn trimmed(part: &str) -> &str {
    let part = part.trim_start_matches(' ');
    let end = part.trim_end_matches(' ');
    let is_escaped = end.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
    let space = usize::from(is_escaped && end.len() < part.len());
    &part[..end.len() + space]
}

/// The parts of a DN, each as it is written without spaces around it.
fn parts(dn: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut begin, mut is_escaped) = (0, false);
    for (place, c) in dn.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ',' | ';' => {
                found.push(trimmed(&dn[begin..place]));
                begin = place + 1;
            }
            _ => {}
        }
    }
    found.push(trimmed(&dn[begin..]));
    found
}

/// A part of a DN as it is compared: small letters, and no spaces around `=`.
fn plain(part: &str) -> String {
    let (kind, value) = part.split_once('=').unwrap_or((part, ""));
    format!("{}={}", trimmed(kind), trimmed(value)).to_lowercase()
}

/// Whether an entry lies below another, or is it.
pub(super) fn is_below(dn: &str, base: &str) -> bool {
    let (dn, base): (Vec<String>, Vec<String>) =
        (parts(dn).into_iter().map(plain).collect(), parts(base).into_iter().map(plain).collect());
    dn.ends_with(&base)
}

/// Whether two DNs are of one entry.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    parts(one).into_iter().map(plain).eq(parts(other).into_iter().map(plain))
}

/// The value of a DN's first part: the name of a group.
pub(super) fn first_value(dn: &str) -> Option<String> {
    let (_, value) = parts(dn).first()?.split_once('=')?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.trim_start_matches(' ').as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        match rest {
            [high, low, after @ ..] if digit(high).is_some() && digit(low).is_some() => {
                let value = digit(high).unwrap_or(0) * 16 + digit(low).unwrap_or(0);
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
                rest = after;
            }
            [escaped, after @ ..] => {
                bytes.push(*escaped);
                rest = after;
            }
            [] => {}
        }
    }
    String::from_utf8(bytes).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server reads in a value of a filter (RFC 4515 §3); none where something in it is more than a value.
    fn read_in_filter(text: &str) -> Option<Vec<u8>> {
        let (mut value, mut bytes) = (Vec::new(), text.bytes());
        while let Some(byte) = bytes.next() {
            value.push(match byte {
                b'\\' => {
                    let digits = [bytes.next()?, bytes.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                b'*' | b'(' | b')' | 0 => return None,
                plain => plain,
            });
        }
        Some(value)
    }

    /// What a server reads in a value of a DN (RFC 4514 §3); none where something in it is more than a value.
    fn read_in_dn(text: &str) -> Option<Vec<u8>> {
        let (mut value, mut rest) = (Vec::new(), text.as_bytes());
        let is_bare = |byte: &u8| !b"\"+,;<>\\\0".contains(byte);
        if text.starts_with([' ', '#']) || text.ends_with(' ') && !text.ends_with("\\ ") {
            return None;
        }
        while let [byte, after @ ..] = rest {
            rest = match (byte, after) {
                (b'\\', [escaped, after @ ..]) if b" \"#+,;<=>\\".contains(escaped) => {
                    value.push(*escaped);
                    after
                }
                (b'\\', [high, low, after @ ..]) => {
                    let digits = [*high, *low];
                    value.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                    after
                }
                (byte, after) if is_bare(byte) => {
                    value.push(*byte);
                    after
                }
                _ => return None,
            };
        }
        Some(value)
    }

    fn typed() -> impl Strategy<Value = String> {
        let odd = prop::sample::select(vec![
            "*",
            "(",
            ")",
            "\\",
            "\0",
            "=",
            ",",
            "+",
            ";",
            "<",
            ">",
            "\"",
            "#",
            " ",
            "\n",
            "\u{7f}",
            "\u{85}",
            "\u{f6}",
            "\u{1f600}",
            "\u{a0}",
            "\u{3000}",
            "ou",
            "{dn}",
            "{user}",
        ]);
        prop::collection::vec(
            prop_oneof![odd.prop_map(str::to_owned), any::<char>().prop_map(String::from)],
            0..8,
        )
        .prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn whatever_is_typed_a_server_reads_it_as_one_value(typed in typed()) {
            prop_assert_eq!(read_in_filter(&in_filter(&typed)), Some(typed.clone().into_bytes()));
            prop_assert_eq!(read_in_dn(&in_dn(&typed)), Some(typed.clone().into_bytes()));
            let whole = format!("uid={},ou=people,dc=test", in_dn(&typed));
            prop_assert_eq!(parts(&whole).len(), 3);
            prop_assert!(is_below(&whole, "ou=people,dc=test") && !is_below(&whole, "ou=admins,dc=test"));
            prop_assert!(is_same(&whole, &whole));
            prop_assert_eq!(first_value(&whole), Some(typed).filter(|typed| !typed.is_empty()));
        }

        #[test]
        fn a_template_takes_each_value_as_it_is(user in typed(), dn in typed()) {
            let values = [("dn", dn.as_str()), ("user", user.as_str())];
            prop_assert_eq!(filled("(&(a={user})(b={dn})(c={user}))", &values), format!("(&(a={user})(b={dn})(c={user}))"));
        }
    }

    #[test]
    fn what_is_typed_is_a_value_and_nothing_else() {
        for (typed, filter, dn) in [
            ("ann", "ann", "ann"),
            ("*", "\\2a", "*"),
            ("ann)(|(uid=*", "ann\\29\\28|\\28uid=\\2a", "ann)(|(uid\\=*"),
            ("a\\b", "a\\5cb", "a\\\\b"),
            ("a\0b", "a\\00b", "a\\00b"),
            ("ann,ou=admins", "ann,ou=admins", "ann\\,ou\\=admins"),
            ("x+cn=admin", "x+cn=admin", "x\\+cn\\=admin"),
            (" ann ", " ann ", "\\ ann\\ "),
            ("#1", "#1", "\\#1"),
            ("\"<;>", "\"<;>", "\\\"\\<\\;\\>"),
            ("j\u{f6}rg", "j\\c3\\b6rg", "j\u{f6}rg"),
            ("a\nb", "a\nb", "a\\0ab"),
            (" ", " ", "\\ "),
        ] {
            assert_eq!(in_filter(typed), filter, "{typed:?} in a filter");
            assert_eq!(in_dn(typed), dn, "{typed:?} in a DN");
            if !typed.is_empty() {
                let whole = format!("uid={},ou=people", in_dn(typed));
                assert_eq!(parts(&whole).len(), 2, "{whole}");
                assert_eq!(first_value(&whole).as_deref(), Some(typed), "{whole}");
            }
        }
    }

    #[test]
    fn what_stands_in_a_value_is_no_place() {
        let values = [("dn", "uid={user},{dn}"), ("user", "{dn}")];
        for (template, want) in [
            ("(&(a={dn})(b={user}))", "(&(a=uid={user},{dn})(b={dn}))"),
            ("{other}{", "{other}{"),
            ("{dn", "{dn"),
            ("{{user}}", "{{dn}}"),
            ("plain", "plain"),
        ] {
            assert_eq!(filled(template, &values), want);
        }
    }

    #[test]
    fn a_group_is_below_a_base_by_whole_parts() {
        for (dn, base, want) in [
            ("cn=Admins,ou=Groups,dc=example,dc=com", "ou=groups, dc=example,dc=com", true),
            ("cn=admins,ou=groups,dc=example,dc=com", "dc=com", true),
            ("cn=admins,ou=other,dc=example,dc=com", "ou=groups,dc=example,dc=com", false),
            ("cn=admins,xou=groups,dc=example,dc=com", "ou=groups,dc=example,dc=com", false),
            ("cn=x\\,ou=groups,dc=com", "ou=groups,dc=com", false),
            ("cn=a\\, b,dc=com", "dc=com", true),
        ] {
            assert_eq!(is_below(dn, base), want, "{dn} {base}");
        }
        assert!(is_same("CN = Admins,dc=com", "cn=admins, dc=com") && !is_same("cn=a", "cn=b"));
        assert_eq!(first_value("cn=a\\, b\\2c c,dc=com").as_deref(), Some("a, b, c"));
        assert_eq!(first_value("cn="), None);
    }
}
