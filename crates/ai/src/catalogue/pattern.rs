//! Names with `*` in them: the way in which rules name models.

/// Whether a model's name fits a pattern. `*` stands for any letters, none among them; case does not matter. A pattern
/// fits the whole name or what follows its last `/`: `gpt-5*` fits `gpt-5-mini` as well as `openai/gpt-5-mini`.
pub fn fits(pattern: &str, model: &str) -> bool {
    let last = model.rsplit('/').next().unwrap_or(model);
    glob(pattern.as_bytes(), model.as_bytes())
        || last.len() < model.len() && glob(pattern.as_bytes(), last.as_bytes())
}

/// Goes back only to the last `*`, so that the time is at most the product of the lengths.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut on) = (0, 0);
    let mut star = None;
    while on < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, on));
            at += 1;
        } else if pattern.get(at).is_some_and(|letter| letter.eq_ignore_ascii_case(&name[on])) {
            at += 1;
            on += 1;
        } else if let Some((star_at, star_on)) = star {
            star = Some((star_at, star_on + 1));
            at = star_at + 1;
            on = star_on + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_letters() {
        for (pattern, model, want) in [
            ("gpt-5", "gpt-5", true),
            ("gpt-5", "gpt-5-mini", false),
            ("gpt-5*", "gpt-5", true),
            ("gpt-5*", "gpt-5-mini", true),
            ("gpt-5*", "openai/gpt-5-mini", true),
            ("*claude-opus-4-7*", "eu.anthropic.claude-opus-4-7-20260416-v1:0", true),
            ("*-latest", "a-latest-b-latest", true),
            ("*-latest", "latest", false),
            ("o?", "o1", false),
            ("Qwen/*", "qwen/QwQ-32B", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, model), want, "{pattern} on {model}");
        }
    }
}
