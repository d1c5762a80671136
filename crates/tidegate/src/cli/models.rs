//! `models`: what the catalogue knows of models, what ships and what the configuration says.

use std::time::{SystemTime, UNIX_EPOCH};

use ai::catalogue::{self, Capabilities, Capability, Day, Model, Price, Query};
use clap::Args;
use serde_json::{Value, json};

use super::{ConfigArgs, Done, load_settings};
use crate::exit::Exit;

/// Which models are asked for.
#[derive(Args)]
pub(crate) struct ModelsArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this kind of provider, such as `openai`, or a provider of the configuration by its name.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only models that can all of this, such as `tools,vision`; docs/ai.md lists the words.
    #[arg(long, value_name = "LIST")]
    can: Option<String>,
    /// Only models that take a prompt of so many tokens: `200000`, `200k`, `1M`.
    #[arg(long, value_name = "TOKENS", default_value = "0", value_parser = tokens)]
    context: u64,
    /// Only models whose names fit, such as `gpt-*`.
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Also models that their provider has turned off.
    #[arg(long)]
    retired: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A model that is shown.
struct Line {
    kind: String,
    model: Model,
    /// When the facts were taken; none when the configuration says them.
    taken: Option<Day>,
    is_ours: bool,
}

/// A number of tokens as people write it: plain, in thousands (`k`) or in millions (`M`), with a point where one is wanted.
fn tokens(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a number of tokens, such as 200000, 200k or 1M, found `{text}`");
    let (number, places) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 3),
        None => text.strip_suffix(['m', 'M']).map_or((text, 0), |number| (number, 6)),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_number = whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit());
    let is_written = !whole.is_empty() && number.contains('.') != part.is_empty();
    if !is_number || !is_written || part.len() > places {
        return Err(wrong());
    }
    format!("{whole}{part:0<places$}").parse().map_err(|_| wrong())
}

/// Runs the command.
pub(crate) fn models(args: &ModelsArgs) -> Done {
    let refused = |what: String| {
        eprintln!("error: {what}");
        Exit::NotFound
    };
    let files = args.config.files();
    let snapshot = files.as_ref().map(load_settings).transpose()?;
    let settings = snapshot.as_ref().and_then(|snapshot| snapshot.config.ai.clone()).unwrap_or_default();
    let known = proxy::catalogue::Known::of(&settings).map_err(|error| {
        eprintln!("error: {error}");
        Exit::Configuration
    })?;
    let named = args.provider.as_ref().map(|name| {
        let configured = settings.providers.iter().find(|provider| provider.name == *name);
        configured.map_or(name.clone(), |provider| provider.kind.clone())
    });
    let query = Query {
        provider: named.as_deref(),
        name: args.name.as_deref(),
        can: Capabilities::parse(args.can.as_deref().unwrap_or_default()).map_err(refused)?,
        context: args.context,
        alive_on: if args.retired { None } else { today() },
        ..Query::default()
    };
    if let Some(note) = rarely_told(query.can) {
        eprintln!("{note}");
    }
    let found = catalogue::query(&query).map_err(|error| refused(error.to_string()))?;
    let mut lines: Vec<Line> = Vec::new();
    for one in found {
        // What the configuration says of it comes below.
        if known.exact(one.provider, &one.model.name).is_none() {
            let taken = catalogue::models(one.provider).ok().and_then(|models| models.taken);
            lines.push(Line {
                kind: one.provider.to_owned(),
                model: one.model.clone(),
                taken,
                is_ours: false,
            });
        }
    }
    for (kind, model) in known.iter().filter(|(_, model)| query.fits(model)) {
        if query.provider.is_none_or(|wanted| wanted == kind) {
            lines.push(Line { kind: kind.to_owned(), model: model.clone(), taken: None, is_ours: true });
        }
    }
    lines.sort_by(|a, b| (&a.kind, &a.model.name).cmp(&(&b.kind, &b.model.name)));
    let names = snapshot.as_ref().map(|snapshot| super::names::of(&snapshot.config, None));
    if lines.is_empty() {
        let kind = named.as_deref().and_then(|name| catalogue::provider(name).ok());
        let unknown = kind.filter(|kind| catalogue::models(&kind.name).is_ok_and(|all| all.all().is_empty()));
        return Err(refused(unknown.map_or("no model is such".to_owned(), without_models)));
    }
    if args.json {
        let mut told = json!({"models": lines.iter().map(as_json).collect::<Vec<_>>()});
        if let Some(names) = names {
            told["names"] = names.into();
        }
        show!("{told}");
        return Ok(());
    }
    show!("{}", table(&lines).trim_end());
    let names = super::names::lines(&names.unwrap_or_default(), None);
    if !names.is_empty() {
        show!("\nNames of `ai.models`, as clients ask for them:\n{}", names.join("\n"));
    }
    Ok(())
}

/// What nearly every model can, and few vendors' lists speak of.
const RARELY_TOLD: [(Capability, &str); 2] =
    [(Capability::Streaming, "streaming"), (Capability::ParallelTools, "parallel-tools")];

/// Who asks for what is rarely told is told that models without it may well have it.
fn rarely_told(wanted: Capabilities) -> Option<String> {
    let words = RARELY_TOLD.iter().filter(|(one, _)| wanted.has(*one)).map(|(_, word)| *word);
    let words = words.collect::<Vec<_>>().join("` and `");
    (!words.is_empty()).then(|| {
        format!(
            "note: few vendors' lists speak of `{words}`: a model that is not listed may well have it; leave it \
             out for all"
        )
    })
}

/// Of some kinds no models are known: they are what their servers load, or change by the day.
fn without_models(kind: &catalogue::Provider) -> String {
    format!(
        "the catalogue knows no models of {} (`{}`, {}): name them in `ai.models` as the provider does ({}), and say in \
         `ai.catalogue` what they can and cost",
        kind.title, kind.name, kind.base_url, kind.docs
    )
}

fn as_json(line: &Line) -> Value {
    let (model, rates) = (&line.model, &line.model.prices.tokens);
    json!({
        "kind": line.kind,
        "model": model.name,
        "context": model.context,
        "maxOutput": model.max_output,
        "can": model.can.names().collect::<Vec<_>>(),
        "price": {
            "input": rates.input.map(dollars),
            "output": rates.output.map(dollars),
            "cacheRead": rates.cache_read.map(dollars),
            "cacheWrite": rates.cache_write.map(dollars),
        },
        "retires": model.retires.map(|day| day.to_string()),
        "taken": line.taken.map(|day| day.to_string()),
        "source": if line.is_ours { "configuration" } else { "catalogue" },
    })
}

/// US dollars per million tokens, exactly: a picodollar per token is a millionth of that.
fn dollars(price: Price) -> String {
    let text = format!("{}.{:06}", price.0 / 1_000_000, price.0 % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn table(lines: &[Line]) -> String {
    let head = ["KIND", "MODEL", "CONTEXT", "OUTPUT", "$/M IN", "$/M OUT", "$/M CACHED", "TAKEN", "CAN"];
    let price = |price: Option<Price>| price.map_or("-".to_owned(), dollars);
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    let mut rows: Vec<[String; 9]> = vec![head.map(str::to_owned)];
    for line in lines {
        let (model, rates) = (&line.model, &line.model.prices.tokens);
        rows.push([
            line.kind.clone(),
            model.name.clone(),
            count(model.context),
            count(model.max_output),
            price(rates.input),
            price(rates.output),
            price(rates.cache_read),
            if line.is_ours {
                "config".to_owned()
            } else {
                line.taken.map_or("-".to_owned(), |day| day.to_string())
            },
            model.can.names().collect::<Vec<_>>().join(","),
        ]);
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
                8 => out.push_str(cell),
                2..=6 => out.push_str(&format!("{cell:>width$}  ")),
                _ => out.push_str(&format!("{cell:width$}  ")),
            }
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

/// Today in UTC (Howard Hinnant's `civil_from_days`).
fn today() -> Option<Day> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    Day::parse(&format!("{year:04}-{month:02}-{day:02}"))
}
