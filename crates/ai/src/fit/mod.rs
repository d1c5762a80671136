//! Makes a request fit its target before it is written, once for all dialects: what the target refuses is left out,
//! numbers are lowered to what it takes, and tools that are not its own go. Each change is named in the loss report,
//! unless what is left out says no more than nothing would.
//!
//! What only one dialect demands is its own writer's business.

mod free;
mod names;
mod tools;

use std::borrow::Cow;

pub use self::names::Names;
pub(crate) use self::names::{Renaming, refuse_broken, without_scopes};
pub(crate) use self::tools::Wanted;
use crate::{
    canon::{Feature, Format, Losses, Modality, Part, Request, flat},
    dialect::Dialect,
    rules::Rules,
};

/// The request as the target can be told it. Nothing is copied when everything fits.
pub(crate) fn fit<'r>(
    request: &'r Request,
    dialect: Dialect,
    rules: &Rules,
    losses: &mut Losses,
) -> Cow<'r, Request> {
    let mut fitted = Cow::Borrowed(request);
    for feature in &rules.refused {
        refuse(&mut fitted, *feature, rules, losses);
    }
    if rules.temperature_or_top_p && fitted.sampling.temperature.is_some() {
        refuse(&mut fitted, Feature::TopP, rules, losses);
    }
    if let Some(most) = rules.max_output_tokens
        && fitted.max_output_tokens.is_some_and(|asked| asked > most)
    {
        losses.feature(Feature::MaxOutputTokens);
        fitted.to_mut().max_output_tokens = Some(most);
    }
    if let Some(most) = rules.stop_sequences
        && fitted.sampling.stop.len() > most
    {
        losses.feature(Feature::Stop);
        fitted.to_mut().sampling.stop.truncate(most);
    }
    tools::fit(&mut fitted, dialect, rules, losses);
    if !free::are_taken(dialect, rules) {
        free::fit(&mut fitted, losses);
    }
    names::fit(&mut fitted, dialect);
    fitted
}

/// What a request says of a property.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing.
    Nothing,
    /// What would be meant if nothing were said.
    AsEver,
    /// A wish.
    Wish,
}

fn refuse(request: &mut Cow<'_, Request>, feature: Feature, rules: &Rules, losses: &mut Losses) {
    match feature {
        Feature::JsonSchema => return refuse_schema(request, rules, losses),
        Feature::CacheMark => return refuse_marks(request, losses),
        Feature::SpeakerName => return refuse_speakers(request, losses),
        Feature::Strict => return refuse_strict(request, losses),
        _ => {}
    }
    match said(request, feature) {
        Said::Nothing => return,
        Said::AsEver => {}
        Said::Wish => losses.feature(feature),
    }
    take(request.to_mut(), feature);
}

fn said(request: &Request, feature: Feature) -> Said {
    fn of<T: PartialEq>(value: &Option<T>, ever: &[T]) -> Said {
        match value {
            None => Said::Nothing,
            Some(value) if ever.contains(value) => Said::AsEver,
            Some(_) => Said::Wish,
        }
    }
    let any = |there: bool| if there { Said::Wish } else { Said::Nothing };
    let sampling = &request.sampling;
    match feature {
        Feature::Temperature => of(&sampling.temperature, &[1.0]),
        Feature::TopP => of(&sampling.top_p, &[1.0]),
        Feature::TopK => of(&sampling.top_k, &[]),
        Feature::FrequencyPenalty => of(&sampling.frequency_penalty, &[0.0]),
        Feature::PresencePenalty => of(&sampling.presence_penalty, &[0.0]),
        Feature::Seed => of(&sampling.seed, &[]),
        Feature::Stop => any(!sampling.stop.is_empty()),
        Feature::LogitBias => any(!sampling.logit_bias.is_empty()),
        Feature::Choices => of(&request.choices, &[1]),
        Feature::JsonMode => any(request.format == Format::Json),
        Feature::LogProbabilities => of(&request.log_probabilities, &[]),
        Feature::Modalities if request.audio.is_some() => Said::Wish,
        Feature::Modalities => match request.modalities.as_slice() {
            [] => Said::Nothing,
            [Modality::Text] => Said::AsEver,
            _ => Said::Wish,
        },
        Feature::Verbosity => of(&request.verbosity, &[]),
        Feature::Tier => match request.tier.as_deref() {
            None => Said::Nothing,
            Some("auto" | "default") => Said::AsEver,
            Some(_) => Said::Wish,
        },
        Feature::User => of(&request.user, &[]),
        Feature::Metadata => any(!request.metadata.is_empty()),
        Feature::CacheKey => of(&request.cache_key, &[]),
        // Who does not know the word keeps nothing.
        Feature::Store => of(&request.store, &[false]),
        Feature::ParallelToolCalls => of(&request.parallel_tool_calls, &[true]),
        Feature::ToolChoice => of(&request.tool_choice, &[crate::canon::ToolChoice::Auto]),
        // The catalogue lets nothing else be refused.
        _ => Said::Nothing,
    }
}

fn take(request: &mut Request, feature: Feature) {
    let sampling = &mut request.sampling;
    match feature {
        Feature::Temperature => sampling.temperature = None,
        Feature::TopP => sampling.top_p = None,
        Feature::TopK => sampling.top_k = None,
        Feature::FrequencyPenalty => sampling.frequency_penalty = None,
        Feature::PresencePenalty => sampling.presence_penalty = None,
        Feature::Seed => sampling.seed = None,
        Feature::Stop => sampling.stop.clear(),
        Feature::LogitBias => sampling.logit_bias.clear(),
        Feature::Choices => request.choices = None,
        Feature::JsonMode => request.format = Format::Text,
        Feature::LogProbabilities => request.log_probabilities = None,
        Feature::Modalities => {
            request.modalities.clear();
            request.audio = None;
        }
        Feature::Verbosity => request.verbosity = None,
        Feature::Tier => request.tier = None,
        Feature::User => request.user = None,
        Feature::Metadata => request.metadata.clear(),
        Feature::CacheKey => request.cache_key = None,
        Feature::Store => request.store = None,
        Feature::ParallelToolCalls => request.parallel_tool_calls = None,
        Feature::ToolChoice => request.tool_choice = None,
        _ => {}
    }
}

/// Who keeps to no schema may still answer with JSON.
fn refuse_schema(request: &mut Cow<'_, Request>, rules: &Rules, losses: &mut Losses) {
    if matches!(request.format, Format::Schema { .. }) {
        losses.feature(Feature::JsonSchema);
        request.to_mut().format = if rules.refuses(Feature::JsonMode) { Format::Text } else { Format::Json };
    }
}

fn refuse_speakers(request: &mut Cow<'_, Request>, losses: &mut Losses) {
    for index in 0..request.messages.len() {
        if request.messages[index].name.is_some() {
            losses.feature_at(Feature::SpeakerName, format_args!("messages[{index}]"));
            request.to_mut().messages[index].name = None;
        }
    }
}

fn refuse_strict(request: &mut Cow<'_, Request>, losses: &mut Losses) {
    for index in 0..request.tools.len() {
        let tool = &request.tools[index];
        if tool.strict == Some(true) {
            losses.feature_at(Feature::Strict, format_args!("tools.{}", flat(&tool.name)));
        }
        if tool.strict.is_some() {
            request.to_mut().tools[index].strict = None;
        }
    }
    if let Format::Schema { strict: Some(said), .. } = request.format {
        if said {
            losses.feature(Feature::Strict);
        }
        if let Format::Schema { strict, .. } = &mut request.to_mut().format {
            *strict = None;
        }
    }
}

fn refuse_marks(request: &mut Cow<'_, Request>, losses: &mut Losses) {
    let is_marked =
        |part: &Part| part.cache().is_some() || part.inner().iter().any(|part| part.cache().is_some());
    for index in 0..request.messages.len() {
        if !request.messages[index].parts.iter().any(is_marked) {
            continue;
        }
        losses.feature_at(Feature::CacheMark, format_args!("messages[{index}]"));
        for part in &mut request.to_mut().messages[index].parts {
            part.unmark();
        }
    }
    for index in 0..request.tools.len() {
        if request.tools[index].cache.is_some() {
            let name = flat(&request.tools[index].name);
            losses.feature_at(Feature::CacheMark, format_args!("tools.{name}"));
            request.to_mut().tools[index].cache = None;
        }
    }
}

#[cfg(test)]
mod tests;
