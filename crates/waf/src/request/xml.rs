//! XML as rules look at it: all of its text, and every attribute's value.
//!
//! Tags must be balanced. Nothing is fetched and no entity is unfolded but the five of XML and those by number: others,
//! and declarations of the document's own that may define them, are an error.

use super::{ARGUMENTS_MAX, Parts};

/// How deep elements may stand in each other.
const DEPTH_MAX: usize = 256;
/// Longest entity, with its signs.
const ENTITY_BYTES_MAX: usize = 32;

/// Adds texts and attributes of a body.
pub(super) fn read(body: &[u8], parts: &mut Parts) -> Result<(), String> {
    let mut text = Vec::new();
    let result = walk(body, &mut text, parts);
    if !text.is_empty() {
        parts.texts.push(text);
    }
    result
}

fn walk(body: &[u8], text: &mut Vec<u8>, parts: &mut Parts) -> Result<(), String> {
    let mut rest = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let mut open: Vec<&[u8]> = Vec::new();
    let mut has_root = false;
    while let Some(start) = memchr::memchr(b'<', rest) {
        let (before, from) = rest.split_at(start);
        if !open.is_empty() {
            unescape(before, text)?;
        } else if !before.trim_ascii().is_empty() {
            return Err("text stands beside the root of the XML".into());
        }
        if let Some(after) = from.strip_prefix(b"<!--") {
            rest = after_mark(after, b"-->")?;
        } else if let Some(after) = from.strip_prefix(b"<![CDATA[") {
            let end = memchr::memmem::find(after, b"]]>").ok_or("a CDATA section has no end")?;
            text.extend_from_slice(after.get(..end).unwrap_or_default());
            rest = after.get(end + 3..).unwrap_or_default();
        } else if let Some(after) = from.strip_prefix(b"<?") {
            rest = after_mark(after, b"?>")?;
            // `<?xml-stylesheet …?>` is an instruction like any other.
            if after.starts_with(b"xml") && after.get(3) != Some(&b'-') {
                encoding(after.get(..after.len() - rest.len()).unwrap_or_default())?;
            }
        } else if let Some(after) = from.strip_prefix(b"<!DOCTYPE") {
            if has_root {
                return Err("a DOCTYPE stands behind the root's beginning".into());
            }
            rest = after_declaration(after)?;
        } else if from.starts_with(b"<!") {
            return Err("a declaration stands where none may".into());
        } else if let Some(after) = from.strip_prefix(b"</") {
            let end = memchr::memchr(b'>', after).ok_or("a tag has no end")?;
            let name = after.get(..end).unwrap_or_default().trim_ascii();
            if open.pop() != Some(name) {
                return Err("a tag is closed that is not open".into());
            }
            rest = after.get(end + 1..).unwrap_or_default();
        } else {
            let after = from.get(1..).unwrap_or_default();
            let end = tag_end(after).ok_or("a tag has no end")?;
            let tag = after.get(..end).unwrap_or_default();
            rest = after.get(end + 1..).unwrap_or_default();
            let (tag, is_closed) = tag.strip_suffix(b"/").map_or((tag, false), |tag| (tag, true));
            let name_end = tag.iter().position(u8::is_ascii_whitespace).unwrap_or(tag.len());
            let name = tag.get(..name_end).unwrap_or_default();
            if name.is_empty() || (open.is_empty() && has_root) {
                return Err("the XML has not one root".into());
            }
            has_root = true;
            attributes(tag.get(name_end..).unwrap_or_default(), parts)?;
            if !is_closed {
                open.push(name);
            }
            if open.len() > DEPTH_MAX {
                return Err(format!("elements are more than {DEPTH_MAX} deep"));
            }
        }
    }
    match (open.is_empty(), has_root, rest.trim_ascii().is_empty()) {
        (true, true, true) => Ok(()),
        (true, false, true) => Err("the XML has no root".into()),
        _ => Err("the XML ends before its root".into()),
    }
}

/// Encodings, by how their names begin, in which the signs of XML and of ASCII are these signs. UTF-16 is said of texts that were
/// UTF-16 once; what is so itself is no XML here.
const LIKE_ASCII: [&[u8]; 16] = [
    b"utf-8",
    b"utf8",
    b"utf-16",
    b"us-ascii",
    b"ascii",
    b"iso-8859-",
    b"iso8859-",
    b"iso_8859-",
    b"latin",
    b"windows-125",
    b"cp125",
    b"koi8-",
    b"gb",
    b"big5",
    b"euc-",
    b"shift_jis",
];

/// Whoever reads the XML decodes it as it says: in UTF-7 and the like texts are written so that no rule knows them.
fn encoding(declared: &[u8]) -> Result<(), String> {
    let lower = declared.to_ascii_lowercase();
    let Some(at) = memchr::memmem::find(&lower, b"encoding") else { return Ok(()) };
    let value = lower.get(at + 8..).unwrap_or_default().trim_ascii_start();
    let value = value.strip_prefix(b"=").unwrap_or_default().trim_ascii_start();
    let name = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or_default();
    match LIKE_ASCII.iter().any(|known| name.starts_with(known)) {
        true => Ok(()),
        false => Err("the XML is in an encoding that is not read here".into()),
    }
}

fn after_mark<'b>(text: &'b [u8], mark: &[u8]) -> Result<&'b [u8], String> {
    let end = memchr::memmem::find(text, mark).ok_or("a comment or an instruction has no end")?;
    Ok(text.get(end + mark.len()..).unwrap_or_default())
}

/// After a DOCTYPE, which may name a file and declare nothing itself.
fn after_declaration(text: &[u8]) -> Result<&[u8], String> {
    let end = tag_end(text).ok_or("a declaration has no end")?;
    let declared = text.get(..end).unwrap_or_default();
    let mut quote = None;
    for &byte in declared {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'[') => return Err("the DOCTYPE has declarations of its own".into()),
            _ => {}
        }
    }
    Ok(text.get(end + 1..).unwrap_or_default())
}

/// Where a tag ends: a `>` outside of quotes.
fn tag_end(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, &byte) in text.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some(at),
            _ => {}
        }
    }
    None
}

fn attributes(text: &[u8], parts: &mut Parts) -> Result<(), String> {
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let wrong = || "an attribute has no value in quotes".to_owned();
        let equals = memchr::memchr(b'=', rest).ok_or_else(wrong)?;
        let name = rest.get(..equals).unwrap_or_default().trim_ascii().to_vec();
        let after = rest.get(equals + 1..).unwrap_or_default().trim_ascii_start();
        let quote = after.first().copied().filter(|byte| matches!(byte, b'"' | b'\'')).ok_or_else(wrong)?;
        let after = after.get(1..).unwrap_or_default();
        let end = memchr::memchr(quote, after).ok_or_else(wrong)?;
        let mut value = Vec::with_capacity(end);
        unescape(after.get(..end).unwrap_or_default(), &mut value)?;
        parts.attributes.push((name, value));
        if parts.attributes.len() > ARGUMENTS_MAX {
            return Err(format!("more than {ARGUMENTS_MAX} attributes"));
        }
        rest = after.get(end + 1..).unwrap_or_default().trim_ascii_start();
    }
    Ok(())
}

fn unescape(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest) {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        let from = rest.get(at..).unwrap_or_default();
        let end = from.iter().take(ENTITY_BYTES_MAX).position(|byte| *byte == b';');
        let decoded = end.and_then(|end| {
            let name = std::str::from_utf8(from.get(1..end)?).ok()?;
            let c = match name {
                "lt" => '<',
                "gt" => '>',
                "amp" => '&',
                "quot" => '"',
                "apos" => '\'',
                number => {
                    let number = number.strip_prefix('#')?;
                    let code = match number.strip_prefix(['x', 'X']) {
                        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                        None => number.parse().ok()?,
                    };
                    char::from_u32(code)?
                }
            };
            Some((c, end + 1))
        });
        let (c, length) = decoded.ok_or("an entity is not one of XML's own")?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        rest = from.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str) -> Result<(String, Vec<String>), String> {
        let mut parts = Parts::default();
        read(body.as_bytes(), &mut parts)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let all = parts.texts.iter().map(|one| text(one)).collect();
        Ok((all, parts.attributes.iter().map(|(_, value)| text(value)).collect()))
    }

    #[test]
    fn texts_and_attributes_are_read() {
        let body = "<?xml version='1.0'?><!DOCTYPE a SYSTEM 'a>[b].dtd'><a x='1 &lt; 2' y=\"&#x27;\"><!-- no -->t&amp;u\
                    <b/><c><![CDATA[<raw>]]></c>&#0000000000000098;</a>\n";
        let want = ("t&u<raw>b".to_owned(), vec!["1 < 2".to_owned(), "'".to_owned()]);
        assert_eq!(texts(body).expect("XML"), want);
        for name in ["UTF-8", "UTF8", "utf-16", "ISO-8859-15", "latin1", "GB2312"] {
            texts(&format!("<?xml version='1.0' encoding='{name}'?><a/>")).expect(name);
        }
        texts("<?xml version='1.0'?><?xml-stylesheet href='encoding.css'?><a/>").expect("no declaration");
    }

    #[test]
    fn what_is_not_well_formed_is_an_error() {
        let deep = "<a>".repeat(1_000);
        for body in [
            "",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "x<a/>",
            "<a x=1/>",
            "<a",
            "<!-- ",
            deep.as_str(),
            "<a>&b;</a>",
            "<a b='&c;'/>",
            "<a>&</a>",
            "<a>&#xD800;</a>",
            "<!DOCTYPE a []><a/>",
            "<!DOCTYPE a [<!ENTITY x \"1' UNION SELECT\">]><a>&x;</a>",
            "<!DOCTYPE a SYSTEM 'x' [<!ENTITY b 'c'>]><a/>",
            "<a/><!DOCTYPE a>",
            "<!ENTITY b 'c'><a/>",
            "<?xml version='1.0' encoding='UTF-7'?><a>+ADw-script+AD4-</a>",
            "<?xml version=\"1.0\" encoding = \"ISO-2022-JP\" ?><a/>",
            "<?xml version='1.0' encoding=''?><a/>",
        ] {
            assert!(texts(body).is_err(), "{body}");
        }
    }
}
