//! Laws that hold of any document.

use proptest::prelude::*;

use graphql::Settings;

use crate::{guard, measured, open};

/// Lists that tell their own size.
const SCHEMA: &str = "type T { a(first: Int): [T] b: Int } schema { query: T }";
/// Pages of lists, and objects of which there is one.
const PAGES: &str = "type T { a(first: Int): P b: Int } type P implements I { a(last: Int): [T] @cost(weight: \"2\") } interface I { a(last: Int): [T] } schema { query: T }";

/// What stands in a selection: a field with what is below it, or the spread of a later fragment.
#[derive(Debug, Clone)]
enum Part {
    Field { is_aliased: bool, first: Option<u8>, below: Vec<Part> },
    Spread(usize),
}

fn part() -> impl Strategy<Value = Part> {
    let leaf = prop_oneof![
        (any::<bool>(), prop::option::of(0_u8..4)).prop_map(|(is_aliased, first)| Part::Field {
            is_aliased,
            first,
            below: Vec::new()
        }),
        (0_usize..4).prop_map(Part::Spread),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        (any::<bool>(), prop::option::of(0_u8..4), prop::collection::vec(inner, 0..3))
            .prop_map(|(is_aliased, first, below)| Part::Field { is_aliased, first, below })
    })
}

/// The text of selections in fragment `own`; spreads are of later ones, and written out where that is wanted.
fn text(parts: &[Part], own: usize, fragments: &[Vec<Part>], is_inlined: bool) -> String {
    let mut out = String::from("{ __typename ");
    for part in parts {
        match part {
            Part::Field { is_aliased, first, below } => {
                let alias = if *is_aliased { "x: " } else { "" };
                let arguments = first.map(|first| format!("(first: {first})")).unwrap_or_default();
                let below = match below.as_slice() {
                    [] => String::new(),
                    below => text(below, own, fragments, is_inlined),
                };
                out.push_str(&format!("{alias}a{arguments} @d {below} "));
            }
            Part::Spread(by) => {
                let fragment = own + 1 + by;
                match (fragments.get(fragment), is_inlined) {
                    (None, _) => {}
                    (Some(_), false) => out.push_str(&format!("...F{fragment} ")),
                    (Some(parts), true) => {
                        out.push_str(&format!("... on T {} ", text(parts, fragment, fragments, true)));
                    }
                }
            }
        }
    }
    out + "}"
}

proptest! {
    #[test]
    fn a_fragment_amounts_to_what_stands_in_it(fragments in prop::collection::vec(prop::collection::vec(part(), 0..3), 1..6)) {
        let rules = vec![vec!["T.a".to_owned()], vec!["T.b".to_owned()]];
        let with = |schema: &str| guard(Settings { rules: rules.clone(), passes_unknown: true, ..open() }, schema);
        let guards = [with(""), with(SCHEMA), with(PAGES)];
        let mut spread = text(&fragments[0], 0, &fragments, false);
        for (at, parts) in fragments.iter().enumerate().skip(1) {
            spread.push_str(&format!(" fragment F{at} on T {}", text(parts, at, &fragments, false)));
        }
        let inlined = text(&fragments[0], 0, &fragments, true);
        for guard in &guards {
            // What is written out may be nested or long beyond reading.
            if let Ok(wanted) = measured(guard, &inlined, "{}") {
                let found = measured(guard, &spread, "{}").expect("shorter than what can be read");
                prop_assert_eq!(found, wanted, "{}", spread);
            }
        }
    }
}
