//! Rules of tools of the gateway's own. What only the OpenAPI document tells is judged when it is compiled.

use std::collections::BTreeSet;

use crate::{
    Config,
    load::{Context, scope::Named},
    resource::{
        mcp::McpServer,
        mcp_local::{McpModel, McpOpenapi, McpSelect},
        route::Handler,
    },
};

pub(super) fn check(server: &McpServer, config: &Config, at: &mut Context<'_, '_>) {
    let kinds = [!server.url.is_empty(), server.openapi.is_some(), server.asks_models()];
    if kinds.into_iter().filter(|is_given| *is_given).count() > 1 {
        at.error_with(
            "expected one of `url`, `openapi`, and `prompts` with `models`",
            "make each a server of its own",
        );
    }
    if !server.is_local() {
        return;
    }
    let other = if server.openapi.is_some() { "the upstream that `openapi` names" } else { "`ai.providers`" };
    for key in ["timeouts", "circuitBreaker", "bulkhead", "outlierDetection", "tls", "pool"] {
        if at.is_written(key) {
            at.field(key, |at| {
                at.error_with(format!("only a server with `url` has `{key}`"), format!("give it to {other}"));
            });
        }
    }
    if server.openapi.is_none() && !server.headers.is_empty() {
        at.field("headers", |at| at.error("nothing is sent to prompts and models"));
    }
    if let Some(openapi) = &server.openapi {
        at.field("openapi", |at| self::openapi(openapi, at));
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    at.each("prompts", &server.prompts, |at, name| {
        prompt(name, config, at);
        if !names.insert(name) {
            at.error(format!("`{name}` is there twice"));
        }
    });
    at.each("models", &server.models, |at, model| {
        self::model(model, config, at);
        if !names.insert(&model.name) {
            at.field("name", |at| at.error(format!("there is a tool `{}` already", model.name)));
        }
    });
}

fn openapi(openapi: &McpOpenapi, at: &mut Context<'_, '_>) {
    at.field("upstream", |at| at.refer(Named::Upstream, &openapi.upstream));
    if openapi.base_path.as_ref().is_some_and(|path| !is_base(path)) {
        at.field("basePath", |at| {
            at.error("expected a path that begins with `/`, without `?`, `#` and `..`")
        });
    }
    for (key, selects) in [("include", &openapi.include), ("exclude", &openapi.exclude)] {
        at.each(key, selects, |at, select| {
            if *select == McpSelect::default() {
                at.error("expected at least one of `operation`, `tag`, `method` and `path`");
            }
        });
    }
    at.field("names", |at| {
        for (operation, name) in &openapi.names {
            if !is_name(name) {
                at.field(operation, |at| at.error(NAME));
            }
        }
    });
}

fn is_base(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'\\'));
    path.starts_with('/') && plain && !path.split('/').any(|segment| matches!(segment, "." | ".."))
}

const NAME: &str = "expected 1 to 64 letters, digits, `_`, `-` and `.`";

/// What every revision of the protocol, and most models, take as a name.
fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.is_empty() && name.len() <= 64 && name.bytes().all(good)
}

fn prompt(name: &str, config: &Config, at: &mut Context<'_, '_>) {
    match config.routes.iter().find(|route| route.name == *name) {
        Some(route) if matches!(route.handler, Handler::Prompt(_)) => {}
        Some(route) => at.error_with(
            format!(
                "the route `{name}` has `{}`, and only one with `prompt` is a tool",
                route.handler.name()
            ),
            "name a route with `prompt`",
        ),
        None => {
            let there: Vec<&str> = config
                .routes
                .iter()
                .filter(|route| matches!(route.handler, Handler::Prompt(_)))
                .map(|route| route.name.as_str())
                .collect();
            let help = match there.is_empty() {
                true => "no route has `prompt`".to_owned(),
                false => format!("routes with `prompt` are {}", there.join(", ")),
            };
            at.error_with(format!("no route `{name}`"), help);
        }
    }
}

fn model(model: &McpModel, config: &Config, at: &mut Context<'_, '_>) {
    at.field("name", |at| {
        if !is_name(&model.name) {
            at.error(NAME);
        }
    });
    at.field("model", |at| super::prompt::model(&model.model, config, at));
    if model.description.trim().is_empty() {
        at.field("description", |at| at.error("expected a text: whoever chooses a tool goes by it"));
    }
    if model.max_tokens == Some(0) {
        at.field("maxTokens", |at| at.error("expected at least 1"));
    }
}
