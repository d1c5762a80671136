//! Every document under `bad/` is refused with exactly the findings in the file beside it.

use std::{fs, path::Path};

use crate::support::load;

#[test]
fn every_bad_document_is_refused_with_the_findings_beside_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/load/bad");
    let mut checked = 0;
    let mut wrong = Vec::new();
    let mut paths: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ext| ext == "yaml")) {
        let found = load(&fs::read_to_string(path).unwrap()).expect_err(&path.display().to_string());
        let text = format!("{found}\n\n{}", found.render(false));
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &text).unwrap();
        }
        if fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", path.display()));
        }
        checked += 1;
    }
    assert!(wrong.is_empty(), "set UPDATE_GOLDEN to accept:\n{}", wrong.join("\n"));
    assert!(checked >= 8, "{checked} documents");
}
