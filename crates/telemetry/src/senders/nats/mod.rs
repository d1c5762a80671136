//! A subject of a broker, where this build can speak to one.

#[cfg(feature = "nats")]
mod publish;

#[cfg(feature = "nats")]
pub(super) use self::publish::build;

/// There is no client in this build.
#[cfg(not(feature = "nats"))]
pub(super) fn build(
    _: &model::resource::access_log::nats::Nats,
    _: super::Building<'_>,
) -> Result<super::Built, String> {
    Err("broker: brokers are not in this build".to_owned())
}
