//! Proofs that ride on the ids of calls, for callers in whose dialect they have no other place.
//!
//! All proofs of the thoughts before a call ride on it, and a mark of the call's own last. When they come back, each is
//! joined with its thought where that has come back too, and stands alone where it has not.

use super::{Part, Proof, ProofKind};

/// Proofs that wait for a call.
#[derive(Debug, Default)]
pub struct Riders(Vec<Proof>);

impl Riders {
    /// A thought's proof waits.
    pub fn wait(&mut self, proof: Proof) {
        self.0.push(proof);
    }

    /// The id of a call with all that have waited, and the call's own.
    pub fn mount(&mut self, id: String, own: Option<Proof>) -> String {
        self.0.drain(..).chain(own).fold(id, |id, proof| proof.ride(&id))
    }
}

/// Reads the id of a call, and joins what rides on it with the parts before it. Gives the id, and the call's own mark.
/// Thoughts that are `proven` have come with their proofs, and need none from here.
pub fn dismount(id: &str, parts: &mut Vec<Part>, proven: bool) -> (String, Option<Proof>) {
    let (id, mut riders) = Proof::dismount(id);
    let own = riders.pop_if(|last| last.kind == ProofKind::Mark);
    if !proven {
        prove(parts, riders);
    }
    (id.to_owned(), own)
}

/// Joins proofs with thoughts one by one. Where there are more or fewer of them, nobody knows whose is whose, and
/// thoughts with a wrong signature are refused: then the proofs stand alone.
fn prove(parts: &mut Vec<Part>, riders: Vec<Proof>) {
    let open = |part: &&mut Part| matches!(part, Part::Thinking { proof: None, .. });
    let unproven = parts.iter_mut().filter(open).count();
    if unproven != riders.len() {
        let alone = |proof| Part::Thinking { text: String::new(), proof: Some(proof) };
        parts.extend(riders.into_iter().map(alone));
        return;
    }
    for (part, rider) in parts.iter_mut().filter(open).zip(riders) {
        if let Part::Thinking { proof, .. } = part {
            *proof = Some(rider);
        }
    }
}
