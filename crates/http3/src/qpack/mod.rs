//! Compression of fields with the static table alone (RFC 9204): the dynamic one has no room here, so that neither
//! side keeps anything for the other, and no request waits for the bytes of another stream.

mod huffman;
mod table;

use bytes::BufMut;

use crate::error::{Code, Error};

/// Cost of a field beside its name and value (RFC 9114 §4.2.2).
pub const FIELD_OVERHEAD_BYTES: usize = 32;

const FAILED: Error = Error::Connection(Code::DECOMPRESSION_FAILED);

/// Reads a section, field by field. `section_bytes` bounds what its fields amount to.
pub fn decode(
    mut section: &[u8],
    section_bytes: usize,
    mut field: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    // Nothing was ever inserted, so nothing is required; the base is then without a meaning (§4.5.1).
    if integer(&mut section, 8)? != 0 {
        return Err(FAILED);
    }
    integer(&mut section, 7)?;
    let (mut left, mut name, mut value) = (section_bytes, Vec::new(), Vec::new());
    while let Some(first) = section.first().copied() {
        name.clear();
        value.clear();
        left = left.checked_sub(FIELD_OVERHEAD_BYTES).ok_or(Error::TooLarge)?;
        match first {
            // Both from the static table.
            0xc0.. => {
                let (name, value) = entry(&mut section, 6)?;
                left = left.checked_sub(name.len() + value.len()).ok_or(Error::TooLarge)?;
                field(name.as_bytes(), value.as_bytes())?;
                continue;
            }
            // A name from the static table, and a value.
            0x40..0x80 if first & 0x10 != 0 => {
                let (name, _) = entry(&mut section, 4)?;
                left = left.checked_sub(name.len()).ok_or(Error::TooLarge)?;
                string(&mut section, 7, left, &mut value)?;
                left = left.saturating_sub(value.len());
                field(name.as_bytes(), &value)?;
                continue;
            }
            // Name and value.
            0x20..0x40 => string(&mut section, 3, left, &mut name)?,
            // All else points into the dynamic table.
            _ => return Err(FAILED),
        }
        left = left.saturating_sub(name.len());
        string(&mut section, 7, left, &mut value)?;
        left = left.saturating_sub(value.len());
        field(&name, &value)?;
    }
    Ok(())
}

fn entry(section: &mut &[u8], prefix: u8) -> Result<(&'static str, &'static str), Error> {
    let index = usize::try_from(integer(section, prefix)?).map_err(|_| FAILED)?;
    table::TABLE.get(index).copied().ok_or(FAILED)
}

/// Reads an integer whose first byte has `prefix` bits for it (RFC 7541 §5.1).
pub(crate) fn integer(bytes: &mut &[u8], prefix: u8) -> Result<u64, Error> {
    let (first, mut rest) = bytes.split_first().ok_or(FAILED)?;
    let full = u8::try_from((1u16 << prefix) - 1).unwrap_or(u8::MAX);
    let mut value = u64::from(first & full);
    if value == u64::from(full) {
        for shift in (0..).step_by(7) {
            let (next, after) = rest.split_first().ok_or(FAILED)?;
            rest = after;
            // Ten bytes are more than any number here needs.
            if shift > 56 {
                return Err(FAILED);
            }
            value = value.checked_add(u64::from(next & 0x7f) << shift).ok_or(FAILED)?;
            if next & 0x80 == 0 {
                break;
            }
        }
    }
    *bytes = rest;
    Ok(value)
}

fn string(section: &mut &[u8], prefix: u8, bytes_max: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    let is_coded = section.first().ok_or(FAILED)? & (1 << prefix) != 0;
    let length = usize::try_from(integer(section, prefix)?).map_err(|_| FAILED)?;
    let (text, rest) = section.split_at_checked(length).ok_or(FAILED)?;
    *section = rest;
    if !is_coded {
        if text.len() > bytes_max {
            return Err(Error::TooLarge);
        }
        out.extend_from_slice(text);
        return Ok(());
    }
    // Thirty bits are the longest code: what cannot fit is not begun.
    if text.len() / 4 > bytes_max {
        return Err(Error::TooLarge);
    }
    // Without a bound, so that what fails is the coding: no more comes out than the frame's size allows.
    huffman::decode(text, usize::MAX, out).ok_or(FAILED)?;
    if out.len() > bytes_max { Err(Error::TooLarge) } else { Ok(()) }
}

/// Begins a section.
pub fn begin(out: &mut impl BufMut) {
    out.put_u16(0);
}

/// Appends a field.
pub fn encode(name: &str, value: &[u8], out: &mut impl BufMut) {
    match table::BY_NAME.get(name) {
        Some((first, values)) => match values.iter().find(|(known, _)| known.as_bytes() == value) {
            Some((_, index)) => put_integer(*index, 6, 0xc0, out),
            None => {
                put_integer(*first, 4, 0x50, out);
                put_string(value, 7, 0, out);
            }
        },
        None => {
            put_string(name.as_bytes(), 3, 0x20, out);
            put_string(value, 7, 0, out);
        }
    }
}

fn put_integer(value: usize, prefix: u8, flags: u8, out: &mut impl BufMut) {
    let full = (1usize << prefix) - 1;
    if value < full {
        out.put_u8(flags | value as u8);
        return;
    }
    out.put_u8(flags | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

fn put_string(text: &[u8], prefix: u8, flags: u8, out: &mut impl BufMut) {
    let coded = huffman::length(text);
    if coded < text.len() {
        put_integer(coded, prefix, flags | 1 << prefix, out);
        huffman::encode(text, out);
    } else {
        put_integer(text.len(), prefix, flags, out);
        out.put_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = Vec<(Vec<u8>, Vec<u8>)>;

    fn all(section: &[u8], bytes: usize) -> Result<Fields, Error> {
        let mut fields = Vec::new();
        decode(section, bytes, |name, value| {
            fields.push((name.to_vec(), value.to_vec()));
            Ok(())
        })?;
        Ok(fields)
    }

    fn section(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        begin(&mut out);
        fields.iter().for_each(|(name, value)| encode(name, value.as_bytes(), &mut out));
        out
    }

    #[test]
    fn a_section_of_the_rfc_is_read() {
        // RFC 9204 §B.1.
        let bytes = [&[0x00, 0x00, 0x51, 0x0b][..], b"/index.html"].concat();
        assert_eq!(all(&bytes, 1000), Ok(vec![(b":path".to_vec(), b"/index.html".to_vec())]));
    }

    #[test]
    fn what_points_into_the_dynamic_table_or_out_of_the_static_one_is_refused() {
        for bytes in [
            // Something is required that was never inserted.
            &[0x01, 0x00, 0xd1][..],
            // An entry of the dynamic table, after the base too, and a name of it likewise.
            &[0x00, 0x00, 0x80],
            &[0x00, 0x00, 0x10],
            &[0x00, 0x00, 0x40, 0x00],
            &[0x00, 0x00, 0x00, 0x00],
            // 99 is the first that is not there.
            &[0x00, 0x00, 0xff, 0x24],
            &[0x00, 0x00, 0x5f, 0x54, 0x00],
            // Cut short: the head, a length, a string.
            &[0x00],
            &[],
            &[0x00, 0x00, 0x51],
            &[0x00, 0x00, 0x51, 0x03, b'/'],
            &[0x00, 0x00, 0xff],
            // A number without an end.
            &[0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert_eq!(all(bytes, 1000), Err(FAILED), "{bytes:x?}");
        }
    }

    #[test]
    fn the_sum_of_names_values_and_32_for_each_is_bounded() {
        let long = "v".repeat(500);
        for fields in [&[("x-a", long.as_str())][..], &[("content-type", "text/css"), ("vary", &long)]] {
            let size: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
            let bytes = section(fields);
            assert_eq!(all(&bytes, size).map(|all| all.len()), Ok(fields.len()));
            assert_eq!(all(&bytes, size - 1), Err(Error::TooLarge));
        }
        // Eight bytes that the table would make thousands of are no way around it.
        let many = [&[0x00, 0x00][..], &[0xff, 0x16].repeat(1000)].concat();
        assert_eq!(all(&many, 64 * 1024), Err(Error::TooLarge));
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(
            fields in proptest::collection::vec(("[a-z:-]{1,20}", "[ -~]{0,80}"), 0..20),
            known in proptest::collection::vec(0usize..99, 0..20),
        ) {
            let own = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let fields: Vec<_> = own.chain(known.iter().map(|at| table::TABLE[*at])).collect();
            let read = all(&section(&fields), usize::MAX).expect("a section");
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
            let read: Vec<_> = read.into_iter().map(|(name, value)| (text(name), text(value))).collect();
            let read: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(read, fields);
        }
    }
}
