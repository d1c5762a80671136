//! What the dialect of a caller cannot show of an answer: pieces that its writers leave out.

use super::Dialect;
use crate::canon::{Answer, Citation, Delta, Event, Feature, Losses, Opening, Part, Source};

impl Dialect {
    /// What [`Dialect::write_answer`] leaves out.
    pub fn unshown(self, answer: &Answer) -> Losses {
        let mut losses = Losses::default();
        if answer.choices.len() > 1 && !self.shows_choices() {
            losses.feature(Feature::Choices);
        }
        let shown = if self.shows_choices() { answer.choices.len() } else { 1 };
        for choice in answer.choices.iter().take(shown) {
            if !choice.log_probabilities.is_empty() && !self.shows_probabilities() {
                losses.feature(Feature::LogProbabilities);
            }
            for part in &choice.parts {
                losses.features(self.hides(part));
                if let Part::Text { citations, .. } = part {
                    let hidden = citations.iter().any(|citation| !self.shows_citation(citation));
                    losses.features(hidden.then_some(Feature::Citations));
                }
            }
        }
        losses
    }

    /// What a [`StreamWriter`](super::StreamWriter) leaves out of an event.
    pub fn unshown_event(self, event: &Event, losses: &mut Losses) {
        match event {
            Event::Open { choice, .. } if *choice > 0 && !self.shows_choices() => {
                losses.feature(Feature::Choices);
            }
            Event::Open { opening: Opening::Whole(part), .. } => losses.features(match &**part {
                // What comes in pieces has no piece for these.
                Part::Audio { .. } | Part::Vendor { .. } if self == Self::Bedrock => self.hidden(part),
                part => self.hides(part),
            }),
            Event::Open { opening: Opening::Audio { .. }, .. } => {
                losses.features((!matches!(self, Self::OpenAiChat | Self::Gemini)).then_some(Feature::Audio));
            }
            Event::Delta { delta: Delta::Citation(citation), .. } if !self.shows_citation(citation) => {
                losses.feature(Feature::Citations);
            }
            Event::LogProbabilities { tokens, .. } if !tokens.is_empty() && !self.shows_probabilities() => {
                losses.feature(Feature::LogProbabilities);
            }
            _ => {}
        }
    }

    /// It has answers side by side.
    fn shows_choices(self) -> bool {
        matches!(self, Self::OpenAiChat | Self::Gemini)
    }

    fn shows_probabilities(self) -> bool {
        !matches!(self, Self::Anthropic | Self::Bedrock)
    }

    fn shows_citation(self, citation: &Citation) -> bool {
        match self {
            Self::OpenAiChat => citation.url.is_some(),
            Self::OpenAiResponses => super::openai_responses::shows_citation(citation),
            // A source without the words that rest on it is no citation there.
            Self::Gemini => {
                let is_named = citation.url.is_some() || citation.title.is_some() || citation.quote.is_some();
                is_named && citation.span.is_some()
            }
            Self::Anthropic | Self::Bedrock | Self::Cohere => true,
        }
    }

    /// The feature under which a part is hidden, if it is.
    fn hides(self, part: &Part) -> Option<Feature> {
        let shown = match (self, part) {
            (_, Part::Text { .. } | Part::Thinking { .. } | Part::ToolCall { .. } | Part::Refusal { .. }) => {
                true
            }
            (Self::OpenAiChat, Part::Image { source, .. }) => {
                matches!(source, Source::Inline { .. } | Source::Url { .. })
            }
            (Self::OpenAiChat | Self::Gemini, Part::Audio { source, .. }) => {
                matches!(source, Source::Inline { .. })
            }
            // Speech is told by its words where they are known.
            (Self::Bedrock, Part::Audio { source, transcript, .. }) => {
                super::bedrock::takes_sound(source) && transcript.is_none()
            }
            (Self::OpenAiResponses | Self::Bedrock, Part::Image { source, .. }) => {
                matches!(source, Source::Inline { .. })
            }
            (
                Self::Gemini,
                Part::Image { source, .. } | Part::Video { source } | Part::Document { source, .. },
            ) => !matches!(source, Source::File { .. }),
            (Self::Anthropic | Self::Bedrock, Part::Document { source, .. }) => {
                matches!(source, Source::Text { .. })
            }
            (_, Part::Vendor { dialect, .. }) => *dialect == self.name(),
            _ => false,
        };
        if shown { None } else { self.hidden(part) }
    }

    /// The feature that a part is told under when it is left out.
    fn hidden(self, part: &Part) -> Option<Feature> {
        match part {
            Part::Image { .. } => Some(Feature::Image),
            Part::Document { .. } => Some(Feature::Document),
            Part::Audio { .. } => Some(Feature::Audio),
            Part::Video { .. } => Some(Feature::Video),
            Part::Vendor { .. } | Part::ToolResult { .. } => Some(Feature::VendorPart),
            Part::Text { .. } | Part::Thinking { .. } | Part::ToolCall { .. } | Part::Refusal { .. } => None,
        }
    }
}
