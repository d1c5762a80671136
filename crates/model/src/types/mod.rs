//! Small values with a written form of their own: durations, sizes, secrets, addresses.

mod cidr;
mod date;
mod duration;
mod endpoint_address;
mod enforcement;
mod file_path;
mod header_name;
mod percent;
mod secret;
mod size;
mod usd;
mod vault_name;

pub use cidr::Cidr;
pub use date::Date;
pub use duration::Duration;
pub use endpoint_address::EndpointAddress;
pub use enforcement::Enforcement;
pub use file_path::FilePath;
pub use header_name::HeaderName;
pub use percent::Percent;
pub use secret::Secret;
pub use size::Size;
pub use usd::Usd;
pub use vault_name::VaultName;

/// Serializes through `Display`, deserializes through `FromStr`, and describes itself as a string of a format.
macro_rules! textual {
    ($type:ty, $name:literal, $schema:tt) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = crate::types::text_or_number(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(crate) use textual;

/// A YAML scalar as text, whether the parser took it for a string or a number.
pub(crate) fn text_or_number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Whole(u64),
        Fraction(f64),
    }
    Ok(match serde::Deserialize::deserialize(from)? {
        Scalar::Text(text) => text,
        Scalar::Whole(number) => number.to_string(),
        Scalar::Fraction(number) => number.to_string(),
    })
}
