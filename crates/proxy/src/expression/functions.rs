//! The functions that expressions may call, with what they take and give.

use super::check::Kind;

/// A function: its name, what it is called on, what it takes, what it gives.
type Signature = (&'static str, Option<Kind>, &'static [Kind], Kind);

const SIGNATURES: &[Signature] = &[
    ("contains", Some(Kind::Text), &[Kind::Text], Kind::Bool),
    ("startsWith", Some(Kind::Text), &[Kind::Text], Kind::Bool),
    ("endsWith", Some(Kind::Text), &[Kind::Text], Kind::Bool),
    ("lowerAscii", Some(Kind::Text), &[], Kind::Text),
    ("upperAscii", Some(Kind::Text), &[], Kind::Text),
    ("trim", Some(Kind::Text), &[], Kind::Text),
    ("substring", Some(Kind::Text), &[Kind::Int], Kind::Text),
    ("substring", Some(Kind::Text), &[Kind::Int, Kind::Int], Kind::Text),
    ("indexOf", Some(Kind::Text), &[Kind::Text], Kind::Int),
    ("size", Some(Kind::Text), &[], Kind::Int),
    ("size", Some(Kind::List), &[], Kind::Int),
    ("size", None, &[Kind::Text], Kind::Int),
    ("size", None, &[Kind::List], Kind::Int),
    ("int", None, &[Kind::Text], Kind::Int),
    ("int", None, &[Kind::Double], Kind::Int),
    ("int", None, &[Kind::Uint], Kind::Int),
    ("int", None, &[Kind::Int], Kind::Int),
    ("double", None, &[Kind::Text], Kind::Double),
    ("double", None, &[Kind::Int], Kind::Double),
    ("double", None, &[Kind::Double], Kind::Double),
    ("string", None, &[Kind::Text], Kind::Text),
    ("string", None, &[Kind::Int], Kind::Text),
    ("string", None, &[Kind::Uint], Kind::Text),
    ("string", None, &[Kind::Double], Kind::Text),
    ("string", None, &[Kind::Bool], Kind::Text),
    ("dyn", None, &[Kind::Dyn], Kind::Dyn),
];

/// What a call gives, when there is such a function for what is known of its arguments.
pub(super) fn kind(name: &str, target: Option<Kind>, args: &[Kind]) -> Result<Kind, String> {
    let mut named = SIGNATURES.iter().filter(|(known, ..)| *known == name).peekable();
    if named.peek().is_none() {
        let mut names: Vec<&str> =
            SIGNATURES.iter().map(|(name, ..)| *name).chain(["matches", "has"]).collect();
        names.sort_unstable();
        names.dedup();
        return Err(format!("there is no function `{name}`: {} are", names.join(", ")));
    }
    let fits = |(_, on, takes, _): &&Signature| {
        let target_fits = match (on, target) {
            (None, None) => true,
            (Some(wanted), Some(got)) => got.is(*wanted),
            _ => false,
        };
        let arg_fits = |(wanted, got): (&Kind, &Kind)| *wanted == Kind::Dyn || got.is(*wanted);
        target_fits && takes.len() == args.len() && takes.iter().zip(args).all(arg_fits)
    };
    named.find(fits).map(|(_, _, _, gives)| *gives).ok_or_else(|| {
        let args = args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match target {
            Some(target) => format!("`{name}` cannot be called on {target} with ({args})"),
            None => format!("`{name}` cannot be called with ({args})"),
        }
    })
}
