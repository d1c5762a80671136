//! What a target begins with: its corpus and its dictionary, in the layout of `cargo fuzz`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Inputs and words of one target.
pub(crate) struct Corpus {
    pub(crate) entries: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) words: Vec<Vec<u8>>,
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

impl Corpus {
    /// Reads `fuzz/corpus/<name>/*` and, if it is there, `fuzz/dictionaries/<name>.dict`.
    pub(crate) fn load(name: &str) -> Self {
        let folder = root().join("fuzz/corpus").join(name);
        let mut entries: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::read(entry.path()).ok().map(|bytes| (entry.path(), bytes)))
            .collect();
        assert!(!entries.is_empty(), "the corpus {} is empty", folder.display());
        entries.sort();
        let dictionary = root().join("fuzz/dictionaries").join(format!("{name}.dict"));
        let words = fs::read_to_string(dictionary).map(|text| words(&text)).unwrap_or_default();
        Self { entries, words }
    }

    #[cfg(test)]
    pub(crate) fn of(entries: &[&[u8]], words: &[&[u8]]) -> Self {
        let entries = entries.iter().map(|bytes| (PathBuf::new(), bytes.to_vec())).collect();
        Self { entries, words: words.iter().map(|word| word.to_vec()).collect() }
    }
}

/// The words of a dictionary: one per line, in quotes, with `\xNN` for odd bytes.
fn words(text: &str) -> Vec<Vec<u8>> {
    let quoted = |line: &str| {
        let (_, rest) = line.split_once('"')?;
        let (word, _) = rest.rsplit_once('"')?;
        Some(unescape(word))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(quoted).collect()
}

fn unescape(word: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = word.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'x') => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                out.extend(u8::from_str_radix(digits, 16).ok());
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_are_read_as_libfuzzer_reads_them() {
        let text = "# comment\n\"GET\"\nname=\"\\x0d\\x0a\"\n\"a\\\"b\\\\c\"\n\n";
        assert_eq!(words(text), [b"GET".to_vec(), b"\r\n".to_vec(), b"a\"b\\c".to_vec()]);
    }

    #[test]
    fn every_target_has_a_corpus_and_every_dictionary_a_target() {
        let targets: Vec<String> = names(&root().join("fuzz/fuzz_targets"), ".rs");
        assert!(targets.len() > 10, "{targets:?}");
        assert_eq!(names(&root().join("fuzz/corpus"), ""), targets);
        for dictionary in names(&root().join("fuzz/dictionaries"), ".dict") {
            assert!(targets.contains(&dictionary), "{dictionary}.dict belongs to no target");
        }
    }

    fn names(folder: &Path, ending: &str) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(ending).map(str::to_owned))
            .collect();
        names.sort();
        names
    }
}
