//! Lists of addresses as they are published: by line, with comments, or as JSON.
//!
//! A line is an address, a network or a range, and what follows it is of no interest. A page that tells of an error
//! is no list: more than half of what is not empty must be understood, and something has to be there.

use std::{borrow::Cow, fmt, net::IpAddr};

use model::Cidr;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::policy::networks::{Gathered, Networks};

/// Networks with fewer leading bits are a mistake or mischief, not a list: they would shut out the world.
const PREFIX_MIN: u8 = 3;
/// Keys of JSON under which publishers have a network.
const KEYS: [&str; 9] =
    ["cidr", "ip", "network", "prefix", "ip_prefix", "ipv4Prefix", "ipv6_prefix", "ipv6Prefix", "ip_address"];

/// A list that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) networks: Networks,
    /// What it tells of.
    pub(crate) entries: usize,
    /// What was not understood.
    pub(crate) skipped: usize,
}

/// What is gathered.
struct Reader {
    gathered: Gathered,
    skipped: usize,
    entries_max: usize,
    /// Why it goes no further.
    refused: Option<String>,
}

/// Reads a list of so many entries at least and at most.
pub(crate) fn parse(document: &[u8], entries_min: usize, entries_max: usize) -> Result<Parsed, String> {
    let text = std::str::from_utf8(document).map_err(|_| "it is not text".to_owned())?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("it is empty".into());
    }
    let mut reader = Reader { gathered: Gathered::default(), skipped: 0, entries_max, refused: None };
    match text.starts_with(['{', '[']) {
        true => reader.json(text)?,
        false => text.lines().try_for_each(|line| reader.line(line))?,
    }
    let entries = reader.gathered.len();
    if reader.skipped > 0 && reader.skipped >= entries {
        return Err(format!(
            "it is no list: {} of {} lines are no networks",
            reader.skipped,
            reader.skipped + entries
        ));
    }
    if entries < entries_min {
        return Err(format!(
            "it tells of {entries} networks, and `minEntries` is {entries_min}: such a list would let in whom it kept out"
        ));
    }
    Ok(Parsed { networks: reader.gathered.finish(), entries, skipped: reader.skipped })
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let told = line.split(['#', ';']).next().unwrap_or_default().trim();
        if told.is_empty() || told.starts_with("//") {
            return Ok(());
        }
        // Ranges are written with spaces around the hyphen, too.
        let mut words = told.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        let (first, second, third) = (words.next().unwrap_or_default(), words.next(), words.next());
        match (second, third) {
            (Some("-"), Some(last)) => self.entry(&format!("{first}-{last}")),
            _ => self.entry(first.trim_matches('"')),
        }
    }

    fn entry(&mut self, text: &str) -> Result<(), String> {
        let is_taken = match text.split_once('-') {
            Some((first, last)) => match (first.parse::<IpAddr>(), last.parse::<IpAddr>()) {
                (Ok(first), Ok(last)) => is_narrow(first, last) && self.gathered.add_range(first, last),
                _ => false,
            },
            None => match text.parse::<Cidr>() {
                Ok(network) if network.prefix() >= PREFIX_MIN => {
                    self.gathered.add(&network);
                    true
                }
                _ => false,
            },
        };
        self.skipped += usize::from(!is_taken);
        match self.gathered.len() > self.entries_max {
            true => Err(format!("it has more than {} networks", self.entries_max)),
            false => Ok(()),
        }
    }

    /// An object by line, as Spamhaus has them, or one document of anything that holds lists of networks.
    fn json(&mut self, text: &str) -> Result<(), String> {
        let mut documents = serde_json::Deserializer::from_str(text);
        let mut has_told = false;
        while documents.end().is_err() {
            let read = Part { reader: &mut *self, place: Place::Top }.deserialize(&mut documents);
            if let Some(refused) = self.refused.take() {
                return Err(refused);
            }
            has_told |= read.map_err(|error| format!("it is not JSON: {error}"))?;
        }
        // Such as what tells of an error.
        if has_told { Ok(()) } else { Err("it is no list: it holds no networks".into()) }
    }
}

/// Where in a document something stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    /// An item of a list.
    Item,
    /// Under a key that publishers have a network under.
    Network,
    /// Under another key.
    Beside,
}

/// A part of a document that is read as it comes, and not kept.
struct Part<'r> {
    reader: &'r mut Reader,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    /// Whether it told of a network, or held a list.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl Part<'_> {
    /// Something that is no network, where one should be.
    fn odd<E>(self) -> Result<bool, E> {
        self.reader.skipped += usize::from(matches!(self.place, Place::Top | Place::Item));
        Ok(false)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("networks")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        if self.place == Place::Beside {
            return Ok(false);
        }
        match self.reader.entry(text.trim()) {
            Ok(()) => Ok(true),
            Err(refused) => {
                self.reader.refused = Some(refused);
                Err(E::custom("too many"))
            }
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<bool, E> {
        self.odd()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<bool, E> {
        self.odd()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<bool, E> {
        self.odd()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<bool, E> {
        self.odd()
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        self.odd()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let reader = self.reader;
        while items.next_element_seed(Part { reader: &mut *reader, place: Place::Item })?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<bool, A::Error> {
        let Self { reader, place } = self;
        let mut has_told = false;
        while let Some(key) = fields.next_key::<Cow<'_, str>>()? {
            let place = if KEYS.contains(&&*key) { Place::Network } else { Place::Beside };
            has_told |= fields.next_value_seed(Part { reader: &mut *reader, place })?;
        }
        // At the top it is what tells of the list itself.
        reader.skipped += usize::from(!has_told && place == Place::Item);
        Ok(has_told)
    }
}

/// Whether a range is no more than the widest network that is taken.
fn is_narrow(first: IpAddr, last: IpAddr) -> bool {
    match (first.to_canonical(), last.to_canonical()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            last.to_bits().saturating_sub(first.to_bits()) <= u32::MAX >> PREFIX_MIN
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            last.to_bits().saturating_sub(first.to_bits()) <= u128::MAX >> PREFIX_MIN
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str, listed: &[&str], others: &[&str]) {
        let parsed = parse(document.as_bytes(), 1, 1000).expect("a list");
        for (addresses, want) in [(listed, true), (others, false)] {
            for address in addresses {
                let found = parsed.networks.contains(address.parse().expect("an address"));
                assert_eq!(found, want, "{address} in {document}");
            }
        }
    }

    #[test]
    fn lists_are_read_in_the_forms_that_they_are_published_in() {
        check(
            "; Spamhaus DROP List\r\n1.10.16.0/20 ; SBL256894\r\n2.56.192.0/22 ; SBL459831\r\n",
            &["1.10.16.0", "1.10.31.255", "2.56.192.1", "::ffff:1.10.16.1"],
            &["1.10.32.0"],
        );
        check(
            "# firehol\n192.0.2.7\n198.51.100.0/24\n2001:db8::/32   # v6\n\n// more\n203.0.113.9\tbad\n",
            &["192.0.2.7", "198.51.100.200", "2001:db8:1::1", "203.0.113.9"],
            &["192.0.2.8", "2001:db9::1"],
        );
        check(
            "192.0.2.1-192.0.2.9\n198.51.100.1 - 198.51.100.3 , 100 , name\n203.0.113.77,2026-01-01,offline\n",
            &["192.0.2.5", "198.51.100.3", "203.0.113.77"],
            &["192.0.2.10", "198.51.100.4"],
        );
        check(
            "{\"cidr\":\"1.10.16.0/20\",\"sblid\":\"SBL256894\",\"rir\":\"apnic\"}\n{\"cidr\":\"2001:db8::/32\"}\n\
             {\"type\":\"metadata\",\"timestamp\":1,\"size\":1,\"records\":2,\"copyright\":\"(c)\"}\n",
            &["1.10.16.9", "2001:db8::1"],
            &["1.10.32.0"],
        );
        check(
            "[\"192.0.2.0/24\", {\"ip\": \"198.51.100.1\"}]",
            &["192.0.2.1", "198.51.100.1"],
            &["198.51.100.2"],
        );
        check(
            "{\"createDate\": \"x\", \"prefixes\": [{\"ip_prefix\": \"192.0.2.0/24\", \"region\": \"a\"}], \
             \"ipv6_prefixes\": [{\"ipv6_prefix\": \"2001:db8::/32\"}]}",
            &["192.0.2.1", "2001:db8::1"],
            &["192.0.3.1"],
        );
        check("::ffff:192.0.2.0/120\n", &["192.0.2.200", "::ffff:192.0.2.1"], &["192.0.3.0"]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_list_within_its_bound_or_none(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            text in "[\\[\\]{}\",:0-9a-f./\n #;-]{0,300}",
        ) {
            for document in [bytes.as_slice(), text.as_bytes()] {
                if let Ok(parsed) = parse(document, 1, 5) {
                    assert!((1..=5).contains(&parsed.entries) && parsed.skipped < parsed.entries);
                }
            }
        }
    }

    #[test]
    fn what_is_no_list_is_not_taken() {
        for (document, why) in [
            ("", "empty"),
            (" \n", "empty"),
            ("<html><body>Too many requests</body></html>", "no list"),
            ("0.0.0.0/0", "no list"),
            ("0.0.0.0-255.255.255.255", "no list"),
            ("192.0.2.9-192.0.2.1", "no list"),
            ("{\"error\": \"rate limited\"} trailing", "not JSON"),
            ("{\"error\": \"rate limited\"}", "no list"),
            ("[[[[", "not JSON"),
            ("192.0.2.1\n192.0.2.2\n192.0.2.3\n", "more than 2"),
            ("[1, 2, 3]", "no list"),
            ("# service suspended\n", "minEntries"),
            ("// nobody today", "minEntries"),
            ("[]", "minEntries"),
            ("{\"prefixes\": []}", "minEntries"),
            ("{\"data\": [], \"error\": \"quota\"}", "minEntries"),
            ("192.0.2.1\nnonsense\n", "no list"),
        ] {
            let error = parse(document.as_bytes(), 1, 2).expect_err(document);
            assert!(error.contains(why), "{document}: {error}");
        }
        assert!(parse(b"\xff\xfe1.2.3.4", 0, 2).is_err());
        let parsed = parse(b"192.0.2.1\nnonsense\n192.0.2.2\n::/0\n192.0.2.3\n", 3, 3).expect("a list");
        assert_eq!((parsed.entries, parsed.skipped), (3, 2));
        for nobody in ["# nobody today\n", "[]"] {
            let parsed = parse(nobody.as_bytes(), 0, 2).expect("a list of nobody, where that may be");
            assert_eq!(parsed.entries, 0);
        }
        assert!(parse(b"192.0.2.1\n192.0.2.2\n", 3, 9).is_err(), "fewer than it has");
    }
}
