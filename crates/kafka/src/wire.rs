//! Kafka's plain types: numbers, and texts and lists with their lengths before them.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What came is cut off, or is none of what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the broker sent cannot be read")]
pub struct Malformed;

/// Reads what came.
pub(crate) struct Reader(Bytes);

macro_rules! numbers {
    ($($name:ident: $Number:ty, $bytes:literal;)*) => {
        $(pub(crate) fn $name(&mut self) -> Result<$Number, Malformed> {
            if self.0.len() < $bytes {
                return Err(Malformed);
            }
            Ok(paste(&mut self.0))
        })*
    };
}

/// A number as it is written.
trait Number {
    fn get(from: &mut Bytes) -> Self;
}

fn paste<N: Number>(from: &mut Bytes) -> N {
    N::get(from)
}

macro_rules! number {
    ($($Number:ty: $get:ident;)*) => {
        $(impl Number for $Number {
            fn get(from: &mut Bytes) -> Self {
                from.$get()
            }
        })*
    };
}

number! { i8: get_i8; i16: get_i16; i32: get_i32; u32: get_u32; i64: get_i64; }

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    numbers! { i8: i8, 1; i16: i16, 2; i32: i32, 4; u32: u32, 4; i64: i64, 8; }

    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<Bytes, Malformed> {
        if self.0.len() < bytes {
            return Err(Malformed);
        }
        Ok(self.0.split_to(bytes))
    }

    /// All that is left, without taking it.
    pub(crate) fn rest(&self) -> Bytes {
        self.0.clone()
    }

    pub(crate) fn nullable_text(&mut self) -> Result<Option<String>, Malformed> {
        let length = self.i16()?;
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        String::from_utf8(self.take(length)?.to_vec()).map(Some).map_err(|_| Malformed)
    }

    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        self.nullable_text()?.ok_or(Malformed)
    }

    /// Bytes; none when there are none.
    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = self.i32()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length),
            Err(_) => Ok(Bytes::new()),
        }
    }

    pub(crate) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.i32()?;
        let Ok(count) = usize::try_from(count) else { return Ok(Vec::new()) };
        // Each has a byte at least: what says otherwise is no list.
        if count > self.left() {
            return Err(Malformed);
        }
        (0..count).map(|_| one(self)).collect()
    }

    /// A number of as many bytes as it needs, signs folded in.
    pub(crate) fn varlong(&mut self) -> Result<i64, Malformed> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.i8()?.cast_unsigned();
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
            shift += 7;
            if shift > 63 {
                return Err(Malformed);
            }
        }
    }

    pub(crate) fn varint(&mut self) -> Result<i32, Malformed> {
        i32::try_from(self.varlong()?).map_err(|_| Malformed)
    }

    /// Bytes whose length is such a number; `None` for a negative one.
    pub(crate) fn varbytes(&mut self) -> Result<Option<Bytes>, Malformed> {
        match usize::try_from(self.varint()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }
}

/// Writes what goes.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) BytesMut);

impl Writer {
    pub(crate) fn i8(&mut self, value: i8) -> &mut Self {
        self.0.put_i8(value);
        self
    }

    pub(crate) fn i16(&mut self, value: i16) -> &mut Self {
        self.0.put_i16(value);
        self
    }

    pub(crate) fn i32(&mut self, value: i32) -> &mut Self {
        self.0.put_i32(value);
        self
    }

    pub(crate) fn i64(&mut self, value: i64) -> &mut Self {
        self.0.put_i64(value);
        self
    }

    /// A text; what is longer than any may be is cut.
    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let length = text.len().min(i16::MAX as usize);
        self.0.put_i16(length as i16);
        self.0.put_slice(text.as_bytes().get(..length).unwrap_or_default());
        self
    }

    pub(crate) fn no_text(&mut self) -> &mut Self {
        self.i16(-1)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(bytes.len());
        self.0.put_slice(bytes);
        self
    }

    pub(crate) fn length(&mut self, length: usize) -> &mut Self {
        self.i32(i32::try_from(length).unwrap_or(i32::MAX))
    }

    pub(crate) fn list<T>(
        &mut self,
        all: impl ExactSizeIterator<Item = T>,
        mut one: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.length(all.len());
        all.for_each(|item| one(self, item));
        self
    }

    pub(crate) fn varlong(&mut self, value: i64) -> &mut Self {
        let mut value = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while value >= 0x80 {
            self.0.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.put_u8(value as u8);
        self
    }

    /// Bytes with such a number before them.
    pub(crate) fn varbytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            None => self.varlong(-1),
            Some(bytes) => {
                self.varlong(bytes.len() as i64);
                self.0.put_slice(bytes);
                self
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_that_was_written_is_read_again(value in any::<i64>()) {
            let mut writer = Writer::default();
            writer.varlong(value);
            prop_assert!(writer.0.len() <= 10);
            prop_assert_eq!(Reader::new(writer.0.freeze()).varlong(), Ok(value));
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(Bytes::from(bytes.clone()));
            let _ = reader.list(|reader| reader.text());
            let mut reader = Reader::new(Bytes::from(bytes));
            while reader.varbytes().is_ok() && reader.left() > 0 {}
        }
    }

    #[test]
    fn numbers_are_as_small_as_their_values() {
        for (value, bytes) in
            [(0, vec![0]), (-1, vec![1]), (63, vec![126]), (64, vec![128, 1]), (300, vec![216, 4])]
        {
            let mut writer = Writer::default();
            writer.varlong(value);
            assert_eq!(writer.0.to_vec(), bytes, "{value}");
        }
    }

    #[test]
    fn a_list_that_says_it_is_longer_than_what_came_takes_no_memory() {
        let mut writer = Writer::default();
        writer.i32(i32::MAX).i32(1);
        assert_eq!(Reader::new(writer.0.freeze()).list(|reader| reader.i32()), Err(Malformed));
    }
}
