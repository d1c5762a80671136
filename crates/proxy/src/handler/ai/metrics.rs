//! The state of providers' keys as metrics, read at the time of a scrape. Keys are told by their place alone.

use std::sync::Weak;

use telemetry::{Collect, Exposition};

use super::keys::KeyStatus;
use crate::worker::Shared;

/// What a key's state says as a number.
type Reading = fn(&KeyStatus) -> f64;

/// Writes what the keys of the live providers are like. What the configuration no longer names is gone from the page.
pub(crate) struct ProviderMetrics(pub(crate) Weak<Shared>);

impl Collect for ProviderMetrics {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let providers = shared.compiled.load().provider_status();
        let keys = || providers.iter().flat_map(|one| one.keys.iter().map(move |key| (&*one.name, key)));
        let gauges: [(&str, &str, Reading); 2] = [
            ("tidegate_ai_key_aside", "Whether the key is set aside or waits for its trial.", |key| {
                f64::from(u8::from(key.state != "READY"))
            }),
            ("tidegate_ai_key_models_aside", "Models for which the key is set aside.", |key| {
                key.models.len() as f64
            }),
        ];
        for (name, help, value) in gauges {
            for (provider, key) in keys() {
                out.gauge(name, help, &[("provider", provider), ("key", &key.key)], value(key));
            }
        }
        let counters: [(&str, &str, Reading); 3] = [
            ("tidegate_ai_key_requests_total", "Calls that the key was taken for.", |key| key.calls as f64),
            ("tidegate_ai_key_refused_total", "Calls that the provider refused the key for.", |key| {
                key.refused as f64
            }),
            ("tidegate_ai_key_limited_total", "Calls that were over a limit of the provider's.", |key| {
                key.limited as f64
            }),
        ];
        for (name, help, value) in counters {
            for (provider, key) in keys() {
                out.counter(name, help, &[("provider", provider), ("key", &key.key)], value(key));
            }
        }
        type OfShadow = fn(&super::shadow::ShadowStatus) -> f64;
        let shadows: [(&str, &str, OfShadow); 6] = [
            ("tidegate_ai_shadow_requests_total", "Calls that a second model was asked too.", |one| {
                one.asked as f64
            }),
            (
                "tidegate_ai_shadow_left_out_total",
                "Calls left out, too many being asked at the time.",
                |one| one.left_out as f64,
            ),
            ("tidegate_ai_shadow_failed_total", "Calls that a second model did not answer.", |one| {
                one.failed as f64
            }),
            ("tidegate_ai_shadow_input_tokens_total", "Tokens of second models' prompts.", |one| {
                one.input_tokens as f64
            }),
            ("tidegate_ai_shadow_output_tokens_total", "Tokens of second models' answers.", |one| {
                one.output_tokens as f64
            }),
            ("tidegate_ai_shadow_cost_dollars_total", "What second models cost.", |one| one.cost_usd),
        ];
        for (name, help, value) in shadows {
            for one in &providers {
                out.counter(name, help, &[("provider", &*one.name)], value(&one.shadow));
            }
        }
        type OfQueue = fn(&super::queue::QueueStatus) -> f64;
        let queues: [(&str, &str, bool, OfQueue); 5] = [
            (
                "tidegate_ai_queue_in_flight",
                "Calls at the keys of a provider that has a queue.",
                false,
                |queue| queue.in_flight as f64,
            ),
            ("tidegate_ai_queue_waiting", "Calls that wait for a key.", false, |queue| queue.waiting as f64),
            (
                "tidegate_ai_queue_waited_total",
                "Calls that have waited for a key and got one.",
                true,
                |queue| queue.waited as f64,
            ),
            ("tidegate_ai_queue_wait_seconds_total", "How long these have waited.", true, |queue| {
                queue.waited_seconds
            }),
            ("tidegate_ai_queue_refused_total", "Calls that got no key in time.", true, |queue| {
                queue.refused as f64
            }),
        ];
        for (name, help, counts, value) in queues {
            for one in &providers {
                let Some(queue) = &one.queue else { continue };
                let labels = [("provider", &*one.name)];
                match counts {
                    true => out.counter(name, help, &labels, value(queue)),
                    false => out.gauge(name, help, &labels, value(queue)),
                }
            }
        }
        for (provider, key) in keys() {
            if let Some(left) = key.token_seconds {
                let help = "For how long a fetched token still holds; 0 without one.";
                out.gauge(
                    "tidegate_ai_key_token_seconds",
                    help,
                    &[("provider", provider), ("key", &key.key)],
                    left,
                );
            }
        }
    }
}
