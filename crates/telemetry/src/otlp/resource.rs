//! Who sends: the resource and the scope of every export, and how attributes are made.

use std::{collections::BTreeMap, hash::BuildHasher, sync::LazyLock};

use super::proto::{Any, AnyValue, KeyValue, Resource, Scope};

/// The semantic conventions that names follow; HTTP's are stable since 1.23.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The resource of this process. What the configuration names wins over what is found out.
pub(super) fn resource(service_name: &str, attributes: &BTreeMap<String, String>) -> Resource {
    let mut all = BTreeMap::from([
        ("service.name".to_owned(), service_name.to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id".to_owned(), INSTANCE_ID.clone()),
    ]);
    if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        all.insert("host.name".to_owned(), name.trim().to_owned());
    }
    all.extend(attributes.clone());
    Resource { attributes: all.into_iter().map(|(key, value)| text(&key, value)).collect() }
}

/// Tidegate as the scope.
pub(super) fn scope() -> Scope {
    Scope { name: "tidegate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// The process as one of its service, whatever settings come.
static INSTANCE_ID: LazyLock<String> = LazyLock::new(instance_id);

/// A random UUID (version 4).
fn instance_id() -> String {
    let random =
        |salt: u8| std::collections::hash_map::RandomState::new().hash_one((std::process::id(), salt));
    let (high, low) = (random(0), random(1));
    let (high, low) = (high & !0xf000 | 0x4000, low >> 2 | 1 << 63);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

pub(super) fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)) }
}

/// A text attribute.
pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Any::Text(value.into()))
}

/// A whole number.
pub(super) fn int(key: &str, value: u64) -> KeyValue {
    attribute(key, Any::Int(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// A yes or no.
pub(super) fn boolean(key: &str, value: bool) -> KeyValue {
    attribute(key, Any::Bool(value))
}

/// A number.
pub(super) fn double(key: &str, value: f64) -> KeyValue {
    attribute(key, Any::Double(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_a_uuid_of_its_own() {
        let (one, two) = (instance_id(), instance_id());
        assert_ne!(one, two);
        assert_eq!(one.len(), 36);
        assert_eq!((&one[14..15], one.matches('-').count()), ("4", 4), "{one}");
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"), "{one}");
    }

    #[test]
    fn settings_win_over_what_is_found_out() {
        let wanted = BTreeMap::from([("host.name".to_owned(), "edge-1".to_owned())]);
        let all = resource("door", &wanted).attributes;
        let value = |key: &str| all.iter().filter(|one| one.key == key).cloned().collect::<Vec<_>>();
        assert_eq!(value("host.name"), [text("host.name", "edge-1")]);
        assert_eq!(value("service.name"), [text("service.name", "door")]);
    }
}
