//! Proofs that ride on the ids of calls, for callers in whose dialect they have no other place.
//!
//! All proofs of the thoughts before a call ride on it, and a mark of the call's own last. When they come back, each is
//! joined with its thought where that has come back too, and stands alone where it has not. It stands where it stood:
//! before what was said, behind it, or behind an earlier call. A provider refuses a round whose thoughts have moved.

use std::collections::HashSet;

use super::{Part, Proof, ProofKind};

/// Proofs of one message that are looked at: no answer has so many, and each is compared with every thought.
const RIDERS_MAX: usize = 256;

/// Proofs that wait for a call.
#[derive(Debug, Default)]
pub struct Riders {
    waiting: Vec<Proof>,
    /// Something was said already: what is thought from now on stands behind it.
    said: bool,
}

impl Riders {
    /// A thought's proof waits.
    pub fn wait(&mut self, proof: Proof) {
        self.waiting.push(if self.said { proof.behind() } else { proof });
    }

    /// Something was said.
    pub fn said(&mut self) {
        self.said = true;
    }

    /// The id of a call with all that have waited, and the call's own.
    pub fn mount(&mut self, id: String, own: Option<Proof>) -> String {
        self.waiting.drain(..).chain(own).fold(id, |id, proof| proof.ride(&id))
    }
}

/// A proof that came on the id of a call.
struct Rider {
    proof: Proof,
    /// Which of the calls.
    call: usize,
    /// It stood behind what was said.
    is_behind: bool,
}

/// Reads the ids of the calls of one message, and joins what rides on them with the thoughts among its parts.
pub fn dismount(parts: Vec<Part>) -> Vec<Part> {
    let (mut parts, mut riders, mut calls) = (parts, Vec::new(), 0);
    for part in &mut parts {
        let Part::ToolCall { id, proof, .. } = part else { continue };
        let (plain, mut found) = Proof::dismount(id);
        let plain = plain.to_owned();
        if let Some(own) = found.pop_if(|last| last.kind == ProofKind::Mark) {
            *proof = Some(own);
        }
        let room = RIDERS_MAX.saturating_sub(riders.len());
        riders.extend(found.into_iter().take(room).map(|mut proof| {
            let is_behind = proof.take_behind();
            Rider { proof, call: calls, is_behind }
        }));
        *id = plain;
        calls += 1;
    }
    if riders.is_empty() { parts } else { seated(parts, riders) }
}

/// Joins proofs with thoughts, and puts each where it stood.
fn seated(mut parts: Vec<Part>, riders: Vec<Rider>) -> Vec<Part> {
    let places = places(&parts, &riders);
    let first_call = parts.iter().position(is_call).unwrap_or(parts.len());
    let said = parts.iter().position(|part| !is_call(part) && !is_thought(part)).unwrap_or(first_call);
    // Thoughts behind what was said are right where they are, when all of them are there.
    let behind = |rider: &Rider| rider.call == 0 && rider.is_behind;
    let mut at_hand = riders.iter().zip(&places).filter(|(rider, _)| behind(rider));
    let stay = at_hand.all(|(_, place)| place.is_some_and(|at| at > said && at < first_call));
    let (mut front, mut back, mut before, mut gone) = (Vec::new(), Vec::new(), Vec::new(), HashSet::new());
    for (rider, place) in riders.into_iter().zip(places) {
        let is_behind = behind(&rider);
        let mut thought = Part::Thinking { text: String::new(), proof: None };
        if let Some(found) = place.and_then(|at| parts.get_mut(at)) {
            if let Part::Thinking { proof, .. } = found {
                // What has come with its proof may know more of it.
                proof.get_or_insert(rider.proof.clone());
            }
            if is_behind && stay {
                continue;
            }
            std::mem::swap(&mut thought, found);
            gone.extend(place);
        } else if let Part::Thinking { proof, .. } = &mut thought {
            *proof = Some(rider.proof);
        }
        match (rider.call, is_behind) {
            (0, false) => front.push(thought),
            (0, true) => back.push(thought),
            (call, _) => before.push((call, thought)),
        }
    }
    let lead = parts.iter().take_while(|part| is_thought(part)).count();
    let (mut out, mut calls) = (Vec::with_capacity(parts.len() + 4), 0);
    let mut before = before.into_iter().peekable();
    for (at, part) in parts.into_iter().enumerate() {
        if at == lead {
            out.append(&mut front);
        }
        if is_call(&part) {
            out.append(&mut back);
            while let Some((_, thought)) = before.next_if(|(call, _)| *call == calls) {
                out.push(thought);
            }
            calls += 1;
        }
        if !gone.contains(&at) {
            out.push(part);
        }
    }
    out
}

/// Where the thought of each rider is among the parts: the one that came with the same proof, or, of those that came
/// without, the one in its turn. Where there are more or fewer of them, nobody knows whose is whose, and thoughts with
/// a wrong signature are refused: then the proofs stand alone.
fn places(parts: &[Part], riders: &[Rider]) -> Vec<Option<usize>> {
    let same = |rider: &Rider| {
        parts.iter().position(|part| match part {
            Part::Thinking { proof: Some(proof), .. } => {
                let rider = &rider.proof;
                (&proof.issuer, proof.kind, &proof.value) == (&rider.issuer, rider.kind, &rider.value)
            }
            _ => false,
        })
    };
    let mut places: Vec<Option<usize>> = riders.iter().map(same).collect();
    let open = |part: &Part| matches!(part, Part::Thinking { proof: None, .. });
    let open: Vec<usize> =
        parts.iter().enumerate().filter(|(_, part)| open(part)).map(|(at, _)| at).collect();
    let alone = |at: &usize| places.get(*at).is_some_and(Option::is_none);
    let all: Vec<usize> = (0..riders.len()).filter(alone).collect();
    // What is encrypted has come without words.
    let is_signature =
        |at: &usize| riders.get(*at).is_some_and(|rider| rider.proof.kind == ProofKind::Signature);
    let signed: Vec<usize> = all.iter().copied().filter(is_signature).collect();
    if let Some(turns) = [all, signed].into_iter().find(|turns| turns.len() == open.len()) {
        for (turn, at) in turns.into_iter().zip(open) {
            if let Some(place) = places.get_mut(turn) {
                *place = Some(at);
            }
        }
    }
    places
}

fn is_call(part: &Part) -> bool {
    matches!(part, Part::ToolCall { .. })
}

fn is_thought(part: &Part) -> bool {
    matches!(part, Part::Thinking { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(value: &str, kind: ProofKind) -> Proof {
        Proof { issuer: "anthropic".to_owned(), kind, value: value.to_owned(), id: None }
    }

    /// `T1:text` is a thought with its proof, `R1` an encrypted one, `T:text` one without, `C2` a call, else a text.
    fn part(word: &str) -> Part {
        let (head, text) = word.split_once(':').unwrap_or((word, ""));
        let thought = |proof| Part::Thinking { text: text.to_owned(), proof };
        match head.split_at(1) {
            ("T", "") => thought(None),
            ("T", value) => thought(Some(proof(value, ProofKind::Signature))),
            ("R", value) => thought(Some(proof(value, ProofKind::Encrypted))),
            ("C", id) => call(id.to_owned()),
            _ => Part::text(word),
        }
    }

    fn call(id: String) -> Part {
        let (name, arguments) = ("f".to_owned(), "{}".to_owned());
        Part::ToolCall { id, name, arguments, custom: false, proof: None, cache: None }
    }

    fn parts(words: &str) -> Vec<Part> {
        words.split_whitespace().map(part).collect()
    }

    /// What a caller sends back who keeps calls and `kept` of an answer.
    fn back(answer: &str, kept: &str) -> Vec<Part> {
        let mut riders = Riders::default();
        let mut calls = Vec::new();
        for part in parts(answer) {
            match part {
                Part::Thinking { proof: Some(proof), .. } => riders.wait(proof),
                Part::ToolCall { id, .. } => calls.push(call(riders.mount(id, None))),
                _ => riders.said(),
            }
        }
        dismount(parts(kept).into_iter().chain(calls).collect())
    }

    #[test]
    fn more_proofs_than_any_answer_has_are_not_looked_at() {
        let id =
            (0..1_000).fold("1".to_owned(), |id, at| proof(&at.to_string(), ProofKind::Signature).ride(&id));
        let back = dismount(vec![Part::text("said"), call(id)]);
        assert_eq!(back.len(), RIDERS_MAX + 2);
        assert_eq!(back.last(), Some(&call("1".to_owned())));
    }

    #[test]
    fn thoughts_stand_where_they_stood() {
        for (answer, kept, want) in [
            ("T1:hm said C1", "said", "T1 said C1"),
            ("T1:hm R2 said C1", "said", "T1 R2 said C1"),
            ("said T1:hm C1", "said", "said T1 C1"),
            ("T1:hm said R2 C1", "said", "T1 said R2 C1"),
            ("T1:hm C1 T2:so C2", "", "T1 C1 T2 C2"),
            ("T1:hm said C1 C2", "said", "T1 said C1 C2"),
            // Thoughts without their proofs have come back, too.
            ("T1:hm said C1", "T:hm said", "T1:hm said C1"),
            ("R1 T2:hm said C1", "T:hm said", "R1 T2:hm said C1"),
            ("T1:hm said T2:so C1", "T:hm said T:so", "T1:hm said T2:so C1"),
            ("T1:hm C1 T2:so C2", "T:hmso", "T:hmso T1 C1 T2 C2"),
            ("said T1:hm C1", "T:hm said", "said T1:hm C1"),
            // Or with them, all in front.
            ("T1:hm said T2:so C1", "T1:hm T2:so said", "T1:hm said T2:so C1"),
            ("T1:hm C1 T2:so C2", "T1:hm T2:so", "T1:hm C1 T2:so C2"),
        ] {
            assert_eq!(back(answer, kept), parts(want), "{answer} of which came back {kept}");
        }
    }
}
