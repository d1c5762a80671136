//! The call as CEL values that look things up when asked, and hold nothing.

use std::{any::Any, borrow::Cow, fmt};

use cel::{
    ExecutionError,
    common::{
        traits::{Container, Indexer},
        types::{CelBool, CelDouble, CelInt, CelList, CelNull, CelString, MAP_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
    context::VariableResolver,
};
use http::HeaderMap;
use regex::Regex;
use serde_json::{Map, Value as Json};

use super::facts::{AiFacts, ConsumerFacts, Facts};
use crate::router::{CapturesView, cookies, parameters};

/// A list of a token or a consumer may be this long to be looked at.
const LIST_ITEMS_MAX: usize = 256;

/// Variables, as the interpreter asks for them.
pub(super) struct Resolver<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) patterns: &'a [Pattern],
}

impl VariableResolver for Resolver<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let facts = self.facts;
        Some(CowVal::owned(match variable {
            "request" => Fact::Request(facts),
            "client" => Fact::Client(facts),
            "tls" => Fact::Tls(facts),
            "captures" => Fact::Captures(facts.captures),
            "consumer" => Fact::Consumer(facts.consumer?),
            "jwt" => Fact::Claims(facts.claims?),
            "arguments" => Fact::Claims(facts.tool?.arguments?),
            "tool" => return Some(text(facts.tool?.name)),
            "ai" => Fact::Ai(facts.ai?),
            "listener" => return Some(text(facts.listener)),
            "sni" => return Some(text(facts.sni)),
            _ => {
                let index: usize = variable.strip_prefix(PATTERN_NAME)?.parse().ok()?;
                return self.patterns.get(index).map(|pattern| CowVal::Borrowed(pattern as &dyn Val));
            }
        }))
    }
}

/// Something of a call that has members.
#[derive(Debug, Clone, Copy)]
enum Fact<'a> {
    Request(&'a Facts<'a>),
    Headers(&'a HeaderMap),
    Query(&'a str),
    Cookies(&'a HeaderMap),
    Client(&'a Facts<'a>),
    Tls(&'a Facts<'a>),
    Consumer(ConsumerFacts<'a>),
    Captures(CapturesView<'a, 'a>),
    Claims(&'a Map<String, Json>),
    Ai(AiFacts<'a>),
}

fn text<'b, 'v>(text: &'v str) -> CowVal<'b, 'v> {
    CowVal::owned(CelString::from(text))
}

fn cow<'b, 'v>(text: Cow<'v, str>) -> CowVal<'b, 'v> {
    CowVal::owned(CelString::from(text))
}

impl<'a> Fact<'a> {
    /// The member of this name. For names that may repeat (headers, parameters, cookies) see each.
    fn member<'b, 'v>(&self, name: &str) -> Option<Result<CowVal<'b, 'v>, ExecutionError>>
    where
        'a: 'v,
    {
        Some(Ok(match self {
            Self::Request(facts) => match name {
                "method" => text(facts.method),
                "path" => text(facts.path),
                "host" => text(facts.host),
                "scheme" => text(facts.scheme),
                "query" => CowVal::owned(Self::Query(facts.query)),
                "headers" => CowVal::owned(Self::Headers(facts.headers)),
                "cookies" => CowVal::owned(Self::Cookies(facts.headers)),
                _ => return None,
            },
            Self::Headers(headers) => cow(header(headers, name)?),
            Self::Query(query) => {
                cow(once(parameters(query).filter(|(key, _)| key == name).map(|(_, v)| v))?)
            }
            Self::Cookies(headers) => {
                cow(once(cookies(headers).filter(|(key, _)| *key == name).map(|(_, v)| Cow::Borrowed(v)))?)
            }
            Self::Client(facts) if name == "address" => cow(facts.client.to_string().into()),
            Self::Tls(facts) if name == "sni" => text(facts.sni),
            Self::Tls(facts) if name == "enabled" => CowVal::owned(CelBool::from(facts.scheme == "https")),
            Self::Consumer(consumer) if name == "name" => text(consumer.name),
            Self::Consumer(consumer) if name == "groups" => {
                return Some(list(consumer.groups, |group| Ok(text(group))));
            }
            Self::Captures(captures) => text(captures.get(name)?),
            Self::Claims(claims) => return claims.get(name).map(json),
            Self::Ai(ai) => {
                let whole =
                    |number: u64| CowVal::owned(CelInt::from(i64::try_from(number).unwrap_or(i64::MAX)));
                let truth = |truth: bool| CowVal::owned(CelBool::from(truth));
                match name {
                    "model" => text(ai.model),
                    "dialect" => text(ai.dialect),
                    "stream" => truth(ai.stream),
                    "tools" => truth(ai.tools),
                    "images" => truth(ai.images),
                    "inputTokens" => whole(ai.input_tokens),
                    "maxTokens" => whole(ai.max_tokens),
                    _ => return None,
                }
            }
            Self::Client(_) | Self::Tls(_) | Self::Consumer(_) => return None,
        }))
    }
}

/// The lines of a header as one value (RFC 9110 §5.3).
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    let mut lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let first = lines.next()?;
    Some(lines.fold(first, |joined, line| format!("{joined}, {line}").into()))
}

/// A value that is there once. Which of several would be meant is for nobody to guess.
fn once<T>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn list<'b, 'v, T>(
    items: &'v [T],
    value: impl Fn(&'v T) -> Result<CowVal<'b, 'v>, ExecutionError>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    if items.len() > LIST_ITEMS_MAX {
        return Err(ExecutionError::InternalError(format!("a list of more than {LIST_ITEMS_MAX} items")));
    }
    let items: Result<Vec<_>, _> = items.iter().map(|item| value(item).map(CowVal::into_owned)).collect();
    Ok(CowVal::owned(CelList::from(items?)))
}

fn json<'b, 'v>(value: &'v Json) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(match value {
        Json::Null => CowVal::owned(CelNull),
        Json::Bool(truth) => CowVal::owned(CelBool::from(*truth)),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => CowVal::owned(CelInt::from(whole)),
            None => CowVal::owned(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(string) => text(string),
        Json::Array(items) => return list(items, json),
        Json::Object(members) => CowVal::owned(Fact::Claims(members)),
    })
}

impl Indexer for Fact<'_> {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = index.downcast_ref::<CelString<'_>>().ok_or_else(|| ExecutionError::UnexpectedType {
            got: index.get_type().name().to_owned(),
            want: "string".to_owned(),
        })?;
        self.member(name.inner()).unwrap_or_else(|| Err(ExecutionError::no_such_key(name.inner())))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

impl Container for Fact<'_> {
    fn contains(&self, value: &dyn Val) -> Result<bool, ExecutionError> {
        let Some(name) = value.downcast_ref::<CelString<'_>>() else { return Ok(false) };
        Ok(match self {
            // Present, even where a repeated value cannot be read as one.
            Self::Query(query) => parameters(query).any(|(key, _)| key == name.inner()),
            Self::Cookies(headers) => cookies(headers).any(|(key, _)| key == name.inner()),
            _ => self.member(name.inner()).is_some(),
        })
    }
}

impl Val for Fact<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

/// Names of compiled patterns begin so; no expression can spell it.
pub(super) const PATTERN_NAME: &str = "@pattern";
/// The CEL type of a compiled pattern.
pub(super) const PATTERN: Type = Type::new_unspecified_type("tidegate.pattern");
static PATTERN_TYPE: Type = PATTERN;

/// A regular expression, compiled when the expression was.
pub(super) struct Pattern(Regex);

impl Pattern {
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self).map_err(|error| {
            let text = error.to_string();
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN_TYPE
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(Self(self.0.clone()))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
