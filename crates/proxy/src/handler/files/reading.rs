//! What waits for a disk, on threads where that holds up nobody else, and on few of them: a disk that hangs takes no more
//! than these, whatever else the process does on such threads.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use tokio::sync::Semaphore;

/// Threads of the process that may wait for disks at a time.
const READS_MAX: usize = 64;

static READS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(READS_MAX)));

/// Runs what waits for a disk. Who no longer wants to know gives its thread back only when the disk has answered.
pub(super) async fn waiting<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let permit = READS.clone().acquire_owned().await.map_err(io::Error::other)?;
    let reading = tokio::task::spawn_blocking(move || {
        let read = read();
        drop(permit);
        read
    });
    reading.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
