//! `request` and `response`: the call that a component serves.

use http::{HeaderMap, Method, StatusCode, Uri, uri::PathAndQuery};
use wasmtime::{StoreContextMut, component::LinkerInstance};

use super::head;
use crate::{
    state::{Request, State, no_answer},
    stopped::Stopped,
};

type Done<T> = wasmtime::Result<(T,)>;
type Changed = Done<Result<(), String>>;
type Store<'s> = StoreContextMut<'s, State>;

/// A request that has gone on is not changed any more.
fn open<'s>(store: &'s mut Store<'_>) -> Result<&'s mut Request, String> {
    let subject = &mut store.data_mut().subject;
    match subject.response {
        None => Ok(&mut subject.request),
        Some(_) => Err("the request has gone on".to_owned()),
    }
}

/// Defines `request`.
pub(super) fn request(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("method", |store: Store<'_>, (): ()| -> Done<String> {
        Ok((store.data().subject.request.method.to_string(),))
    })?;
    at.func_wrap("set-method", |mut store: Store<'_>, (method,): (String,)| -> Changed {
        Ok((open(&mut store).and_then(|request| set_method(request, &method)),))
    })?;
    at.func_wrap("path", |store: Store<'_>, (): ()| -> Done<String> {
        Ok((store.data().subject.request.uri.path().to_owned(),))
    })?;
    at.func_wrap("set-path", |mut store: Store<'_>, (path,): (String,)| -> Changed {
        Ok((open(&mut store).and_then(|request| {
            let query = request.uri.query().map(str::to_owned);
            set_target(request, &path, query.as_deref())
        }),))
    })?;
    at.func_wrap("query", |store: Store<'_>, (): ()| -> Done<Option<String>> {
        Ok((store.data().subject.request.uri.query().map(str::to_owned),))
    })?;
    at.func_wrap("set-query", |mut store: Store<'_>, (query,): (Option<String>,)| -> Changed {
        Ok((open(&mut store).and_then(|request| {
            let path = request.uri.path().to_owned();
            set_target(request, &path, query.as_deref())
        }),))
    })?;
    fields(
        at,
        |store| Ok(&store.data().subject.request.headers),
        |store| Ok(open(store).map(|request| &mut request.headers)),
    )?;
    at.func_wrap("body", |store: Store<'_>, (): ()| -> Done<Option<Vec<u8>>> {
        Ok((store.data().subject.request.body.as_ref().map(|body| body.to_vec()),))
    })?;
    at.func_wrap("set-body", |mut store: Store<'_>, (body,): (Vec<u8>,)| -> Changed {
        Ok((open(&mut store).and_then(|request| set_body(request, body)),))
    })?;
    at.func_wrap("client-address", |store: Store<'_>, (): ()| -> Done<String> {
        Ok((store.data().subject.client.to_string(),))
    })?;
    at.func_wrap("consumer", |store: Store<'_>, (): ()| -> Done<Option<String>> {
        Ok((store.data().subject.consumer.as_deref().map(str::to_owned),))
    })?;
    at.func_wrap("route", |store: Store<'_>, (): ()| -> Done<Option<String>> {
        Ok((store.data().subject.route.as_deref().map(str::to_owned),))
    })?;
    at.func_wrap("id", |store: Store<'_>, (): ()| -> Done<String> {
        Ok((head::text(&store.data().subject.id),))
    })
}

/// Defines `response`.
pub(super) fn response(at: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    at.func_wrap("status", |mut store: Store<'_>, (): ()| -> Done<u16> {
        Ok((store.data_mut().response()?.status.as_u16(),))
    })?;
    at.func_wrap("set-status", |mut store: Store<'_>, (status,): (u16,)| -> Changed {
        let response = store.data_mut().response()?;
        Ok((self::status(status).map(|status| response.status = status),))
    })?;
    fields(
        at,
        |store| match &store.data().subject.response {
            Some(response) => Ok(&response.headers),
            None => Err(no_answer()),
        },
        |store| Ok(Ok(&mut store.data_mut().response()?.headers)),
    )?;
    at.func_wrap("body", |mut store: Store<'_>, (): ()| -> Done<Option<Vec<u8>>> {
        Ok((store.data_mut().response()?.body.as_ref().map(|body| body.to_vec()),))
    })?;
    at.func_wrap("set-body", |mut store: Store<'_>, (body,): (Vec<u8>,)| -> Changed {
        let response = store.data_mut().response()?;
        response.body = Some(body.into());
        response.has_new_body = true;
        Ok((Ok(()),))
    })
}

type Reads = for<'s> fn(&'s Store<'_>) -> Result<&'s HeaderMap, Stopped>;
type Writes = for<'s> fn(&'s mut Store<'_>) -> Result<Result<&'s mut HeaderMap, String>, Stopped>;

/// What both have: fields of a head.
fn fields(at: &mut LinkerInstance<'_, State>, reads: Reads, writes: Writes) -> wasmtime::Result<()> {
    at.func_wrap("header", move |store: Store<'_>, (name,): (String,)| -> Done<Option<String>> {
        Ok((head::first(reads(&store)?, &name),))
    })?;
    at.func_wrap("headers", move |store: Store<'_>, (): ()| -> Done<Vec<(String, String)>> {
        Ok((head::all(reads(&store)?),))
    })?;
    at.func_wrap("set-header", move |mut store: Store<'_>, (name, value): (String, String)| -> Changed {
        Ok((writes(&mut store)?.and_then(|headers| head::set(headers, &name, &value)),))
    })?;
    at.func_wrap("add-header", move |mut store: Store<'_>, (name, value): (String, String)| -> Changed {
        Ok((writes(&mut store)?.and_then(|headers| head::add(headers, &name, &value)),))
    })?;
    at.func_wrap("remove-header", move |mut store: Store<'_>, (name,): (String,)| -> Changed {
        Ok((writes(&mut store)?.and_then(|headers| head::remove(headers, &name)),))
    })
}

fn set_method(request: &mut Request, method: &str) -> Result<(), String> {
    let parsed = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
    if parsed == Method::CONNECT || request.method == Method::CONNECT {
        return Err("CONNECT is no method to change from or to".to_owned());
    }
    if request.is_tunnel {
        return Err("a request that switches protocols has the method that it has".to_owned());
    }
    request.method = parsed;
    Ok(())
}

fn set_body(request: &mut Request, body: Vec<u8>) -> Result<(), String> {
    if request.is_tunnel {
        return Err("a request that switches protocols has no body".to_owned());
    }
    request.body = Some(body.into());
    request.has_new_body = true;
    Ok(())
}

fn set_target(request: &mut Request, path: &str, query: Option<&str>) -> Result<(), String> {
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return Err("a path begins with `/`, and has neither `?` nor `#`".to_owned());
    }
    let is_step = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    if path.split('/').any(is_step) {
        return Err("a path has no segments `.` and `..`".to_owned());
    }
    let target = match query {
        Some(query) if query.contains('#') => return Err("a query has no `#`".to_owned()),
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let target: PathAndQuery = target.parse().map_err(|_| "this is no path and query of a URL".to_owned())?;
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query = Some(target);
    request.uri = Uri::from_parts(parts).map_err(|_| "this is no path and query of a URL".to_owned())?;
    Ok(())
}

/// A status that an answer may have.
pub(crate) fn status(status: u16) -> Result<StatusCode, String> {
    match status {
        200..=599 => StatusCode::from_u16(status).map_err(|error| error.to_string()),
        _ => Err(format!("an answer has a status of 200 to 599, not {status}")),
    }
}
