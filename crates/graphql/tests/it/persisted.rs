//! Documents by their ids.

use std::sync::Arc;

use graphql::{
    Code, Document, Limits,
    persisted::{self, Known, List, Store},
};

fn known(text: &str) -> Arc<Known> {
    let document = Document::parse(text, &Limits::default()).expect("a document");
    Arc::new(Known { text: text.into(), document })
}

#[test]
fn a_store_verifies_and_stays_within_its_bytes() {
    let store = Store::new(64 * 1024);
    let text = "{ a }";
    let hash = persisted::hash(text);
    assert!(store.get(&hash).is_none());
    assert_eq!(store.insert(&hash, known("{ b }")).expect_err("another text").code, Code::HashMismatch);
    assert!(store.get(&hash).is_none(), "what is not its text is not kept");
    store.insert(&hash, known(text)).expect("its text");
    assert_eq!(&*store.get(&hash).expect("kept").text, text);
    for at in 0..2_000 {
        let text = format!("{{ a{at} }}");
        store.insert(&persisted::hash(&text), known(&text)).expect("its text");
        let (_, bytes) = store.size();
        assert!(bytes <= 64 * 1024, "{bytes} bytes");
        assert!(store.get(&hash).is_some(), "what is used stays");
    }
    assert!(store.get(&persisted::hash("{ a0 }")).is_none(), "what is not used goes");
    let large = format!("{{ {} }}", "a ".repeat(2_000));
    store.insert(&persisted::hash(&large), known(&large)).expect("its text");
    assert!(store.get(&persisted::hash(&large)).is_none(), "what is larger than the store is not kept");
}

#[test]
fn what_a_document_keeps_is_what_it_weighs() {
    // At least the bytes of a value, a name and their places in a list; of a selection; of a definition with one.
    const VALUE: usize = 32 + 16 + 16;
    const FIELD: usize = 104 + 16;
    const DEFINITION: usize = 2 * 96 + 16 + FIELD;
    let many = 1_000;
    let names = |what: fn(usize) -> String| (0..many).map(what).collect::<String>();
    for (text, least) in [
        (format!("query($a: [Int] = [{}]) {{ a }}", "1 ".repeat(many)), VALUE),
        (format!("query($a: [Int] = [{}]) {{ a }}", "[1] ".repeat(many)), 2 * VALUE),
        (format!("query($a: In = {{{}}}) {{ a }}", names(|at| format!("a{at}: 1 "))), VALUE),
        (format!("query({}) {{ a }}", names(|at| format!("$a{at}: Int = 1 "))), 2 * VALUE),
        (format!("{{ a(b: [{}]) }}", "1 ".repeat(many)), VALUE),
        (format!("{{ {} }}", "a ".repeat(many)), FIELD),
        (names(|at| format!("query A{at} {{ a }} ")), DEFINITION),
        (format!("{{ a }} {}", names(|at| format!("fragment A{at} on T {{ a }} "))), DEFINITION),
    ] {
        let limits = Limits { tokens: 100_000, ..Limits::default() };
        let document = Document::parse(&text, &limits).expect("a document");
        assert!(document.weight() >= many * least, "{} for {}…", document.weight(), &text[..40]);
    }
}

#[test]
fn lists_are_apollos_or_plain() {
    let limits = Limits::default();
    let apollo = br#"{"format":"apollo-persisted-query-manifest","version":1,"operations":[
        {"id":"abc","name":"A","type":"query","body":"query A { a }"}]}"#;
    for bytes in [&apollo[..], br#"{"abc":"query A { a }"}"#] {
        let list = List::parse(bytes, &limits).expect("a list");
        assert_eq!(&*list.by_id("abc").expect("the id").text, "query A { a }");
        assert!(list.by_id("sha256:abc").is_some() && list.by_id("abd").is_none());
        assert!(list.by_text("query A { a }").is_some() && list.by_text("query A {a}").is_none());
    }
    for wrong in [
        &b"[]"[..],
        br#"{"format":"other"}"#,
        br#"{"format":"apollo-persisted-query-manifest"}"#,
        br#"{"format":"apollo-persisted-query-manifest","operations":[{"id":"a"}]}"#,
        br#"{"a":1}"#,
        br#"{"a":"{"}"#,
    ] {
        List::parse(wrong, &limits).expect_err("no list");
    }
}

#[test]
fn hashes_are_hexadecimal() {
    assert_eq!(persisted::from_hex(&"Ff".repeat(32)), Some([0xff; 32]));
    for wrong in ["", "ff", &"+f".repeat(32), &"gg".repeat(32), &"é".repeat(32)] {
        assert_eq!(persisted::from_hex(wrong), None, "{wrong}");
    }
}
