//! `Vary`: what an answer depends on beside its target.

use http::{HeaderMap, HeaderValue, header};

/// Adds a header's name to `Vary`, unless it is there or the answer depends on everything.
pub(crate) fn vary(headers: &mut HeaderMap, name: &'static str) {
    let mut names = String::new();
    for value in headers.get_all(header::VARY) {
        let Ok(text) = value.to_str() else { continue };
        if text.split(',').map(str::trim).any(|known| known == "*" || known.eq_ignore_ascii_case(name)) {
            return;
        }
        if !names.is_empty() {
            names.push_str(", ");
        }
        names.push_str(text);
    }
    if names.is_empty() {
        headers.insert(header::VARY, HeaderValue::from_static(name));
    } else if let Ok(value) = HeaderValue::from_str(&format!("{names}, {name}")) {
        headers.insert(header::VARY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_added_once() {
        for (before, after) in [
            (&[][..], "Origin"),
            (&["Accept"], "Accept, Origin"),
            (&["Accept", "Cookie"], "Accept, Cookie, Origin"),
            (&["accept, origin"], "accept, origin"),
            (&["*"], "*"),
        ] {
            let mut headers = HeaderMap::new();
            for value in before {
                headers.append(header::VARY, HeaderValue::from_static(value));
            }
            vary(&mut headers, "Origin");
            assert_eq!(headers[header::VARY], after, "{before:?}");
        }
    }
}
