//! Links of the documents lead to files that are there, and to headings that these have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::{files, root};

/// A text without its blocks of code, in which nothing is a link or a heading.
fn without_code(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_fence && !is_code
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What links call a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let letters = heading.trim().to_lowercase();
    let letters =
        letters.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    letters.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// What the headings of a page are called; one that is there again has a number.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let text = without_code(page);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let names = headings.map(|line| {
        let name = anchor(line.trim_start_matches('#'));
        let before = times.entry(name.clone()).or_default();
        *before += 1;
        if *before == 1 { name } else { format!("{name}-{}", *before - 1) }
    });
    names.collect()
}

/// Where the links of a page lead, those to other sites left out.
fn links(page: &str) -> Vec<String> {
    let text = without_code(page);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target).filter(|target| {
        !target.contains("://") && !target.starts_with("mailto:") && !target.contains(char::is_whitespace)
    });
    targets.map(str::to_owned).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let root = root().canonicalize().expect("a folder");
    let pages: BTreeMap<_, _> = files(&root, ".md")
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a page");
            (path, text)
        })
        .collect();
    let (mut count, mut astray) = (0, Vec::new());
    for (path, text) in &pages {
        for link in links(text) {
            count += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let is_there = target.canonicalize().is_ok_and(|target| {
                heading.is_empty() || pages.get(&target).is_none_or(|page| anchors(page).contains(heading))
            });
            if !is_there {
                astray.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(count > 1_000, "{count} links");
    assert!(astray.is_empty(), "links that lead nowhere: {astray:#?}");
}

#[test]
fn every_decision_is_in_the_list_of_decisions() {
    let folder = root().join("docs/decisions");
    let list = fs::read_to_string(folder.join("README.md")).expect("the list");
    for path in files(&folder, ".md") {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name == "README.md" || list.contains(&format!("({name})")), "{name} is not in the list");
    }
}
