//! Plugins: WebAssembly components that policies and routes name, and what they may have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, FilePath, Size};

/// A WebAssembly component that `wasm` policies and routes name, compiled when the configuration is loaded. The world that it
/// is built for is `tidegate:plugin@0.1.0`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plugin {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// The file with the component.
    pub file: FilePath,
    /// What the file must be: `sha256:` and 64 hex digits. Another one refuses the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// Memory of an instance.
    #[serde(default = "memory")]
    pub max_memory: Size,
    /// How long an instance may compute for a call: processor time, looked at about every two milliseconds, when other calls of the
    /// worker have their turn.
    #[serde(default = "cpu_time")]
    pub cpu_time: Duration,
    /// How long an instance may take for a call, with all that it waits for.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// Requests to upstreams that a call may make.
    #[serde(default = "requests")]
    pub max_requests: u32,
    /// Instances at a time, for each policy and route that names it; a call that needs one more is a 503.
    #[serde(default = "instances")]
    #[schemars(range(min = 1, max = 500))]
    pub max_instances: u32,
    /// Calls that an instance serves before a new one takes its place; 1 keeps nothing from call to call.
    #[serde(default = "calls")]
    #[schemars(range(min = 1))]
    pub calls_per_instance: u32,
}

fn memory() -> Size {
    Size::mib(64)
}

fn cpu_time() -> Duration {
    Duration::from_millis(100)
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

fn requests() -> u32 {
    8
}

fn instances() -> u32 {
    32
}

fn calls() -> u32 {
    1000
}
