//! What operations may cost, and which fields they touch, by a schema and without one.

use std::collections::BTreeMap;

use graphql::{Code, Guard, Schema, Settings};

use crate::{code, guard, measured, open};

const SCHEMA: &str = r#"
directive @cost(weight: String!) on ARGUMENT_DEFINITION | ENUM | FIELD_DEFINITION | INPUT_FIELD_DEFINITION | OBJECT | SCALAR
directive @listSize(assumedSize: Int, slicingArguments: [String!], sizedFields: [String!], requireOneSlicingArgument: Boolean = true) on FIELD_DEFINITION

type Query {
  book(id: ID!): Book
  books(first: Int, last: Int): [Book!]!
  shelf(limit: Int = 3): [Book] @listSize(slicingArguments: ["limit"], assumedSize: 40)
  top: [Book] @listSize(assumedSize: 5)
  search(by: Filter): [Item] @cost(weight: "2") @listSize(assumedSize: 2)
  page(first: Int, by: Window): BookPage @listSize(slicingArguments: ["first", "by.take"], sizedFields: ["edges", "nodes"])
  free(first: Int): BookPage
  grid: [[Book]]
  any: Media
  someone: Person
  report(text: String @cost(weight: "7")): Int @cost(weight: "3.5")
}
extend type Query { me: User }
type Mutation { add(books: [NewBook!]!): Book, drop(id: ID!): Boolean }
input NewBook { title: String! @cost(weight: "2"), pages: Int }
input Filter @cost(weight: "1") { words: [String!] @cost(weight: "0.5") and: [Filter!] }
input Window { take: Int }
type Book implements Item { id: ID! title: String! author: User heavy: String @cost(weight: "4") }
type Film implements Item @cost(weight: "6") { id: ID! cast: [User] }
interface Item { id: ID! }
union Media = Book | Film
type BookPage { edges: [BookEdge] nodes: [Book] total: Int }
type BookEdge { node: Book cursor: String }
interface Person { name: String email: String }
type User implements Person { name: String email: String friends(first: Int): [User] secret: String }
type Admin implements Person { name: String email: String }
"#;

#[test]
fn costs_follow_the_schema() {
    let guard = guard(open(), SCHEMA);
    for (text, cost) in [
        ("{ book(id: 1) { title } }", 1.0),
        ("{ book(id: 1) { title author { name } } }", 2.0),
        ("{ book(id: 1) { heavy } }", 5.0),
        // Lists: what arguments say, what the schema says, ten otherwise.
        ("{ books(first: 4) { title } }", 4.0),
        ("{ books(first: 4, last: 9) { title } }", 9.0),
        ("{ books { title } }", 10.0),
        ("{ books(first: 4) { author { name } } }", 8.0),
        ("{ shelf { title } }", 3.0),
        ("{ shelf(limit: 7) { title } }", 7.0),
        ("{ shelf(limit: 0) { title } }", 40.0),
        ("{ shelf(limit: -1) { title } }", 40.0),
        ("{ top { title } }", 5.0),
        ("{ grid { title } }", 100.0),
        ("{ me { friends(first: 3) { friends(first: 3) { name } } } }", 1.0 + 3.0 * (1.0 + 3.0)),
        // Pages: the size is above the list.
        ("{ page(first: 6) { edges { node { title } } total } }", 1.0 + 6.0 * 2.0),
        ("{ page(first: 6) { ...P } } fragment P on BookPage { ... { nodes { title } } }", 1.0 + 6.0),
        ("{ page(by: {take: 8}) { nodes { title } } }", 9.0),
        ("{ free(first: 6) { nodes { title } } }", 7.0),
        // Arguments and inputs have weights of their own.
        ("{ report }", 3.5),
        ("{ report(text: \"a\") }", 10.5),
        ("{ search { id } }", 4.0),
        (
            "{ search(by: {words: [\"a\", \"b\"], and: [{words: \"c\"}, {}]}) { id } }",
            4.0 + 1.0 + 1.0 + 1.5 + 1.0,
        ),
        ("mutation { add(books: [{title: \"a\"}, {title: \"b\", pages: 1}]) { title } }", 1.0 + 4.0),
        // Of what excludes each other the most expensive counts; all of it where one thing may be both.
        ("{ any { ... on Book { author { name } heavy } ... on Film { cast { name } } } }", 6.0 + 10.0),
        ("{ any { ...B ...B } } fragment B on Book { heavy }", 6.0 + 8.0),
        ("{ __typename }", 0.0),
    ] {
        assert_eq!(measured(&guard, text, "{}").expect(text).cost, cost, "{text}");
    }
}

#[test]
fn variables_tell_sizes_however_they_come() {
    let guard = guard(open(), SCHEMA);
    let books =
        "query($n: Int = 3, $w: Window) { books(first: $n) { title } page(by: $w) { nodes { title } } }";
    for (variables, cost) in [
        ("{}", 3.0 + 11.0),
        ("{\"n\": 50}", 50.0 + 11.0),
        ("{\"n\": 50.0}", 50.0 + 11.0),
        ("{\"n\": \"50\"}", 50.0 + 11.0),
        ("{\"n\": 1e9}", 1e9 + 11.0),
        ("{\"n\": null}", 10.0 + 11.0),
        ("{\"n\": [7]}", 10.0 + 11.0),
        ("{\"w\": {\"take\": 20}}", 3.0 + 21.0),
        ("{\"w\": {\"take\": null}}", 3.0 + 11.0),
    ] {
        assert_eq!(measured(&guard, books, variables).expect(books).cost, cost, "{variables}");
    }
    // What nobody gave is as the service's own default says.
    let shelf = "query($n: Int) { shelf(limit: $n) { title } }";
    assert_eq!(measured(&guard, shelf, "{}").expect(shelf).cost, 3.0);
    let inner = "query($n: Int) { page(by: {take: $n}) { nodes { title } } }";
    assert_eq!(measured(&guard, inner, "{\"n\": 5}").expect(inner).cost, 6.0);
    let add = "mutation($b: [NewBook!]!) { add(books: $b) { title } }";
    let variables = "{\"b\": [{\"title\": \"a\"}, {\"title\": \"b\"}, {\"title\": \"c\"}]}";
    assert_eq!(measured(&guard, add, variables).expect(add).cost, 1.0 + 6.0);
}

#[test]
fn a_page_does_not_hide_the_lists_below_it() {
    let schema = r#"
type Query { page(first: Int): Page  one: Page @listSize(assumedSize: 2)  named(first: Int): Page @listSize(slicingArguments: ["first"], sizedFields: ["items"])
             window(by: Window): [Item] @listSize(slicingArguments: ["by.take"])  deep(by: Outer): [Item] @listSize(slicingArguments: ["by.in.take"]) }
type Page { items(first: Int): [Item]  all: [Item] @listSize(assumedSize: 50)  few: [Item]  result: Page  odd(first: Int): [Item] }
type Item { id: ID }
input Window { take: Int = 1000 }
input Outer { in: Window = {take: 7} }
"#;
    let mut settings = open();
    settings.list_sizes = BTreeMap::from([("Page.odd".to_owned(), 500.0)]);
    let guard = guard(settings, schema);
    for (text, cost) in [
        ("{ page(first: 1) { items(first: 1000000) { id } } }", 1_000_001.0),
        ("{ page(first: 100) { items(first: 2) { id } } }", 3.0),
        ("{ named(first: 100) { items(first: 2) { id } } }", 101.0),
        ("{ named(first: 1) { items(first: 200) { id } } }", 201.0),
        ("{ one { items(first: 1000) { id } } }", 1_001.0),
        ("{ page(first: 1) { all { id } } }", 51.0),
        ("{ page(first: 100) { all { id } } }", 101.0),
        ("{ page(first: 3) { few { id } } }", 4.0),
        ("{ page(first: 3) { few(first: 1) { id } } }", 4.0),
        ("{ page(first: 1) { odd { id } } }", 501.0),
        ("{ page(first: 1) { odd(first: 2) { id } } }", 501.0),
        // Through objects of which there is one.
        ("{ page(first: 100) { result { few { id } } } }", 102.0),
        ("{ page(first: 100) { result { ...R } } } fragment R on Page { result { few { id } } }", 103.0),
        // An argument that the field does not have tells nothing.
        ("{ one(first: 1) { few { id } } }", 3.0),
        // What nobody gave is as the schema's defaults say.
        ("{ window(by: {}) { id } }", 1_000.0),
        ("{ window(by: {take: \"5\"}) { id } }", 5.0),
        ("query($n: Int) { window(by: {take: $n}) { id } }", 1_000.0),
        ("query($w: Window) { window(by: $w) { id } }", 10.0),
        ("query($w: Window = {}) { window(by: $w) { id } }", 1_000.0),
        ("{ deep(by: {}) { id } }", 7.0),
        ("{ deep(by: {in: {}}) { id } }", 1_000.0),
        ("{ window(by: {take: \"1\\u0030\"}) { id } }", 10.0),
        ("{ window(by: {take: \"30 \"}) { id } }", 30.0),
    ] {
        assert_eq!(measured(&guard, text, "{}").expect(text).cost, cost, "{text}");
    }
}

#[test]
fn an_interface_costs_what_its_dearest_member_does() {
    let schema = r#"
type Query { nodes(first: Int): [Node]  node: Node  person: Person  things: Things }
interface Node { id: ID }
type Info implements Node @cost(weight: "0") { id: ID }
type Thing implements Node { id: ID }
interface Person { friends: [Thing] @cost(weight: "5")  books(first: Int, n: Int): [Thing]  page(n: Int): Page  free: Int }
type User implements Person { friends: [Thing]  books(first: Int, n: Int): [Thing] @listSize(assumedSize: 1)  page(n: Int): Page  free: Int @cost(weight: "0") }
type Admin implements Person { friends: [Thing] books(first: Int, n: Int): [Thing] @listSize(slicingArguments: ["n"])  page(n: Int): Page @listSize(slicingArguments: ["n"])  free: Int @cost(weight: "3") }
type Page { items: [Thing] }
interface Things { all: [Thing] @listSize(assumedSize: 200) }
type Many implements Things { all: [Thing] }
"#;
    let guard = guard(open(), schema);
    for (text, cost) in [
        ("{ nodes(first: 1000000) { id } }", 1_000_000.0),
        ("{ node { id } }", 1.0),
        ("{ node { ... on Info { id } } }", 1.0),
        ("{ person { free } }", 1.0 + 3.0),
        ("{ person { ... on User { free } } }", 1.0),
        // What is said of the interface holds of members that say nothing.
        ("{ person { friends { id } } }", 1.0 + 50.0),
        ("{ person { ... on User { friends { id } } } }", 1.0 + 50.0),
        ("{ things { ... on Many { all { id } } } }", 1.0 + 200.0),
        // A list of one member is as long as another's is.
        ("{ person { books { id } } }", 1.0 + 10.0),
        ("{ person { ... on User { books { id } } } }", 1.0 + 1.0),
        ("{ person { books(n: 70) { id } } }", 1.0 + 70.0),
        ("{ person { books(first: 80) { id } } }", 1.0 + 80.0),
        ("{ person { page(n: 90) { items { id } } } }", 1.0 + 1.0 + 90.0),
    ] {
        assert_eq!(measured(&guard, text, "{}").expect(text).cost, cost, "{text}");
    }
}

#[test]
fn a_variable_costs_wherever_it_is_given() {
    let schema = "type Query { a(b: [In]): Int } input In { c: Int @cost(weight: \"2\") }";
    let guard = guard(open(), schema);
    let items = vec![serde_json::json!({"c": 1}); 3_000];
    let variables = serde_json::json!({ "b": items }).to_string();
    let fields = (0..1_000).map(|at| format!(" a{at}: a(b: $b)")).collect::<String>();
    let text = format!("query($b: [In]) {{{fields} }}");
    let start = std::time::Instant::now();
    assert_eq!(measured(&guard, &text, &variables).expect("a cost").cost, 6_000_000.0);
    assert!(start.elapsed() < std::time::Duration::from_millis(500), "took {:?}", start.elapsed());
}

#[test]
fn an_argument_has_a_weight_where_nothing_else_has() {
    let guard = guard(open(), "type Query { a(b: Int @cost(weight: \"2\")): Int }");
    assert_eq!(measured(&guard, "{ a(b: 1) }", "{}").expect("a cost").cost, 2.0);
}

#[test]
fn without_a_schema_what_is_written_tells() {
    let mut settings = open();
    settings.costs = BTreeMap::from([("Query.search".to_owned(), 5.0)]);
    settings.list_sizes = BTreeMap::from([("Query.all".to_owned(), 100.0)]);
    let guard = guard(settings, "");
    for (text, cost) in [
        ("{ a b c }", 0.0),
        ("{ a { b } }", 1.0),
        ("{ a(first: 20) { b { c } } }", 40.0),
        ("{ a(limit: $n) { b } }", 1.0),
        ("{ search }", 5.0),
        ("{ all { b } }", 100.0),
        ("{ all(first: 3) { b } }", 100.0),
        ("{ all(first: 300) { b } }", 300.0),
        ("{ a(first: \"20\") { b } }", 20.0),
        ("{ a(first: \"many\") { b } }", 1.0),
        ("{ a(first: 20) }", 0.0),
    ] {
        assert_eq!(measured(&guard, text, "{}").expect(text).cost, cost, "{text}");
    }
    assert_eq!(
        measured(&guard, "query($n: Int) { a(last: $n) { b } }", "{\"n\": 7}").expect("a cost").cost,
        7.0
    );
}

#[test]
fn an_operator_overrules_the_schema() {
    let mut settings = open();
    settings.costs = BTreeMap::from([("Book".to_owned(), 3.0), ("Book.heavy".to_owned(), 1.0)]);
    settings.list_sizes = BTreeMap::from([("Query.top".to_owned(), 2.0)]);
    settings.default_list_size = 4.0;
    settings.object_cost = 2.0;
    settings.leaf_cost = 0.5;
    let guard = guard(settings, SCHEMA);
    for (text, cost) in
        [("{ top { heavy } }", 8.0), ("{ books { title } }", 4.0 * 3.5), ("{ me { name } }", 2.5)]
    {
        assert_eq!(measured(&guard, text, "{}").expect(text).cost, cost, "{text}");
    }
    for (name, wanted) in [("Nothing", "no type"), ("Book.nothing", "no field"), ("No.thing", "no type")] {
        let settings = Settings { costs: BTreeMap::from([(name.to_owned(), 1.0)]), ..open() };
        let error =
            Guard::compile(settings, Some(Schema::parse(SCHEMA).expect("a schema"))).expect_err("refused");
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn what_the_schema_does_not_have_is_refused_unless_it_may_pass() {
    let strict = guard(open(), SCHEMA);
    let mut settings = open();
    settings.passes_unknown = true;
    let lax = guard(settings, SCHEMA);
    for text in [
        "{ nothing }",
        "{ book(id: 1) { nothing } }",
        "{ any { title } }",
        "{ ... on Nothing { a } }",
        "{ ...F } fragment F on Nothing { a }",
        "{ book(id: 1) { title { x } } }",
        "subscription { a }",
    ] {
        assert_eq!(code(measured(&strict, text, "{}")), Code::Invalid, "{text}");
        measured(&lax, text, "{}").expect(text);
    }
}

#[test]
fn a_rule_is_touched_by_every_way_to_its_field() {
    let rules = [&["User.email"][..], &["Mutation.*"], &["Person.name"], &["User.secret"]];
    let rules = rules.iter().map(|fields| fields.iter().map(|field| field.to_string()).collect()).collect();
    let guard = guard(Settings { rules, passes_unknown: true, ..open() }, SCHEMA);
    for (text, touched) in [
        ("{ book(id: 1) { title author { friends { friends { __typename } } } } }", 0b0000),
        ("{ me { email } }", 0b0001),
        ("{ me { x: email } }", 0b0001),
        ("{ ...F } fragment F on Query { me { ...G } } fragment G on User { ... { email } }", 0b0001),
        ("{ someone { email } }", 0b0001),
        ("{ someone { ... on Admin { email } } }", 0b0000),
        ("{ someone { ... on User { secret } } }", 0b1000),
        ("{ me { name } }", 0b0100),
        ("{ someone { ... on Admin { name } } }", 0b0100),
        ("mutation { drop(id: 1) }", 0b0010),
        ("mutation { ...M } fragment M on Mutation { add(books: []) { author { email } } }", 0b0011),
        ("mutation { __typename }", 0b0000),
        // Below what the schema does not know, a name is enough.
        ("{ unheard { email } }", 0b0001),
        ("mutation { unheard }", 0b0010),
        ("query A { me { name } } fragment Unused on User { email }", 0b0100),
    ] {
        assert_eq!(measured(&guard, text, "{}").expect(text).rules, touched, "{text}");
    }
}

#[test]
fn rules_about_all_of_a_type_hold_of_what_it_stands_for() {
    for (rule, text, touched) in [
        ("User.*", "{ someone { hidden } }", 1),
        ("Person.*", "{ someone { ... on User { hidden } } }", 1),
        ("Person.*", "{ me { hidden } }", 1),
        ("User.*", "{ someone { ... on Admin { hidden } } }", 0),
        ("Book.*", "{ someone { hidden } }", 0),
    ] {
        let rules = vec![vec![rule.to_owned()]];
        let guard = guard(Settings { rules, passes_unknown: true, ..open() }, SCHEMA);
        assert_eq!(measured(&guard, text, "{}").expect(text).rules, touched, "{rule} of {text}");
    }
}

#[test]
fn without_a_schema_a_rule_is_about_its_name_wherever_it_stands() {
    let rules = [&["User.email"][..], &["Mutation.*"]];
    let rules = rules.iter().map(|fields| fields.iter().map(|field| field.to_string()).collect()).collect();
    let guard = guard(Settings { rules, ..open() }, "");
    for (text, touched) in [
        ("{ a { b } }", 0b00),
        ("{ a { x: email } }", 0b01),
        ("{ email }", 0b01),
        ("{ ...F } fragment F on Nothing { a { email } }", 0b01),
        ("mutation { a }", 0b10),
        ("mutation { ... on Anything { a } }", 0b10),
        ("mutation { __typename }", 0b00),
        ("mutation { ... { __typename } ...F } fragment F on M { __typename }", 0b00),
        ("subscription { a }", 0b00),
    ] {
        assert_eq!(measured(&guard, text, "{}").expect(text).rules, touched, "{text}");
    }
    let rules = vec![vec!["Query.*".to_owned()]];
    let queries = crate::guard(Settings { rules, ..open() }, "");
    let through = "mutation { x { query { secret } } }";
    assert_eq!(measured(&queries, through, "{}").expect(through).rules, 1, "queries below a mutation");
    for wrong in ["User.*", "email"] {
        let settings = Settings { rules: vec![vec![wrong.to_owned()]], ..open() };
        Guard::compile(settings, None).expect_err(wrong);
    }
}

#[test]
fn lists_that_a_page_tells_of_cannot_take_for_ever() {
    let mut settings = open();
    settings.limits.cost = Some(1e12);
    let guard = guard(settings, "type Query { a(first: Int): Query  l: [Query] }");
    let mut text = String::from("{ ...F0 }");
    for at in 0..100 {
        text.push_str(&format!(
            " fragment F{at} on Query {{ a(first: 2) {{ ...F{0} ...F{0} ...F{0} }} }}",
            at + 1
        ));
    }
    text.push_str(" fragment F100 on Query { __typename }");
    let start = std::time::Instant::now();
    assert_eq!(code(measured(&guard, &text, "{}")), Code::Cost);
    assert!(start.elapsed() < std::time::Duration::from_millis(500), "took {:?}", start.elapsed());
}

#[test]
fn a_schema_that_makes_no_sense_is_refused_with_a_reason() {
    for (text, wanted) in [
        ("type Query {", "line 1"),
        ("type Query { a: Nothing }", "`Query.a` is of type `Nothing`"),
        ("type A { a: Int }", "no type for queries"),
        ("type Query { a: Int @cost(weight: \"much\") }", "no number"),
        ("type Query @cost { a: Int }", "no `weight`"),
        ("{ a }", "an operation"),
        ("type Query { a: Int } input Query { a: Int }", "another kind"),
        ("type Query { a(b: Nothing): Int }", "(b:)"),
    ] {
        let error = Schema::parse(text).expect_err(text);
        assert!(error.contains(wanted), "{text}: {error}");
    }
    Schema::parse("schema { query: Q } extend type Q { b: Int } type Q { a: Int }").expect("roots by name");
}
