//! The loss report: what a translation could not carry.

use std::{collections::HashSet, fmt};

/// A property of a request or an answer that some dialects have no place for. Each caller's dialect has its own name
/// for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// Names of speakers.
    SpeakerName,
    /// `parallel_tool_calls`.
    ParallelToolCalls,
    /// Which tool to call.
    ToolChoice,
    /// A tool of one vendor's.
    VendorTool,
    /// A tool that takes free text.
    CustomTool,
    /// `strict` of a tool or a schema.
    Strict,
    /// `temperature`.
    Temperature,
    /// `top_p`.
    TopP,
    /// `top_k`.
    TopK,
    /// `frequency_penalty`.
    FrequencyPenalty,
    /// `presence_penalty`.
    PresencePenalty,
    /// `seed`.
    Seed,
    /// Stop sequences, or those beyond the number that the target takes.
    Stop,
    /// `logit_bias`.
    LogitBias,
    /// Several answers side by side.
    Choices,
    /// JSON mode.
    JsonMode,
    /// A schema for the answer.
    JsonSchema,
    /// How much to think.
    Reasoning,
    /// Whether thoughts are shown.
    ReasoningSummary,
    /// Thoughts of another vendor's model.
    ForeignThoughts,
    /// Log probabilities.
    LogProbabilities,
    /// Modalities of the answer.
    Modalities,
    /// `verbosity`.
    Verbosity,
    /// Class of service.
    Tier,
    /// The end user's id.
    User,
    /// Labels.
    Metadata,
    /// Marks for the prompt cache.
    CacheMark,
    /// `prompt_cache_key`.
    CacheKey,
    /// `store`.
    Store,
    /// A stored conversation.
    Conversation,
    /// The most tokens of the answer: lowered to what the model can.
    MaxOutputTokens,
    /// A picture.
    Image,
    /// `detail` of a picture.
    ImageDetail,
    /// A document.
    Document,
    /// Title or context of a document.
    DocumentContext,
    /// Sound.
    Audio,
    /// Moving pictures.
    Video,
    /// A file in one provider's store.
    File,
    /// What is quoted.
    Citations,
    /// A call's result that is an error, where the dialect cannot mark it.
    ToolError,
    /// A piece of one vendor's.
    VendorPart,
}

/// One thing that was not carried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Loss {
    /// A property that the canonical form knows, and where it stood (`messages[2]`), if it stood in a list.
    Feature(Feature, Option<String>),
    /// A field of the caller's own, by its path.
    Field(String),
}

/// `messages[2]` as the caller's document has it: `contents[1]`.
fn own_place(place: String, places: &[String]) -> String {
    let index = place.strip_prefix("messages[").and_then(|rest| rest.strip_suffix(']'));
    let own = index.and_then(|index| places.get(index.parse::<usize>().ok()?));
    own.cloned().unwrap_or(place)
}

/// Losses of which each is known. A conversation may hold one in each of its turns, and a request of many megabytes a
/// million of them; nobody reads so many.
const LOSSES_MAX: usize = 1000;

/// Everything that was not carried: so many of them, and whether there were more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Losses {
    known: Vec<Loss>,
    /// The same, to be looked up.
    seen: HashSet<Loss>,
    are_more: bool,
}

impl Losses {
    /// Notes a property of the request as a whole. Once is enough.
    pub fn feature(&mut self, feature: Feature) {
        self.add(Loss::Feature(feature, None));
    }

    /// Notes a property of one place, such as `messages[2]`.
    pub fn feature_at(&mut self, feature: Feature, place: impl fmt::Display) {
        // Nothing can change any more, so no text is made for it.
        if self.are_more {
            return;
        }
        self.add(Loss::Feature(feature, Some(place.to_string())));
    }

    /// Notes fields of the caller's own.
    pub fn fields<'a>(&mut self, extra: impl IntoIterator<Item = &'a (String, serde_json::Value)>) {
        for (path, _) in extra {
            if self.are_more {
                return;
            }
            self.add(Loss::Field(path.clone()));
        }
    }

    /// Notes one loss, unless it is noted already.
    pub fn add(&mut self, loss: Loss) {
        if self.seen.contains(&loss) {
            return;
        }
        if self.known.len() >= LOSSES_MAX {
            self.are_more = true;
            return;
        }
        self.seen.insert(loss.clone());
        self.known.push(loss);
    }

    /// Notes a property if it is one.
    pub fn features(&mut self, feature: Option<Feature>) {
        feature.into_iter().for_each(|feature| self.feature(feature));
    }

    /// The same with places in the caller's own document, where they are known: `places` are those of the messages.
    #[must_use]
    pub fn placed(self, places: &[String]) -> Self {
        let mut placed = Self { are_more: self.are_more, ..Self::default() };
        for loss in self.known {
            placed.add(match loss {
                Loss::Feature(feature, Some(place)) => Loss::Feature(feature, Some(own_place(place, places))),
                other => other,
            });
        }
        placed
    }

    /// Notes all of another report's.
    pub fn extend(&mut self, others: Self) {
        others.known.into_iter().for_each(|loss| self.add(loss));
        self.are_more |= others.are_more;
    }

    /// All of them, in the order of their finding.
    pub fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.known.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// There were others, of which none is known.
    pub fn are_more(&self) -> bool {
        self.are_more
    }

    /// Nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_known_each_once_and_that_there_were_more() {
        let mut losses = Losses::default();
        for round in 0..2 {
            for at in 0..LOSSES_MAX {
                losses.feature_at(Feature::ForeignThoughts, format_args!("messages[{at}]"));
            }
            assert_eq!((losses.len(), losses.are_more()), (LOSSES_MAX, false), "round {round}");
        }
        losses.add(Loss::Field("x".to_owned()));
        assert_eq!((losses.len(), losses.are_more()), (LOSSES_MAX, true));
        let mut others = Losses::default();
        others.extend(losses);
        assert!(others.placed(&[]).are_more());
    }
}
