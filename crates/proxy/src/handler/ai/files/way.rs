//! What is wanted of files and batches, by method and path.

use std::cell::RefCell;

use ai::{dialect::Dialect, endpoint::Operation};
use http::{HeaderValue, Method, header};

use super::made::Kind;
use crate::failure::{Failure, Problem, Stage};

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Create,
    List,
    Get,
    Delete,
    Cancel,
    /// The bytes of a file.
    Content,
    /// The results of a batch of Anthropic's.
    Results,
    /// A part of an upload.
    Part,
    /// An upload whose parts have all come.
    Complete,
}

impl Act {
    /// What stands behind the id in a path.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Cancel => "/cancel",
            Self::Content => "/content",
            Self::Results => "/results",
            Self::Part => "/parts",
            Self::Complete => "/complete",
            Self::Create | Self::List | Self::Get | Self::Delete => "",
        }
    }
}

impl Kind {
    pub(super) fn operation(self) -> Operation {
        match self {
            Self::File | Self::Upload => Operation::Files,
            Self::Batch => Operation::Batches,
        }
    }
}

/// What is wanted of what.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) kind: Kind,
    pub(super) act: Act,
    /// The id in the path, as the caller has it.
    pub(super) id: String,
    /// The id of the file of requests, as the caller has it.
    pub(super) input: RefCell<Option<String>>,
}

impl Way {
    pub(super) fn of(operation: Operation, path: &str, method: &Method) -> Result<Self, Failure> {
        let is_upload = path.strip_prefix("/v1").unwrap_or(path).starts_with("/uploads");
        let (kind, root) = match operation {
            Operation::Files if is_upload => (Kind::Upload, "/uploads"),
            Operation::Files => (Kind::File, "/files"),
            _ => (Kind::Batch, "/batches"),
        };
        let rest = path.find(root).and_then(|at| path.get(at + root.len()..)).unwrap_or_default();
        let mut segments = rest.split('/').filter(|segment| !segment.is_empty());
        let (id, verb, more) = (segments.next(), segments.next(), segments.next());
        let act = match (id, verb, more, kind, method) {
            (None, _, _, _, &Method::POST) => Act::Create,
            (Some(_), Some("parts"), None, Kind::Upload, &Method::POST) => Act::Part,
            (Some(_), Some("complete"), None, Kind::Upload, &Method::POST) => Act::Complete,
            (Some(_), Some("cancel"), None, Kind::Upload, &Method::POST) => Act::Cancel,
            (None, _, _, Kind::Upload, _) => return Err(not_allowed("POST")),
            (Some(_), Some("parts" | "complete" | "cancel"), None, Kind::Upload, _) => {
                return Err(not_allowed("POST"));
            }
            (Some(_), None, _, Kind::Upload, _) => {
                return Err(Failure::client(Stage::Router, Problem::NoRoute).with_hint(
                    "an upload is told by what is done with it: `/parts`, `/complete`, `/cancel`",
                ));
            }
            (None, _, _, _, &Method::GET) => Act::List,
            (Some(_), None, _, _, &Method::GET) => Act::Get,
            (Some(_), None, _, _, &Method::DELETE) => Act::Delete,
            (Some(_), Some("content"), None, Kind::File, &Method::GET) => Act::Content,
            (Some(_), Some("results"), None, Kind::Batch, &Method::GET) => Act::Results,
            (Some(_), Some("cancel"), None, Kind::Batch, &Method::POST) => Act::Cancel,
            (_, Some("content" | "results"), None, ..) => return Err(not_allowed("GET")),
            (_, Some("cancel"), None, ..) => return Err(not_allowed("POST")),
            (None, ..) => return Err(not_allowed("GET, POST")),
            (Some(_), None, ..) => return Err(not_allowed("GET, DELETE")),
            _ => {
                return Err(Failure::client(Stage::Router, Problem::NoRoute)
                    .with_hint("no vendor's API has an endpoint at this path"));
            }
        };
        Ok(Self { kind, act, id: id.unwrap_or_default().to_owned(), input: RefCell::default() })
    }
}

fn not_allowed(methods: &'static str) -> Failure {
    Failure::client(Stage::Router, Problem::MethodNotAllowed)
        .with_header(header::ALLOW, HeaderValue::from_static(methods))
}

/// Where things are below a provider's base address.
pub(super) fn root(dialect: Dialect, kind: Kind) -> &'static str {
    match (dialect, kind) {
        (Dialect::Anthropic, Kind::File | Kind::Upload) => "/v1/files",
        (Dialect::Anthropic, Kind::Batch) => "/v1/messages/batches",
        (_, Kind::File) => "/files",
        (_, Kind::Batch) => "/batches",
        (_, Kind::Upload) => "/uploads",
    }
}

/// A parameter of a query. What is wanted here is never escaped.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(known, value)| *known == name && !value.is_empty())
        .map(|(_, value)| value.to_owned())
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_paths_say_what_is_wanted() {
        let act = |operation, method: &str, path: &str| {
            let way = Way::of(operation, path, &Method::from_bytes(method.as_bytes()).expect("a method"));
            way.map(|way| (way.act, way.id)).ok()
        };
        use Operation::{Batches, Files};
        for (operation, method, path, want) in [
            (Files, "POST", "/v1/files", Some((Act::Create, ""))),
            (Files, "GET", "/v1/files/", Some((Act::List, ""))),
            (Files, "GET", "/files/f1", Some((Act::Get, "f1"))),
            (Files, "DELETE", "/v1/files/f1", Some((Act::Delete, "f1"))),
            (Files, "GET", "/v1/files/f1/content", Some((Act::Content, "f1"))),
            (Files, "POST", "/v1/files/f1/content", None),
            (Files, "PUT", "/v1/files", None),
            (Files, "GET", "/v1/files/f1/content/x", None),
            (Batches, "POST", "/v1/batches/b/cancel", Some((Act::Cancel, "b"))),
            (Batches, "GET", "/v1/messages/batches/b/results", Some((Act::Results, "b"))),
            (Batches, "GET", "/v1/batches/b/x", None),
            (Files, "POST", "/v1/uploads", Some((Act::Create, ""))),
            (Files, "POST", "/uploads/u/parts", Some((Act::Part, "u"))),
            (Files, "POST", "/v1/uploads/u/complete", Some((Act::Complete, "u"))),
            (Files, "POST", "/v1/uploads/u/cancel", Some((Act::Cancel, "u"))),
            (Files, "GET", "/v1/uploads/u", None),
            (Files, "GET", "/v1/uploads", None),
        ] {
            let want = want.map(|(act, id)| (act, id.to_owned()));
            assert_eq!(act(operation, method, path), want, "{method} {path}");
        }
        assert_eq!(parameter("a=1&after=b&after=c", "after").as_deref(), Some("b"));
    }
}
