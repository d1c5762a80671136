//! Lines into directives: continuations, comments, words and quotes as Apache reads them.

use std::sync::Arc;

use crate::finding::Place;

/// One directive: its name and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directive {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) words: Vec<String>,
}

/// Directives of a file, or the sentence that says what is wrong with a line.
pub(crate) fn directives(file: &Arc<str>, text: &str) -> Vec<Result<Directive, (Place, String)>> {
    let mut found = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((first, line)) = lines.next() {
        let start = first.trim_start();
        if start.is_empty() || start.starts_with('#') {
            continue;
        }
        let place = Place { file: file.clone(), line };
        let mut whole = String::new();
        let mut piece = first;
        loop {
            // A line that ends in a backslash goes on in the next.
            let Some(kept) = piece.trim_end_matches('\r').strip_suffix('\\') else {
                whole.push_str(piece.trim_end_matches('\r'));
                break;
            };
            whole.push_str(kept);
            match lines.next() {
                Some((next, _)) => piece = next,
                None => break,
            }
        }
        found.push(match words(&whole) {
            Ok(mut words) if !words.is_empty() => {
                let name = words.remove(0);
                Ok(Directive { place, name, words })
            }
            Ok(_) => continue,
            Err(error) => Err((place, error)),
        });
    }
    found
}

/// Words of a line; in quotes a backslash takes away the meaning of a quote or of another backslash.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(&first) = rest.peek() else { return Ok(words) };
        let quote = (first == '"' || first == '\'').then_some(first);
        if quote.is_some() {
            rest.next();
        }
        let mut word = String::new();
        loop {
            let Some(c) = rest.next() else {
                if quote.is_some() {
                    return Err("a quote is opened and not closed; expected the closing quote, or a backslash at the \
                                end of each line that goes on"
                        .into());
                }
                break;
            };
            match c {
                '\\' if rest.peek().is_some_and(|next| *next == '\\' || Some(*next) == quote) => {
                    word.extend(rest.next());
                }
                c if Some(c) == quote => break,
                c if quote.is_none() && c.is_whitespace() => break,
                c => word.push(c),
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<(u32, Vec<String>), String>> {
        let found = directives(&"a.conf".into(), text).into_iter();
        let words = |d: Directive| (d.place.line, [vec![d.name], d.words].concat());
        found.map(|d| d.map(words).map_err(|(_, error)| error)).collect()
    }

    #[test]
    fn lines_go_on_comments_do_not_and_quotes_hold_spaces() {
        let text = "# SecRule \\\nSecRule ARGS \\\n  \"@rx a\\\"b \\x5c\" \\\n \"id:1,msg:'it\\'s'\"\n\nSecMarker END-X\r\n";
        assert_eq!(
            read(text),
            [
                Ok((
                    2,
                    ["SecRule", "ARGS", "@rx a\"b \\x5c", "id:1,msg:'it\\'s'"].map(String::from).to_vec()
                )),
                Ok((6, ["SecMarker", "END-X"].map(String::from).to_vec())),
            ]
        );
        assert!(read("SecRule ARGS \"open").remove(0).is_err());
    }
}
