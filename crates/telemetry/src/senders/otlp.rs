//! OTLP: records as log records, over the same ways as `telemetry.otlp`.

use bytes::Bytes;
use model::resource::{
    access_log::otlp::Otlp as Settings,
    telemetry::{Otlp as Receiver, Signals},
};
use sinks::{Courier, Sending};

use super::{Building, Built};
use crate::otlp::{Shipment, Wanted};

struct Otlp(Shipment);

pub(super) fn build(settings: &Settings, cx: Building<'_>) -> Result<Built, String> {
    let receiver = Receiver {
        endpoint: settings.url.clone(),
        protocol: settings.protocol,
        tls: settings.tls.clone(),
        compression: settings.compression,
        headers: settings.headers.clone(),
        sample: model::Percent::ALL,
        signals: Signals { traces: false, metrics: false, logs: true },
        service_name: settings.service_name.clone(),
        attributes: settings.attributes.clone(),
        redact: cx.redact.clone(),
        interval: settings.timeout,
        timeout: settings.timeout,
        // Batches and the queue are the lane's.
        max_batch: 1,
        max_queue: 1,
    };
    let wanted = Wanted::from(receiver, cx.snapshot);
    let courier = Otlp(Shipment::new(&wanted, cx.snapshot, cx.tls)?);
    let (redact, routes) = (cx.redact, cx.routes);
    Ok(Built {
        encode: Box::new(move |call, out| Shipment::record(call, &redact, &routes.load(), out)),
        courier: Box::new(courier),
        timeout: settings.timeout.get(),
    })
}

impl Courier for Otlp {
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a> {
        Box::pin(self.0.send(batch))
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}
