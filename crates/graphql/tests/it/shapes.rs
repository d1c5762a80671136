//! How deep, how many, and what is no document at all.

use std::time::{Duration, Instant};

use graphql::{Code, Document, Limits, Settings};

use crate::{code, guard, measured, open};

#[test]
fn depth_is_counted_through_fragments() {
    let guard = guard(open(), "");
    for (text, depth) in [
        ("{ a }", 1),
        ("{ a { b } c }", 2),
        ("{ ...F } fragment F on Query { a { b } }", 2),
        ("{ a { ...F } } fragment F on A { b { ...G } } fragment G on B { c { d } }", 4),
        ("{ a { ... on A { ... { b } } } }", 2),
        ("query { a } fragment Unused on A { b { c { d { e } } } }", 1),
    ] {
        assert_eq!(measured(&guard, text, "{}").expect(text).depth, depth, "{text}");
    }
}

#[test]
fn aliases_directives_and_root_fields_count_as_often_as_they_are_spread() {
    let guard = guard(open(), "");
    let text =
        "query Q @d { x: a @d ...F ...F ... @d { y: b } } fragment F on Query @d { z: c(n: 1) @d @d w: d }";
    let found = measured(&guard, text, "{}").expect("counts");
    assert_eq!((found.aliases, found.root_fields), (1 + 2 * 2 + 1, 1 + 2 * 2 + 1));
    assert_eq!(found.directives, 1 + 1 + 2 * (1 + 2) + 1);
}

#[test]
fn fragments_that_double_each_other_are_told_in_no_time() {
    let mut settings = open();
    settings.limits.cost = Some(1_000_000.0);
    let guard = guard(settings, "");
    let mut text = String::from("{ ...F0 }");
    for at in 0..400 {
        text.push_str(&format!(" fragment F{at} on Query {{ ...F{0} ...F{0} }}", at + 1));
    }
    text.push_str(" fragment F400 on Query { a: b { c } }");
    let start = Instant::now();
    assert_eq!(code(measured(&guard, &text, "{}")), Code::Cost);
    assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
    let all = crate::guard(open(), "");
    assert_eq!(measured(&all, &text, "{}").expect("no bound").aliases, u64::MAX);
}

#[test]
fn each_bound_refuses_what_is_beyond_it_alone() {
    let limits = Limits {
        tokens: 60,
        depth: 3,
        fields: 6,
        aliases: 2,
        root_fields: 3,
        directives: 2,
        batch: 1,
        cost: Some(3.0),
    };
    let guard = guard(Settings { limits, ..Settings::default() }, "");
    for (fits, over, kind) in [
        ("{ a { b { c } } }", "{ a { b { c { d } } } }", Code::Depth),
        ("{ x: a y: a }", "{ x: a y: a z: a }", Code::Aliases),
        ("{ a { b c d e } f }", "{ a { b c d e f } g }", Code::Fields),
        (
            "{ ...F ...F } fragment F on T { a { b c } }",
            "{ ...F ...F } fragment F on T { a { b c d } }",
            Code::Fields,
        ),
        ("{ a b c }", "{ a b c d }", Code::RootFields),
        ("{ a @b @c }", "{ a @b @c @d }", Code::Directives),
        ("{ a(first: 3) { b } }", "{ a(first: 4) { b } }", Code::Cost),
    ] {
        measured(&guard, fits, "{}").expect(fits);
        assert_eq!(code(measured(&guard, over, "{}")), kind, "{over}");
    }
    let long = format!("{{ a(b: [{}]) }}", "1 ".repeat(60));
    assert_eq!(code(measured(&guard, &long, "{}")), Code::Tokens);
}

#[test]
fn what_is_nested_beyond_reading_never_reaches_the_stack() {
    let limits = Limits { tokens: 1_000_000, ..Limits::default() };
    let deep = 50_000;
    for text in [
        format!("{}{}", "{ a ".repeat(deep), "}".repeat(deep)),
        format!("{{ a(b: {}{}) }}", "[".repeat(deep), "]".repeat(deep)),
        format!("{{ a(b: {}1{}) }}", "{c:".repeat(deep), "}".repeat(deep)),
        format!("{{ {} a {} }}", "... {".repeat(deep), "}".repeat(deep)),
        format!("query($a: {}Int{}) {{ a }}", "[".repeat(deep), "]".repeat(deep)),
        "{".repeat(deep),
    ] {
        Document::parse(&text, &limits).expect_err("too deep");
    }
}

/// An operation with a page, below it a chain of fragments.
fn chain(long: usize, nested: usize) -> String {
    let (open, close) = ("... {".repeat(nested), "}".repeat(nested));
    let mut text = String::from("{ me(first: 1) { ...F0 } }");
    for at in 0..long {
        text.push_str(&format!(" fragment F{at} on User {{ {open} ...F{} {close} }}", at + 1));
    }
    text + &format!(" fragment F{long} on User {{ name }}")
}

const PAGE: &str = "type Query { me(first: Int): User } type User { name(a: Int): String }";

/// Runs this on a stack that is smaller than a worker's.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(run).expect("a thread");
    thread.join().expect("no panic");
}

#[test]
fn chains_of_fragments_below_a_page_never_reach_the_stack() {
    on_a_small_stack(|| {
        let mut settings = open();
        settings.limits.tokens = 10_000_000;
        for schema in ["", PAGE] {
            let guard = guard(settings.clone(), schema);
            // As deep as may be, and by far too deep.
            measured(&guard, &chain(200, 0), "{}").expect("a chain that is measured");
            measured(&guard, &chain(1, 190), "{}").expect("nesting that is measured");
            for (long, nested) in [(33_000, 0), (300, 190)] {
                let found = measured(&guard, &chain(long, nested), "{}");
                match schema {
                    "" => assert_eq!(found.expect("nothing is told of lists below").depth, 2),
                    _ => assert_eq!(code(found), Code::Depth),
                }
            }
        }
    });
}

#[test]
fn fragments_below_a_page_are_measured_once_for_each_size() {
    let mut settings = open();
    settings.limits.tokens = 100_000;
    let guard = guard(settings, PAGE);
    let names: String = (0..1_000).map(|at| format!(" a{at}: 1")).collect();
    for (leaf, argument) in [("name", String::new()), ("name", format!("({names})"))] {
        let mut text = String::from("{ me(first: 1) { ...F0 } }");
        for at in 0..60 {
            text.push_str(&format!(" fragment F{at} on User {{ ...F{0} ...F{0} }}", at + 1));
        }
        text.push_str(&format!(" fragment F60 on User {{ {leaf}{argument} }}"));
        let start = Instant::now();
        let found = measured(&guard, &text, "{}").expect("a measure");
        assert!(start.elapsed() < Duration::from_millis(200), "took {:?}", start.elapsed());
        assert_eq!(found.fields, 1 + (1 << 60), "each is counted as often as it is spread");
    }
}

#[test]
fn pages_of_many_sizes_take_no_more_steps_than_there_are() {
    let guard = guard(open(), "type Query { me(first: Int): User } type User { l: [User] name: String }");
    let mut text = String::from("{");
    for at in 1..2_000 {
        text.push_str(&format!(" me(first: {at}) {{ ...F }}"));
    }
    text.push_str(&format!("}} fragment F on User {{ {} }}", "name ".repeat(2_000)));
    let start = Instant::now();
    assert_eq!(code(measured(&guard, &text, "{}")), Code::Cost);
    assert!(start.elapsed() < Duration::from_millis(500), "took {:?}", start.elapsed());
    // What people write is far from that.
    let text = text.replace(&"name ".repeat(2_000), "l { name }");
    assert_eq!(measured(&guard, &text, "{}").expect("a cost").cost, 1999.0 + 1999.0 * 2000.0 / 2.0);
}

#[test]
fn what_cannot_be_run_is_refused() {
    for (text, kind) in [
        ("", Code::Syntax),
        ("{", Code::Syntax),
        ("{ }", Code::Syntax),
        ("{ a } }", Code::Syntax),
        ("{ a(b: \"\\uD800\") }", Code::Syntax),
        ("{ ...Nothing }", Code::Invalid),
        ("{ ...A } fragment A on Query { ...B } fragment B on Query { c { ...A } }", Code::Invalid),
        ("{ a } fragment A on Query { ...A }", Code::Invalid),
        ("fragment A on Query { a }", Code::Invalid),
        ("{ a } fragment A on Q { a } fragment A on Q { b }", Code::Invalid),
        ("query A { a } query A { b }", Code::Invalid),
        ("{ a } query B { b }", Code::Invalid),
        ("{ a } type A { b: Int }", Code::Invalid),
        // Twice what one reader takes the first of, and another the last.
        ("{ a(b: 1, b: 2) }", Code::Invalid),
        ("{ a(b: {c: 1, c: 2}) }", Code::Invalid),
        ("{ a(b: [1, {d: {c: 1, c: 2}}]) }", Code::Invalid),
        ("query($b: Int = 1, $b: Int = 2) { a }", Code::Invalid),
        ("{ a @skip(if: true, if: false) }", Code::Invalid),
        ("query @a(b: {c: 1, c: 2}) { a }", Code::Invalid),
        ("{ ...F @a(b: 1, b: 2) } fragment F on T { a }", Code::Invalid),
        ("query($b: Int, $b: Int) { a }", Code::Invalid),
        ("query($b: In = {c: 1, c: 2}) { a }", Code::Invalid),
        ("{ a(b: 1 c: 1 d: 1 e: 1 f: 1 g: 1 h: 1 i: 1 j: 1 b: 2) }", Code::Invalid),
        ("query A { a } query B { b }", Code::Operation),
    ] {
        assert_eq!(code(measured(&guard(open(), ""), text, "{}")), kind, "{text}");
    }
}

#[test]
fn the_operation_is_the_one_that_is_named() {
    let document = Document::parse("query A { a } mutation B { b }", &Limits::default()).expect("a document");
    assert_eq!(document.operation(Some("B")).expect("B").kind.as_str(), "mutation");
    assert_eq!(document.operation(Some("C")).expect_err("no C").code, Code::Operation);
    let only = Document::parse("query A { a }", &Limits::default()).expect("a document");
    assert_eq!(only.operation(Some("B")).expect_err("no B").code, Code::Operation);
}

#[test]
fn the_schema_is_told_to_nobody_unless_that_is_wanted() {
    let closed = guard(open(), "");
    for text in [
        "{ __schema { types { name } } }",
        "{ x: __type(name: \"A\") { name } }",
        "{ ...F } fragment F on Query { __schema { types { name } } }",
        "{ ... on Query { ... { __type(name: \"A\") { name } } } }",
        "query A { a } fragment F on Query { __schema { types { name } } }",
        "{ _service { sdl } }",
    ] {
        assert_eq!(code(measured(&closed, text, "{}")), Code::Introspection, "{text}");
    }
    measured(&closed, "{ __typename a { __typename } }", "{}").expect("names of types are told");
    let told = guard(Settings { introspection: true, ..Settings::default() }, "type Query { a: Int }");
    measured(&told, "{ __schema { types { fields { type { ofType { name } } } } } }", "{}").expect("told");
    for guard in [&told, &guard(Settings { introspection: true, ..Settings::default() }, "")] {
        let twice = "{ __schema { types { fields { type { fields { name } } } } } }";
        measured(guard, twice, "{}").expect("twice");
        for thrice in [
            "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
            "{ __type(name: \"A\") { possibleTypes { interfaces { fields { name } } } } }",
            "{ __schema { types { ...F } } } fragment F on __Type { fields { type { ...G } } } \
             fragment G on __Type { fields { type { inputFields { name } } } }",
        ] {
            assert_eq!(code(measured(guard, thrice, "{}")), Code::Introspection, "{thrice}");
        }
        measured(guard, INTROSPECTION, "{}").expect("what tools ask for");
    }
}

/// As tools ask for a schema.
const INTROSPECTION: &str = "query IntrospectionQuery { __schema { queryType { name } mutationType { name }
  subscriptionType { name } types { ...FullType } directives { name description locations args { ...InputValue } } } }
fragment FullType on __Type { kind name description fields(includeDeprecated: true) { name description
  args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason } inputFields { ...InputValue }
  interfaces { ...TypeRef } enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef } }
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
  ofType { kind name ofType { kind name ofType { kind name } } } } } } } }";
