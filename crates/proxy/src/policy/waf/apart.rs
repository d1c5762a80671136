//! Bodies that are taken apart where no worker waits for it: that is linear in their length, and in one piece.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use tokio::sync::Semaphore;
use waf::{Apart, Cut};

use crate::failure::{Failure, Problem, Stage};

/// A body of so many bytes takes a worker less than a millisecond.
const AT_ONCE: usize = 64 * 1024;

/// Bodies of the process that are taken apart beside the workers at a time; others wait for their turn.
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(count))
});

/// Takes a body apart.
pub(super) async fn apart(cut: Cut, body: Bytes) -> Result<Apart, Failure> {
    if body.len() <= AT_ONCE {
        return Ok(cut.apart(&body));
    }
    beside(move || cut.apart(&body)).await
}

/// Does what takes long on a thread of its own, as soon as a place is free.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let broken = |why: String| Failure::gateway(Stage::Policy, Problem::Internal).with_detail(why);
    // Who leaves gives the place back only when the thread is through with it.
    let place = PLACES.clone().acquire_owned().await.map_err(|error| broken(error.to_string()))?;
    let held = move || {
        let done = work();
        drop(place);
        done
    };
    tokio::task::spawn_blocking(held).await.map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use futures_util::FutureExt;
    use waf::{Collections, Files, Head, Options, Rules, Source, Transaction};

    use super::*;

    struct NoFiles;

    impl Files for NoFiles {
        fn read(&self, _: &str, name: &str) -> Result<Vec<u8>, String> {
            Err(name.to_owned())
        }

        fn list(&self, _: &str, name: &str) -> Result<Vec<String>, String> {
            Err(name.to_owned())
        }
    }

    #[tokio::test]
    async fn what_takes_long_is_done_beside_the_worker_and_comes_to_the_same() {
        let worker = std::thread::current().id();
        let other = beside(|| std::thread::current().id()).await.expect("done");
        assert_ne!(worker, other);
        // Nothing is ready at once while others hold all places, however fast the machine is.
        let count = u32::try_from(PLACES.available_permits()).expect("few");
        let text = "SecRule ARGS \"@streq bad\" \"id:1,phase:2,deny\"\n".to_owned();
        let source = Source { name: "own.conf".into(), text };
        let (rules, _) = Rules::compile(&[source], &NoFiles, &Options::default()).expect("rules");
        let (rules, collections) = (Arc::new(rules), Arc::new(Collections::new(10)));
        let head = Head {
            method: b"POST",
            target: b"/",
            protocol: b"HTTP/1.1",
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            server: b"a.test",
            unique: b"1",
            now: 0,
        };
        let headers = [(&b"content-type"[..], &b"application/x-www-form-urlencoded"[..])];
        for length in [10, AT_ONCE + 1] {
            let mut judging =
                Transaction::new(rules.clone(), collections.clone(), &head, headers.into_iter(), usize::MAX);
            judging.run(waf::Phase::Head);
            let body = Bytes::from(format!("a={}&b=bad", "x".repeat(length)));
            let held = PLACES.acquire_many(count).await.expect("open");
            let mut working = Box::pin(apart(judging.cut(&body).expect("a form"), body.clone()));
            let parts = match working.as_mut().now_or_never() {
                Some(parts) => {
                    assert!(length <= AT_ONCE, "a worker did it");
                    parts
                }
                None => {
                    assert!(length > AT_ONCE);
                    drop(held);
                    working.await
                }
            };
            judging.body_apart(&body, true, Some(parts.expect("taken apart")));
            judging.run(waf::Phase::Body);
            assert_eq!(judging.verdict(), Some(&waf::Verdict::Deny(403)), "{length}");
        }
    }
}
