//! The engine: compiles components, has the memory of all instances, and a clock that interrupts those that compute.
//!
//! Memory is reserved once, as addresses, in slots: an instance takes a slot and gives it back. A thread moves the clock
//! on while something runs, so that whoever computes lets others run at every tick, and is counted. It also drops instances
//! that nobody has needed for long.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use wasmtime::{Config, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::warm::Ages;

/// Instances of all plugins together.
pub(crate) const INSTANCES_MAX: u32 = 1000;
/// Bytes of memory that an instance may be allowed.
pub(crate) const MEMORY_BYTES_MAX: usize = 1 << 30;
/// Core modules and tables of one component.
const PARTS_MAX: u32 = 16;
/// Memories of one component.
pub(crate) const MEMORIES_MAX: u32 = 4;
/// Tables that there are for each instance, on average.
pub(crate) const TABLES_EACH: u32 = 2;
/// Entries of a table.
pub(crate) const TABLE_MAX: usize = 100_000;
/// How long whoever computes is not interrupted.
pub(crate) const TICK: Duration = Duration::from_millis(2);
/// Ticks without work after which the clock stands still.
const IDLE_TICKS: u32 = 50;
/// How often it is looked at whether instances have waited for too long.
const LOOK: Duration = Duration::from_secs(10);

/// What compiles and runs components; there is one in a process.
pub struct Engine {
    pub(crate) inner: wasmtime::Engine,
    pub(crate) ticker: Arc<Ticker>,
    /// Instances that there are, each as often as its component needs of what is shared.
    pub(crate) live: Arc<AtomicU32>,
    clock: Thread,
}

impl Engine {
    /// The engine of the process.
    pub fn shared() -> Result<&'static Self, String> {
        static SHARED: OnceLock<Result<Engine, String>> = OnceLock::new();
        SHARED.get_or_init(Self::new).as_ref().map_err(Clone::clone)
    }

    fn new() -> Result<Self, String> {
        let mut pool = PoolingAllocationConfig::new();
        let instances = INSTANCES_MAX;
        pool.total_component_instances(instances)
            // As many as components may have: nothing is set aside for them.
            .total_core_instances(instances * PARTS_MAX)
            .total_memories(instances)
            .total_tables(instances * TABLES_EACH)
            .total_stacks(instances)
            .max_core_instances_per_component(PARTS_MAX)
            .max_memories_per_component(MEMORIES_MAX)
            .max_tables_per_component(PARTS_MAX)
            .max_memory_size(MEMORY_BYTES_MAX)
            .table_elements(TABLE_MAX)
            .max_core_instance_size(1 << 20)
            .max_component_instance_size(1 << 20)
            .max_unused_warm_slots(64);
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .wasm_component_model(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let inner = wasmtime::Engine::new(&config)
            .map_err(|error| format!("the system does not grant what WebAssembly needs: {error:#}"))?;
        let ticker = Arc::new(Ticker::default());
        let (weak, ticking) = (inner.weak(), ticker.clone());
        let clock = std::thread::Builder::new()
            .name("wasm-clock".to_owned())
            .spawn(move || ticking.run(&weak))
            .map_err(|error| format!("there is no thread for WebAssembly's clock: {error}"))?;
        Ok(Self { inner, ticker, live: Arc::default(), clock: clock.thread().clone() })
    }

    /// Has the clock go on while the guard is held.
    pub(crate) fn running(&self) -> Running<'_> {
        self.ticker.running.fetch_add(1, Ordering::SeqCst);
        if self.ticker.asleep.load(Ordering::SeqCst) {
            self.clock.unpark();
        }
        Running(&self.ticker)
    }
}

/// The clock.
#[derive(Default)]
pub(crate) struct Ticker {
    running: AtomicUsize,
    asleep: AtomicBool,
    /// Where instances wait.
    warm: Mutex<Vec<Weak<dyn Ages>>>,
}

impl Ticker {
    fn run(&self, engine: &EngineWeak) {
        let (mut idle, mut looks_at) = (0, Instant::now() + LOOK);
        loop {
            std::thread::park_timeout(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            drop(engine);
            // One at a tick: to give back a large memory takes a while.
            if Instant::now() >= looks_at && !self.drop_aged(Instant::now()) {
                looks_at = Instant::now() + LOOK;
            }
            idle = if self.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
            if idle < IDLE_TICKS {
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            // Who came before that store is seen here, and who comes after it wakes this thread.
            while self.running.load(Ordering::SeqCst) == 0 && self.sleep() {}
            self.asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }

    /// Sleeps until somebody wakes this thread, or until it is time to look for those who have waited for too long; whether
    /// it was that.
    fn sleep(&self) -> bool {
        let until = Instant::now() + LOOK;
        std::thread::park_timeout(LOOK);
        let is_time = Instant::now() >= until;
        // Who computes meanwhile is to be interrupted: the rest goes at the ticks.
        while is_time && self.running.load(Ordering::SeqCst) == 0 && self.drop_aged(Instant::now()) {}
        is_time
    }

    /// From now on those who wait there go when they have waited for too long.
    pub(crate) fn watch(&self, warm: Weak<dyn Ages>) {
        let mut all = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        all.push(warm);
    }

    /// Drops an instance that has waited for too long; whether there was one.
    pub(crate) fn drop_aged(&self, now: Instant) -> bool {
        let all: Vec<_> = {
            let all = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        all.iter().any(|warm| warm.drop_aged(now))
    }
}

/// Something runs.
pub(crate) struct Running<'e>(&'e Ticker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
