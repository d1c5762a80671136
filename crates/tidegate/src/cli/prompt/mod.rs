//! `prompt test`: runs a file of cases against a prompt, so that a change of the prompt is checked like code.

mod cases;
mod client;
mod judge;
mod report;
mod verdict;

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::{sync::Semaphore, task::JoinSet};

use self::{
    cases::{Case, File},
    client::Client,
    report::Outcome,
};
use super::Done;
use crate::exit::Exit;

/// Path of OpenAI's chat endpoint on a gateway, for judges.
const JUDGE_PATH: &str = "/ai/v1/chat/completions";

#[derive(Subcommand)]
pub(crate) enum PromptCommand {
    /// Run a file of cases against a prompt of a running gateway; ends with 1 when a case fails.
    Test(TestArgs),
}

/// What to test.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// The file of cases (YAML).
    file: PathBuf,
    /// Address of the gateway, over the one in the file: `http://127.0.0.1:8080`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The version of the prompt, over the one in the file.
    #[arg(long, value_name = "NAME")]
    version: Option<String>,
    /// Only cases whose names contain this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How many calls are on their way at a time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// Most seconds of a call.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Read the file, say what is wrong with it, and send nothing.
    #[arg(long)]
    check: bool,
    /// What is printed.
    #[arg(long, value_enum, default_value_t = Form::Table)]
    format: Form,
}

/// What is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A line for each case, for people.
    Table,
    /// JSON.
    Json,
    /// JUnit's XML, for build servers.
    Junit,
}

/// Everything that a case needs beside itself.
struct Run {
    client: Client,
    url: String,
    judge_url: String,
    judge_model: Option<String>,
    version: Option<String>,
    headers: HeaderMap,
    judge_headers: HeaderMap,
}

/// Runs the command.
pub(crate) fn prompt(command: &PromptCommand) -> Done {
    match command {
        PromptCommand::Test(args) => test(args),
    }
}

fn test(args: &TestArgs) -> Done {
    let file = cases::read(&args.file)?;
    if args.check {
        show!("ok: {} cases", file.cases.len());
        return Ok(());
    }
    let refused = |what: String| {
        eprintln!("error: {}: {what}", args.file.display());
        Exit::Configuration
    };
    let run = Arc::new(prepared(args, &file).map_err(refused)?);
    let wanted = |case: &Case| args.only.as_ref().is_none_or(|only| case.name.contains(only.as_str()));
    let cases: Vec<Arc<Case>> = file.cases.into_iter().filter(wanted).map(Arc::new).collect();
    if cases.is_empty() {
        return Err(refused("no case has such a name".to_owned()));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })?;
    let outcomes = runtime.block_on(all(&run, &cases, usize::from(args.parallel)));
    match args.format {
        Form::Table => show!("{}", report::table(&outcomes).trim_end()),
        Form::Json => show!("{}", report::json(&outcomes)),
        Form::Junit => show!("{}", report::junit(&outcomes, &args.file.display().to_string()).trim_end()),
    }
    match outcomes.iter().all(Outcome::passed) {
        true => Ok(()),
        false => Err(Exit::Failed),
    }
}

fn prepared(args: &TestArgs, file: &File) -> Result<Run, String> {
    let key = file.key.as_ref().map(|key| key.resolve(&args.file)).transpose()?;
    let field = |name: &str, value: &str| -> Result<(HeaderName, HeaderValue), String> {
        let wrong = |error: String| format!("the header field `{name}`: {error}");
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        Ok((parsed, HeaderValue::from_str(value).map_err(|error| wrong(error.to_string()))?))
    };
    let mut judge_headers = HeaderMap::new();
    if let Some(key) = &key {
        let (name, mut value) = field(&file.key_header, key)?;
        value.set_sensitive(true);
        judge_headers.insert(name, value);
    }
    let mut headers = judge_headers.clone();
    for (name, value) in &file.headers {
        let (name, value) = field(name, value)?;
        headers.insert(name, value);
    }
    let base = args.url.as_deref();
    if let Some(wrong) = base.and_then(|base| cases::no_address(base, false)) {
        return Err(format!("--url: {wrong}"));
    }
    let url = joined(base, &file.url)?;
    // Whoever judges is at the prompt's own gateway, unless an address says otherwise.
    let home = base.unwrap_or_else(|| origin(&url));
    let judge_url = match &file.judge.url {
        Some(other) if !other.starts_with('/') && origin(other) != origin(&file.url) => other.clone(),
        Some(own) => joined(Some(home), own)?,
        None => joined(Some(home), JUDGE_PATH)?,
    };
    let version = args.version.clone().or_else(|| file.version.clone());
    let client = Client::new(Duration::from_secs(args.timeout.max(1)));
    Ok(Run { client, url, judge_url, judge_model: file.judge.model.clone(), version, headers, judge_headers })
}

/// Scheme and authority of a URL.
fn origin(url: &str) -> &str {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(begin..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| begin + at);
    url.get(..end).unwrap_or(url)
}

/// An address in a file, at the gateway that the command line names if it names one.
fn joined(base: Option<&str>, url: &str) -> Result<String, String> {
    let path = match url.starts_with('/') {
        true => url,
        false => url.get(origin(url).len()..).unwrap_or_default(),
    };
    match base {
        Some(base) => Ok(format!("{}{path}", base.trim_end_matches('/'))),
        None if url.starts_with('/') => {
            Err(format!("url: `{url}` is a path; give --url, such as http://127.0.0.1:8080"))
        }
        None => Ok(url.to_owned()),
    }
}

/// Runs all cases, some at a time; the outcomes are in the order of the cases.
async fn all(run: &Arc<Run>, cases: &[Arc<Case>], parallel: usize) -> Vec<Outcome> {
    let places = Arc::new(Semaphore::new(parallel));
    let mut tasks = JoinSet::new();
    let mut outcomes: Vec<Outcome> = cases.iter().map(|case| Outcome::new(case)).collect();
    for (index, case) in cases.iter().enumerate() {
        for _ in 0..case.repeat {
            let (run, case, places) = (run.clone(), case.clone(), places.clone());
            tasks.spawn(async move {
                // The semaphore is never closed.
                let _place = places.acquire_owned().await;
                (index, verdict::of(&run, &case).await)
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((index, verdict)) => {
                if let Some(outcome) = outcomes.get_mut(index) {
                    outcome.verdicts.push(verdict);
                }
            }
            Err(error) => eprintln!("error: a call broke: {error}"),
        }
    }
    outcomes
}
