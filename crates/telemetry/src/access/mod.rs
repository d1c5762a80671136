//! Access logs: a line per call, as JSON or after a template, to a standard stream or a file.

mod choice;
mod composed;
mod content;
mod delivered;
mod fed;
mod file;
mod graphql;
mod judged;
pub(crate) mod line;
mod mirrored;
mod published;
#[cfg(any(test, feature = "fuzzing"))]
mod sample;
mod stream;
mod template;
#[cfg(test)]
mod tests;
mod traffic;
mod transcoded;
mod waf;

use std::io::{self, Write};

use model::{
    AccessLog, CallRecord, Snapshot,
    resource::access_log::{AccessLogKind, Redact},
};

pub(crate) use self::choice::Choice;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::sample::call as test_call;
use self::{file::LogFile, template::Template};

/// An open access log that this process writes itself.
pub(crate) struct Log {
    sink: Sink,
    line: Line,
    choice: Choice,
    buffer: Vec<u8>,
    /// Whether the last write failed, so that a full disk is reported once.
    is_failing: bool,
}

enum Sink {
    Stdout,
    Stderr,
    File(LogFile),
}

/// What a line is, and what is not in it.
pub(crate) struct Line {
    form: Form,
    redact: Redact,
}

enum Form {
    Json,
    Template(Template),
}

impl Line {
    /// Reads a format; the error says what is wrong with it.
    pub(crate) fn of(format: &str, redact: Redact) -> Result<Self, String> {
        let form = match format {
            "json" => Form::Json,
            text => Form::Template(Template::parse(text)?),
        };
        Ok(Self { form, redact })
    }

    /// Whether it is JSON.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.form, Form::Json)
    }

    /// Writes a call's line, without its end.
    pub(crate) fn write(&self, call: &CallRecord, out: &mut Vec<u8>) {
        match &self.form {
            Form::Json => line::json(call, &self.redact, out),
            Form::Template(template) => template.write(call, &self.redact, out),
        }
    }
}

/// The logs that a snapshot asks for. What carries credentials is never written, whether it was said or not.
pub(crate) fn settings(snapshot: &Snapshot) -> Vec<AccessLog> {
    let mut logs = snapshot.config.access_log.clone();
    for log in &mut logs {
        log.redact.query.extend(snapshot.credential_parameters());
    }
    logs
}

impl Log {
    /// Opens a log; the error says what is wrong with its settings or its file.
    pub(crate) fn open(settings: &AccessLog) -> Result<Self, String> {
        let line = Line::of(&settings.format, settings.redact.clone())?;
        let sink = match settings.kind {
            AccessLogKind::Stdout => Sink::Stdout,
            AccessLogKind::Stderr => Sink::Stderr,
            _ => {
                let path = settings.path.as_ref().ok_or("kind `file` needs a `path`")?.as_path().to_owned();
                let file = LogFile::open(&path, settings.rotate.clone());
                Sink::File(file.map_err(|error| format!("{}: {error}", path.display()))?)
            }
        };
        Ok(Self {
            sink,
            line,
            choice: Choice::of(settings),
            buffer: Vec::with_capacity(64 * 1024),
            is_failing: false,
        })
    }

    /// Writes the lines of a batch at once; says how many were written and how many were lost.
    pub(crate) fn write(&mut self, batch: &[CallRecord]) -> (u64, u64) {
        self.buffer.clear();
        let mut lines = 0;
        for call in batch.iter().filter(|call| self.choice.takes(call)) {
            self.line.write(call, &mut self.buffer);
            self.buffer.push(b'\n');
            lines += 1;
        }
        if lines == 0 {
            return (0, 0);
        }
        let written = match &mut self.sink {
            Sink::Stdout => io::stdout().lock().write_all(&self.buffer).and_then(|()| io::stdout().flush()),
            Sink::Stderr => io::stderr().lock().write_all(&self.buffer),
            Sink::File(file) => file.write(&self.buffer),
        };
        if let Err(error) = &written
            && !self.is_failing
        {
            tracing::error!("an access log cannot be written: {error}");
        }
        self.is_failing = written.is_err();
        if written.is_ok() { (lines, 0) } else { (0, lines) }
    }

    /// Why the last batch was not written.
    pub(crate) fn error(&self) -> Option<&'static str> {
        self.is_failing.then_some("it cannot be written")
    }

    /// Opens its file anew; the old one goes on when that fails.
    pub(crate) fn reopen(&mut self) {
        if let Sink::File(file) = &mut self.sink {
            file.reopen();
        }
    }
}

/// A call's line of JSON.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn json_line(call: &CallRecord) -> Vec<u8> {
    let mut out = Vec::new();
    line::json(call, &Redact::default(), &mut out);
    out
}

/// A call's line after a template; an error says what is wrong with the template.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn template_line(template: &str, call: &CallRecord) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    Template::parse(template)?.write(call, &Redact::default(), &mut out);
    Ok(out)
}
