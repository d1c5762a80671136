//! `routes` and `routes explain`: the table in match order, and one request explained.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proxy::{
    compiled::Compiled,
    explain::{Report, Request},
    router::Found,
};

use super::{ConfigArgs, Done, ExplainArgs, load};
use crate::exit::Exit;

/// Prints the table.
pub(crate) fn table(args: &ConfigArgs) -> Done {
    let compiled = compile(args)?;
    let rows: Vec<[String; 5]> = compiled
        .table()
        .into_iter()
        .map(|row| {
            let methods = if row.methods.is_empty() { "*".to_owned() } else { row.methods.join(",") };
            let mut rest = row.predicates;
            rest.extend(row.listeners.map(|names| format!("listener {}", names.join(", "))));
            if row.priority != 0 {
                rest.push(format!("priority {}", row.priority));
            }
            [row.host, row.path, methods, row.route, rest.join("; ")]
        })
        .collect();
    let titles = ["HOST", "PATH", "METHODS", "ROUTE", "ALSO"].map(str::to_owned);
    let mut widths = [0; 5];
    for row in rows.iter().chain([&titles]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in [titles].iter().chain(&rows) {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        show!("{}", cells.join("  ").trim_end());
    }
    for stream in &compiled.snapshot.config.stream_routes {
        let names =
            if stream.server_names.is_empty() { "any".to_owned() } else { stream.server_names.join(", ") };
        let upstreams: Vec<&str> = stream.backends.iter().map(|backend| backend.upstream.as_str()).collect();
        let listeners = stream.listeners.join(", ");
        show!(
            "stream {}  server name {names}; listener {listeners}; to {}",
            stream.name,
            upstreams.join(", ")
        );
    }
    if !compiled.warnings.is_empty() {
        eprintln!("{}", compiled.warnings.render(super::color()));
    }
    Ok(())
}

fn compile(args: &ConfigArgs) -> Result<Compiled, Exit> {
    let files = args.files();
    let snapshot = load(files.as_ref())?;
    let background = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })?;
    Compiled::offline(Arc::new(snapshot), background.handle()).map_err(|error| super::check::refused(&error))
}

/// Explains one request; ends with [`Exit::NotFound`] when no route takes it.
pub(crate) fn explain(args: &ExplainArgs) -> Done {
    let compiled = compile(&args.config)?;
    let usage = |error: String| {
        eprintln!("error: {error}");
        Exit::Failed
    };
    let request = request(args).map_err(usage)?;
    let report = compiled.explain(&request).map_err(usage)?;
    let live = match &args.admin {
        Some(admin) => {
            Some(super::admin::status(admin, args.admin_token.as_deref(), &args.data_dir).map_err(usage)?)
        }
        None => None,
    };
    print(&request, &report, live.as_ref());
    if let Some(route) = report.route.as_ref().and_then(|explanation| explanation.route.as_deref()) {
        let names = super::names::of_route(&compiled.snapshot.config, route);
        for line in super::names::lines(&names, live.as_ref()) {
            show!("{line}");
        }
    }
    match report.route {
        None if report.handler.is_some() => Ok(()),
        Some(explanation) if matches!(explanation.found, Found::Route { .. }) => Ok(()),
        _ => Err(Exit::NotFound),
    }
}

fn request(args: &ExplainArgs) -> Result<Request, String> {
    let method = args.method.to_ascii_uppercase();
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
    let mut headers = HeaderMap::new();
    for line in &args.headers {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("`{line}` is not `name: value`"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .map_err(|_| format!("`{name}` is no header name"))?;
        let value =
            HeaderValue::from_str(value.trim()).map_err(|_| format!("the value of `{name}` is malformed"))?;
        headers.append(name, value);
    }
    let (scheme, rest) = match args.url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, &*args.url),
    };
    // The path is taken as it was written, not as a library would tidy it.
    let (authority, target) = match rest.find('/') {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, "/"),
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let named: Option<String> = match authority.is_empty() {
        true => headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned),
        false => Some(authority.to_owned()),
    };
    let host = match named {
        Some(named) => {
            let uri: Uri = format!("http://{named}/").parse().map_err(|_| format!("`{named}` is no host"))?;
            uri.host().map(str::to_ascii_lowercase)
        }
        None => None,
    };
    Ok(Request {
        listener: args.listener.clone(),
        port,
        host,
        path: path.to_owned(),
        query,
        method,
        headers,
        client: args.client,
        tls: scheme == Some("https"),
    })
}

fn print(request: &Request, report: &Report, live: Option<&serde_json::Value>) {
    show!("listener   {}", report.listener);
    let path = match &report.path {
        Ok(path) => path,
        Err(refusal) => {
            show!("path       {} is refused with 400: {refusal}", request.path);
            return;
        }
    };
    let changed =
        if *path == request.path { String::new() } else { format!(" (normal form of {})", request.path) };
    show!("request    {} {}{path}{changed}", request.method, request.host.as_deref().unwrap_or("*"));
    let Some(explanation) = &report.route else {
        if let Some(handler) = &report.handler {
            show!("handler    {handler}");
        }
        for upstream in &report.upstreams {
            endpoints(upstream, live);
        }
        return;
    };
    match &explanation.found {
        Found::Route { rule, .. } => {
            show!("route      {} (match[{rule}])", explanation.route.as_deref().unwrap_or_default());
        }
        Found::MethodNotAllowed { allow } => {
            show!("route      none: 405 with Allow: {}", allow.to_str().unwrap_or_default());
        }
        Found::NotFound => show!("route      none: 404"),
    }
    for line in &explanation.why {
        show!("  because  {line}");
    }
    for (name, value) in &explanation.captures {
        show!("  capture  {name} = {value}");
    }
    for miss in &explanation.near_misses {
        show!("  not      {} (match[{}]): {}", miss.route, miss.rule, miss.reasons.join("; "));
    }
    if explanation.left_out > 0 {
        show!("  and {} more near misses", explanation.left_out);
    }
    for (number, (name, owner)) in report.policies.iter().enumerate() {
        show!("policy {:<3} {name} ({owner})", number + 1);
    }
    for note in &report.notes {
        show!("  and      {note}");
    }
    if let Some(handler) = &report.handler {
        show!("handler    {handler}");
    }
    for upstream in &report.upstreams {
        endpoints(upstream, live);
    }
}

/// The endpoints of an upstream, with their state when a running gateway was asked.
fn endpoints(upstream: &proxy::ClusterStatus, live: Option<&serde_json::Value>) {
    let known = live.and_then(|live| {
        live["upstreams"].as_array()?.iter().find(|one| one["name"].as_str() == Some(&*upstream.name))
    });
    let Some(known) = known else {
        for endpoint in &upstream.endpoints {
            show!("endpoint   {} weight {} ({})", endpoint.address, endpoint.weight, upstream.name);
        }
        if upstream.endpoints.is_empty() {
            show!("endpoint   found while running ({})", upstream.name);
        }
        return;
    };
    if let Some(state) = known["breaker"]["state"].as_str() {
        show!("breaker    {state} ({})", upstream.name);
    }
    for endpoint in known["endpoints"].as_array().into_iter().flatten() {
        let health = match (endpoint["healthy"].as_bool(), endpoint["ejectedSeconds"].as_f64()) {
            (_, Some(left)) => format!("ejected for {left:.0} s"),
            (Some(false), None) => "unhealthy".to_owned(),
            _ => "healthy".to_owned(),
        };
        show!(
            "endpoint   {} weight {} {health}, {} in flight, {:.1} ms ({})",
            endpoint["address"].as_str().unwrap_or_default(),
            endpoint["weight"],
            endpoint["inFlight"],
            endpoint["ewmaMs"].as_f64().unwrap_or_default(),
            upstream.name
        );
    }
}
