//! An agent's events for a client, one by one, with ids that are the client's.

use std::sync::Arc;

use model::{A2aRecord, resource::a2a::A2aMethod as Method};

use super::{
    Inner,
    form::{self, Form},
    results::Outbound,
};
use crate::{
    body::Body,
    failure::Failure,
    handler::{
        mcp::sse::Event,
        retold::{Flow, Retell, Retold},
    },
};

/// What a stream is for.
pub(super) struct Whose {
    pub(super) inner: Arc<Inner>,
    pub(super) agent: Arc<str>,
    pub(super) who: String,
    pub(super) method: Method,
    pub(super) form: Form,
    pub(super) address: String,
    pub(super) record: Arc<A2aRecord>,
}

/// Reads an agent's stream and tells it.
pub(super) struct Events {
    flow: Flow,
    whose: Whose,
}

impl Events {
    /// The stream as a body.
    pub(super) fn body(inner: Body, whose: Whose) -> Body {
        Body::boxed(Retold(Self { flow: Flow::new(inner), whose }))
    }

    /// Ends the stream with an error, which every client understands.
    fn fail(&mut self, why: &str) {
        self.flow.is_over = true;
        self.whose.record.fail(-32603);
        let mut event = Event::default();
        self.whose.form.put(form::error(-32603, why), &mut event);
        event.write(&mut self.flow.out);
    }
}

impl Retell for Events {
    fn flow(&mut self) -> &mut Flow {
        &mut self.flow
    }

    fn flow_of(&self) -> &Flow {
        &self.flow
    }

    fn take(&mut self, bytes: &[u8]) {
        let pushed = self.flow.reader.push(bytes, &mut self.flow.events);
        let whose = &self.whose;
        let ids = whose.inner.keys.of(&whose.agent, &whose.who);
        let outbound = Outbound {
            ids: &ids,
            record: &whose.record,
            cards: &whose.inner.cards,
            address: &whose.address,
            context: None,
        };
        let mut broken = pushed.err().map(|_| "the agent sent an event that is too large");
        for mut event in self.flow.events.drain(..) {
            if event.data.is_empty() {
                continue;
            }
            if event.data.len() > whose.inner.event_bytes_max {
                broken = Some("the agent sent an event that is too large");
                break;
            }
            let text = std::str::from_utf8(&event.data).ok();
            let told = text.and_then(|text| outbound.message(whose.method, text));
            let Some(told) = told else {
                broken = Some("the agent sent an event that is no answer");
                break;
            };
            whose.record.event();
            whose.form.put(told, &mut event);
            // An id of an event is the agent's own, and nothing here takes it back.
            event.id = None;
            event.write(&mut self.flow.out);
        }
        if let Some(why) = broken {
            self.fail(why);
        }
    }

    fn broke_off(&mut self, failure: &Failure) {
        tracing::debug!(agent = %self.whose.agent, "an agent's stream broke off: {failure}");
        self.fail("the agent's stream broke off");
    }

    fn ended(&mut self) {
        self.flow.is_over = true;
    }
}
