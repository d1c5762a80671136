//! The file as a whole: it is accepted, and served.

use super::{
    super::harness::{run, run_with},
    *,
};

#[test]
fn validate_accepts_it_and_run_serves_it() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let file = served.gateway.folder.path().join("conf/tidegate.yaml").display().to_string();
    let (code, out, problems) = run_with(&["validate", "-c", &file], &ENVIRONMENT);
    let counts = "ok: 2 listeners, 11 routes, 4 upstreams, 2 consumers, 3 AI providers, 2 models\n";
    assert_eq!((code, out.as_str(), problems.as_str()), (0, counts, ""), "not even a warning");
    assert_eq!(served.gateway.get("/ping").text(), "{\"pong\":true}");
    // What is live, defaults written out, is a document of the schema, too.
    let live = served.gateway.admin_get("/api/v1/config").json()["config"].clone();
    let names: Vec<&str> = live["routes"]
        .as_array()
        .expect("routes")
        .iter()
        .filter_map(|route| route["name"].as_str())
        .collect();
    let want = [
        "catalog",
        "catalog-v2-by-header",
        "orders",
        "order-page",
        "old-shop",
        "ping",
        "hello-as-rest",
        "models",
        "translate",
        "tools",
        "cached",
    ];
    assert_eq!(names, want);
    let (_, schema, _) = run(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    let errors: Vec<String> =
        validator.iter_errors(&live).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn keys_of_the_environment_are_resolved_when_it_is_loaded() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    for key in [GOLD, WEB] {
        assert_eq!(served.ask("GET /v1/products", &format!("\nx-api-key: {key}")).status, 200, "{key}");
    }
    let file = served.gateway.folder.path().join("conf/tidegate.yaml").display().to_string();
    let (code, _, problems) = run_with(
        &["validate", "-c", &file],
        &[("GOLD_KEY", GOLD), ("OPENAI_API_KEY", "o"), ("ANTHROPIC_API_KEY", "a")],
    );
    assert_eq!(code, 3);
    assert!(problems.contains("WEB_KEY") && !problems.contains("GOLD_KEY is"), "{problems}");
    let live = served.gateway.admin_get("/api/v1/config").text();
    assert!(!live.contains(GOLD) && !live.contains(WEB), "a secret is shown: {live}");
}

#[test]
fn every_copy_of_it_in_the_tree_is_the_same() {
    let whole = whole();
    let title = whole.lines().next().expect("a first line");
    let copies = super::super::tidy::files(&root(), ".yaml");
    let copies: Vec<_> = copies
        .into_iter()
        .map(|path| (fs::read_to_string(&path).expect("a file"), path))
        .filter(|(text, _)| text.starts_with(title))
        .collect();
    assert!(!copies.is_empty(), "it is looked for where it is not");
    for (text, path) in copies {
        assert!(text == whole, "{} differs from tests/contract/tidegate.yaml", path.display());
    }
}

/// Letters and digits alone.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

#[test]
fn each_comment_has_a_row_and_each_row_a_test() {
    let table = include_str!("mod.rs").lines();
    let rows: Vec<(&str, &str)> =
        table.filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | ")).skip(1).collect();
    let quoted: Vec<String> =
        rows.iter().flat_map(|(said, _)| said.split('"').skip(1).step_by(2)).map(plain).collect();
    let whole = whole();
    let comments = whole.lines().filter_map(|line| match line.strip_prefix("# ") {
        Some(comment) => Some(comment),
        None => line.split_once(" # ").map(|(_, comment)| comment),
    });
    let mut count = 0;
    for comment in comments {
        let text = plain(comment);
        let is_there = quoted.iter().any(|piece| !piece.is_empty() && text.contains(piece.as_str()));
        assert!(is_there, "no row of the table in mod.rs quotes `{comment}`");
        count += 1;
    }
    assert!(count > 30, "{count} comments");
    let tests = root().join("crates/tidegate/tests/it");
    for (said, named) in rows {
        let named = named.trim_end_matches(" |").trim_matches('`');
        let (module, name) = named.rsplit_once("::").expect("a module");
        let file = format!("{}.rs", module.replace("::", "/"));
        let places = [tests.join("contract").join(&file), tests.join(&file)];
        let text = places.into_iter().find_map(|place| fs::read_to_string(place).ok());
        let is_there = text.is_some_and(|text| text.contains(&format!("\nfn {name}()")));
        assert!(is_there, "{said}: there is no test `{named}`");
    }
}
