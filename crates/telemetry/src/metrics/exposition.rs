//! The Prometheus text format (version 0.0.4).

use std::fmt::{Display, Write};

use super::histogram::{BOUNDS_MICROS, Histogram};

/// Metrics in the making: a page of text, or families of values. Samples of one name must follow each other.
#[derive(Debug)]
pub struct Exposition {
    out: Out,
    last: String,
}

#[derive(Debug)]
enum Out {
    Page(String),
    Families(Vec<Family>),
}

/// All samples of one name.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
}

/// What a family's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Gauge,
    Counter,
    Histogram,
}

/// One value with its labels.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug)]
pub(crate) enum Value {
    Number(f64),
    Durations(Box<Histogram>),
    Buckets(Box<Buckets>),
}

/// A histogram with bounds of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Buckets {
    pub(crate) bounds: &'static [f64],
    /// Those within each bound and beyond the one before; the last is beyond all.
    pub(crate) counts: Vec<u64>,
    pub(crate) sum: f64,
}

impl Buckets {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(crate) fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

impl Exposition {
    /// A page as Prometheus reads it.
    pub(super) fn page() -> Self {
        Self { out: Out::Page(String::new()), last: String::new() }
    }

    /// Families, for other protocols.
    pub(super) fn families() -> Self {
        Self { out: Out::Families(Vec::new()), last: String::new() }
    }

    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.number(name, help, Kind::Gauge, labels, value);
    }

    /// A value that only goes up; the name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.number(name, help, Kind::Counter, labels, value);
    }

    fn number(&mut self, name: &str, help: &str, kind: Kind, labels: &[(&str, &str)], value: f64) {
        self.head(name, help, kind);
        match &mut self.out {
            Out::Page(text) => sample(text, name, "", labels, None, value),
            Out::Families(families) => push(families, labels, Value::Number(value)),
        }
    }

    /// Durations, in seconds.
    pub fn histogram(&mut self, name: &str, help: &str, labels: &[(&str, &str)], values: &Histogram) {
        self.head(name, help, Kind::Histogram);
        let text = match &mut self.out {
            Out::Page(text) => text,
            Out::Families(families) => return push(families, labels, Value::Durations(Box::new(*values))),
        };
        let mut below = 0;
        for (bound, count) in BOUNDS_MICROS.iter().zip(values.counts) {
            below += count;
            let bound = (*bound as f64 / 1e6).to_string();
            sample(text, name, "_bucket", labels, Some(&bound), below);
        }
        sample(text, name, "_bucket", labels, Some("+Inf"), values.count());
        sample(text, name, "_sum", labels, None, values.sum_micros as f64 / 1e6);
        sample(text, name, "_count", labels, None, values.count());
    }

    /// A histogram with bounds of its own.
    pub(super) fn buckets(&mut self, name: &str, help: &str, labels: &[(&str, String)], values: &Buckets) {
        if values.count() == 0 {
            return;
        }
        self.head(name, help, Kind::Histogram);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let text = match &mut self.out {
            Out::Page(text) => text,
            Out::Families(families) => {
                return push(families, &labels, Value::Buckets(Box::new(values.clone())));
            }
        };
        let mut below = 0;
        for (bound, count) in values.bounds.iter().zip(&values.counts) {
            below += count;
            sample(text, name, "_bucket", &labels, Some(&bound.to_string()), below);
        }
        sample(text, name, "_bucket", &labels, Some("+Inf"), values.count());
        sample(text, name, "_sum", &labels, None, values.sum);
        sample(text, name, "_count", &labels, None, values.count());
    }

    fn head(&mut self, name: &str, help: &str, kind: Kind) {
        if self.last == name {
            return;
        }
        name.clone_into(&mut self.last);
        match &mut self.out {
            Out::Page(text) => {
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
            }
            Out::Families(families) => families.push(Family {
                name: name.to_owned(),
                help: help.to_owned(),
                kind,
                samples: Vec::new(),
            }),
        }
    }

    pub(super) fn into_page(self) -> String {
        match self.out {
            Out::Page(text) => text,
            Out::Families(_) => String::new(),
        }
    }

    pub(super) fn into_families(self) -> Vec<Family> {
        match self.out {
            Out::Page(_) => Vec::new(),
            Out::Families(families) => families,
        }
    }
}

fn push(families: &mut [Family], labels: &[(&str, &str)], value: Value) {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if let Some(family) = families.last_mut() {
        family.samples.push(Sample { labels, value });
    }
}

/// Writes a line.
fn sample(
    text: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(&str, &str)],
    le: Option<&str>,
    value: impl Display,
) {
    text.push_str(name);
    text.push_str(suffix);
    let all = labels.iter().copied().chain(le.map(|bound| ("le", bound)));
    let mut separator = '{';
    for (label, value) in all {
        let _ = write!(text, "{separator}{label}=\"");
        for character in value.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}
