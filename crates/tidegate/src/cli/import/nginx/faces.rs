//! Listeners, and under which names a server is seen on which of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Import, Scope, syntax::Directive, words};

/// How a listener asks that wants a certificate of every client.
const REQUIRED: &str = "required";

/// A socket that servers share.
pub(super) struct Listener<'a> {
    name: String,
    address: String,
    is_tls: bool,
    tls: Value,
    limits: Value,
    has_http3: bool,
    has_proxy: bool,
    /// Networks of proxies that its servers believe.
    proxies: BTreeSet<String>,
    /// What each server on it asks of clients' certificates.
    asked: Vec<(&'a Directive, Option<Value>)>,
}

/// A name of a server, with the directive that says it.
type Name<'a> = (&'a Directive, &'a str);

/// Names of a server that weigh the same, on the listeners where they do.
#[derive(Clone, Debug)]
pub(super) struct Face {
    /// None is any name.
    pub(super) hosts: Vec<String>,
    pub(super) listeners: Vec<String>,
    /// A condition, where a name is a regular expression.
    pub(super) when: Option<String>,
    /// How it goes before others whose routes have priorities.
    pub(super) rank: i64,
}

impl Listener<'_> {
    pub(super) fn written(&self) -> Value {
        let mut listener = json!({"name": self.name, "address": self.address});
        if self.is_tls {
            listener["tls"] = self.tls.clone();
        }
        if self.has_http3 {
            listener["http3"] = json!(true);
        }
        if self.has_proxy {
            listener["proxyProtocol"] = json!("require");
        }
        if !self.proxies.is_empty() {
            listener["trustedProxies"] = json!(self.proxies);
        }
        if self.limits.as_object().is_some_and(|limits| !limits.is_empty()) {
            listener["limits"] = self.limits.clone();
        }
        listener
    }
}

/// Where a server says that it listens; nginx's own port when it does not.
fn said(server: &Directive) -> Vec<(Option<&Directive>, String)> {
    let own: Vec<&Directive> = server.inside().iter().filter(|one| one.name == "listen").collect();
    if own.is_empty() {
        return vec![(None, "0.0.0.0:80".to_owned())];
    }
    own.into_iter().filter_map(|one| Some((Some(one), words::listen(one.arg(0))?))).collect()
}

/// Ports at which some server listens on `[::]`.
pub(super) fn wide_ports(servers: &[&Directive]) -> BTreeSet<String> {
    let all = servers.iter().flat_map(|server| said(server));
    all.filter_map(|(_, address)| Some(address.strip_prefix("[::]:")?.to_owned())).collect()
}

/// The port of an address that `[::]` has here, too: it takes IPv4 as well, and nothing else can be bound beside it.
fn port_of_wide<'d>(import: &Import<'_>, address: &'d str) -> Option<&'d str> {
    address.strip_prefix("0.0.0.0:").filter(|port| import.wide_ports.contains(*port))
}

/// Where a server listens, as ours.
fn listens<'d>(import: &Import<'_>, server: &'d Directive) -> Vec<(Option<&'d Directive>, String)> {
    let all = said(server).into_iter().map(|(listen, address)| match port_of_wide(import, &address) {
        Some(port) => (listen, format!("[::]:{port}")),
        None => (listen, address),
    });
    all.collect()
}

/// Tells what a server's addresses are here.
fn told(import: &mut Import<'_>, server: &Directive) {
    for one in server.inside().iter().filter(|one| one.name == "listen") {
        one.seen.set(true);
        let Some(address) = words::listen(one.arg(0)) else {
            import.note(one, format_args!("`{}` is no address to listen on here; left out", one.arg(0)));
            continue;
        };
        let Some(port) = port_of_wide(import, &address) else { continue };
        let wide = format!("[::]:{port}");
        if said(server).iter().all(|(_, other)| *other != wide) {
            import.note(one, format_args!("it answers at `{wide}` here, over IPv4 and IPv6"));
        }
    }
}

fn has(listen: Option<&Directive>, word: &str) -> bool {
    listen.is_some_and(|listen| listen.args.iter().skip(1).any(|arg| arg == word))
}

/// All listeners of the servers.
pub(super) fn listeners<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    servers: &[&'a Directive],
) -> Vec<Listener<'a>> {
    let mut all: Vec<Listener<'a>> = Vec::new();
    for server in servers {
        let scope = scope.with(server.inside());
        told(import, server);
        let proxies = import.proxies(&scope, server, servers.len() > 1);
        for (listen, address) in listens(import, server) {
            let is_quic = has(listen, "quic");
            let place = all.iter().position(|known| known.address == address).unwrap_or_else(|| {
                all.push(Listener {
                    name: String::new(),
                    address: address.clone(),
                    is_tls: false,
                    tls: json!({"certificates": []}),
                    limits: limits(&scope),
                    has_http3: false,
                    has_proxy: false,
                    proxies: BTreeSet::new(),
                    asked: Vec::new(),
                });
                all.len() - 1
            });
            let asked = (*server, asks(import, &scope));
            all[place].asked.push(asked);
            all[place].has_http3 |= is_quic;
            all[place].has_proxy |= has(listen, "proxy_protocol");
            all[place].proxies.extend(proxies.iter().cloned());
            if has(listen, "ssl") || is_quic || scope.is_on("ssl") {
                all[place].is_tls = true;
                certificates(import, &scope, &mut all[place].tls);
            }
        }
    }
    let names: Vec<String> = all.iter().map(|one| named(one, &all)).collect();
    for (listener, name) in all.iter_mut().zip(names) {
        listener.name = name;
        if listener.is_tls {
            clients(import, listener);
        }
        let is_bare = listener.tls["certificates"].as_array().is_none_or(Vec::is_empty);
        if listener.is_tls && is_bare {
            import.notes.push(format!(
                "listen {}: it speaks TLS, and no server on it has an `ssl_certificate`: write `tls.certificates`",
                listener.address
            ));
        }
    }
    all
}

fn named(listener: &Listener<'_>, all: &[Listener<'_>]) -> String {
    let name = match listener.address.rsplit_once(':') {
        _ if listener.address.starts_with("unix:") => words::name(&listener.address),
        Some((_, port)) => format!("{}-{port}", if listener.is_tls { "https" } else { "http" }),
        None => words::name(&listener.address),
    };
    let port = listener.address.rsplit(':').next();
    let is_shared = all.iter().filter(|other| other.address.rsplit(':').next() == port).count() > 1;
    if is_shared { format!("{name}-{}", words::name(&listener.address)) } else { name }
}

fn certificates<'a>(import: &mut Import<'a>, scope: &Scope<'a>, tls: &mut Value) {
    let (files, keys) = (scope.all("ssl_certificate"), scope.all("ssl_certificate_key"));
    for (file, key) in files.iter().zip(&keys) {
        let made = json!({"certFile": import.path(file.arg(0)), "keyFile": import.path(key.arg(0))});
        if let Some(all) = tls["certificates"].as_array_mut().filter(|all| !all.contains(&made)) {
            all.push(made);
        }
    }
    if let Some(versions) = scope.one("ssl_protocols") {
        let old = versions.args.iter().any(|version| !["TLSv1.2", "TLSv1.3"].contains(&version.as_str()));
        if old {
            import.note(versions, "older versions than TLS 1.2 are not spoken here");
        } else if versions.args == ["TLSv1.3"] {
            tls["minVersion"] = json!("1.3");
        }
    }
}

/// What a server asks of clients' certificates.
fn asks<'a>(import: &Import<'a>, scope: &Scope<'a>) -> Option<Value> {
    let mode = match scope.arg("ssl_verify_client") {
        Some("on") => REQUIRED,
        Some("optional") => "optional",
        _ => return None,
    };
    let mut asked = json!({"mode": mode});
    if let Some(authority) = scope.arg("ssl_client_certificate") {
        asked["caFile"] = json!(import.path(authority));
        if let Some(list) = scope.arg("ssl_crl") {
            asked["crlFiles"] = json!([import.path(list)]);
        }
    }
    Some(asked)
}

/// A listener asks all its clients the same, before it is known which server they want. Where its servers do not, those that
/// want a certificate are closed, and the others stay as they are.
fn clients<'a>(import: &mut Import<'a>, listener: &mut Listener<'a>) {
    let has_authority = |asked: &&Value| asked.get("caFile").is_some();
    let first = listener.asked.first().and_then(|(_, asked)| asked.as_ref());
    let is_one = listener.asked.iter().all(|(_, asked)| asked.as_ref() == first);
    let chosen = if is_one {
        first.filter(has_authority)
    } else {
        let all = listener.asked.iter().filter_map(|(_, asked)| asked.as_ref());
        all.filter(has_authority).find(|asked| asked["mode"] != REQUIRED)
    };
    for (server, asked) in &listener.asked {
        let wants = asked.as_ref().is_some_and(|asked| asked["mode"] == REQUIRED);
        if wants && asked.as_ref() != chosen {
            import.unasked.push(*server);
        }
    }
    if let Some(chosen) = chosen.cloned() {
        listener.tls["clientAuth"] = chosen;
    }
}

fn limits(scope: &Scope<'_>) -> Value {
    let mut limits = serde_json::Map::new();
    for (theirs, ours) in [
        ("client_header_timeout", "headerTimeout"),
        ("client_body_timeout", "bodyTimeout"),
        ("keepalive_timeout", "idleTimeout"),
    ] {
        if let Some(time) = scope.arg(theirs).and_then(words::time).filter(|time| time != "0s") {
            limits.insert(ours.to_owned(), json!(time));
        }
    }
    for (theirs, ours) in [
        ("keepalive_requests", "maxRequestsPerConnection"),
        ("http2_max_concurrent_streams", "maxConcurrentStreams"),
    ] {
        if let Some(count) = scope.arg(theirs).and_then(|count| count.parse::<u64>().ok()) {
            limits.insert(ours.to_owned(), json!(count));
        }
    }
    if let Some(buffers) = scope.one("large_client_header_buffers") {
        let size = words::size(buffers.arg(1)).unwrap_or_default();
        let split = size.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(size.len());
        let count = buffers.arg(0).parse::<u64>().ok();
        let each = size[..split].parse::<u64>().ok();
        if let (Some(count), Some(each)) = (count, each) {
            limits.insert(
                "maxHeaderSize".to_owned(),
                json!(format!("{}{}", count.saturating_mul(each), &size[split..])),
            );
        }
    }
    limits.into()
}

/// Under which names a server is seen, and where. The first server of a listener answers for all names that no other has,
/// unless another one says that it does.
pub(super) fn of<'a>(import: &mut Import<'a>, server: &'a Directive, servers: &[&'a Directive]) -> Vec<Face> {
    let (mut default, mut others) = (Vec::new(), Vec::new());
    for (_, address) in listens(import, server) {
        let on_it = |one: &&&Directive| listens(import, one).iter().any(|(_, other)| *other == address);
        let says = |one: &&&Directive| {
            let mut all = listens(import, one).into_iter().filter(|(_, other)| *other == address);
            all.any(|(listen, _)| has(listen, "default_server") || has(listen, "default"))
        };
        let chosen = servers.iter().filter(on_it).find(says).or_else(|| servers.iter().find(on_it));
        let Some(listener) = import.listeners.iter().find(|known| known.address == address) else { continue };
        let list =
            if chosen.is_some_and(|one| std::ptr::eq(*one, server)) { &mut default } else { &mut others };
        if !list.contains(&listener.name) {
            list.push(listener.name.clone());
        }
    }
    // The default server's names need no `hosts`, unless a wider name of another server would take them.
    for (_, address) in listens(import, server) {
        let listener = import.listeners.iter().find(|known| known.address == address);
        let is_covered = servers.iter().any(|other| {
            !std::ptr::eq(*other, server)
                && listens(import, other).iter().any(|(_, one)| *one == address)
                && names_of(other).any(|wide| names_of(server).any(|name| covers(wide, name)))
        });
        if let Some(listener) = listener.filter(|one| is_covered && !others.contains(&one.name)) {
            others.push(listener.name.clone());
        }
    }
    let mut faces = Vec::new();
    if !default.is_empty() {
        faces.push(Face { hosts: Vec::new(), listeners: default, when: None, rank: 0 });
    }
    let names: Vec<&'a Directive> = server.inside().iter().filter(|one| one.name == "server_name").collect();
    for one in &names {
        one.seen.set(true);
    }
    if others.is_empty() {
        return faces;
    }
    // A name that an earlier server has is that one's, listener by listener.
    let mut left: Vec<(Vec<String>, Vec<Name<'a>>)> = Vec::new();
    for (directive, name) in
        names.iter().flat_map(|one| one.args.iter().map(move |name| (*one, name.as_str())))
    {
        let taken = taken(import, server, servers, name);
        let free: Vec<String> = others.iter().filter(|one| !taken.contains(one)).cloned().collect();
        if free.len() < others.len() {
            import.note(
                directive,
                format_args!(
                    "`{name}` is an earlier server's on `{}`: left out there, as nginx does",
                    taken.join("`, `")
                ),
            );
        }
        match left.iter_mut().find(|(listeners, _)| *listeners == free) {
            Some((_, all)) => all.push((directive, name)),
            None => left.push((free, vec![(directive, name)])),
        }
    }
    for (listeners, names) in left.into_iter().filter(|(listeners, _)| !listeners.is_empty()) {
        faces.extend(of_names(import, &listeners, &names, weight(server, servers)));
    }
    faces
}

/// The names of a server.
fn names_of(server: &Directive) -> impl Iterator<Item = &str> {
    let all = server.inside().iter().filter(|one| one.name == "server_name");
    all.flat_map(|one| one.args.iter().map(String::as_str))
}

/// Whether a name is told by a condition: a regular expression, or one with a wildcard at its end.
fn is_pattern(name: &str) -> bool {
    name.starts_with('~') || name.ends_with(".*")
}

/// Whether a server has names that are told by a condition.
pub(super) fn has_patterns(server: &Directive) -> bool {
    names_of(server).any(is_pattern)
}

/// Whether a name with a wildcard or a regular expression takes another one.
fn covers(wide: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.as_str();
    if let Some(pattern) = wide.strip_prefix('~') {
        let regex = words::whole(pattern, true).map(|whole| regex::Regex::new(&format!("^{whole}$")));
        return matches!(regex, Some(Ok(regex)) if regex.is_match(name));
    }
    let wide = wide.to_ascii_lowercase();
    let wide = wide.as_str();
    if let Some(start) = wide.strip_suffix('*') {
        return name.starts_with(start);
    }
    let end = wide.strip_prefix('*').unwrap_or(wide);
    end.starts_with('.') && name.len() > end.len() && name.ends_with(end)
}

/// What a name stands for: `.a.test` is two.
fn parts(name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix('.') {
        Some(bare) => vec![bare.to_owned(), format!("*{name}")],
        None => vec![name],
    }
}

/// The listeners of a server on which an earlier one has a name already.
fn taken(import: &Import<'_>, server: &Directive, servers: &[&Directive], name: &str) -> Vec<String> {
    let wanted = parts(name);
    let own = listens(import, server);
    let mut all = Vec::new();
    if matches!(name, "" | "_") {
        return all;
    }
    for earlier in servers.iter().take_while(|one| !std::ptr::eq(**one, server)) {
        let has_it = names_of(earlier).flat_map(parts).any(|other| wanted.contains(&other));
        let shared =
            listens(import, earlier).into_iter().filter(|(_, one)| own.iter().any(|(_, two)| one == two));
        for (_, address) in shared.filter(|_| has_it) {
            let listener = import.listeners.iter().find(|known| known.address == address);
            all.extend(listener.map(|listener| listener.name.clone()));
        }
    }
    all.dedup();
    all
}

/// How many servers have regular expressions for names, and how many of them come after one and it: the first that fits
/// is taken.
fn weight(server: &Directive, servers: &[&Directive]) -> (i64, i64) {
    let all = servers.iter().filter(|one| names_of(one).any(|name| name.starts_with('~')));
    let after = servers.iter().skip_while(|one| !std::ptr::eq(**one, server));
    let later = after.filter(|one| names_of(one).any(|name| name.starts_with('~')));
    (i64::try_from(all.count()).unwrap_or(0), i64::try_from(later.count()).unwrap_or(0))
}

/// The faces of names on some listeners: those that weigh the same together.
fn of_names<'a>(
    import: &mut Import<'a>,
    listeners: &[String],
    names: &[Name<'a>],
    (all, later): (i64, i64),
) -> Vec<Face> {
    let mut faces = Vec::new();
    let (mut exact, mut wildcards) = (Vec::new(), Vec::new());
    let (mut conditions, mut ends) = (Vec::new(), Vec::new());
    for &(directive, name) in names {
        match name {
            "" | "_" => {}
            _ if name.starts_with('~') => match words::whole(&name[1..], true) {
                Some(regex) => {
                    conditions.push(format!("request.host.matches({})", quoted(&format!("^{regex}$"))))
                }
                None => {
                    import.note(directive, format_args!("`{name}` is no regular expression here; left out"))
                }
            },
            _ if name.ends_with(".*") => {
                let name = name.to_ascii_lowercase();
                let regex = format!("^{}[.].+$", name[..name.len() - 2].replace('.', "[.]"));
                ends.push(format!("request.host.matches({})", quoted(&regex)));
            }
            _ => match name.strip_prefix('.') {
                Some(bare) => {
                    exact.push(bare.to_owned());
                    wildcards.push(format!("*.{bare}"));
                }
                None if name.starts_with("*.") => wildcards.push(name.to_owned()),
                None => exact.push(name.to_owned()),
            },
        }
    }
    let face = |hosts, when, rank| Face { hosts, listeners: listeners.to_vec(), when, rank };
    if import.has_levels {
        let rank = |steps: i64| 10 * (all + steps);
        faces.extend(Some(exact).filter(|all| !all.is_empty()).map(|all| face(all, None, rank(3))));
        faces.extend(Some(wildcards).filter(|all| !all.is_empty()).map(|all| face(all, None, rank(2))));
    } else {
        exact.extend(wildcards);
        faces.extend(Some(exact).filter(|all| !all.is_empty()).map(|all| face(all, None, 0)));
    }
    for (conditions, rank) in [(ends, 10 * (all + 1)), (conditions, 10 * later)] {
        if !conditions.is_empty() {
            faces.push(face(Vec::new(), Some(conditions.join(" || ")), rank));
        }
    }
    faces
}

/// A text in CEL.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_of_cel_keeps_what_it_says() {
        assert_eq!(super::quoted("^\\d+\"$"), "\"^\\\\d+\\\"$\"");
    }
}
