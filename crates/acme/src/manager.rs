//! The door: what is wanted is said here, and how all of it is, asked.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    sync::{Semaphore, watch},
    task::AbortHandle,
};

use crate::{
    Challenge, Front, Status, Wanted,
    account::Accounts,
    busy::Busy,
    order::Counts,
    store::Store,
    tend::{Common, ORDERS_MAX, Tended},
};

/// How long records that were set have to be cleared at the end.
pub const FAREWELL: Duration = Duration::from_secs(10);

/// Looks after certificates. Nothing runs before something is wanted.
pub struct Manager {
    common: Arc<Common>,
    /// One configuration at a time is taken up; whoever only looks does not wait for that.
    following: Mutex<()>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    runtime: Option<Runtime>,
    tended: BTreeMap<String, (Arc<Tended>, Option<AbortHandle>)>,
    has_ended: bool,
}

/// What orders came to, since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Certificates that were issued.
    pub issued: u64,
    /// Orders that failed.
    pub failed: u64,
}

impl Manager {
    /// Makes one that keeps everything below a data directory.
    pub fn new(data_dir: &Path, front: Arc<dyn Front>) -> Self {
        let common = Common {
            store: Store::new(data_dir),
            front,
            accounts: Accounts::default(),
            counts: Counts::default(),
            orders: Semaphore::new(ORDERS_MAX),
            busy: Busy::default(),
            right: Mutex::default(),
            unfinished: watch::Sender::new(()),
        };
        Self { common: Arc::new(common), following: Mutex::default(), inner: Mutex::default() }
    }

    /// Uses what is kept of those of these certificates that are not looked after yet. No authority is asked. It reads files.
    pub fn load(&self, wanted: &[Wanted]) {
        let _alone = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        for one in wanted.iter().filter(|one| !self.inner().tended.contains_key(&one.id)) {
            Tended::new(one.clone(), &self.common.store).load(&self.common.store, &*self.common.front);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after these certificates from now on, and after no others.
    ///
    /// # Errors
    /// There is no thread to be had for it.
    pub fn follow(&self, wanted: &[Wanted]) -> Result<(), String> {
        let _alone = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        // Files are read while nobody waits who only wants to know how things stand.
        let mut fresh = Vec::new();
        for one in wanted {
            if self.inner().tended.get(&one.id).is_some_and(|(known, _)| known.wanted == *one) {
                continue;
            }
            let next = Arc::new(Tended::new(one.clone(), &self.common.store));
            next.load(&self.common.store, &*self.common.front);
            fresh.push((one.id.clone(), next));
        }
        let mut inner = self.inner();
        let Inner { runtime, tended, has_ended } = &mut *inner;
        for (id, next) in fresh {
            let before = tended.insert(id, (next, None));
            before.into_iter().filter_map(|(_, task)| task).for_each(|task| task.abort());
        }
        tended.retain(|id, (_, task)| {
            let stays = wanted.iter().any(|one| one.id == *id);
            if !stays && let Some(task) = task {
                task.abort();
            }
            stays
        });
        if tended.is_empty() || *has_ended {
            return Ok(());
        }
        if runtime.is_none() {
            let made = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(2)
                .thread_name("acme")
                .enable_all()
                .build();
            *runtime = Some(made.map_err(|error| format!("certificates cannot be looked after: {error}"))?);
        }
        let Some(runtime) = runtime else { return Ok(()) };
        for (one, task) in tended.values_mut() {
            if task.is_none() {
                let (one, common) = (one.clone(), self.common.clone());
                // Taken before it runs: whoever ends it waits until it is gone.
                let unfinished = common.unfinished.subscribe();
                let tends = async move {
                    one.run(common).await;
                    drop(unfinished);
                };
                *task = Some(runtime.spawn(tends).abort_handle());
            }
        }
        Ok(())
    }

    /// Orders a certificate now, however long the one in use is good. False when there is none of this id.
    pub fn renew(&self, id: &str) -> bool {
        let inner = self.inner();
        let found = inner.tended.get(id);
        if let Some((tended, _)) = found {
            tended.now.notify_one();
        }
        found.is_some()
    }

    /// How each certificate is, by id.
    pub fn status(&self) -> Vec<Status> {
        let inner = self.inner();
        inner.tended.values().map(|(tended, _)| tended.status()).collect()
    }

    /// What orders came to.
    pub fn totals(&self) -> Totals {
        let counts = &self.common.counts;
        Totals {
            issued: counts.issued.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
        }
    }

    /// How often names were shown to be ours, by how.
    pub fn shown(&self) -> [(Challenge, u64); 3] {
        [Challenge::TlsAlpn01, Challenge::Http01, Challenge::Dns01]
            .map(|kind| (kind, self.common.counts.shown[kind as usize].load(Ordering::Relaxed)))
    }

    /// Orders nothing more, and leaves the right to do so to another process. It blocks its thread until the records that were
    /// set are cleared, for [`FAREWELL`] at most.
    pub fn stop(&self) {
        let (runtime, tasks) = {
            let mut inner = self.inner();
            inner.has_ended = true;
            let tasks: Vec<AbortHandle> =
                inner.tended.values_mut().filter_map(|(_, task)| task.take()).collect();
            (inner.runtime.take(), tasks)
        };
        tasks.iter().for_each(AbortHandle::abort);
        if let Some(runtime) = runtime {
            // Connections that an authority keeps open are nobody's business any more: only what is to be cleared is waited for.
            let cleared = async { tokio::time::timeout(FAREWELL, self.common.unfinished.closed()).await };
            if runtime.block_on(cleared).is_err() {
                tracing::warn!(
                    "records that were set for authorities may be left: clearing them took longer than {FAREWELL:?}"
                );
            }
            runtime.shutdown_background();
        }
        self.common.right.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Manager {
    /// Where nobody has stopped it, it ends without waiting: a runtime that waits cannot be dropped among tasks of another.
    fn drop(&mut self) {
        if let Some(runtime) = self.inner().runtime.take() {
            runtime.shutdown_background();
        }
    }
}
