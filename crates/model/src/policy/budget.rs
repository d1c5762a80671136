//! `budget`: bounds money or tokens per day, week or month.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, token_rate_limit::MeterKey};
use crate::{
    Percent, Usd,
    load::Context,
    resource::redis::{Store, WhenAway},
    rules::Around,
};

/// Bounds money or tokens of models per day, week or month. The most that a call may cost is held before it is sent and
/// settled to what it cost: nothing is ever begun that the budget might not pay. Beyond it 429 in the words that
/// vendors have for it, until the period ends. What is spent outlives reloads and, in `--data-dir`, restarts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Budget {
    /// Dollars per period, such as `5` or `"12.50"`. Either this or `tokens`.
    pub amount: Option<Usd>,
    /// Tokens per period, of prompts and answers together. Either this or `amount`.
    #[schemars(range(min = 1))]
    pub tokens: Option<u64>,
    /// The period.
    pub per: Period,
    /// In which days begin, by its IANA name such as `Europe/Berlin`.
    pub time_zone: String,
    /// Whose spending is counted together.
    pub key: MeterKey,
    /// Leading bits of an IPv6 client address that count as one client.
    #[schemars(range(min = 1, max = 128))]
    pub ipv6_prefix: u8,
    /// From this share of the budget on, answers carry `x-tidegate-budget`, and the log and the metrics tell it once
    /// per period.
    pub warn_at: Percent,
    /// Every answer carries `x-tidegate-budget` with what is spent and what is left beside what the call may cost, not
    /// only from `warnAt` on.
    pub headers: bool,
    /// So many keys, those that have spent the most, are named with what they have spent in the metrics
    /// (`tidegate_ai_budget_key_spent_usd`, `_tokens`). Whoever reads the metrics then reads who spends.
    #[schemars(range(max = 1000))]
    pub metric_keys: u16,
    /// What a budget of money does with a call to a model that has no price, in the catalogue or in `ai.prices`.
    pub unknown_price: UnknownPrice,
    /// Tokens of the answer that are held for a call that names no limit of its own; the most that the model can
    /// answer with without it. An answer beyond it is spent all the same.
    #[schemars(range(min = 1))]
    pub assumed_output: Option<u64>,
    /// Its name in headers, logs and metrics, and, beside its place, what its spending is kept under: a new name is a
    /// new budget, a new `amount` is not.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Keys that are counted per period; a call with one more is refused.
    #[schemars(range(min = 1))]
    pub max_keys: usize,
    /// Where it is counted: by each gateway for itself, or by all that share the `redis` of the configuration, exactly.
    pub store: Store,
    /// With `store: redis`: what is done with calls while it is away.
    pub when_away: WhenAway,
    /// With `whenAway: local`: the share of the limit that each gateway may use, what it has used itself so far
    /// counted in. Half of it for two gateways, a third for three, and together they stay within it.
    pub share: Percent,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            amount: None,
            tokens: None,
            per: Period::default(),
            time_zone: "UTC".to_owned(),
            key: MeterKey::default(),
            ipv6_prefix: 64,
            warn_at: Percent(80.0),
            headers: false,
            metric_keys: 0,
            unknown_price: UnknownPrice::default(),
            assumed_output: None,
            name: "budget".to_owned(),
            max_keys: 100_000,
            store: Store::default(),
            when_away: WhenAway::default(),
            share: Percent(50.0),
        }
    }
}

/// How long a budget or a quota lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    #[default]
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
}

/// What a budget of money does with a call that has no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnknownPrice {
    /// Refuses it with 403: nothing is spent that nobody can count.
    #[default]
    Refuse,
    /// Lets it pass and counts nothing, as for models of one's own.
    Free,
}

impl Settings for Budget {
    fn place(&self) -> Place<'_> {
        Place::RateLimit
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        self.key.validate_around(around, at);
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.stored(self.store, self.when_away, self.share);
        if self.amount.is_none() && self.tokens.is_some() && at.is_written("unknownPrice") {
            at.field("unknownPrice", |at| {
                at.warning("a budget of tokens asks for no prices: this does nothing")
            });
        }
        match (self.amount, self.tokens) {
            (None, None) => at.error("expected an `amount` of dollars, or `tokens`"),
            (Some(_), Some(_)) => at.error_with(
                "expected either `amount` or `tokens`, found both",
                "write two budgets with a `name` each",
            ),
            (Some(amount), None) if amount.picodollars() == 0 => {
                at.field("amount", |at| at.error("expected more than nothing"))
            }
            _ => {}
        }
    }

    fn is_of_ai(&self) -> bool {
        true
    }

    fn account(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn asks_prices(&self) -> bool {
        self.amount.is_some() && self.unknown_price != UnknownPrice::Free
    }
}
