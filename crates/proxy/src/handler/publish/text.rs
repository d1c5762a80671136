//! Texts of a message that are filled from the call, or from the event that it brings.

use events::{cloud::Event, subject::Rules};

use crate::{call::Call, template::Template};

/// A template in which attributes of an event may stand, too: `{{ event.subject }}`.
pub(super) struct Text {
    pieces: Box<[Piece]>,
    /// `{{ event.type }}` may have dots: the configuration knows which types there are.
    has_types: bool,
}

enum Piece {
    Call(Template),
    Event(Box<str>),
}

impl Text {
    pub(super) fn compile(written: &str, has_types: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let (mut plain, mut rest) = (String::new(), written);
        while let Some((before, inner)) = rest.split_once("{{") {
            plain.push_str(before);
            let Some((place, after)) = inner.split_once("}}") else {
                return Err(format!("`{written}` opens `{{{{` and never closes it"));
            };
            match place.trim().strip_prefix("event.") {
                Some(name) if !name.is_empty() => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Call(Template::compile(&std::mem::take(&mut plain))?));
                    }
                    pieces.push(Piece::Event(name.into()));
                }
                _ => plain.push_str(&format!("{{{{{place}}}}}")),
            }
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Call(Template::compile(&plain)?));
        }
        Ok(Self { pieces: pieces.into(), has_types })
    }

    /// Whether it tells one event of a batch from another.
    pub(super) fn is_of_event(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Event(_)))
    }

    /// The text; nothing when a value is not there.
    pub(super) fn render(&self, call: &Call, event: Option<&Event>) -> Option<String> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Call(template) => out.push_str(&template.render(call)?),
                Piece::Event(name) => out.push_str(event?.text(name)?),
            }
        }
        Some(out)
    }

    /// The text as a subject, of which every value is one token at most.
    pub(super) fn subject(&self, rules: Rules, call: &Call, event: Option<&Event>) -> Result<String, String> {
        let missing = || "the request lacks what the subject is made of".to_owned();
        let told = |why: &str| format!("what the subject is made of cannot be a part of one: {why}");
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Call(template) => {
                    let text =
                        template.render_judged(call, |value| rules.check_value(value).map_err(told))?;
                    out.push_str(&text.ok_or_else(missing)?);
                }
                Piece::Event(name) => {
                    let value = event.and_then(|event| event.text(name)).ok_or_else(missing)?;
                    match &**name {
                        "type" if self.has_types => {
                            value.split('.').try_for_each(|part| rules.check_value(part))
                        }
                        _ => rules.check_value(value),
                    }
                    .map_err(told)?;
                    out.push_str(value);
                }
            }
        }
        rules.check(&out).map_err(|why| format!("no subject can be made of the request: {why}"))?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{call, with_header};

    fn subject(text: &str, has_types: bool, header: &str, event: Option<&Event>) -> Result<String, String> {
        let call = with_header(call("POST", "/"), "x-a", header);
        Text::compile(text, has_types).expect("a template").subject(Rules::Nats, &call, event)
    }

    #[test]
    fn what_a_caller_brings_is_one_part_of_a_subject_and_nothing_more() {
        let text = "orders.{{ request.header.x-a }}.placed";
        assert_eq!(subject(text, false, "7", None).as_deref(), Ok("orders.7.placed"));
        for bad in ["7.x", "*", ">", "a b", ""] {
            assert!(subject(text, false, bad, None).is_err(), "{bad}");
        }
        assert!(subject("{{ request.header.x-a }}.API", false, "$JS", None).is_err());
        assert!(subject("{{ request.header.x-b }}", false, "7", None).is_err());
    }

    #[test]
    fn a_type_has_dots_where_the_configuration_knows_the_types() {
        let event = Event::new("1", "/s", "order.placed");
        let text = "events.{{ event.type }}";
        assert_eq!(subject(text, true, "x", Some(&event)).as_deref(), Ok("events.order.placed"));
        assert!(subject(text, false, "x", Some(&event)).is_err());
        assert!(subject(text, true, "x", None).is_err());
        assert!(subject("a.{{ event.source }}", true, "x", Some(&Event::new("1", "a.b", "t"))).is_err());
    }
}
