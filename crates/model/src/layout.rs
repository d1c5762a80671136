//! The white space of a configuration file: line ends, blank lines, spaces; comments stay where they are.

use crate::{
    diagnostic::{Diagnostics, Source},
    load::parse,
};

/// Tidies the white space of a text: LF line ends, no spaces at line ends, no blank lines at the beginning or the
/// end, at most one in a row, one space before a comment's text. What the text means does not change: where a block
/// of text in it depends on blank lines or looks like a comment, those stay as they are in the whole file.
///
/// # Errors
/// The text is not YAML, or a block of text in it ends its lines in spaces.
pub fn fmt(text: &str) -> Result<String, String> {
    let meaning = meaning(text)?;
    for (comments, blanks) in [(true, true), (false, true), (true, false), (false, false)] {
        let formatted = layout(text, comments, blanks);
        if self::meaning(&formatted).is_ok_and(|now| now == meaning) {
            return Ok(formatted);
        }
    }
    Err("a block of text in it depends on spaces at line ends".to_owned())
}

fn layout(text: &str, comments: bool, blanks: bool) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.replace("\r\n", "\n").split('\n') {
        let line = line.trim_end();
        let line = if comments { comment(line) } else { line.to_owned() };
        let follows_blank = lines.last().is_none_or(String::is_empty);
        if !(blanks && line.is_empty() && follows_blank) {
            lines.push(line);
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n") + "\n"
}

/// A whole-line comment with one space before its text.
fn comment(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    match line[indent..].strip_prefix('#') {
        Some(text) if !text.is_empty() && !text.starts_with([' ', '#', '!']) => {
            format!("{}# {text}", &line[..indent])
        }
        _ => line.to_owned(),
    }
}

fn meaning(text: &str) -> Result<serde_json::Value, String> {
    let mut found = Diagnostics::new(&[Source::new("", text)]);
    let parsed = parse::parse(0, text, &mut found);
    match parsed.tree {
        Some(tree) if !found.has_errors() => Ok(tree.to_value()),
        _ => Err(found
            .iter()
            .next()
            .map_or_else(|| "it is not YAML".to_owned(), |first| first.message.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_normal_and_comments_stay() {
        let untidy = "\n\n#one\nroutes:   \r\n\n\n\n  - name: a   # two\n    respond: {body: '#no'}\n\n\n";
        let tidy = "# one\nroutes:\n\n  - name: a   # two\n    respond: {body: '#no'}\n";
        assert_eq!(fmt(untidy).as_deref(), Ok(tidy));
        assert_eq!(fmt(tidy).as_deref(), Ok(tidy), "what is normal stays as it is");
    }

    #[test]
    fn what_a_text_means_never_changes() {
        let blanks = "a: |\n  one\n\n\n  two\n";
        assert_eq!(fmt(&format!("#x\n{blanks}")), Ok(format!("# x\n{blanks}")));
        assert_eq!(fmt("a: |\n  #no\nb: 1  \n").as_deref(), Ok("a: |\n  #no\nb: 1\n"));
        assert!(fmt("a: |\n  one  \n  two\n").is_err());
        assert!(fmt("a: [").is_err());
    }
}
