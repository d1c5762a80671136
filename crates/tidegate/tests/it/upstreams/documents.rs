//! The examples in the documents of upstreams are configurations that load.

use std::fs;

use crate::{harness::run, tidy::root};

#[test]
fn every_example_of_the_documents_loads() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut checked = 0;
    for document in ["resilience.md", "upstreams.md"] {
        let text = fs::read_to_string(root().join("docs").join(document)).expect("a document");
        for block in text.split("```yaml\n").skip(1) {
            let yaml = block.split("```").next().expect("its end");
            let path = folder.path().join("example.yaml");
            fs::write(&path, format!("listeners: [{{name: a, address: \"127.0.0.1:8080\"}}]\n{yaml}"))
                .expect("a file");
            let (code, _, errors) = run(&["validate", "--config", &path.display().to_string()]);
            assert_eq!(code, 0, "{document}:\n{yaml}\n{errors}");
            checked += 1;
        }
    }
    assert!(checked >= 2, "{checked} examples");
}
