;; A component that answers, judges requests and judges answers; what is in the place of CODE runs before each of the three.
(component
  (import "tidegate:plugin/types@0.1.0" (instance $types
    (type $f (tuple string string))
    (export "field" (type $field (eq $f)))
    (type $a (record (field "status" u16) (field "headers" (list $field)) (field "body" (list u8))))
    (export "answer" (type $answer (eq $a)))
    (type $v (variant (case "next") (case "answer" $answer) (case "read-body")))
    (export "verdict" (type $verdict (eq $v)))))
  (alias export $types "answer" (type $answer))
  (alias export $types "verdict" (type $verdict))
  (core module $module
    (memory (export "memory") 1)
    ;; An answer with status 200, and a verdict that lets a call go on.
    (data (i32.const 16) "\c8\00")
    (func $code CODE)
    (func (export "answer") (result i32) (call $code) (i32.const 16))
    (func (export "next") (result i32) (call $code) (i32.const 64)))
  (core instance $instance (instantiate $module))
  (func (export "handle") (result $answer)
    (canon lift (core func $instance "answer") (memory (core memory $instance "memory"))))
  (func (export "on-request") (result $verdict)
    (canon lift (core func $instance "next") (memory (core memory $instance "memory"))))
  (func (export "on-response") (result $verdict)
    (canon lift (core func $instance "next") (memory (core memory $instance "memory")))))
