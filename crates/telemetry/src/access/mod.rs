//! Access logs: a line per call, as JSON or after a template, to a standard stream or a file.

mod composed;
mod content;
mod delivered;
mod fed;
mod graphql;
mod judged;
pub(crate) mod line;
mod mirrored;
mod published;
#[cfg(any(test, feature = "fuzzing"))]
mod sample;
mod template;
#[cfg(test)]
mod tests;
mod traffic;
mod transcoded;
mod waf;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
};

use model::{
    AccessLog, CallRecord, Snapshot,
    resource::access_log::{AccessLogKind, Redact},
};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::sample::call as test_call;
use self::template::Template;

/// An open access log.
pub(crate) struct Log {
    sink: Sink,
    form: Form,
    redact: Redact,
    /// Calls whose number falls below it are written.
    threshold: u64,
    buffer: Vec<u8>,
    /// Whether the last write failed, so that a full disk is reported once.
    is_failing: bool,
}

enum Sink {
    Stdout,
    Stderr,
    File(PathBuf, File),
}

enum Form {
    Json,
    Template(Template),
}

impl Form {
    fn of(settings: &AccessLog) -> Result<Self, String> {
        match settings.format.as_str() {
            "json" => Ok(Self::Json),
            text => Template::parse(text).map(Self::Template),
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
    /// What is wrong with a log's settings, before its file is opened.
    pub(crate) fn check(settings: &AccessLog) -> Result<(), String> {
        Form::of(settings).map(drop)
    }

    /// Opens a log; the error says what is wrong with its settings or its file.
    pub(crate) fn open(settings: &AccessLog) -> Result<Self, String> {
        let form = Form::of(settings)?;
        let sink = match settings.kind {
            AccessLogKind::Stdout => Sink::Stdout,
            AccessLogKind::Stderr => Sink::Stderr,
            AccessLogKind::File => {
                let path = settings.path.as_ref().ok_or("kind `file` needs a `path`")?.as_path().to_owned();
                let file = append(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                Sink::File(path, file)
            }
        };
        Ok(Self {
            sink,
            form,
            redact: settings.redact.clone(),
            threshold: (settings.sample.fraction() * u64::MAX as f64) as u64,
            buffer: Vec::with_capacity(64 * 1024),
            is_failing: false,
        })
    }

    /// Writes the lines of a batch at once; says how many were written and how many were lost.
    pub(crate) fn write(&mut self, batch: &[CallRecord]) -> (u64, u64) {
        self.buffer.clear();
        let mut lines = 0;
        for call in batch.iter().filter(|call| is_wanted(call, self.threshold)) {
            match &self.form {
                Form::Json => line::json(call, &self.redact, &mut self.buffer),
                Form::Template(template) => template.write(call, &self.redact, &mut self.buffer),
            }
            self.buffer.push(b'\n');
            lines += 1;
        }
        let written = match &mut self.sink {
            Sink::Stdout => io::stdout().lock().write_all(&self.buffer).and_then(|()| io::stdout().flush()),
            Sink::Stderr => io::stderr().lock().write_all(&self.buffer),
            Sink::File(_, file) => file.write_all(&self.buffer),
        };
        if let Err(error) = &written
            && !self.is_failing
        {
            tracing::error!("an access log cannot be written: {error}");
        }
        self.is_failing = written.is_err();
        if written.is_ok() { (lines, 0) } else { (0, lines) }
    }

    /// Opens its file anew; the old one goes on when that fails.
    pub(crate) fn reopen(&mut self) {
        if let Sink::File(path, file) = &mut self.sink {
            match append(path) {
                Ok(new) => *file = new,
                Err(error) => tracing::error!("cannot reopen the access log {}: {error}", path.display()),
            }
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

fn append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Whether a call is sampled. Failed ones always are; the choice goes by the request id, alike in every log.
fn is_wanted(call: &CallRecord, threshold: u64) -> bool {
    if threshold == u64::MAX || call.status.is_server_error() {
        return true;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in call.request_id.as_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) < threshold
}
