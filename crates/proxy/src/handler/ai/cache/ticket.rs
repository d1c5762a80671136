//! Where an answer is to be kept: it is gathered while it is told, and kept when it came to its own end.

use ai::{
    canon::{Answer, Assembler, Event, Finish},
    fit::Names,
};

use super::{Key, Place};

/// Bytes of an answer that are gathered for keeping it: a longer one is not kept.
const GATHERED_MAX: usize = 4 * 1024 * 1024;

/// Where an answer is to be kept once it is there.
pub(in super::super) struct Ticket {
    place: Place,
    scope: String,
    key: Key,
    meaning: Option<(Key, Vec<f32>)>,
    assembler: Assembler,
    /// It breaks off, or is too long to be kept.
    is_broken: bool,
    bytes: usize,
    /// The caller's names of tools that the provider was told otherwise: what is kept has the caller's.
    names: Names,
}

impl Ticket {
    pub(super) fn new(place: Place, scope: String, key: Key, meaning: Option<(Key, Vec<f32>)>) -> Self {
        let (assembler, names) = (Assembler::default(), Names::default());
        Self { place, scope, key, meaning, assembler, is_broken: false, bytes: 0, names }
    }

    /// Hears what the provider says.
    pub(in super::super) fn hear(&mut self, event: &Event) {
        if self.is_broken {
            return;
        }
        self.bytes = self.bytes.saturating_add(event.bytes());
        self.is_broken = matches!(event, Event::Error(_)) || self.bytes > GATHERED_MAX;
        if self.is_broken {
            // Nothing of it is held any longer.
            self.assembler = Assembler::default();
            return;
        }
        self.assembler.push(event.clone());
    }

    /// What the provider says is in these names.
    pub(in super::super) fn named(&mut self, names: Names) {
        self.names = names;
    }

    /// All is said: what was heard is kept.
    pub(in super::super) fn keep(self) {
        let Self { place, scope, key, meaning, assembler, is_broken, names, .. } = self;
        if let (false, Ok(answer)) = (is_broken, assembler.finish())
            && is_complete(&answer)
        {
            place.put(scope, key, meaning, names.answer(answer));
        }
    }

    /// Keeps an answer that is there whole.
    pub(in super::super) fn keep_whole(self, answer: &Answer) {
        if is_complete(answer) {
            self.place.put(self.scope, self.key, self.meaning, self.names.answer(answer.clone()));
        }
    }
}

/// Whether an answer came to its own end.
fn is_complete(answer: &Answer) -> bool {
    let good = |finish: &Option<Finish>| {
        matches!(finish, Some(Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls))
    };
    !answer.choices.is_empty() && answer.choices.iter().all(|choice| good(&choice.finish))
}
