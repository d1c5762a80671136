//! `budgets`: what budgets and limits of tokens of a running gateway have left.

use clap::Args;
use serde_json::Value;

use super::{Done, admin};
use crate::exit::Exit;

/// Whose budgets, and where they run.
#[derive(Args)]
pub(crate) struct BudgetsArgs {
    /// Only this key, such as `consumer:app`, `group:gold` or `model:smart`; a name alone is a consumer's, and `header=acme`,
    /// `claim=acme` or `cel=acme` is whoever writes that. Where gateways share a store, it is asked.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only this budget, by its name or its place and name.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// So many keys of each budget, those that have spent the most.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: admin::Place,
}

/// Runs the command.
pub(crate) fn budgets(args: &BudgetsArgs) -> Done {
    let mut query = format!("/api/v1/budgets?limit={}", args.limit);
    // What callers write may be a secret, and is told to nobody.
    let key = args.key.as_deref().map(proxy::ledger::account_key);
    for (name, value) in [("key", &key), ("policy", &args.policy)] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    let answer = args.gateway.get(&query).map_err(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })?;
    match args.json {
        true => show!("{answer}"),
        false => show!("{}", table(&answer, args.key.as_deref()).trim_end()),
    }
    Ok(())
}

/// A value of a query.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

const HEAD: [&str; 9] = ["POLICY", "KEY", "UNIT", "SPENT", "HELD", "LEFT", "LIMIT", "USED", "UNTIL"];

/// Of one key, when it is asked for: then budgets without an account of it are not shown.
fn table(answer: &Value, key: Option<&str>) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut rows: Vec<[String; 9]> = vec![HEAD.map(str::to_owned)];
    let mut notes = Vec::new();
    for budget in answer["budgets"].as_array().into_iter().flatten() {
        let until = match &budget["ends"] {
            Value::String(ends) => ends.clone(),
            _ => format!("back over {} s", text(&budget["per"])),
        };
        let accounts = budget["accounts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let row = |account: &Value, key: String, used: String| {
            [
                text(&budget["policy"]),
                key,
                text(&budget["unit"]),
                text(&account["spent"]),
                text(&account["held"]),
                text(&account["left"]),
                text(&budget["limit"]),
                used,
                until.clone(),
            ]
        };
        if accounts.is_empty() && key.is_none() {
            rows.push(row(&Value::Null, "-".to_owned(), "-".to_owned()));
        }
        for account in accounts {
            let mark = if account["warns"] == true { " !" } else { "" };
            let used = format!("{:.1} %{mark}", account["used"].as_f64().unwrap_or_default());
            let of = account["credentialName"].as_str().map(|name| format!(" ({name})")).unwrap_or_default();
            rows.push(row(account, text(&account["key"]) + &of, used));
        }
        let keys = budget["keys"].as_u64().unwrap_or_default();
        if keys > accounts.len() as u64 && !accounts.is_empty() {
            notes.push(format!("{}: {} of {keys} keys are shown", text(&budget["policy"]), accounts.len()));
        }
        if let Some(trouble) = budget["trouble"].as_str() {
            notes.push(format!("{}: {trouble}", text(&budget["policy"])));
        }
    }
    let has_budgets = answer["budgets"].as_array().is_some_and(|budgets| !budgets.is_empty());
    match key {
        _ if !has_budgets => return "no budgets and no limits of tokens are configured\n".to_owned(),
        Some(key) if rows.len() == 1 && notes.is_empty() => {
            return format!(
                "`{key}` has no account: no budget or limit counts by such a key of the configuration, and nothing was \
                 spent by it\n"
            );
        }
        _ => {}
    }
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (at, (width, cell)) in widths.iter().zip(row).enumerate() {
            match at {
                3..=7 => out.push_str(&format!("{cell:>width$}  ")),
                _ => out.push_str(&format!("{cell:width$}  ")),
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    for note in notes {
        out.push_str(&note);
        out.push('\n');
    }
    out
}
