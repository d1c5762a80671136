//! Rules of `subscribe`.

use crate::{
    Route,
    load::{Context, format::without_places, scope::Named},
    resource::subscribe::Subscribe,
};

pub(super) fn check(subscribe: &Subscribe, route: &Route, at: &mut Context<'_, '_>) {
    at.field("broker", |at| at.refer(Named::Broker, &subscribe.broker));
    at.field("subject", |at| {
        super::template(&subscribe.subject, at);
        super::publish::captures(&subscribe.subject, route, at);
        if !super::subscription::is_filter(&without_places(&subscribe.subject)) {
            at.error("expected a subject such as `orders.{{ consumer.name }}.>`");
        }
    });
    if subscribe.stream.contains(['.', '*', '>', ' ']) {
        at.field("stream", |at| at.error("expected the name of a stream"));
    }
    for (key, time) in [("heartbeat", subscribe.heartbeat), ("maxDuration", subscribe.max_duration)] {
        if time.is_zero() {
            at.field(key, |at| at.error("expected more than nothing"));
        }
    }
}
