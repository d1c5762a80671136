//! The text of a client as what matters of it: operations, fragments and fields, with the values that tell sizes.
//!
//! Reading is apollo-parser's, bounded in tokens and nesting. What it cannot read without an error is refused, so that
//! the gateway and the service read one thing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use apollo_parser::{
    Parser,
    cst::{self, CstNode},
};

use crate::{
    limits::{Limits, NESTING_MAX},
    refusal::{Code, Refusal},
};

/// Bytes of an operation's name that are kept.
const NAME_BYTES_MAX: usize = 128;

/// Bytes that a field, a fragment, a definition or a value takes, with its name and the room beside it in a list.
const NODE_BYTES: usize = 256;

/// A document that can be measured: every fragment that it spreads is there, and none leads to itself.
#[derive(Debug)]
pub struct Document {
    pub(crate) operations: Vec<Operation>,
    pub(crate) fragments: Vec<Fragment>,
    /// Fragments, each after those that it spreads.
    pub(crate) order: Vec<usize>,
    /// Whether it asks for the schema, wherever.
    pub(crate) introspects: bool,
    nodes: usize,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It reads.
    Query,
    /// It writes.
    Mutation,
    /// It is told what happens.
    Subscription,
}

impl Kind {
    /// As documents say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// One operation of a document.
#[derive(Debug)]
pub struct Operation {
    /// What it does.
    pub kind: Kind,
    /// Its name.
    pub name: Option<Arc<str>>,
    pub(crate) defaults: HashMap<Box<str>, Value, foldhash::fast::RandomState>,
    pub(crate) directives: u64,
    pub(crate) selections: Vec<Selection>,
}

#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) on: Box<str>,
    pub(crate) directives: u64,
    pub(crate) selections: Vec<Selection>,
}

#[derive(Debug)]
pub(crate) enum Selection {
    Field(Field),
    /// A fragment by its place.
    Spread {
        fragment: usize,
        directives: u64,
    },
    Inline {
        on: Option<Box<str>>,
        directives: u64,
        selections: Vec<Selection>,
    },
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Box<str>,
    pub(crate) is_aliased: bool,
    pub(crate) directives: u64,
    pub(crate) arguments: Vec<(Box<str>, Value)>,
    pub(crate) selections: Vec<Selection>,
}

/// A value, as far as it can tell how much is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Variable(Box<str>),
    List(Vec<Value>),
    Object(Vec<(Box<str>, Value)>),
    Null,
    Other,
}

impl Value {
    fn nodes(&self) -> usize {
        match self {
            Self::List(items) => 1 + items.iter().map(Self::nodes).sum::<usize>(),
            Self::Object(fields) => 1 + fields.iter().map(|(_, value)| value.nodes()).sum::<usize>(),
            _ => 1,
        }
    }

    /// A name that is twice in one of its objects.
    fn double(&self) -> Option<&str> {
        match self {
            Self::List(items) => items.iter().find_map(Self::double),
            Self::Object(fields) => {
                double(fields).or_else(|| fields.iter().find_map(|(_, value)| value.double()))
            }
            _ => None,
        }
    }

    /// The value without variables, which mean nothing in a default.
    pub(crate) fn constant(self) -> Self {
        match self {
            Self::Variable(_) => Self::Other,
            Self::List(items) => Self::List(items.into_iter().map(Self::constant).collect()),
            Self::Object(fields) => {
                Self::Object(fields.into_iter().map(|(name, value)| (name, value.constant())).collect())
            }
            other => other,
        }
    }
}

/// While a document is read.
#[derive(Default)]
struct Reading {
    names: HashMap<Box<str>, usize, foldhash::fast::RandomState>,
    introspects: bool,
    nodes: usize,
}

impl Document {
    /// Reads a document within its bounds.
    ///
    /// # Errors
    /// What is wrong, for the client.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, Refusal> {
        let tree = Parser::new(text).token_limit(limits.tokens).recursion_limit(NESTING_MAX).parse();
        if let Some(error) = tree.errors().find(|error| error.is_limit()) {
            let is_deep = error.message().contains("recursion");
            return Err(match is_deep {
                true => Refusal::new(Code::Depth, "the document is nested too deeply to be read"),
                false => Refusal::new(
                    Code::Tokens,
                    format!("the document has more than the {} tokens that are read", limits.tokens),
                ),
            });
        }
        if let Some(error) = tree.errors().next() {
            let (line, column) = place(text, error.index());
            return Err(Refusal::new(
                Code::Syntax,
                format!("syntax error at line {line}, column {column}: {}", error.message()),
            ));
        }
        Self::read(&tree.document())
    }

    fn read(document: &cst::Document) -> Result<Self, Refusal> {
        let mut reading = Reading::default();
        for definition in document.definitions() {
            if let cst::Definition::FragmentDefinition(fragment) = &definition {
                let name = fragment.fragment_name().and_then(|name| name.name()).map(|name| name.text());
                let name = name.ok_or_else(incomplete)?;
                reading.nodes += 1;
                let place = reading.names.len();
                if reading.names.insert(name.as_str().into(), place).is_some() {
                    return Err(invalid(format!("there are two fragments `{}`", name.as_str())));
                }
            }
        }
        let (mut operations, mut fragments) = (Vec::<Operation>::new(), Vec::new());
        let mut named = HashSet::new();
        for definition in document.definitions() {
            match definition {
                cst::Definition::OperationDefinition(one) => {
                    let operation = reading.operation(&one)?;
                    if !named.insert(operation.name.clone()) {
                        return Err(invalid(match &operation.name {
                            Some(name) => format!("there are two operations `{name}`"),
                            None => "there are two operations without a name".to_owned(),
                        }));
                    }
                    operations.push(operation);
                }
                cst::Definition::FragmentDefinition(one) => fragments.push(Fragment {
                    on: condition(one.type_condition())?.ok_or_else(incomplete)?,
                    directives: directives(one.directives())?,
                    selections: reading.selections(one.selection_set())?,
                }),
                _ => return Err(invalid("the document defines types, which is not for clients".to_owned())),
            }
        }
        if operations.is_empty() {
            return Err(invalid("the document has no operation".to_owned()));
        }
        if operations.len() > 1 && operations.iter().any(|operation| operation.name.is_none()) {
            return Err(invalid("of several operations each needs a name".to_owned()));
        }
        let order = order(&fragments)?;
        Ok(Self { operations, fragments, order, introspects: reading.introspects, nodes: reading.nodes })
    }

    /// Bytes that it takes at most, without its text.
    pub fn weight(&self) -> usize {
        NODE_BYTES * (1 + self.nodes)
    }

    /// How many definitions, selections and values there are.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// All operations of it.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operation that is asked for by its name, or the only one.
    ///
    /// # Errors
    /// There is none, or no only one.
    pub fn operation(&self, name: Option<&str>) -> Result<&Operation, Refusal> {
        let name = name.filter(|name| !name.is_empty());
        let found = match (name, self.operations.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(name), all) => all.iter().find(|operation| operation.name.as_deref() == Some(name)),
        };
        found.ok_or_else(|| {
            Refusal::new(
                Code::Operation,
                match name {
                    Some(_) => "the document has no operation of the name in `operationName`",
                    None => "the document has several operations; `operationName` says which one is meant",
                },
            )
        })
    }
}

impl Reading {
    fn operation(&mut self, one: &cst::OperationDefinition) -> Result<Operation, Refusal> {
        let kind = match one.operation_type() {
            None => Kind::Query,
            Some(kind) if kind.mutation_token().is_some() => Kind::Mutation,
            Some(kind) if kind.subscription_token().is_some() => Kind::Subscription,
            Some(_) => Kind::Query,
        };
        let name = one.name().map(|name| name.text());
        if name.as_ref().is_some_and(|name| name.as_str().len() > NAME_BYTES_MAX) {
            return Err(invalid(format!("the operation's name has more than {NAME_BYTES_MAX} bytes")));
        }
        self.nodes += 1;
        let mut variables = HashSet::new();
        let mut defaults = HashMap::default();
        let mut count = directives(one.directives())?;
        for variable in one.variable_definitions().into_iter().flat_map(|all| all.variable_definitions()) {
            count += directives(variable.directives())?;
            let name = variable.variable().and_then(|variable| variable.name()).map(|name| name.text());
            let name = name.ok_or_else(incomplete)?;
            if !variables.insert(name.as_str().to_owned()) {
                return Err(invalid(format!("the variable `{}` is there twice", name.as_str())));
            }
            if let Some(value) = variable.default_value().and_then(|default| default.value()) {
                let value = read_value(&value).constant();
                if let Some(double) = value.double() {
                    return Err(twice(double));
                }
                self.nodes += 1 + value.nodes();
                defaults.insert(name.as_str().into(), value);
            }
        }
        Ok(Operation {
            kind,
            name: name.map(|name| Arc::from(name.as_str())),
            defaults,
            directives: count,
            selections: self.selections(one.selection_set())?,
        })
    }

    fn selections(&mut self, set: Option<cst::SelectionSet>) -> Result<Vec<Selection>, Refusal> {
        let Some(set) = set else { return Ok(Vec::new()) };
        let all: Result<Vec<_>, _> = set.selections().map(|one| self.selection(one)).collect();
        all.map(tight)
    }

    fn selection(&mut self, one: cst::Selection) -> Result<Selection, Refusal> {
        self.nodes += 1;
        match one {
            cst::Selection::Field(field) => {
                let name = field.name().ok_or_else(incomplete)?.text();
                // `_service` is where a part of a federated graph tells its schema.
                self.introspects |= matches!(name.as_str(), "__schema" | "__type" | "_service");
                let arguments = arguments(field.arguments())?;
                self.nodes += arguments.iter().map(|(_, value)| value.nodes()).sum::<usize>();
                Ok(Selection::Field(Field {
                    name: name.as_str().into(),
                    is_aliased: field.alias().is_some(),
                    directives: directives(field.directives())?,
                    arguments,
                    selections: self.selections(field.selection_set())?,
                }))
            }
            cst::Selection::FragmentSpread(spread) => {
                let name = spread.fragment_name().and_then(|name| name.name()).ok_or_else(incomplete)?.text();
                let fragment = self.names.get(name.as_str()).copied();
                Ok(Selection::Spread {
                    fragment: fragment
                        .ok_or_else(|| invalid(format!("there is no fragment `{}`", name.as_str())))?,
                    directives: directives(spread.directives())?,
                })
            }
            cst::Selection::InlineFragment(inline) => Ok(Selection::Inline {
                on: condition(inline.type_condition())?,
                directives: directives(inline.directives())?,
                selections: self.selections(inline.selection_set())?,
            }),
        }
    }
}

/// A list without room for more: a list of one has room for four while it is made.
fn tight<T>(mut all: Vec<T>) -> Vec<T> {
    all.shrink_to_fit();
    all
}

/// What a fragment is about.
fn condition(condition: Option<cst::TypeCondition>) -> Result<Option<Box<str>>, Refusal> {
    let Some(condition) = condition else { return Ok(None) };
    let name = condition.named_type().and_then(|named| named.name()).ok_or_else(incomplete)?;
    Ok(Some(name.text().as_str().into()))
}

/// How many there are.
fn directives(all: Option<cst::Directives>) -> Result<u64, Refusal> {
    let mut count = 0;
    for one in all.into_iter().flat_map(|all| all.directives()) {
        count += 1;
        arguments(one.arguments())?;
    }
    Ok(count)
}

fn arguments(all: Option<cst::Arguments>) -> Result<Vec<(Box<str>, Value)>, Refusal> {
    let each = all.into_iter().flat_map(|all| all.arguments());
    let read = |one: cst::Argument| Some((one.name()?.text().as_str().into(), read_value(&one.value()?)));
    let all: Vec<(Box<str>, Value)> = tight(each.filter_map(read).collect());
    match double(&all).or_else(|| all.iter().find_map(|(_, value)| value.double())) {
        Some(name) => Err(twice(name)),
        None => Ok(all),
    }
}

/// A name that is twice among these. Of two, one reader takes the first and another the last.
fn double(all: &[(Box<str>, Value)]) -> Option<&str> {
    const FEW: usize = 8;
    if all.len() <= FEW {
        let is_double = |at: usize, name: &str| all.iter().take(at).any(|(other, _)| **other == *name);
        let found = all.iter().enumerate().find(|(at, (name, _))| is_double(*at, name));
        return found.map(|(_, (name, _))| &**name);
    }
    let mut seen = HashSet::with_capacity(all.len());
    all.iter().map(|(name, _)| &**name).find(|name| !seen.insert(*name))
}

fn twice(name: &str) -> Refusal {
    invalid(format!("`{name}` is there twice"))
}

pub(crate) fn read_value(value: &cst::Value) -> Value {
    match value {
        cst::Value::Variable(variable) => match variable.name() {
            Some(name) => Value::Variable(name.text().as_str().into()),
            None => Value::Other,
        },
        cst::Value::IntValue(number) => {
            number.source_string().trim().parse().map_or(Value::Other, Value::Number)
        }
        cst::Value::FloatValue(number) => {
            number.source_string().trim().parse().map_or(Value::Other, Value::Number)
        }
        cst::Value::ListValue(list) => {
            Value::List(tight(list.values().map(|value| read_value(&value)).collect()))
        }
        cst::Value::ObjectValue(object) => {
            let read = |field: cst::ObjectField| {
                Some((field.name()?.text().as_str().into(), read_value(&field.value()?)))
            };
            Value::Object(tight(object.object_fields().filter_map(read).collect()))
        }
        cst::Value::NullValue(_) => Value::Null,
        // Some services take digits for numbers.
        cst::Value::StringValue(text) => digits(&String::from(text)).map_or(Value::Other, Value::Number),
        cst::Value::BooleanValue(_) | cst::Value::EnumValue(_) => Value::Other,
    }
}

/// The number that a text of digits is.
pub(crate) fn digits(text: &str) -> Option<f64> {
    let text = text.trim();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if is_number { text.parse().ok() } else { None }
}

/// Fragments, each after those that it spreads. One that leads to itself is refused.
fn order(fragments: &[Fragment]) -> Result<Vec<usize>, Refusal> {
    let spread: Vec<Vec<usize>> = fragments
        .iter()
        .map(|fragment| {
            let mut all = Vec::new();
            spreads(&fragment.selections, &mut all);
            all.sort_unstable();
            all.dedup();
            all
        })
        .collect();
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let mut seen = vec![Seen::No; fragments.len()];
    let mut order = Vec::with_capacity(fragments.len());
    for start in 0..fragments.len() {
        if seen[start] != Seen::No {
            continue;
        }
        seen[start] = Seen::Open;
        // A stack of our own: a chain of fragments may be as long as the document.
        let mut open = vec![(start, 0)];
        while let Some((fragment, next)) = open.last_mut() {
            let Some(inner) = spread[*fragment].get(*next).copied() else {
                seen[*fragment] = Seen::Done;
                order.push(*fragment);
                open.pop();
                continue;
            };
            *next += 1;
            match seen[inner] {
                Seen::Done => {}
                Seen::Open => return Err(invalid("a fragment spreads itself".to_owned())),
                Seen::No => {
                    seen[inner] = Seen::Open;
                    open.push((inner, 0));
                }
            }
        }
    }
    Ok(order)
}

fn spreads(selections: &[Selection], out: &mut Vec<usize>) {
    for selection in selections {
        match selection {
            Selection::Field(field) => spreads(&field.selections, out),
            Selection::Spread { fragment, .. } => out.push(*fragment),
            Selection::Inline { selections, .. } => spreads(selections, out),
        }
    }
}

/// Line and column of a byte, from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1) + 1;
    (line, column)
}

fn incomplete() -> Refusal {
    Refusal::new(Code::Syntax, "the document is not complete")
}

fn invalid(message: String) -> Refusal {
    Refusal::new(Code::Invalid, message)
}
