;; A policy that changes requests: what is in the place of CODE runs before it lets a call go on.
(component
  (import "tidegate:plugin/types@0.1.0" (instance $types
    (type $f (tuple string string))
    (export "field" (type $field (eq $f)))
    (type $a (record (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
    (export "answer" (type $answer (eq $a)))
    (type $v (variant (case "next") (case "answer" $answer) (case "read-body")))
    (export "verdict" (type $verdict (eq $v)))))
  (alias export $types "verdict" (type $verdict))
  (import "tidegate:plugin/request@0.1.0" (instance $request
    (export "set-method" (func (param "method" string) (result (result (error string)))))
    (export "set-path" (func (param "path" string) (result (result (error string)))))
    (export "set-body" (func (param "body" (list u8)) (result (result (error string)))))))
  (core module $library
    (memory (export "memory") 1)
    (data (i32.const 128) "GETHEADPOST/a//b")
    (global $at (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $to i32)
      (local.set $to (global.get $at))
      (global.set $at (i32.add (local.get $to) (local.get 3)))
      (local.get $to)))
  (core instance $library (instantiate $library))
  (alias core export $library "memory" (core memory $memory))
  (alias core export $library "realloc" (core func $realloc))
  (core func $method (canon lower (func $request "set-method") (memory $memory) (realloc $realloc)))
  (core func $path (canon lower (func $request "set-path") (memory $memory) (realloc $realloc)))
  (core func $body (canon lower (func $request "set-body") (memory $memory) (realloc $realloc)))
  (core module $module
    (import "library" "memory" (memory 1))
    (import "world" "method" (func $method (param i32 i32 i32)))
    (import "world" "path" (func $path (param i32 i32 i32)))
    (import "world" "body" (func $body (param i32 i32 i32)))
    (func $get (call $method (i32.const 128) (i32.const 3) (i32.const 1024)))
    (func $head (call $method (i32.const 131) (i32.const 4) (i32.const 1024)))
    (func $post (call $method (i32.const 135) (i32.const 4) (i32.const 1024)))
    (func $wrong-path (call $path (i32.const 139) (i32.const 5) (i32.const 1024)))
    (func $new-body (call $body (i32.const 128) (i32.const 3) (i32.const 1024)))
    ;; Zeros at 64: it goes on.
    (func (export "next") (result i32) CODE (i32.const 64)))
  (core instance $instance (instantiate $module
    (with "library" (instance (export "memory" (memory $memory))))
    (with "world" (instance
      (export "method" (func $method)) (export "path" (func $path)) (export "body" (func $body))))))
  (func (export "on-request") (result $verdict)
    (canon lift (core func $instance "next") (memory $memory))))
