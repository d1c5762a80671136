//! `host` and `upstreams`: what the gateway does for components.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, Uri};
use tokio::sync::oneshot;
use wasmtime::{StoreContextMut, component::LinkerInstance};

use super::{
    head,
    types::{Answer, LogLevel, Outgoing},
};
use crate::{
    state::{Ask, Fetch, Level, State},
    stopped::Stopped,
};

/// Random bytes at a time.
pub(super) const RANDOM_BYTES_MAX: usize = 65_536;

type Done<T> = wasmtime::Result<(T,)>;
type Store<'s> = StoreContextMut<'s, State>;

/// Defines `host`.
pub(super) fn host(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("config", |store: Store<'_>, (): ()| -> Done<String> {
        Ok((store.data().uses.config.as_ref().to_owned(),))
    })?;
    at.func_wrap(
        "log",
        |mut store: Store<'_>, (level, message): (LogLevel, String)| -> wasmtime::Result<()> {
            let level = match level {
                LogLevel::Debug => Level::Debug,
                LogLevel::Info => Level::Info,
                LogLevel::Warn => Level::Warn,
                LogLevel::Error => Level::Error,
            };
            store.data_mut().log(level, super::wasi::line(&message));
            Ok(())
        },
    )?;
    at.func_wrap("count", |store: Store<'_>, (name, by): (String, u64)| -> Done<Result<u64, String>> {
        Ok((store.data().uses.counters.add(&name, by),))
    })?;
    at.func_wrap("counted", |store: Store<'_>, (name,): (String,)| -> Done<u64> {
        Ok((store.data().uses.counters.get(&name),))
    })?;
    at.func_wrap("now", |_: Store<'_>, (): ()| -> Done<u64> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((u64::try_from(since.as_millis()).unwrap_or(u64::MAX),))
    })?;
    at.func_wrap("random", |_: Store<'_>, (bytes,): (u32,)| -> Done<Vec<u8>> {
        Ok((random(u64::from(bytes))?,))
    })
}

/// Random bytes.
pub(super) fn random(bytes: u64) -> Result<Vec<u8>, Stopped> {
    let count = usize::try_from(bytes).ok().filter(|count| *count <= RANDOM_BYTES_MAX);
    let Some(count) = count else {
        return Err(Stopped::Wrong(format!(
            "it asked for more than {RANDOM_BYTES_MAX} random bytes at a time"
        )));
    };
    let mut random = vec![0; count];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| Stopped::Wrong("the system has no random bytes".to_owned()))?;
    Ok(random)
}

/// Defines `upstreams`.
pub(super) fn upstreams(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap_async("fetch", |mut store: Store<'_>, (upstream, outgoing): (String, Outgoing)| {
        Box::new(async move {
            let fetch = match prepare(store.data_mut(), &upstream, outgoing) {
                Ok(fetch) => fetch,
                Err(wrong) => return Ok((Err(wrong),)),
            };
            let asks = store.data().asks.clone();
            let (reply, told) = oneshot::channel();
            if asks.send(Ask { fetch, reply }).await.is_err() {
                return Ok((Err("nobody can be asked".to_owned()),));
            }
            let told = told.await.unwrap_or_else(|_| Err("nobody can be asked".to_owned()));
            Ok((told,)) as Done<Result<Answer, String>>
        })
    })
}

fn prepare(state: &mut State, upstream: &str, outgoing: Outgoing) -> Result<Fetch, String> {
    let known = state.uses.upstreams.iter().find(|known| known.as_ref() == upstream).cloned();
    let known =
        known.ok_or_else(|| format!("`{upstream}` is not among the upstreams that may be asked here"))?;
    let Some(left) = state.fetches_left.checked_sub(1) else {
        return Err("this call has asked upstreams as often as it may".to_owned());
    };
    let Outgoing { method, target, headers, body } = outgoing;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
    if method == Method::CONNECT {
        return Err("CONNECT is no method to ask with".to_owned());
    }
    let parsed: Uri = target.parse().map_err(|_| format!("`{target}` is no path"))?;
    if !target.starts_with('/') || parsed.authority().is_some() {
        return Err(format!("`{target}` is no path: it begins with `/`"));
    }
    let headers = head::make(&headers)?;
    state.fetches_left = left;
    Ok(Fetch { upstream: known, method, target: parsed, headers, body: body.into() })
}
