//! Checks a tree against the schema, reports everything, and leaves out what is wrong so that the rest can be
//! checked further.

use std::path::{self, Component, PathBuf};

use serde_json::Value;

use super::{
    format,
    later::{is_later, is_later_handler},
    nearest::nearest,
    path::Path,
    shape::Shape,
    tree::{Entry, Kind, Node},
};
use crate::{
    VaultName,
    diagnostic::{Diagnostic, Diagnostics, Place},
};

/// Words that an expectation lists at most.
const LISTED_MAX: usize = 12;

/// Something outside of the configuration that it refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Env(String),
    SecretFile(String),
    Vault(VaultName),
    File(String),
}

/// A reference with its path and place.
#[derive(Debug)]
pub(crate) struct Referred {
    pub(crate) reference: Reference,
    pub(crate) path: String,
    pub(crate) place: Place,
}

impl Referred {
    /// The file, when it is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match &self.reference {
            Reference::Env(_) | Reference::Vault(_) => None,
            Reference::SecretFile(path) | Reference::File(path) => Some(path.into()),
        }
    }
}

/// An expression where it is written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) path: String,
    pub(crate) place: Place,
    /// The list of the document that it is in, and the number of the item there, in its source.
    pub(crate) item: Option<(String, usize)>,
}

pub(crate) struct Checker<'s, 'd> {
    pub(crate) root: &'s Value,
    pub(crate) path: Path,
    pub(crate) found: &'d mut Diagnostics,
    pub(crate) referred: Vec<Referred>,
    /// Expressions, for what they name is judged when everything is known.
    pub(crate) expressions: Vec<Written>,
    /// Places of literal secrets, which must not be drawn.
    pub(crate) literals: Vec<(Place, String)>,
    /// Whether something in it is for a later build.
    pub(crate) is_later: bool,
}

/// What to write in the place of a value of the wrong kind, where that can be told.
fn remedy(shapes: &[Shape<'_>], expected: &str, node: &Node) -> Option<String> {
    // In quotes it must be a good value, not another error.
    let quoted = |text: String| {
        let is_good = |one: &Shape<'_>| {
            one.is_text() && one.format().is_none_or(|format| format::check(format, &text).is_ok())
        };
        shapes.iter().any(is_good).then(|| "put it in quotes".to_owned())
    };
    match &node.kind {
        Kind::Number(number) if expected.starts_with("a duration") => {
            // Three digits are milliseconds in most people's minds.
            let text = number.to_string();
            let is_large = text.parse::<f64>().is_ok_and(|number| number >= 100.0);
            Some(if is_large { format!("write `{text}ms` or `{text}s`") } else { format!("write `{text}s`") })
        }
        Kind::Number(number) => quoted(number.to_string()).or_else(|| {
            let is_address = |one: &Shape<'_>| {
                matches!(one.format(), Some("socket-address" | "ip-port" | "endpoint-address"))
            };
            let is_port = number.as_u64().is_some_and(|port| (1..=65535).contains(&port));
            let here = format!("write `127.0.0.1:{number}`");
            (is_port && shapes.iter().any(is_address)).then(|| {
                match shapes.iter().any(Shape::is_listened_at) {
                    true => format!("{here}, or `0.0.0.0:{number}` for every address of this machine"),
                    false => here,
                }
            })
        }),
        Kind::Bool(true) if shapes.iter().any(Shape::is_map) => {
            Some("write `{}` for the defaults".to_owned())
        }
        Kind::Bool(value) => quoted(value.to_string()),
        Kind::Text(text) if expected.contains("a boolean") => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" => Some("write `true`".to_owned()),
            "no" | "off" | "n" => Some("write `false`".to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a value may stay.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// It stays, but something below it was left out.
    Tainted,
    /// It must be left out.
    Bad,
}

impl Checker<'_, '_> {
    /// Checks a value; what is wrong inside of it is left out when that is possible.
    pub(crate) fn check(&mut self, schema: &Value, node: &mut Node) -> Verdict {
        let shapes = Shape::all(self.root, schema);
        let secret = schema_is_secret(self.root, schema);
        let Some(shape) = shapes.iter().find(|shape| shape.accepts(node)) else {
            return self.wrong_kind(schema, &shapes, node);
        };
        if let Some(words) = Shape::words(&shapes, node) {
            return self.word(&words, node);
        }
        let verdict = match &mut node.kind {
            Kind::Map(entries) if secret && !is_reference(shape, entries) => return self.odd_secret(node),
            Kind::Map(_) if shape.is_anything() => Verdict::Good,
            Kind::Map(_) => self.map(shape, node),
            Kind::List(_) => self.list(shape, node),
            _ => self.scalar(shape, secret, node),
        };
        node.tainted |= verdict != Verdict::Good;
        if secret {
            self.secret(node, verdict);
        }
        verdict
    }

    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>, help: Option<String>) {
        let mut wrong = Diagnostic::error(self.path.to_string(), message).at(place);
        wrong.help = help;
        self.found.push(wrong);
    }

    fn wrong_kind(&mut self, schema: &Value, shapes: &[Shape<'_>], node: &Node) -> Verdict {
        let secret = schema_is_secret(self.root, schema);
        let expected = match secret {
            true => format::expectation("secret").unwrap_or_default().to_owned(),
            false => Shape::expectation(shapes),
        };
        let help = remedy(shapes, &expected, node);
        if secret || leads_to_secret(self.root, schema) || self.is_confidential() {
            scalars(node, &mut self.literals);
        }
        self.error(head(node), format!("expected {expected}, found {}", node.noun()), help);
        Verdict::Bad
    }

    /// A mapping in the place of a secret whose keys are none of a reference: they may be the secret itself.
    fn odd_secret(&mut self, node: &Node) -> Verdict {
        scalars(node, &mut self.literals);
        let wrong = "expected `{env: NAME}`, `{file: path}`, `{vault: path#key}` or a text in quotes, found another mapping";
        self.error(head(node), wrong, None);
        Verdict::Bad
    }

    /// Whether what nobody knows the meaning of may be a secret here.
    fn is_confidential(&self) -> bool {
        self.path.is_top() || matches!(self.path.top(), Some("consumers" | "admin" | "telemetry"))
    }

    fn word(&mut self, words: &[&Value], node: &mut Node) -> Verdict {
        let found = match &node.kind {
            Kind::Text(text) => text.clone(),
            Kind::Number(number) => number.to_string(),
            Kind::Bool(bool) => bool.to_string(),
            _ => return Verdict::Good,
        };
        let same = |word: &&&Value| match word {
            Value::String(word) => *word == found,
            other => other.to_string() == found,
        };
        if let Some(word) = words.iter().find(same) {
            // `1.2` in place of `"1.2"` can only mean the word.
            if let Value::String(word) = word {
                node.kind = Kind::Text(word.clone());
            }
            return Verdict::Good;
        }
        let texts: Vec<String> =
            words.iter().filter(|word| !word.is_null()).map(|word| plain(word)).collect();
        let meant = nearest(&found, texts.iter().map(String::as_str)).map(did_you_mean);
        self.error(node.place, format!("expected {}, found `{found}`", one_of(&texts)), meant);
        Verdict::Bad
    }

    fn scalar(&mut self, shape: &Shape<'_>, secret: bool, node: &mut Node) -> Verdict {
        let place = node.place;
        match &mut node.kind {
            Kind::Text(text) => {
                if let Some(shortest) =
                    shape.number("minLength").filter(|least| (text.chars().count() as f64) < *least)
                {
                    self.error(
                        place,
                        format!("expected at least {shortest} character, found an empty text"),
                        None,
                    );
                    return Verdict::Bad;
                }
                let Some(format) = shape.format().filter(|_| !secret) else { return Verdict::Good };
                if let Err(wrong) = format::check(format, text) {
                    if format == "sha256" {
                        // What stands there may be the key itself.
                        self.literals.push((place, text.clone()));
                    }
                    self.error(place, wrong, None);
                    return Verdict::Bad;
                }
                if format == "cel" {
                    let item = self.path.item().map(|(list, index)| (list.to_owned(), index));
                    let (text, path) = (text.clone(), self.path.to_string());
                    self.expressions.push(Written { text, path, place, item });
                }
                if matches!(format, "file" | "path" | "directory") {
                    *text = self.beside_its_source(place, text);
                }
                if format == "directory" && self.holds_a_source(text) {
                    let wrong = "this directory holds the configuration itself, keys and all";
                    let help = "name a directory of its own, such as `public`";
                    self.error(place, wrong.to_owned(), Some(help.to_owned()));
                    return Verdict::Bad;
                }
                if format == "file" {
                    let reference = Reference::File(text.clone());
                    self.referred.push(Referred { reference, path: self.path.to_string(), place });
                }
                Verdict::Good
            }
            Kind::Number(number) => {
                let value = number.as_f64().unwrap_or(f64::NAN);
                let whole = number.is_u64() || number.is_i64();
                if shape.is_integer_only() && !whole {
                    self.error(place, format!("expected a whole number, found {number}"), None);
                    return Verdict::Bad;
                }
                let (least, most) = (shape.number("minimum"), shape.number("maximum"));
                if least.is_some_and(|least| value < least)
                    || most.is_some_and(|most| value > most)
                    || value.is_nan()
                {
                    let wrong = format!("expected {}, found {number}", range(least, most));
                    self.error(place, wrong, None);
                    return Verdict::Bad;
                }
                Verdict::Good
            }
            _ => Verdict::Good,
        }
    }

    /// Relative paths start where the file that names them is.
    fn beside_its_source(&self, place: Place, text: &str) -> String {
        let source = self.found.sources.get(place.source as usize);
        let directory = source.map(|source| source.directory()).unwrap_or_default();
        directory.join(text).to_string_lossy().into_owned()
    }

    /// Whether a directory is one that a source lies in, or below.
    fn holds_a_source(&self, directory: &str) -> bool {
        let directory = tidied(path::Path::new(directory));
        self.found.sources.iter().any(|source| tidied(&source.directory()).starts_with(&directory))
    }

    fn list(&mut self, shape: &Shape<'_>, node: &mut Node) -> Verdict {
        let place = head(node);
        let Kind::List(items) = &mut node.kind else { return Verdict::Good };
        let mut verdict = Verdict::Good;
        if let Some(least) = shape.number("minItems").filter(|least| (items.len() as f64) < *least) {
            self.error(place, format!("expected at least {least}, found none"), None);
            return Verdict::Bad;
        }
        let Some(schema) = shape.schema.get("items") else { return Verdict::Good };
        for item in items {
            self.path.push_index(item.index);
            let one = self.check(schema, item);
            self.path.pop();
            item.pruned = one == Verdict::Bad;
            if one != Verdict::Good {
                verdict = Verdict::Tainted;
            }
        }
        verdict
    }

    fn map(&mut self, shape: &Shape<'_>, node: &mut Node) -> Verdict {
        let place = head(node);
        let mut verdict = self.keys_present(shape, node, place);
        let Kind::Map(entries) = &mut node.kind else { return verdict };
        for entry in entries {
            self.path.push_key(&entry.key);
            let one = self.entry(shape, entry);
            self.path.pop();
            entry.value.pruned = one == Verdict::Bad;
            let needed = shape.requires(&entry.key) || shape.is_one_key();
            verdict = match one {
                Verdict::Bad if needed => Verdict::Bad,
                Verdict::Good => verdict,
                _ if verdict == Verdict::Bad => Verdict::Bad,
                _ => Verdict::Tainted,
            };
        }
        verdict
    }

    fn entry(&mut self, shape: &Shape<'_>, entry: &mut Entry) -> Verdict {
        let Some(schema) = shape.value_of(&entry.key) else {
            self.unknown_key(shape, entry);
            return Verdict::Bad;
        };
        if matches!(entry.value.kind, Kind::Null) {
            if self.path.is_top() {
                // A list whose items are all commented out.
                entry.value.pruned = true;
                return Verdict::Bad;
            }
            if shape.is_one_key() && Shape::all(self.root, schema).iter().any(Shape::is_map) {
                entry.value.kind = Kind::Map(Vec::new());
                entry.value.place = entry.place;
            }
        }
        self.check(schema, &mut entry.value)
    }

    fn unknown_key(&mut self, shape: &Shape<'_>, entry: &Entry) {
        let key = &entry.key;
        if self.is_confidential() {
            scalars(&entry.value, &mut self.literals);
        }
        if is_later(self.root, shape, key) {
            self.is_later = true;
            scalars(&entry.value, &mut self.literals);
            self.error(entry.place, format!("`{key}` is not in this build"), None);
            return;
        }
        let known: Vec<&str> = shape.keys().collect();
        if known.is_empty() {
            let wrong = match shape.is_of_headers() {
                true => format!("`{key}` is not the name of a header"),
                false => format!("unknown key `{key}`: there is nothing to be set here"),
            };
            self.error(entry.place, wrong, None);
            return;
        }
        let help = match nearest(key, known.iter().copied()) {
            _ if crate::Policy::NAMES.contains(&key.as_str()) && known.contains(&"globalPolicies") => {
                format!(
                    "`{key}` is a policy: write it under `policies` of a route, or under `globalPolicies`"
                )
            }
            _ if crate::Policy::NAMES.contains(&key.as_str()) && known.contains(&"policies") => {
                format!("`{key}` is a policy: write it under `policies`, as `- {key}: …`")
            }
            Some(meant) => {
                // What was meant to be a secret is one, whatever its key.
                if shape.value_of(meant).is_some_and(|schema| leads_to_secret(self.root, schema)) {
                    scalars(&entry.value, &mut self.literals);
                }
                did_you_mean(meant)
            }
            None => format!("known here: {}", listed(&known)),
        };
        self.error(entry.place, format!("unknown key `{key}`"), Some(help));
    }

    /// Keys that must be there, and keys of which exactly one must be.
    fn keys_present(&mut self, shape: &Shape<'_>, node: &Node, place: Place) -> Verdict {
        let Kind::Map(entries) = &node.kind else { return Verdict::Good };
        let has = |key: &str| entries.iter().any(|entry| entry.key == key);
        let mut verdict = Verdict::Good;
        for key in shape.required().filter(|key| !has(key)) {
            self.error(place, format!("the key `{key}` is missing"), None);
            verdict = Verdict::Bad;
        }
        if shape.is_one_key() && entries.len() != 1 {
            let known: Vec<&str> = shape.keys().collect();
            let help = format!("one of {}", listed(&known));
            let place = entries.get(1).map_or(place, |second| second.place);
            self.error(place, format!("expected exactly one key, found {}", entries.len()), Some(help));
            return Verdict::Bad;
        }
        let choices = shape.exactly_one_of();
        let chosen: Vec<&Entry> =
            entries.iter().filter(|entry| choices.contains(&entry.key.as_str())).collect();
        let later = entries.iter().any(|entry| is_later_handler(shape, &entry.key));
        if choices.is_empty() || (chosen.len() == 1 && !later) {
            return verdict;
        }
        // A route whose only handler is not in this build is refused for that alone.
        if chosen.len() + usize::from(later) != 1 {
            let texts: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
            let found = if chosen.is_empty() {
                "none".to_owned()
            } else {
                format!("{}", chosen.len() + usize::from(later))
            };
            let place = chosen.get(1).map_or(place, |second| second.place);
            self.error(place, format!("expected exactly one of {}, found {found}", all_of(&texts)), None);
        }
        Verdict::Bad
    }

    /// Notes where a secret comes from; a literal draws a warning that does not show it.
    fn secret(&mut self, node: &mut Node, verdict: Verdict) {
        if let Kind::Text(text) = &node.kind {
            self.literals.push((node.place, text.clone()));
            // A digest of a password is meant to stand there.
            if self.path.to_string().ends_with(".password") && is_digest(text) {
                return;
            }
            let warning =
                Diagnostic::warning(self.path.to_string(), "a literal secret stands in the configuration");
            // As other programs write a variable.
            let is_variable =
                (text.starts_with("${") && text.ends_with('}')) || text.starts_with("os.environ/");
            let help = match is_variable {
                true => "a text is taken as it is, and names no variable: write `{env: NAME}`",
                false => "write `{env: NAME}`, `{file: path}` or `{vault: path#key}` instead",
            };
            self.found.push(warning.at(node.place).help(help));
            return;
        }
        if verdict != Verdict::Good {
            return;
        }
        let place = node.place;
        let reference = match (node.get("env").and_then(Node::text), node.get("file").and_then(Node::text)) {
            (Some(name), _) => Reference::Env(name.to_owned()),
            (_, Some(path)) => {
                // As a file it was noted already; as a secret it is text.
                let path = path.to_owned();
                self.referred.retain(|one| {
                    one.reference != Reference::File(path.clone())
                        || one.path != format!("{}.file", self.path)
                });
                Reference::SecretFile(path)
            }
            _ => match node.get("vault").and_then(Node::text).and_then(|name| name.parse().ok()) {
                Some(name) => Reference::Vault(name),
                None => return,
            },
        };
        if matches!(reference, Reference::Vault(_)) && self.path.top() == Some("vault") {
            self.error(
                node.place,
                "what opens the vault cannot lie in it",
                Some("write `{env: NAME}` or `{file: path}`".to_owned()),
            );
            return;
        }
        self.referred.push(Referred { reference, path: self.path.to_string(), place });
    }
}

/// Whether a text is what is left of a password after hashing: `sha256:` and a digest, or what Argon2 makes.
fn is_digest(text: &str) -> bool {
    if text.starts_with("$argon2") {
        return true;
    }
    let digest = text.strip_prefix("sha256:");
    digest.is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether a schema is of a secret, or of one that may be left out.
fn schema_is_secret(root: &Value, schema: &Value) -> bool {
    let schema = Shape::resolve(root, schema);
    let mut alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    schema.get("format").is_some_and(|format| format == "secret")
        || alternatives.any(|one| schema_is_secret(root, one))
}

/// Whether a schema is of secrets, or of a list or mapping of them.
fn leads_to_secret(root: &Value, schema: &Value) -> bool {
    let schema = Shape::resolve(root, schema);
    let inside = ["items", "additionalProperties"].into_iter().filter_map(|key| schema.get(key));
    let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    schema_is_secret(root, schema) || inside.chain(alternatives).any(|schema| leads_to_secret(root, schema))
}

/// Whether a mapping is a reference to a secret, if only a misspelt one.
fn is_reference(shape: &Shape<'_>, entries: &[Entry]) -> bool {
    entries
        .iter()
        .all(|entry| nearest(&entry.key, shape.keys()).is_some() || shape.value_of(&entry.key).is_some())
}

/// Every scalar in a value, with its place. Keys without a value are values in the wrong place.
pub(super) fn scalars(node: &Node, into: &mut Vec<(Place, String)>) {
    match &node.kind {
        Kind::Text(text) => into.push((node.place, text.clone())),
        Kind::Number(number) => into.push((node.place, number.to_string())),
        Kind::List(items) => items.iter().for_each(|item| scalars(item, into)),
        Kind::Map(entries) => {
            for entry in entries {
                if matches!(entry.value.kind, Kind::Null) {
                    into.push((entry.place, entry.key.clone()));
                }
                scalars(&entry.value, into);
            }
        }
        Kind::Null | Kind::Bool(_) => {}
    }
}

/// Where a value begins: for a list or mapping its first character alone, so that a drawing stays small.
fn head(node: &Node) -> Place {
    match node.kind {
        Kind::List(_) | Kind::Map(_) => {
            Place { end: (node.place.start + 1).min(node.place.end), ..node.place }
        }
        _ => node.place,
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

fn plain(word: &Value) -> String {
    word.as_str().map_or_else(|| word.to_string(), str::to_owned)
}

fn one_of(texts: &[String]) -> String {
    match texts {
        [one] => format!("`{one}`"),
        _ => format!("one of {}", all_of(texts)),
    }
}

fn all_of(texts: &[String]) -> String {
    texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}

fn listed(known: &[&str]) -> String {
    let mut texts: Vec<String> = known.iter().take(LISTED_MAX).map(|key| format!("`{key}`")).collect();
    if known.len() > LISTED_MAX {
        texts.push("…".to_owned());
    }
    texts.join(", ")
}

fn range(least: Option<f64>, most: Option<f64>) -> String {
    match (least, most) {
        (Some(least), Some(most)) => format!("a number from {least} to {most}"),
        (Some(least), None) => format!("a number from {least}"),
        (None, Some(most)) => format!("a number up to {most}"),
        (None, None) => "a number".to_owned(),
    }
}

/// A path without steps that lead nowhere.
fn tidied(path: &path::Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for step in path.components() {
        match step {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}
