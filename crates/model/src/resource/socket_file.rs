//! The file of a Unix socket: who may connect to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file of a Unix socket. Whoever may write to it may connect.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SocketFile {
    /// Its mode in octal digits, such as `"0660"`; what the umask leaves of 0777 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^0?[0-7]{3}$"))]
    pub mode: Option<String>,
    /// Its owner: a name of /etc/passwd or a number. Only root can give a file away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its group: a name of /etc/group or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl SocketFile {
    /// The mode as a number.
    pub fn mode_bits(&self) -> Option<u32> {
        self.mode.as_deref().and_then(|digits| u32::from_str_radix(digits, 8).ok())
    }
}
