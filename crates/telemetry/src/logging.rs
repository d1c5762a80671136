//! The gateway's own log: JSON lines on standard error, with a level that can be changed while running.

use std::{
    fmt,
    io::Write,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::SystemTime,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

use crate::json;

static LEVEL: AtomicU8 = AtomicU8::new(3);

/// Starts logging at a level: `error`, `warn`, `info`, `debug` or `trace`.
pub fn init(level: &str) -> Result<(), String> {
    set_level(level)?;
    // A second call, as in tests, leaves the first subscriber in place.
    let _ = tracing::subscriber::set_global_default(Lines::default());
    Ok(())
}

/// Changes the level.
pub fn set_level(level: &str) -> Result<(), String> {
    let number = match level {
        "off" => 0,
        "error" => 1,
        "warn" => 2,
        "info" => 3,
        "debug" => 4,
        "trace" => 5,
        _ => return Err(format!("`{level}` is none of `off`, `error`, `warn`, `info`, `debug`, `trace`")),
    };
    LEVEL.store(number, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

/// The level at the moment.
pub fn level() -> &'static str {
    ["off", "error", "warn", "info", "debug", "trace"][usize::from(LEVEL.load(Ordering::Relaxed)).min(5)]
}

/// The gateway's own crates, as targets of events call them. A test holds that none is left out.
const OURS: [&str; 19] = [
    "acme",
    "ai",
    "events",
    "graphql",
    "http1",
    "http3",
    "identity",
    "kafka",
    "layer4",
    "model",
    "proxy",
    "resilience",
    "sinks",
    "telemetry",
    "tidegate",
    "transcode",
    "vault",
    "waf",
    "wasm",
];

/// Libraries whose errors are told by whoever uses them, with what they mean here: theirs are for `debug`.
const TOLD_HERE: [&str; 1] = ["lapin"];

fn crate_of(target: &str) -> &str {
    target.split("::").next().unwrap_or_default()
}

fn is_ours(target: &str) -> bool {
    OURS.contains(&crate_of(target))
}

/// Up to which rank events of a target are written at a level. Libraries are quieter than the gateway: their debug output is
/// for `trace` alone.
fn wanted(level: u8, target: &str) -> u8 {
    match level {
        5 => level,
        _ if is_ours(target) => level,
        ..=3 if TOLD_HERE.contains(&crate_of(target)) => 0,
        _ => level.min(2),
    }
}

/// Writes each event as a line.
#[derive(Default)]
struct Lines {
    spans: AtomicU64,
}

fn rank(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        rank(metadata.level()) <= wanted(LEVEL.load(Ordering::Relaxed), metadata.target())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = Vec::with_capacity(256);
        line.extend_from_slice(b"{\"timestamp\":\"");
        json::time(SystemTime::now(), &mut line);
        line.extend_from_slice(b"\",\"level\":\"");
        line.extend_from_slice(event.metadata().level().as_str().to_ascii_lowercase().as_bytes());
        line.extend_from_slice(b"\",\"message\":");
        json::text(&fields.message, &mut line);
        line.extend_from_slice(b",\"target\":");
        json::text(event.metadata().target(), &mut line);
        line.extend_from_slice(&fields.others);
        line.extend_from_slice(b"}\n");
        let _ = std::io::stderr().lock().write_all(&line);
    }
}

/// The fields of an event, as JSON.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<u8>,
}

impl Fields {
    fn name(&mut self, field: &Field) {
        self.others.push(b',');
        json::text(field.name(), &mut self.others);
        self.others.push(b':');
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.record_str(field, &text);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
            return;
        }
        self.name(field);
        json::text(value, &mut self.others);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        json::number(value, &mut self.others);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.name(field);
        self.others.extend_from_slice(value.to_string().as_bytes());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.others.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.name(field);
        if value.is_finite() {
            self.others.extend_from_slice(value.to_string().as_bytes());
        } else {
            self.others.extend_from_slice(b"null");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// What the crates of the workspace are called in code.
    fn crates() -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder of crates");
        let manifests =
            fs::read_dir(folder).expect("crates").flatten().map(|entry| entry.path().join("Cargo.toml"));
        let texts = manifests.filter_map(|manifest| fs::read_to_string(manifest).ok());
        // Of a library that has a name of its own that one counts, and else the package's.
        let name = |text: String| {
            let of = |section: &str| {
                let (_, rest) = text.split_once(section)?;
                let lines = rest.lines().skip(1).take_while(|line| !line.starts_with('['));
                let mut names = lines.filter_map(|line| line.strip_prefix("name = \""));
                names.next().map(|rest| rest.trim_end_matches('"').to_owned())
            };
            of("[lib]").or_else(|| of("[package]")).expect("a name").replace('-', "_")
        };
        texts.map(name).collect()
    }

    #[test]
    fn no_crate_of_the_gateway_is_taken_for_a_library() {
        let crates = crates();
        assert!(crates.contains("sinks") && crates.contains("tidegate"), "{crates:?}");
        // What fuzzes is part of no process that logs.
        let missing: Vec<_> = crates.iter().filter(|name| *name != "mutate" && !is_ours(name)).collect();
        assert!(missing.is_empty(), "their lines are hidden below `trace`: {missing:?}");
        let gone: Vec<_> = OURS.iter().filter(|name| !crates.contains(**name)).collect();
        assert!(gone.is_empty(), "{gone:?}");
        for (target, want) in
            [("sinks::lane", true), ("sinks", true), ("sinksy", false), ("hyper::proto", false)]
        {
            assert_eq!(is_ours(target), want, "{target}");
        }
    }

    #[test]
    fn libraries_are_quiet_and_those_that_are_told_of_here_more_so() {
        for (level, target, want) in [
            (3, "proxy::broker", 3),
            (3, "hyper::proto", 2),
            (5, "hyper::proto", 5),
            (3, "lapin::channel", 0),
            (4, "lapin::channel", 2),
        ] {
            assert_eq!(wanted(level, target), want, "{target} at {level}");
        }
    }
}
