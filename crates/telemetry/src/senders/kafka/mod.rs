//! A topic of Kafka's, where this build can speak to one.

#[cfg(feature = "kafka")]
mod publish;

#[cfg(feature = "kafka")]
pub(super) use self::publish::build;

/// There is no client in this build.
#[cfg(not(feature = "kafka"))]
pub(super) fn build(
    _: &model::resource::access_log::kafka::Kafka,
    _: super::Building<'_>,
) -> Result<super::Built, String> {
    Err("broker: brokers of Kafka's are not in this build".to_owned())
}
