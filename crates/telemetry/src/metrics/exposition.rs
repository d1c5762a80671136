//! The Prometheus text format (version 0.0.4).

use std::fmt::{Display, Write};

use super::histogram::{BOUNDS_MICROS, Histogram};

/// A page of metrics in the making. Samples of one name must follow each other.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    last: String,
}

impl Exposition {
    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.head(name, help, "gauge");
        self.sample(name, "", labels, None, value);
    }

    /// A value that only goes up; the name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.head(name, help, "counter");
        self.sample(name, "", labels, None, value);
    }

    pub(super) fn histogram(&mut self, name: &str, help: &str, labels: &[(&str, &str)], values: &Histogram) {
        self.head(name, help, "histogram");
        let mut below = 0;
        for (bound, count) in BOUNDS_MICROS.iter().zip(values.counts) {
            below += count;
            let bound = (*bound as f64 / 1e6).to_string();
            self.sample(name, "_bucket", labels, Some(&bound), below);
        }
        self.sample(name, "_bucket", labels, Some("+Inf"), values.count());
        self.sample(name, "_sum", labels, None, values.sum_micros as f64 / 1e6);
        self.sample(name, "_count", labels, None, values.count());
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        if self.last != name {
            name.clone_into(&mut self.last);
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[(&str, &str)],
        le: Option<&str>,
        value: impl Display,
    ) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let all = labels.iter().copied().chain(le.map(|bound| ("le", bound)));
        let mut separator = '{';
        for (label, value) in all {
            let _ = write!(self.text, "{separator}{label}=\"");
            for character in value.chars() {
                match character {
                    '"' => self.text.push_str("\\\""),
                    '\\' => self.text.push_str("\\\\"),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}
