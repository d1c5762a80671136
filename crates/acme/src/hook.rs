//! Sets and clears records in the domain name system, by a program or a service of the operator's.

use std::{
    collections::BTreeMap, os::unix::process::ExitStatusExt, pin::pin, process::Stdio, time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::{Dns, DnsBy, wire::Wire};

/// Bytes of what a program says that a log has.
const SAID_BYTES_MAX: u64 = 2048;
/// How long a program that has ended may still be heard: what it said lies in the pipe, which others may hold open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What is done to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Set,
    Clear,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Clear => "clear",
        }
    }
}

/// A record that shows a name to be ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The name that is shown to be ours, without its wildcard.
    pub(crate) domain: String,
    /// What the authority looks for.
    pub(crate) value: String,
}

impl Record {
    /// The name of the record (RFC 8555 §8.4).
    pub(crate) fn name(&self) -> String {
        format!("_acme-challenge.{}", self.domain)
    }
}

/// Sets or clears a record, and returns when that is done. The error is for the operator.
pub(crate) async fn run(dns: &Dns, action: Action, record: &Record) -> Result<(), String> {
    let done = match &dns.by {
        DnsBy::Command { command, environment } => {
            program(command, environment, dns.timeout, action, record).await
        }
        DnsBy::Http { url, headers } => {
            let mut request = Request::builder().method(Method::POST).uri(url.as_str());
            if let Some(all) = request.headers_mut() {
                all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                for (name, value) in headers {
                    let name = name.parse::<HeaderName>().map_err(|error| error.to_string())?;
                    let value = HeaderValue::from_str(value);
                    all.insert(
                        name,
                        value.map_err(|_| "a header has a value that none can have".to_owned())?,
                    );
                }
            }
            service(request, dns.timeout, action, record).await
        }
    };
    done.map_err(|error| format!("the record {} cannot be {}: {error}", record.name(), past(action)))
}

fn past(action: Action) -> &'static str {
    match action {
        Action::Set => "set",
        Action::Clear => "cleared",
    }
}

async fn service(
    request: http::request::Builder,
    timeout: Duration,
    action: Action,
    record: &Record,
) -> Result<(), String> {
    let body = json!({
        "action": action.as_str(),
        "name": record.name(),
        "value": record.value,
        "domain": record.domain,
    });
    let request = request.body(Bytes::from(body.to_string())).map_err(|error| error.to_string())?;
    let told = Wire::new(None, timeout)?.ask(request).await?;
    match told.status().is_success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(told.body());
            let said: String = said.chars().take(200).collect();
            Err(format!("the service answered {}: {}", told.status(), said.trim()))
        }
    }
}

/// Ends a program with all that it has started, unless it has ended.
struct Running(Option<Pid>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn program(
    command: &[String],
    environment: &BTreeMap<String, String>,
    timeout: Duration,
    action: Action,
    record: &Record,
) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("there is no program")?;
    let name = record.name();
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .args([action.as_str(), &name, &record.value])
        // The gateway's own has secrets that are not the program's.
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(environment)
        .env("TIDEGATE_ACME_ACTION", action.as_str())
        .env("TIDEGATE_ACME_DOMAIN", &record.domain)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut running = Running(group);
    let mut said = Vec::new();
    let errors = child.stderr.take();
    let ended = async {
        let mut listen = pin!(async {
            let Some(errors) = errors else { return };
            let mut bounded = errors.take(SAID_BYTES_MAX);
            let _ = bounded.read_to_end(&mut said).await;
            // What is beyond is read and forgotten: a program must not wait for a reader.
            let _ = tokio::io::copy(&mut bounded.into_inner(), &mut tokio::io::sink()).await;
        });
        let mut has_heard = false;
        // A program that leaves something running behind has ended when it has itself.
        let status = loop {
            tokio::select! {
                () = &mut listen, if !has_heard => has_heard = true,
                status = child.wait() => break status,
            }
        };
        if !has_heard {
            let _ = tokio::time::timeout(LAST_WORDS, listen).await;
        }
        status
    };
    let status = match tokio::time::timeout(timeout, ended).await {
        Ok(status) => status.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("`{program}` took longer than {timeout:?} and was ended")),
    };
    running.0 = None;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    };
    let said = String::from_utf8_lossy(&said);
    Err(format!("`{program}` ended with {how}: {}", said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(script: &str) -> Dns {
        let command = ["/bin/sh", "-c", script, "hook", "own"].map(str::to_owned).to_vec();
        let environment = BTreeMap::from([("TOKEN".to_owned(), "the-token".to_owned())]);
        Dns {
            by: DnsBy::Command { command, environment },
            timeout: Duration::from_secs(5),
            propagation: Duration::ZERO,
        }
    }

    fn record() -> Record {
        Record { domain: "a.test".into(), value: "the-value".into() }
    }

    fn on_its_own<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work)
    }

    #[test]
    fn a_program_is_told_what_to_do_and_what_it_says_is_told_when_it_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("told").display().to_string();
        let good = by(&format!("echo \"$@ $TIDEGATE_ACME_ACTION $TIDEGATE_ACME_DOMAIN\" > {place}"));
        on_its_own(run(&good, Action::Set, &record())).expect("set");
        let told = std::fs::read_to_string(place).expect("what it was told");
        assert_eq!(told.trim(), "own set _acme-challenge.a.test the-value set a.test");
        let wrong = on_its_own(run(&by("echo no such zone >&2; exit 3"), Action::Clear, &record()));
        let wrong = wrong.expect_err("a failure");
        assert!(wrong.contains("cannot be cleared") && wrong.contains("code 3: no such zone"), "{wrong}");
        let nothing =
            DnsBy::Command { command: vec!["/no/such/program".into()], environment: BTreeMap::new() };
        let missing = Dns { by: nothing, ..good };
        assert!(on_its_own(run(&missing, Action::Set, &record())).is_err());
    }

    #[test]
    fn a_program_has_its_own_environment_and_nothing_of_the_gateways() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("environment").display().to_string();
        on_its_own(run(&by(&format!("env > {place}")), Action::Set, &record())).expect("set");
        let told = std::fs::read_to_string(place).expect("its environment");
        assert!(told.contains("TOKEN=the-token") && told.contains("PATH="), "{told}");
        // The test itself has this one from cargo.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(!told.contains("CARGO_MANIFEST_DIR"), "{told}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_with_what_it_has_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("pids").display().to_string();
        let slow = by(&format!("sleep 60 & echo $! > {place}; echo $$ >> {place}; wait"));
        let slow = Dns { timeout: Duration::from_millis(500), ..slow };
        let wrong = on_its_own(run(&slow, Action::Set, &record())).expect_err("it took too long");
        assert!(wrong.contains("was ended"), "{wrong}");
        let pids = std::fs::read_to_string(place).expect("pids");
        assert_eq!(pids.lines().count(), 2, "{pids}");
        let is_there = |pid: &str| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z")
        };
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while pids.lines().any(is_there) {
            assert!(std::time::Instant::now() < until, "it is still there: {pids}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_says_more_than_anyone_reads_ends_all_the_same() {
        let loud = by(
            "i=0; while [ $i -lt 2000 ]; do echo 0123456789012345678901234567890123456789012345678901234567890123456789 >&2; i=$((i+1)); done; exit 1",
        );
        let wrong = on_its_own(run(&loud, Action::Set, &record())).expect_err("a failure");
        assert!(wrong.len() < 4096, "{}", wrong.len());
    }
}
