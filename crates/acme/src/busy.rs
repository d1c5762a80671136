//! Names that are being shown to be ours, each by one order at a time.
//!
//! In a handshake an authority says which name it looks for and nothing else: two orders that have a name in common would
//! take each other's answer away.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

/// The names.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    names: Mutex<BTreeSet<String>>,
    freed: Notify,
}

/// Names that are one order's until this is dropped.
pub(crate) struct Claim<'a> {
    of: &'a Busy,
    names: &'a [String],
}

impl Busy {
    /// Waits until nobody has any of these names, and takes all of them at once, so that no two wait for each other.
    pub(crate) async fn claim<'a>(&'a self, names: &'a [String]) -> Claim<'a> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look: what is freed after it wakes this one.
            freed.as_mut().enable();
            if self.take(names) {
                return Claim { of: self, names };
            }
            freed.await;
        }
    }

    fn take(&self, names: &[String]) -> bool {
        let mut busy = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = names.iter().all(|name| !busy.contains(name));
        if is_free {
            busy.extend(names.iter().cloned());
        }
        is_free
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut busy = self.of.names.lock().unwrap_or_else(PoisonError::into_inner);
        for name in self.names {
            busy.remove(name);
        }
        drop(busy);
        self.of.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{task::Poll, time::Duration};

    use super::*;

    #[tokio::test]
    async fn whoever_has_a_name_in_common_waits_and_others_do_not() {
        let busy = Busy::default();
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (first, second, third) =
            (names(&["a.test", "b.test"]), names(&["b.test", "c.test"]), names(&["c.test"]));
        let held = busy.claim(&first).await;
        let mut waiting = std::pin::pin!(busy.claim(&second));
        assert!(polled(waiting.as_mut()).await.is_none());
        // One that waits holds nothing.
        drop(busy.claim(&third).await);
        drop(held);
        let held = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("its turn");
        assert!(!busy.take(&third));
        drop(held);
        assert!(busy.take(&third));
    }

    async fn polled<T>(mut one: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        std::future::poll_fn(|cx| match one.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}
