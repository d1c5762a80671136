//! The world's types and a library of memory, in text, around the few instructions of a test.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method};
use wasm::{Answer, Component, Counters, Fetch, Level, Limits, Outside, Plugin, Subject, Uses};

/// The imports of the world, as types.
const IMPORTS: &str = r#"
  (import "tidegate:plugin/types@0.1.0" (instance $types
    (type $f (tuple string string))
    (export "field" (type $field (eq $f)))
    (type $a (record (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
    (export "answer" (type $answer (eq $a)))
    (type $v (variant (case "next") (case "answer" $answer) (case "read-body")))
    (export "verdict" (type $verdict (eq $v)))
    (type $o (record (field "method" string) (field "target" string) (field "headers" (list $field)) (field "body" (list u8))))
    (export "outgoing" (type $outgoing (eq $o)))))
  (alias export $types "answer" (type $answer))
  (alias export $types "verdict" (type $verdict))
  (alias export $types "outgoing" (type $outgoing))
  (import "tidegate:plugin/request@0.1.0" (instance $request
    (export "method" (func (result string)))
    (export "header" (func (param "name" string) (result (option string))))
    (export "set-header" (func (param "name" string) (param "value" string) (result (result (error string)))))
    (export "set-path" (func (param "path" string) (result (result (error string)))))
    (export "body" (func (result (option (list u8)))))
    (export "set-body" (func (param "body" (list u8)) (result (result (error string)))))))
  (import "tidegate:plugin/response@0.1.0" (instance $response
    (export "status" (func (result u16)))
    (export "set-status" (func (param "status" u16) (result (result (error string)))))
    (export "set-header" (func (param "name" string) (param "value" string) (result (result (error string)))))
    (export "body" (func (result (option (list u8)))))
    (export "set-body" (func (param "body" (list u8)) (result (result (error string)))))))
  (import "tidegate:plugin/host@0.1.0" (instance $host
    (type $l (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $l)))
    (export "config" (func (result string)))
    (export "log" (func (param "level" $level) (param "message" string)))
    (export "count" (func (param "name" string) (param "by" u64) (result (result u64 (error string)))))
    (export "random" (func (param "bytes" u32) (result (list u8))))))
  (import "tidegate:plugin/upstreams@0.1.0" (instance $upstreams
    (alias outer 1 $answer (type $answer'))
    (export "answer" (type $answer'' (eq $answer')))
    (alias outer 1 $outgoing (type $outgoing'))
    (export "outgoing" (type $outgoing'' (eq $outgoing')))
    (export "fetch" (func (param "upstream" string) (param "request" $outgoing'')
      (result (result $answer'' (error string)))))))
"#;

/// Memory with texts at fixed places, and what gives room in it.
const LIBRARY: &str = r#"
  (core module $library
    (memory (export "memory") 1)
    (data (i32.const 16) "x-seen")
    (data (i32.const 32) "yes")
    (data (i32.const 48) "/other")
    (data (i32.const 64) "authority")
    (data (i32.const 80) "new")
    (data (i32.const 96) "GET")
    (data (i32.const 112) "/check")
    (data (i32.const 128) "upgrade")
    (global $at (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $to i32)
      (local.set $to (i32.and
        (i32.add (global.get $at) (i32.sub (local.get 2) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get 2))))
      (global.set $at (i32.add (local.get $to) (local.get 3)))
      (local.get $to)))
  (core instance $library (instantiate $library))
  (alias core export $library "memory" (core memory $memory))
  (alias core export $library "realloc" (core func $realloc))
  (core func $r-header (canon lower (func $request "header") (memory $memory) (realloc $realloc)))
  (core func $r-set-header (canon lower (func $request "set-header") (memory $memory) (realloc $realloc)))
  (core func $r-set-path (canon lower (func $request "set-path") (memory $memory) (realloc $realloc)))
  (core func $r-body (canon lower (func $request "body") (memory $memory) (realloc $realloc)))
  (core func $r-set-body (canon lower (func $request "set-body") (memory $memory) (realloc $realloc)))
  (core func $a-status (canon lower (func $response "status")))
  (core func $a-set-status (canon lower (func $response "set-status") (memory $memory) (realloc $realloc)))
  (core func $a-body (canon lower (func $response "body") (memory $memory) (realloc $realloc)))
  (core func $a-set-body (canon lower (func $response "set-body") (memory $memory) (realloc $realloc)))
  (core func $config (canon lower (func $host "config") (memory $memory) (realloc $realloc)))
  (core func $log (canon lower (func $host "log") (memory $memory)))
  (core func $count (canon lower (func $host "count") (memory $memory) (realloc $realloc)))
  (core func $random (canon lower (func $host "random") (memory $memory) (realloc $realloc)))
  (core func $fetch (canon lower (func $upstreams "fetch") (memory $memory) (realloc $realloc)))
"#;

/// What the module of a test imports.
const FUNCTIONS: &str = r#"
    (import "library" "memory" (memory 1))
    (import "world" "header" (func $header (param i32 i32 i32)))
    (import "world" "set-header" (func $set-header (param i32 i32 i32 i32 i32)))
    (import "world" "set-path" (func $set-path (param i32 i32 i32)))
    (import "world" "body" (func $body (param i32)))
    (import "world" "set-body" (func $set-body (param i32 i32 i32)))
    (import "world" "status" (func $status (result i32)))
    (import "world" "set-status" (func $set-status (param i32 i32)))
    (import "world" "answer-body" (func $answer-body (param i32)))
    (import "world" "set-answer-body" (func $set-answer-body (param i32 i32 i32)))
    (import "world" "config" (func $config (param i32)))
    (import "world" "log" (func $log (param i32 i32 i32)))
    (import "world" "count" (func $count (param i32 i32 i64 i32)))
    (import "world" "random" (func $random (param i32 i32)))
    (import "world" "fetch" (func $fetch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    ;; Verdicts at fixed places: 1024 goes on, 1056 reads the body, 1088 answers with the status at 1092.
    (data (i32.const 1056) "\02")
    (data (i32.const 1088) "\01")
    (func $next (result i32) (i32.const 1024))
    (func $read-body (result i32) (i32.const 1056))
    (func $answer (param i32) (result i32)
      (i32.store16 (i32.const 1092) (local.get 0))
      (i32.const 1088))
"#;

/// A component that exports a function of the world; `code` defines it in a core module, under the same name.
pub(super) fn component(export: &str, code: &str) -> Vec<u8> {
    let kind = if export == "handle" { "$answer" } else { "$verdict" };
    let text = format!(
        r#"(component {IMPORTS} {LIBRARY}
  (core module $test {FUNCTIONS} {code})
  (core instance $test (instantiate $test
    (with "library" (instance (export "memory" (memory $memory))))
    (with "world" (instance
      (export "header" (func $r-header)) (export "set-header" (func $r-set-header))
      (export "set-path" (func $r-set-path))
      (export "body" (func $r-body)) (export "set-body" (func $r-set-body))
      (export "status" (func $a-status)) (export "set-status" (func $a-set-status))
      (export "answer-body" (func $a-body)) (export "set-answer-body" (func $a-set-body))
      (export "config" (func $config)) (export "log" (func $log)) (export "count" (func $count))
      (export "random" (func $random)) (export "fetch" (func $fetch))))))
  (func (export "{export}") (result {kind})
    (canon lift (core func $test "{export}") (memory $memory) (realloc $realloc))))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// A policy that sees requests with this code.
pub(super) fn on_request(code: &str) -> Vec<u8> {
    component("on-request", &format!("(func (export \"on-request\") (result i32) {code})"))
}

/// A handler that writes so many bytes to its output at once.
pub(super) fn writing(bytes: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
      (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
      (alias export $errors "error" (type $error))
      (import "wasi:io/streams@0.2.0" (instance $streams
        (export "output-stream" (type $o (sub resource)))
        (alias outer 1 $error (type $e'))
        (export "error" (type $e (eq $e')))
        (type $s (variant (case "last-operation-failed" (own $e)) (case "closed")))
        (export "stream-error" (type $failed (eq $s)))
        (export "[method]output-stream.write" (func (param "self" (borrow $o)) (param "contents" (list u8))
          (result (result (error $failed)))))))
      (alias export $streams "output-stream" (type $output))
      (import "wasi:cli/stdout@0.2.0" (instance $stdout
        (alias outer 1 $output (type $o'))
        (export "output-stream" (type $o (eq $o')))
        (export "get-stdout" (func (result (own $o))))))
      (import "tidegate:plugin/types@0.1.0" (instance $types
        (type $f (tuple string string))
        (export "field" (type $field (eq $f)))
        (type $a (record (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
        (export "answer" (type $answer (eq $a)))))
      (alias export $types "answer" (type $answer))
      (core module $library (memory (export "memory") 1))
      (core instance $library (instantiate $library))
      (alias core export $library "memory" (core memory $memory))
      (core func $get (canon lower (func $stdout "get-stdout")))
      (core func $write (canon lower (func $streams "[method]output-stream.write") (memory $memory)))
      (core module $m
        (import "library" "memory" (memory 1))
        (import "world" "get" (func $get (result i32)))
        (import "world" "write" (func $write (param i32 i32 i32 i32)))
        (data (i32.const 16) "\c8\00")
        (func (export "f") (result i32)
          (call $write (call $get) (i32.const 1024) (i32.const {bytes}) (i32.const 64))
          (i32.const 16)))
      (core instance $i (instantiate $m
        (with "library" (instance (export "memory" (memory $memory))))
        (with "world" (instance (export "get" (func $get)) (export "write" (func $write))))))
      (func (export "handle") (result $answer) (canon lift (core func $i "f") (memory $memory))))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// Bounds that no test meets by chance.
pub(super) fn limits() -> Limits {
    Limits {
        memory: 4 << 20,
        cpu: Duration::from_secs(5),
        time: Duration::from_secs(20),
        fetches: 2,
        instances: 4,
        reuse: 1000,
    }
}

/// A plugin of a component, with all that its log gets.
pub(super) struct Tried {
    pub(super) plugin: Plugin,
    pub(super) counters: Arc<Counters>,
    pub(super) lines: Arc<Mutex<Vec<(Level, String)>>>,
}

pub(super) fn plugin(bytes: &[u8], limits: Limits) -> Tried {
    let component = Component::load(bytes, &limits).unwrap_or_else(|error| panic!("{error}"));
    let (counters, lines) = (Arc::new(Counters::default()), Arc::new(Mutex::new(Vec::new())));
    let written = lines.clone();
    let uses = Uses {
        config: r#"{"a":1}"#.into(),
        upstreams: ["authority".into()].into(),
        counters: counters.clone(),
        log: Arc::new(move |level, line| written.lock().expect("lines").push((level, line.to_owned()))),
    };
    Tried { plugin: Plugin::new(Arc::new(component), limits, uses), counters, lines }
}

/// A request with a header.
pub(super) fn subject() -> Subject {
    let mut subject = Subject::default();
    subject.request.method = Method::POST;
    subject.request.uri = "/a/b?c=d".parse().expect("a target");
    subject.request.headers = HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from_static("*/*"))]);
    subject
}

/// Upstreams that answer, and note what they were asked.
#[derive(Default)]
pub(super) struct World {
    pub(super) asked: Vec<Fetch>,
    /// Never answers.
    pub(super) hangs: bool,
}

impl Outside for World {
    async fn fetch(&mut self, fetch: Fetch) -> Result<Answer, String> {
        self.asked.push(fetch);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Ok(Answer { status: 200, headers: Vec::new(), body: b"fine".to_vec() })
    }
}

/// Runs a future as a worker does.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(future)
}
