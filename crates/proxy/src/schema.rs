//! JSON Schemas, compiled, and what is said of a value that does not fit one.

mod cost;

use std::{collections::HashMap, sync::Arc};

use base64::Engine;
use jsonschema::{
    PatternOptions, Retrieve, Uri, ValidationError, ValidationOptions, Validator,
    error::{TypeKind, ValidationErrorKind},
};
use serde_json::Value;

/// Bytes of a value of which several faults are told.
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// Most faults of one value that are told.
const FAULTS_MAX: usize = 8;

/// Names that are no members, of those that are told.
const NAMES_MAX: usize = 3;
/// Letters of what a schema wants that are told.
const WANTED_MAX: usize = 200;

/// Faults that may be gathered of one value before the first is told.
const GATHERED_MAX: u64 = 30_000;

/// Steps that may be taken to judge a value by a schema whose value or self is a stranger's, beside so many for each value in
/// it: some milliseconds.
const STEPS_MAX: u64 = 200_000;
const STEPS_OF_EACH: u64 = 64;
/// Patterns of a stranger's schema, and bytes of each of them compiled.
const PATTERNS_MAX: usize = 64;
const PATTERN_BYTES_MAX: usize = 64 * 1024;

/// What a stranger's schema has to say of a value.
pub(crate) enum Judged<'v> {
    /// It fits.
    Fits,
    /// The first fault.
    Breaks(Box<ValidationError<'v>>),
    /// It does not fit, or nobody can say: judging it, or telling where it does not, would take too long.
    Tangled,
}

/// A schema of somebody whom nobody vouches for: a caller, a server of others' tools. What it takes to judge a value by it
/// is counted before it is done.
pub(crate) struct Strange {
    validator: Validator,
    written: Value,
    /// It offers choices: the faults of each are gathered before the first is told.
    has_choices: bool,
}

impl Strange {
    /// References lead into the schema alone; patterns take time in proportion to the text, and few of them little memory.
    pub(crate) fn compile(written: Value) -> Result<Self, String> {
        if cost::patterns(&written) > PATTERNS_MAX {
            return Err(format!("it has more than {PATTERNS_MAX} patterns"));
        }
        Self::built(
            written,
            PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(4 * PATTERN_BYTES_MAX),
        )
    }

    /// The same of an operator's own, whose patterns are taken as they are; but whoever asks has a say in what it judges.
    pub(crate) fn of_operator(written: Value) -> Result<Self, String> {
        Self::built(written, PatternOptions::regex())
    }

    fn built<E>(written: Value, patterns: PatternOptions<E>) -> Result<Self, String> {
        let built = jsonschema::options().with_pattern_options(patterns).build(&written);
        let has_choices = ways(&written, false) > 1;
        Ok(Self { validator: built.map_err(|error| error.to_string())?, written, has_choices })
    }

    /// Judges a value.
    pub(crate) fn judge<'v>(&self, value: &'v Value) -> Judged<'v> {
        let steps = STEPS_MAX.saturating_add(STEPS_OF_EACH.saturating_mul(cost::values(value)));
        if !cost::is_within(&self.written, value, steps) {
            return Judged::Tangled;
        }
        if self.validator.is_valid(value) {
            return Judged::Fits;
        }
        if self.has_choices && !cost::is_within(&self.written, value, GATHERED_MAX) {
            return Judged::Tangled;
        }
        match self.validator.validate(value) {
            Ok(()) => Judged::Fits,
            Err(error) => Judged::Breaks(Box::new(error)),
        }
    }
}

/// A compiled schema.
pub(crate) struct Schema {
    validator: Arc<Validator>,
    written: Arc<Value>,
    ways: Ways,
}

const TANGLED: &str = "does not fit the schema, and has too much in it to say where";

/// In how many ways values are judged where a schema offers choices: the faults of each way are gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ways {
    number: u64,
    /// It refers to others and may lead back to itself: there are so many ways more with each level of a value.
    by_level: bool,
}

impl Ways {
    fn of(written: &Value) -> Self {
        let text = written.to_string();
        let by_level =
            ["\"$ref\"", "\"$dynamicRef\"", "\"$recursiveRef\""].iter().any(|word| text.contains(word));
        Self { number: ways(written, !by_level), by_level }
    }

    /// Whether more faults could be gathered of a value than may.
    fn are_too_many(self, value: &Value) -> bool {
        let by_level = if self.by_level { self.number } else { 1 };
        let first = if self.by_level { 1 } else { self.number };
        self.number > 1 && spent(value, first, by_level, &mut { GATHERED_MAX })
    }
}

/// The choices of a schema: of the widest place, or along the path that has most.
fn ways(written: &Value, along: bool) -> u64 {
    let Value::Object(members) = written else {
        let below = written.as_array().into_iter().flatten().map(|one| ways(one, along));
        return below.max().unwrap_or(1);
    };
    let of = |(key, one): (&String, &Value)| {
        let own = match (key.as_str(), one) {
            ("anyOf" | "oneOf" | "allOf", Value::Array(all)) => all.len() as u64,
            ("if" | "dependentSchemas" | "patternProperties", Value::Object(_)) => 2,
            _ => 1,
        };
        let below = ways(one, along);
        if along { own.saturating_mul(below) } else { own.max(below) }
    };
    members.iter().map(of).max().unwrap_or(1).max(1)
}

/// Takes what a value and those in it may have of faults off what is left; true when that is not enough.
fn spent(value: &Value, faults: u64, by_level: u64, left: &mut u64) -> bool {
    let Some(rest) = left.checked_sub(faults) else { return true };
    *left = rest;
    let below = faults.saturating_mul(by_level);
    match value {
        Value::Array(items) => items.iter().any(|item| spent(item, below, by_level, left)),
        Value::Object(members) => members.values().any(|member| spent(member, below, by_level, left)),
        _ => false,
    }
}

/// Files that a schema may refer to, by the URI of each. Nothing else is ever read.
pub(crate) struct Beside {
    pub(crate) own: String,
    pub(crate) others: HashMap<String, Value>,
}

impl Retrieve for Beside {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let found = self.others.get(uri.as_str()).cloned();
        found.ok_or_else(|| format!("`{uri}` is not among the files of `with`; nothing is fetched").into())
    }
}

impl Schema {
    /// References lead into the schema alone, and patterns take time in proportion to the text.
    pub(crate) fn compile(written: &Value) -> Result<Self, String> {
        let options = jsonschema::draft202012::options().with_pattern_options(PatternOptions::regex());
        let validator = options.build(written).map_err(|error| refused(&error))?;
        Ok(Self {
            validator: Arc::new(validator),
            written: Arc::new(written.clone()),
            ways: Ways::of(written),
        })
    }

    /// For traffic: formats count. References lead into the schema alone.
    pub(crate) fn judging(written: &Value) -> Result<Self, String> {
        Self::built(judge(jsonschema::draft202012::options()), written)
    }

    /// The same of a file, whose `$schema` says what draft it is of, with files beside it.
    pub(crate) fn of_file(written: &Value, beside: Beside) -> Result<Self, String> {
        let own = beside.own.clone();
        Self::built(judge(jsonschema::options()).with_base_uri(own).with_retriever(beside), written)
    }

    fn built(options: ValidationOptions<'_>, written: &Value) -> Result<Self, String> {
        let validator = options.build(written).map_err(|error| refused(&error))?;
        Ok(Self {
            validator: Arc::new(validator),
            written: Arc::new(written.clone()),
            ways: Ways::of(written),
        })
    }

    /// The same schema in a second place.
    pub(crate) fn shared(of: &Self) -> Self {
        Self { validator: of.validator.clone(), written: of.written.clone(), ways: of.ways }
    }

    /// Whether a value fits.
    pub(crate) fn fits(&self, value: &Value) -> bool {
        self.validator.is_valid(value)
    }

    /// Where a value does not fit, each with its JSON pointer, and what was expected there in words of the schema.
    pub(crate) fn violations(&self, value: &Value) -> Vec<(String, String)> {
        let told = |error: &ValidationError<'_>| {
            let at = error.instance_path().to_string();
            match error.kind() {
                ValidationErrorKind::Required { property } => (
                    format!("{at}/{}", escaped(property.as_str().unwrap_or_default())),
                    "is required".to_owned(),
                ),
                _ => (at, wanted(error)),
            }
        };
        if self.ways.are_too_many(value) {
            let fits = self.validator.is_valid(value);
            return if fits { Vec::new() } else { vec![(String::new(), TANGLED.to_owned())] };
        }
        // All are gathered before the first is given, so of a large value only one is.
        match value.to_string().len() > GATHERED_BYTES_MAX {
            true => self.validator.validate(value).err().map(|error| told(&error)).into_iter().collect(),
            false => self.validator.iter_errors(value).take(FAULTS_MAX).map(|error| told(&error)).collect(),
        }
    }

    /// As it is written.
    pub(crate) fn written(&self) -> &Value {
        &self.written
    }

    /// What is wrong with a value, each fault with its JSON pointer and what was expected; nothing when it fits.
    /// Values themselves are not repeated.
    pub(crate) fn faults(&self, value: &Value) -> Vec<String> {
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        if self.ways.are_too_many(value) {
            return vec![format!("it {TANGLED}")];
        }
        // All faults are gathered before the first is given, so of a large value only one is.
        if value.to_string().len() > GATHERED_BYTES_MAX {
            return self
                .validator
                .validate(value)
                .err()
                .map(|error| self.fault(&error))
                .into_iter()
                .collect();
        }
        self.validator.iter_errors(value).take(FAULTS_MAX).map(|error| self.fault(&error)).collect()
    }

    fn fault(&self, error: &ValidationError<'_>) -> String {
        let at = error.instance_path().to_string();
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let expected = match at.is_empty() {
                    true => self.kind(name).map(|kind| format!(": expected {kind}")).unwrap_or_default(),
                    false => String::new(),
                };
                format!("`{at}/{}` is required{expected}", escaped(name))
            }
            _ => {
                let place = if at.is_empty() { "/" } else { &at };
                format!("`{place}`: {}", error.masked())
            }
        }
    }

    /// The type that the schema gives a property.
    fn kind(&self, name: &str) -> Option<&str> {
        self.written.get("properties")?.get(name)?.get("type")?.as_str()
    }
}

/// The types of JSON, as schemas call them.
const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];

/// What holds schemas by names of somebody's own, of which one may be called like a word of schemas.
const NAMED: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// Why a schema is none, with the place in it first. Of a type that there is not the library says what the schema of schemas
/// says, which nobody has read.
fn refused(error: &ValidationError<'_>) -> String {
    let pointer = error.instance_path().to_string();
    let steps: Vec<String> =
        pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    let is_type = match steps.as_slice() {
        [.., before, last] => last == "type" && !NAMED.contains(&before.as_str()),
        [only] => only == "type",
        [] => false,
    };
    let unknown = |value: &Value| {
        let names = match value {
            Value::Array(names) => names.as_slice(),
            one => std::slice::from_ref(one),
        };
        let unknown = names.iter().filter_map(Value::as_str).find(|name| !TYPES.contains(name));
        unknown.map(str::to_owned)
    };
    let said = match unknown(error.instance()).filter(|_| is_type) {
        Some(name) => {
            let meant = model::nearest(&name, TYPES).map(|meant| format!("; did you mean `{meant}`?"));
            format!(
                "there is no type `{name}`: there are `{}`{}",
                TYPES.join("`, `"),
                meant.unwrap_or_default()
            )
        }
        None => error.to_string(),
    };
    let mut place = String::new();
    for step in steps {
        let is_number = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
        match (is_number, place.is_empty()) {
            (true, _) => place.push_str(&format!("[{step}]")),
            (false, true) => place.push_str(&step),
            (false, false) => place.push_str(&format!(".{step}")),
        }
    }
    if place.is_empty() { said } else { format!("{place}: {said}") }
}

fn judge<'o>(options: ValidationOptions<'o>) -> ValidationOptions<'o> {
    let is_base64 = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).is_ok();
    options
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        .with_format("byte", is_base64)
}

/// What a schema wants where a value breaks it, in words of the schema alone.
fn wanted(error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    let names = |names: &[String]| {
        let some: Vec<String> = names.iter().take(NAMES_MAX).map(|name| format!("`{}`", cut(name))).collect();
        let more = if names.len() > NAMES_MAX { ", …" } else { "" };
        format!("has members that are not allowed: {}{more}", some.join(", "))
    };
    match error.kind() {
        Kind::Type { kind: TypeKind::Single(kind) } => format!("expected {kind}"),
        Kind::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<String> = kinds.iter().map(|kind| kind.to_string()).collect();
            format!("expected {}", kinds.join(" or "))
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            names(unexpected)
        }
        Kind::AdditionalItems { limit } => format!("expected at most {limit} items"),
        Kind::UnevaluatedItems { .. } => "has items that are not allowed".to_owned(),
        Kind::AnyOf { .. } => "expected to fit one of several schemas".to_owned(),
        Kind::OneOfNotValid { .. } => "expected to fit one of several schemas, fits none".to_owned(),
        Kind::OneOfMultipleValid { .. } => {
            "expected to fit one of several schemas, fits more than one".to_owned()
        }
        Kind::Constant { expected_value } => format!("expected {}", cut(&expected_value.to_string())),
        Kind::Enum { options } => format!("expected one of {}", cut(&options.to_string())),
        Kind::Minimum { limit } => format!("expected at least {limit}"),
        Kind::Maximum { limit } => format!("expected at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("expected more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("expected less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("expected a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("expected at least {limit} characters"),
        Kind::MaxLength { limit } => format!("expected at most {limit} characters"),
        Kind::MinItems { limit } => format!("expected at least {limit} items"),
        Kind::MaxItems { limit } => format!("expected at most {limit} items"),
        Kind::MinProperties { limit } => format!("expected at least {limit} members"),
        Kind::MaxProperties { limit } => format!("expected at most {limit} members"),
        Kind::Pattern { pattern } => format!("expected to match the pattern {}", cut(pattern)),
        Kind::Format { format } => format!("expected the format {}", cut(format)),
        Kind::UniqueItems => "expected no item twice".to_owned(),
        Kind::FalseSchema => "is not allowed".to_owned(),
        kind => format!("breaks `{}`", cut(kind.keyword())),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(WANTED_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A name as a step of a JSON pointer (RFC 6901 §3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_name_the_place_and_what_was_expected_and_no_value() {
        let schema = Schema::compile(&json!({
            "type": "object",
            "required": ["a/b", "list"],
            "properties": {
                "a/b": {"type": "string"},
                "list": {"type": "array", "items": {"type": "integer", "maximum": 3}},
            },
        }))
        .expect("a schema");
        assert!(schema.faults(&json!({"a/b": "x", "list": [1]})).is_empty());
        assert_eq!(schema.faults(&json!({"list": []})), ["`/a~1b` is required: expected string"]);
        let told = schema.faults(&json!({"a/b": 4711, "list": [1, 5]})).join("; ");
        assert!(
            told.contains("`/a~1b`:") && told.contains("\"string\"") && told.contains("`/list/1`:"),
            "{told}"
        );
        assert!(!told.contains("4711"), "{told}");
    }

    #[test]
    fn a_reference_to_elsewhere_is_refused_and_so_is_nonsense() {
        for written in [
            json!({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}),
            json!({"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}}),
            json!({"type": "object", "properties": {"a": {"type": "strin"}}}),
        ] {
            assert!(Schema::compile(&written).is_err(), "{written}");
        }
    }
}
