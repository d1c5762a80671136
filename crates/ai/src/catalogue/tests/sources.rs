//! Every quirk says why: the text above it names a source.

use std::{fs, path::Path};

/// Texts of all files that people write.
fn texts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue");
    let mut found = Vec::new();
    for folder in [folder.clone(), folder.join("families")] {
        for file in fs::read_dir(folder).expect("the folder is part of the crate").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".toml") && !name.ends_with(".models.toml") {
                found.push((name, fs::read_to_string(file.path()).expect("a file of the crate")));
            }
        }
    }
    found
}

/// A comment names a source: in parentheses at its end, a publisher before a colon, or "the same".
fn names_a_source(comment: &str) -> bool {
    let cited = |text: &str| {
        [":", "the same", "reference", "price table", "issue ", "pull request"]
            .iter()
            .any(|mark| text.contains(mark))
    };
    comment.match_indices('(').any(|(at, _)| cited(&comment[at..]))
}

#[test]
fn every_quirk_has_a_comment_with_a_source() {
    for (file, text) in texts() {
        let mut comment = String::new();
        let mut before = String::new();
        for line in text.lines() {
            if let Some(words) = line.strip_prefix('#') {
                comment.push_str(words);
            } else if line.starts_with("[quirks]") || line.starts_with("[[rules]]") {
                // Rules that follow each other without a blank line share their comment.
                if !comment.is_empty() {
                    before = std::mem::take(&mut comment);
                }
                assert!(names_a_source(&before), "{file}: `{line}` after `{before}` names no source");
            } else if line.is_empty() {
                comment.clear();
                before.clear();
            }
        }
    }
}

#[test]
fn no_line_is_longer_than_people_read() {
    for (file, text) in texts() {
        let comments = text.lines().filter(|line| line.starts_with('#'));
        for line in comments {
            assert!(line.chars().count() <= 125, "{file}: {line}");
        }
    }
}
