//! Rules of `mcp` routes.

use super::World;
use crate::{
    Config, Route,
    load::Context,
    policy::Settings as _,
    resource::{
        handler::Settings,
        mcp::{McpAuth, McpOauth, McpRoute, McpServer, McpTool},
    },
};

impl Settings for McpRoute {
    fn validate(&self, of: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
        if !world.knows_callers(of) {
            // A plugin may read tokens.
            if self.oauth.is_some() && world.config().plugins.is_empty() {
                oauth_of_nobody(at);
            }
            programs_of_nobody(self, at);
        }
        route(self, world.config(), at);
    }

    fn asks_models(&self) -> bool {
        self.servers.iter().any(|server| server.asks_models())
    }

    fn has_credentials(&self) -> bool {
        self.servers.iter().any(has_credentials)
    }
}

/// Whether the gateway shows a server credentials of its own.
fn has_credentials(server: &McpServer) -> bool {
    server.auth.is_some() || !server.headers.is_empty()
}

/// Who is told where tokens are had must have somebody read them.
fn oauth_of_nobody(at: &mut Context<'_, '_>) {
    at.field("oauth", |at| {
        at.warning_with(
            "clients are told where to fetch tokens, and no policy reads them",
            "add `jwt` or `oauth2Introspection` to the route's `policies`",
        );
    });
}

/// A process belongs to a session or a caller: one who has neither has it started for each call.
fn programs_of_nobody(mcp: &McpRoute, at: &mut Context<'_, '_>) {
    at.each("servers", &mcp.servers, |at, server| {
        let is_shared = server.process.as_ref().is_some_and(|process| process.shared);
        if !server.command.is_empty() && !is_shared {
            at.field("command", |at| {
                at.warning(
                    "no policy tells who calls: clients without sessions (MCP 2026-07-28) have this program started \
                     anew for each call; `process: {shared: true}` or an authenticating policy keeps it",
                );
            });
        }
    });
}

fn route(route: &McpRoute, config: &Config, at: &mut Context<'_, '_>) {
    if route.servers.is_empty() {
        at.field("servers", |at| at.error("expected at least one server"));
    }
    let mut names: Vec<&str> = Vec::new();
    let mut prefixes: Vec<(String, &str)> = Vec::new();
    at.each("servers", &route.servers, |at, server| {
        if names.contains(&server.name.as_str()) {
            at.field("name", |at| at.error(format!("the name `{}` is there twice", server.name)));
        }
        names.push(&server.name);
        let prefix = server.prefix();
        if let Some((_, other)) = prefixes.iter().find(|(known, _)| !prefix.is_empty() && *known == prefix) {
            at.field("prefix", |at| {
                at.error_with(
                    format!("`{other}` has the prefix `{prefix}`, too: their tools could not be told apart"),
                    "give each server a prefix of its own",
                );
            });
        }
        prefixes.push((prefix, &server.name));
        self::server(server, at);
        super::mcp_local::check(server, config, at);
    });
    let mut rules: Vec<&str> = Vec::new();
    at.each("tools", &route.tools, |at, rule| {
        if rules.contains(&rule.name.as_str()) {
            at.field("name", |at| at.error(format!("there is a rule for `{}` already", rule.name)));
        } else if let Some(wider) = rules.iter().find(|wider| covers(wider, &rule.name)) {
            at.field("name", |at| {
                at.warning_with(
                    format!(
                        "this rule holds nothing: `{wider}` before it fits each of its tools, and the first that fits \
                         counts"
                    ),
                    format!("put it before `{wider}`"),
                );
            });
        }
        rules.push(&rule.name);
        tool(rule, at);
    });
    at.each("allowedOrigins", &route.allowed_origins, |at, origin| {
        if !is_origin(origin) {
            at.error_with("expected a scheme and a host", "such as https://app.example.com, without a path");
        }
    });
    at.each("allowedHosts", &route.allowed_hosts, |at, host| {
        if !crate::load::format::host(host.strip_prefix("*.").unwrap_or(host)) {
            at.error("expected a host or `*.host`, without a port");
        }
    });
    if let Some(oauth) = &route.oauth {
        at.field("oauth", |at| self::oauth(oauth, at));
    }
}

fn server(server: &McpServer, at: &mut Context<'_, '_>) {
    match (&server.url, server.command.first()) {
        (Some(url), None) => {
            if !is_url(url) {
                at.field("url", |at| {
                    at.error_with(
                        "expected `http://` or `https://`, a host and a path",
                        "such as http://127.0.0.1:7006/mcp",
                    );
                });
            }
        }
        (None, Some(program)) => self::program(server, program, at),
        (None, None) if !server.is_local() => {
            at.error("expected `url`, `command`, `openapi`, `prompts` or `models`");
        }
        // Several of them are told of by the rules of the gateway's own tools.
        (None, None) | (Some(_), Some(_)) => {}
    }
    if server.process.is_some() && server.command.is_empty() {
        at.field("process", |at| at.error("belongs to `command`, and this server has none"));
    }
    if let Some(auth) = &server.auth {
        at.field("auth", |at| self::auth(auth, at));
        if server.is_local() {
            at.field("auth", |at| at.error("only a server with `url` has `auth`"));
        }
    }
    if let Some(prefix) = &server.prefix {
        let good = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/');
        if !prefix.chars().all(good) || prefix.len() > 64 {
            at.field("prefix", |at| {
                at.error("expected at most 64 letters, digits, `_`, `-`, `.` and `/`");
            });
        }
    }
}

fn program(server: &McpServer, program: &str, at: &mut Context<'_, '_>) {
    if !program.starts_with('/') {
        at.field("command", |at| {
            at.error_with("expected an absolute path first", "such as /usr/bin/python3")
        });
    }
    if server.command.iter().any(|part| part.contains('\0')) {
        at.field("command", |at| at.error("no argument can hold a zero byte"));
    }
    if !server.headers.is_empty() {
        at.field("headers", |at| at.error("belong to `url`; a program is told by `process.env`"));
    }
    if server.auth.is_some() {
        at.field("auth", |at| at.error("belongs to `url`; a program is told by `process.env`"));
    }
    let Some(process) = &server.process else { return };
    at.field("process", |at| {
        if process.max == 0 {
            at.field("max", |at| at.error("expected at least 1"));
        }
        match process.max_per_consumer {
            Some(0) => at.field("maxPerConsumer", |at| at.error("expected at least 1")),
            Some(each) if each > process.max => {
                at.field("maxPerConsumer", |at| at.error("expected at most what `max` is"));
            }
            _ => {}
        }
        let good = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
        if !process.env.keys().all(|name| good(name)) {
            at.field("env", |at| at.error("expected names without `=`"));
        }
    });
}

fn auth(auth: &McpAuth, at: &mut Context<'_, '_>) {
    let endpoint = |url: &str, at: &mut Context<'_, '_>| {
        if !is_url(url) {
            at.field("tokenEndpoint", |at| {
                at.error_with("expected a URL without a query", "such as https://login.example.com/token");
            });
        }
    };
    match (&auth.client_credentials, &auth.token_exchange) {
        (Some(own), None) => {
            at.field(crate::policy::client_credentials::KEY, |at| endpoint(&own.token_endpoint, at));
        }
        (None, Some(exchange)) => at.field("tokenExchange", |at| {
            endpoint(&exchange.token_endpoint, at);
            if exchange.client_secret.is_some() && exchange.client_id.is_none() {
                at.field("clientId", |at| at.error("is needed where there is a `clientSecret`"));
            }
        }),
        _ => at.error("expected either `clientCredentials` or `tokenExchange`"),
    }
}

/// Whether a rule for `wider` is about all that one for `name` is about.
fn covers(wider: &str, name: &str) -> bool {
    wider.strip_suffix('*').is_some_and(|begin| name.trim_end_matches('*').starts_with(begin))
}

fn tool(rule: &McpTool, at: &mut Context<'_, '_>) {
    let stem = rule.name.strip_suffix('*').unwrap_or(&rule.name);
    if rule.name.is_empty() || stem.contains('*') {
        at.field("name", |at| at.error("expected a name, with at most one `*` at its end"));
    }
    if let Some(limit) = &rule.rate_limit {
        at.field(crate::policy::RateLimit::KEY, |at| limit.validate(at));
    }
    if let Some(pin) = &rule.pin {
        let digits = pin.strip_prefix("sha256:").unwrap_or_default();
        let good = digits.len() == 64
            && digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
        if !good {
            at.field("pin", |at| at.error("expected `sha256:` and 64 hexadecimal digits in small letters"));
        } else if rule.name.ends_with('*') {
            at.field("pin", |at| at.error("a digest is of one tool, and `*` stands for several"));
        }
    }
}

fn oauth(oauth: &McpOauth, at: &mut Context<'_, '_>) {
    if !is_url(&oauth.resource) {
        at.field("resource", |at| {
            at.error_with("expected a URL without a query", "such as https://api.example.com/mcp");
        });
    }
    if oauth.authorization_servers.is_empty() {
        at.field("authorizationServers", |at| at.error("expected at least one issuer"));
    }
    at.each("authorizationServers", &oauth.authorization_servers, |at, issuer| {
        if !is_url(issuer) {
            at.error_with("expected a URL", "such as https://login.example.com");
        }
    });
}

fn rest(url: &str) -> Option<&str> {
    url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))
}

pub(super) fn is_url(url: &str) -> bool {
    let host = rest(url).map(|rest| rest.split('/').next().unwrap_or_default());
    host.is_some_and(|host| !host.is_empty()) && !url.contains(['?', '#', ' ', '@', '"', '\\'])
}

fn is_origin(origin: &str) -> bool {
    origin == "null" || (is_url(origin) && rest(origin).is_some_and(|rest| !rest.contains('/')))
}
