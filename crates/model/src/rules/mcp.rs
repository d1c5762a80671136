//! Rules of `mcp` routes.

use crate::{
    Config,
    load::Context,
    policy::Settings as _,
    resource::mcp::{McpOauth, McpRoute, McpServer, McpTool},
};

pub(super) fn route(route: &McpRoute, config: &Config, at: &mut Context<'_, '_>) {
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
    if !server.is_local() && !is_url(&server.url) {
        at.field("url", |at| {
            at.error_with(
                "expected `http://` or `https://`, a host and a path",
                "such as http://127.0.0.1:7006/mcp",
            );
        });
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
