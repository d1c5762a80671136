//! The most that those cost who are asked beside a call's own model: judges, moderation, embeddings, a model that mends
//! its answer. It is held with the call; what they did cost is on its bill.
//!
//! Who has no price costs nothing here: the operator chose it, and not the caller.

use ai::{ask::Ask, estimate};

use super::{
    AiGateway,
    models::{Alias, Asked},
    most::Most,
    prepare::Conversation,
};
use crate::call::Call;

/// Somebody who may be asked.
#[derive(Debug, Clone)]
pub(super) struct Beside {
    pub(super) most: Most,
    /// It is shown the answer, too.
    pub(super) reads_answer: bool,
}

/// Everybody who may be asked for a call.
pub(super) fn of(
    gateway: &AiGateway,
    call: &Call,
    conversation: &Conversation<'_>,
    asked: &Asked<'_>,
) -> Vec<Beside> {
    let mut all = Vec::new();
    let ask = Ask::peeked(conversation.endpoint.dialect, &conversation.peek, &conversation.body);
    let said = ask.input;
    for guard in &call.ai.guards {
        for judge in guard.judges() {
            let Some(helper) = gateway.helpers.find(judge.model) else { continue };
            let question = estimate::most(judge.instructions.as_bytes()).saturating_add(judge.question);
            // Texts are shown as they are to moderation, and with a question in front of each piece to a judge.
            let pieces = (conversation.body.len() / judge.piece_bytes) as u64 + 1;
            let sides = [judge.on_request, judge.on_answer];
            for (reads_answer, _) in [false, true].into_iter().zip(sides).filter(|(_, is_on)| *is_on) {
                let shown = if reads_answer { 0 } else { said };
                let ask = Ask {
                    input: shown.saturating_add(question.saturating_mul(pieces)),
                    answers: pieces,
                    ..Ask::default()
                };
                all.push(Beside { most: most(helper.alias, &helper, ask, judge.answers), reads_answer });
            }
        }
        if guard.mends() {
            all.push(Beside { most: most(asked.alias, asked, ask.clone(), true), reads_answer: true });
        }
    }
    let semantic = call.ai.cache.as_ref().and_then(|cache| cache.settings.semantic.as_ref());
    if let Some(helper) = semantic.and_then(|semantic| gateway.helpers.find(&semantic.model)) {
        let ask = Ask { input: said, answers: 1, ..Ask::default() };
        all.push(Beside { most: most(helper.alias, &helper, ask, false), reads_answer: false });
    }
    all
}

/// Of one request to whichever of a model's targets answers.
fn most(alias: &Alias, asked: &Asked<'_>, ask: Ask, has_output: bool) -> Most {
    let targets = alias.targets().iter().map(|target| (&**target, asked.model(target)));
    Most::of_requests(ask, targets, has_output)
}
