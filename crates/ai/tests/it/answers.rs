//! Whole answers of every dialect, told in every other.

use ai::{
    canon::{Assembler, events_of},
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
