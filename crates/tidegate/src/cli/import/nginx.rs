//! nginx's configuration: servers, locations, upstreams and the directives that have a counterpart.
//!
//! Whatever something was made of is marked; what is not marked in the end has no counterpart and is told with its file and
//! line. What protects and is not taken over closes its location; a location that something else answers than HTTP answers
//! 501, so that no other one answers in its place.

mod asked;
mod faces;
mod files;
mod guards;
mod handlers;
mod locations;
mod lookahead;
mod order;
mod policies;
mod proxies;
mod redirects;
mod syntax;
mod upstreams;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::{Value, json};

use self::{
    faces::{Face, Listener},
    syntax::{Directive, Reader},
};
use super::Imported;

/// What tunes nginx itself and says nothing about traffic.
const IDLE: [&str; 87] = [
    "user",
    "pid",
    "events",
    "error_log",
    "worker_connections",
    "worker_rlimit_nofile",
    "worker_cpu_affinity",
    "worker_priority",
    "worker_shutdown_timeout",
    "multi_accept",
    "use",
    "sendfile",
    "sendfile_max_chunk",
    "tcp_nopush",
    "tcp_nodelay",
    "types",
    "types_hash_max_size",
    "types_hash_bucket_size",
    "log_format",
    "server_tokens",
    "charset",
    "server_names_hash_bucket_size",
    "server_names_hash_max_size",
    "variables_hash_max_size",
    "aio",
    "directio",
    "variables_hash_bucket_size",
    "map_hash_bucket_size",
    "map_hash_max_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_http_version",
    "proxy_buffer_size",
    "proxy_busy_buffers_size",
    "proxy_max_temp_file_size",
    "proxy_temp_file_write_size",
    "proxy_temp_path",
    "proxy_headers_hash_max_size",
    "proxy_headers_hash_bucket_size",
    "proxy_cache_path",
    "proxy_cache_lock",
    "proxy_cache_lock_timeout",
    "proxy_ssl_server_name",
    "proxy_socket_keepalive",
    "proxy_ssl_session_reuse",
    "proxy_pass_header",
    "proxy_request_buffering",
    "ssl_session_cache",
    "ssl_session_timeout",
    "ssl_session_tickets",
    "ssl_prefer_server_ciphers",
    "ssl_dhparam",
    "ssl_stapling",
    "ssl_stapling_verify",
    "ssl_trusted_certificate",
    "ssl_ecdh_curve",
    "ssl_buffer_size",
    "ssl_early_data",
    "resolver",
    "resolver_timeout",
    "client_body_buffer_size",
    "client_header_buffer_size",
    "client_body_temp_path",
    "send_timeout",
    "load_module",
    "open_file_cache",
    "open_file_cache_valid",
    "open_file_cache_min_uses",
    "open_file_cache_errors",
    "gzip_vary",
    "gzip_proxied",
    "gzip_disable",
    "gzip_http_version",
    "gzip_buffers",
    "reset_timedout_connection",
    "log_not_found",
    "output_buffers",
    "fastcgi_temp_path",
    "uwsgi_temp_path",
    "scgi_temp_path",
    "daemon",
    "master_process",
    "limit_req_status",
    "limit_conn_status",
    "auth_basic_user_file",
    "default_type",
    "http2",
];

/// Directives of the levels around a place, the outermost first.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    levels: Vec<&'a [Directive]>,
}

impl<'a> Scope<'a> {
    fn with(&self, level: &'a [Directive]) -> Self {
        let mut levels = self.levels.clone();
        levels.push(level);
        Self { levels }
    }

    /// The directives of a name at the innermost level that has any; those further out do not count there.
    fn all(&self, name: &str) -> Vec<&'a Directive> {
        let named = |level: &&'a [Directive]| -> Vec<&'a Directive> {
            level.iter().filter(|one| one.name == name).inspect(|one| one.seen.set(true)).collect()
        };
        let found: Vec<_> = self.levels.iter().map(named).collect();
        found.into_iter().rev().find(|level| !level.is_empty()).unwrap_or_default()
    }

    /// The last one of a name at the innermost level that has any.
    fn one(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).pop()
    }

    /// All words behind a name.
    fn words(&self, name: &str) -> Vec<&'a str> {
        self.all(name).into_iter().flat_map(|one| one.args.iter().map(String::as_str)).collect()
    }

    /// Its first argument.
    fn arg(&self, name: &str) -> Option<&'a str> {
        self.one(name).map(|one| one.arg(0))
    }

    fn is_on(&self, name: &str) -> bool {
        self.arg(name) == Some("on")
    }
}

/// What has been made so far.
pub(super) struct Import<'a> {
    file: &'a Path,
    listeners: Vec<Listener<'a>>,
    upstreams: Vec<Value>,
    /// What they are called there, with their places: a block's name behind `upstream`, or an address with its port.
    addresses: Vec<(String, usize)>,
    /// Names of upstreams that something leads to.
    used: BTreeSet<String>,
    routes: Vec<Value>,
    policies: Vec<Value>,
    logs: Vec<Value>,
    /// Zones of `limit_req_zone` and `limit_conn_zone`: what is counted together, and how much.
    zones: BTreeMap<String, (Option<Value>, u64, &'static str)>,
    /// Shares by the variable of `split_clients`.
    shares: BTreeMap<String, Vec<(String, f64)>>,
    /// Some location goes before others whatever its length, so that routes need priorities.
    has_levels: bool,
    /// Some prefix that refuses ends within a segment, so that priorities hold lengths as well.
    has_lengths: bool,
    /// Ports at which some server listens on `[::]`.
    wide_ports: BTreeSet<String>,
    /// Servers that want a certificate of their clients, which their listener does not ask for.
    unasked: Vec<&'a Directive>,
    /// The server whose routes are made is one of these.
    is_unasked: bool,
    /// Regular expressions go before some of its prefixes that lie below others before which they do not go.
    is_mixed: bool,
    notes: Vec<String>,
}

/// Turns their configuration into ours.
pub(super) fn import(file: &Path) -> Result<Imported, String> {
    let mut reader = Reader::new(file);
    let all = reader.file(file, 0)?;
    let mut import = Import {
        file,
        listeners: Vec::new(),
        upstreams: Vec::new(),
        addresses: Vec::new(),
        used: BTreeSet::new(),
        routes: Vec::new(),
        policies: Vec::new(),
        logs: Vec::new(),
        zones: BTreeMap::new(),
        shares: BTreeMap::new(),
        has_levels: false,
        has_lengths: false,
        wide_ports: BTreeSet::new(),
        unasked: Vec::new(),
        is_unasked: false,
        is_mixed: false,
        notes: reader.notes,
    };
    // A file of a folder such as `sites-enabled` has its servers without `http` around them.
    let http: Vec<&[Directive]> = match all.iter().find(|one| one.name == "http") {
        Some(http) => {
            http.seen.set(true);
            vec![&all, http.inside()]
        }
        None => vec![&all],
    };
    let scope = Scope { levels: http };
    let inner = scope.levels.last().copied().unwrap_or_default();
    import.zones(inner);
    let runtime = scope.arg("worker_processes").and_then(|count| count.parse::<u64>().ok());
    let trusted: Vec<&str> = scope.all("set_real_ip_from").into_iter().map(|one| one.arg(0)).collect();
    import.upstream_blocks(inner);
    let servers: Vec<&Directive> = inner.iter().filter(|one| one.name == "server").collect();
    import.servers(&scope, &servers);
    if import.routes.is_empty() {
        let told = import.notes.join("\n");
        return Err(format!(
            "nothing of it could be taken over: no server has a location or an answer\n{told}"
        ));
    }
    import.told(&all);
    Ok(import.finished(runtime, &trusted))
}

impl<'a> Import<'a> {
    fn note(&mut self, at: &Directive, what: impl std::fmt::Display) {
        self.notes.push(format!("{}: `{}`: {what}", at.place, at.name));
    }

    /// A path of a file, which starts at the folder of theirs.
    fn path(&self, text: &str) -> String {
        let folder = std::path::absolute(self.file).unwrap_or_else(|_| self.file.to_owned());
        folder.parent().unwrap_or(Path::new("/")).join(text).display().to_string()
    }

    fn servers(&mut self, scope: &Scope<'a>, servers: &[&'a Directive]) {
        for server in servers {
            server.seen.set(true);
        }
        self.has_lengths = servers.iter().any(|server| order::has_refusing(server.inside()));
        self.has_levels = self.has_lengths
            || servers.iter().any(|server| order::has_levels(server.inside()) || faces::has_patterns(server));
        self.wide_ports = faces::wide_ports(servers);
        self.listeners = faces::listeners(self, scope, servers);
        let faces: Vec<Vec<Face>> = servers.iter().map(|server| faces::of(self, server, servers)).collect();
        for (server, faces) in servers.iter().zip(&faces) {
            self.server(&scope.with(server.inside()), server, faces);
        }
    }

    /// Tells what nothing was made of.
    fn told(&mut self, level: &[Directive]) {
        for one in level {
            if IDLE.contains(&one.name.as_str()) {
                continue;
            }
            if !one.seen.get() {
                self.notes.push(format!("{}: no counterpart: `{}`", one.place, one.shown()));
                continue;
            }
            self.told(one.inside());
        }
    }

    /// A name that no route has yet.
    fn free_name(&self, wish: &str) -> String {
        let is_free = |name: &str| self.routes.iter().all(|route| route["name"] != name);
        super::free_name(wish, is_free)
    }

    fn finished(mut self, runtime: Option<u64>, trusted: &[&str]) -> Imported {
        let mut config =
            json!({"listeners": self.listeners.iter().map(Listener::written).collect::<Vec<_>>()});
        if let Some(workers) = runtime {
            config["runtime"] = json!({"workers": workers});
        }
        if !trusted.is_empty() {
            let (good, other): (Vec<&str>, Vec<&str>) =
                trusted.iter().partition(|network| network.parse::<model::Cidr>().is_ok());
            config["trustedProxies"] = json!(good);
            if !other.is_empty() {
                self.notes.push(format!("set_real_ip_from: no counterpart: `{}`", other.join("`, `")));
            }
        }
        for (key, list) in [
            ("accessLog", self.logs),
            ("upstreams", self.upstreams),
            ("policies", self.policies),
            ("routes", self.routes),
        ] {
            if !list.is_empty() {
                config[key] = json!(list);
            }
        }
        self.notes.sort_by_cached_key(|note| place_of(note));
        self.notes.dedup();
        Imported { config, notes: self.notes }
    }
}

/// Where a note is about, so that notes come in the order of the files.
fn place_of(note: &str) -> (String, usize, String) {
    let (place, _) = note.split_once(": ").unwrap_or((note, ""));
    let (file, line) = place.rsplit_once(':').unwrap_or((place, ""));
    (file.to_owned(), line.parse().unwrap_or(0), note.to_owned())
}
