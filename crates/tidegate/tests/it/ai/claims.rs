//! What a verified token says is a key of limits and budgets: an organisation spends what its people spend.

use serde_json::json;

use super::limits::{base, told};
use crate::{
    harness::{Answer, Gateway, eventually},
    policies::tokens::{Signer, claims, jwks},
};

#[test]
fn people_of_one_organisation_spend_one_budget_and_one_limit_of_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let (signer, keys) = (Signer::new("ES256", "one"), folder.path().join("jwks.json"));
    std::fs::write(&keys, jwks(&[&signer])).expect("a file");
    let upstream = told(100, 10);
    let text = format!(
        "routes:
  - name: models
    match: [{{path: {{prefix: /ai}}}}]
    policies:
      - jwt: {{issuer: https://id.example.test, algorithms: [ES256], jwks: {{file: '{}'}}}}
      - tokenRateLimit: {{tokens: 400, window: 10d, key: {{claim: org.id}}, name: t}}
      - budget: {{tokens: 100000, key: {{claim: org.id}}, name: b}}
    ai: {{stripPrefix: /ai}}
ai:
  providers: [{{name: p, kind: openai, baseUrl: \"{}\"}}]
  models: [{{name: smart, targets: [{{provider: p, model: gpt-4o}}]}}]
",
        keys.display(),
        base(&upstream)
    );
    let gateway = Gateway::start(&text);
    let ask = |org: &str, sub: &str| -> Answer {
        let token = signer.sign(&claims(|claims| {
            claims["org"] = json!({"id": org});
            claims["sub"] = sub.into();
        }));
        let body = r#"{"model":"smart","max_tokens":20,"messages":[{"role":"user","content":"case: text"}]}"#;
        // What a caller says of itself beside its token counts for nothing.
        let head = format!(
            "POST /ai/v1/chat/completions HTTP/1.1\nhost: gw\nauthorization: Bearer {token}\norg.id: other\ncontent-length: {}",
            body.len()
        );
        gateway.send(&head, body.as_bytes())
    };
    let spent = |count: u64| {
        eventually(&format!("{count} tokens are spent"), || {
            let all = gateway.admin_get("/api/v1/budgets?policy=b").json()["budgets"].clone();
            all[0]["spent"] == count
        });
    };
    for (calls, sub) in ["ann", "bob", "ann"].into_iter().enumerate() {
        let answer = ask("tide", sub);
        assert_eq!(answer.status, 200, "{sub}: {}", answer.text());
        spent(110 * (calls as u64 + 1));
    }
    // A fourth of 110 has no room in 400, whoever of them asks; another organisation has its own.
    for sub in ["ann", "bob", "cleo"] {
        assert_eq!(ask("tide", sub).status, 429, "{sub}");
    }
    assert_eq!(ask("ebb", "ann").status, 200);
    spent(440);
    let budget = gateway.admin_get("/api/v1/budgets?policy=b").json()["budgets"][0].clone();
    assert_eq!(budget["keys"], 2, "{budget}");
    let mut amounts: Vec<u64> = budget["accounts"]
        .as_array()
        .expect("accounts")
        .iter()
        .filter_map(|one| one["spent"].as_u64())
        .collect();
    amounts.sort_unstable();
    assert_eq!(amounts, [110, 330], "{budget}");
}
