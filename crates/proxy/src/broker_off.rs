//! Brokers in a build without any: a configuration that has one is refused.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use telemetry::{Collect, Exposition};
use tokio::runtime::Handle;

use crate::{compiled::Building, worker::Shared};

pub(crate) type Brokers = HashMap<Arc<str>, Arc<Broker>>;

#[allow(dead_code, reason = "nothing reads it here")]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    pub(crate) fn size(&self) -> usize {
        0
    }
}

pub(crate) struct Confirmed {
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    pub(crate) is_duplicate: bool,
}

#[allow(dead_code, reason = "nothing fails here")]
pub(crate) enum Unconfirmed {
    Away,
    Full,
    TooLarge,
    NoStream,
    Unknown(&'static str),
    Refused { code: u64, why: String },
}

/// There is none.
pub(crate) enum Broker {}

/// There is none.
#[derive(Debug, Clone, Serialize)]
pub enum BrokerStatus {}

impl Broker {
    pub(crate) fn compile(
        _: &model::resource::broker::Broker,
        _: &Building<'_>,
    ) -> Result<Arc<Self>, String> {
        Err("this build has no brokers: it was made without the feature `nats`".to_owned())
    }

    pub(crate) fn start(this: &Arc<Self>, _: &Handle) {
        match **this {}
    }

    pub(crate) fn message_bytes_max(&self) -> usize {
        match *self {}
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        match *self {}
    }

    pub(crate) async fn publish(&self, _: Outgoing, _: Duration) -> Result<Confirmed, Unconfirmed> {
        match *self {}
    }

    pub(crate) fn status(&self) -> BrokerStatus {
        match *self {}
    }
}

pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, _: &mut Exposition) {
        let _ = self.0.strong_count();
    }
}

/// Deliveries, of which there are none.
pub(crate) mod subscription {
    use std::{collections::HashMap, sync::Arc};

    use serde::Serialize;
    use tokio::runtime::Handle;

    use crate::{compiled::Building, worker::Shared};

    pub(crate) type Subscriptions = HashMap<Arc<str>, Arc<Subscription>>;

    /// There is none.
    pub(crate) enum Subscription {}

    /// There is none.
    #[derive(Debug, Clone, Serialize)]
    pub enum SubscriptionStatus {}

    impl Subscription {
        pub(crate) fn compile(
            _: &model::resource::subscription::Subscription,
            _: &Building<'_>,
        ) -> Result<Arc<Self>, (&'static str, String)> {
            Err(("broker", "this build has no brokers: it was made without the feature `nats`".to_owned()))
        }

        pub(crate) fn start(this: &Arc<Self>, _: &Arc<Shared>, _: &Handle) {
            match **this {}
        }

        pub(crate) fn status(&self) -> SubscriptionStatus {
            match *self {}
        }
    }

    pub(crate) use super::Report;

    pub(crate) fn reloaded(_: &Subscriptions, _: &Subscriptions) {}

    pub(crate) fn stop(_: &Subscriptions) {}

    pub(crate) fn have_ended(_: &Subscriptions) -> bool {
        true
    }
}
