//! Hostile bytes, row by row: each row names its source, what is answered and what the upstream may see; memory
//! stays bounded under all of them.

mod flood;
mod frames;
mod framing;
mod headers;
mod heads;
mod hosts;
mod http2;
mod jwt;
mod paths;
mod row;
mod sizes;
mod slow;
mod streams;

#[test]
fn the_table_has_at_least_80_rows_and_each_names_its_source_and_answer() {
    let rows =
        [framing::rows(), heads::rows(), hosts::rows(), paths::rows(), sizes::rows(), http2::rows()].concat();
    let mut names = std::collections::HashSet::new();
    for row in &rows {
        let known = ["RFC ", "CVE-", "Unicode "].iter().any(|kind| row.source.starts_with(kind));
        let paper = row.source.ends_with(')') && row.source.contains(" (20");
        assert!(known || paper, "{}: `{}` is no source", row.name, row.source);
        assert!(!row.answers.is_empty() && !row.bytes.is_empty(), "{}", row.name);
        assert!(names.insert((row.name.clone(), row.source)), "{} is there twice", row.name);
    }
    assert!(rows.len() >= 80, "{}", rows.len());
}
