//! The command line.

#[macro_use]
mod show;
mod admin;
mod budgets;
mod check;
mod completions;
mod diff;
mod fmt;
mod hash;
mod here;
mod import;
mod models;
mod names;
mod prompt;
mod routes;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    config::{Files, Vaults},
    exit::Exit,
    run,
};

/// The front door of a microservice system in one binary: an API gateway for HTTP/1.1, HTTP/2, HTTP/3, gRPC and WebSocket,
/// and an AI gateway.
#[derive(Parser)]
#[command(name = "tidegate", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve traffic from a configuration.
    Run(RunArgs),
    /// Check a configuration and everything it refers to; says all that is wrong at once.
    Validate(ValidateArgs),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Show the routes in the order in which they match, or explain one request.
    Routes(RoutesArgs),
    /// Say what changes for traffic between two configurations, and what becomes exposed.
    Diff(DiffArgs),
    /// Tidy line ends, trailing spaces, empty lines and comment marks of configuration files.
    ///
    /// Indentation, quotes, order and the spaces within lines stay as they are.
    Fmt(FmtArgs),
    /// Turn the configuration of another gateway into one of ours.
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Show what budgets and limits of tokens of a running gateway have left.
    Budgets(budgets::BudgetsArgs),
    /// List models with what they can, take and cost.
    Models(models::ModelsArgs),
    /// Check prompts that are served as APIs.
    #[command(subcommand)]
    Prompt(prompt::PromptCommand),
    /// Hash an API key or a password, so that the configuration need not know it.
    Hash(hash::HashArgs),
    /// Print the version and what was built in.
    Version,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: completions::Shell,
    },
}

/// Where the configuration is.
#[derive(Args, Clone)]
pub(crate) struct ConfigArgs {
    /// A file, a folder of .yaml files, or a pattern such as `conf/*.yaml`.
    #[arg(long, short, value_name = "FILE", env = "TIDEGATE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

impl ConfigArgs {
    pub(crate) fn files(&self) -> Option<Files> {
        self.config.as_ref().map(Files::new)
    }
}

/// What to check.
#[derive(Args, Clone)]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Ask the vault for the secrets that lie there; without it nobody is asked, and they are not checked.
    #[arg(long)]
    pub(crate) vault: bool,
}

/// How to run.
#[derive(Args, Clone)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Where state is kept: the admin token, what budgets have spent, and the socket by which a new process takes over.
    #[arg(long, value_name = "DIR", default_value = "tidegate-data", env = "TIDEGATE_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// Level of the process's own log: error, warn, info, debug, trace.
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "TIDEGATE_LOG",
        value_parser = ["off", "error", "warn", "info", "debug", "trace"],
        hide_possible_values = true
    )]
    pub(crate) log_level: String,
    /// Refuse a reload that makes anything reachable, or reachable with weaker identity, until it is acknowledged
    /// at the admin API.
    #[arg(long)]
    pub(crate) guard_exposure: bool,
    /// Take over from the process that runs with the same data directory: its listening sockets come here, and it
    /// ends when what it has in flight has ended. Without such a process, start anew.
    #[arg(long)]
    pub(crate) upgrade: bool,
    /// Bearer token of the admin API, in place of the one in the data directory.
    #[arg(long, value_name = "TOKEN", env = "TIDEGATE_ADMIN_TOKEN", hide_env_values = true)]
    pub(crate) admin_token: Option<String>,
}

#[derive(Args)]
struct RoutesArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<RoutesCommand>,
}

#[derive(Subcommand)]
enum RoutesCommand {
    /// Say which route a request takes and why, and why the near misses do not match.
    Explain(ExplainArgs),
}

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// The method.
    method: String,
    /// The URL, such as `https://api.example.test/v1/orders/7?full=1`, or a path.
    url: String,
    /// A request header, as `name: value`; may be given several times.
    #[arg(long = "header", short = 'H', value_name = "HEADER")]
    headers: Vec<String>,
    /// Address of the client.
    #[arg(long, default_value = "127.0.0.1")]
    client: std::net::IpAddr,
    /// Name of the listener; otherwise the one at the URL's port, or without a port the first that fits the scheme.
    #[arg(long)]
    listener: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Ask the running gateway at this admin address, `host:port` or `unix:/path`, for the state of endpoints.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Data directory of the running gateway, for the admin token in it.
    #[arg(long, value_name = "DIR", default_value = "tidegate-data", env = "TIDEGATE_DATA_DIR")]
    data_dir: PathBuf,
    /// Bearer token of the admin API, in place of the one in the data directory.
    #[arg(long, value_name = "TOKEN", env = "TIDEGATE_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
}

#[derive(Args)]
struct DiffArgs {
    /// The configuration as it is.
    old: PathBuf,
    /// The configuration as it would be.
    new: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct FmtArgs {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; name the files that are not tidy, and end with 1 if there are any.
    #[arg(long)]
    check: bool,
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Validate(args) => check::validate(&args),
        Command::Schema => check::schema(),
        Command::Routes(RoutesArgs { config, command: None }) => routes::table(&config),
        Command::Routes(RoutesArgs { config, command: Some(RoutesCommand::Explain(mut args)) }) => {
            args.config.config = args.config.config.or(config.config);
            routes::explain(&args)
        }
        Command::Diff(args) => diff::diff(&args.old, &args.new, args.json),
        Command::Fmt(args) => fmt::fmt(&args.files, args.check),
        Command::Import(command) => import::import(&command),
        Command::Budgets(args) => budgets::budgets(&args),
        Command::Models(args) => models::models(&args),
        Command::Prompt(command) => prompt::prompt(&command),
        Command::Hash(args) => hash::hash(&args),
        Command::Version => check::version(),
        Command::Completions { shell } => completions::print(shell, &mut Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.into(),
    }
}

/// What a command ends with; everything that people should read has been printed.
pub(crate) type Done = Result<(), Exit>;

/// Whether diagnostics may be coloured.
pub(crate) fn color() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Loads a configuration, or says what is wrong with it. Nobody is asked for what lies in its vault.
pub(crate) fn load(files: Option<&Files>) -> Result<model::Snapshot, Exit> {
    load_with(files, None)
}

/// The same with what lies in its vault.
pub(crate) fn load_with(files: Option<&Files>, vaults: Option<&Vaults>) -> Result<model::Snapshot, Exit> {
    crate::config::load(files, vaults).map_err(refused)
}

/// The same without its secrets, which need not be there.
pub(crate) fn load_settings(files: &Files) -> Result<model::Snapshot, Exit> {
    crate::config::load_settings(files).map_err(refused)
}

fn refused(error: crate::config::LoadError) -> Exit {
    eprintln!("{}", error.render(color()));
    Exit::Configuration
}
