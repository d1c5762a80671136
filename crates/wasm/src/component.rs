//! A component, compiled: what it exports, and that everything it imports is there.

use std::time::Instant;

use wasmtime::{
    AsContextMut,
    component::{ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Linker, types::ComponentItem},
};

use crate::{
    engine::{Engine, MEMORIES_MAX, TABLES_EACH},
    host,
    host::types::{Answer, Verdict},
    plugin::{Limits, Plugin, Uses},
    state::State,
    stopped::Stopped,
};

/// The first bytes of a component; those of a plain module differ in the last four.
const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
const MAGIC: &[u8] = b"\0asm";

/// A compiled component.
pub struct Component {
    pub(crate) engine: &'static Engine,
    pub(crate) pre: InstancePre<State>,
    /// As how many of all instances one of it counts: what it needs of memories and tables, others have not.
    pub(crate) weight: u32,
    pub(crate) on_request: Option<ComponentExportIndex>,
    pub(crate) on_response: Option<ComponentExportIndex>,
    pub(crate) handle: Option<ComponentExportIndex>,
}

impl Component {
    /// Compiles a component, which takes up to seconds, and tries whether an instance of it starts within these bounds. An
    /// error is for the operator, and says what to do.
    ///
    /// All of that happens on a thread of its own, which this one waits for.
    pub fn load(bytes: &[u8], limits: &Limits) -> Result<Self, String> {
        let engine = Engine::shared()?;
        let work = || {
            let component = Self::compile(engine, bytes)?;
            component.try_out(limits)?;
            Ok(component)
        };
        std::thread::scope(|scope| {
            let thread =
                std::thread::Builder::new().name("wasm-compile".to_owned()).spawn_scoped(scope, work);
            let thread = thread.map_err(|error| format!("there is no thread to compile it on: {error}"))?;
            thread.join().unwrap_or_else(|_| Err("the compiler gave up on it".to_owned()))
        })
    }

    fn compile(engine: &'static Engine, bytes: &[u8]) -> Result<Self, String> {
        if bytes.is_empty() {
            return Err("the file is empty: expected a WebAssembly component".to_owned());
        }
        if !bytes.starts_with(MAGIC) {
            return Err("this is no WebAssembly: expected a component, in its binary form".to_owned());
        }
        if !bytes.starts_with(&COMPONENT) {
            return Err("this is a module of WebAssembly and no component: build it for `wasm32-wasip2`, or make a component \
                        of it with `wasm-tools component new`"
                .to_owned());
        }
        let component = wasmtime::component::Component::new(&engine.inner, bytes)
            .map_err(|error| format!("it cannot be compiled: {}", chain(&error)))?;
        let kind = component.component_type();
        let mut linker: Linker<State> = Linker::new(&engine.inner);
        host::link(&mut linker, &engine.inner, &kind)?;
        linker
            .define_unknown_imports_as_traps(&component)
            .map_err(|error| format!("its imports: {}", chain(&error)))?;
        let pre = linker.instantiate_pre(&component).map_err(|error| {
            format!("it does not fit this gateway's world `tidegate:plugin@0.1.0`: {}", chain(&error))
        })?;
        let export = |name: &str| match component.get_export(None, name) {
            Some((ComponentItem::ComponentFunc(_), index)) => Ok(Some(index)),
            Some(_) => Err(format!("its export `{name}` is no function")),
            None => Ok(None),
        };
        let (on_request, on_response, handle) =
            (export("on-request")?, export("on-response")?, export("handle")?);
        if on_request.is_none() && on_response.is_none() && handle.is_none() {
            return Err(
                "it exports none of `on-request`, `on-response` and `handle`: build it for a world of \
                        `tidegate:plugin@0.1.0`"
                    .to_owned(),
            );
        }
        // What takes modules from elsewhere does not say it, and counts as the largest.
        let weight = component
            .resources_required()
            .map_or(MEMORIES_MAX, |all| all.num_memories.max(all.num_tables.div_ceil(TABLES_EACH)).max(1));
        Ok(Self { engine, pre, weight, on_request, on_response, handle })
    }

    /// Starts an instance, so that what cannot start is found when it is loaded.
    fn try_out(&self, limits: &Limits) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| format!("there is no runtime to try it on: {error}"))?;
        let uses = Uses::default();
        let started = Instant::now();
        let tried = runtime.block_on(Plugin::start(self, limits, &uses));
        tried.map(drop).map_err(|stopped| {
            format!("an instance of it does not start (tried for {:?}): {stopped}", started.elapsed())
        })
    }

    /// Whether it is a policy that sees requests.
    pub fn sees_requests(&self) -> bool {
        self.on_request.is_some()
    }

    /// Whether it is a policy that sees answers.
    pub fn sees_responses(&self) -> bool {
        self.on_response.is_some()
    }

    /// Whether it is a handler.
    pub fn handles(&self) -> bool {
        self.handle.is_some()
    }
}

/// An error with its reasons in one line.
fn chain(error: &wasmtime::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// The functions of an instance.
#[derive(Clone, Copy, Default)]
pub(crate) struct Exports {
    pub(crate) on_request: Option<wasmtime::component::TypedFunc<(), (Verdict,)>>,
    pub(crate) on_response: Option<wasmtime::component::TypedFunc<(), (Verdict,)>>,
    pub(crate) handle: Option<wasmtime::component::TypedFunc<(), (Answer,)>>,
}

impl Exports {
    pub(crate) fn of(
        component: &Component,
        instance: &wasmtime::component::Instance,
        mut store: impl AsContextMut<Data = State>,
    ) -> Result<Self, Stopped> {
        fn typed<R: ComponentNamedList + Lift + 'static>(
            name: &str,
            index: Option<&ComponentExportIndex>,
            instance: &wasmtime::component::Instance,
            store: impl AsContextMut<Data = State>,
        ) -> Result<Option<wasmtime::component::TypedFunc<(), R>>, Stopped> {
            let Some(index) = index else { return Ok(None) };
            let typed = instance.get_typed_func::<(), R>(store, index);
            let typed = typed.map_err(|error| {
                Stopped::Wrong(format!(
                    "its export `{name}` is another function than the world has: {}",
                    chain(&error)
                ))
            });
            typed.map(Some)
        }
        Ok(Self {
            on_request: typed("on-request", component.on_request.as_ref(), instance, store.as_context_mut())?,
            on_response: typed(
                "on-response",
                component.on_response.as_ref(),
                instance,
                store.as_context_mut(),
            )?,
            handle: typed("handle", component.handle.as_ref(), instance, store.as_context_mut())?,
        })
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("on_request", &self.on_request.is_some())
            .field("on_response", &self.on_response.is_some())
            .field("handle", &self.handle.is_some())
            .finish()
    }
}
