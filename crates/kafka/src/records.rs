//! Batches of records, as they are sent and kept (version 2 of the format, from Kafka 0.11 on).

use std::collections::HashSet;

#[cfg(test)]
use bytes::BytesMut;
use bytes::{BufMut, Bytes};

use crate::{
    check::crc32c,
    compress::{self, Compression},
    wire::{Malformed, Reader, Writer},
};

/// A record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// What says which partition it belongs to.
    pub key: Option<Bytes>,
    /// What it says; none is what deletes a key from a compacted topic.
    pub value: Option<Bytes>,
    /// Its headers, in their order.
    pub headers: Vec<(String, Bytes)>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Its place in its partition; of no meaning while it is sent.
    pub offset: i64,
}

/// Bytes of a batch up to and with its own length.
const BEFORE: usize = 12;
/// Bytes between its length and what is checked.
const BETWEEN: usize = 9;
const MAGIC: i8 = 2;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

impl Record {
    /// Bytes that it takes, or a little more.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value) + headers + 30
    }
}

/// Who sends a batch, and the number of its first record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

/// Writes a batch of records.
pub(crate) fn write<'r>(
    records: impl ExactSizeIterator<Item = &'r Record> + Clone,
    sender: Sender,
    compression: Compression,
) -> Bytes {
    let count = records.len();
    let base = records.clone().next().map_or(0, |record| record.timestamp);
    let last = records.clone().map(|record| record.timestamp).max().unwrap_or(base);
    let mut body = Writer::default();
    let mut one = Writer::default();
    for (number, record) in records.enumerate() {
        one.0.clear();
        one.i8(0).varlong(record.timestamp - base).varlong(number as i64);
        one.varbytes(record.key.as_deref()).varbytes(record.value.as_deref());
        one.varlong(record.headers.len() as i64);
        for (name, value) in &record.headers {
            one.varbytes(Some(name.as_bytes())).varbytes(Some(value));
        }
        body.varbytes(Some(&one.0));
    }
    let (compression, body) = match compress::compress(compression, &body.0) {
        Some(smaller) => (compression, smaller),
        None => (Compression::None, body.0.freeze()),
    };
    let mut checked = Writer::default();
    checked.i16(compression.number()).i32(count as i32 - 1).i64(base).i64(last);
    checked.i64(sender.id).i16(sender.epoch).i32(sender.sequence).length(count);
    checked.0.put_slice(&body);
    let mut batch = Writer::default();
    batch.i64(0).length(checked.0.len() + BETWEEN).i32(-1).i8(MAGIC);
    batch.0.put_u32(crc32c(&checked.0));
    batch.0.put_slice(&checked.0);
    batch.0.freeze()
}

/// What a fetch of a partition brought.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    pub(crate) records: Vec<Record>,
    /// Where to go on; nothing when there was no whole batch.
    pub(crate) next: Option<i64>,
    /// There was the beginning of a batch, and nothing before it.
    pub(crate) is_cut: bool,
    /// The first batch cannot be read.
    pub(crate) bad: Option<Bad>,
    /// That may be the doing of the way here, and then it is not so the next time.
    pub(crate) damage: Option<Damage>,
    /// Bytes that it has unfolded to.
    pub(crate) unfolded: usize,
}

/// A batch that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Where it begins, as far as that can be believed.
    pub(crate) base: i64,
    /// Where the next begins, as far as that can be believed.
    pub(crate) next: Option<i64>,
    pub(crate) why: &'static str,
}

/// What bytes looked like that should have been others: the same twice is no accident of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    digest: u32,
    /// Bytes up to where the next batch should begin, as far as that can be believed.
    pub(crate) bytes: usize,
}

/// Bytes of the head of a batch.
const HEAD: usize = 61;

impl Damage {
    fn of(bytes: &[u8], is_whole: bool) -> Self {
        let seen = if is_whole { bytes } else { &bytes[..bytes.len().min(HEAD)] };
        Self { digest: crc32c(seen), bytes: if is_whole { bytes.len() } else { 0 } }
    }
}

/// What is wrong with a batch.
struct Fault {
    why: &'static str,
    /// Where the next begins, as far as its head can be believed.
    next: Option<i64>,
    /// It may be other bytes the next time.
    is_damage: bool,
}

/// The head of a batch, and its records as they are compressed.
struct Opened {
    attributes: i16,
    last: i64,
    first_time: i64,
    last_time: i64,
    producer: i64,
    count: i32,
    body: Bytes,
}

/// Opens a batch.
fn opened(batch: Bytes, base: i64) -> Result<Opened, Fault> {
    let damaged = |why, next| Fault { why, next, is_damage: true };
    let mut batch = Reader::new(batch);
    let mut head = || {
        batch.i32()?;
        batch.i8()
    };
    match head() {
        Ok(MAGIC) => {}
        // Before, each was a batch of its own, named by its last record.
        Ok(0..MAGIC) => {
            return Err(damaged("it has the format of before Kafka 0.11", Some(base.saturating_add(1))));
        }
        _ => return Err(damaged("its head cannot be read", None)),
    }
    let check = batch.u32();
    let is_whole = check.is_ok_and(|check| crc32c(&batch.rest()) == check);
    let mut rest = || {
        let attributes = batch.i16()?;
        let last = base.saturating_add(i64::from(batch.i32()?));
        let (first_time, last_time) = (batch.i64()?, batch.i64()?);
        let producer = batch.i64()?;
        batch.i16()?;
        batch.i32()?;
        let count = batch.i32()?;
        Ok::<_, Malformed>(Opened {
            attributes,
            last,
            first_time,
            last_time,
            producer,
            count,
            body: batch.rest(),
        })
    };
    let Ok(opened) = rest() else { return Err(damaged("its head cannot be read", None)) };
    if is_whole {
        return Ok(opened);
    }
    // It is among the bytes that may be wrong: what it says twice, by the number of its records and by that of the last of
    // them, is believed.
    let records = opened.last.checked_sub(base).and_then(|last| last.checked_add(1));
    let agrees = opened.count > 0 && records == Some(i64::from(opened.count));
    Err(damaged("its checksum is wrong", agrees.then(|| opened.last.saturating_add(1))))
}

/// Reads batches from an offset on, until they have unfolded to more than so many bytes, or one cannot be read. What was
/// aborted is left out: these are the producers and the offsets from which on they had to take back what they wrote.
pub(crate) fn read(bytes: Bytes, from: i64, mut aborted: Vec<(i64, i64)>, most: usize) -> Batches {
    let mut found = Batches::default();
    let mut reader = Reader::new(bytes);
    aborted.sort_by_key(|(_, first)| std::cmp::Reverse(*first));
    let mut aborting: HashSet<i64> = HashSet::new();
    while reader.left() >= BEFORE && found.unfolded <= most {
        let all = reader.rest();
        let mut reading = Reader::new(all.clone());
        let (Ok(base), Ok(length)) = (reading.i64(), reading.i32()) else { break };
        let Ok(length) = usize::try_from(length) else {
            found.spoiled(Bad { base, next: None, why: "its length is none" }, Some(Damage::of(&all, false)));
            break;
        };
        let Ok(batch) = reading.take(length) else {
            // The broker cuts where there is no more room.
            if found.next.is_none() {
                (found.is_cut, found.damage) = (true, Some(Damage::of(&all, false)));
            }
            break;
        };
        let behind = reading.rest();
        reader = Reader::new(behind.clone());
        let one = match opened(batch, base) {
            Ok(one) => one,
            Err(Fault { why, next, is_damage }) => {
                let next = begins(behind).filter(|next| *next > from).or(next);
                let damage = is_damage.then(|| Damage::of(&all[..BEFORE + length], true));
                found.spoiled(Bad { base, next, why }, damage);
                break;
            }
        };
        let next = one.last.saturating_add(1);
        if one.attributes & TRANSACTIONAL != 0 {
            while let Some((producer, _)) = aborted.pop_if(|(_, first)| *first <= one.last) {
                aborting.insert(producer);
            }
        }
        if one.attributes & CONTROL != 0 {
            // It is a marker of the end of what a producer wrote, kept or taken back.
            aborting.remove(&one.producer);
            found.next = Some(next);
            continue;
        }
        if one.attributes & TRANSACTIONAL != 0 && aborting.contains(&one.producer) {
            found.next = Some(next);
            continue;
        }
        let Ok(body) = compress::decompress(one.attributes & 7, one.body) else {
            let why = "it cannot be unfolded, or only to more than 16 MiB";
            found.spoiled(Bad { base, next: Some(next), why }, None);
            break;
        };
        found.unfolded += body.len();
        // The time may be that of the broker, which is the batch's.
        let time = (one.attributes & 8 != 0).then_some(one.last_time);
        let so_far = found.records.len();
        if records(body, one.count, base, one.first_time, time, from, &mut found.records).is_err() {
            found.records.truncate(so_far);
            found.spoiled(Bad { base, next: Some(next), why: "its records cannot be read" }, None);
            break;
        }
        found.next = Some(next);
    }
    found
}

impl Batches {
    /// A batch cannot be read. Those before it come first, and this one is met again.
    fn spoiled(&mut self, bad: Bad, damage: Option<Damage>) {
        if self.next.is_none() {
            (self.bad, self.damage) = (Some(bad), damage);
        }
    }
}

/// Where a batch begins that is whole and as it was written: nothing else is believed.
fn begins(bytes: Bytes) -> Option<i64> {
    let mut reader = Reader::new(bytes);
    let (base, length) = (reader.i64().ok()?, usize::try_from(reader.i32().ok()?).ok()?);
    opened(reader.take(length).ok()?, base).is_ok().then_some(base)
}

fn records(
    body: Bytes,
    count: i32,
    base: i64,
    first_time: i64,
    time: Option<i64>,
    from: i64,
    found: &mut Vec<Record>,
) -> Result<(), Malformed> {
    let mut body = Reader::new(body);
    for _ in 0..count {
        let length = usize::try_from(body.varint()?).map_err(|_| Malformed)?;
        let mut one = Reader::new(body.take(length)?);
        one.i8()?;
        let timestamp = time.unwrap_or(first_time.saturating_add(one.varlong()?));
        if time.is_some() {
            one.varlong()?;
        }
        let offset = base.saturating_add(i64::from(one.varint()?));
        let (key, value) = (one.varbytes()?, one.varbytes()?);
        let mut headers = Vec::new();
        for _ in 0..one.varint()? {
            let name = one.varbytes()?.ok_or(Malformed)?;
            let name = String::from_utf8_lossy(&name).into_owned();
            headers.push((name, one.varbytes()?.unwrap_or_default()));
        }
        if offset >= from {
            found.push(Record { key, value, headers, timestamp, offset });
        }
    }
    Ok(())
}

/// A batch that is the end of what a producer wrote.
#[cfg(test)]
fn marker(base: i64, producer: i64) -> BytesMut {
    let record = Record { key: Some(Bytes::from_static(&[0, 0, 0, 0])), ..Default::default() };
    let sender = Sender { id: producer, epoch: 0, sequence: -1 };
    changed(write([&record].into_iter(), sender, Compression::None), base, TRANSACTIONAL | CONTROL)
}

/// The same batch at another place, with other attributes.
#[cfg(test)]
fn changed(batch: Bytes, base: i64, attributes: i16) -> BytesMut {
    let mut batch = BytesMut::from(&batch[..]);
    batch[..8].copy_from_slice(&base.to_be_bytes());
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    let check = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&check.to_be_bytes());
    batch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(value: &str) -> Record {
        Record {
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: vec![("a".to_owned(), Bytes::from_static(b"b")), ("a".to_owned(), Bytes::new())],
            timestamp: 1_700_000_000_000,
            offset: 0,
        }
    }

    const MOST: usize = 1 << 20;
    const SENDER: Sender = Sender { id: 7, epoch: 1, sequence: 3 };

    fn values(found: &Batches) -> Vec<String> {
        let value =
            |record: &Record| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into();
        found.records.iter().map(value).collect()
    }

    #[test]
    fn what_was_written_is_read_again_whatever_it_is_compressed_by() {
        let long = "x".repeat(5000);
        for compression in [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            let mut all = [record("one"), record(&long), Record::default()];
            all[1].timestamp += 5;
            let batch = write(all.iter(), SENDER, compression);
            assert_eq!(batch.len() < 1000, compression != Compression::None, "{compression:?}");
            let found = read(batch, 0, Vec::new(), MOST);
            for (number, one) in all.iter_mut().enumerate() {
                one.offset = number as i64;
            }
            assert_eq!(found.records, all, "{compression:?}");
            assert_eq!(found.next, Some(3));
        }
    }

    #[test]
    fn reading_begins_where_it_is_wanted_and_ends_where_the_broker_cut() {
        let batch = changed(write([record("a"), record("b")].iter(), SENDER, Compression::None), 10, 0);
        let mut bytes = BytesMut::from(&batch[..]);
        bytes.extend_from_slice(&batch[..30]);
        let found = read(bytes.freeze(), 11, Vec::new(), MOST);
        assert_eq!((values(&found), found.next, found.is_cut), (vec!["b".to_owned()], Some(12), false));
        let found = read(batch.freeze().slice(..40), 11, Vec::new(), MOST);
        assert!(found.is_cut && found.next.is_none());
    }

    #[test]
    fn no_more_is_unfolded_than_may_be_and_the_rest_comes_with_the_next_fetch() {
        let large = "x".repeat(1000);
        let of = |base| changed(write([record(&large)].iter(), SENDER, Compression::Zstd), base, 4);
        let mut bytes = of(0);
        bytes.extend_from_slice(&of(1));
        bytes.extend_from_slice(&of(2));
        let found = read(bytes.freeze(), 0, Vec::new(), 1500);
        assert_eq!((found.records.len(), found.next), (2, Some(2)));
    }

    #[test]
    fn what_was_taken_back_is_left_out() {
        let of = |value: &str, base| {
            changed(write([record(value)].iter(), SENDER, Compression::None), base, TRANSACTIONAL)
        };
        let mut bytes = of("aborted", 0);
        bytes.extend_from_slice(&changed(write([record("plain")].iter(), SENDER, Compression::None), 1, 0));
        bytes.extend_from_slice(&marker(2, 7));
        bytes.extend_from_slice(&of("kept", 3));
        bytes.extend_from_slice(&marker(4, 7));
        let found = read(bytes.freeze(), 0, vec![(7, 0)], MOST);
        assert_eq!((values(&found), found.next), (vec!["plain".to_owned(), "kept".to_owned()], Some(5)));
    }

    #[test]
    fn what_is_damaged_is_told_with_its_place_and_what_stands_before_it_is_read() {
        let of = |value: &str, base| {
            changed(write([record(value), record("b")].iter(), SENDER, Compression::None), base, 0)
        };
        let (batch, after) = (of("a", 10), of("c", 12));
        for place in 17..batch.len() {
            let mut bytes = batch.clone();
            bytes[place] ^= 1;
            let damaged = bytes.clone();
            bytes.extend_from_slice(&after);
            let found = read(bytes.freeze(), 11, Vec::new(), MOST);
            let bad = found.bad.expect("one");
            assert_eq!((bad.base, bad.next, bad.why), (10, Some(12), "its checksum is wrong"), "{place}");
            assert!(found.records.is_empty() && found.next.is_none(), "{place}");
            let mut bytes = of("whole", 8);
            bytes.extend_from_slice(&damaged);
            let found = read(bytes.freeze(), 8, Vec::new(), MOST);
            assert_eq!((found.next, found.bad, values(&found).len()), (Some(10), None, 2), "{place}");
        }
    }

    #[test]
    fn a_head_that_may_be_damaged_is_believed_where_it_agrees_with_itself_and_nowhere_else() {
        let of = |value: &str, base| {
            changed(write([record(value), record("b")].iter(), SENDER, Compression::None), base, 0)
        };
        let batch = of("a", 10);
        // Attributes, times and whoever sent it say nothing of where it ends; what does is at 23 and at 57.
        let says = |place: usize| (23..27).contains(&place) || (57..61).contains(&place);
        for place in 17..batch.len() {
            for bit in 0..8 {
                let mut bytes = batch.clone();
                bytes[place] ^= 1 << bit;
                let found = read(bytes.clone().freeze(), 10, Vec::new(), MOST);
                let want = (!says(place)).then_some(12);
                assert_eq!(found.bad.expect("one").next, want, "{place} {bit}: nothing is behind it");
                assert!(found.damage.is_some());
                // Nor is what is behind it, unless it is whole.
                bytes.extend_from_slice(&of("c", 1 << 40)[..60]);
                let found = read(bytes.freeze(), 10, Vec::new(), MOST);
                assert_eq!(found.bad.expect("one").next, want, "{place} {bit}: what is behind it is cut");
            }
        }
        // A length that is damaged leads into the middle of it, where anything may stand.
        for bit in 0..6 {
            let mut bytes = batch.clone();
            bytes[11] ^= 1 << bit;
            bytes.extend_from_slice(&of("c", 12));
            let found = read(bytes.freeze(), 10, Vec::new(), MOST);
            assert!(
                found.next.is_none() && found.bad.is_none_or(|bad| bad.next.is_none_or(|next| next == 12))
            );
        }
    }

    #[test]
    fn what_no_one_can_unfold_is_told_and_so_is_what_has_another_format() {
        let large = "x".repeat(16 * 1024 * 1024 + 1);
        let batch = changed(write([record(&large)].iter(), SENDER, Compression::Zstd), 5, 4);
        let bad = read(batch.freeze(), 5, Vec::new(), MOST).bad.expect("one");
        assert_eq!((bad.base, bad.next), (5, Some(6)));
        let mut old = changed(write([record("a")].iter(), SENDER, Compression::None), 5, 0);
        old[16] = 1;
        let bad = read(old.freeze(), 5, Vec::new(), MOST).bad.expect("one");
        assert_eq!((bad.next, bad.why), (Some(6), "it has the format of before Kafka 0.11"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(Bytes::from(bytes), 0, Vec::new(), MOST);
        }

        #[test]
        fn no_records_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..100), count in any::<i32>()) {
            let _ = records(Bytes::from(bytes), count, 0, 0, None, 0, &mut Vec::new());
        }
    }
}
