//! One answer as bytes, as a file and elsewhere: its head, its body, and digests of both, so that nothing is given that is torn or another's.
//!
//! `magic | length of the meta | length of the body | digest of the body | digest of all that and of the meta | meta | body`.
//! The meta is checked without the body, so that files can be looked through quickly; numbers are big-endian.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    entry::{Selecting, Stored},
    freshness::{Clock, Terms},
    key::Key,
};

const MAGIC: &[u8; 8] = b"tgcache1";
const DIGEST_BYTES: usize = 32;
/// Magic, two lengths, the body's digest.
const TOP_BYTES: usize = 8 + 4 + 8 + DIGEST_BYTES;
/// What stands before the meta.
pub(super) const HEAD_BYTES: usize = TOP_BYTES + DIGEST_BYTES;
/// A longer meta is none of ours.
const META_BYTES_MAX: usize = 4 << 20;
/// An answer of before a clock was set back by more than this is asked about before it is given.
const CLOCK_SLACK_MILLIS: u64 = 2_000;

/// A digest that says for which settings of which cache an answer was kept.
pub(super) type Fingerprint = [u8; DIGEST_BYTES];

/// What a file's beginning says.
#[derive(Debug)]
pub(super) struct Lengths {
    top: [u8; HEAD_BYTES],
    pub(super) meta: usize,
    pub(super) body: usize,
}

/// All of a file but its body.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) fingerprint: Fingerprint,
    pub(super) key: Key,
    pub(super) selecting: Vec<Selecting>,
    pub(super) headers: HeaderMap,
    /// Milliseconds since 1970.
    pub(super) written: u64,
    status: StatusCode,
    /// Milliseconds that the answer was old when it was written.
    age: u64,
    terms: Terms,
}

/// A digest of bytes.
pub(super) fn sum(bytes: &[u8]) -> Fingerprint {
    let mut out = [0; DIGEST_BYTES];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn sum_of_top(top: &[u8], meta: &[u8]) -> Fingerprint {
    let mut context = Context::new(&SHA256);
    context.update(top);
    context.update(meta);
    let mut out = [0; DIGEST_BYTES];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// What is written before the body; none when it is too long.
pub(super) fn head(
    stored: &Stored,
    key: &Key,
    fingerprint: &Fingerprint,
    written: u64,
    now: Instant,
) -> Option<Vec<u8>> {
    let mut meta = Vec::with_capacity(1024 + key.bytes.len());
    meta.extend_from_slice(fingerprint);
    number(&mut meta, key.address().len() as u64);
    text(&mut meta, &key.bytes);
    number(&mut meta, u64::from(stored.status.as_u16()));
    number(&mut meta, written);
    number(&mut meta, u64::try_from(stored.age(now).as_millis()).unwrap_or(u64::MAX));
    let terms = &stored.terms;
    number(&mut meta, u64::from(terms.no_cache) | u64::from(terms.must_revalidate) << 1);
    for value in [terms.lifetime, terms.stale_while_revalidate, terms.stale_if_error, terms.age] {
        number(&mut meta, value);
    }
    number(&mut meta, terms.barred.len() as u64);
    terms.barred.iter().for_each(|name| text(&mut meta, name.as_str().as_bytes()));
    number(&mut meta, stored.headers.len() as u64);
    for (name, value) in &stored.headers {
        text(&mut meta, name.as_str().as_bytes());
        text(&mut meta, value.as_bytes());
    }
    number(&mut meta, stored.selecting().len() as u64);
    for (name, value) in stored.selecting() {
        text(&mut meta, name.as_str().as_bytes());
        number(&mut meta, u64::from(value.is_some()));
        text(&mut meta, value.as_deref().unwrap_or_default());
    }
    if meta.len() > META_BYTES_MAX {
        return None;
    }
    let mut out = Vec::with_capacity(HEAD_BYTES + meta.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&u32::try_from(meta.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&(stored.body.len() as u64).to_be_bytes());
    out.extend_from_slice(&sum(&stored.body));
    let top = sum_of_top(&out, &meta);
    out.extend_from_slice(&top);
    out.extend_from_slice(&meta);
    Some(out)
}

impl Lengths {
    /// Of a file of this length, by its first bytes. None when it is none of ours.
    pub(super) fn read(head: &[u8; HEAD_BYTES], length: u64) -> Option<Self> {
        let mut rest = Reader(head);
        if rest.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let meta = u32::from_be_bytes(rest.take(4)?.try_into().ok()?) as usize;
        let body = usize::try_from(u64::from_be_bytes(rest.take(8)?.try_into().ok()?)).ok()?;
        let whole = body.checked_add(HEAD_BYTES + meta)?;
        (meta <= META_BYTES_MAX && whole as u64 == length).then_some(Self { top: *head, meta, body })
    }

    /// The meta, if it is whole.
    pub(super) fn meta(&self, bytes: &[u8]) -> Option<Meta> {
        let (top, wanted) = self.top.split_at(TOP_BYTES);
        if bytes.len() != self.meta || sum_of_top(top, bytes) != *wanted {
            return None;
        }
        Meta::read(bytes)
    }

    fn is_of(&self, body: &[u8]) -> bool {
        let wanted = self.top.get(TOP_BYTES - DIGEST_BYTES..TOP_BYTES).unwrap_or_default();
        body.len() == self.body && sum(body) == *wanted
    }
}

/// A whole file. None when any byte of it is not what was written.
pub(super) fn read(bytes: Vec<u8>) -> Option<(Meta, Bytes)> {
    let bytes = Bytes::from(bytes);
    let head = bytes.get(..HEAD_BYTES)?.try_into().ok()?;
    let lengths = Lengths::read(&head, bytes.len() as u64)?;
    let meta = lengths.meta(bytes.get(HEAD_BYTES..HEAD_BYTES + lengths.meta)?)?;
    let body = bytes.slice(HEAD_BYTES + lengths.meta..);
    lengths.is_of(&body).then_some((meta, body))
}

impl Meta {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = Reader(bytes);
        let fingerprint = rest.take(DIGEST_BYTES)?.try_into().ok()?;
        let address = rest.index()?;
        let key = Key::restored(rest.text()?, address)?;
        let status = StatusCode::from_u16(u16::try_from(rest.number()?).ok()?).ok()?;
        let (written, age) = (rest.number()?, rest.number()?);
        let flags = rest.number()?;
        let [lifetime, stale_while_revalidate, stale_if_error, age_when_it_came] =
            [rest.number()?, rest.number()?, rest.number()?, rest.number()?];
        let mut barred = Vec::new();
        for _ in 0..rest.number()? {
            barred.push(rest.name()?);
        }
        let mut headers = HeaderMap::new();
        for _ in 0..rest.number()? {
            // So many as no message has are none of ours, and a table that is full would not bear one more.
            headers.try_append(rest.name()?, HeaderValue::from_bytes(rest.text()?).ok()?).ok()?;
        }
        let mut selecting = Vec::new();
        for _ in 0..rest.number()? {
            let (name, is_there, value) = (rest.name()?, rest.number()? == 1, rest.text()?);
            selecting.push((name, is_there.then(|| value.into())));
        }
        let terms = Terms {
            lifetime,
            no_cache: flags & 1 != 0,
            must_revalidate: flags & 2 != 0,
            stale_while_revalidate,
            stale_if_error,
            age: age_when_it_came,
            barred,
        };
        rest.0.is_empty().then_some(Self {
            fingerprint,
            key,
            selecting,
            headers,
            written,
            status,
            age,
            terms,
        })
    }

    /// The answer with its body, as old as it is by the wall clock now.
    pub(super) fn with(self, body: Bytes, wall: u64, now: Instant) -> Stored {
        let since = wall.saturating_sub(self.written);
        let age = Duration::from_millis(self.age.saturating_add(since));
        let clock = Clock::of_age(age, now);
        // Nobody knows how old it is when the clock was set back.
        let is_unclear = self.written > wall.saturating_add(CLOCK_SLACK_MILLIS);
        Stored::new(self.status, self.headers, body, self.terms, clock, self.selecting).spent_if(is_unclear)
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn text(out: &mut Vec<u8>, value: &[u8]) {
    number(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// What is left to read.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn index(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<&'b [u8]> {
        let length = self.index()?;
        self.take(length)
    }

    fn name(&mut self) -> Option<HeaderName> {
        HeaderName::from_bytes(self.text()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FINGERPRINT: Fingerprint = [7; DIGEST_BYTES];

    fn key(bytes: &[u8], address: usize) -> Key {
        Key::restored(bytes, address.min(bytes.len())).expect("a key")
    }

    fn stored(fields: &[(String, Vec<u8>)], body: Vec<u8>, numbers: [u64; 4], age: Duration) -> Stored {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        let [lifetime, stale_while_revalidate, stale_if_error, of_terms] = numbers;
        let terms = Terms {
            lifetime,
            no_cache: lifetime % 2 == 0,
            must_revalidate: stale_if_error % 2 == 0,
            stale_while_revalidate,
            stale_if_error,
            age: of_terms,
            barred: headers.keys().take(1).cloned().collect(),
        };
        let selecting = headers
            .keys()
            .enumerate()
            .map(|(at, name)| (name.clone(), (at % 2 == 0).then(|| body.clone().into())))
            .collect();
        let clock = Clock::of_age(age, Instant::now());
        Stored::new(StatusCode::NOT_FOUND, headers, Bytes::from(body), terms, clock, selecting)
    }

    fn whole(stored: &Stored, key: &Key) -> Vec<u8> {
        let mut bytes = head(stored, key, &FINGERPRINT, 1_000_000, Instant::now()).expect("a head");
        bytes.extend_from_slice(&stored.body);
        bytes
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            fields in proptest::collection::vec(("[a-z][a-z0-9-]{0,12}", proptest::collection::vec(0x20_u8..0x7f, 0..40)), 0..12),
            body in proptest::collection::vec(any::<u8>(), 0..600),
            name in proptest::collection::vec(any::<u8>(), 0..80),
            address in 0_usize..100,
            numbers in any::<[u64; 4]>(),
            age in 0_u64..10_000_000,
        ) {
            let key = key(&name, address);
            let stored = stored(&fields, body, numbers, Duration::from_millis(age));
            let (meta, body) = read(whole(&stored, &key)).expect("it is whole");
            prop_assert_eq!(&meta.key, &key);
            prop_assert_eq!(meta.fingerprint, FINGERPRINT);
            let again = meta.with(body, 1_003_000, Instant::now());
            prop_assert_eq!(again.status, stored.status);
            prop_assert_eq!(&again.headers, &stored.headers);
            prop_assert_eq!(&again.body, &stored.body);
            prop_assert_eq!(&again.terms, &stored.terms);
            prop_assert_eq!(again.selecting(), stored.selecting());
            let older = again.age(Instant::now()).as_millis() as u64 - age;
            prop_assert!((3_000..3_900).contains(&older), "{} ms older", older);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(read(bytes.clone()).is_none());
            let _ = Meta::read(&bytes);
        }
    }

    #[test]
    fn any_flipped_byte_and_any_other_length_is_refused() {
        let key = key(b"http://a.test/ and more", 14);
        let stored =
            stored(&[("x-a".into(), b"b".to_vec())], b"a body".to_vec(), [60, 1, 2, 3], Duration::ZERO);
        let bytes = whole(&stored, &key);
        assert!(read(bytes.clone()).is_some());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                assert!(read(other).is_none(), "bit {bit} of byte {at}");
            }
            assert!(read(bytes[..at].to_vec()).is_none(), "torn after {at} bytes");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(read(longer).is_none());
    }

    #[test]
    fn more_fields_than_a_head_can_have_are_refused() {
        let key = key(b"http://a.test/", 14);
        let stored = stored(&[("x-a".into(), b"b".to_vec())], Vec::new(), [60, 1, 2, 3], Duration::ZERO);
        let bytes = whole(&stored, &key);
        let (top, meta) = bytes.split_at(HEAD_BYTES);
        let mut field = Vec::new();
        text(&mut field, b"x-a");
        text(&mut field, b"b");
        let at = meta.windows(field.len()).position(|part| part == field).expect("the field");
        let (before, after) = meta.split_at(at);
        for (count, is_read) in [(1_u64, true), (1_000, true), (40_000, false)] {
            let mut meta = before[..before.len() - 8].to_vec();
            number(&mut meta, count);
            (0..count).for_each(|at| {
                text(&mut meta, format!("x-{at}").as_bytes());
                text(&mut meta, b"b");
            });
            meta.extend_from_slice(&after[field.len()..]);
            let mut other = MAGIC.to_vec();
            other.extend_from_slice(&u32::try_from(meta.len()).expect("short").to_be_bytes());
            other.extend_from_slice(&top[12..TOP_BYTES]);
            let sum = sum_of_top(&other, &meta);
            other.extend_from_slice(&sum);
            other.extend_from_slice(&meta);
            assert_eq!(read(other).is_some(), is_read, "{count} fields");
        }
    }

    #[test]
    fn an_answer_of_a_time_to_come_is_asked_about_first() {
        let key = key(b"http://a.test/", 14);
        let stored = stored(&[], Vec::new(), [60, 0, 0, 0], Duration::ZERO);
        let at = |wall| {
            let (meta, body) = read(whole(&stored, &key)).expect("it is whole");
            meta.with(body, wall, Instant::now()).is_spent()
        };
        assert!(!at(1_000_000));
        assert!(!at(999_000), "a second is nothing");
        assert!(at(900_000));
    }
}
