//! An operator as it is written into what is asked, and the literals that a yes requires.

use super::compile::Reader;
use crate::{
    finding::Place,
    operator::{How, Operator, Order},
    pattern::{Pattern, Required, required},
    template::Template,
};

/// An operator with what it requires.
pub(super) struct Compiled {
    pub(super) operator: Operator,
    pub(super) is_negated: bool,
    pub(super) required: Option<Required>,
}

/// Compiles the second word of a rule.
pub(super) fn compile(text: &str, place: &Place, reader: &mut Reader<'_>) -> Result<Compiled, String> {
    let trimmed = text.trim_start();
    let (is_negated, rest) = match trimmed.strip_prefix('!') {
        Some(rest) if rest.trim_start().starts_with('@') => (true, rest.trim_start()),
        Some(rest) => (true, rest),
        None => (false, trimmed),
    };
    let (name, argument) = match rest.strip_prefix('@') {
        Some(rest) => {
            let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            (name.to_ascii_lowercase(), argument.trim_start())
        }
        None => ("rx".to_owned(), if is_negated { rest } else { text }),
    };
    let mut literals = None;
    let order = |order| Template::new(argument.trim()).map(|template| Operator::Number(order, template));
    let how = |how| Template::new(argument).map(|template| Operator::Text(how, template));
    let operator = match name.as_str() {
        "unconditionalmatch" => Operator::Always,
        "nomatch" => Operator::Never,
        "rx" | "rxglobal" => rx(argument, reader, &mut literals)?,
        "pm" | "pmf" | "pmfromfile" => {
            let phrases: Vec<Vec<u8>> = match name.as_str() {
                "pm" => phrases(argument),
                _ => from_files(argument, place, reader)?,
            };
            let phrases: Vec<&[u8]> =
                phrases.iter().map(Vec::as_slice).filter(|phrase| !phrase.is_empty()).collect();
            literals = Some(phrases.iter().map(|phrase| phrase.to_ascii_lowercase()).collect());
            Operator::phrases(&phrases)?
        }
        "eq" => order(Order::Equal)?,
        "ge" => order(Order::AtLeast)?,
        "gt" => order(Order::MoreThan)?,
        "le" => order(Order::AtMost)?,
        "lt" => order(Order::LessThan)?,
        "streq" => how(How::Equals)?,
        "contains" | "strmatch" => how(How::Contains)?,
        "containsword" => how(How::ContainsWord)?,
        "within" => how(How::Within)?,
        "beginswith" => how(How::BeginsWith)?,
        "endswith" => how(How::EndsWith)?,
        "ipmatch" => Operator::networks(argument.split(',').filter(|part| !part.trim().is_empty()))?,
        "ipmatchf" | "ipmatchfromfile" => {
            let lines = from_files(argument, place, reader)?;
            let lines: Result<Vec<_>, _> = lines.into_iter().map(String::from_utf8).collect();
            let lines =
                lines.map_err(|_| "expected a file of addresses, found bytes that are no text".to_owned())?;
            Operator::networks(lines.iter().map(String::as_str))?
        }
        "validatebyterange" => Operator::bytes(argument)?,
        "validateurlencoding" => Operator::UrlEncoding,
        "validateutf8encoding" => Operator::Utf8,
        "detectsqli" => Operator::Sqli,
        "detectxss" => Operator::Xss,
        "verifycc" => Operator::CardNumber(Pattern::new(argument, false, reader.backtracks)?),
        "rbl" => {
            reader.findings.warning(
                place,
                "`@rbl` asks a name server on the way of each call, which is not done here: it never matches. Lists of \
                 addresses belong to `@ipMatchFromFile`, or to the policy `ipRestriction`",
            );
            Operator::Never
        }
        "geolookup" => {
            reader.findings.warning(
                place,
                "`@geoLookup` needs a database of addresses, which this build has not: it never matches, and GEO is \
                 empty",
            );
            Operator::Never
        }
        other => return Err(unknown(other)),
    };
    Ok(Compiled { operator, is_negated, required: literals })
}

fn unknown(name: &str) -> String {
    let remedy = match name {
        "inspectfile" | "fuzzyhash" => {
            "it runs programs or looks at files that uploads would be written to: take it out"
        }
        "gsblookup" | "rsub" | "validatehash" | "validatedtd" | "validateschema" | "verifycpf"
        | "verifyssn" | "verifysvnr" => "it is not in this build: take the rule out, or write it with `@rx`",
        _ => "expected one such as @rx, @pm, @pmFromFile, @eq, @within, @detectSQLi; is it misspelt?",
    };
    format!("the operator `@{name}` is not supported: {remedy}")
}

fn rx(argument: &str, reader: &Reader<'_>, literals: &mut Option<Required>) -> Result<Operator, String> {
    // `%{` is a macro, and nothing else that a pattern could mean.
    if argument.contains("%{")
        && let Ok(template) = Template::new(argument)
        && template.fixed().is_none()
    {
        return Ok(Operator::RxOf(template));
    }
    *literals = required(argument);
    Pattern::new(argument, false, reader.backtracks).map(Operator::Rx)
}

/// Phrases by blanks; `|41 42|` are bytes.
fn phrases(text: &str) -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new()];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '|'
            && let Some(end) = rest.get(1..).and_then(|after| after.find('|'))
            && let Some(bytes) = hex_bytes(rest.get(1..=end).unwrap_or_default())
        {
            found.last_mut().into_iter().for_each(|phrase| phrase.extend_from_slice(&bytes));
            rest = rest.get(end + 2..).unwrap_or_default();
            continue;
        }
        if c.is_whitespace() {
            found.push(Vec::new());
        } else {
            let mut buffer = [0; 4];
            found.last_mut().into_iter().for_each(|phrase| {
                phrase.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
            });
        }
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    found
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let bytes: Option<Vec<u8>> = text
        .split_whitespace()
        .map(|pair| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok())?)
        .collect();
    bytes.filter(|bytes| !bytes.is_empty())
}

/// Lines of files, without comments and empty ones.
fn from_files(names: &str, place: &Place, reader: &Reader<'_>) -> Result<Vec<Vec<u8>>, String> {
    let mut lines = Vec::new();
    for name in names.split_whitespace() {
        let data =
            reader.files.read(&place.file, name).map_err(|error| format!("cannot read `{name}`: {error}"))?;
        let kept = data.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        lines.extend(kept.filter(|line| !line.is_empty() && !line.starts_with(b"#")).map(<[u8]>::to_vec));
    }
    if lines.is_empty() {
        return Err(format!("expected lines in `{names}`, found none"));
    }
    Ok(lines)
}
