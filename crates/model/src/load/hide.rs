//! Blanks out secrets in the texts that diagnostics draw.

use std::sync::{Arc, LazyLock};

use regex::Regex;

use crate::diagnostic::{Place, Source};

/// Where a secret may stand when its key is misspelt or misplaced, or when the text is not YAML at all: a value
/// beside a telling name. References (`{env: …}`) are not secrets, and neither is a path beside `keyFile`.
static TELLING: LazyLock<Regex> = LazyLock::new(|| {
    let pattern =
        r#"(?mi)(?:password|passwd|secret|token|api_?key|keys)["']?\s*:\s*\[?\s*([^\s{\[,#][^\n,}\]#]*)"#;
    Regex::new(pattern).expect("a constant pattern")
});

/// The sources with every literal secret blanked out, byte for byte so that places stay right.
pub(super) fn hide(sources: &[Source], literals: &[(Place, String)]) -> Arc<[Source]> {
    let mut sources = sources.to_vec();
    for (index, source) in sources.iter_mut().enumerate() {
        let known = literals.iter().filter(|(place, _)| place.source as usize == index);
        let known = known.map(|(place, _)| place.range());
        let telling =
            TELLING.captures_iter(&source.text).filter_map(|found| found.get(1)).map(|value| value.range());
        let hidden: Vec<_> = known.chain(telling).collect();
        let mut bytes = std::mem::take(&mut source.text).into_bytes();
        for range in hidden {
            bytes
                .iter_mut()
                .take(range.end)
                .skip(range.start)
                .filter(|byte| **byte != b'\n')
                .for_each(|byte| *byte = b'*');
        }
        // A range ends between characters, so that whole characters were replaced.
        source.text = String::from_utf8_lossy(&bytes).into_owned();
    }
    sources.into()
}
