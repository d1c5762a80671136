//! The law of every dialect: what is written in it and read back is the same, or the loss report names the difference.

mod answers;
mod atoms;
mod draw;

use ai::{
    canon::{Feature, Loss, Request, ToolChoice},
    dialect::{Dialect, Spoken},
    rules::{Rules, Target, ThoughtsField},
};
use proptest::{collection::vec, prelude::*};

use self::{
    atoms::{Atoms, order},
    draw::Draw,
};

fn named(losses: &ai::canon::Losses, features: &[Feature]) -> bool {
    losses.iter().any(|loss| matches!(loss, Loss::Feature(feature, _) if features.contains(feature)))
}

/// What the law says of a request in a dialect; the faults.
fn faults(dialect: Dialect, request: &Request, thoughts: Option<ThoughtsField>) -> Vec<String> {
    let rules = Rules { developer_role: true, thoughts, ..Rules::default() };
    let written = match dialect.write_request(request, Target { model: &request.model, rules: &rules }) {
        Ok(written) => written,
        Err(error) if error.status < 500 => return Vec::new(),
        Err(error) => return vec![format!("it cannot be written: {error}")],
    };
    let spoken = Spoken { model: Some(request.model.clone()), stream: request.stream };
    let back = match dialect.read_request(&spoken, &written.body) {
        Ok(back) => back,
        Err(error) => return vec![format!("what is written is not read: {error}")],
    };
    let forced = request.tool_choice.as_ref().is_some_and(ToolChoice::is_forced);
    let (first, second) = {
        // Some who speak OpenAI's chat dialect take thoughts back, with what they were signed with; most do not.
        let takes_own = dialect != Dialect::OpenAiChat || thoughts.is_some();
        (Atoms::of(request, dialect, takes_own), Atoms::of(&back, dialect, takes_own))
    };
    let mut faults: Vec<String> = first
        .without(&second)
        .filter(|(_, features)| !named(&written.losses, features))
        // Where Gemini must call something its arguments fit their schema always, and the mode for that is the only
        // place in which its dialect says so.
        .filter(|(what, _)| !(dialect == Dialect::Gemini && forced && what.starts_with("strict")))
        // Who tells thoughts in this dialect tells them unasked.
        .filter(|(what, _)| !(thoughts.is_some() && what.starts_with("shown")))
        .map(|(what, features)| format!("lost without a word: {what} (one of {features:?} should say so)"))
        .collect();
    for (path, _) in &request.extra {
        if !written.losses.iter().any(|loss| *loss == Loss::Field(path.clone())) {
            faults.push(format!("lost without a word: the field {path}"));
        }
    }
    let (said, heard) = (order(request), order(&back));
    let heard: Vec<&String> = heard.iter().filter(|word| said.contains(word)).collect();
    let said: Vec<&String> = said.iter().filter(|word| heard.contains(word)).collect();
    if said != heard {
        faults.push(format!("said in another order: {said:?} is {heard:?}"));
    }
    if !faults.is_empty() {
        faults.push(String::from_utf8_lossy(&written.body).into_owned());
    }
    faults
}

fn check(dialect: Dialect, numbers: &[u8]) -> Result<(), TestCaseError> {
    let request = Draw::new(numbers).request();
    for thoughts in [None, Some(ThoughtsField::ReasoningDetails)] {
        let faults = faults(dialect, &request, thoughts);
        prop_assert!(faults.is_empty(), "{}:\n{}\nof {request:#?}", dialect.name(), faults.join("\n"));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn chat_names_what_it_loses(numbers in vec(any::<u8>(), 0..160)) {
        check(Dialect::OpenAiChat, &numbers)?;
    }

    #[test]
    fn responses_names_what_it_loses(numbers in vec(any::<u8>(), 0..160)) {
        check(Dialect::OpenAiResponses, &numbers)?;
    }

    #[test]
    fn anthropic_names_what_it_loses(numbers in vec(any::<u8>(), 0..160)) {
        check(Dialect::Anthropic, &numbers)?;
    }

    #[test]
    fn gemini_names_what_it_loses(numbers in vec(any::<u8>(), 0..160)) {
        check(Dialect::Gemini, &numbers)?;
    }

    #[test]
    fn bedrock_names_what_it_loses(numbers in vec(any::<u8>(), 0..160)) {
        check(Dialect::Bedrock, &numbers)?;
    }

    #[test]
    fn cohere_names_what_it_loses(numbers in vec(any::<u8>(), 0..160)) {
        check(Dialect::Cohere, &numbers)?;
    }
}
