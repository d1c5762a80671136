//! Rules of methods: who may call which, and how often.

use model::resource::a2a::{A2aMethod, A2aRoute};
use serde_json::{Map, Value};

use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
    handler::mcp::{
        allow::{Allow, unfit},
        strict,
    },
    policy::{Flow, Policy, Verdict, rate_limit::RateLimit},
};

/// What a limit is called, like the policy that it is.
const KEY: &str = model::policy::RateLimit::KEY;
/// The code of what is refused here; the protocol's own codes begin below it.
pub(super) const REFUSED: i32 = -32000;

struct Rule {
    agents: Vec<String>,
    methods: Vec<A2aMethod>,
    allow: Option<Allow>,
    limit: Option<Box<RateLimit>>,
}

/// The compiled rules of a route.
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    pub(super) fn compile(settings: &A2aRoute, cx: &Building<'_>) -> Result<Self, String> {
        let mut rules = Vec::with_capacity(settings.rules.len());
        for (index, rule) in settings.rules.iter().enumerate() {
            let wrong = |key: &str, error: String| format!("`rules[{index}].{key}`: {error}");
            let allow = match &rule.allow {
                Some(text) => Some(Allow::compile(text).map_err(|error| wrong("allow", error))?),
                None => None,
            };
            let limit = match &rule.rate_limit {
                Some(limit) => {
                    let owner = format!("{}/a2a/rules/{index}", cx.owner);
                    let limit = RateLimit::compile(limit, &cx.of(&owner));
                    Some(Box::new(limit.map_err(|error| wrong(KEY, error))?))
                }
                None => None,
            };
            rules.push(Rule { agents: rule.agents.clone(), methods: rule.methods.clone(), allow, limit });
        }
        Ok(Self(rules))
    }

    /// Judges a call.
    pub(super) async fn judge(
        &self,
        call: &mut Call,
        agent: &str,
        method: A2aMethod,
        params: &str,
    ) -> Result<(), Failure> {
        let fits = |rule: &&Rule| {
            (rule.agents.is_empty() || rule.agents.iter().any(|known| known == agent))
                && (rule.methods.is_empty() || rule.methods.contains(&method))
        };
        let Some(rule) = self.0.iter().find(fits) else { return Ok(()) };
        if let Some(allow) = &rule.allow {
            let arguments = arguments(allow, params)?;
            let name = format!("{agent}/{}", method.name());
            allow.judgeable(&arguments)?;
            if !allow.holds(call, &name, Some(&arguments)) {
                return Err(Failure::refused(Problem::Forbidden)
                    .with_rpc_code(REFUSED)
                    .with_hint(format!("this caller may not call `{}` of `{agent}`", method.name())));
            }
        }
        let Some(limit) = &rule.limit else { return Ok(()) };
        let mut none = Body::Empty;
        let refused = match limit.request(call, &mut none) {
            Flow::Fail(failure) => failure,
            Flow::Wait(wait) => match wait.await {
                Verdict::Fail(failure) => failure,
                _ => return Ok(()),
            },
            Flow::Continue | Flow::Answer(_) => return Ok(()),
        };
        call.record.stopped_by = Some(KEY);
        Err(refused.with_rpc_code(REFUSED))
    }
}

/// What a rule judges by. Where it asks for any of it, an agent must not be able to read another member than it does.
fn arguments(allow: &Allow, params: &str) -> Result<Map<String, Value>, Failure> {
    if !allow.asks_for_arguments || params.trim().is_empty() {
        return Ok(serde_json::from_str(params).unwrap_or_default());
    }
    match strict::unique(params) {
        Some(Value::Object(members)) => Ok(members),
        Some(_) => Ok(Map::new()),
        None => Err(unfit("the params have a member that is there twice, once spelled otherwise")),
    }
}
