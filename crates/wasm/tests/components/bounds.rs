//! Components that trap, compute or wait without an end, want too much memory, or are too many.

use std::{
    cell::Cell,
    rc::Rc,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use wasm::{Limits, Stopped, Verdict};

use super::world::{World, component, limits, on_request, plugin, run, subject, writing};

#[test]
fn a_trap_ends_its_own_call_alone() {
    // The second call of an instance traps.
    let code = "(global $n (mut i32) (i32.const 0)) (func (export \"on-request\") (result i32)
      (global.set $n (i32.add (global.get $n) (i32.const 1)))
      (if (i32.eq (global.get $n) (i32.const 2)) (then (unreachable))) (call $next))";
    let tried = plugin(&component("on-request", code), limits());
    let outcomes: Vec<bool> = (0..6)
        .map(|_| {
            let (subject, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
            assert_eq!(subject.request.headers["accept"], "*/*", "the head comes back all the same");
            if let Err(stopped) = &said {
                assert!(matches!(stopped, Stopped::Trapped(why) if why.contains("unreachable")), "{stopped}");
            }
            said.is_ok()
        })
        .collect();
    assert_eq!(outcomes, [true, false, true, false, true, false], "a trapped instance is not used again");
    assert_eq!(tried.plugin.instances().load(Ordering::Relaxed), 0);
}

#[test]
fn a_loop_without_an_end_is_stopped_and_lets_others_run() {
    let tried = plugin(
        &on_request("(loop (br 0)) (call $next)"),
        Limits { cpu: Duration::from_millis(60), ..limits() },
    );
    run(async {
        let (turns, is_over) = (Cell::new(0), Cell::new(false));
        let others = async {
            while !is_over.get() {
                turns.set(turns.get() + 1);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let looping = async {
            let started = Instant::now();
            let (_, said) = tried.plugin.on_request(subject(), &mut World::default()).await;
            is_over.set(true);
            (said, started.elapsed())
        };
        let ((), (said, took)) = tokio::join!(others, looping);
        assert_eq!(said, Err(Stopped::Cpu(Duration::from_millis(60))));
        assert!(took >= Duration::from_millis(30) && took < Duration::from_secs(10), "{took:?}");
        assert!(turns.get() >= 5, "others had {} turns", turns.get());
    });
}

#[test]
fn who_computes_lets_the_worker_look_at_its_timers_at_every_tick() {
    let tried = plugin(
        &on_request("(loop (br 0)) (call $next)"),
        Limits { cpu: Duration::from_millis(300), ..limits() },
    );
    let local = tokio::task::LocalSet::new();
    run(local.run_until(async {
        let turns = Rc::new(Cell::new(0));
        let counted = turns.clone();
        // A task of its own, as another call of the worker is.
        let others = tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                counted.set(counted.get() + 1);
            }
        });
        let looping = tokio::task::spawn_local(async move {
            let started = Instant::now();
            let (_, said) = tried.plugin.on_request(subject(), &mut World::default()).await;
            (said, started.elapsed())
        });
        let (said, took) = looping.await.expect("no panic");
        others.abort();
        assert_eq!(said, Err(Stopped::Cpu(Duration::from_millis(300))));
        // A tick and a pause are three milliseconds; a machine that is busy has ticks that are longer.
        let least = took.as_millis() / 30;
        assert!(turns.get() >= least, "another had {} turns in {took:?}", turns.get());
    }));
}

#[test]
fn more_output_than_was_granted_stops_it() {
    for (bytes, is_fine) in [(4_096, true), (4_097, false)] {
        let tried = plugin(&writing(bytes), limits());
        let (_, said) = run(tried.plugin.handle(subject(), &mut World::default()));
        match is_fine {
            true => assert_eq!(said.map(|answer| answer.status), Ok(200)),
            false => assert!(matches!(&said, Err(Stopped::Wrong(why)) if why.contains("4096")), "{said:?}"),
        }
    }
}

#[test]
fn what_waits_too_long_is_stopped() {
    let code =
        "(call $fetch (i32.const 64) (i32.const 9) (i32.const 96) (i32.const 3) (i32.const 112) (i32.const 6)
        (i32.const 0) (i32.const 0) (i32.const 80) (i32.const 3) (i32.const 2048)) (call $next)";
    let tried = plugin(&on_request(code), Limits { time: Duration::from_millis(50), ..limits() });
    let (mut world, started) = (World { hangs: true, ..World::default() }, Instant::now());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut world));
    assert_eq!(said, Err(Stopped::Time(Duration::from_millis(50))));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    assert_eq!(said, Ok(Verdict::Next), "the next call has an instance of its own");
}

#[test]
fn what_wants_too_much_memory_is_stopped() {
    let tried = plugin(&on_request("(drop (memory.grow (i32.const 1000))) (call $next)"), limits());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    assert_eq!(said, Err(Stopped::Memory(4 << 20)));
    let tried = plugin(&on_request("(drop (memory.grow (i32.const 10))) (call $next)"), limits());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    assert_eq!(said, Ok(Verdict::Next), "within its bound it may grow");
}

#[test]
fn recursion_without_an_end_is_a_trap() {
    let code = "(func $deep (param i64) (result i64) (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (i64.const 1)))
      (func (export \"on-request\") (result i32) (drop (call $deep (i64.const 0))) (call $next))";
    let tried = plugin(&component("on-request", code), limits());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    assert!(matches!(&said, Err(Stopped::Trapped(why)) if why.contains("stack")), "{said:?}");
}

#[test]
fn more_random_bytes_than_there_are_at_a_time_stop_it() {
    let tried =
        plugin(&on_request("(call $random (i32.const 65537) (i32.const 2048)) (call $next)"), limits());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    assert!(matches!(&said, Err(Stopped::Wrong(_))), "{said:?}");
}

#[test]
fn lines_of_the_log_are_bounded_for_each_call() {
    let code = "(local $n i32) (loop (call $log (i32.const 0) (i32.const 16) (i32.const 6))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get $n) (i32.const 1000)))) (call $next)";
    let tried = plugin(&on_request(code), limits());
    for calls in 1..3 {
        let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
        assert_eq!(said, Ok(Verdict::Next));
        assert_eq!(tried.lines.lock().expect("lines").len(), calls * 100);
    }
}

#[test]
fn instances_are_so_many_and_come_back() {
    let code =
        "(call $fetch (i32.const 64) (i32.const 9) (i32.const 96) (i32.const 3) (i32.const 112) (i32.const 6)
        (i32.const 0) (i32.const 0) (i32.const 80) (i32.const 3) (i32.const 2048)) (call $next)";
    let tried = plugin(&on_request(code), Limits { instances: 2, ..limits() });
    run(async {
        let mut worlds = [(); 2].map(|()| World { hangs: true, ..World::default() });
        let [one, two] = &mut worlds;
        let mut first = Box::pin(tried.plugin.on_request(subject(), one));
        let mut second = Box::pin(tried.plugin.on_request(subject(), two));
        for call in [&mut first, &mut second] {
            let tried = tokio::time::timeout(Duration::from_millis(20), call).await;
            assert!(tried.is_err(), "it waits for its upstream");
        }
        let (_, said) = tried.plugin.on_request(subject(), &mut World::default()).await;
        assert_eq!(said, Err(Stopped::Full));
        // Whoever gives up a call gives its instance back, but not for others to use.
        drop(first);
        assert_eq!(tried.plugin.instances().load(Ordering::Relaxed), 1);
        let (_, said) = tried.plugin.on_request(subject(), &mut World::default()).await;
        assert_eq!(said, Ok(Verdict::Next));
        drop(second);
    });
}

#[test]
fn an_answer_larger_than_the_memory_that_it_lies_in_is_a_trap() {
    // 1,000 fields at 8192, all of them with the same 28,784 zeros as their values: 28 MB out of one page of memory.
    let code = "(local $at i32) (local.set $at (i32.const 8192))
      (loop
        (i32.store offset=8 (local.get $at) (i32.const 30000))
        (i32.store offset=12 (local.get $at) (i32.const 28784))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br_if 0 (i32.lt_u (local.get $at) (i32.const 24192))))
      (i32.store (i32.const 1096) (i32.const 8192)) (i32.store (i32.const 1100) (i32.const 1000))
      (call $answer (i32.const 200))";
    let tried = plugin(&on_request(code), limits());
    let (_, said) = run(tried.plugin.on_request(subject(), &mut World::default()));
    assert!(matches!(&said, Err(Stopped::Trapped(_))), "{said:?}");
}
