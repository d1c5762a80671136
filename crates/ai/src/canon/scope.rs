//! Names of tools that stand in a namespace, as OpenAI's Responses have them: two tools may bear one name there.
//!
//! In the canonical form both are one name with a letter between that no vendor takes in either, so that whatever tells
//! tools apart by their names tells these apart, too. Dialects without namespaces are told a name that they take
//! ([`crate::fit`]), and the answer comes back under the whole name.

/// Stands between a namespace and the name in it.
const BETWEEN: char = '\u{1f}';

/// The whole name of a tool.
pub fn scoped(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}{BETWEEN}{name}"),
        // No name of a namespace is made of one that stands in none.
        _ if name.contains(BETWEEN) => format!("{BETWEEN}{name}"),
        _ => name.to_owned(),
    }
}

/// Whether somebody wrote what stands between: a caller whose dialect has namespaces, or one whose has not.
pub(crate) fn is_broken(name: &str, has_scopes: bool) -> bool {
    match has_scopes {
        true => name.starts_with(BETWEEN) || name.matches(BETWEEN).count() > 1,
        false => name.contains(BETWEEN),
    }
}

/// The namespace of a whole name, if it has one, and the name in it.
pub fn unscoped(name: &str) -> (Option<&str>, &str) {
    match name.split_once(BETWEEN) {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, name),
    }
}

/// The same as one plain name, for people and for dialects that have no namespaces: `namespace__name`.
pub fn flat(name: &str) -> String {
    match unscoped(name) {
        // OpenAI's word for tools that stand in none.
        (Some("functions"), name) => name.to_owned(),
        // Some namespaces end as they want to be joined: `mcp__files__`.
        (Some(namespace), name) if namespace.ends_with("__") => format!("{namespace}{name}"),
        (Some(namespace), name) => format!("{namespace}__{name}"),
        (None, name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_and_parted() {
        for (namespace, name, told) in [
            (None, "shell", "shell"),
            (Some("mcp__files"), "read", "mcp__files__read"),
            (Some("mcp__files__"), "read", "mcp__files__read"),
            (Some("functions"), "exec", "exec"),
        ] {
            let whole = scoped(namespace, name);
            assert_eq!(unscoped(&whole), (namespace, name));
            assert_eq!(flat(&whole), told);
        }
        assert_eq!(scoped(Some(""), "f"), "f");
    }
}
