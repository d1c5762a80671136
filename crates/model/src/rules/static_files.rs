//! Rules of `static`: names that stay below the root, and values that are what they should be.

use super::{Around, World};
use crate::{
    Route,
    load::Context,
    resource::{
        handler::Settings,
        static_files::{FileCacheControl, StaticFiles},
    },
};

impl Settings for StaticFiles {
    fn validate(&self, route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
        check(self, &Around::handler(world, route), at);
    }

    fn answers_itself(&self) -> bool {
        true
    }
}

fn check(files: &StaticFiles, around: &Around<'_>, at: &mut Context<'_, '_>) {
    super::strip_prefix::check(files.strip_prefix.as_deref(), around, at);
    at.each("index", &files.index, |at, name| {
        if !is_below(name) || name.contains('/') {
            at.error_with("expected the name of a file, without `/`", "such as `index.html`");
        }
    });
    for (key, name) in [("spaFallback", &files.spa_fallback), ("notFound", &files.not_found)] {
        if let Some(name) = name.as_deref().filter(|name| !is_below(name)) {
            at.field(key, |at| below(name, at));
        }
    }
    at.each("precompressed", &files.precompressed, |at, coding| {
        if files.precompressed.iter().filter(|other| *other == coding).count() > 1 {
            at.error("this coding is there twice");
        }
    });
    let mut before: Vec<&FileCacheControl> = Vec::new();
    at.each("cacheControl", &files.cache_control, |at, one| {
        if let Some(wider) = before.iter().find(|wider| covers(wider, one)) {
            let of =
                wider.under.as_ref().map_or_else(|| "all files".to_owned(), |under| format!("`{under}`"));
            at.warning_with(
                format!(
                    "the entry of {of} stands before it and takes all of its files: this one is never sent"
                ),
                "the first that fits counts: put the narrower one first",
            );
        }
        before.push(one);
        if let Some(name) = one.under.as_deref().filter(|name| !is_below(name)) {
            at.field("under", |at| below(name, at));
        }
        at.field("value", |at| {
            let name = "cache-control";
            if let Ok(name) = name.parse() {
                crate::policy::headers::header_value(&name, &one.value, at);
            }
        });
    });
    at.field("types", |at| {
        for (end, kind) in &files.types {
            at.field(end, |at| {
                if end.is_empty() || end.starts_with('.') || end.contains('/') {
                    at.error_with("expected the end of names without its dot", "such as `wasm`");
                }
                let is_token = |text: &str| {
                    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
                };
                let essence = kind.split(';').next().unwrap_or_default().trim();
                let is_type =
                    essence.split_once('/').is_some_and(|(one, two)| is_token(one) && is_token(two));
                if !is_type || !kind.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                    at.error_with("expected a media type", "such as `application/wasm`");
                }
            });
        }
    });
}

/// Whether an entry is for all files that another is for.
fn covers(own: &FileCacheControl, other: &FileCacheControl) -> bool {
    match (&own.under, &other.under) {
        (None, _) => true,
        (Some(own), Some(other)) => {
            other.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        (Some(_), None) => false,
    }
}

/// Whether a name leads to something below a directory.
fn is_below(name: &str) -> bool {
    !name.is_empty() && name.split('/').all(|step| !matches!(step, "" | "." | "..")) && !name.contains('\0')
}

fn below(name: &str, at: &mut Context<'_, '_>) {
    at.error_with(
        format!("`{name}` is no path below `root`"),
        "leave out a `/` at its beginning or end, and steps such as `..`",
    );
}
