//! What an expression takes from `captures`, some path must capture: otherwise it fails at every call.
//!
//! A route's own expressions see what its matches capture, and those of a match what that one does. All others run for several
//! routes, so that a name is enough that one of them has, or that is asked for by `has`.

use std::{
    cell::LazyCell,
    collections::{BTreeSet, HashMap},
};

use crate::{
    Config, Route,
    diagnostic::{Diagnostic, Diagnostics},
    load::{check::Written, nearest::nearest, tree::Node},
    resource::route_match::Match,
};

/// Names that there are, of which as many are told.
const NAMES_TOLD: usize = 8;

pub(super) fn check(config: &Config, tree: &Node, expressions: &[Written], found: &mut Diagnostics) {
    let nodes = tree.get("routes").map(Node::items).unwrap_or_default();
    // What was left out of a route may be what captures.
    let all_are_known = !nodes.iter().any(|node| node.pruned || node.tainted);
    let kept = nodes.iter().filter(|node| !node.pruned).zip(&config.routes);
    let routes: HashMap<(u32, usize), (&Node, &Route)> =
        kept.map(|(node, route)| ((node.place.source, node.index), (node, route))).collect();
    let everywhere = LazyCell::new(|| config.routes.iter().flat_map(offered).collect::<BTreeSet<_>>());
    for one in expressions {
        let names = names(&one.text);
        if names.is_empty() {
            continue;
        }
        let own = match &one.item {
            Some((list, index)) if list == "routes" => routes.get(&(one.place.source, *index)),
            _ => None,
        };
        let (known, whose) = match own {
            Some((node, _)) if node.tainted => continue,
            Some((_, route)) => match own_match(one, route) {
                Some(own) => (super::route::captures(own).into_iter().collect(), "path of this match"),
                None => (offered(route).collect(), "match of this route"),
            },
            None if !all_are_known || config.routes.is_empty() => continue,
            None => (BTreeSet::clone(&everywhere), "route"),
        };
        let is_told = |name: &&&str| !known.contains(**name) && (own.is_some() || !asks_for(&one.text, name));
        for name in names.iter().filter(is_told) {
            let message = format!("no {whose} captures `{name}`");
            let wrong = Diagnostic::error(&one.path, message).at(one.place);
            found.push(wrong.help(help(name, &known)));
        }
    }
}

/// The match that an expression is a part of.
fn own_match<'r>(one: &Written, route: &'r Route) -> Option<&'r Match> {
    let key = one.path.split('.').nth(1)?;
    let index = key.strip_prefix("match[")?.strip_suffix(']')?;
    route.matches.get(index.parse::<usize>().ok()?)
}

/// Names of the captures that a route's matches offer.
fn offered(route: &Route) -> impl Iterator<Item = String> {
    route.matches.iter().flat_map(super::route::captures)
}

fn help(name: &str, known: &BTreeSet<String>) -> String {
    match nearest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => {
            format!("a path such as `{{template: \"/orders/{{{name}}}\"}}` captures it")
        }
        None => {
            let more = if known.len() > NAMES_TOLD { ", …" } else { "" };
            let names: Vec<&str> = known.iter().map(String::as_str).take(NAMES_TOLD).collect();
            format!("there are: `{}`{more}", names.join("`, `"))
        }
    }
}

/// Whether an expression asks first whether there is a capture of this name: `has(captures.id)`.
fn asks_for(text: &str, name: &str) -> bool {
    let text: String = text.split_whitespace().collect();
    let forms = [format!(".{name}"), format!("['{name}']"), format!("[\"{name}\"]")];
    forms.iter().any(|form| text.contains(&format!("has(captures{form})")))
}

/// The names that an expression takes from `captures`: `captures.id`, `captures['id']`.
fn names(text: &str) -> Vec<&str> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut names = Vec::new();
    let (mut rest, mut is_member) = (text, false);
    while let Some(letter) = rest.chars().next() {
        let (word, after) = if is_word(letter) {
            rest.split_at(rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()))
        } else if letter == '"' || letter == '\'' {
            rest.split_at(closed(rest, letter).map_or(rest.len(), |end| end + 1))
        } else {
            rest.split_at(letter.len_utf8())
        };
        if word == "captures" && !is_member {
            names.extend(member(after));
        }
        if !letter.is_whitespace() {
            is_member = letter == '.';
        }
        rest = after;
    }
    names
}

/// Where a text in quotes ends that begins here.
fn closed(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().skip(1).find_map(|(at, letter)| {
        let ends = letter == quote && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends.then_some(at)
    })
}

/// The member that is asked for behind a value.
fn member(behind: &str) -> Option<&str> {
    let behind = behind.trim_start();
    if let Some(inside) = behind.strip_prefix('[') {
        let inside = inside.trim_start();
        let quote = inside.chars().next().filter(|letter| matches!(letter, '"' | '\''))?;
        return inside.get(1..closed(inside, quote)?);
    }
    let inside = behind.strip_prefix('.')?.trim_start();
    let end = inside.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(inside.len());
    Some(&inside[..end]).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_in_either_form() {
        for text in ["a && has( captures.id )", "has(captures['id'])", "has(captures [ \"id\" ])"] {
            assert!(asks_for(text, "id"), "{text}");
        }
        for text in ["captures.id", "has(captures.ids)", "has(jwt.id)"] {
            assert!(!asks_for(text, "id"), "{text}");
        }
    }

    #[test]
    fn names_are_found_in_both_forms_and_not_in_texts_or_other_members() {
        for (text, want) in [
            ("captures.id == jwt.sub", &["id"][..]),
            ("has(captures.a) && captures [ 'b' ] == \"captures.c\"", &["a", "b"][..]),
            ("captures . x_1.startsWith('a')", &["x_1"][..]),
            ("jwt.captures.id == 'a\\'captures.b'", &[][..]),
            ("'captures.id' in captures && captures[jwt.sub] == '1'", &[][..]),
            ("my_captures.id == captures", &[][..]),
            ("captures.", &[][..]),
            ("captures['open", &[][..]),
        ] {
            assert_eq!(names(text), want, "{text}");
        }
    }
}
