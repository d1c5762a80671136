//! How nginx looks for a location: an exact path, else the longest prefix, and before that the regular expressions unless
//! the prefix says `^~`; then the same among the locations within.

use super::{faces::quoted, guards::is_guard, lookahead, syntax::Directive, words};

/// How a location is found.
pub(super) enum Found<'a> {
    Exact(&'a str),
    /// The flag is `^~`: no regular expression goes before it.
    Prefix(&'a str, bool),
    /// The flag is `~*`: whatever the case.
    Regex(&'a str, bool),
    Named,
}

pub(super) fn found(location: &Directive) -> Found<'_> {
    match (location.arg(0), location.args.get(1)) {
        ("=", Some(path)) => Found::Exact(path),
        ("^~", Some(path)) => Found::Prefix(path, true),
        ("~", Some(pattern)) => Found::Regex(pattern, false),
        ("~*", Some(pattern)) => Found::Regex(pattern, true),
        (name, _) if name.starts_with('@') => Found::Named,
        // The sign and the path may be one word.
        (one, _) => match (
            one.strip_prefix("^~"),
            one.strip_prefix("~*"),
            one.strip_prefix('~'),
            one.strip_prefix('='),
        ) {
            (Some(path), ..) => Found::Prefix(path, true),
            (_, Some(pattern), ..) => Found::Regex(pattern, true),
            (_, _, Some(pattern), _) => Found::Regex(pattern, false),
            (.., Some(path)) => Found::Exact(path),
            // An empty one takes every path.
            _ => Found::Prefix(if one.is_empty() { "/" } else { one }, false),
        },
    }
}

/// The locations of a level itself.
fn own(level: &[Directive]) -> impl Iterator<Item = &Directive> {
    level.iter().filter(|one| one.name == "location")
}

/// The locations of a level and those within them.
pub(super) fn locations(level: &[Directive]) -> Vec<&Directive> {
    let mut all = Vec::new();
    for one in own(level) {
        all.push(one);
        all.extend(locations(one.inside()));
    }
    all
}

/// Whether some location goes before others whatever its length.
pub(super) fn has_levels(server: &[Directive]) -> bool {
    locations(server).into_iter().any(|one| matches!(found(one), Found::Regex(..) | Found::Prefix(_, true)))
}

/// Whether some prefix refuses what is longer than its last segment, too: `/admin` takes `/adminx` in nginx.
pub(super) fn has_refusing(server: &[Directive]) -> bool {
    locations(server).into_iter().any(|one| match found(one) {
        Found::Prefix(path, _) => !path.ends_with('/') && refuses(one),
        _ => false,
    })
}

/// Whether something in a location itself refuses.
pub(super) fn refuses(location: &Directive) -> bool {
    location.inside().iter().any(|one| match one.name.as_str() {
        "deny" | "internal" | "limit_except" | "satisfy" => true,
        "auth_basic" | "auth_request" => one.arg(0) != "off",
        "return" => one.arg(0).starts_with('4'),
        "if" => refuses(one),
        name => is_guard(name) && one.arg(0) != "off",
    })
}

/// Whether a prefix stands beside one of the same path with a slash, and whether that one says `^~`.
pub(super) fn with_slash(server: &[Directive], path: &str) -> Option<bool> {
    locations(server).into_iter().find_map(|one| match found(one) {
        Found::Prefix(other, ends) if other.strip_suffix('/') == Some(path) => Some(ends),
        _ => None,
    })
}

/// Whether an exact path has a location.
pub(super) fn has_exact(server: &[Directive], path: &str) -> bool {
    locations(server).into_iter().any(|one| matches!(found(one), Found::Exact(other) if other == path))
}

/// Whether a prefix lies below one that ends the search.
pub(super) fn is_inside(server: &[Directive], path: &str) -> bool {
    locations(server).into_iter().any(|one| {
        matches!(found(one), Found::Prefix(outer, true) if path.len() > outer.len() && path.starts_with(outer))
    })
}

/// Prefixes of a level below another one.
fn below<'a>(level: &'a [Directive], outer: &str) -> Vec<&'a str> {
    let all = own(level).filter_map(|one| match found(one) {
        Found::Prefix(path, _) if path.len() > outer.len() && path.starts_with(outer) => Some(path),
        _ => None,
    });
    all.collect()
}

/// Whether regular expressions go before a prefix that lies below one before which they do not go.
pub(super) fn is_mixed(server: &[Directive]) -> bool {
    let has_regex = own(server).any(|one| matches!(found(one), Found::Regex(..)));
    let plain =
        |path: &str| own(server).any(|one| matches!(found(one), Found::Prefix(own, false) if own == path));
    has_regex
        && own(server).any(|one| match found(one) {
            Found::Prefix(outer, true) => below(server, outer).into_iter().any(plain),
            _ => false,
        })
}

/// What must hold of a path so that a regular expression of a level is tried, where ranks cannot say it.
pub(super) fn is_tried(server: &[Directive]) -> Vec<String> {
    let closing = own(server).filter_map(|one| match found(one) {
        Found::Prefix(outer, true) => Some(outer),
        _ => None,
    });
    let all = closing.map(|outer| match starts(&below(server, outer)) {
        Some(inner) => format!("(!{} || {inner})", starts(&[outer]).unwrap_or_default()),
        None => format!("!{}", starts(&[outer]).unwrap_or_default()),
    });
    all.collect()
}

/// That a path starts with one of some.
fn starts(paths: &[&str]) -> Option<String> {
    let all: Vec<String> = paths.iter().map(|path| regex::escape(&words::path(path))).collect();
    (!all.is_empty()).then(|| format!("request.path.matches({})", quoted(&format!("^(?:{})", all.join("|")))))
}

/// What must hold of a path so that nginx looks at a location within others. None where a regular expression around it is
/// none here.
pub(super) fn around(level: &[Directive], location: &Directive) -> Option<Vec<String>> {
    for one in own(level) {
        if std::ptr::eq(one, location) {
            return Some(Vec::new());
        }
        if locations(one.inside()).into_iter().any(|inner| std::ptr::eq(inner, location)) {
            let mut all = enters(level, one)?;
            all.extend(around(one.inside(), location)?);
            return Some(all);
        }
    }
    None
}

/// How many locations stand around one.
pub(super) fn depth(level: &[Directive], location: &Directive) -> i64 {
    let holds =
        |one: &Directive| locations(one.inside()).into_iter().any(|inner| std::ptr::eq(inner, location));
    own(level).find(|one| holds(one)).map_or(0, |one| 1 + depth(one.inside(), location))
}

/// What must hold of a path so that nginx takes one location of a level.
fn enters(level: &[Directive], outer: &Directive) -> Option<Vec<String>> {
    let regex = |pattern: &str, is_blind: bool| {
        let whole = words::location(pattern, is_blind)?;
        Some(format!("request.path.matches({})", quoted(&format!("^(?:{whole})$"))))
    };
    match found(outer) {
        Found::Exact(path) => Some(vec![format!("request.path == {}", quoted(&words::path(path)))]),
        Found::Prefix(path, _) => {
            let own = starts(&[path]).filter(|_| path != "/");
            let longer = starts(&below(level, path)).map(|longer| format!("!{longer}"));
            Some(own.into_iter().chain(longer).collect())
        }
        Found::Regex(pattern, is_blind) => {
            let mut all = vec![regex(pattern, is_blind)?];
            for one in own(level).take_while(|one| !std::ptr::eq(*one, outer)) {
                if let Found::Regex(pattern, is_blind) = found(one) {
                    all.push(format!("!{}", regex(pattern, is_blind)?));
                }
            }
            all.extend(is_tried(level));
            Some(all)
        }
        Found::Named => None,
    }
}

/// The location that answers a path.
pub(super) fn answering<'a>(level: &'a [Directive], path: &str) -> Option<&'a Directive> {
    search(level, path).map(|(found, _)| found)
}

/// The same, and whether nothing goes before it any more.
fn search<'a>(level: &'a [Directive], path: &str) -> Option<(&'a Directive, bool)> {
    let mut longest: Option<(&'a Directive, usize, bool)> = None;
    for one in own(level) {
        match found(one) {
            Found::Exact(exact) if exact == path => return Some((one, true)),
            Found::Prefix(prefix, ends)
                if path.starts_with(prefix) && longest.is_none_or(|(_, length, _)| prefix.len() > length) =>
            {
                longest = Some((one, prefix.len(), ends));
            }
            _ => {}
        }
    }
    let inner = longest.and_then(|(one, ..)| search(one.inside(), path));
    if let Some((inner, true)) = inner {
        return Some((inner, true));
    }
    let takes = |one: &&'a Directive| match found(one) {
        // One that is none here may take what a wider one takes.
        Found::Regex(pattern, is_blind) => words::whole(pattern, is_blind)
            .or_else(|| words::whole(&lookahead::wider(pattern), is_blind))
            .and_then(|whole| regex::Regex::new(&format!("^(?:{whole})$")).ok())
            .is_none_or(|regex| regex.is_match(path)),
        _ => false,
    };
    let tries = longest.is_none_or(|(_, _, ends)| !ends);
    match own(level).filter(|_| tries).find(takes) {
        Some(regex) => Some((answering(regex.inside(), path).unwrap_or(regex), true)),
        None => inner.or(longest.map(|(one, ..)| (one, false))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::syntax::Reader, *};

    #[test]
    fn the_location_of_a_path_is_the_one_of_nginx() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("nginx.conf");
        let text = r"
            location / { location ~ \.txt$ { } }
            location /a/ { location /a/b { } location ~ \.php$ { } }
            location ^~ /up/ { location ~ \.php$ { } }
            location = /x.php { }
            location ~ \.php$ { }
            location ~* \.TXT$ { }
            location ~ /\.(?!well)x$ { }
        ";
        std::fs::write(&file, text).expect("a file");
        let all = Reader::new(&file).file(&file, 0).expect("it reads");
        for (path, want) in [
            ("/y", "/"),
            ("/y.txt", "~ \\.txt$"),
            ("/a/y", "/a/"),
            ("/a/bc", "/a/b"),
            ("/a/y.txt", "~* \\.TXT$"),
            ("/up/y.txt", "^~ /up/"),
            ("/x.php", "= /x.php"),
            ("/.x", "~ /\\.(?!well)x$"),
        ] {
            assert_eq!(answering(&all, path).expect("a location").args.join(" "), want, "{path}");
        }
        for (path, line) in [("/a/y.php", 3), ("/up/y.php", 4), ("/y.php", 6)] {
            let found = answering(&all, path).expect("a location");
            assert!(found.place.ends_with(&format!(":{line}")), "{path}: {}", found.place);
        }
        let inner =
            locations(&all).into_iter().filter(|one| one.args.join(" ") == "~ \\.php$").collect::<Vec<_>>();
        let around = |one: &Directive| around(&all, one).expect("it is within").join(" && ");
        assert_eq!(around(inner[0]), "request.path.matches(\"^(?:/a/)\")");
        assert_eq!(around(inner[1]), "request.path.matches(\"^(?:/up/)\")");
        assert_eq!((around(inner[2]).as_str(), depth(&all, inner[0]), depth(&all, inner[2])), ("", 1, 0));
        assert!(!is_mixed(&all));
    }
}
