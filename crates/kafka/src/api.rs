//! What is asked of brokers, and how they answer: in versions that Kafka has from 2.3 on and still has in 4, all of them
//! from before the format with tags.

use bytes::{Bytes, BytesMut};

use crate::{
    error::Code,
    wire::{Malformed, Reader, Writer},
};

/// Something that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) version: i16,
    pub(crate) name: &'static str,
}

macro_rules! apis {
    ($($NAME:ident = $key:literal, $version:literal, $name:literal;)*) => {
        $(pub(crate) const $NAME: Api = Api { key: $key, version: $version, name: $name };)*
        /// All that a broker has to know.
        pub(crate) const ALL: &[Api] = &[$($NAME),*];
    };
}

apis! {
    PRODUCE = 0, 7, "Produce";
    FETCH = 1, 10, "Fetch";
    LIST_OFFSETS = 2, 2, "ListOffsets";
    METADATA = 3, 5, "Metadata";
    OFFSET_COMMIT = 8, 3, "OffsetCommit";
    OFFSET_FETCH = 9, 3, "OffsetFetch";
    FIND_COORDINATOR = 10, 1, "FindCoordinator";
    JOIN_GROUP = 11, 4, "JoinGroup";
    HEARTBEAT = 12, 1, "Heartbeat";
    LEAVE_GROUP = 13, 1, "LeaveGroup";
    SYNC_GROUP = 14, 1, "SyncGroup";
    INIT_PRODUCER_ID = 22, 1, "InitProducerId";
}

pub(crate) const API_VERSIONS: Api = Api { key: 18, version: 0, name: "ApiVersions" };
pub(crate) const SASL_HANDSHAKE: Api = Api { key: 17, version: 1, name: "SaslHandshake" };
pub(crate) const SASL_AUTHENTICATE: Api = Api { key: 36, version: 0, name: "SaslAuthenticate" };

/// A request with its length and its head.
pub(crate) fn framed(api: Api, number: i32, body: &[u8]) -> Bytes {
    let mut out = Writer(BytesMut::with_capacity(body.len() + 32));
    out.i32(0).i16(api.key).i16(api.version).i32(number).text("tidegate");
    out.0.extend_from_slice(body);
    let length = i32::try_from(out.0.len() - 4).unwrap_or(i32::MAX);
    if let Some(head) = out.0.first_chunk_mut::<4>() {
        *head = length.to_be_bytes();
    }
    out.0.freeze()
}

fn code(reader: &mut Reader) -> Result<Code, Malformed> {
    reader.i16().map(Code)
}

/// The first of what a broker does not know, with the versions that it has.
pub(crate) fn missing(answer: &mut Reader) -> Result<Result<(), String>, Malformed> {
    let said = code(answer)?;
    if said != Code::NONE {
        return Ok(Err(said.to_string()));
    }
    let known = answer.list(|one| Ok((one.i16()?, one.i16()?, one.i16()?)))?;
    for api in ALL {
        let found = known.iter().find(|(key, ..)| *key == api.key);
        match found {
            Some((_, least, most)) if (*least..=*most).contains(&api.version) => {}
            Some((_, least, most)) => {
                let Api { name, version, .. } = api;
                return Ok(Err(format!(
                    "the broker has {name} in versions {least} to {most}, and {version} is needed: Kafka 2.3 or later"
                )));
            }
            None => return Ok(Err(format!("the broker does not know {}", api.name))),
        }
    }
    Ok(Ok(()))
}

/// What a cluster has.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    pub(crate) brokers: Vec<(i32, String, i32)>,
    pub(crate) topics: Vec<TopicOf>,
}

/// A topic: what is said of it, its name, and its partitions with their leaders.
pub(crate) type TopicOf = (Code, String, Vec<(i32, i32)>);

/// Asks for the brokers, and for the leaders of some topics. None is made by that.
pub(crate) fn metadata(topics: &[&str]) -> Writer {
    let mut out = Writer::default();
    out.list(topics.iter(), |out, topic| {
        out.text(topic);
    })
    .i8(0);
    out
}

pub(crate) fn read_metadata(answer: &mut Reader) -> Result<Metadata, Malformed> {
    answer.i32()?;
    let brokers = answer.list(|one| {
        let broker = (one.i32()?, one.text()?, one.i32()?);
        one.nullable_text()?;
        Ok(broker)
    })?;
    answer.nullable_text()?;
    answer.i32()?;
    let topics = answer.list(|one| {
        let (said, name) = (code(one)?, one.text()?);
        one.i8()?;
        let partitions = one.list(|one| {
            code(one)?;
            let partition = (one.i32()?, one.i32()?);
            for _ in 0..3 {
                one.list(Reader::i32)?;
            }
            Ok(partition)
        })?;
        Ok((said, name, partitions))
    })?;
    Ok(Metadata { brokers, topics })
}

/// Asks for a producer's number.
pub(crate) fn init_producer() -> Writer {
    let mut out = Writer::default();
    out.no_text().i32(60_000);
    out
}

pub(crate) fn read_init_producer(answer: &mut Reader) -> Result<(Code, i64, i16), Malformed> {
    answer.i32()?;
    Ok((code(answer)?, answer.i64()?, answer.i16()?))
}

/// Has all replicas that are in step keep a batch.
pub(crate) fn produce(topic: &str, partition: i32, batch: &[u8], millis: i32) -> Writer {
    let mut out = Writer(BytesMut::with_capacity(batch.len() + topic.len() + 64));
    out.no_text().i16(-1).i32(millis);
    out.i32(1).text(topic).i32(1).i32(partition).bytes(batch);
    out
}

/// What became of a batch, and the place of its first record.
pub(crate) fn read_produce(answer: &mut Reader) -> Result<(Code, i64), Malformed> {
    let mut topics = answer.list(|one| {
        one.text()?;
        one.list(|one| {
            one.i32()?;
            let told = (code(one)?, one.i64()?);
            one.i64()?;
            one.i64()?;
            Ok(told)
        })
    })?;
    topics.pop().and_then(|mut partitions| partitions.pop()).ok_or(Malformed)
}

/// A partition that is read, and from where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Bytes of it that are asked for.
    pub(crate) bytes: i32,
}

/// Asks for what there is, and waits for it.
pub(crate) fn fetch(topic: &str, from: &[From], wait: i32, bytes: i32) -> Writer {
    let mut out = Writer::default();
    // What a transaction has not committed is not read.
    out.i32(-1).i32(wait).i32(1).i32(bytes).i8(1).i32(0).i32(-1);
    out.i32(1).text(topic);
    out.list(from.iter(), |out, from| {
        out.i32(from.partition).i32(-1).i64(from.offset).i64(-1).i32(from.bytes);
    });
    out.i32(0);
    out
}

/// What a fetch brought of one partition.
pub(crate) struct Fetched {
    pub(crate) partition: i32,
    pub(crate) code: Code,
    /// The place behind the last record that all replicas have.
    pub(crate) end: i64,
    pub(crate) aborted: Vec<(i64, i64)>,
    pub(crate) batches: Bytes,
}

pub(crate) fn read_fetch(answer: &mut Reader) -> Result<(Code, Vec<Fetched>), Malformed> {
    answer.i32()?;
    let said = code(answer)?;
    answer.i32()?;
    let topics = answer.list(|one| {
        one.text()?;
        one.list(|one| {
            let (partition, code) = (one.i32()?, code(one)?);
            one.i64()?;
            let end = one.i64()?;
            one.i64()?;
            let aborted = one.list(|one| Ok((one.i64()?, one.i64()?)))?;
            Ok(Fetched { partition, code, end, aborted, batches: one.bytes()? })
        })
    })?;
    Ok((said, topics.into_iter().flatten().collect()))
}

/// Asks where partitions begin (-2) or end (-1).
pub(crate) fn list_offsets(topic: &str, partitions: &[i32], time: i64) -> Writer {
    let mut out = Writer::default();
    out.i32(-1).i8(1).i32(1).text(topic);
    out.list(partitions.iter(), |out, partition| {
        out.i32(*partition).i64(time);
    });
    out
}

pub(crate) fn read_list_offsets(answer: &mut Reader) -> Result<Vec<(i32, Code, i64)>, Malformed> {
    answer.i32()?;
    let topics = answer.list(|one| {
        one.text()?;
        one.list(|one| {
            let (partition, said) = (one.i32()?, code(one)?);
            one.i64()?;
            Ok((partition, said, one.i64()?))
        })
    })?;
    Ok(topics.into_iter().flatten().collect())
}

pub(crate) fn find_coordinator(group: &str) -> Writer {
    let mut out = Writer::default();
    out.text(group).i8(0);
    out
}

pub(crate) fn read_find_coordinator(answer: &mut Reader) -> Result<(Code, String, i32), Malformed> {
    answer.i32()?;
    let said = code(answer)?;
    answer.nullable_text()?;
    answer.i32()?;
    Ok((said, answer.text()?, answer.i32()?))
}

/// The one way of dividing partitions that this client knows.
pub(crate) const RANGE: &str = "range";

pub(crate) fn join_group(group: &str, session: i32, rebalance: i32, member: &str, topic: &str) -> Writer {
    let mut subscription = Writer::default();
    subscription.i16(0).i32(1).text(topic).i32(-1);
    let mut out = Writer::default();
    out.text(group).i32(session).i32(rebalance).text(member).text("consumer");
    out.i32(1).text(RANGE).bytes(&subscription.0);
    out
}

/// A group as one who joined it sees it.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) code: Code,
    pub(crate) generation: i32,
    pub(crate) leader: String,
    pub(crate) member: String,
    /// All members and the topics that they want; only the leader is told.
    pub(crate) members: Vec<(String, Vec<String>)>,
}

pub(crate) fn read_join_group(answer: &mut Reader) -> Result<Joined, Malformed> {
    answer.i32()?;
    let (code, generation) = (code(answer)?, answer.i32()?);
    answer.nullable_text()?;
    let (leader, member) = (answer.text()?, answer.text()?);
    let members = answer.list(|one| {
        let member = one.text()?;
        let mut wants = Reader::new(one.bytes()?);
        wants.i16()?;
        Ok((member, wants.list(Reader::text)?))
    })?;
    Ok(Joined { code, generation, leader, member, members })
}

/// What a member is given: partitions of topics.
pub(crate) type Share = Vec<(String, Vec<i32>)>;

pub(crate) fn sync_group(group: &str, generation: i32, member: &str, shares: &[(String, Share)]) -> Writer {
    let mut out = Writer::default();
    out.text(group).i32(generation).text(member);
    out.list(shares.iter(), |out, (member, share)| {
        let mut inner = Writer::default();
        inner.i16(0).list(share.iter(), |out, (topic, partitions)| {
            out.text(topic).list(partitions.iter(), |out, partition| {
                out.i32(*partition);
            });
        });
        inner.i32(-1);
        out.text(member).bytes(&inner.0);
    });
    out
}

pub(crate) fn read_sync_group(answer: &mut Reader) -> Result<(Code, Share), Malformed> {
    answer.i32()?;
    let (said, share) = (code(answer)?, answer.bytes()?);
    if share.is_empty() {
        return Ok((said, Vec::new()));
    }
    let mut share = Reader::new(share);
    share.i16()?;
    Ok((said, share.list(|one| Ok((one.text()?, one.list(Reader::i32)?)))?))
}

pub(crate) fn heartbeat(group: &str, generation: i32, member: &str) -> Writer {
    let mut out = Writer::default();
    out.text(group).i32(generation).text(member);
    out
}

pub(crate) fn leave_group(group: &str, member: &str) -> Writer {
    let mut out = Writer::default();
    out.text(group).text(member);
    out
}

/// An answer that says nothing but whether it worked.
pub(crate) fn read_code(answer: &mut Reader) -> Result<Code, Malformed> {
    answer.i32()?;
    code(answer)
}

pub(crate) fn offset_fetch(group: &str, topic: &str, partitions: &[i32]) -> Writer {
    let mut out = Writer::default();
    out.text(group).i32(1).text(topic);
    out.list(partitions.iter(), |out, partition| {
        out.i32(*partition);
    });
    out
}

/// The places that a group has confirmed; -1 where it has none.
pub(crate) fn read_offset_fetch(answer: &mut Reader) -> Result<(Code, Vec<(i32, i64)>), Malformed> {
    answer.i32()?;
    let mut said = Code::NONE;
    let topics = answer.list(|one| {
        one.text()?;
        one.list(|one| {
            let place = (one.i32()?, one.i64()?);
            one.nullable_text()?;
            let of_this = code(one)?;
            if of_this != Code::NONE {
                said = of_this;
            }
            Ok(place)
        })
    })?;
    let whole = code(answer)?;
    let said = if whole == Code::NONE { said } else { whole };
    Ok((said, topics.into_iter().flatten().collect()))
}

pub(crate) fn offset_commit(
    group: &str,
    generation: i32,
    member: &str,
    topic: &str,
    places: &[(i32, i64)],
) -> Writer {
    let mut out = Writer::default();
    out.text(group).i32(generation).text(member).i64(-1);
    out.i32(1).text(topic);
    out.list(places.iter(), |out, (partition, offset)| {
        out.i32(*partition).i64(*offset).no_text();
    });
    out
}

/// The first thing that was wrong with it.
pub(crate) fn read_offset_commit(answer: &mut Reader) -> Result<Code, Malformed> {
    answer.i32()?;
    let topics = answer.list(|one| {
        one.text()?;
        one.list(|one| {
            one.i32()?;
            code(one)
        })
    })?;
    Ok(topics.into_iter().flatten().find(|said| *said != Code::NONE).unwrap_or(Code::NONE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_framed_as_the_protocol_has_it() {
        let frame = framed(METADATA, 7, &metadata(&["a"]).0);
        assert_eq!(
            frame.to_vec(),
            [&[0, 0, 0, 26, 0, 3, 0, 5, 0, 0, 0, 7, 0, 8][..], b"tidegate", &[0, 0, 0, 1, 0, 1, b'a', 0]]
                .concat()
        );
    }

    #[test]
    fn a_broker_that_is_too_old_is_told_by_what_it_lacks() {
        let answer = |produce: (i16, i16)| {
            let mut out = Writer::default();
            out.i16(0).list(ALL.iter(), |out, api| {
                let (least, most) = if api.key == 0 { produce } else { (0, 11) };
                out.i16(api.key).i16(least).i16(most);
            });
            Reader::new(out.0.freeze())
        };
        assert_eq!(missing(&mut answer((3, 13))), Ok(Ok(())));
        let told = missing(&mut answer((0, 6))).expect("an answer").expect_err("too old");
        assert!(told.contains("Produce in versions 0 to 6, and 7 is needed"), "{told}");
        let none = missing(&mut Reader::new(Bytes::from_static(&[0, 0, 0, 0, 0, 0])));
        assert_eq!(none, Ok(Err("the broker does not know Produce".to_owned())));
    }

    #[test]
    fn shares_are_read_as_they_are_written() {
        let share = vec![("a".to_owned(), vec![0, 2]), ("b".to_owned(), vec![1])];
        let mut written = Reader::new(sync_group("g", 1, "m", &[("m".to_owned(), share.clone())]).0.freeze());
        written.text().and_then(|_| written.i32()).and_then(|_| written.text()).expect("a head");
        let inner = written.list(|one| one.text().and_then(|_| one.bytes())).expect("a share").remove(0);
        let mut answer = Writer::default();
        answer.i32(0).i16(0).bytes(&inner);
        assert_eq!(read_sync_group(&mut Reader::new(answer.0.freeze())), Ok((Code::NONE, share)));
    }

    proptest! {
        #[test]
        fn whatever_brokers_say_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let bytes = Bytes::from(bytes);
            let reader = || Reader::new(bytes.clone());
            let _ = missing(&mut reader());
            let _ = read_metadata(&mut reader());
            let _ = read_produce(&mut reader());
            let _ = read_fetch(&mut reader());
            let _ = read_list_offsets(&mut reader());
            let _ = read_find_coordinator(&mut reader());
            let _ = read_join_group(&mut reader());
            let _ = read_sync_group(&mut reader());
            let _ = read_offset_fetch(&mut reader());
            let _ = read_offset_commit(&mut reader());
        }
    }
}
