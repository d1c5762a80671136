//! Conditions and keys in CEL, the Common Expression Language: compiled and checked when a snapshot is built.
//!
//! What an expression costs is bounded before it ever runs: its length, its nodes, its depth, one level of loops,
//! and the length of the lists that it may loop over. It reads the call in place; only what it names is made into a
//! value. An error while it runs (a missing header, a claim of another type) makes a condition false and a text
//! absent, and is counted.

mod check;
mod facts;
mod functions;
#[cfg(test)]
mod tests;
mod value;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cel::{
    Context, Env, ExecutionError, IdedExpr,
    common::types::{CelBool, CelDouble, CelInt, CelString, CelUInt, STRING_TYPE},
    common::value::{CowVal, Val},
    objects::Value,
};

pub(crate) use self::{
    check::Scope,
    facts::{AiFacts, ConsumerFacts, Facts, ToolFacts},
};
use self::{
    check::{Checked, Kind},
    value::{PATTERN, Pattern, Resolver},
};

/// Bytes of an expression's text.
const TEXT_BYTES_MAX: usize = 4096;
/// Brackets that may be open at one place, so that the parser's recursion is bounded.
const OPEN_BRACKETS_MAX: usize = 32;

/// A compiled expression.
pub(crate) struct Expression {
    text: Box<str>,
    root: IdedExpr,
    patterns: Vec<Pattern>,
    kind: Kind,
    failures: AtomicU64,
}

thread_local! {
    // One per thread: a shared count of owners would be a line that all cores write.
    static ENV: Arc<Env> = Arc::new(environment());
}

/// The functions that expressions may call: the standard ones, and `matches` with a pattern that was compiled.
fn environment() -> Env {
    fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
        let [text, pattern] = args.as_slice() else { return Err(ExecutionError::MissingArgumentOrTarget) };
        match (text.downcast_ref::<CelString<'_>>(), pattern.downcast_ref::<Pattern>()) {
            (Some(text), Some(pattern)) => Ok(CowVal::owned(CelBool::from(pattern.is_match(text.inner())))),
            _ => Err(ExecutionError::MissingArgumentOrTarget),
        }
    }
    let mut env = Env::stdlib().with_optional_support(false);
    // The standard library has no overload of this name and these types, so neither call can fail; if one ever
    // did, expressions that use what is missing would be false.
    let _ = env.add_member_overload("matches", "matches_compiled", STRING_TYPE, vec![PATTERN], matches);
    let _ = env.add_extension(cel::extensions::strings);
    env
}

impl Expression {
    /// Compiles and checks an expression whose value is a text, a number or a truth value.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn compile(text: &str, scope: Scope<'_>) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("the expression is longer than {TEXT_BYTES_MAX} bytes"));
        }
        if deepest_bracket(text) > OPEN_BRACKETS_MAX {
            return Err(format!("more than {OPEN_BRACKETS_MAX} brackets are open at one place"));
        }
        let parsed = ENV.with(|env| env.parser().parse(text));
        let mut root = parsed.map_err(|errors| match errors.errors.first() {
            Some(error) => format!("column {}: {}", error.pos.1, error.msg),
            None => "it is no expression".to_owned(),
        })?;
        let Checked { kind, patterns } = check::check(&mut root, scope)?;
        Ok(Self { text: text.into(), root, patterns, kind, failures: AtomicU64::new(0) })
    }

    /// Compiles and checks an expression whose value is true or false.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn condition(text: &str, scope: Scope<'_>) -> Result<Self, String> {
        let expression = Self::compile(text, scope)?;
        match expression.kind {
            Kind::Bool | Kind::Dyn => Ok(expression),
            other => Err(format!("its value is {other}, but a condition is true or false")),
        }
    }

    /// Compiles and checks an expression whose value can be told as text.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn scalar(text: &str, scope: Scope<'_>) -> Result<Self, String> {
        let expression = Self::compile(text, scope)?;
        match expression.kind {
            Kind::Text | Kind::Int | Kind::Uint | Kind::Double | Kind::Bool | Kind::Dyn => Ok(expression),
            other => Err(format!("its value is {other}, but a text, a number or a truth value is needed")),
        }
    }

    /// Whether it is true. What fails or is no truth value is false.
    pub(crate) fn eval_bool(&self, facts: &Facts<'_>) -> bool {
        let answer = self.eval(facts, |value| value.downcast_ref::<CelBool>().map(|truth| *truth.inner()));
        answer.unwrap_or(false)
    }

    /// Its value as text. What fails or is neither text, number nor truth value is absent.
    pub(crate) fn eval_string(&self, facts: &Facts<'_>) -> Option<String> {
        self.eval(facts, scalar)
    }

    /// Its value as JSON. What fails or is neither text, number nor truth value is absent.
    pub(crate) fn eval_json(&self, facts: &Facts<'_>) -> Option<serde_json::Value> {
        self.eval(facts, |value| {
            if let Some(truth) = value.downcast_ref::<CelBool>() {
                return Some((*truth.inner()).into());
            }
            if let Some(number) = value.downcast_ref::<CelInt>() {
                return Some((*number.inner()).into());
            }
            if let Some(number) = value.downcast_ref::<CelUInt>() {
                return Some((*number.inner()).into());
            }
            if let Some(number) = value.downcast_ref::<CelDouble>() {
                return serde_json::Number::from_f64(*number.inner()).map(Into::into);
            }
            scalar(value).map(Into::into)
        })
    }

    /// How often it failed since it was compiled.
    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn eval<T>(&self, facts: &Facts<'_>, read: impl FnOnce(&(dyn Val + '_)) -> Option<T>) -> Option<T> {
        let resolver = Resolver { facts, patterns: &self.patterns };
        let mut context = ENV.with(|env| Context::with_env(env.clone()));
        context.set_variable_resolver(&resolver);
        let value = Value::resolve_val(&self.root, &context);
        let answer = value.ok().and_then(|value| read(&*value));
        if answer.is_none() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

fn scalar(value: &(dyn Val + '_)) -> Option<String> {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        return Some(text.inner().to_owned());
    }
    let number = value.downcast_ref::<CelInt>().map(|number| number.inner().to_string());
    number
        .or_else(|| value.downcast_ref::<CelUInt>().map(|number| number.inner().to_string()))
        .or_else(|| value.downcast_ref::<CelDouble>().map(|number| number.inner().to_string()))
        .or_else(|| value.downcast_ref::<CelBool>().map(|truth| truth.inner().to_string()))
}

fn deepest_bracket(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression")
            .field("text", &self.text)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
