//! What is refused when it is loaded, and what the operator is told.

use wasm::{Component, Limits};

use super::world::{component, limits, on_request};

fn refused(bytes: &[u8], limits: &Limits, want: &str) {
    match Component::load(bytes, limits) {
        Ok(component) => panic!("{component:?}"),
        Err(error) => assert!(error.contains(want), "{error}\nexpected: {want}"),
    }
}

fn parsed(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_is_no_component_is_refused_with_what_to_do() {
    refused(b"", &limits(), "the file is empty");
    refused(b"#!/bin/sh", &limits(), "no WebAssembly");
    refused(&parsed("(module)"), &limits(), "wasm32-wasip2");
    refused(b"\0asm\x0d\0\x01\0\xff\xff", &limits(), "cannot be compiled");
    refused(&parsed("(component)"), &limits(), "exports none of");
    let whole = on_request("(call $next)");
    refused(&whole[..whole.len() / 2], &limits(), "cannot be compiled");
}

#[test]
fn an_import_that_nobody_has_is_refused_by_name() {
    for (import, want) in [
        ("other:world/thing@1.0.0", "`other:world/thing@1.0.0`"),
        ("tidegate:plugin/request@9.0.0", "`tidegate:plugin/request@9.0.0`"),
        ("wasi:io/poll@0.3.0", "`wasi:io/poll@0.3.0`"),
    ] {
        let text = format!("(component (import \"{import}\" (instance (export \"f\" (func)))))");
        refused(&parsed(&text), &limits(), want);
    }
}

#[test]
fn files_and_sockets_trap_only_when_they_are_used() {
    let text = r#"(component
      (import "wasi:io/error@0.2.6" (instance $error (export "error" (type (sub resource)))))
      (alias export $error "error" (type $e))
      (import "wasi:io/streams@0.2.6" (instance
        (alias outer 1 $e (type $e'))
        (export "error" (type (eq $e')))
        (export "output-stream" (type (sub resource)))))
      (import "wasi:http/types@0.2.6" (instance
        (alias outer 1 $e (type $e'))
        (export "io-error" (type (eq $e')))
        (export "fields" (type (sub resource)))))
      (import "wasi:sockets/network@0.2.3" (instance $network (export "network" (type (sub resource)))))
      (import "wasi:filesystem/types@0.2.0" (instance $files
        (export "descriptor" (type $d (sub resource)))
        (export "[method]descriptor.sync" (func (param "self" (borrow $d))))))
      (import "tidegate:plugin/types@0.1.0" (instance $types
        (type $f (tuple string string))
        (export "field" (type $field (eq $f)))
        (type $a (record (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
        (export "answer" (type $answer (eq $a)))))
      (alias export $types "answer" (type $answer))
      (core module $m (memory (export "memory") 1) (data (i32.const 16) "\c8\00") (func (export "f") (result i32) (i32.const 16)))
      (core instance $i (instantiate $m))
      (func (export "handle") (result $answer) (canon lift (core func $i "f") (memory (core memory $i "memory")))))"#;
    assert!(Component::load(&parsed(text), &limits()).expect("a component").handles());
}

#[test]
fn an_export_of_another_type_is_refused() {
    let text = r#"(component
      (core module $m (func (export "f") (result i32) (i32.const 1)))
      (core instance $i (instantiate $m))
      (func (export "on-request") (result u32) (canon lift (core func $i "f"))))"#;
    refused(&parsed(text), &limits(), "`on-request` is another function");
}

#[test]
fn what_does_not_start_within_its_bounds_is_refused() {
    let large = on_request("(call $next)");
    refused(&large, &Limits { memory: 1024, ..limits() }, "bytes of memory");
    let code =
        "(func $start (loop (br 0))) (start $start) (func (export \"on-request\") (result i32) (call $next))";
    let bounds = Limits { cpu: std::time::Duration::from_millis(20), ..limits() };
    refused(&component("on-request", code), &bounds, "does not start");
}
