//! `static`: files of a directory.

#[cfg(target_os = "linux")]
mod at_once;
mod below;
mod flow;
mod reading;
pub(crate) mod report;
mod telling;

use std::{
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use model::{
    Finding, Route, Snapshot,
    resource::{
        route::Handler,
        route_match::{Match, PathMatch},
        static_files::StaticFiles as Settings,
    },
};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use self::{
    below::{Below, Found, Wait},
    flow::Flow,
    reading::Disk,
    report::{Counts, How, Outcome},
    telling::{Content, Form},
};
use super::{Answering, Answers};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    policy::{coding, coding::Coding, rewrite::after_prefix},
    worker::Worker,
};

/// How long a disk may take to say what lies at a path.
const PATIENCE: Duration = Duration::from_secs(10);
/// When to come again where too much is under way.
const AGAIN: Duration = Duration::from_secs(1);

/// Headers of a request that say which form of a file is wanted, and which part.
const ASKED: [header::HeaderName; 6] = [
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
];

/// The compiled handler.
pub(crate) struct Files(Arc<Shared>);

struct Shared {
    settings: Settings,
    codings: Vec<Coding>,
    cache_control: Vec<(Option<String>, HeaderValue)>,
    types: Vec<(String, HeaderValue)>,
    /// How files are looked for first.
    first: Wait,
    /// Who waits for it shares its threads.
    disk: Disk,
    /// One permit for each file on its way, also over reloads.
    open: Arc<Semaphore>,
    counts: Arc<Counts>,
}

/// Routes whose paths lead nowhere below their directory, since the part that the route matches is looked for there, too.
/// And pages that are not there.
pub(crate) fn unfit(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    for route in &snapshot.config.routes {
        let Handler::Static(files) = &route.handler else { continue };
        let root = files.root.as_path();
        for (key, name) in [("spaFallback", &files.spa_fallback), ("notFound", &files.not_found)] {
            let file = name.as_ref().map(|name| root.join(name));
            // Where nobody can say whether it is there, nothing is said.
            if let Some(file) = file.filter(|file| file.try_exists().is_ok_and(|is_there| !is_there)) {
                let message = format!("{} is not there: until it is, this does nothing", file.display());
                let owner = format!("routes/{}", route.name);
                found.push(Finding::new(owner, format!("static.{key}"), message));
            }
        }
        let says_otherwise =
            files.strip_prefix.is_some() || files.spa_fallback.is_some() || files.not_found.is_some();
        let begin = |one: &Match| match &one.path {
            Some(PathMatch::Prefix(path) | PathMatch::Exact(path)) => Some(path.trim_matches('/').to_owned()),
            _ => None,
        };
        let begins: Option<Vec<String>> = route.matches.iter().map(begin).collect();
        let Some(begins) = begins.filter(|begins| !begins.is_empty() && !says_otherwise) else { continue };
        if begins.iter().all(|begin| !root.join(begin).exists()) {
            let message = format!(
                "{} is not there, and all calls would be 404: with `stripPrefix: /{}` files are looked for without it",
                root.join(&begins[0]).display(),
                begins[0]
            );
            found.push(Finding::new(format!("routes/{}", route.name), "static", message));
        }
    }
    found
}

/// What is looked for.
struct Wish {
    /// Names of directories and of the file, with `/` between them.
    path: Vec<u8>,
    is_directory: bool,
    is_head: bool,
    accepts_html: bool,
    /// In which forms it may be, the best first.
    codings: Vec<Coding>,
    headers: HeaderMap,
}

/// What was found.
enum Answer {
    File(Response<Content>),
    /// A directory that was asked for like a file.
    Directory,
    Nothing,
}

impl Files {
    pub(crate) fn compile(settings: &Settings, _: &Route, cx: &Building<'_>) -> Result<Self, String> {
        let root = settings.root.as_path();
        Below::of(root, Wait::ForDisks)
            .map_err(|error| format!("`root`: the directory {}: {error}", root.display()))?;
        if let Some(file) = below_it(root, &cx.snapshot.referenced_files()) {
            return Err(format!(
                "`root`: {} lies in it, which the configuration names: everybody could read it; name a directory of its own",
                file.display()
            ));
        }
        if let Some(folder) = crate::handler::mcp::session::data_dir().filter(|folder| overlap(root, folder))
        {
            return Err(format!(
                "`root`: the gateway's own data is in {}, its secrets with it: everybody could read them; name a directory of its own, or another `--data-dir`",
                folder.display()
            ));
        }
        let wrong = |key: &str, error: http::header::InvalidHeaderValue| format!("`{key}`: {error}");
        let mut cache_control = Vec::new();
        for one in &settings.cache_control {
            let value = HeaderValue::from_str(&one.value).map_err(|error| wrong("cacheControl", error))?;
            cache_control.push((one.under.clone(), value));
        }
        let mut types = Vec::new();
        for (end, kind) in &settings.types {
            types.push((end.clone(), HeaderValue::from_str(kind).map_err(|error| wrong("types", error))?));
        }
        let most = settings.max_open as usize;
        let open = (*cx.keep("static/open", &most, || Arc::new(Semaphore::new(most)))).clone();
        let counts = cx.keep("static/counts", &(), Counts::default);
        let codings = settings.precompressed.iter().map(|coding| Coding::from(*coding)).collect();
        let (first, disk) = (at_first(root), Disk::of(root));
        let settings = settings.clone();
        Ok(Self(Arc::new(Shared { settings, codings, cache_control, types, first, disk, open, counts })))
    }

    /// The directory.
    fn root(&self) -> &Path {
        self.0.settings.root.as_path()
    }

    fn on_their_way(&self) -> usize {
        (self.0.settings.max_open as usize).saturating_sub(self.0.open.available_permits())
    }

    async fn handle(&self, call: &Call) -> Result<Response<Body>, Failure> {
        let is_head = call.head.method == Method::HEAD;
        if !is_head && call.head.method != Method::GET {
            return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
                .with_header(header::ALLOW, HeaderValue::from_static("GET, HEAD")));
        }
        let note = |outcome| self.0.counts.note(outcome);
        let Some((path, is_directory)) = self.0.path(call.path()) else {
            note(Outcome::Missing);
            return Err(nothing());
        };
        let all = &call.head.headers;
        let mut headers = HeaderMap::new();
        for name in &ASKED {
            for value in all.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let wish = Wish {
            path,
            is_directory,
            is_head,
            accepts_html: accepts_html(all),
            codings: liked(all, &self.0.codings),
            headers,
        };
        let Ok(open) = self.0.open.clone().try_acquire_owned() else {
            note(Outcome::Busy);
            return Err(busy("as many files are on their way as `maxOpen` allows"));
        };
        let looked = self.0.clone().find(wish).await;
        let outcome = outcome(&looked);
        note(outcome);
        match looked {
            Ok(Answer::File(response)) => Ok(response.map(|content| match content {
                Content::Nothing => Body::Empty,
                Content::Whole(bytes) => Body::Full(bytes),
                Content::Flow(file, pieces, wait) => {
                    let whose = (self.0.disk.clone(), self.0.counts.clone());
                    Body::boxed(Flow::of((file, pieces, wait), whose, open))
                }
            })),
            Ok(Answer::Directory) => redirect(call),
            Ok(Answer::Nothing) => Err(match self.0.vary() {
                Some(vary) => nothing().with_header(header::VARY, vary),
                None => nothing(),
            }),
            Err(error) if outcome == Outcome::Forbidden => Err(Failure::refused(Problem::Forbidden)
                .with_detail(format!("the gateway may not read it: {error}"))),
            Err(_) if outcome == Outcome::Slow => Err(busy("the disk does not answer")),
            Err(_) if outcome == Outcome::Busy => {
                Err(busy("the process has as many files open as it may (`ulimit -n`)"))
            }
            Err(error) => Err(Failure::gateway(Stage::Body, Problem::Internal)
                .with_detail(format!("below {}: {error}", self.root().display()))),
        }
    }
}

impl Answers for Files {
    fn serve<'a>(&'a self, _: &'a Rc<Worker>, call: &'a mut Call, _: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(call)))
    }

    fn explain(&self) -> String {
        format!("static {}", self.root().display())
    }
}

/// What became of a call by what was found for it.
fn outcome(looked: &io::Result<Answer>) -> Outcome {
    match looked {
        Ok(Answer::File(response)) if response.status() == StatusCode::NOT_FOUND => Outcome::Missing,
        Ok(Answer::File(_)) => Outcome::File,
        Ok(Answer::Directory) => Outcome::Directory,
        Ok(Answer::Nothing) => Outcome::Missing,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Outcome::Forbidden,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Outcome::Slow,
        // It passes as soon as others have closed theirs.
        Err(error)
            if [Errno::MFILE, Errno::NFILE]
                .iter()
                .any(|no| error.raw_os_error() == Some(no.raw_os_error())) =>
        {
            Outcome::Busy
        }
        Err(_) => Outcome::Failed,
    }
}

/// How files of a directory are looked for first: where they lie on this machine, in the system's memory.
fn at_first(root: &Path) -> Wait {
    #[cfg(target_os = "linux")]
    if let Some(device) = at_once::Device::local(root) {
        return Wait::Never(device);
    }
    let _ = root;
    Wait::ForDisks
}

/// A file of these that lies below a directory.
fn below_it(root: &Path, files: &[PathBuf]) -> Option<PathBuf> {
    let root = root.canonicalize().ok()?;
    let lies_in = |file: &&PathBuf| file.canonicalize().is_ok_and(|file| file.starts_with(&root));
    files.iter().find(lies_in).cloned()
}

/// Whether one of two directories lies in the other. One that is not there yet lies where its parent does.
fn overlap(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let real = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
        path.canonicalize().ok().or_else(real)
    };
    let (Some(one), Some(other)) = (place(one), place(other)) else { return false };
    one.starts_with(&other) || other.starts_with(&one)
}

fn busy(why: &str) -> Failure {
    Failure::gateway(Stage::Body, Problem::Unavailable).with_detail(why).with_retry_after(AGAIN)
}

fn nothing() -> Failure {
    Failure::client(Stage::Router, Problem::NoFile)
}

/// Sends a client from a directory's name to the directory, relative to where it asked, for paths may be rewritten.
fn redirect(call: &Call) -> Result<Response<Body>, Failure> {
    let (path, query) = (call.record.uri.path(), call.record.uri.query());
    let last = path.rsplit('/').next().unwrap_or_default();
    // It was rewritten, and would be again wherever this leads.
    if last.is_empty() {
        return Err(nothing());
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("./{last}/{query}")).map_err(|_| nothing())?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Whether a client wants a page, and not one of the things that pages are made of.
fn accepts_html(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|one| {
            let kind = one.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
        })
    })
}

/// The codings that a client takes, the one that it likes best first.
fn liked(headers: &HeaderMap, offered: &[Coding]) -> Vec<Coding> {
    let mut rest = offered.to_vec();
    let mut liked = Vec::with_capacity(rest.len());
    while let Some(best) = coding::choose(headers, &rest) {
        rest.retain(|coding| *coding != best);
        liked.push(best);
    }
    liked
}

impl Shared {
    /// The path below the root that a request's path means, and whether it ends with `/`.
    fn path(&self, path: &str) -> Option<(Vec<u8>, bool)> {
        let rest = match self.settings.strip_prefix.as_deref().filter(|prefix| *prefix != "/") {
            Some(prefix) => after_prefix(path, prefix)?,
            None => path,
        };
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let is_directory = path.ends_with('/');
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut found = Vec::with_capacity(rest.len());
        for step in rest.split('/').filter(|_| !rest.is_empty()) {
            let name: Vec<u8> = percent_encoding::percent_decode_str(step).collect();
            let is_hidden = name.starts_with(b".") && name != b".well-known" && !self.settings.hidden;
            if name.is_empty() || name == b"." || name == b".." || is_hidden || name.contains(&b'/') {
                return None;
            }
            if !found.is_empty() {
                found.push(b'/');
            }
            found.extend_from_slice(&name);
        }
        Some((found, is_directory))
    }

    /// Looks for what is wanted: where that need not be waited for, or by a thread that may wait, for a while.
    async fn find(self: Arc<Self>, wish: Wish) -> io::Result<Answer> {
        if let Some(looked) = self.look_at_once(&wish) {
            self.counts.read(How::AtOnce);
            return looked;
        }
        self.counts.read(How::Waiting);
        let disk = self.disk.clone();
        let looking = reading::waiting(disk, move || self.look(&wish, Wait::ForDisks));
        let hung = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer"));
        tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(hung)
    }

    /// Looks for what is wanted where that need not be waited for.
    fn look_at_once(&self, wish: &Wish) -> Option<io::Result<Answer>> {
        if self.first == Wait::ForDisks {
            return None;
        }
        let looked = self.look(wish, self.first);
        (!matches!(&looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)).then_some(looked)
    }

    /// Looks for what is wanted.
    fn look(&self, wish: &Wish, wait: Wait) -> io::Result<Answer> {
        let root = Below::of(self.settings.root.as_path(), wait)?;
        match root.open(&wish.path)? {
            Found::File(file, metadata) if !wish.is_directory => {
                return self.tell(&root, &wish.path, (file, metadata), StatusCode::OK, wish);
            }
            Found::Directory => {
                for name in &self.settings.index {
                    let mut path = wish.path.clone();
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name.as_bytes());
                    if let Found::File(file, metadata) = root.open(&path)? {
                        return match wish.is_directory {
                            true => self.tell(&root, &path, (file, metadata), StatusCode::OK, wish),
                            false => Ok(Answer::Directory),
                        };
                    }
                }
            }
            Found::File(..) | Found::Nothing => {}
        }
        let page = self.settings.spa_fallback.as_ref().filter(|_| wish.accepts_html);
        let instead = [(page, StatusCode::OK), (self.settings.not_found.as_ref(), StatusCode::NOT_FOUND)];
        for (name, status) in instead {
            let Some(name) = name.map(String::as_bytes) else { continue };
            if let Found::File(file, metadata) = root.open(name)? {
                return self.tell(&root, name, (file, metadata), status, wish);
            }
        }
        Ok(Answer::Nothing)
    }

    /// Answers with a file, in the form that the client likes best of those that are there.
    fn tell(
        &self,
        root: &Below<'_>,
        path: &[u8],
        (file, metadata): (std::fs::File, std::fs::Metadata),
        status: StatusCode,
        wish: &Wish,
    ) -> io::Result<Answer> {
        let mut form = Form { file, metadata, coding: None, kind: self.kind(path), wait: root.wait() };
        for coding in &wish.codings {
            let end: &[u8] = match coding {
                Coding::Gzip => b".gz",
                Coding::Brotli => b".br",
                Coding::Zstd => b".zst",
            };
            match root.open(&[path, end].concat()) {
                Ok(Found::File(file, metadata)) => {
                    form = Form { file, metadata, coding: Some(*coding), ..form };
                    break;
                }
                Ok(Found::Directory | Found::Nothing) => {}
                // A form that may not be read takes nothing from the file itself.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        let mut headers = HeaderMap::new();
        if let Some(vary) = self.vary() {
            headers.insert(header::VARY, vary);
        }
        if let Some(value) = self.cache_control(path).filter(|_| status == StatusCode::OK) {
            headers.insert(header::CACHE_CONTROL, value.clone());
        }
        let method = if wish.is_head { Method::HEAD } else { Method::GET };
        telling::tell(form, status, &method, &wish.headers, headers).map(Answer::File)
    }

    /// What decides about answers beside the path.
    fn vary(&self) -> Option<HeaderValue> {
        match (self.codings.is_empty(), self.settings.spa_fallback.is_some()) {
            (true, false) => None,
            (false, false) => Some(HeaderValue::from_static("accept-encoding")),
            (true, true) => Some(HeaderValue::from_static("accept")),
            (false, true) => Some(HeaderValue::from_static("accept, accept-encoding")),
        }
    }

    fn cache_control(&self, path: &[u8]) -> Option<&HeaderValue> {
        let is_under = |under: &str| {
            path.strip_prefix(under.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let fits = |under: &Option<String>| under.as_deref().is_none_or(is_under);
        self.cache_control.iter().find(|(under, _)| fits(under)).map(|(_, value)| value)
    }

    /// The media type of a name. Texts are UTF-8.
    fn kind(&self, path: &[u8]) -> HeaderValue {
        let name = Path::new(OsStr::from_bytes(path));
        let end = name.extension().and_then(OsStr::to_str).unwrap_or_default();
        if let Some((_, kind)) = self.types.iter().find(|(known, _)| known.eq_ignore_ascii_case(end)) {
            return kind.clone();
        }
        let kind = mime_guess::from_ext(end).first_raw().unwrap_or("application/octet-stream");
        let text = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind.to_owned() };
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn shared(more: &str) -> Shared {
        let settings = serde_json::from_str(&format!("{{\"root\": \"/\"{more}}}")).expect("settings");
        Shared {
            settings,
            codings: Vec::new(),
            cache_control: Vec::new(),
            types: Vec::new(),
            first: Wait::ForDisks,
            disk: reading::tests::disk(),
            open: Arc::new(Semaphore::new(1)),
            counts: Arc::default(),
        }
    }

    #[test]
    fn a_path_means_names_below_the_root_or_nothing() {
        let app = shared(", \"stripPrefix\": \"/app\"");
        for (path, want) in [
            ("/app", Some(("", false))),
            ("/app/", Some(("", true))),
            ("/app/a/b.js", Some(("a/b.js", false))),
            ("/app/a/", Some(("a", true))),
            ("/app/a%20b", Some(("a b", false))),
            ("/app/.well-known/x", Some((".well-known/x", false))),
            ("/application", None),
            ("/other/a", None),
            ("/app/.git/config", None),
            ("/app/%2egit", None),
            ("/app/a/%2e%2e/b", None),
            ("/app/a%2fb", None),
            ("/app//a", None),
            ("/app/a//", None),
        ] {
            let found = app.path(path);
            let found = found.as_ref().map(|(path, is)| (std::str::from_utf8(path).expect("a text"), *is));
            assert_eq!(found, want, "{path}");
        }
        let hidden = shared(", \"hidden\": true");
        assert_eq!(hidden.path("/.git/config"), Some((b".git/config".to_vec(), false)));
        assert_eq!(hidden.path("/.."), None);
        assert_eq!(hidden.path("/"), Some((Vec::new(), true)));
    }

    #[test]
    fn what_was_not_found_is_told_apart_by_why() {
        let of = |error: io::Error| outcome(&Err(error));
        assert_eq!(of(io::ErrorKind::PermissionDenied.into()), Outcome::Forbidden);
        assert_eq!(of(Errno::ACCESS.into()), Outcome::Forbidden);
        assert_eq!(of(Errno::IO.into()), Outcome::Failed);
        assert_eq!(of(Errno::MFILE.into()), Outcome::Busy);
        assert_eq!(outcome(&Ok(Answer::Nothing)), Outcome::Missing);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_is_given_up() {
        let files = Arc::new(shared(""));
        let gates: Vec<_> = (0..reading::OF_ONE_DISK).map(|_| std::sync::mpsc::channel::<()>()).collect();
        let mut held = Vec::new();
        let mut open = Vec::new();
        for (opens, gate) in gates {
            let mut waits = Box::pin(reading::waiting(files.disk.clone(), move || Ok(gate.recv().is_err())));
            assert!((&mut waits).now_or_never().is_none());
            held.push(waits);
            open.push(opens);
        }
        let wish = Wish {
            path: Vec::new(),
            is_directory: true,
            is_head: false,
            accepts_html: false,
            codings: Vec::new(),
            headers: HeaderMap::new(),
        };
        let began = tokio::time::Instant::now();
        let looked = files.clone().find(wish).await;
        assert_eq!(outcome(&looked), Outcome::Slow);
        assert!((PATIENCE..2 * PATIENCE).contains(&began.elapsed()), "{:?}", began.elapsed());
        // A file on its way is cut as well.
        let permit = files.open.clone().try_acquire_owned().expect("a place");
        let file = std::fs::File::open("/proc/self/stat").expect("a file");
        let content = (file, vec![flow::Piece::Span(0, 10)], Wait::ForDisks);
        let mut body = Flow::of(content, (files.disk.clone(), files.counts.clone()), permit);
        let frame = http_body_util::BodyExt::frame(&mut body).await.expect("a word");
        assert!(frame.is_err() && began.elapsed() > 2 * PATIENCE);
        drop(body);
        assert_eq!(files.open.available_permits(), 1, "others may come");
        drop(open);
        for one in held {
            assert!(one.await.expect("read"));
        }
    }

    proptest! {
        /// No path has a step that leads up, away or nowhere.
        #[test]
        fn no_step_leads_away(path in "(/|%2e|%2F|\\.|a|%00|%5c){0,12}", hidden in any::<bool>()) {
            let files = shared(&format!(", \"hidden\": {hidden}"));
            if let Some((path, _)) = files.path(&path)
                && !path.is_empty()
            {
                for step in path.split(|byte| *byte == b'/') {
                    prop_assert!(!step.is_empty() && step != b"." && step != b"..");
                    prop_assert!(hidden || !step.starts_with(b"."));
                }
            }
        }
    }
}
