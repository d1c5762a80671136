//! A call as expressions of policies see it.

use crate::{
    call::Call,
    expression::{ConsumerFacts, Facts},
};

/// What an expression may ask about this call.
pub(crate) fn facts(call: &Call) -> Facts<'_> {
    let routed = call.routed_path();
    Facts {
        method: call.head.method.as_str(),
        path: call.path(),
        host: call.host.as_ref().map_or("", |host| host.as_str()),
        scheme: call.scheme(),
        query: call.head.uri.query().unwrap_or_default(),
        headers: &call.head.headers,
        client: call.client,
        listener: &call.record.listener,
        sni: call.peer.sni().unwrap_or_default(),
        consumer: call
            .consumer
            .as_ref()
            .map(|consumer| ConsumerFacts { name: &consumer.name, groups: &consumer.groups }),
        claims: call.claims.as_deref(),
        tool: None,
        captures: call.captures.view(routed),
        ai: None,
    }
}
