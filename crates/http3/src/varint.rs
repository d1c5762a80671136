//! Integers of variable length (RFC 9000 §16).

/// Most bytes of one.
pub(crate) const BYTES_MAX: usize = 8;

/// Reads one from the front: its value and its length. None when bytes are missing.
pub(crate) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

/// Appends one; what is above 2^62 - 1 has no form and is cut to that.
pub(crate) fn write(value: u64, out: &mut impl bytes::BufMut) {
    match value.min((1 << 62) - 1) {
        value @ 0..0x40 => out.put_u8(value as u8),
        value @ 0x40..0x4000 => out.put_u16(value as u16 | 0x4000),
        value @ 0x4000..0x4000_0000 => out.put_u32(value as u32 | 0x8000_0000),
        value => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 9000 §A.1.
        for (bytes, value) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(read(bytes), Some((value, bytes.len())));
            assert_eq!(read(&bytes[..bytes.len() - 1]), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(value in 0u64..1 << 62, shift in 0u32..62) {
            let value = value >> shift;
            let mut out = Vec::new();
            write(value, &mut out);
            assert_eq!(read(&out), Some((value, out.len())));
        }
    }
}
