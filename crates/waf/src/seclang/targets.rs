//! The targets of a rule: `ARGS|!ARGS:password|&TX:a|TX:/^b/|XML:/*`.

/// A target as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawTarget {
    /// `!`: what is left out.
    pub(crate) exclude: bool,
    /// `&`: how many there are.
    pub(crate) count: bool,
    /// Name of the variable, upper-case.
    pub(crate) name: String,
    /// What follows the colon, with the slashes of a pattern.
    pub(crate) selector: Option<String>,
}

/// Splits a list of targets. Patterns may hold the bars that divide them.
pub(crate) fn split_targets(text: &str) -> Result<Vec<RawTarget>, String> {
    let mut targets = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (mut exclude, mut count) = (false, false);
        loop {
            rest = rest.trim_start();
            match rest.chars().next() {
                Some('!') => exclude = true,
                Some('&') => count = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        let end = rest.find([':', '|', ',']).unwrap_or(rest.len());
        let name = rest[..end].trim().to_ascii_uppercase();
        if name.is_empty() {
            return Err(format!("expected the name of a variable in `{text}`"));
        }
        let mut selector = None;
        rest = match rest[end..].strip_prefix(':') {
            None => &rest[end..],
            Some(after) => {
                let length = selector_length(&name, after)
                    .ok_or_else(|| format!("the selector of `{name}` has no end: `{after}`"))?;
                let own = after[..length].trim();
                let bare = own.strip_prefix('\'').and_then(|own| own.strip_suffix('\'')).unwrap_or(own);
                if bare.is_empty() {
                    return Err(format!("expected a name or a pattern after `{name}:`"));
                }
                selector = Some(bare.to_owned());
                &after[length..]
            }
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(['|', ',']).unwrap_or(rest);
        targets.push(RawTarget { exclude, count, name, selector });
    }
    if targets.is_empty() {
        return Err("expected at least one variable".into());
    }
    Ok(targets)
}

fn selector_length(name: &str, text: &str) -> Option<usize> {
    let plain = || text.find(['|', ',']).unwrap_or(text.len());
    let close = |open: usize, quote: &str| {
        let mut from = open;
        loop {
            let at = from + text.get(from..)?.find(quote)?;
            let end = at + quote.len();
            let is_last = text[end..].trim_start().is_empty() || text[end..].starts_with(['|', ',']);
            if is_last && !text[..at].ends_with('\\') {
                return Some(end);
            }
            from = end;
        }
    };
    match text {
        _ if name == "XML" => Some(text.find('|').unwrap_or(text.len())),
        text if text.starts_with('/') => close(1, "/"),
        text if text.starts_with('\'') => close(1, "'"),
        _ => Some(plain()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_signs_names_and_selectors() {
        let read = |text| {
            let one = |t: RawTarget| {
                let sign = if t.exclude {
                    "!"
                } else if t.count {
                    "&"
                } else {
                    ""
                };
                format!("{sign}{}{}", t.name, t.selector.map(|s| format!(":{s}")).unwrap_or_default())
            };
            Ok::<_, String>(split_targets(text)?.into_iter().map(one).collect::<Vec<_>>())
        };
        assert_eq!(
            read("ARGS|!args:/^a|b/|&TX:x|TX:'/^c|d/'|XML:/*|XML://@*|REQUEST_HEADERS:Host")
                .expect("targets"),
            ["ARGS", "!ARGS:/^a|b/", "&TX:x", "TX:/^c|d/", "XML:/*", "XML://@*", "REQUEST_HEADERS:Host"]
        );
        assert!(read("ARGS:/open").is_err());
        assert!(read("|").is_err());
        assert!(read("ARGS:").is_err());
    }
}
