//! The list of actions of a rule: `name`, `name:value`, `name:'value'`, by commas.

/// An action as it is written, its name lower-case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawAction {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Splits a list of actions.
pub(crate) fn split_actions(text: &str) -> Result<Vec<RawAction>, String> {
    let mut actions = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find([':', ',']).unwrap_or(rest.len());
        let name = rest[..end].trim().to_ascii_lowercase();
        let has_value = rest[end..].starts_with(':');
        rest = rest[end..].get(1..).unwrap_or_default().trim_start();
        let mut value = String::new();
        if has_value {
            if let Some(quoted) = rest.strip_prefix('\'') {
                rest = quoted_value(quoted, &mut value)
                    .ok_or_else(|| format!("the value of `{name}` has no closing quote (')"))?;
                let after = rest.trim_start();
                if !after.is_empty() && !after.starts_with(',') {
                    return Err(format!(
                        "expected a comma after the value of `{name}`, found `{}`",
                        first(after)
                    ));
                }
                rest = after.get(1..).unwrap_or_default().trim_start();
            } else {
                let end = rest.find(',').unwrap_or(rest.len());
                rest[..end].trim().clone_into(&mut value);
                rest = rest[end..].get(1..).unwrap_or_default().trim_start();
            }
        }
        if !name.is_empty() {
            actions.push(RawAction { name, value });
        } else if has_value {
            return Err("expected the name of an action before `:`".into());
        }
    }
    Ok(actions)
}

fn first(text: &str) -> String {
    text.chars().take(12).collect()
}

/// Takes a value up to its closing quote, and gives what follows.
fn quoted_value<'t>(text: &'t str, value: &mut String) -> Option<&'t str> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return text.get(at + 1..),
            '\\' if text[at + 1..].starts_with('\'') => {
                value.push('\'');
                chars.next();
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_split_by_commas_outside_of_quotes() {
        let read = |text| {
            let actions = split_actions(text)?;
            Ok::<_, String>(
                actions.into_iter().map(|a| format!("{}={}", a.name, a.value)).collect::<Vec<_>>(),
            )
        };
        assert_eq!(
            read("id:'1', phase:2,t:none,  msg:'a, b\\'s: c',setvar:tx.a=+%{tx.b},chain").expect("actions"),
            ["id=1", "phase=2", "t=none", "msg=a, b's: c", "setvar=tx.a=+%{tx.b}", "chain="]
        );
        assert!(read("msg:'open").is_err());
        assert!(read("msg:'a'b").is_err());
    }
}
