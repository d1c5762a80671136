//! The guard as its callers see it.

mod costs;
mod fuzz;
mod laws;
mod persisted;
mod requests;
mod shapes;

use graphql::{Code, Document, Guard, Measured, Schema, Settings};

/// What an operation amounts to, or why it is refused.
pub(crate) fn measured(guard: &Guard, text: &str, variables: &str) -> Result<Measured, graphql::Refusal> {
    let document = Document::parse(text, guard.limits())?;
    let operation = document.operation(None)?;
    let variables = serde_json::from_str(variables).expect("an object");
    guard.measure(&document, operation, Some(&variables))
}

pub(crate) fn guard(settings: Settings, schema: &str) -> Guard {
    let schema = (!schema.is_empty()).then(|| Schema::parse(schema).expect("a schema"));
    Guard::compile(settings, schema).expect("good settings")
}

/// Bounds that nothing here breaks.
pub(crate) fn open() -> Settings {
    let limits = graphql::Limits {
        tokens: 100_000,
        depth: 150,
        fields: u64::MAX,
        aliases: u64::MAX,
        root_fields: u64::MAX,
        directives: u64::MAX,
        batch: 10,
        cost: None,
    };
    Settings { limits, ..Settings::default() }
}

pub(crate) fn code(result: Result<Measured, graphql::Refusal>) -> Code {
    result.expect_err("refused").code
}
