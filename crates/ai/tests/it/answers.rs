//! Whole answers of every dialect, told in every other.

use ai::{
    canon::{Answer, Assembler, Feature, Loss, Losses, Part, events_of},
    dialect::Dialect,
};
use serde_json::Value;

use crate::fixtures::{fixtures, golden, pretty, section, telling};

#[test]
fn every_answer_is_told_in_every_dialect() {
    for from in Dialect::ALL {
        for fixture in fixtures(from, "answers") {
            let answer = from
                .read_answer(fixture.text.as_bytes())
                .unwrap_or_else(|error| panic!("{} {}: {error}", from.name(), fixture.name));
            let mut all = String::new();
            for to in Dialect::ALL {
                let told = to.write_answer(answer.clone(), &telling());
                let value: Value = serde_json::from_slice(&told).expect("JSON");
                section(&mut all, to, &pretty(&value));
                let back = to.read_answer(&told).unwrap_or_else(|error| {
                    panic!("{} {} told in {}: {error}", from.name(), fixture.name, to.name())
                });
                let spent =
                    |answer: &ai::canon::Answer| answer.usage.map(|usage| (usage.input, usage.output));
                assert_eq!(
                    spent(&back),
                    spent(&answer),
                    "{} {} told in {}",
                    from.name(),
                    fixture.name,
                    to.name()
                );
            }
            golden(&format!("answers/{}/{}.txt", from.name(), fixture.name), &all);
        }
    }
}

/// How much there is of what not every dialect can show.
pub(crate) fn shown(answer: &Answer) -> [(usize, &'static [Feature]); 6] {
    let parts = || answer.choices.iter().flat_map(|choice| &choice.parts);
    let count = |is: fn(&Part) -> bool| parts().filter(|part| is(part)).count();
    let cited = parts().map(|part| match part {
        Part::Text { citations, .. } => citations.len(),
        _ => 0,
    });
    [
        (answer.choices.len(), &[Feature::Choices]),
        (count(|part| matches!(part, Part::Image { .. })), &[Feature::Image, Feature::Choices]),
        (count(|part| matches!(part, Part::Audio { .. })), &[Feature::Audio, Feature::Choices]),
        (count(|part| matches!(part, Part::Vendor { .. })), &[Feature::VendorPart, Feature::Choices]),
        (cited.sum(), &[Feature::Citations, Feature::Choices]),
        (
            answer.choices.iter().map(|choice| choice.log_probabilities.len()).sum(),
            &[Feature::LogProbabilities, Feature::Choices],
        ),
    ]
}

#[test]
fn what_a_caller_is_not_shown_is_named() {
    for from in Dialect::ALL {
        for fixture in fixtures(from, "answers") {
            let answer = from.read_answer(fixture.text.as_bytes()).expect("read above");
            for to in Dialect::ALL {
                let back = to.read_answer(&to.write_answer(answer.clone(), &telling())).expect("read above");
                let losses = to.unshown(&answer);
                let named = |features: &[Feature]| {
                    losses
                        .iter()
                        .any(|loss| matches!(loss, Loss::Feature(feature, _) if features.contains(feature)))
                };
                for ((told, features), (seen, _)) in shown(&answer).into_iter().zip(shown(&back)) {
                    assert!(
                        seen >= told || named(features),
                        "{} {} told in {}: {told} of {features:?}, seen {seen}",
                        from.name(),
                        fixture.name,
                        to.name()
                    );
                }
                let mut of_events = Losses::default();
                events_of(answer.clone()).iter().for_each(|event| to.unshown_event(event, &mut of_events));
                for loss in losses.iter() {
                    assert!(of_events.iter().any(|other| other == loss), "{} {loss:?}", fixture.name);
                }
            }
        }
    }
}

#[test]
fn an_answer_told_as_a_stream_is_the_same_answer() {
    for from in Dialect::ALL {
        for fixture in fixtures(from, "answers") {
            let answer = from.read_answer(fixture.text.as_bytes()).expect("read above");
            let mut assembler = Assembler::default();
            for event in events_of(answer.clone()) {
                assembler.push(event);
            }
            assert_eq!(assembler.finish(), Ok(answer), "{} {}", from.name(), fixture.name);
        }
    }
}
