//! What components import: the call that they serve, what the gateway does for them, and as much of WASI as their
//! toolchains need.

mod head;
mod messages;
mod tools;
pub(crate) mod types;
pub(crate) mod wasi;

use wasmtime::{
    Engine,
    component::{
        Linker, LinkerInstance,
        types::{Component, ComponentItem},
    },
};

use crate::state::State;

/// What defines an interface.
type Defines = fn(&mut LinkerInstance<'_, State>) -> wasmtime::Result<()>;

/// The version of the world.
const VERSION: &str = "0.1.0";

/// The interfaces of the world.
const WORLD: [(&str, Defines); 5] = [
    ("tidegate:plugin/types", |_| Ok(())),
    ("tidegate:plugin/request", messages::request),
    ("tidegate:plugin/response", messages::response),
    ("tidegate:plugin/host", tools::host),
    ("tidegate:plugin/upstreams", tools::upstreams),
];

/// Defines what a component imports, under the versions that it names. An error says which import nobody has.
pub(crate) fn link(linker: &mut Linker<State>, engine: &Engine, component: &Component) -> Result<(), String> {
    for (import, item) in component.imports(engine) {
        let (name, version) = import.split_once('@').unwrap_or((import, ""));
        let known = |table: &[(&str, Defines)]| {
            table.iter().find(|(known, _)| *known == name).map(|(_, defines)| *defines)
        };
        let defines = match (known(&WORLD), name.starts_with("wasi:")) {
            (Some(defines), _) if version == VERSION => Some(defines),
            // What no plugin needs (files, sockets) is a trap when it is called: toolchains import more than they use.
            (None, true) if version.starts_with("0.2.") => known(&wasi::INTERFACES),
            _ => {
                return Err(format!(
                    "it imports `{import}`, which this gateway does not have: a component imports \
                     `tidegate:plugin@{VERSION}` and WASI 0.2, and nothing else"
                ));
            }
        };
        let wrong = |error: wasmtime::Error| format!("`{import}`: {error:#}");
        let mut at = linker.instance(import).map_err(wrong)?;
        // Interfaces name resources of others again: those are the same ones, also where all the rest is a trap.
        if let ComponentItem::ComponentInstance(instance) = &item.ty
            && name.starts_with("wasi:")
        {
            let exports = instance.exports(engine);
            for (resource, _) in exports.filter(|(_, item)| matches!(item.ty, ComponentItem::Resource(_))) {
                wasi::resource(&mut at, resource).map_err(wrong)?;
            }
        }
        if let Some(defines) = defines {
            defines(&mut at).map_err(wrong)?;
        }
    }
    Ok(())
}
