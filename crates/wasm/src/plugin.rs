//! A component where it is used: its bounds, its configuration, its warm instances, and the way of a call through one.
//!
//! An instance serves one call at a time, and goes back warm when it came to its end. One that was stopped, or whose call
//! was given up, is dropped with all that it had, and so is one that waits for a call for long.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use wasmtime::{Store, UpdateDeadline};

use crate::{
    component::{Component, Exports},
    counters::Counters,
    engine::INSTANCES_MAX,
    host::types::{Answer, Verdict},
    meter::Meter,
    state::{Ask, Fetch, Level, State, Subject},
    stopped::Stopped,
    warm::{Ages, Warm},
};

/// The share of all instances that may be kept warm: the rest is for whoever needs one now.
const WARM_MAX: u32 = INSTANCES_MAX / 4 * 3;

/// What an instance may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: usize,
    /// How long it may compute for a call.
    pub cpu: Duration,
    /// How long it may take for a call, with all that it waits for.
    pub time: Duration,
    /// Requests to upstreams for a call.
    pub fetches: u32,
    /// Instances at a time.
    pub instances: u32,
    /// Calls that an instance serves before it is replaced; 1 is a new one for each call.
    pub reuse: u32,
}

/// Takes lines of a component's log.
pub(crate) type Log = Arc<dyn Fn(Level, &str) + Send + Sync>;

/// What a component finds where it is used.
#[derive(Clone)]
pub struct Uses {
    /// Its configuration, as JSON.
    pub config: Arc<str>,
    /// Upstreams that it may send requests to.
    pub upstreams: Arc<[Arc<str>]>,
    /// The plugin's counters.
    pub counters: Arc<Counters>,
    /// Where lines of its log go.
    pub log: Log,
}

impl Default for Uses {
    fn default() -> Self {
        Self {
            config: "null".into(),
            upstreams: Arc::default(),
            counters: Arc::default(),
            log: Arc::new(|_, _| {}),
        }
    }
}

/// What a component asks of the world outside of the process.
pub trait Outside {
    /// Sends a request to an upstream that it may ask, and reads the answer within its bounds. The error is for the component.
    fn fetch(&mut self, fetch: Fetch) -> impl Future<Output = Result<Answer, String>>;
}

/// A component where it is used.
pub struct Plugin {
    component: Arc<Component>,
    limits: Limits,
    uses: Uses,
    warm: Arc<Warm<Instance>>,
    live: Arc<AtomicU32>,
}

/// An instance, with what it asks for.
pub(crate) struct Instance {
    pub(crate) store: Store<State>,
    pub(crate) exports: Exports,
    asked: mpsc::Receiver<Ask>,
    meter: Arc<Meter>,
    served: u32,
    /// Counts among those of the plugin, when it is of one.
    place: Option<Place>,
    /// Counts among all.
    _place: Place,
}

/// Counts an instance while it is there.
struct Place {
    count: Arc<AtomicU32>,
    weight: u32,
}

impl Place {
    fn take(count: &Arc<AtomicU32>, most: u32, weight: u32) -> Result<Self, Stopped> {
        let more = |now: u32| now.checked_add(weight).filter(|all| *all <= most);
        let taken = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(|_| Self { count: count.clone(), weight }).map_err(|_| Stopped::Full)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(self.weight, Ordering::Relaxed);
    }
}

/// Nobody is asked for anything.
struct Nobody;

impl Outside for Nobody {
    async fn fetch(&mut self, _: Fetch) -> Result<Answer, String> {
        Err("nobody can be asked before there is a call".to_owned())
    }
}

impl Plugin {
    /// A component, where it is used with these bounds.
    pub fn new(component: Arc<Component>, limits: Limits, uses: Uses) -> Self {
        let warm: Arc<Warm<Instance>> = Arc::default();
        let ages: Weak<dyn Ages> = Arc::downgrade(&(warm.clone() as Arc<dyn Ages>));
        component.engine.ticker.watch(ages);
        Self { component, limits, uses, warm, live: Arc::default() }
    }

    /// Its component.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Instances that there are, at work and warm.
    pub fn instances(&self) -> &Arc<AtomicU32> {
        &self.live
    }

    /// Has a policy see a request.
    pub async fn on_request(
        &self,
        subject: Subject,
        outside: &mut impl Outside,
    ) -> (Subject, Result<Verdict, Stopped>) {
        let (subject, done) = self.run(subject, outside, |exports| exports.on_request).await;
        (subject, done.unwrap_or(Ok(Verdict::Next)))
    }

    /// Has a policy see an answer.
    pub async fn on_response(
        &self,
        subject: Subject,
        outside: &mut impl Outside,
    ) -> (Subject, Result<Verdict, Stopped>) {
        let (subject, done) = self.run(subject, outside, |exports| exports.on_response).await;
        (subject, done.unwrap_or(Ok(Verdict::Next)))
    }

    /// Has a handler answer a call.
    pub async fn handle(
        &self,
        subject: Subject,
        outside: &mut impl Outside,
    ) -> (Subject, Result<Answer, Stopped>) {
        let (subject, done) = self.run(subject, outside, |exports| exports.handle).await;
        let none = || Err(Stopped::Wrong("it exports no `handle`".to_owned()));
        (subject, done.unwrap_or_else(none))
    }

    async fn run<T: 'static>(
        &self,
        subject: Subject,
        outside: &mut impl Outside,
        which: impl FnOnce(&Exports) -> Option<wasmtime::component::TypedFunc<(), (T,)>>,
    ) -> (Subject, Option<Result<T, Stopped>>)
    where
        (T,): wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
    {
        let mut instance = match self.take().await {
            Ok(instance) => instance,
            Err(stopped) => return (subject, Some(Err(stopped))),
        };
        let Some(function) = which(&instance.exports) else {
            self.give_back(instance);
            return (subject, None);
        };
        let done = {
            let running = self.component.engine.running();
            let Instance { store, asked, meter, .. } = &mut instance;
            store.data_mut().enter(subject);
            store.set_epoch_deadline(1);
            let call = function.call_async(&mut *store, ());
            let done = drive(call, meter, asked, outside, self.limits.time).await;
            drop(running);
            done
        };
        let state = instance.store.data_mut();
        let subject = std::mem::take(&mut state.subject);
        if done.is_ok() {
            instance.served += 1;
            self.give_back(instance);
        } else {
            // What it still wanted to say explains more than the trap does.
            state.flush();
        }
        (subject, Some(done.map(|(value,)| value)))
    }

    async fn take(&self) -> Result<Instance, Stopped> {
        if let Some(instance) = self.warm.take() {
            return Ok(instance);
        }
        let place = Place::take(&self.live, self.limits.instances, 1)?;
        let mut instance = Self::start(&self.component, &self.limits, &self.uses).await?;
        instance.place = Some(place);
        Ok(instance)
    }

    fn give_back(&self, mut instance: Instance) {
        if instance.served >= self.limits.reuse
            || self.component.engine.live.load(Ordering::Relaxed) > WARM_MAX
        {
            return;
        }
        instance.store.data_mut().rest();
        self.warm.put(instance, Instant::now());
    }

    /// Starts an instance.
    pub(crate) async fn start(
        component: &Component,
        limits: &Limits,
        uses: &Uses,
    ) -> Result<Instance, Stopped> {
        let engine = component.engine;
        let place = Place::take(&engine.live, INSTANCES_MAX, component.weight)?;
        let (asks, mut asked) = mpsc::channel(1);
        let mut store = Store::new(&engine.inner, State::new(limits, uses, asks));
        store.limiter(|state| state);
        // Lists whose items are one and the same piece of memory may be longer than all of it.
        store.set_hostcall_fuel(limits.memory);
        store.epoch_deadline_callback(|mut store| {
            store.data_mut().tick()?;
            // One that would only wake itself is run again dozens of times before anybody looks at a socket.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store.set_epoch_deadline(1);
        let running = engine.running();
        let meter = store.data().meter.clone();
        let started = component.pre.instantiate_async(&mut store);
        let started = drive(started, &meter, &mut asked, &mut Nobody, limits.time).await;
        drop(running);
        let started = started.inspect_err(|_| store.data_mut().flush())?;
        let exports = Exports::of(component, &started, &mut store)?;
        Ok(Instance { store, exports, asked, meter, served: 0, place: None, _place: place })
    }
}

/// Runs what computes until it is done, and does what it asks for, within a time.
async fn drive<T>(
    call: impl Future<Output = wasmtime::Result<T>>,
    meter: &Meter,
    asked: &mut mpsc::Receiver<Ask>,
    outside: &mut impl Outside,
    time: Duration,
) -> Result<T, Stopped> {
    let mut call = pin!(call);
    // Most calls wait for nothing, and need no clock.
    if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
        return done.map_err(|error| Stopped::of(&error));
    }
    let mut measured = poll_fn(|cx| {
        meter.resume();
        let polled = call.as_mut().poll(cx);
        meter.pause();
        polled
    });
    let slowly = async {
        loop {
            tokio::select! {
                biased;
                done = &mut measured => return done.map_err(|error| Stopped::of(&error)),
                Some(Ask { fetch, reply }) = asked.recv() => {
                    let told = Box::pin(outside.fetch(fetch)).await;
                    // Nobody waits for it any more when the call is over.
                    let _ = reply.send(told);
                }
            }
        }
    };
    tokio::time::timeout(time, slowly).await.unwrap_or(Err(Stopped::Time(time)))
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("component", &self.component).field("limits", &self.limits).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warm::WAITS;

    /// Answers with 200.
    const HANDLER: &str = r#"(component
      (import "tidegate:plugin/types@0.1.0" (instance $types
        (type $f (tuple string string))
        (export "field" (type $field (eq $f)))
        (type $a (record (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
        (export "answer" (type $answer (eq $a)))))
      (alias export $types "answer" (type $answer))
      (core module $m (memory (export "memory") 1) (data (i32.const 16) "\c8\00") (func (export "f") (result i32) (i32.const 16)))
      (core instance $i (instantiate $m))
      (func (export "handle") (result $answer) (canon lift (core func $i "f") (memory (core memory $i "memory")))))"#;

    fn limits() -> Limits {
        Limits {
            memory: 1 << 20,
            cpu: Duration::from_secs(5),
            time: Duration::from_secs(20),
            fetches: 0,
            instances: 4,
            reuse: 1000,
        }
    }

    #[test]
    fn an_instance_counts_by_what_it_takes_of_what_all_have() {
        let load = |text: &str| {
            let bytes = wat::parse_str(text).expect("a component");
            Component::load(&bytes, &limits()).expect("it loads")
        };
        assert_eq!(load(HANDLER).weight, 1);
        let one = "(core module $e (memory 1) (table 1 funcref))";
        let more = format!("{one} {} (core instance $i", "(core instance (instantiate $e))".repeat(3));
        assert_eq!(load(&HANDLER.replace("(core instance $i", &more)).weight, 4);
        let count = Arc::default();
        let large = Place::take(&count, 5, 4).expect("room for it");
        assert!(matches!(Place::take(&count, 5, 2), Err(Stopped::Full)));
        let small = Place::take(&count, 5, 1).expect("room for it");
        drop(large);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        drop(small);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_instance_that_nobody_needs_goes_and_the_next_call_has_another() {
        let limits = limits();
        let bytes = wat::parse_str(HANDLER).expect("a component");
        let component = Component::load(&bytes, &limits).expect("it loads");
        let plugin = Plugin::new(Arc::new(component), limits, Uses::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let call = || {
            let (_, said) = runtime.block_on(plugin.handle(Subject::default(), &mut Nobody));
            assert_eq!(said.map(|answer| answer.status), Ok(200));
            plugin.instances().load(Ordering::Relaxed)
        };
        assert_eq!((call(), call()), (1, 1), "it stays warm");
        let ticker = &plugin.component.engine.ticker;
        assert!(!ticker.drop_aged(Instant::now()), "it has just served");
        assert!(ticker.drop_aged(Instant::now() + WAITS));
        assert_eq!(plugin.instances().load(Ordering::Relaxed), 0, "what it had is given back");
        assert_eq!(call(), 1);
    }
}
