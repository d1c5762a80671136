//! What HTTP Message Signatures sign: the signature base (RFC 9421 §2), and the digest of the body (RFC 9530).

use std::fmt::Write;

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, Method, Uri, header};

use crate::fields::{self, Component, Input, Item};

/// A request as signatures see it.
pub struct Message<'m> {
    method: &'m str,
    scheme: &'static str,
    authority: String,
    path: &'m str,
    query: Option<&'m str>,
    headers: &'m HeaderMap,
}

impl<'m> Message<'m> {
    /// A request, over `https` or over `http`. Whom it is for stands in `Host`.
    pub fn new(method: &'m Method, is_https: bool, uri: &'m Uri, headers: &'m HeaderMap) -> Self {
        let scheme = if is_https { "https" } else { "http" };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let host = host.to_ascii_lowercase();
        let default = if scheme == "https" { ":443" } else { ":80" };
        let authority = host.strip_suffix(default).map(str::to_owned).unwrap_or(host);
        let path = if uri.path().is_empty() { "/" } else { uri.path() };
        Self { method: method.as_str(), scheme, authority, path, query: uri.query(), headers }
    }

    /// The text that a signature is made of.
    ///
    /// # Errors
    /// When something that it covers is not there, or not understood.
    pub fn base(&self, input: &Input<'_>) -> Result<String, &'static str> {
        let mut base = String::new();
        for component in &input.components {
            let value = self.value(component)?;
            let _ = writeln!(base, "{}: {value}", component.text);
        }
        let _ = write!(base, "\"@signature-params\": {}", input.text);
        Ok(base)
    }

    fn value(&self, component: &Component<'_>) -> Result<String, &'static str> {
        let target = || match self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_owned(),
        };
        if component.name == "@query-param" {
            return self.parameter(component);
        }
        // Of structured fields and other messages nothing is told here, and so nothing is vouched for.
        if !component.parameters.is_empty() {
            return Err("it covers something in a way that is not supported");
        }
        Ok(match component.name.as_str() {
            "@method" => self.method.to_owned(),
            "@target-uri" => format!("{}://{}{}", self.scheme, self.authority, target()),
            "@authority" => self.authority.clone(),
            "@scheme" => self.scheme.to_owned(),
            "@request-target" => target(),
            "@path" => self.path.to_owned(),
            "@query" => format!("?{}", self.query.unwrap_or_default()),
            name if name.starts_with('@') => return Err("it covers something that is not supported"),
            name => {
                // Names are in small letters, so that one thing has one name.
                let is_small = !name.bytes().any(|byte| byte.is_ascii_uppercase());
                let name =
                    HeaderName::try_from(name).ok().filter(|_| is_small).ok_or("it covers no header")?;
                combined(self.headers, &name).ok_or("it covers a header that is not there")?
            }
        })
    }

    /// A parameter of the query, decoded and encoded anew (RFC 9421 §2.2.8).
    fn parameter(&self, component: &Component<'_>) -> Result<String, &'static str> {
        let [("name", Item::Text(name))] = component.parameters.as_slice() else {
            return Err("it covers something in a way that is not supported");
        };
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, FORM).to_string();
        let all = form_urlencoded::parse(self.query.unwrap_or_default().as_bytes());
        let mut found = all.filter(|(known, _)| encode(known) == *name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Ok(encode(&value)),
            _ => Err("it covers a parameter that is not there, or is there more than once"),
        }
    }

    /// Whether `Content-Digest` is that of a body, in every algorithm that is known here, of which there is one.
    pub fn digest_fits(&self, body: &[u8]) -> bool {
        let name = HeaderName::from_static("content-digest");
        let Some(all) = combined(self.headers, &name) else { return false };
        let Some(all) = fields::bytes(&all) else { return false };
        let mut is_known = false;
        for (algorithm, told) in all {
            let algorithm = match algorithm {
                "sha-256" => &digest::SHA256,
                "sha-512" => &digest::SHA512,
                _ => continue,
            };
            is_known = true;
            if verify_slices_are_equal(digest::digest(algorithm, body).as_ref(), &told).is_err() {
                return false;
            }
        }
        is_known
    }
}

/// How a body is told of by `Content-Digest` (RFC 9530).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentDigest {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl ContentDigest {
    /// The field's value for a body.
    pub fn of(self, body: &[u8]) -> String {
        let (name, algorithm) = match self {
            Self::Sha256 => ("sha-256", &digest::SHA256),
            Self::Sha512 => ("sha-512", &digest::SHA512),
        };
        format!("{name}=:{}:", STANDARD.encode(digest::digest(algorithm, body)))
    }
}

/// What `application/x-www-form-urlencoded` leaves as it is, with `%20` for a space.
const FORM: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// All values of a header as one (RFC 9421 §2.1); none when it is not there, or no text.
pub fn combined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut all: Option<String> = None;
    for value in headers.get_all(name) {
        let text = std::str::from_utf8(value.as_bytes()).ok()?.trim_matches([' ', '\t']);
        match &mut all {
            None => all = Some(text.to_owned()),
            Some(all) => {
                all.push_str(", ");
                all.push_str(text);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().method(method).uri(target);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).expect("a request")
    }

    fn message(request: &Request<()>) -> Message<'_> {
        Message::new(request.method(), true, request.uri(), request.headers())
    }

    fn base(request: &Request<()>, input: &str) -> Result<String, &'static str> {
        let text = format!("sig={input}");
        let inputs = fields::inputs(&text).expect("well-formed");
        message(request).base(&inputs[0])
    }

    #[test]
    fn the_base_is_that_of_the_standard() {
        // RFC 9421 §2.5, its request with what is supported here.
        let fields = [
            ("host", "Example.com:443"),
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("x-a", " one "),
            ("x-a", "two"),
        ];
        let request = request("POST", "/foo?param=Value&Pet=dog", &fields);
        let input = r#"("@method" "@authority" "@path" "@query" "@target-uri" "@scheme" "@request-target" "@query-param";name="Pet" "date" "x-a");created=1618884473;keyid="test""#;
        let want = r#""@method": POST
"@authority": example.com
"@path": /foo
"@query": ?param=Value&Pet=dog
"@target-uri": https://example.com/foo?param=Value&Pet=dog
"@scheme": https
"@request-target": /foo?param=Value&Pet=dog
"@query-param";name="Pet": dog
"date": Tue, 20 Apr 2021 02:07:55 GMT
"x-a": one, two
"@signature-params": ("#;
        let got = base(&request, input).expect("all of it is there");
        assert!(got.starts_with(want), "{got}");
        assert!(got.ends_with(r#"created=1618884473;keyid="test""#), "{got}");
    }

    #[test]
    fn what_is_not_there_or_not_understood_is_not_covered() {
        let request = request("GET", "/?a=1&a=2&b=x%20y", &[("x-a", "1")]);
        for bad in [
            r#"("x-b")"#,
            r#"("X-A")"#,
            r#"("x-a";sf)"#,
            r#"("x-a";bs)"#,
            r#"("@method";req)"#,
            r#"("@status")"#,
            r#"("@signature-params")"#,
            r#"("@query-param")"#,
            r#"("@query-param";name="a")"#,
            r#"("@query-param";name="c")"#,
            r#"("")"#,
        ] {
            assert!(base(&request, bad).is_err(), "{bad}");
        }
        assert!(base(&request, r#"("@query-param";name="b")"#).expect("it is there").contains(": x%20y\n"));
    }

    #[test]
    fn a_digest_is_that_of_the_body_in_every_algorithm_that_is_known() {
        // RFC 9530, appendix D: `{"hello": "world"}` with a line end.
        let body = b"{\"hello\": \"world\"}\n";
        let sha256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        let fits = |value: &str| {
            let request = request("POST", "/", &[("content-digest", value)]);
            message(&request).digest_fits(body)
        };
        assert!(fits(sha256));
        assert!(fits(&format!("md5=:aGk=:, {sha256}")));
        for bad in ["", "md5=:aGk=:", "sha-256=:aGk=:", "sha-256=x", &format!("{sha256}, sha-512=:aGk=:")] {
            assert!(!fits(bad), "{bad}");
        }
        assert!(!message(&request("POST", "/", &[])).digest_fits(body));
        for digest in [ContentDigest::Sha256, ContentDigest::Sha512] {
            let value = HeaderValue::from_str(&digest.of(body)).expect("a value");
            assert!(fits(value.to_str().expect("text")), "{value:?}");
            assert!(!fits(&digest.of(b"another")), "{digest:?}");
        }
        assert_eq!(ContentDigest::Sha256.of(body), sha256);
    }
}
