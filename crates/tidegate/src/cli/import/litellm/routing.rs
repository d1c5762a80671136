//! Which deployment is asked first, how long it may take, and when it is set aside.

use serde_json::{Map, Value, json};

use super::{Import, Model, facts, guards::millis, taken};

/// How long a call may take until its answer begins.
pub(super) fn request_within(seconds: f64) -> Value {
    json!({"request": millis(seconds.min(86_400.0))})
}

impl Import {
    /// How long calls may take, for providers that do not say it themselves.
    pub(super) fn timeouts(&mut self, fields: &mut Map<String, Value>) {
        let found = [
            taken(fields, "litellm_settings", "request_timeout"),
            taken(fields, "router_settings", "timeout"),
        ];
        let stream = taken(fields, "router_settings", "stream_timeout");
        if let Some(seconds) = found.iter().flatten().find_map(facts::number) {
            for provider in &mut self.providers {
                provider.entry("timeouts").or_insert_with(|| request_within(seconds));
            }
        }
        if let Some(seconds) = stream.as_ref().and_then(facts::number) {
            for provider in &mut self.providers {
                provider.entry("firstToken").or_insert_with(|| millis(seconds).into());
            }
        }
    }

    /// Takes `firstToken` from providers that no model has beside another target: the last one is waited for.
    pub(super) fn first_tokens(&mut self) {
        let mut alone: Vec<String> = Vec::new();
        for provider in &mut self.providers {
            let name = provider.get("name").cloned().unwrap_or_default();
            let has = |model: &Model| model.targets.iter().any(|target| target["provider"] == name);
            let is_beside = self.models.iter().any(|model| model.targets.len() > 1 && has(model));
            if !is_beside && provider.remove("firstToken").is_some() {
                alone.push(format!("`{}`", name.as_str().unwrap_or_default()));
            }
        }
        if !alone.is_empty() {
            self.note(
                "stream_timeout",
                format_args!(
                    "left out for {}, the only target of its models, which is waited for: give them another, or set \
                     `timeouts`",
                    alone.join(", ")
                ),
            );
        }
    }

    /// How many failures set a deployment aside, and for how long.
    pub(super) fn cooldown(&mut self, fields: &mut Map<String, Value>) {
        let mut find = |key: &str| {
            let found = [taken(fields, "router_settings", key), taken(fields, "litellm_settings", key)];
            found.iter().flatten().find_map(facts::number)
        };
        let (fails, time) = (find("allowed_fails"), find("cooldown_time"));
        let disabled =
            taken(fields, "router_settings", "disable_cooldowns").is_some_and(|value| value == true);
        if disabled || (fails.is_none() && time.is_none()) {
            return;
        }
        let mut breaker = json!({"slidingWindow": "60s"});
        if let Some(fails) = fails {
            breaker["minimumNumberOfCalls"] = ((fails as u64).min(1_000_000) + 1).into();
        }
        if let Some(seconds) = time.filter(|seconds| *seconds > 0.0) {
            breaker["waitDurationInOpenState"] = millis(seconds).into();
        }
        for provider in &mut self.providers {
            provider.insert("circuitBreaker".into(), breaker.clone());
            if let Some(seconds) = time.filter(|seconds| *seconds > 0.0) {
                let max = millis(seconds.max(600.0));
                provider.insert("keyCooldown".into(), json!({"first": millis(seconds), "max": max}));
            }
        }
        self.note(
            "router_settings.allowed_fails",
            "`allowed_fails` and `cooldown_time` became a `circuitBreaker` (half of that many calls in a minute must fail) and \
             the `keyCooldown` of each provider",
        );
    }

    /// Which target is asked first.
    pub(super) fn strategy(&mut self, theirs: Option<Value>) -> Option<&'static str> {
        let text = theirs.as_ref().and_then(Value::as_str).unwrap_or("simple-shuffle").to_owned();
        let place = "router_settings.routing_strategy";
        match text.as_str() {
            "simple-shuffle" => None,
            "latency-based-routing" => Some("leastLatency"),
            "least-busy" => Some("leastBusy"),
            "cost-based-routing" => Some("leastCost"),
            "usage-based-routing" | "usage-based-routing-v2" => {
                self.note(
                    place,
                    format_args!("`{text}` became `leastBusy`, which is nearest: calls in flight by weight"),
                );
                Some("leastBusy")
            }
            _ => {
                self.note(place, format_args!("`{text}` has no counterpart: targets share by weight"));
                None
            }
        }
    }
}
