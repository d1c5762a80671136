//! `mask`: hides what not everybody may see, in bodies and in the access log.
//!
//! Bodies go through one step of [`crate::content`], in the way of [`super::transform`].

use std::sync::Arc;

use ai::guard::detect::Kind;
use futures_util::future::LocalBoxFuture;
use http::{Response, Uri, uri::PathAndQuery};
use model::policy::{guardrails::PersonalData, mask::MaskSide};

use super::{Flow, Needs, NeedsOf, Policy, counted::Metric, transform::Transform};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    content::{mask::Hidden, steps::Steps},
    failure::Failure,
};

static METRIC: Metric = Metric {
    name: "tidegate_mask_messages_total",
    help: "Messages that were looked through for what is to be hidden, by what came of it.",
    outcomes: &["masked", "failed"],
    gauges: &[],
};

/// The compiled policy.
pub(crate) struct Mask {
    bodies: Transform,
    hidden: Arc<Hidden>,
    log_query: Vec<String>,
}

impl Mask {
    pub(crate) fn compile(settings: &model::policy::Mask, cx: &Building<'_>) -> Result<Self, String> {
        let kinds: Vec<_> = settings.detect.iter().copied().map(kind).collect();
        let hidden = Hidden::compile(&settings.fields, &kinds, &settings.replacement, settings.remove)?;
        let hidden = Arc::new(hidden);
        let is_of_bodies = !settings.fields.is_empty() || !settings.detect.is_empty();
        let steps = |side: MaskSide| {
            let is_wanted = is_of_bodies && (settings.on == side || settings.on == MaskSide::Both);
            is_wanted.then(|| Steps::hiding(hidden.clone(), settings.max_size.get()))
        };
        let (request, answer) = (steps(MaskSide::Request), steps(MaskSide::Answer));
        if cx.owner.starts_with("upstreams/") && answer.is_some() {
            return Err("answers are masked on a route, a listener or globally, not on an upstream".into());
        }
        // Whatever the status: errors tell secrets, too.
        let bodies = Transform::of("mask", request, answer, vec![2, 3, 4, 5], &METRIC, cx);
        Ok(Self { bodies, hidden, log_query: settings.log_query.clone() })
    }

    /// Hides what the record would show.
    fn hide_query(&self, call: &mut Call) {
        if self.log_query.is_empty() && !self.hidden.looks_at_texts() {
            return;
        }
        let uri = &call.record.uri;
        let Some(query) = uri.query().filter(|query| !query.is_empty()) else { return };
        let mut is_changed = false;
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| {
                let name = pair.split('=').next().unwrap_or_default();
                let (plain, value) = form_urlencoded::parse(pair.as_bytes()).next().unwrap_or_default();
                if self.log_query.iter().any(|known| *known == plain) {
                    is_changed = true;
                    return format!("{name}=[masked]");
                }
                match self.hidden.text(&value) {
                    None => pair.to_owned(),
                    Some(hidden) => {
                        is_changed = true;
                        let hidden: String = form_urlencoded::byte_serialize(hidden.as_bytes()).collect();
                        format!("{name}={hidden}")
                    }
                }
            })
            .collect();
        if !is_changed {
            return;
        }
        let mut parts = uri.clone().into_parts();
        let target = format!("{}?{}", uri.path(), pairs.join("&"));
        // Without a good form nothing of it is shown.
        parts.path_and_query =
            PathAndQuery::try_from(target).or_else(|_| PathAndQuery::try_from(uri.path())).ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            call.record.uri = uri;
        }
    }
}

fn kind(kind: PersonalData) -> Kind {
    match kind {
        PersonalData::Email => Kind::Email,
        PersonalData::Phone => Kind::Phone,
        PersonalData::Card => Kind::Card,
        PersonalData::Iban => Kind::Iban,
        PersonalData::NationalId => Kind::NationalId,
        PersonalData::Secret => Kind::Secret,
    }
}

impl NeedsOf for model::policy::Mask {
    fn needs(&self) -> Needs {
        Needs::headers([http::header::CONTENT_TYPE, http::header::CONTENT_ENCODING])
    }
}

impl Policy for Mask {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        self.hide_query(call);
        self.bodies.request(call, body)
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        self.bodies.response(call, answer);
    }

    fn waits_for_answers(&self) -> bool {
        self.bodies.waits_for_answers()
    }

    fn judge<'a>(
        &'a self,
        call: &'a mut Call,
        answer: &'a mut Response<Body>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        self.bodies.judge(call, answer)
    }
}
