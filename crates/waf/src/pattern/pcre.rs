//! PCRE's spelling into that of the linear engine.
//!
//! The differences are: a brace that counts nothing is itself; `[` within a class is itself, and so are `&&`, `~~`
//! and `--`; a class such as `\w` before `-` makes no range; `\<` and `\>` are the characters; `\Z`, `\h`, `\H`, `\R`,
//! `\e` and `\Q…\E` exist. Possessive quantifiers may give back: they find no less than PCRE does.

/// A pattern in the linear engine's spelling.
pub(super) struct Rewritten {
    pub(super) text: String,
    /// It has look-around, a back-reference, or a group that gives nothing back.
    pub(super) needs_backtracking: bool,
}

/// Rewrites a pattern, or says what of it is not supported.
pub(super) fn rewrite(pattern: &str) -> Result<Rewritten, String> {
    let mut writer = Writer { text: String::with_capacity(pattern.len() + 16), needs_backtracking: false };
    let chars: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let rest = chars.get(at + 1..).unwrap_or_default();
        at += match c {
            '\\' => 1 + writer.escape(rest, false)?,
            '[' => 1 + writer.class(rest)?,
            '(' => 1 + writer.group(rest)?,
            '{' if !is_count(rest) => {
                writer.text.push_str(r"\{");
                1
            }
            '*' | '+' | '?' | '}'
                if rest.first() == Some(&'+') && (c != '}' || is_after_count(&chars, at)) =>
            {
                writer.text.push(c);
                2
            }
            c => {
                writer.text.push(c);
                1
            }
        };
    }
    Ok(Rewritten { text: writer.text, needs_backtracking: writer.needs_backtracking })
}

/// Whether what follows an opening brace is a count and its closing brace.
fn is_count(rest: &[char]) -> bool {
    let Some(end) = rest.iter().position(|c| *c == '}') else { return false };
    let body = rest.get(..end).unwrap_or_default();
    let mut parts = body.split(|c| *c == ',');
    let is_number = |part: &[char]| part.iter().all(char::is_ascii_digit);
    let first = parts.next().is_some_and(|part| !part.is_empty() && is_number(part));
    first && parts.next().is_none_or(is_number) && parts.next().is_none()
}

fn is_after_count(chars: &[char], at: usize) -> bool {
    let open = chars.get(..at).and_then(|before| before.iter().rposition(|c| *c == '{'));
    open.is_some_and(|open| chars.get(open + 1..).is_some_and(is_count))
}

struct Writer {
    text: String,
    needs_backtracking: bool,
}

impl Writer {
    /// What follows a backslash; gives how many characters it took.
    fn escape(&mut self, rest: &[char], in_class: bool) -> Result<usize, String> {
        let Some(&c) = rest.first() else { return Err("the pattern ends in a single backslash".into()) };
        match c {
            '1'..='9' if !in_class => {
                self.needs_backtracking = true;
                let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
                self.text.push('\\');
                self.text.extend(rest.iter().take(digits));
                return Ok(digits);
            }
            '0' => {
                let digits = rest.iter().take(3).take_while(|c| ('0'..='7').contains(*c)).count();
                let octal: String = rest.iter().take(digits).collect();
                let value = u8::from_str_radix(&octal, 8).unwrap_or_default();
                self.text.push_str(&format!("\\x{value:02X}"));
                return Ok(digits);
            }
            'h' => self.text.push_str(if in_class { "\\x09\\x20" } else { "[\\x09\\x20]" }),
            'H' if !in_class => self.text.push_str("[^\\x09\\x20]"),
            'R' if !in_class => self.text.push_str("(?:\\r\\n|[\\n\\x0B\\x0C\\r])"),
            'v' => self.text.push_str(if in_class { "\\n\\x0B\\x0C\\r" } else { "[\\n\\x0B\\x0C\\r]" }),
            'e' => self.text.push_str("\\x1B"),
            'Z' if !in_class => self.text.push_str("(?:\\n?\\z)"),
            'b' if in_class => self.text.push_str("\\x08"),
            'x' => return self.hex(rest.get(1..).unwrap_or_default()),
            'Q' => {
                let end = rest.windows(2).position(|two| two == ['\\', 'E']);
                let literal: String =
                    rest.get(1..end.unwrap_or(rest.len())).unwrap_or_default().iter().collect();
                self.text.push_str(&regex_syntax::escape(&literal));
                return Ok(end.map_or(rest.len(), |end| end + 2));
            }
            'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'n' | 'r' | 't' | 'f' | 'a' => {
                self.text.push('\\');
                self.text.push(c);
            }
            'b' | 'B' | 'A' | 'z' => {
                self.text.push('\\');
                self.text.push(c);
            }
            'K' | 'k' | 'g' => {
                self.needs_backtracking = true;
                self.text.push('\\');
                self.text.push(c);
            }
            'p' | 'P' => {
                return Err(format!("`\\{c}` asks for Unicode classes, which rules over bytes have not"));
            }
            c if c.is_ascii_alphanumeric() => return Err(format!("`\\{c}` is not supported in a pattern")),
            '<' | '>' => self.text.push(c),
            c if c.is_ascii() => {
                self.text.push('\\');
                self.text.push(c);
            }
            c => self.text.push(c),
        }
        Ok(1)
    }

    /// What follows `\x`, in braces or without: a byte.
    fn hex(&mut self, rest: &[char]) -> Result<usize, String> {
        let is_hex = |c: &&char| c.is_ascii_hexdigit();
        let in_braces = rest.strip_prefix(&['{']).and_then(|rest| {
            let digits = rest.iter().take_while(is_hex).count();
            (digits > 0 && rest.get(digits) == Some(&'}')).then_some(digits)
        });
        let (start, digits, end) = match in_braces {
            Some(digits) => (1, digits, 1),
            None => (0, rest.iter().take(2).take_while(is_hex).count(), 0),
        };
        let hex: String = rest.iter().skip(start).take(digits).collect();
        let value = match hex.as_str() {
            "" => Ok(0),
            hex => u8::from_str_radix(hex, 16).map_err(|_| {
                format!("`\\x{{{hex}}}` is no byte, and rules look at bytes; expected `\\x{{ff}}` at most")
            }),
        };
        self.text.push_str(&format!("\\x{:02X}", value?));
        Ok(1 + start + digits + end)
    }

    /// A class, after its opening bracket.
    fn class(&mut self, rest: &[char]) -> Result<usize, String> {
        let mut at = 0;
        self.text.push('[');
        if rest.first() == Some(&'^') {
            self.text.push('^');
            at += 1;
        }
        let first = at;
        loop {
            let Some(&c) = rest.get(at) else { return Err("a class `[` has no closing `]`".into()) };
            let after = rest.get(at + 1..).unwrap_or_default();
            match c {
                ']' if at > first => {
                    self.text.push(']');
                    return Ok(at + 1);
                }
                '[' if after.first() == Some(&':') && after.windows(2).any(|two| two == [':', ']']) => {
                    let end = after.windows(2).position(|two| two == [':', ']']).unwrap_or_default();
                    self.text.push('[');
                    self.text.extend(after.iter().take(end + 2));
                    at += 1 + end + 2;
                    self.dash_is_itself(rest, &mut at);
                }
                '\\' => {
                    let is_set = after.first().is_some_and(|c| "dDsSwWhv".contains(*c));
                    at += 1 + self.escape(after, true)?;
                    if is_set {
                        self.dash_is_itself(rest, &mut at);
                    }
                }
                // The end of a range, or a dash at an edge, or one before a set such as `\w`.
                '-' => {
                    let is_edge = at == first || after.first() == Some(&']');
                    let before_set =
                        after.first() == Some(&'\\') && after.get(1).is_some_and(|c| "dDsSwWhv".contains(*c));
                    self.text.push_str(if is_edge || before_set { "\\-" } else { "-" });
                    at += 1;
                    // A range that ends in a dash, such as `+--`.
                    if !is_edge && !before_set && after.first() == Some(&'-') {
                        self.text.push_str("\\-");
                        at += 1;
                    }
                }
                ']' | '[' | '&' | '~' | '^' => {
                    self.text.push('\\');
                    self.text.push(c);
                    at += 1;
                }
                // To rules over bytes, each byte of it is one of the class.
                c if !c.is_ascii() => {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        self.text.push_str(&format!("\\x{byte:02X}"));
                    }
                    at += 1;
                }
                c => {
                    self.text.push(c);
                    at += 1;
                }
            }
        }
    }

    /// After a set such as `\w`, a dash makes no range.
    fn dash_is_itself(&mut self, rest: &[char], at: &mut usize) {
        if rest.get(*at) == Some(&'-') && rest.get(*at + 1) != Some(&']') {
            self.text.push_str("\\-");
            *at += 1;
        }
    }

    /// What follows an opening parenthesis.
    fn group(&mut self, rest: &[char]) -> Result<usize, String> {
        self.text.push('(');
        let start: String = rest.iter().take(3).collect();
        if start.starts_with("?#") {
            self.text.pop();
            let end = rest.iter().position(|c| *c == ')').ok_or("a comment `(?#` has no end")?;
            return Ok(end + 1);
        }
        if start.starts_with("?=")
            || start.starts_with("?!")
            || start.starts_with("?<=")
            || start.starts_with("?<!")
        {
            self.needs_backtracking = true;
        }
        if start.starts_with("?>") || start.starts_with("?(") || start.starts_with("?|") {
            self.needs_backtracking = true;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Pattern, Searched};

    fn matches(pattern: &str, text: &[u8]) -> bool {
        let pattern =
            Pattern::new(pattern, false, 10_000).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        matches!(pattern.search(text), Searched::Yes(_))
    }

    #[test]
    fn what_pcre_spells_differently_means_the_same() {
        for (pattern, text, want) in [
            (r"a{b", &b"a{b"[..], true),
            (r"^a{2,3}$", b"aaa", true),
            (r"^a{,3}$", b"a{,3}", true),
            (r"[[\]x]", b"[", true),
            (r"[]x]", b"]", true),
            (r"[a&&b]", b"&", true),
            (r"^[\w-.]$", b"-", true),
            (r"^[\w-.]$", b".", true),
            (r"^[+--]$", b",", true),
            (r"^[a-]$", b"-", true),
            (r"^[[:alnum:]-_]$", b"_", true),
            (r"\<b\>", b"<b>", true),
            (r"^[^a]$", b"\xff", true),
            (r"\xff", b"\xff", true),
            (r"a.b", b"a\nb", true),
            (r"a$", b"a\n", false),
            (r"x\Z", b"x\n", true),
            (r"^(?i)abc", b"ABC", true),
            (r"a++b", b"aab", true),
            (r"^(?>a+)b$", b"aab", true),
            (r"<\?(?!xml)", b"<?php", true),
            (r"<\?(?!xml)", b"<?xml", false),
            (r"(\w+)=\1", b"\xe9 abc=abc", true),
            (r"(?<!&amp)['=]", b"x'", true),
            (r"\Qa.b\E+", b"a.b", true),
            (r"\Qa.b\E", b"axb", false),
            (r"(?#note)a", b"a", true),
            (r"\x5c", b"\\", true),
            (r"[\x5c'\x22]", b"\\", true),
            (r"^\x{e2}\x91[\xa0-\x{bf}]$", "①".as_bytes(), true),
            (r"^[\x{a9}\x{ab}-\x{bf}]$", b"\xac", true),
            (r"^[^\x{a9}]$", b"\xa9", false),
            (r"^\x{00041}$", b"A", true),
            (r"^\x$", b"\0", true),
            (r"^\x{}$", b"\0{}", true),
            (r"^[a´]+$", "´".as_bytes(), true),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn what_is_not_supported_is_said() {
        for pattern in [r"\p{L}", "[a", r"a\", "(a", r"\y", r"\x{100}", r"[\x{1F600}]"] {
            assert!(Pattern::new(pattern, false, 1_000).is_err(), "{pattern}");
        }
    }

    #[test]
    fn backtracking_ends() {
        let pattern = Pattern::new(r"(?:(\w+)\s?)+\1$!", false, 1_000).expect("a pattern");
        assert!(pattern.is_backtracking());
        assert!(matches!(pattern.search(&[b'a'; 4_000]), Searched::OutOfSteps));
    }
}
