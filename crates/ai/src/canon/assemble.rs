//! Between whole answers and streams: events are gathered into the answer that they tell, and an answer is told as
//! events. So a caller that streams may be served by what does not, and the other way round.

use super::{Answer, Choice, Delta, Error, Event, Opening, Part, Proof, Source, Usage};

/// Gathers events into an answer.
#[derive(Debug, Default)]
pub struct Assembler {
    answer: Answer,
    error: Option<Error>,
    bytes: usize,
    ended: bool,
}

/// Most choices and parts of a choice that are gathered; a provider that sends more has lost its senses.
const CHOICES_MAX: u32 = 128;
const PARTS_MAX: u32 = 65_536;

impl Assembler {
    /// Takes the next event.
    pub fn push(&mut self, event: Event) {
        match event {
            Event::Start { id, model, created } => {
                self.answer.id = id;
                self.answer.model = model;
                self.answer.created = created;
            }
            Event::Open { choice, part, opening } => {
                if let Some(place) = self.part(choice, part) {
                    *place = opened(opening);
                }
            }
            Event::Delta { choice, part, delta } => {
                self.bytes = self.bytes.saturating_add(size(&delta));
                if let Some(place) = self.part(choice, part) {
                    add(place, delta);
                }
            }
            Event::LogProbabilities { choice, mut tokens } => {
                if let Some(choice) = self.choice(choice) {
                    choice.log_probabilities.append(&mut tokens);
                }
            }
            Event::Finish { choice, finish } => {
                if let Some(choice) = self.choice(choice) {
                    choice.finish = Some(finish);
                }
            }
            Event::Usage(usage) => self.answer.usage = Some(usage),
            Event::Tier(tier) => self.answer.tier = Some(tier),
            Event::Extra(mut extra) => self.answer.extra.append(&mut extra),
            Event::Error(error) => self.error = Some(error),
            Event::End => self.ended = true,
            Event::Close { .. } | Event::Ping => {}
        }
    }

    /// Bytes gathered so far, so that whoever gathers can stop in time.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What has been told until now: the answer, or the error that broke it.
    pub fn finish(self) -> Result<Answer, Error> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.answer),
        }
    }

    /// What has been told until now, broken or not.
    pub fn so_far(&self) -> &Answer {
        &self.answer
    }

    /// The stream came to its end.
    pub fn ended(&self) -> bool {
        self.ended
    }

    fn choice(&mut self, choice: u32) -> Option<&mut Choice> {
        if choice >= CHOICES_MAX {
            return None;
        }
        let at = choice as usize;
        if self.answer.choices.len() <= at {
            self.answer.choices.resize_with(at + 1, Choice::default);
        }
        self.answer.choices.get_mut(at)
    }

    fn part(&mut self, choice: u32, part: u32) -> Option<&mut Part> {
        let parts = &mut self.choice(choice)?.parts;
        if part >= PARTS_MAX {
            return None;
        }
        let at = part as usize;
        if parts.len() <= at {
            parts.resize_with(at + 1, || Part::text(""));
        }
        parts.get_mut(at)
    }
}

fn size(delta: &Delta) -> usize {
    match delta {
        Delta::Text(text) | Delta::Audio(text) | Delta::Transcript(text) => text.len(),
        Delta::Proof(proof) => proof.value.len(),
        Delta::Citation(_) => std::mem::size_of::<super::Citation>(),
    }
}

fn opened(opening: Opening) -> Part {
    match opening {
        Opening::Text => Part::text(""),
        Opening::Thinking => Part::Thinking { text: String::new(), proof: None },
        Opening::ToolCall { id, name, custom } => {
            Part::ToolCall { id, name, arguments: String::new(), custom, proof: None, cache: None }
        }
        Opening::Refusal => Part::Refusal { text: String::new() },
        Opening::Audio { id, media_type } => {
            Part::Audio { source: Source::Inline { media_type, data: String::new() }, transcript: None, id }
        }
        Opening::Whole(part) => *part,
    }
}

fn add(part: &mut Part, delta: Delta) {
    match (part, delta) {
        (
            Part::Text { text, .. } | Part::Thinking { text, .. } | Part::Refusal { text },
            Delta::Text(more),
        ) => {
            text.push_str(&more);
        }
        (Part::ToolCall { arguments, .. }, Delta::Text(more)) => arguments.push_str(&more),
        (Part::Text { citations, .. }, Delta::Citation(citation)) => citations.push(*citation),
        (
            Part::Text { proof, .. } | Part::Thinking { proof, .. } | Part::ToolCall { proof, .. },
            Delta::Proof(new),
        ) => Proof::grow(proof, *new),
        (Part::Audio { source: Source::Inline { data, .. }, .. }, Delta::Audio(more)) => {
            append_base64(data, &more)
        }
        (Part::Audio { transcript, .. }, Delta::Transcript(more)) => {
            transcript.get_or_insert_default().push_str(&more);
        }
        // A delta that does not belong to its part says nothing that could be kept.
        _ => {}
    }
}

/// Joins base64 texts: a padded one is decoded first, for padding may stand at the end alone.
fn append_base64(data: &mut String, more: &str) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    if !data.ends_with('=') {
        data.push_str(more);
        return;
    }
    if let (Ok(mut bytes), Ok(added)) = (STANDARD.decode(&*data), STANDARD.decode(more)) {
        bytes.extend_from_slice(&added);
        *data = STANDARD.encode(bytes);
    }
}

/// Tells an answer as the events of a stream.
pub fn events_of(answer: Answer) -> Vec<Event> {
    let mut events = Vec::new();
    events.push(Event::Start { id: answer.id, model: answer.model, created: answer.created });
    if !answer.extra.is_empty() {
        events.push(Event::Extra(answer.extra));
    }
    for (choice, said) in (0..).zip(answer.choices) {
        for (part, content) in (0..).zip(said.parts) {
            tell(choice, part, content, &mut events);
        }
        if !said.log_probabilities.is_empty() {
            events.push(Event::LogProbabilities { choice, tokens: said.log_probabilities });
        }
        if let Some(finish) = said.finish {
            events.push(Event::Finish { choice, finish });
        }
    }
    events.extend(answer.tier.map(Event::Tier));
    events.extend(answer.usage.map(|usage: Usage| Event::Usage(usage)));
    events.push(Event::End);
    events
}

fn tell(choice: u32, part: u32, content: Part, events: &mut Vec<Event>) {
    let mut deltas = Vec::new();
    let opening = match content {
        Part::Text { text, citations, proof, cache: _ } => {
            deltas.extend(said(text));
            deltas.extend(citations.into_iter().map(|citation| Delta::Citation(Box::new(citation))));
            deltas.extend(proof.map(|proof| Delta::Proof(Box::new(proof))));
            Opening::Text
        }
        Part::Thinking { text, proof } => {
            deltas.extend(said(text));
            deltas.extend(proof.map(|proof| Delta::Proof(Box::new(proof))));
            Opening::Thinking
        }
        Part::ToolCall { id, name, arguments, custom, proof, cache: _ } => {
            deltas.extend(proof.map(|proof| Delta::Proof(Box::new(proof))));
            deltas.extend(said(arguments));
            Opening::ToolCall { id, name, custom }
        }
        Part::Refusal { text } => {
            deltas.extend(said(text));
            Opening::Refusal
        }
        Part::Audio { source: Source::Inline { media_type, data }, transcript, id } => {
            deltas.extend(said(data).map(|delta| match delta {
                Delta::Text(data) => Delta::Audio(data),
                other => other,
            }));
            deltas.extend(transcript.map(Delta::Transcript));
            Opening::Audio { id, media_type }
        }
        whole => Opening::Whole(Box::new(whole)),
    };
    events.push(Event::Open { choice, part, opening });
    events.extend(deltas.into_iter().map(|delta| Event::Delta { choice, part, delta }));
    events.push(Event::Close { choice, part });
}

fn said(text: String) -> Option<Delta> {
    (!text.is_empty()).then_some(Delta::Text(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon::{Citation, Finish, ProofKind, TokenProbability};

    #[test]
    fn an_answer_told_as_events_is_gathered_again() {
        let proof = |value: &str| Proof {
            issuer: "anthropic".into(),
            kind: ProofKind::Signature,
            value: value.into(),
            id: None,
        };
        let first = Choice {
            parts: vec![
                Part::Thinking { text: "hm".into(), proof: Some(proof("a")) },
                Part::Text {
                    text: "yes".into(),
                    citations: vec![Citation { title: Some("t".into()), ..Citation::default() }],
                    cache: None,
                    proof: None,
                },
                Part::ToolCall {
                    id: "1".into(),
                    name: "f".into(),
                    arguments: "{}".into(),
                    custom: false,
                    proof: Some(proof("b")),
                    cache: None,
                },
                Part::Image {
                    source: Source::Inline { media_type: "image/png".into(), data: "AA==".into() },
                    detail: None,
                    cache: None,
                },
            ],
            finish: Some(Finish::ToolCalls),
            log_probabilities: vec![TokenProbability { token: "yes".into(), ..TokenProbability::default() }],
        };
        let second = Choice {
            parts: vec![
                Part::Refusal { text: "no".into() },
                Part::Audio {
                    source: Source::Inline { media_type: "audio/wav".into(), data: "AAAA".into() },
                    transcript: Some("no".into()),
                    id: Some("audio_1".into()),
                },
            ],
            finish: Some(Finish::Stop),
            log_probabilities: Vec::new(),
        };
        let answer = Answer {
            id: "x".into(),
            model: "m".into(),
            created: Some(7),
            choices: vec![first, second],
            usage: Some(Usage { input: 3, output: 2, ..Usage::default() }),
            tier: Some("default".into()),
            extra: vec![("system_fingerprint".into(), "fp".into())],
        };
        let mut assembler = Assembler::default();
        for event in events_of(answer.clone()) {
            assembler.push(event);
        }
        assert!(assembler.ended());
        assert_eq!(assembler.finish(), Ok(answer));
    }

    #[test]
    fn an_error_in_the_stream_is_the_outcome() {
        let mut assembler = Assembler::default();
        assembler.push(Event::Open { choice: 0, part: 0, opening: Opening::Text });
        assembler.push(Event::Error(Error::of_status(503, "busy")));
        assert_eq!(assembler.finish().map_err(|error| error.status), Err(503));
    }

    #[test]
    fn absurd_indices_take_no_memory() {
        let mut assembler = Assembler::default();
        assembler.push(Event::Open { choice: u32::MAX, part: 0, opening: Opening::Text });
        assembler.push(Event::Open { choice: 0, part: u32::MAX, opening: Opening::Text });
        assert!(assembler.finish().is_ok_and(|answer| answer.choices.len() <= 1));
    }

    #[test]
    fn padded_pieces_of_sound_are_joined() {
        let mut data = "AQ==".to_owned();
        append_base64(&mut data, "Ag==");
        assert_eq!(data, "AQI=");
    }
}
