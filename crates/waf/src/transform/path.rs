//! Paths without `.`, `..` and doubled slashes.

/// Brings a path into one form; what climbs beyond a relative path's beginning stays.
pub(super) fn normalize(text: &[u8], is_windows: bool) -> Option<Vec<u8>> {
    let slashed: Vec<u8>;
    let text_in = match is_windows && text.contains(&b'\\') {
        true => {
            slashed = text.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
            &slashed[..]
        }
        false => text,
    };
    let is_absolute = text_in.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_in_slash = false;
    for part in text_in.split(|byte| *byte == b'/') {
        ends_in_slash = false;
        match part {
            b"" | b"." => ends_in_slash = true,
            b".." => {
                match kept.last() {
                    Some(last) if *last != b".." => {
                        kept.pop();
                    }
                    _ if is_absolute => {}
                    _ => kept.push(part),
                }
                ends_in_slash = true;
            }
            part => kept.push(part),
        }
    }
    // A `..` that stays is the end itself; a slash follows only where the text had one.
    if kept.last() == Some(&&b".."[..]) {
        ends_in_slash = text_in.last() == Some(&b'/');
    }
    let mut out = Vec::with_capacity(text_in.len());
    if is_absolute {
        out.push(b'/');
    }
    out.extend_from_slice(&kept.join(&b'/'));
    if ends_in_slash && !kept.is_empty() {
        out.push(b'/');
    }
    (out != text).then_some(out)
}
