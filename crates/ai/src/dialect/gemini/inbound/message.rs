//! Reads the contents of a request.
//!
//! Calls may come without ids. Then each gets one from its place, and results are joined with calls by name and order.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value};

use super::request::text_of;
use crate::{
    canon::{Error, Extra, Message, Part, Proof, ProofKind, Request, Role},
    dialect::gemini::{DIALECT, part::read_media, proof_of, proofs_of_others},
    fields::Fields,
};

/// The messages, each with its place.
pub(super) fn read_messages(
    fields: &mut Fields,
    request: &mut Request,
    extra: &mut Extra,
) -> Result<(), Error> {
    let Request { messages, places, .. } = request;
    if let Some(text) = fields.peek_text("systemInstruction").map(str::to_owned) {
        fields.take("systemInstruction");
        messages.push(Message::text(Role::System, text));
    } else if let Some(mut system) = fields.object("systemInstruction")? {
        system.take("role");
        let mut parts = Vec::new();
        for part in system.objects("parts")? {
            read_part(part, &mut parts, &mut Calls::default(), extra)?;
        }
        messages.push(Message { role: Role::System, name: None, parts });
    }
    if !fields.has("contents") {
        return Err(fields.missing("contents"));
    }
    places.resize(messages.len(), "systemInstruction".to_owned());
    let mut calls = Calls::default();
    for (index, content) in contents(fields)?.into_iter().enumerate() {
        calls.content += 1;
        read_content(content, messages, &mut calls, extra)?;
        places.resize(messages.len(), format!("contents[{index}]"));
    }
    Ok(())
}

/// `contents` is a list; a single content is taken as a list of one, as Google's servers do.
fn contents(fields: &mut Fields) -> Result<Vec<Fields>, Error> {
    match fields.take("contents") {
        Some(content @ Value::Object(_)) => fields.put("contents", Value::Array(vec![content])),
        Some(other) => fields.put("contents", other),
        None => {}
    }
    fields.objects("contents")
}

/// Proofs of one content that are looked at: no answer has so many.
const PROOFS_MAX: usize = 256;

/// Calls that wait for their results.
#[derive(Default)]
struct Calls {
    content: usize,
    /// In their order; none in the place of one that was answered.
    open: Vec<Option<String>>,
    /// Their places, the first first.
    by_id: HashMap<String, VecDeque<usize>>,
    by_name: HashMap<String, VecDeque<usize>>,
    made: usize,
    /// Proofs that came with those of this content.
    proofs: usize,
}

impl Calls {
    fn begin(&mut self, id: Option<String>, name: &str) -> String {
        self.made += 1;
        let id = id.unwrap_or_else(|| format!("call_{}_{}", self.content, self.made));
        let at = self.open.len();
        self.open.push(Some(id.clone()));
        self.by_id.entry(id.clone()).or_default().push_back(at);
        self.by_name.entry(name.to_owned()).or_default().push_back(at);
        id
    }

    /// The call of a result: by its id, else the first open one of its name.
    fn answer(&mut self, id: Option<String>, name: &str) -> String {
        let places = match &id {
            Some(id) => self.by_id.get_mut(id),
            None => self.by_name.get_mut(name),
        };
        let mut known = None;
        // Those that were answered by the other way are passed over, each once.
        if let Some(places) = places {
            while known.is_none()
                && let Some(at) = places.pop_front()
            {
                known = self.open.get_mut(at).and_then(Option::take);
            }
        }
        id.or(known).unwrap_or_else(|| format!("call_{name}"))
    }
}

fn read_content(
    mut content: Fields,
    messages: &mut Vec<Message>,
    calls: &mut Calls,
    extra: &mut Extra,
) -> Result<(), Error> {
    let role = content.text("role")?.unwrap_or_else(|| "user".to_owned());
    let role = match role.as_str() {
        "user" | "function" | "tool" | "USER" | "" => Role::User,
        "model" | "assistant" | "MODEL" => Role::Assistant,
        "system" => Role::System,
        other => return Err(content.unknown("role", other, "user or model")),
    };
    let mut parts = Vec::new();
    (calls.made, calls.proofs) = (0, 0);
    for part in content.objects("parts")? {
        read_part(part, &mut parts, calls, extra)?;
    }
    content.rest(extra);
    if role == Role::Assistant {
        // SDKs that keep a streamed answer send back every piece of it, in contents of their own.
        match messages.last_mut().filter(|last| last.role == Role::Assistant) {
            Some(last) => {
                // All but its last is joined already, and there may be as many contents as pieces.
                let mut more = last.parts.split_off(last.parts.len().saturating_sub(1));
                more.append(&mut parts);
                join_pieces(&mut more);
                last.parts.append(&mut more);
            }
            None => {
                join_pieces(&mut parts);
                messages.push(Message { role, name: None, parts });
            }
        }
        return Ok(());
    }
    let (results, said): (Vec<_>, Vec<_>) =
        parts.into_iter().partition(|part| matches!(part, Part::ToolResult { .. }));
    let results_alone = !results.is_empty() && said.is_empty();
    if !results.is_empty() {
        messages.push(Message { role: Role::Tool, name: None, parts: results });
    }
    if !results_alone {
        messages.push(Message { role, name: None, parts: said });
    }
    Ok(())
}

/// Joins texts, and thoughts, that follow each other: a proof ends its piece.
fn join_pieces(parts: &mut Vec<Part>) {
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts.drain(..) {
        match (joined.last_mut(), part) {
            (
                Some(Part::Text { text, proof: proof @ None, .. }),
                Part::Text { text: more, proof: new, .. },
            )
            | (
                Some(Part::Thinking { text, proof: proof @ None }),
                Part::Thinking { text: more, proof: new },
            ) => {
                text.push_str(&more);
                *proof = new;
            }
            (_, part) => joined.push(part),
        }
    }
    *parts = joined;
}

fn read_part(
    mut part: Fields,
    parts: &mut Vec<Part>,
    calls: &mut Calls,
    extra: &mut Extra,
) -> Result<(), Error> {
    let thought = part.flag("thought")?.unwrap_or(false);
    let kind = if thought { ProofKind::Signature } else { ProofKind::Mark };
    let signature = part.text("thoughtSignature")?.filter(|text| !text.is_empty());
    let proof = signature.clone().map(|text| proof_of(text, kind));
    if part.has("text") {
        let text = part.required_text("text")?;
        parts.push(if thought {
            Part::Thinking { text, proof }
        } else {
            Part::Text { text, citations: Vec::new(), cache: None, proof }
        });
    } else if let Some(call) = part.object("functionCall")? {
        let mut others = signature.as_deref().map(proofs_of_others).unwrap_or_default();
        others.retain(|other| other.kind != ProofKind::Mark);
        let proof = proof.filter(|_| others.is_empty());
        read_call(call, proof, others, parts, calls, extra)?;
    } else if let Some(result) = part.object("functionResponse")? {
        parts.push(read_result(result, calls, extra)?);
    } else if let Some(media) = read_media(&mut part)? {
        // A mark on a picture stands before it, for pictures have no place for one.
        parts.extend(proof.map(|proof| Part::Thinking { text: String::new(), proof: Some(proof) }));
        parts.push(media);
    } else {
        if let Some(signature) = signature {
            part.put("thoughtSignature", signature.into());
        }
        parts.push(Part::Vendor { dialect: DIALECT, value: part.into_value() });
        return Ok(());
    }
    part.rest(extra);
    Ok(())
}

fn read_call(
    mut call: Fields,
    proof: Option<Proof>,
    others: Vec<Proof>,
    parts: &mut Vec<Part>,
    calls: &mut Calls,
    extra: &mut Extra,
) -> Result<(), Error> {
    let name = call.required_text("name")?;
    let id = calls.begin(call.text("id")?.filter(|id| !id.is_empty()), &name);
    let arguments = Value::Object(call.map("args")?).to_string();
    call.rest(extra);
    // Thoughts of another vendor ride on the call, for callers who keep no thoughts.
    let room = PROOFS_MAX.saturating_sub(calls.proofs);
    let others: Vec<Proof> = others.into_iter().take(room).collect();
    calls.proofs += others.len();
    prove(parts, others);
    parts.push(Part::ToolCall { id, name, arguments, custom: false, proof, cache: None });
    Ok(())
}

/// Joins proofs with the thoughts that they belong to, unless those have come with theirs. Where a thought has not come its
/// proof stands where it stood: before what was said, or behind it, before the call. Thoughts and proofs are both the
/// caller's, and as many as it likes: each is looked at once.
fn prove(parts: &mut Vec<Part>, others: Vec<Proof>) {
    if others.is_empty() {
        return;
    }
    let stripped = |mut proof: Proof| {
        let is_behind = proof.take_behind();
        (proof, is_behind)
    };
    let others: Vec<(Proof, bool)> = others.into_iter().map(stripped).collect();
    // The last place of each among them.
    let places: HashMap<&Proof, usize> =
        others.iter().enumerate().map(|(turn, (proof, _))| (proof, turn)).collect();
    let mut seats = Seats::of(parts, &places);
    // In the order of where they go, and of those that go to one place in the order of their finding.
    let mut inserted: Vec<(usize, bool, Part)> = Vec::new();
    let wordless = |proof| Part::Thinking { text: String::new(), proof };
    for (turn, (new, is_behind)) in others.iter().enumerate() {
        if !seats.there.insert(new) {
            continue;
        }
        // What is encrypted has come without words.
        let is_signature = new.kind == ProofKind::Signature;
        let unproven = if is_signature { seats.unproven.pop_front() } else { None };
        // An SDK has put a later one over the signature of the words before it, as it does with a part that has no words.
        let laid = || seats.laid.iter().position(|(_, last)| is_signature && *last > turn);
        if let Some(at) = unproven {
            sign(parts, at, new);
        } else if let Some(found) = laid() {
            let (at, _) = seats.laid.remove(found);
            inserted.push((at + 1, false, wordless(sign(parts, at, new))));
        } else {
            let at = seats.said.filter(|_| !is_behind && !seats.has_call).unwrap_or(parts.len());
            inserted.push((at, true, wordless(Some(new.clone()))));
        }
    }
    insert(parts, inserted);
}

/// Where proofs can go among the parts of a content.
struct Seats<'p> {
    /// Those that stand at a thought.
    there: HashSet<&'p Proof>,
    /// Thoughts that have none.
    unproven: VecDeque<usize>,
    /// Thoughts with words at which the proof of one without words stands, and the last place of that among all.
    laid: Vec<(usize, usize)>,
    has_call: bool,
    /// The first part that is no thought.
    said: Option<usize>,
}

impl<'p> Seats<'p> {
    /// `places` has those that are looked for.
    fn of(parts: &[Part], places: &HashMap<&'p Proof, usize>) -> Self {
        let (there, unproven, laid) = (HashSet::new(), VecDeque::new(), Vec::new());
        let mut seats = Self { there, unproven, laid, has_call: false, said: None };
        for (at, part) in parts.iter().enumerate() {
            let Part::Thinking { text, proof } = part else {
                seats.has_call |= matches!(part, Part::ToolCall { .. });
                seats.said = seats.said.or(Some(at));
                continue;
            };
            let Some(proof) = proof else {
                seats.unproven.push_back(at);
                continue;
            };
            if let Some((known, last)) = places.get_key_value(proof) {
                seats.there.insert(*known);
                if known.kind == ProofKind::Encrypted && !text.is_empty() {
                    seats.laid.push((at, *last));
                }
            }
        }
        seats
    }
}

/// Gives a thought its proof; the one that it had.
fn sign(parts: &mut [Part], at: usize, new: &Proof) -> Option<Proof> {
    match parts.get_mut(at) {
        Some(Part::Thinking { proof, .. }) => proof.replace(new.clone()),
        _ => None,
    }
}

/// Puts parts before those at these places, or behind all.
fn insert(parts: &mut Vec<Part>, mut inserted: Vec<(usize, bool, Part)>) {
    if inserted.is_empty() {
        return;
    }
    inserted.sort_by_key(|(at, is_next, _)| (*at, *is_next));
    let mut all = Vec::with_capacity(parts.len() + inserted.len());
    let mut inserted = inserted.into_iter().peekable();
    for (at, part) in parts.drain(..).enumerate() {
        while let Some((.., new)) = inserted.next_if(|(before, ..)| *before <= at) {
            all.push(new);
        }
        all.push(part);
    }
    all.extend(inserted.map(|(.., new)| new));
    *parts = all;
}

/// `functionResponse`. Its object says `output` or `error`, or is the output itself.
fn read_result(mut result: Fields, calls: &mut Calls, extra: &mut Extra) -> Result<Part, Error> {
    let name = result.text("name")?;
    let id =
        calls.answer(result.text("id")?.filter(|id| !id.is_empty()), name.as_deref().unwrap_or_default());
    let mut response = result.map("response")?;
    let alone = response.len() == 1;
    let mut said = |key: &str| if alone { response.shift_remove(key).map(text_of) } else { None };
    let (output, error) = (said("output"), said("error"));
    let is_error = error.is_some();
    let text = output.or(error).unwrap_or_else(|| Value::Object(response).to_string());
    let mut content = vec![Part::text(text)];
    for mut part in result.objects("parts")? {
        content.extend(read_media(&mut part)?);
        part.rest(extra);
    }
    // An empty object beside pictures says nothing.
    if content.len() > 1 && content.first() == Some(&Part::text(Value::Object(Map::new()).to_string())) {
        content.remove(0);
    }
    result.rest(extra);
    Ok(Part::ToolResult { id, name, content, is_error, custom: false, cache: None })
}
