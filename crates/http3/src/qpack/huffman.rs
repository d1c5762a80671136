//! The static Huffman code of HPACK and QPACK (RFC 7541 Appendix B).
//!
//! The code is canonical: the lengths say all of it. Codes of one length follow each other in the order of their
//! symbols, and begin where those of the length before end.

use std::sync::LazyLock;

/// Bits of each byte's code.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
/// The longest code; that of the end alone is as long and nothing but ones.
const BITS_MAX: u8 = 30;
/// Codes of at most so many bits are found at once.
const FAST_BITS: u8 = 8;

struct Code {
    /// Of each byte.
    codes: [u32; 256],
    /// By the next bits: the byte, and the bits of its code; none for longer codes.
    fast: [(u8, u8); 1 << FAST_BITS],
    /// Of each length: the first code, how many there are, and where their bytes begin in `ordered`.
    by_length: [(u32, u32, usize); BITS_MAX as usize + 1],
    ordered: Vec<u8>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let mut ordered: Vec<u8> = (0..=255).collect();
    ordered.sort_by_key(|byte| (LENGTHS[usize::from(*byte)], *byte));
    let mut made = Code {
        codes: [0; 256],
        fast: [(0, 0); 1 << FAST_BITS],
        by_length: [(0, 0, 0); BITS_MAX as usize + 1],
        ordered,
    };
    let (mut code, mut before) = (0u32, 0);
    for (at, byte) in made.ordered.iter().enumerate() {
        let bits = LENGTHS[usize::from(*byte)];
        code <<= bits - before;
        before = bits;
        let (first, count, begin) = &mut made.by_length[usize::from(bits)];
        if *count == 0 {
            (*first, *begin) = (code, at);
        }
        *count += 1;
        made.codes[usize::from(*byte)] = code;
        if bits <= FAST_BITS {
            let spare = FAST_BITS - bits;
            for rest in 0..1usize << spare {
                made.fast[(code as usize) << spare | rest] = (*byte, bits);
            }
        }
        code += 1;
    }
    made
});

/// Decodes, unless what comes out is more than `bytes_max`.
pub(super) fn decode(coded: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Option<()> {
    let code = &*CODE;
    // Bits that are not decoded yet, at the high end.
    let (mut bits, mut have) = (0u64, 0u8);
    let mut coded = coded.iter();
    let before = out.len();
    loop {
        while have <= 56 {
            let Some(byte) = coded.next() else { break };
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        let (byte, length) = match code.fast[(bits >> (64 - FAST_BITS)) as usize] {
            (byte, length) if length > 0 && length <= have => (byte, length),
            _ => match long(code, bits, have) {
                Some(found) => found,
                // What is left is the padding: fewer than eight ones (§5.2).
                None => return (have < 8 && bits == !(u64::MAX.checked_shr(have.into())?)).then_some(()),
            },
        };
        if out.len() - before == bytes_max {
            return None;
        }
        out.push(byte);
        bits <<= length;
        have -= length;
    }
}

/// The code at the front, whatever its length.
fn long(code: &Code, bits: u64, have: u8) -> Option<(u8, u8)> {
    (1..=BITS_MAX.min(have)).find_map(|length| {
        let (first, count, begin) = code.by_length[usize::from(length)];
        let place = ((bits >> (64 - u32::from(length))) as u32).checked_sub(first)?;
        (place < count).then(|| (code.ordered[begin + place as usize], length))
    })
}

/// Bytes that the coded form has.
pub(super) fn length(bytes: &[u8]) -> usize {
    let bits: usize = bytes.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Appends the coded form.
pub(super) fn encode(bytes: &[u8], out: &mut impl bytes::BufMut) {
    let code = &*CODE;
    let (mut bits, mut have) = (0u64, 0u8);
    for byte in bytes {
        let length = LENGTHS[usize::from(*byte)];
        bits = bits << length | u64::from(code.codes[usize::from(*byte)]);
        have += length;
        while have >= 8 {
            have -= 8;
            out.put_u8((bits >> have) as u8);
        }
    }
    if have > 0 {
        let spare = 8 - have;
        out.put_u8((bits << spare) as u8 | ((1u16 << spare) - 1) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn both_ways(plain: &[u8], coded: &[u8]) {
        let mut out = Vec::new();
        encode(plain, &mut out);
        assert_eq!((&out[..], length(plain)), (coded, coded.len()));
        out.clear();
        assert_eq!(decode(coded, plain.len(), &mut out), Some(()));
        assert_eq!(out, plain);
        if !plain.is_empty() {
            assert_eq!(decode(coded, plain.len() - 1, &mut Vec::new()), None);
        }
    }

    #[test]
    fn the_examples_of_the_rfc_go_both_ways() {
        // RFC 7541 §C.4, §C.6.
        both_ways(b"", b"");
        both_ways(b"www.example.com", b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff");
        both_ways(b"no-cache", b"\xa8\xeb\x10\x64\x9c\xbf");
        both_ways(b"custom-value", b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf");
        both_ways(b"302", b"\x64\x02");
        both_ways(
            b"Mon, 21 Oct 2013 20:13:21 GMT",
            &[
                0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81,
                0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
            ],
        );
    }

    #[test]
    fn wrong_ends_are_refused() {
        for coded in [
            // The end's own code, with bits behind it.
            &[0xff, 0xff, 0xff, 0xff][..],
            // A byte of padding that is none.
            &[0x64, 0x02, 0xff],
            // Padding of zeros.
            &[0x00],
        ] {
            assert_eq!(decode(coded, 100, &mut Vec::new()), None, "{coded:x?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_go_there_and_back(plain in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let (mut coded, mut back) = (Vec::new(), Vec::new());
            encode(&plain, &mut coded);
            assert_eq!(coded.len(), length(&plain));
            assert_eq!(decode(&coded, plain.len(), &mut back), Some(()));
            assert_eq!(back, plain);
        }

        #[test]
        fn what_is_decoded_is_the_one_form_of_it(coded in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let (mut plain, mut again) = (Vec::new(), Vec::new());
            if decode(&coded, 1000, &mut plain).is_some() {
                encode(&plain, &mut again);
                assert_eq!(again, coded);
            }
        }
    }
}
