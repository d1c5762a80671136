//! Shell completions.

use clap::ValueEnum;

use super::Done;

/// A shell that completions exist for.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// Prints the completion script.
pub(crate) fn print(shell: Shell, command: &mut clap::Command) -> Done {
    use clap_complete::{Shell as Known, generate};
    let known = match shell {
        Shell::Bash => Known::Bash,
        Shell::Elvish => Known::Elvish,
        Shell::Fish => Known::Fish,
        Shell::Powershell => Known::PowerShell,
        Shell::Zsh => Known::Zsh,
    };
    let mut script = Vec::new();
    generate(known, command, "tidegate", &mut script);
    super::show::bytes(&script);
    Ok(())
}
