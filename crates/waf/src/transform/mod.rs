//! Transformations: what rules do to a text before they look at it.
//!
//! Each gives the changed text, or nothing when it changes none, so that what was found out about a text is kept for
//! all the rules that see the same one.

mod code;
mod path;
mod space;
mod url;

use std::fmt::Write;

use base64::{Engine, alphabet, engine};
use md5::{Digest, Md5};
use sha1::Sha1;

/// Makes of each line a transformation and its name, lower-case.
macro_rules! transforms {
    ($($Name:ident => $($key:literal)|+,)*) => {
        /// A transformation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Transform {
            $($Name,)*
        }

        impl Transform {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$Name),*];

            /// The transformation of a name.
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name.to_ascii_lowercase().as_str() {
                    $($($key)|+ => Some(Self::$Name),)*
                    _ => None,
                }
            }
        }
    };
}

transforms! {
    Base64Decode => "base64decode",
    Base64DecodeExt => "base64decodeext",
    Base64Encode => "base64encode",
    CmdLine => "cmdline",
    CompressWhitespace => "compresswhitespace",
    CssDecode => "cssdecode",
    EscapeSeqDecode => "escapeseqdecode",
    HexDecode => "hexdecode",
    HexEncode => "hexencode",
    HtmlEntityDecode => "htmlentitydecode",
    JsDecode => "jsdecode",
    Length => "length",
    Lowercase => "lowercase",
    Md5 => "md5",
    NormalizePath => "normalizepath" | "normalisepath",
    NormalizePathWin => "normalizepathwin" | "normalisepathwin",
    ParityEven7bit => "parityeven7bit",
    ParityOdd7bit => "parityodd7bit",
    ParityZero7bit => "parityzero7bit",
    RemoveComments => "removecomments",
    RemoveCommentsChar => "removecommentschar",
    RemoveNulls => "removenulls",
    RemoveWhitespace => "removewhitespace",
    ReplaceComments => "replacecomments",
    ReplaceNulls => "replacenulls",
    Sha1 => "sha1",
    SqlHexDecode => "sqlhexdecode",
    Trim => "trim",
    TrimLeft => "trimleft",
    TrimRight => "trimright",
    Uppercase => "uppercase",
    UrlDecode => "urldecode",
    UrlDecodeUni => "urldecodeuni",
    UrlEncode => "urlencode",
    Utf8ToUnicode => "utf8tounicode",
}

impl Transform {
    /// The changed text, or nothing when it stays as it is.
    pub(crate) fn apply(self, text: &[u8]) -> Option<Vec<u8>> {
        let changed = match self {
            Self::Base64Decode => base64_decode(text, false)?,
            Self::Base64DecodeExt => base64_decode(text, true)?,
            Self::Base64Encode => engine::general_purpose::STANDARD.encode(text).into_bytes(),
            Self::CmdLine => space::cmd_line(text)?,
            Self::CompressWhitespace => space::compress(text)?,
            Self::CssDecode => code::css(text)?,
            Self::EscapeSeqDecode => code::escapes(text)?,
            Self::HexDecode => code::hex(text)?,
            Self::HexEncode => hex(text),
            Self::HtmlEntityDecode => code::html(text)?,
            Self::JsDecode => code::js(text)?,
            Self::Length => text.len().to_string().into_bytes(),
            Self::Lowercase => text.iter().any(u8::is_ascii_uppercase).then(|| text.to_ascii_lowercase())?,
            Self::Uppercase => text.iter().any(u8::is_ascii_lowercase).then(|| text.to_ascii_uppercase())?,
            Self::Md5 => Md5::digest(text).to_vec(),
            Self::Sha1 => Sha1::digest(text).to_vec(),
            Self::NormalizePath => path::normalize(text, false)?,
            Self::NormalizePathWin => path::normalize(text, true)?,
            Self::ParityEven7bit => parity(text, |byte| (byte & 0x7F).count_ones() % 2 == 1),
            Self::ParityOdd7bit => parity(text, |byte| (byte & 0x7F).count_ones().is_multiple_of(2)),
            Self::ParityZero7bit => parity(text, |_| false),
            Self::RemoveComments => space::remove_comments(text)?,
            Self::RemoveCommentsChar => space::remove_comments_char(text)?,
            Self::RemoveNulls => {
                text.contains(&0).then(|| text.iter().copied().filter(|byte| *byte != 0).collect())?
            }
            Self::ReplaceNulls => {
                let space = |byte: &u8| if *byte == 0 { b' ' } else { *byte };
                text.contains(&0).then(|| text.iter().map(space).collect())?
            }
            Self::RemoveWhitespace => space::remove(text)?,
            Self::ReplaceComments => space::replace_comments(text)?,
            Self::SqlHexDecode => code::sql_hex(text)?,
            Self::Trim => trimmed(text, space::trim_left(space::trim_right(text)))?,
            Self::TrimLeft => trimmed(text, space::trim_left(text))?,
            Self::TrimRight => trimmed(text, space::trim_right(text))?,
            Self::UrlDecode => url::decode(text, false)?,
            Self::UrlDecodeUni => url::decode(text, true)?,
            Self::UrlEncode => url::encode(text),
            Self::Utf8ToUnicode => code::utf8_to_unicode(text)?,
        };
        Some(changed)
    }
}

fn trimmed(text: &[u8], kept: &[u8]) -> Option<Vec<u8>> {
    (kept.len() < text.len()).then(|| kept.to_vec())
}

fn hex(text: &[u8]) -> Vec<u8> {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text {
        let _ = write!(out, "{byte:02x}");
    }
    out.into_bytes()
}

fn parity(text: &[u8], is_set: impl Fn(u8) -> bool) -> Vec<u8> {
    text.iter().map(|byte| byte & 0x7F | if is_set(*byte) { 0x80 } else { 0 }).collect()
}

/// As much as can be decoded. The forgiving form passes over what is not of the alphabet.
fn base64_decode(text: &[u8], is_forgiving: bool) -> Option<Vec<u8>> {
    let config = engine::GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent);
    let engine = engine::GeneralPurpose::new(&alphabet::STANDARD, config);
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut kept: Vec<u8> = match is_forgiving {
        true => text.iter().copied().filter(is_of_it).collect(),
        false => {
            let lines = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n'));
            lines.take_while(is_of_it).collect()
        }
    };
    if kept.len() % 4 == 1 {
        kept.pop();
    }
    let decoded = engine.decode(&kept).ok()?;
    (!decoded.is_empty()).then_some(decoded)
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// The byte of two hexadecimal digits at a place.
fn hex_byte(text: &[u8], at: usize) -> Option<u8> {
    Some(digit(*text.get(at)?)? << 4 | digit(*text.get(at + 1)?)?)
}

/// The number of four hexadecimal digits at a place.
fn hex_four(text: &[u8], at: usize) -> Option<u16> {
    Some(u16::from(hex_byte(text, at)?) << 8 | u16::from(hex_byte(text, at + 2)?))
}

/// The one byte that stands for a character: of full-width forms that of the plain one, of others the low byte.
fn low_byte(code: u16) -> u8 {
    let low = (code & 0xFF) as u8;
    if code >> 8 == 0xFF && (0x01..=0x5E).contains(&low) { low + 0x20 } else { low }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_does_what_its_name_says() {
        for (name, text, want) in [
            ("urlDecode", &b"a%20b+c%zz%4"[..], &b"a b c%zz%4"[..]),
            ("urlDecodeUni", b"%u003cscript%uff1e%41+", b"<script>A "),
            ("urlEncode", b"a b<", b"a+b%3c"),
            ("htmlEntityDecode", b"&lt;a&#x3e;&#65;&quot;&nbsp;&amp;&bogus;&#x41", b"<a>A\"\xa0&&bogus;A"),
            ("jsDecode", br"\x41\u0042\103\n\'\uff1c", b"ABC\n'<"),
            ("cssDecode", b"\\61 \\000062c\\\nd\\zx", b"abcdzx"),
            ("escapeSeqDecode", br"\x41\101\n\t\q", b"AA\n\tq"),
            ("hexDecode", b"414243zz", b"ABC"),
            ("hexEncode", b"AB", b"4142"),
            ("lowercase", b"AbC", b"abc"),
            ("uppercase", b"AbC", b"ABC"),
            ("length", b"abc", b"3"),
            ("removeNulls", b"a\0b", b"ab"),
            ("replaceNulls", b"a\0b", b"a b"),
            ("removeWhitespace", b" a\t b\xa0", b"ab"),
            ("compressWhitespace", b"a \t\n b", b"a b"),
            ("removeComments", b"a/* x */b-- rest", b"ab"),
            ("replaceComments", b"a/* x */b/* open", b"a b "),
            ("removeCommentsChar", b"a/*b*/c--d#e", b"abcde"),
            ("normalizePath", b"/a/./b//../c", b"/a/c"),
            ("normalizePath", b"../../a/", b"../../a/"),
            ("normalizePath", b"/../etc", b"/etc"),
            ("normalizePathWin", b"\\a\\..\\b", b"/b"),
            ("cmdLine", b"C^md.\"exe\"  ;  /C,dir", b"cmd.exe/c dir"),
            ("trim", b"  a ", b"a"),
            ("trimLeft", b"  a ", b"a "),
            ("trimRight", b"  a ", b"  a"),
            ("base64Decode", b"PHNjcmlwdD4=", b"<script>"),
            ("base64Decode", b"PHNjcmlwdD4", b"<script>"),
            ("base64DecodeExt", b"PH.Njcm lwdD4=", b"<script>"),
            ("base64Encode", b"<script>", b"PHNjcmlwdD4="),
            ("sqlHexDecode", b"0x414243 x", b"ABC x"),
            ("utf8toUnicode", "aä€".as_bytes(), b"a%u00e4%u20ac"),
            ("parityZero7bit", b"\xc1", b"A"),
            ("md5", b"", b"\xd4\x1d\x8c\xd9\x8f\x00\xb2\x04\xe9\x80\x09\x98\xec\xf8\x42\x7e"),
        ] {
            let transform = Transform::named(name).expect("a known name");
            let got = transform.apply(text).unwrap_or_else(|| text.to_vec());
            assert_eq!(
                String::from_utf8_lossy(&got),
                String::from_utf8_lossy(want),
                "{name} of {:?}",
                String::from_utf8_lossy(text)
            );
        }
        let sha1 = Transform::Sha1.apply(b"abc").and_then(|sum| Transform::HexEncode.apply(&sum));
        assert_eq!(sha1.as_deref(), Some(&b"a9993e364706816aba3e25717850c26c9cd0d89d"[..]));
    }

    proptest! {
        /// Any bytes in, no panic out, and no more than a small multiple of them.
        #[test]
        fn any_bytes_can_be_transformed(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            for transform in Transform::ALL {
                let out = transform.apply(&text).unwrap_or_default();
                prop_assert!(out.len() <= 6 * text.len() + 20, "{transform:?}: {}", out.len());
            }
        }

        /// The same of what decoders look for.
        #[test]
        fn any_escapes_can_be_transformed(text in r"(?:[a-f0-9%&;#xu\\/*.\-+ ]|&#|%u|\\x|0x|/\*){0,60}") {
            for transform in Transform::ALL {
                let out = transform.apply(text.as_bytes()).unwrap_or_default();
                prop_assert!(out.len() <= 6 * text.len() + 20, "{transform:?}: {}", out.len());
            }
        }
    }
}
