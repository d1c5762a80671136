//! Finding the documents that are asked for, and measuring them: what needs nothing of the call but what came.

use std::sync::Arc;

use ::graphql::{
    Code, Document, Guard, Kind, Limits, Measured, Refusal, Schema, Settings,
    persisted::{self, Known, List},
    request::{Asked, Id, Payload},
};
use model::{
    GraphqlRecord,
    policy::graphql::{Graphql, GraphqlUnknown, GraphqlUnlisted},
};

use super::{Reads, refusal, report::Kept};
use crate::compiled::Building;

/// Bytes that an operation counts as whatever it is, when it is asked whether several are much.
const OPERATION_BYTES: usize = 256;

/// What operations are judged by.
pub(super) struct Core {
    pub(super) guard: Guard,
    pub(super) kept: Arc<Kept>,
    list: Option<List>,
    unlisted: GraphqlUnlisted,
}

/// What is kept of an operation until it is answered.
pub(super) struct Asking {
    pub(super) name: Option<Arc<str>>,
    pub(super) kind: Kind,
    pub(super) cost: f64,
}

/// An operation that may be run.
pub(super) struct Judged {
    pub(super) known: Arc<Known>,
    pub(super) name: Option<Arc<str>>,
    pub(super) kind: Kind,
    pub(super) measured: Measured,
}

impl Core {
    pub(super) fn compile(settings: &Graphql, kept: Arc<Kept>, cx: &Building<'_>) -> Result<Self, String> {
        let limits = &settings.limits;
        let limits = Limits {
            tokens: limits.tokens as usize,
            depth: limits.depth,
            fields: limits.fields.into(),
            aliases: limits.aliases.into(),
            root_fields: limits.root_fields.into(),
            directives: limits.directives.into(),
            batch: limits.batch as usize,
            cost: limits.cost,
        };
        let schema = settings.schema.as_ref().map(|file| {
            let bytes = cx.snapshot.file(file);
            let text =
                std::str::from_utf8(&bytes).map_err(|_| format!("`schema`: `{file}` is no UTF-8 text"))?;
            Schema::parse(text).map_err(|error| format!("`schema`: `{file}`: {error}"))
        });
        let persisted = settings.persisted.as_ref();
        let list = persisted.and_then(|persisted| persisted.list.as_ref()).map(|file| {
            let read = List::parse(&cx.snapshot.file(file), &limits);
            read.map_err(|error| format!("`persisted.list`: `{file}`: {error}"))
        });
        let costs = &settings.costs;
        let wanted = Settings {
            limits: limits.clone(),
            costs: costs.weights.clone(),
            list_sizes: costs.list_sizes.clone(),
            default_list_size: costs.list_size,
            object_cost: costs.object,
            leaf_cost: costs.scalar,
            slicing: costs.size_arguments.clone(),
            introspection: settings.introspection,
            passes_unknown: settings.unknown_fields == GraphqlUnknown::Pass,
            rules: settings.fields.iter().map(|rule| rule.of.clone()).collect(),
        };
        Ok(Self {
            guard: Guard::compile(wanted, schema.transpose()?)?,
            kept,
            list: list.transpose()?,
            unlisted: persisted.map(|persisted| persisted.unlisted).unwrap_or_default(),
        })
    }

    /// Bytes of what is to be judged, of documents that are known already, too.
    pub(super) fn bytes(&self, payload: &Payload) -> usize {
        let known = |id: &Id| {
            let listed = self.list.as_ref().and_then(|list| list.by_id(id.as_str())).cloned();
            let kept = || self.kept.store.as_ref().and_then(|store| store.get(&hash(id)?));
            listed.or_else(kept).map_or(0, |known| known.text.len())
        };
        let text = |asked: &Asked| match (&asked.query, &asked.id) {
            (None, Some(id)) => known(id),
            _ => 0,
        };
        payload.asked.iter().map(|asked| OPERATION_BYTES + asked.bytes() + text(asked)).sum()
    }

    /// Judges all operations of a request, and tells what they are even when one is refused.
    pub(super) fn judge(
        &self,
        payload: &Payload,
        reads: Reads,
    ) -> (GraphqlRecord, Result<Vec<Judged>, Refusal>) {
        let mut record = GraphqlRecord {
            operations: u32::try_from(payload.asked.len()).unwrap_or(u32::MAX),
            is_batch: payload.is_batch,
            ..GraphqlRecord::default()
        };
        let each = payload.asked.iter().map(|asked| self.one(asked, reads, &mut record));
        let judged = each.collect::<Result<Vec<_>, _>>().and_then(|judged| {
            self.guard.judge_cost(record.cost)?;
            Ok(judged)
        });
        (record, judged)
    }

    fn one(&self, asked: &Asked, reads: Reads, record: &mut GraphqlRecord) -> Result<Judged, Refusal> {
        let (known, persisted) = self.find(asked)?;
        record.persisted = persisted.or(record.persisted);
        let operation = known.document.operation(asked.operation_name.as_deref())?;
        let (name, kind) = (operation.name.clone(), operation.kind);
        if record.kind.is_none() {
            record.kind = Some(kind.as_str());
            record.operation = name.clone();
        }
        if !reads.lets(kind) {
            let told = match kind {
                Kind::Subscription => {
                    "subscriptions come by GET only where events are accepted (text/event-stream)"
                }
                _ => "what changes something comes by POST",
            };
            return Err(refusal(Code::Method, told));
        }
        let variables = asked.variables()?;
        let measured = self.guard.measure(&known.document, operation, variables.as_ref())?;
        record.cost += measured.cost;
        record.depth = record.depth.max(measured.depth);
        Ok(Judged { known, name, kind, measured })
    }

    /// The document that is asked for, and how it was known.
    fn find(&self, asked: &Asked) -> Result<(Arc<Known>, Option<&'static str>), Refusal> {
        match (&asked.query, &asked.id) {
            (None, None) => Err(refusal(Code::BadRequest, "the request has no `query`")),
            (Some(text), None) => self.by_text(text),
            (None, Some(id)) => self.by_id(id),
            (Some(text), Some(id)) => {
                if let Some(list) = &self.list
                    && let Some(known) = list.by_id(id.as_str())
                {
                    return match *known.text == **text {
                        true => Ok((known.clone(), Some("listed"))),
                        false => Err(refusal(Code::HashMismatch, "provided sha does not match query")),
                    };
                }
                if let Some(hash) = hash(id) {
                    persisted::verify(&hash, text)?;
                } else if matches!(id, Id::Hash(_)) {
                    return Err(refusal(Code::HashMismatch, "provided sha does not match query"));
                }
                self.by_text(text)
            }
        }
    }

    fn by_text(&self, text: &str) -> Result<(Arc<Known>, Option<&'static str>), Refusal> {
        let mut noted = None;
        if let Some(list) = &self.list {
            match (list.by_text(text), self.unlisted) {
                (Some(_), GraphqlUnlisted::RequireId) => {
                    return Err(refusal(Code::IdRequired, "this document is asked for by its id"));
                }
                (Some(known), _) => return Ok((known.clone(), Some("listed"))),
                (None, GraphqlUnlisted::Report) => {
                    self.kept.persisted("unlisted");
                    noted = Some("unlisted");
                }
                (None, _) => return Err(refusal(Code::NotListed, "this document is not on the list")),
            }
        }
        let document = Document::parse(text, self.guard.limits())?;
        Ok((Arc::new(Known { text: text.into(), document }), noted))
    }

    fn by_id(&self, id: &Id) -> Result<(Arc<Known>, Option<&'static str>), Refusal> {
        if let Some(known) = self.list.as_ref().and_then(|list| list.by_id(id.as_str())) {
            self.kept.persisted("listed");
            return Ok((known.clone(), Some("listed")));
        }
        let takes_texts = self.list.is_none() || self.unlisted != GraphqlUnlisted::RequireId;
        if let Some(store) = self.kept.store.as_ref().filter(|_| takes_texts) {
            if let Some(known) = hash(id).and_then(|hash| store.get(&hash)) {
                self.kept.persisted("hit");
                // What was kept before the list changed is as listed as any other.
                let is_let_in = self.list.as_ref().is_none_or(|list| list.by_text(&known.text).is_some())
                    || self.unlisted == GraphqlUnlisted::Report;
                return match is_let_in {
                    true => Ok((known, Some("hit"))),
                    false => Err(refusal(Code::NotListed, "this document is not on the list")),
                };
            }
            self.kept.persisted("not_found");
            return Err(refusal(Code::NotFound, "PersistedQueryNotFound"));
        }
        match (&self.list, self.unlisted) {
            (None, _) => Err(refusal(Code::NotSupported, "PersistedQueryNotSupported")),
            (Some(_), GraphqlUnlisted::Report) => {
                self.kept.persisted("not_found");
                Err(refusal(Code::NotFound, "PersistedQueryNotFound"))
            }
            (Some(_), _) => Err(refusal(Code::NotInList, "no document of the list has this id")),
        }
    }

    /// Keeps what came with its hash, now that it may be run.
    pub(super) fn register(&self, payload: &Payload, judged: &[Judged]) {
        let Some(store) = &self.kept.store else { return };
        for (asked, one) in payload.asked.iter().zip(judged) {
            if asked.query.is_some()
                && let Some(hash) = asked.id.as_ref().and_then(hash)
                && store.insert(&hash, one.known.clone()) == Ok(true)
            {
                self.kept.persisted("registered");
            }
        }
    }
}

/// The hash that an id is.
fn hash(id: &Id) -> Option<persisted::Hash> {
    match id {
        Id::Hash(text) => persisted::from_hex(text),
        Id::Document(text) => persisted::from_hex(text.strip_prefix("sha256:")?),
    }
}
