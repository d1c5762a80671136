//! What rules look at: variables and which of their values.

use std::sync::Arc;

use crate::{
    pattern::Pattern,
    seclang::RawTarget,
    variable::{self, Variable},
};

/// A target of a rule.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    pub(crate) variable: Variable,
    pub(crate) selector: Selector,
    /// How many there are is looked at.
    pub(crate) is_count: bool,
}

/// Which values of a variable.
#[derive(Debug, Clone)]
pub(crate) enum Selector {
    All,
    /// Of this name, lower-case.
    Name(Box<str>),
    /// Of names in which it is found.
    Like(Arc<Pattern>),
    /// Of XML: values of attributes.
    Attributes,
}

impl Selector {
    /// Whether a value of this name is meant.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Name(own) => own.as_bytes().eq_ignore_ascii_case(name),
            Self::Like(pattern) => pattern.is_match(name) == Some(true),
            Self::Attributes => false,
        }
    }

    fn new(variable: Variable, text: Option<&str>, backtracks: usize) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self::All) };
        if variable == Variable::Xml {
            return match text {
                "/*" | "//*" => Ok(Self::All),
                "//@*" | "/@*" => Ok(Self::Attributes),
                other => Err(format!(
                    "`XML:{other}` asks for an XPath that is not supported: `XML:/*` is all text, `XML://@*` every \
                     attribute's value"
                )),
            };
        }
        if !variable.is_collection() {
            return Err(format!("`{}` has one value and no selector; take `:{text}` away", variable.name()));
        }
        match text.strip_prefix('/').and_then(|text| text.strip_suffix('/')) {
            Some(pattern) => {
                let pattern = Pattern::new(pattern, true, backtracks)?;
                Ok(Self::Like(Arc::new(pattern)))
            }
            None => Ok(Self::Name(text.to_ascii_lowercase().into())),
        }
    }
}

/// The targets of a rule, what is left out of them apart.
pub(super) struct Targets {
    pub(super) looked: Vec<Looked>,
    pub(super) without: Vec<(Variable, Selector)>,
}

/// Compiles targets.
pub(super) fn compile(raw: Vec<RawTarget>, backtracks: usize) -> Result<Targets, String> {
    let mut targets = Targets { looked: Vec::new(), without: Vec::new() };
    for RawTarget { exclude, count, name, selector } in raw {
        let Some(variable) = Variable::named(&name) else {
            let remedy = variable::absent(&name)
                .unwrap_or("expected one that ModSecurity knows; is it misspelt, or does a plugin bring it?");
            return Err(format!("there is no variable `{name}`: {remedy}"));
        };
        if variable == Variable::Rule {
            return Err("RULE is for macros such as `%{RULE.id}`; there is nothing of it to look at".into());
        }
        let selector = Selector::new(variable, selector.as_deref(), backtracks)?;
        if exclude {
            targets.without.push((variable, selector));
        } else {
            targets.looked.push(Looked { variable, selector, is_count: count });
        }
    }
    Ok(targets)
}
