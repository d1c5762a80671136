//! References to secrets, which never show what they refer to.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use super::{FilePath, VaultName};

/// A secret: `{env: NAME}`, `{file: path}`, `{vault: path#key}`, or a literal. A literal draws a warning and is never
/// shown.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", from = "Document")]
pub enum Secret {
    /// The value of an environment variable.
    Env(String),
    /// The content of a file without its last line end, read again when it changes.
    File(FilePath),
    /// What lies in the `vault` of the configuration, read again now and then.
    Vault(VaultName),
    /// The secret itself.
    Literal(String),
}

/// How a secret is written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Reference(Reference),
    Literal(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Reference {
    Env(String),
    File(FilePath),
    Vault(VaultName),
}

impl From<Document> for Secret {
    fn from(document: Document) -> Self {
        match document {
            Document::Reference(Reference::Env(name)) => Self::Env(name),
            Document::Reference(Reference::File(path)) => Self::File(path),
            Document::Reference(Reference::Vault(name)) => Self::Vault(name),
            Document::Literal(text) => Self::Literal(text),
        }
    }
}

/// What stands in for a literal wherever a secret is written.
const HIDDEN: &str = "(hidden)";

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            Self::Env(name) => ("env", name.clone()),
            Self::File(path) => ("file", path.to_string()),
            Self::Vault(name) => ("vault", name.to_string()),
            Self::Literal(_) => return to.serialize_str(HIDDEN),
        };
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry(key, &value)?;
        map.end()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "{{env: {name}}}"),
            Self::File(path) => write!(f, "{{file: {path}}}"),
            Self::Vault(name) => write!(f, "{{vault: {name}}}"),
            Self::Literal(_) => f.write_str(HIDDEN),
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A secret: `{env: NAME}`, `{file: path}`, `{vault: path#key}`, or a literal, which draws a warning.",
            "format": "secret",
            "anyOf": [
                {
                    "type": "object",
                    "properties": {
                        "env": {"type": "string", "minLength": 1, "description": "Name of an environment variable."},
                        "file": {"type": "string", "minLength": 1, "format": "file",
                                 "description": "Path of a file; it is read again when it changes."},
                        "vault": {"type": "string", "minLength": 1, "format": "vault-name",
                                  "description": "Path and key in the `vault` of the configuration, as `vault kv get` names them."},
                    },
                    "additionalProperties": false,
                    "minProperties": 1,
                    "maxProperties": 1,
                },
                {"type": "string", "minLength": 1},
            ],
        })
    }
}
