//! `authorize`: lets in calls that meet conditions.

use std::sync::Arc;

use http::StatusCode;
use model::Enforcement;

use super::{
    Flow, Needs, NeedsOf, Policy,
    counted::{Counted, Metric},
    facts::facts,
    judged,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    expression::{Expression, Scope},
    failure::{Failure, Problem},
    protected::of_expression,
};

static METRIC: Metric = Metric {
    name: "tidegate_authorize_total",
    help: "Calls that were judged by conditions: let in, refused, or such as would have been.",
    outcomes: &["allowed", "refused", "detected"],
    gauges: &[],
};
const ALLOWED: usize = 0;
const REFUSED: usize = 1;
const DETECTED: usize = 2;

/// The compiled policy.
pub(crate) struct Authorize {
    rules: Vec<Rule>,
    mode: Enforcement,
    counted: Arc<Counted>,
}

struct Rule {
    require: Expression,
    message: Option<Box<str>>,
    status: StatusCode,
}

impl Authorize {
    pub(crate) fn compile(settings: &model::policy::Authorize, cx: &Building<'_>) -> Result<Self, String> {
        let rule = |(place, rule): (usize, &model::policy::authorize::AuthorizeRule)| {
            let wrong = |error: String| format!("`rules[{place}].require`: {error}");
            Ok::<_, String>(Rule {
                require: Expression::condition(&rule.require, Scope::Call).map_err(wrong)?,
                message: rule.message.as_deref().map(Into::into),
                status: StatusCode::from_u16(rule.status).map_err(|error| error.to_string())?,
            })
        };
        Ok(Self {
            rules: settings.rules.iter().enumerate().map(rule).collect::<Result<_, _>>()?,
            mode: settings.mode,
            counted: Counted::of(&METRIC, cx),
        })
    }
}

impl NeedsOf for model::policy::Authorize {
    fn needs(&self) -> Needs {
        Needs::headers(self.rules.iter().flat_map(|rule| of_expression(&rule.require)))
    }
}

impl Policy for Authorize {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let unmet = {
            let facts = facts(call);
            self.rules.iter().position(|rule| !rule.require.eval_bool(&facts))
        };
        let Some((place, rule)) = unmet.and_then(|place| Some((place, self.rules.get(place)?))) else {
            self.counted.note(ALLOWED);
            return Flow::Continue;
        };
        if !judged::object(call, "authorize", self.mode, format!("rules[{place}]")) {
            self.counted.note(DETECTED);
            return Flow::Continue;
        }
        self.counted.note(REFUSED);
        let failure = Failure::refused(Problem::Forbidden)
            .with_status(rule.status)
            .with_detail(format!("rules[{place}] is not met"));
        Flow::Fail(match &rule.message {
            Some(message) => failure.with_hint(&**message),
            None => failure,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call_in, outcome, with_claims, with_header};

    fn refused(
        rules: serde_json::Value,
        prepare: impl FnOnce(Call) -> Call,
    ) -> Option<(u16, Option<String>)> {
        let settings = serde_json::from_value(serde_json::json!({"rules": rules})).expect("settings");
        building("consumers: [{name: gold, groups: [partners]}]", |cx| {
            let policy = Authorize::compile(&settings, cx).expect("compiles");
            let mut call = prepare(call_in(cx, "POST", "/orders?tenant=a"));
            let failure = outcome(&policy, &mut call).err()?;
            Some((failure.status().as_u16(), failure.hint().map(str::to_owned)))
        })
    }

    #[test]
    fn the_first_condition_that_is_not_met_decides_the_answer() {
        let rules = serde_json::json!([
            {"require": "request.method == 'POST'", "status": 404},
            {"require": "jwt.tenant == request.query.tenant", "message": "another tenant's"},
            {"require": "'admin' in jwt.roles", "status": 402},
        ]);
        let with = |claims: &'static str| refused(rules.clone(), |call| with_claims(call, claims));
        assert_eq!(with(r#"{"tenant": "a", "roles": ["admin"]}"#), None);
        assert_eq!(
            with(r#"{"tenant": "b", "roles": ["admin"]}"#),
            Some((403, Some("another tenant's".to_owned())))
        );
        assert_eq!(with(r#"{"tenant": "a", "roles": ["user"]}"#), Some((402, None)));
        assert_eq!(with(r#"{"tenant": "a"}"#), Some((402, None)), "a claim that is not there");
        assert_eq!(refused(rules, |call| call).map(|(status, _)| status), Some(403), "no token at all");
    }

    #[test]
    fn what_cannot_be_told_is_not_met_however_it_is_turned() {
        for rule in ["!jwt.blocked", "jwt.level < 3", "!('x' in jwt.roles)", "consumer.name != 'evil'"] {
            let rules = serde_json::json!([{"require": rule}]);
            assert_eq!(refused(rules, |call| call).map(|(status, _)| status), Some(403), "{rule}");
        }
        let rules = serde_json::json!([{"require": "request.headers['x-a'] == '1'"}]);
        assert_eq!(refused(rules, |call| with_header(call, "x-a", "1")), None);
    }
}
