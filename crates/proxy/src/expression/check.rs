//! What can be known of an expression before it runs: its names, its functions, its types as far as they are
//! certain, and a bound of what it costs. Patterns of `matches` are compiled on the way.

use std::fmt;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators},
};

use super::{
    functions,
    value::{PATTERN_NAME, Pattern},
};

/// Nodes of an expression, macros expanded.
const NODES_MAX: usize = 256;
/// Nodes below one another.
const DEPTH_MAX: usize = 48;

/// Where an expression runs, and so what it may name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// While the route is looked for: nobody is authenticated yet.
    Route {
        /// Names that the path pattern captures.
        captures: &'a [Box<str>],
    },
    /// In a policy, when the route is known.
    Call,
    /// When it is known which tool is called, and with what.
    Tool,
    /// Where a target of a model is chosen.
    Model,
}

/// A type, as far as it is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only known when it runs.
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Null,
    List,
    Map,
    /// A map of names to texts that cannot be looped over: headers, query, cookies.
    Texts,
    Captures,
    Request,
    Client,
    Tls,
    Consumer,
    Ai,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dyn => "anything",
            Self::Bool => "a truth value",
            Self::Int => "an int",
            Self::Uint => "a uint",
            Self::Double => "a double",
            Self::Text => "a string",
            Self::Bytes => "bytes",
            Self::Null => "null",
            Self::List => "a list",
            _ => "a map",
        })
    }
}

impl Kind {
    pub(super) fn is(self, wanted: Self) -> bool {
        self == wanted || self == Self::Dyn
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether values of both may be equal.
    fn meets(self, other: Self) -> bool {
        let open = |kind| matches!(kind, Self::Dyn | Self::Null);
        self == other || open(self) || open(other) || (self.is_number() && other.is_number())
    }

    /// The members that it is known to have.
    fn members(self) -> Option<&'static [(&'static str, Self)]> {
        Some(match self {
            Self::Request => &[
                ("method", Self::Text),
                ("path", Self::Text),
                ("host", Self::Text),
                ("scheme", Self::Text),
                ("headers", Self::Texts),
                ("query", Self::Texts),
                ("cookies", Self::Texts),
            ],
            Self::Client => &[("address", Self::Text)],
            Self::Tls => &[("sni", Self::Text), ("enabled", Self::Bool)],
            Self::Consumer => &[("name", Self::Text), ("groups", Self::List)],
            Self::Ai => &[
                ("model", Self::Text),
                ("dialect", Self::Text),
                ("stream", Self::Bool),
                ("tools", Self::Bool),
                ("images", Self::Bool),
                ("inputTokens", Self::Int),
                ("maxTokens", Self::Int),
            ],
            _ => return None,
        })
    }
}

const VARIABLES: [(&str, Kind); 6] = [
    ("request", Kind::Request),
    ("client", Kind::Client),
    ("tls", Kind::Tls),
    ("listener", Kind::Text),
    ("sni", Kind::Text),
    ("captures", Kind::Captures),
];
const AUTHENTICATED: [(&str, Kind); 2] = [("consumer", Kind::Consumer), ("jwt", Kind::Dyn)];
const OF_A_TOOL: [(&str, Kind); 2] = [("tool", Kind::Text), ("arguments", Kind::Dyn)];
const OF_MODELS: [(&str, Kind); 1] = [("ai", Kind::Ai)];

/// What a check found out.
pub(super) struct Checked {
    pub(super) kind: Kind,
    pub(super) patterns: Vec<Pattern>,
}

/// Checks an expression and replaces the patterns of `matches` by compiled ones.
pub(super) fn check(root: &mut IdedExpr, scope: Scope<'_>) -> Result<Checked, String> {
    let mut check =
        Check { scope, locals: Vec::new(), nodes: 0, depth: 0, in_loop: false, patterns: Vec::new() };
    let kind = check.kind(root)?;
    Ok(Checked { kind, patterns: check.patterns })
}

struct Check<'a> {
    scope: Scope<'a>,
    /// Variables of the loop that encloses.
    locals: Vec<String>,
    nodes: usize,
    depth: usize,
    in_loop: bool,
    patterns: Vec<Pattern>,
}

impl Check<'_> {
    fn kind(&mut self, node: &mut IdedExpr) -> Result<Kind, String> {
        self.nodes += 1;
        self.depth += 1;
        if self.nodes > NODES_MAX || self.depth > DEPTH_MAX {
            return Err(format!("it is too large: {NODES_MAX} operations, {DEPTH_MAX} deep, are the most"));
        }
        let kind = match &mut node.expr {
            Expr::Unspecified => return Err("it is no expression".to_owned()),
            Expr::Struct(_) => return Err("messages cannot be made here".to_owned()),
            Expr::Literal(literal) => literal_kind(literal),
            Expr::Ident(name) => self.variable(name)?,
            Expr::Select(select) => self.select(select)?,
            Expr::Call(call) => self.call(call)?,
            Expr::Comprehension(comprehension) => self.comprehension(comprehension)?,
            Expr::List(list) => {
                self.each(&mut list.elements)?;
                Kind::List
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.kind(&mut entry.key)?;
                        self.kind(&mut entry.value)?;
                    }
                }
                Kind::Map
            }
        };
        self.depth -= 1;
        Ok(kind)
    }

    fn each(&mut self, nodes: &mut [IdedExpr]) -> Result<Vec<Kind>, String> {
        nodes.iter_mut().map(|node| self.kind(node)).collect()
    }

    fn variable(&self, name: &str) -> Result<Kind, String> {
        if self.locals.iter().any(|local| local == name) {
            return Ok(Kind::Dyn);
        }
        let models = OF_MODELS.iter().filter(|_| matches!(self.scope, Scope::Model));
        let mut all = VARIABLES.iter().chain(AUTHENTICATED.iter()).chain(self.of_a_tool()).chain(models);
        let known = all.find(|(known, _)| *known == name);
        let early = matches!(self.scope, Scope::Route { .. });
        match known {
            Some((name, Kind::Consumer | Kind::Dyn)) if early => {
                Err(format!("`{name}` is not known while a route is looked for: nobody is authenticated yet"))
            }
            Some((_, kind)) => Ok(*kind),
            None => Err(format!("there is no variable `{name}`: {} are", self.names())),
        }
    }

    fn of_a_tool(&self) -> &'static [(&'static str, Kind)] {
        if matches!(self.scope, Scope::Tool) { &OF_A_TOOL } else { &[] }
    }

    fn names(&self) -> String {
        let early = matches!(self.scope, Scope::Route { .. });
        let late = AUTHENTICATED.iter().filter(|_| !early);
        let models = OF_MODELS.iter().filter(|_| matches!(self.scope, Scope::Model));
        let all = VARIABLES.iter().chain(late).chain(self.of_a_tool()).chain(models);
        all.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    fn select(&mut self, select: &mut SelectExpr) -> Result<Kind, String> {
        let operand = self.kind(&mut select.operand)?;
        let member = self.member(operand, &select.field)?;
        Ok(if select.test { Kind::Bool } else { member })
    }

    fn member(&self, operand: Kind, name: &str) -> Result<Kind, String> {
        if let Some(members) = operand.members() {
            let names = || members.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            let member = members.iter().find(|(known, _)| *known == name);
            return member
                .map(|(_, kind)| *kind)
                .ok_or_else(|| format!("there is no `{name}` here: {} are", names()));
        }
        match (operand, self.scope) {
            (Kind::Captures, Scope::Route { captures }) if !captures.iter().any(|known| **known == *name) => {
                Err(format!("the path of this match captures no `{name}`"))
            }
            (Kind::Captures | Kind::Texts, _) => Ok(Kind::Text),
            (Kind::Dyn | Kind::Map, _) => Ok(Kind::Dyn),
            (other, _) => Err(format!("{other} has no `{name}`")),
        }
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<Kind, String> {
        if call.func_name == "matches" {
            return self.matches(call);
        }
        let target = call.target.as_mut().map(|target| self.kind(target)).transpose()?;
        let index = match call.args.get(1).map(|index| &index.expr) {
            Some(Expr::Literal(LiteralValue::String(name))) => Some(name.inner().to_owned()),
            _ => None,
        };
        let args = self.each(&mut call.args)?;
        match (call.func_name.as_str(), target, args.as_slice()) {
            (operators::INDEX, None, [operand, by]) => self.index(*operand, *by, index.as_deref()),
            (operators::CONDITIONAL, None, [condition, yes, no]) => {
                bools("? :", &[*condition])?;
                Ok(if yes == no { *yes } else { Kind::Dyn })
            }
            (operators::LOGICAL_AND, None, both @ [_, _]) => bools("&&", both),
            (operators::LOGICAL_OR, None, both @ [_, _]) => bools("||", both),
            (operators::LOGICAL_NOT, None, one @ [_]) => bools("!", one),
            (operators::NOT_STRICTLY_FALSE, None, [_]) => Ok(Kind::Bool),
            (operators::EQUALS | operators::NOT_EQUALS, None, [left, right]) => {
                compare("equal", *left, *right)
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                None,
                [left, right],
            ) => compare("in order with", *left, *right),
            (operators::IN, None, [_, within]) => match within {
                Kind::Dyn | Kind::List | Kind::Map | Kind::Texts | Kind::Captures => Ok(Kind::Bool),
                other => Err(format!("nothing is `in` {other}")),
            },
            (operators::NEGATE, None, [one]) if one.is_number() || *one == Kind::Dyn => Ok(*one),
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO,
                None,
                [left, right],
            ) => arithmetic(&call.func_name, *left, *right),
            (name, target, args) => functions::kind(name, target, args),
        }
    }

    fn index(&self, operand: Kind, by: Kind, name: Option<&str>) -> Result<Kind, String> {
        match (operand, name) {
            (Kind::Dyn | Kind::Map, _) => Ok(Kind::Dyn),
            (Kind::List, _) if by.is_number() || by == Kind::Dyn => Ok(Kind::Dyn),
            (_, Some(name)) => self.member(operand, name),
            (Kind::Texts | Kind::Captures, None) if by.is(Kind::Text) => Ok(Kind::Text),
            _ => Err(format!("{operand} has no member named by {by}")),
        }
    }

    fn matches(&mut self, call: &mut CallExpr) -> Result<Kind, String> {
        let (Some(target), [argument]) = (&mut call.target, call.args.as_mut_slice()) else {
            return Err("`matches` is called on a string: `request.path.matches('^/v[12]/')`".to_owned());
        };
        let target = self.kind(target)?;
        let Expr::Literal(LiteralValue::String(pattern)) = &argument.expr else {
            return Err("the pattern of `matches` must stand in the expression, so that it is compiled once"
                .to_owned());
        };
        if !target.is(Kind::Text) {
            return Err(format!("`matches` is called on {target}, but wants a string"));
        }
        let compiled =
            Pattern::compile(pattern.inner()).map_err(|error| format!("`{}`: {error}", pattern.inner()))?;
        argument.expr = Expr::Ident(format!("{PATTERN_NAME}{}", self.patterns.len()));
        self.patterns.push(compiled);
        self.nodes += 1;
        Ok(Kind::Bool)
    }

    fn comprehension(&mut self, comprehension: &mut ComprehensionExpr) -> Result<Kind, String> {
        let over = self.kind(&mut comprehension.iter_range)?;
        if self.in_loop {
            return Err(
                "a loop (`all`, `exists`, `map`, `filter`) inside of another is not allowed".to_owned()
            );
        }
        if !matches!(over, Kind::List | Kind::Dyn) {
            return Err(format!("only lists can be looped over, not {over}"));
        }
        let initial = self.kind(&mut comprehension.accu_init)?;
        self.in_loop = true;
        self.locals.extend([comprehension.iter_var.clone(), comprehension.accu_var.clone()]);
        self.locals.extend(comprehension.iter_var2.clone());
        self.kind(&mut comprehension.loop_cond)?;
        self.kind(&mut comprehension.loop_step)?;
        let result = self.kind(&mut comprehension.result)?;
        self.locals.clear();
        self.in_loop = false;
        Ok(if result == Kind::Dyn { initial } else { result })
    }
}

fn literal_kind(literal: &LiteralValue) -> Kind {
    match literal {
        LiteralValue::Boolean(_) => Kind::Bool,
        LiteralValue::Bytes(_) => Kind::Bytes,
        LiteralValue::Double(_) => Kind::Double,
        LiteralValue::Int(_) => Kind::Int,
        LiteralValue::Null => Kind::Null,
        LiteralValue::String(_) => Kind::Text,
        LiteralValue::UInt(_) => Kind::Uint,
    }
}

fn bools(operator: &str, operands: &[Kind]) -> Result<Kind, String> {
    match operands.iter().find(|operand| !operand.is(Kind::Bool)) {
        None => Ok(Kind::Bool),
        Some(other) => Err(format!("`{operator}` wants true or false, not {other}")),
    }
}

fn compare(how: &str, left: Kind, right: Kind) -> Result<Kind, String> {
    if left.meets(right) { Ok(Kind::Bool) } else { Err(format!("{left} is never {how} {right}")) }
}

fn arithmetic(operator: &str, left: Kind, right: Kind) -> Result<Kind, String> {
    let joins = operator == operators::ADD && matches!(left, Kind::Text | Kind::List | Kind::Bytes);
    match (left, right) {
        (Kind::Dyn, other) | (other, Kind::Dyn) if other.is_number() || other == Kind::Dyn => Ok(other),
        (Kind::Dyn, Kind::Text | Kind::List) if operator == operators::ADD => Ok(right),
        (_, Kind::Dyn) if joins => Ok(left),
        _ if left == right && (left.is_number() || joins) => Ok(left),
        _ => Err(format!("`{}` is not between {left} and {right}", operator.trim_matches('_'))),
    }
}
