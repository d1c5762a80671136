//! Any bytes as the beginning of a connection: what the fuzz target runs, and a short run of it.
#![allow(unreachable_pub, reason = "`fuzz/` exports them")]

use layer4::{HELLO_BYTES_MAX, Peek, Seen};

/// Bytes that come in pieces show what they show in one; what has been shown does not change with what follows.
pub fn peek(bytes: &[u8], cuts: &[usize]) {
    let whole = Peek::default().look(bytes);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Peek::default();
    for cut in cuts {
        let seen = pieces.look(&bytes[..cut]);
        if seen != Seen::NotYet {
            assert_eq!(seen, whole, "after {cut} bytes");
            assert_eq!(Peek::default().look(&bytes[..cut]), whole);
            return;
        }
    }
    assert_eq!(pieces.look(bytes), whole);
    match &whole {
        Seen::NotYet => assert!(bytes.len() < HELLO_BYTES_MAX + 5, "there is a bound"),
        Seen::Hello { server_name: Some(name) } => {
            assert!(!name.is_empty() && name.len() <= 253);
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
        }
        _ => {}
    }
}

/// The beginning of a connection: its first byte says how it is cut.
pub fn client_hello(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let step = usize::from(*first) + 1;
    let cuts: Vec<usize> = (0..64).map(|n| n * step).collect();
    peek(rest, &cuts);
}

#[cfg(test)]
mod short {
    #[test]
    fn client_hello() {
        mutate::fuzz("client_hello", super::client_hello);
    }
}
