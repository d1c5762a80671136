//! What a server tells of itself: as much as is taken, and what it does not tell of is left out.

use transcode::{
    frame,
    reflect::{Asking, BYTES_MAX},
};

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct Set {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// A field of a message that holds bytes.
fn field(tag: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(tag) << 3 | 2, &mut out);
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

fn services(names: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = names.iter().flat_map(|name| field(1, &field(1, name.as_bytes()))).collect();
    field(6, &names)
}

fn files(files: &[Vec<u8>]) -> Vec<u8> {
    field(4, &files.iter().flat_map(|file| field(1, file)).collect::<Vec<_>>())
}

fn error(text: &str) -> Vec<u8> {
    field(7, &field(2, text.as_bytes()))
}

fn told(asking: &mut Asking, says: &[Vec<u8>], is_packed: bool) -> Result<(), String> {
    let mut body = Vec::new();
    for say in says {
        match is_packed {
            true => frame::put(frame::COMPRESSED, &frame::gzip(say), &mut body),
            false => frame::put(0, say, &mut body),
        }
    }
    asking.take(&body)
}

/// A file with a service, which imports another.
fn file(name: &str, service: &str, imports: &[&str]) -> Vec<u8> {
    let mut out = field(1, name.as_bytes());
    out.extend(field(2, b"t"));
    imports.iter().for_each(|import| out.extend(field(3, import.as_bytes())));
    out.extend(field(6, &field(1, service.as_bytes())));
    out
}

#[test]
fn a_service_that_is_not_told_of_is_left_out_when_all_were_asked_for() {
    let set = Set::decode(SET).expect("a set").file;
    let mut asking = Asking::new(&[]);
    told(&mut asking, &[services(&["demo.Greeter", "t.Gone", "t.Half", "t.Whole"])], false)
        .expect("services");
    let half = file("half.proto", "Half", &["gone.proto"]);
    let whole = file("whole.proto", "Whole", &[]);
    let says = [files(&set), error("Symbol not found: t.Gone"), files(&[half]), files(&[whole])];
    told(&mut asking, &says, true).expect("files");
    assert!(asking.body().is_some(), "it is asked for the import");
    told(&mut asking, &[error("gone.proto not found")], false).expect("no file");
    assert_eq!(asking.body(), None);
    let (told, skipped) = asking.clone().end().expect("files");
    assert!(told.contains_key("whole.proto") && !told.contains_key("half.proto"));
    assert_eq!(skipped.len(), 3, "{skipped:?}");
    assert!(skipped[0].contains("t.Gone") && skipped[2].contains("`half.proto` imports `gone.proto`"));
    let mut all = asking.schema().expect("a schema").services();
    all.sort_unstable();
    assert_eq!(all, ["demo.Greeter", "demo.Library", "t.Whole"]);
}

#[test]
fn a_service_that_is_named_must_be_told_of() {
    let mut asking = Asking::new(&["demo.Gone".to_owned()]);
    let error = told(&mut asking, &[error("Symbol not found")], false).expect_err("not there");
    assert!(error.contains("`demo.Gone`") && error.contains("Symbol not found"), "{error}");
}

#[test]
fn no_more_is_taken_than_was_asked_and_than_fits() {
    let mut asking = Asking::new(&[]);
    let more = told(&mut asking, &[services(&["a.B"]), services(&["c.D"])], false).expect_err("two answers");
    assert!(more.contains("more than it was asked"), "{more}");
    let mut asking = Asking::new(&["a.B".to_owned(), "a.C".to_owned()]);
    let fewer = told(&mut asking, &[files(&[file("a.proto", "B", &[])])], false).expect_err("one answer");
    assert!(fewer.contains("1 of 2"), "{fewer}");
    // What is packed counts as what it is, over all rounds.
    let large = |name: &str, import: &str| {
        let mut out = file(name, "B", &[import]);
        out.extend(field(12, &vec![b' '; BYTES_MAX / 3]));
        files(&[out])
    };
    let mut asking = Asking::new(&["t.B".to_owned()]);
    told(&mut asking, &[large("a", "b")], true).expect("the first");
    told(&mut asking, &[large("b", "c")], true).expect("the second");
    assert!(asking.left() < BYTES_MAX / 3);
    let error = told(&mut asking, &[large("c", "d")], true).expect_err("the third");
    assert!(error.contains("more than is taken"), "{error}");
    let names: Vec<String> = (0..1_001).map(|number| format!("a.S{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = told(&mut Asking::new(&[]), &[services(&names)], false).expect_err("services");
    assert!(error.contains("1000 services"), "{error}");
    let many: Vec<Vec<u8>> = (0..5_001).map(|number| file(&number.to_string(), "S", &[])).collect();
    let error = told(&mut Asking::new(&["t.S".to_owned()]), &[files(&many)], false).expect_err("files");
    assert!(error.contains("5000 files"), "{error}");
}
