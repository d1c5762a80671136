//! How batches are made smaller, and how what others made smaller is read within a bound.

use std::io::{Read, Write};

use bytes::Bytes;

use crate::wire::Malformed;

/// Bytes of a batch when it is large again.
const LARGE_MAX: usize = 16 * 1024 * 1024;
/// How snappy begins where Java's client writes it, in blocks.
const SNAPPY_BLOCKS: &[u8] = b"\x82SNAPPY\0";

/// How batches are made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// They are not.
    #[default]
    None,
    /// Small and slow.
    Gzip,
    /// Fast.
    Lz4,
    /// Small and fast.
    Zstd,
}

impl Compression {
    /// What it is called in a batch.
    pub(crate) fn number(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

/// Makes it smaller; nothing when that is not wanted, or does not work.
pub(crate) fn compress(compression: Compression, bytes: &[u8]) -> Option<Bytes> {
    let made = match compression {
        Compression::None => return None,
        Compression::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).and_then(|()| out.finish()).ok()
        }
        Compression::Lz4 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(bytes).ok().and_then(|()| out.finish().ok())
        }
        Compression::Zstd => zstd::stream::encode_all(bytes, 3).ok(),
    };
    made.map(Bytes::from)
}

/// Makes it large again, by the number that the batch has.
pub(crate) fn decompress(number: i16, bytes: Bytes) -> Result<Bytes, Malformed> {
    match number {
        0 => Ok(bytes),
        1 => whole(flate2::read::MultiGzDecoder::new(&bytes[..])),
        2 => snappy(&bytes),
        3 => whole(lz4_flex::frame::FrameDecoder::new(&bytes[..])),
        4 => whole(zstd::stream::read::Decoder::new(&bytes[..]).map_err(|_| Malformed)?),
        _ => Err(Malformed),
    }
}

fn whole(from: impl Read) -> Result<Bytes, Malformed> {
    let mut out = Vec::new();
    from.take(LARGE_MAX as u64 + 1).read_to_end(&mut out).map_err(|_| Malformed)?;
    if out.len() > LARGE_MAX { Err(Malformed) } else { Ok(out.into()) }
}

fn snappy(bytes: &[u8]) -> Result<Bytes, Malformed> {
    let one = |block: &[u8], so_far: usize| {
        let length = snap::raw::decompress_len(block).map_err(|_| Malformed)?;
        if so_far + length > LARGE_MAX {
            return Err(Malformed);
        }
        snap::raw::Decoder::new().decompress_vec(block).map_err(|_| Malformed)
    };
    let Some(mut rest) = bytes.strip_prefix(SNAPPY_BLOCKS).and_then(|rest| rest.get(8..)) else {
        return one(bytes, 0).map(Bytes::from);
    };
    let mut out = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = more.split_at_checked(length).ok_or(Malformed)?;
        out.extend(one(block, out.len())?);
        rest = after;
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_snappy_are_read() {
        let made = snap::raw::Encoder::new().compress_vec(b"hello hello hello").expect("bytes");
        assert_eq!(decompress(2, Bytes::from(made.clone())).as_deref(), Ok(&b"hello hello hello"[..]));
        let mut blocks = SNAPPY_BLOCKS.to_vec();
        blocks.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for _ in 0..2 {
            blocks.extend((made.len() as u32).to_be_bytes());
            blocks.extend(&made);
        }
        assert_eq!(decompress(2, blocks.into()).expect("bytes").len(), 34);
    }

    #[test]
    fn what_would_be_too_large_is_refused() {
        let large = vec![0; LARGE_MAX + 1];
        for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            let made = compress(compression, &large).expect("bytes");
            assert_eq!(decompress(compression.number(), made), Err(Malformed), "{compression:?}");
        }
        let made = snap::raw::Encoder::new().compress_vec(&large).expect("bytes");
        assert_eq!(decompress(2, made.into()), Err(Malformed));
    }
}
