//! `Signature-Input` and `Signature` as structured fields (RFC 8941), as far as HTTP Message Signatures use them (RFC 9421
//! §4): dictionaries of lists of names with parameters, and of bytes. Whatever else is there is refused, not passed over.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Bytes of both fields together, and things in them, at most.
const FIELD_BYTES_MAX: usize = 16 * 1024;
const SIGNATURES_MAX: usize = 8;
const COMPONENTS_MAX: usize = 64;
const PARAMETERS_MAX: usize = 16;

/// One member of `Signature-Input`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input<'t> {
    /// What it is called.
    pub label: &'t str,
    /// What is covered, in order.
    pub components: Vec<Component<'t>>,
    /// What is said of the signature.
    pub parameters: Vec<(&'t str, Item)>,
    /// The member's value as it stands there: it is signed, too.
    pub text: &'t str,
}

/// Something that is covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component<'t> {
    /// A header's name, or one that begins with `@`.
    pub name: String,
    /// How it is meant.
    pub parameters: Vec<(&'t str, Item)>,
    /// Name and parameters as they stand there.
    pub text: &'t str,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Yes.
    True,
    /// Something that nothing here asks for.
    Other,
}

impl Input<'_> {
    /// A parameter that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.parameter(name)? {
            Item::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A parameter that is a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.parameter(name)? {
            Item::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A parameter.
    pub fn parameter(&self, name: &str) -> Option<&Item> {
        self.parameters.iter().find(|(known, _)| *known == name).map(|(_, item)| item)
    }
}

/// The members of `Signature-Input`.
pub fn inputs(text: &str) -> Option<Vec<Input<'_>>> {
    let mut reader = Reader::new(text)?;
    let mut all: Vec<Input<'_>> = Vec::new();
    while !reader.is_at_end() {
        let label = reader.key()?;
        reader.take(b'=')?;
        let from = reader.at;
        let components = reader.inner_list()?;
        let parameters = reader.parameters()?;
        let text = text.get(from..reader.at)?;
        if all.len() >= SIGNATURES_MAX || all.iter().any(|known| known.label == label) {
            return None;
        }
        all.push(Input { label, components, parameters, text });
        reader.separator()?;
    }
    Some(all)
}

/// The members of `Signature`, or of another dictionary of bytes such as `Content-Digest`.
pub fn bytes(text: &str) -> Option<Vec<(&str, Vec<u8>)>> {
    let mut reader = Reader::new(text)?;
    let mut all: Vec<(&str, Vec<u8>)> = Vec::new();
    while !reader.is_at_end() {
        let label = reader.key()?;
        reader.take(b'=')?;
        let Item::Bytes(value) = reader.item()? else { return None };
        reader.parameters()?;
        if all.len() >= SIGNATURES_MAX || all.iter().any(|(known, _)| *known == label) {
            return None;
        }
        all.push((label, value));
        reader.separator()?;
    }
    Some(all)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Option<Self> {
        let trimmed = text.trim_matches(' ');
        let at = text.len() - text.trim_start_matches(' ').len();
        (text.len() <= FIELD_BYTES_MAX && !trimmed.is_empty())
            .then_some(Self { text: text.trim_end_matches(' '), at })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn spaces(&mut self, tabs: bool) {
        while self.peek().is_some_and(|byte| byte == b' ' || (tabs && byte == b'\t')) {
            self.at += 1;
        }
    }

    /// A comma and another member, or the end.
    fn separator(&mut self) -> Option<()> {
        self.spaces(true);
        if self.is_at_end() {
            return Some(());
        }
        self.take(b',')?;
        self.spaces(true);
        (!self.is_at_end()).then_some(())
    }

    fn key(&mut self) -> Option<&'t str> {
        let from = self.at;
        let first = self.peek()?;
        if !(first.is_ascii_lowercase() || first == b'*') {
            return None;
        }
        while self.peek().is_some_and(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.' | b'*')
        }) {
            self.at += 1;
        }
        self.text.get(from..self.at)
    }

    fn inner_list(&mut self) -> Option<Vec<Component<'t>>> {
        self.take(b'(')?;
        let mut all: Vec<Component<'t>> = Vec::new();
        loop {
            self.spaces(false);
            if self.take(b')').is_some() {
                return Some(all);
            }
            let from = self.at;
            let Item::Text(name) = self.item()? else { return None };
            let parameters = self.parameters()?;
            let text = self.text.get(from..self.at)?;
            // What is covered twice is refused (RFC 9421 §2).
            if all.len() >= COMPONENTS_MAX || all.iter().any(|known| known.text == text) {
                return None;
            }
            all.push(Component { name, parameters, text });
            if !matches!(self.peek()?, b' ' | b')') {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<Vec<(&'t str, Item)>> {
        let mut all: Vec<(&'t str, Item)> = Vec::new();
        while self.peek() == Some(b';') {
            self.at += 1;
            self.spaces(false);
            let name = self.key()?;
            let value = match self.peek() {
                Some(b'=') => {
                    self.at += 1;
                    self.item()?
                }
                _ => Item::True,
            };
            if all.len() >= PARAMETERS_MAX || all.iter().any(|(known, _)| *known == name) {
                return None;
            }
            all.push((name, value));
        }
        Some(all)
    }

    fn item(&mut self) -> Option<Item> {
        match self.peek()? {
            b'"' => self.string().map(Item::Text),
            b':' => self.byte_sequence().map(Item::Bytes),
            b'-' | b'0'..=b'9' => self.number(),
            b'?' => {
                self.at += 1;
                let value = self.peek()?;
                self.at += 1;
                match value {
                    b'1' => Some(Item::True),
                    b'0' => Some(Item::Other),
                    _ => None,
                }
            }
            byte if byte.is_ascii_alphabetic() || byte == b'*' => {
                while self
                    .peek()
                    .is_some_and(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte))
                {
                    self.at += 1;
                }
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let mut out = String::new();
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(out),
                b'\\' => {
                    let escaped = self.peek().filter(|byte| matches!(byte, b'"' | b'\\'))?;
                    self.at += 1;
                    out.push(char::from(escaped));
                }
                0x20..=0x7e => out.push(char::from(byte)),
                _ => return None,
            }
        }
    }

    fn byte_sequence(&mut self) -> Option<Vec<u8>> {
        self.take(b':')?;
        let from = self.at;
        while self.peek()? != b':' {
            self.at += 1;
        }
        let inner = self.text.get(from..self.at)?;
        self.at += 1;
        STANDARD.decode(inner).ok()
    }

    fn number(&mut self) -> Option<Item> {
        let from = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                self.at += 1;
            }
            return Some(Item::Other);
        }
        let digits = self.text.get(from..self.at)?;
        (digits.len() <= 16).then(|| digits.parse().ok().map(Item::Number))?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_standards_own_examples_are_read() {
        // RFC 9421 §4.1 and §4.2.
        let text = r#"sig1=("@method" "@target-uri" "@authority" "content-digest" "cache-control");created=1618884475;keyid="test-key-rsa-pss""#;
        let all = inputs(text).expect("well-formed");
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].label, all[0].components.len()), ("sig1", 5));
        assert_eq!(
            (all[0].number("created"), all[0].text("keyid")),
            (Some(1618884475), Some("test-key-rsa-pss"))
        );
        assert_eq!(all[0].text, &text[5..]);
        let two = r#"sig1=("@method");created=1;keyid="a", proxy_sig=("@authority" "signature";key="sig1");created=2;alg="hmac-sha256""#;
        let all = inputs(two).expect("well-formed");
        assert_eq!((all.len(), all[1].label), (2, "proxy_sig"));
        assert_eq!(all[1].components[1].text, r#""signature";key="sig1""#);
        assert_eq!(bytes("sig1=:aGk=:, sig2=::"), Some(vec![("sig1", b"hi".to_vec()), ("sig2", Vec::new())]));
    }

    #[test]
    fn what_is_not_well_formed_or_there_twice_is_nothing() {
        for text in [
            "",
            "sig1",
            "sig1=",
            "sig1=()junk",
            r#"sig1=("@method""@path")"#,
            r#"sig1=("@method" "@method")"#,
            r#"sig1=("@method"),"#,
            r#"sig1=("@method"), sig1=("@path")"#,
            r#"sig1=("@method");created=1;created=2"#,
            r#"sig1=("@method";"#,
            r#"sig1=(@method)"#,
            r#"Sig1=("@method")"#,
            r#"sig1=("@method");keyid="a"#,
            r#"sig1=("@method");created=99999999999999999"#,
            r#"sig1=("\a")"#,
        ] {
            assert_eq!(inputs(text), None, "{text}");
        }
        for text in ["a=:x", "a=:!:", "a=1", "a=:aGk=:,", "a=:aGk=:, a=:aGk=:", ":aGk=:"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "[ -~\\t]{0,200}") {
            let _ = inputs(&text);
            let _ = bytes(&text);
        }

        #[test]
        fn what_is_like_one_is_read_without_harm(text in "(sig1|=|\\(|\\)|\"@method\"|\"|;|created|keyid|1|:|aGk=|,| |\\\\){0,40}") {
            for input in inputs(&text).into_iter().flatten() {
                prop_assert!(text.contains(input.text));
                prop_assert!(input.components.iter().all(|one| input.text.contains(one.text)));
            }
            let _ = bytes(&text);
        }
    }
}
