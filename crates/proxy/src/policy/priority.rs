//! `priority`: divides places among classes of calls.
//!
//! [Who is next](resilience::fair) is decided there; here is which class a call is of, and how long it waits. A call that waits is
//! woken on its own thread, and reads nothing of its body meanwhile. A place is taken until the call is over, its answer's body
//! included, however it ends.

pub(crate) mod report;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue};
use model::{Classed, policy::priority::PriorityClass};
use resilience::fair::{ClassSettings, Fair};

use self::report::{Divided, Outcome};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    call_key::{CallKey, KeyHasher},
    facts::facts,
    needs::of_key,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    expression::{Expression, Scope},
    failure::{Failure, Problem, Stage},
    protected::of_expression,
};

/// The compiled policy.
pub(crate) struct Priority {
    classes: Vec<Class>,
    /// Callers who take turns within a class.
    callers: Option<CallKey>,
    divided: Arc<Divided>,
    retry_after: Duration,
}

struct Class {
    name: Arc<str>,
    groups: Vec<String>,
    header: Option<(HeaderName, Option<HeaderValue>)>,
    when: Option<Expression>,
    max_wait: Duration,
}

impl Priority {
    pub(crate) fn compile(settings: &model::policy::Priority, cx: &Building<'_>) -> Result<Self, String> {
        let places = usize::try_from(settings.max_concurrent).unwrap_or(usize::MAX);
        let of = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let class = |class: &PriorityClass| ClassSettings {
            weight: class.weight,
            guaranteed: of(class.guaranteed),
            most: class.max.map_or(places, of),
            waiting: of(class.max_waiting),
        };
        // How a call finds its class may change while calls are in flight; what a class is may not.
        let shape: Vec<_> = settings
            .classes
            .iter()
            .map(|one| (&one.name, one.weight, one.guaranteed, one.max, one.max_waiting))
            .collect();
        let divided = cx.keep(report::KEPT, &(places, shape), || Divided {
            fair: Fair::new(places, settings.classes.iter().map(class)),
            classes: settings.classes.iter().map(report::Counts::of).collect(),
            hasher: KeyHasher::default(),
        });
        let compiled =
            settings.classes.iter().enumerate().map(|(index, class)| {
                Class::compile(class).map_err(|error| format!("classes[{index}].{error}"))
            });
        Ok(Self {
            classes: compiled.collect::<Result<_, _>>()?,
            callers: match &settings.fair_by {
                Some(key) => {
                    let compiled = CallKey::compile(key, settings.ipv6_prefix);
                    Some(compiled.map_err(|error| error.replacen("`key.", "`fairBy.", 1))?)
                }
                None => None,
            },
            divided,
            retry_after: settings.retry_after.get(),
        })
    }

    /// The class of a call: the first that fits; the last takes every call.
    fn class(&self, call: &Call) -> Option<(usize, &Class)> {
        let fits = |(_, class): &(usize, &Class)| class.fits(call);
        self.classes.iter().enumerate().find(fits).or_else(|| self.classes.iter().enumerate().last())
    }

    fn refuse(&self, class: usize, outcome: Outcome) -> Failure {
        self.divided.note(class, outcome);
        let detail = match outcome {
            Outcome::TimedOut => "no place became free in time",
            _ => "as many calls of the class wait as may",
        };
        Failure::gateway(Stage::Policy, Problem::Overloaded)
            .with_retry_after(self.retry_after)
            .with_detail(detail)
    }
}

impl Class {
    fn compile(settings: &PriorityClass) -> Result<Self, String> {
        let header = settings.header.as_ref().map(|header| {
            let value = header.value.as_deref().map(HeaderValue::from_str).transpose();
            let value = value.map_err(|_| "header.value: no header can hold it".to_owned())?;
            Ok::<_, String>((header.name.to_http(), value))
        });
        let condition = |text: &String| {
            Expression::condition(text, Scope::Call).map_err(|error| format!("when: {error}"))
        };
        Ok(Self {
            name: settings.name.as_str().into(),
            groups: settings.groups.clone(),
            header: header.transpose()?,
            when: settings.when.as_ref().map(condition).transpose()?,
            max_wait: settings.max_wait.get(),
        })
    }

    fn fits(&self, call: &Call) -> bool {
        let has_group = || {
            let consumer = call.consumer.as_ref();
            consumer.is_some_and(|one| {
                one.groups.iter().any(|group| self.groups.iter().any(|own| **own == **group))
            })
        };
        let has_header = |(name, value): &(HeaderName, Option<HeaderValue>)| {
            let mut values = call.head.headers.get_all(name).iter();
            values.any(|shown| value.as_ref().is_none_or(|value| value == shown))
        };
        (self.groups.is_empty() || has_group())
            && self.header.as_ref().is_none_or(has_header)
            && self.when.as_ref().is_none_or(|when| when.eval_bool(&facts(call)))
    }
}

impl NeedsOf for model::policy::Priority {
    fn needs(&self) -> Needs {
        let of_class = |class: &PriorityClass| {
            let header = class.header.iter().map(|header| header.name.to_http());
            header.chain(class.when.as_deref().into_iter().flat_map(of_expression)).collect::<Vec<_>>()
        };
        let classes = self.classes.iter().flat_map(of_class);
        Needs::headers(classes.chain(self.fair_by.iter().flat_map(of_key)))
    }
}

impl Policy for Priority {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let Some((index, class)) = self.class(call) else { return Flow::Continue };
        if let Some(place) = self.divided.fair.try_enter(index) {
            self.divided.note(index, Outcome::Entered);
            call.keep(self, place);
            call.traffic().class = Some(Classed { class: class.name.clone(), waited: Duration::ZERO });
            return Flow::Continue;
        }
        let caller = self.callers.as_ref().map_or(0, |key| key.of(call, &self.divided.hasher));
        let Ok(turn) = self.divided.fair.wait(index, caller) else {
            call.traffic().class = Some(Classed { class: class.name.clone(), waited: Duration::ZERO });
            return Flow::Fail(self.refuse(index, Outcome::Full));
        };
        Flow::Wait(Box::pin(async move {
            let began = Instant::now();
            let outcome = tokio::time::timeout(class.max_wait, turn).await;
            let waited = began.elapsed();
            call.traffic().class = Some(Classed { class: class.name.clone(), waited });
            self.divided.waited(index, waited);
            match outcome {
                Ok(Ok(place)) => {
                    self.divided.note(index, Outcome::Waited);
                    call.keep(self, place);
                    Verdict::Continue
                }
                Ok(Err(_)) => Verdict::Fail(self.refuse(index, Outcome::Full)),
                Err(_) => Verdict::Fail(self.refuse(index, Outcome::TimedOut)),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{building, call, outcome, with_header};

    fn policy(settings: serde_json::Value) -> Priority {
        let settings = serde_json::from_value(settings).expect("good settings");
        building("", |cx| Priority::compile(&settings, cx)).expect("compiles")
    }

    fn class(policy: &Priority, call: &Call) -> String {
        policy.class(call).map(|(_, class)| class.name.to_string()).expect("a class")
    }

    #[test]
    fn a_call_is_of_the_first_class_all_of_whose_conditions_hold() {
        let policy = policy(serde_json::json!({"maxConcurrent": 10, "classes": [
            {"name": "pay", "when": "request.path.startsWith('/pay')", "header": {"name": "x-shop"}},
            {"name": "batch", "header": {"name": "x-batch", "value": "true"}},
            {"name": "gold", "groups": ["partners"]},
            {"name": "rest"},
        ]}));
        let pay = with_header(call("GET", "/pay/1"), "x-shop", "a");
        assert_eq!(class(&policy, &pay), "pay");
        assert_eq!(class(&policy, &call("GET", "/pay/1")), "rest", "both conditions must hold");
        assert_eq!(class(&policy, &with_header(call("GET", "/"), "x-batch", "true")), "batch");
        assert_eq!(class(&policy, &with_header(call("GET", "/"), "x-batch", "no")), "rest");
    }

    #[test]
    fn a_place_comes_back_however_the_call_ends() {
        let settings = serde_json::json!({"maxConcurrent": 1, "classes": [{"name": "all", "maxWaiting": 0}]});
        let policy = policy(settings);
        let mut first = call("GET", "/");
        outcome(&policy, &mut first).expect("room");
        let refused = outcome(&policy, &mut call("GET", "/")).expect_err("full");
        assert_eq!(
            (refused.problem(), refused.retry_after()),
            (Problem::Overloaded, Some(Duration::from_secs(1)))
        );
        drop(first);
        let mut next = call("GET", "/");
        outcome(&policy, &mut next).expect("room again");
        let class = next.record.traffic.as_ref().and_then(|traffic| traffic.class.as_ref()).expect("noted");
        assert_eq!((&*class.class, class.waited), ("all", Duration::ZERO));
    }
}
