//! Which of a model's targets are asked for a call, and in which order.
//!
//! Conditions and capabilities say which may be asked; the strategy says which is first. Nothing is sent before that is
//! known, so that what no target can take costs nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ai::{
    canon::{Error, ErrorKind, Part, Request, Role, Usage},
    catalogue::{self, Capability},
    cost::{Class, Cost, cost},
    dialect::Spoken,
    endpoint::Operation,
    needs::Needs,
};
use model::resource::ai::{FallbackOn, Model as Settings, Sticky, Strategy};
use resilience::{balance::WeightedCycle, hash, load::EndpointLoad, turnstile::Priority};

use super::{
    again::Retry,
    answer,
    models::{Asked, Target},
    prepare::Conversation,
};
use crate::{
    call::Call,
    compiled::Building,
    expression::{AiFacts, Expression, Facts, Scope},
    failure::Failure,
    policy::facts::facts,
};

/// Over how long a latency is forgotten.
const LATENCY_DECAY: Duration = Duration::from_secs(30);
/// What a failure counts as, where failing fast would look like being fast.
const LATENCY_OF_FAILURE: Duration = Duration::from_secs(10);
/// Tokens that an answer is taken to have where nobody says how many.
const OUTPUT_USUAL: u64 = 500;
/// Bytes of a conversation's beginning that tell it from others.
const BEGINNING_BYTES_MAX: usize = 16 * 1024;

/// How a model's targets are chosen.
pub(super) struct Choice {
    strategy: Strategy,
    sticky: Option<Sticky>,
    checks: bool,
    /// What else the next target is asked after.
    pub(super) fallback_on: Vec<FallbackOn>,
    first_token: Option<Duration>,
    between_tokens: Option<Duration>,
    /// How often they are asked, where more than once.
    pub(super) retry: Option<Retry>,
    /// Kept over reloads while the weights stay as they are, so that shares stay exact.
    cycle: Arc<WeightedCycle>,
    /// The shortest context among the targets, where one is known.
    least_context: Option<u64>,
}

/// What is known of a target when it is chosen.
pub(super) struct Standing {
    weight: u32,
    when: Option<Expression>,
    pub(super) variant: Option<Arc<str>>,
    load: Arc<EndpointLoad>,
    /// Stands for it in what is sticky.
    hash: u64,
}

/// How urgent calls are: a word, or an expression that yields one.
pub(super) enum Urgency {
    Always(Priority),
    By(Expression),
}

fn urgency(word: &str) -> Option<Priority> {
    match word {
        "high" => Some(Priority::High),
        "normal" => Some(Priority::Normal),
        "low" => Some(Priority::Low),
        _ => None,
    }
}

impl Urgency {
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if let Some(priority) = urgency(text) {
            return Ok(Self::Always(priority));
        }
        let expression = Expression::scalar(text, Scope::Model);
        expression.map(Self::By).map_err(|error| format!("`priority`: {error}"))
    }

    /// Of a call. What yields no word of a class is of the usual one.
    fn of(&self, facts: &Facts<'_>) -> Priority {
        match self {
            Self::Always(priority) => *priority,
            Self::By(expression) => {
                expression.eval_string(facts).and_then(|word| urgency(&word)).unwrap_or_default()
            }
        }
    }
}

/// Conditions of targets that are none, each at its place.
pub(crate) fn wrong_conditions(config: &model::Config) -> Vec<model::Finding> {
    let models = config.ai.iter().flat_map(|ai| &ai.models);
    let conditions = models.flat_map(|model| {
        let targets = model.targets.iter().enumerate();
        targets.filter_map(|(index, target)| Some((&model.name, index, target.when.as_ref()?)))
    });
    let wrong = conditions.filter_map(|(name, index, text)| {
        let error = Expression::condition(text, Scope::Model).err()?;
        Some(model::Finding::new(format!("ai/models/{name}"), format!("targets[{index}].when"), error))
    });
    wrong.collect()
}

/// Counts a call at a target, and learns how long it took to answer.
pub(super) struct Watch {
    load: Arc<EndpointLoad>,
    started: Instant,
    pub(super) in_flight: resilience::InFlight,
}

impl Standing {
    /// Of the target at `index` of a model.
    pub(super) fn compile(settings: &Settings, index: usize, cx: &Building<'_>) -> Result<Self, String> {
        let target = settings.targets.get(index).ok_or("a target is missing")?;
        let name = format!("{}/{}", target.provider, target.model);
        let condition = |text: &String| {
            Expression::condition(text, Scope::Model).map_err(|error| {
                format!("`ai.models[name={}].targets[{index}].when`: {error}", settings.name)
            })
        };
        let now = Instant::now();
        let load = cx.keep(&format!("ai/{}/{name}", settings.name), &(), || {
            Arc::new(EndpointLoad::new(LATENCY_DECAY, now))
        });
        Ok(Self {
            weight: target.weight,
            when: target.when.as_ref().map(condition).transpose()?,
            variant: target.variant.as_deref().map(Into::into),
            load: (*load).clone(),
            hash: hash::hash64(name.as_bytes()),
        })
    }

    /// Of a target that is never chosen.
    pub(super) fn aside(provider: &str, model: &str) -> Self {
        let load = Arc::new(EndpointLoad::new(LATENCY_DECAY, Instant::now()));
        let hash = hash::hash64(format!("{provider}/{model}").as_bytes());
        Self { weight: 0, when: None, variant: None, load, hash }
    }

    /// Watches a call.
    pub(super) fn watch(&self) -> Watch {
        Watch { load: self.load.clone(), started: Instant::now(), in_flight: self.load.enter() }
    }
}

impl Watch {
    /// The first byte of an answer came, or the call failed.
    pub(super) fn answered(&self, well: bool) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.started);
        match well {
            true => self.load.observe(now, took),
            false => self.load.observe_at_least(now, took.max(LATENCY_OF_FAILURE)),
        }
    }
}

impl Choice {
    pub(super) fn compile(settings: &Settings, targets: &[Arc<Target>], cx: &Building<'_>) -> Self {
        let weights: Vec<u32> = settings.targets.iter().map(|target| target.weight).collect();
        let contexts = targets.iter().filter_map(|target| target.facts.and_then(|facts| facts.context));
        Self {
            strategy: settings.strategy,
            sticky: settings.sticky,
            // Of models that nobody knows nothing is missed.
            checks: settings.check_capabilities
                && targets.iter().any(|target| target.facts.is_some() || !target.is_one()),
            fallback_on: settings.fallback_on.clone(),
            first_token: settings.first_token.map(|time| time.get()),
            between_tokens: settings.between_tokens.map(|time| time.get()),
            retry: settings.retry.as_ref().map(|retry| Retry::compile(retry, &settings.name, cx)),
            cycle: cx.keep(&format!("ai/{}", settings.name), &weights, || WeightedCycle::new(&weights)),
            least_context: contexts.min(),
        }
    }

    /// Whether the strategy goes by what stands in a request.
    fn reads(&self) -> bool {
        self.sticky.is_some() || self.strategy == Strategy::LeastCost
    }

    /// How long a target may take to its first word.
    pub(super) fn first_token(&self, target: &Target) -> Option<Duration> {
        self.first_token.or(target.provider.first_token)
    }

    /// How long a target may pause between two tokens.
    pub(super) fn between_tokens(&self, target: &Target) -> Option<Duration> {
        self.between_tokens.or(target.provider.between_tokens)
    }

    /// Whether calls in flight are counted until their end.
    pub(super) fn counts(&self) -> bool {
        self.strategy != Strategy::Weighted
    }
}

/// The targets in the order in which they are tried. Refused when none can take the request.
pub(super) fn order<'a>(
    asked: &Asked<'a>,
    call: &Call,
    conversation: &mut Conversation<'_>,
    name: &str,
    urgency: Option<&Urgency>,
) -> Result<Vec<&'a Target>, Failure> {
    let (choice, targets) = (&asked.alias.choice, &asked.alias.targets);
    let has_conditions = targets.iter().any(|target| target.standing.when.is_some());
    let is_chat = conversation.endpoint.operation == Operation::Chat;
    let checks = choice.checks && is_chat && Needs::may_matter(&conversation.body, choice.least_context);
    let has_conditions = has_conditions || matches!(urgency, Some(Urgency::By(_)));
    if is_chat && (checks || has_conditions || choice.reads()) {
        read(conversation);
    }
    let needs = conversation
        .canonical
        .as_ref()
        .map_or_else(|| Needs { letters: conversation.body.len() as u64, ..Needs::default() }, Needs::of);
    let mut open: Vec<&Target> = Vec::with_capacity(targets.len());
    let mut lacking: Vec<String> = Vec::new();
    // Nothing but the length of the prompt is in the way.
    let mut is_too_long = true;
    let asks = asks(conversation, &needs, name);
    let facts = Facts { ai: Some(asks), ..facts(call) };
    let priority = urgency.map(|urgency| urgency.of(&facts)).unwrap_or_default();
    for target in targets {
        if target.standing.when.as_ref().is_some_and(|when| !when.eval_bool(&facts)) {
            continue;
        }
        if conversation.pin.as_ref().is_some_and(|pin| !pin.is(&target.provider)) {
            let goes_on = conversation.peek.goes_on_from.iter().any(Option::is_some);
            let what = if goes_on { "what it goes on from is" } else { "its files are" };
            lacking.push(format!("`{}` is not where {what}", asked.model(target)));
            is_too_long = false;
            continue;
        }
        let facts = if checks { facts_of(asked, target) } else { None };
        let missed = facts.map_or_else(Vec::new, |facts| needs.lacking(facts));
        let too_long = facts.and_then(|facts| needs.too_long_for(facts));
        if missed.is_empty() && too_long.is_none() {
            open.push(target);
            continue;
        }
        let model = asked.model(target);
        is_too_long &= missed.is_empty();
        if !missed.is_empty() {
            lacking.push(format!("`{model}` takes no {}", missed.join(", no ")));
        }
        if let Some((tokens, context)) = too_long {
            lacking.push(format!("`{model}` takes {context} tokens, and the prompt has at least {tokens}"));
        }
    }
    if open.is_empty() {
        let message = match lacking.is_empty() {
            true => format!("no target of `{name}` is for such a request"),
            false => format!("nothing behind `{name}` can take this request: {}", lacking.join("; ")),
        };
        let kind = match is_too_long && !lacking.is_empty() {
            true => ErrorKind::ContextLength,
            false => ErrorKind::Invalid,
        };
        return Err(answer::refused(Error::new(kind, message)));
    }
    conversation.priority = priority;
    // Those whose condition holds go first. The sort is stable: otherwise the order is as written.
    if has_conditions {
        open.sort_by_key(|target| target.standing.when.is_none());
    }
    let first = open.iter().take_while(|target| target.standing.when.is_some()).count();
    let first = if first == 0 { open.len() } else { first };
    let is_all = first == targets.len();
    if let Some(front) = open.get_mut(..first) {
        arrange(choice, front, is_all, asked, call, conversation, &needs);
    }
    Ok(open)
}

/// The targets of a conversation in sound, in the order in which they are tried: those whose condition holds, and of
/// the others one by weight first.
pub(super) fn for_realtime<'a>(asked: &Asked<'a>, call: &Call) -> Vec<&'a Target> {
    let facts = facts(call);
    let holds = |target: &&Target| target.standing.when.as_ref().is_none_or(|when| when.eval_bool(&facts));
    let mut open: Vec<&Target> = asked.alias.targets.iter().map(|target| &**target).filter(holds).collect();
    open.sort_by_key(|target| (target.standing.when.is_none(), target.standing.weight == 0));
    let front = open.iter().take_while(|target| target.standing.when.is_some()).count();
    let front = if front == 0 { open.len() } else { front };
    if let Some(front) = open.get_mut(..front)
        && let Some(drawn) = draw(front, call.random)
        && let Some(part) = front.get_mut(..=drawn)
    {
        part.rotate_right(1);
    }
    open
}

/// Puts those that may be asked first in order.
fn arrange(
    choice: &Choice,
    front: &mut [&Target],
    is_all: bool,
    asked: &Asked<'_>,
    call: &Call,
    conversation: &Conversation<'_>,
    needs: &Needs,
) {
    let now = Instant::now();
    if choice.sticky.is_some() && conversation.endpoint.operation == Operation::Chat {
        let key = beginning(call, conversation);
        // Rendezvous hashing by weight: who leaves or comes moves nobody else's conversations.
        let rank = |target: &&Target| {
            let unit = (hash::mix(key ^ target.standing.hash) >> 11) as f64 + 1.0;
            let unit = (unit / (1u64 << 53) as f64).min(1.0 - f64::EPSILON);
            -unit.ln() / f64::from(target.standing.weight)
        };
        front.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        return;
    }
    let is_last = |target: &Target| target.standing.weight == 0;
    match choice.strategy {
        Strategy::Weighted => {
            let drawn = if is_all { choice.cycle.next() } else { draw(front, call.random) };
            if let Some(part) = drawn.and_then(|drawn| front.get_mut(..=drawn)) {
                part.rotate_right(1);
            }
        }
        Strategy::LeastLatency => front.sort_by(|a, b| {
            let rank = |target: &Target| (is_last(target), target.standing.load.ewma(now));
            let (a, b) = (rank(a), rank(b));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        }),
        Strategy::LeastBusy => front.sort_by(|a, b| {
            let rank = |target: &Target| {
                f64::from(target.standing.load.in_flight()) / f64::from(target.standing.weight.max(1))
            };
            is_last(a).cmp(&is_last(b)).then(rank(a).total_cmp(&rank(b)))
        }),
        Strategy::LeastCost => {
            front.sort_by_cached_key(|target| (is_last(target), price(asked, target, needs)))
        }
    }
}

/// One by weight among some: their shares are those that they have among each other.
fn draw(front: &[&Target], random: u64) -> Option<usize> {
    let sum: u64 = front.iter().map(|target| u64::from(target.standing.weight)).sum();
    let mut left = ((u128::from(hash::mix(random)) * u128::from(sum)) >> 64) as u64;
    front.iter().position(|target| {
        let weight = u64::from(target.standing.weight);
        let is_it = left < weight;
        left = left.saturating_sub(weight);
        is_it
    })
}

/// What a call would cost at a target. Unknown prices come last.
fn price(asked: &Asked<'_>, target: &Target, needs: &Needs) -> (bool, Cost) {
    let Some(facts) = facts_of(asked, target) else { return (true, Cost::ZERO) };
    let output = needs.max_output.unwrap_or(OUTPUT_USUAL).min(facts.max_output.unwrap_or(u64::MAX));
    let usage = Usage { input: needs.tokens_about(), output, ..Usage::default() };
    (facts.prices.is_unknown(), cost(&facts.prices, &usage, Class::Standard))
}

/// What the catalogue knows of a target's model.
fn facts_of(asked: &Asked<'_>, target: &Target) -> Option<&'static catalogue::Model> {
    match target.is_one() {
        true => target.facts,
        false => catalogue::find(&target.provider.kind.name, &asked.model(target)),
    }
}

/// Reads the conversation, unless it has been. One that cannot be read is for the provider to refuse.
fn read(conversation: &mut Conversation<'_>) {
    if conversation.canonical.is_none() {
        let endpoint = conversation.endpoint;
        let spoken = Spoken { model: endpoint.model.clone(), stream: endpoint.stream };
        conversation.canonical = endpoint.dialect.read_request(&spoken, &conversation.body).ok();
    }
}

fn asks<'f>(conversation: &Conversation<'f>, needs: &Needs, name: &'f str) -> AiFacts<'f> {
    AiFacts {
        model: name,
        dialect: conversation.endpoint.dialect.name(),
        stream: conversation.stream,
        tools: conversation.canonical.as_ref().is_some_and(|request| !request.tools.is_empty()),
        images: needs.can.has(Capability::Vision),
        input_tokens: needs.tokens_about(),
        max_tokens: needs.max_output.unwrap_or(0),
    }
}

/// What tells a conversation from others: whose it is, and how it began.
fn beginning(call: &Call, conversation: &Conversation<'_>) -> u64 {
    let mut text = Vec::new();
    if let Some(consumer) = &call.consumer {
        text.extend_from_slice(consumer.name.as_bytes());
    }
    text.push(0);
    match &conversation.canonical {
        Some(Request { cache_key: Some(key), .. }) => text.extend_from_slice(key.as_bytes()),
        Some(request) => {
            for message in &request.messages {
                for part in &message.parts {
                    if let Part::Text { text: said, .. } = part {
                        let room = BEGINNING_BYTES_MAX.saturating_sub(text.len());
                        text.extend_from_slice(
                            said.as_bytes().get(..room.min(said.len())).unwrap_or_default(),
                        );
                    }
                }
                text.push(0);
                if message.role == Role::User || text.len() >= BEGINNING_BYTES_MAX {
                    break;
                }
            }
        }
        None => text.extend_from_slice(conversation.body.get(..512).unwrap_or(&conversation.body)),
    }
    hash::hash64(&text)
}
