//! Programs of jq: compiled when a snapshot is built, and bounded when they run.
//!
//! jq can loop for ever, and the interpreter (jaq) has no bound of its own. So a program is [rewritten](rewrite) before it
//! is compiled: wherever it may go round, a step is counted, and the program is halted when it has no more. Definitions
//! that call themselves are refused, because each of their rounds would take the stack of a worker; so is what reads the
//! process (`env`, `input`, `debug`, `halt`).

mod rewrite;
mod value;

use std::cell::Cell;

use jaq_core::{
    Ctx, Exn, Native, Vars,
    data::JustLut,
    load::{Arena, Error, File, Loader, parse::Def},
    native,
};
use jaq_json::Val;
use serde_json::Value;

/// Bytes of a program.
const PROGRAM_BYTES_MAX: usize = 16 * 1024;
/// Brackets that may be open at one place, so that the parser's recursion is bounded.
const OPEN_BRACKETS_MAX: usize = 64;
/// Arrays and objects that a program may make in places that feed themselves: each might lie in the one before, and
/// depth is recursion when it is dropped.
const NESTINGS_MAX: u64 = 4_000;
/// Bytes of a text, and items of a list, that a program may add up or multiply to.
const VALUE_SIZE_MAX: usize = 16 * 1024 * 1024;

/// The program within what surrounds it.
const MAIN: &str = "tidegate_main";

type Data = JustLut<Val>;

/// A compiled program.
pub(crate) struct Jq {
    filter: jaq_core::Filter<Data>,
    steps: u64,
}

/// Why a program gave no value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// It has taken all its steps.
    #[error("it took more steps than `maxSteps` allows, or made a value that is too large")]
    Steps,
    /// It failed with an error of its own.
    #[error("{0}")]
    Failed(String),
    /// It gave no value, or several.
    #[error("it gave {0}, and one value is expected")]
    Count(&'static str),
    /// Its value is none of JSON.
    #[error("its value is no JSON: {0}")]
    NotJson(&'static str),
    /// Its value has no room.
    #[error("its value is too large")]
    TooLarge,
}

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static NESTING_COST: Cell<u64> = const { Cell::new(1) };
}

/// Takes steps; halts when there are none left.
fn take<'a>(count: u64) -> Result<(), Exn<'a, Val>> {
    STEPS.with(|steps| match steps.get().checked_sub(count) {
        Some(left) => {
            steps.set(left);
            Ok(())
        }
        None => {
            steps.set(0);
            Err(Exn::halt(1))
        }
    })
}

fn one<'a, T: 'a>(value: T) -> Box<dyn Iterator<Item = T> + 'a> {
    Box::new(std::iter::once(value))
}

/// A filter that gives its input, and takes steps: also where a path is looked for.
macro_rules! counted {
    ($count:expr) => {
        Native::<Data>::new(|cv| one(take($count).map(|()| cv.1)))
            .with_paths(|cv| one(take($count).map(|()| cv.1)))
            .with_update(|cv, update| match take($count) {
                Ok(()) => update(cv.1),
                Err(halt) => one(Err(halt)),
            })
    };
}

/// How large a value is in the way that adding and multiplying make larger.
fn size(value: &Val) -> usize {
    match value {
        Val::TStr(text) | Val::BStr(text) => text.len(),
        Val::Arr(items) => items.len(),
        _ => 0,
    }
}

fn natives() -> Vec<native::Fun<Data>> {
    let two = native::v(2);
    vec![
        (rewrite::STEP, native::v(0), counted!(1)),
        (rewrite::NEST, native::v(0), counted!(NESTING_COST.with(Cell::get))),
        (
            rewrite::PLUS,
            two.clone(),
            Native::new(|mut cv| {
                let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
                if size(&left) + size(&right) > VALUE_SIZE_MAX {
                    return one(Err(Exn::halt(1)));
                }
                native::bome(left + right)
            }),
        ),
        (
            rewrite::TIMES,
            two,
            Native::new(|mut cv| {
                let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
                let times = |text: &Val, count: &Val| match count {
                    Val::Num(count) => {
                        count.to_string().parse::<f64>().unwrap_or(f64::MAX) * size(text) as f64
                    }
                    _ => 0.0,
                };
                if times(&left, &right).max(times(&right, &left)) > VALUE_SIZE_MAX as f64 {
                    return one(Err(Exn::halt(1)));
                }
                native::bome(left * right)
            }),
        ),
    ]
}

/// What reads or ends the process, or has its clock and zone.
const LEFT_OUT: [&str; 12] = [
    "env",
    "halt",
    "halt_error",
    "debug",
    "stderr",
    "debug_empty",
    "stderr_empty",
    "input",
    "inputs",
    "localtime",
    "strflocaltime",
    "input_filename",
];

impl Jq {
    /// Compiles a program whose variables have these names, `$` included.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn compile(program: &str, variables: &[&'static str], steps: u32) -> Result<Self, String> {
        if program.len() > PROGRAM_BYTES_MAX {
            return Err(format!("the program is longer than {PROGRAM_BYTES_MAX} bytes"));
        }
        let mut open = 0_usize;
        for byte in program.bytes() {
            match byte {
                b'(' | b'[' | b'{' => open += 1,
                b')' | b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > OPEN_BRACKETS_MAX {
                return Err(format!("more than {OPEN_BRACKETS_MAX} brackets are open at one place"));
            }
        }
        let arena = Arena::default();
        // For its errors; what it reads is kept to itself.
        Loader::new([])
            .load(&arena, File { code: program, path: () })
            .map_err(|errors| read_error(&errors, program))?;
        let term = jaq_core::load::parse(program, |parser| parser.term());
        let term = term.ok_or("it has modules, and a program here is one filter")?;
        rewrite::refuse_recursion(&term, &mut Vec::new())?;
        let body = rewrite::bounded(term)?;
        let main = Def { name: MAIN, args: variables.to_vec(), body };
        let library = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let library = library
            .filter(|known| !LEFT_OUT.contains(&known.name))
            .map(|known| Def { body: rewrite::measured(known.body), ..known });
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = funs.filter(|known| !LEFT_OUT.contains(&known.0)).chain(natives());
        let call = match variables {
            [] => MAIN.to_owned(),
            variables => format!("{MAIN}({})", variables.join("; ")),
        };
        let modules = Loader::new(library.chain([main])).load(&arena, File { code: &*call, path: () });
        let modules = modules.map_err(|errors| read_error(&errors, &call))?;
        let compiler =
            jaq_core::Compiler::default().with_funs(funs).with_global_vars(variables.iter().copied());
        let filter = compiler.compile(modules).map_err(|errors| {
            let unknown = errors
                .iter()
                .flat_map(|(_, errors)| errors)
                .map(|(name, kind)| format!("there is no {} `{name}`{}", kind.as_str(), left_out(name)));
            unknown.collect::<Vec<_>>().join("; ")
        })?;
        Ok(Self { filter, steps: u64::from(steps) })
    }

    /// Runs it, and writes its one value as JSON.
    pub(crate) fn run(
        &self,
        input: &Value,
        variables: &[&Value],
        bytes_max: usize,
    ) -> Result<Vec<u8>, Stopped> {
        STEPS.set(self.steps);
        NESTING_COST.set((self.steps / NESTINGS_MAX).max(1));
        let variables = variables.iter().map(|value| value::read(value));
        let ctx = Ctx::<Data>::new(&self.filter.lut, Vars::new(variables));
        let mut values = self.filter.id.run((ctx, value::read(input)));
        let first = values.next().ok_or(Stopped::Count("nothing"))?.map_err(stopped)?;
        match values.next() {
            None => {}
            Some(Ok(_)) => return Err(Stopped::Count("several values")),
            Some(Err(exn)) => return Err(stopped(exn)),
        }
        value::write(&first, bytes_max)
    }
}

fn left_out(name: &str) -> &'static str {
    match LEFT_OUT.contains(&name) {
        true => ": programs here know nothing of the process",
        false => "",
    }
}

fn stopped(exn: Exn<'_, Val>) -> Stopped {
    match exn.get_err() {
        // Whatever it holds of the answers is for the log alone.
        Ok(error) => Stopped::Failed(error.to_string().chars().take(400).collect()),
        Err(_) => Stopped::Steps,
    }
}

fn read_error(errors: &[(File<&str, ()>, Error<&str>)], program: &str) -> String {
    let place = |found: &str| {
        let begin = jaq_core::load::span(program, found).start;
        program.get(..begin).map_or(0, |before| before.chars().count()) + 1
    };
    let all = errors.iter().flat_map(|(_, error)| match error {
        Error::Io(errors) => {
            errors.iter().map(|(path, _)| format!("`{path}`: there are no modules")).collect()
        }
        Error::Lex(errors) => errors
            .iter()
            .map(|(expected, found)| format!("character {}: expected {}", place(found), expected.as_str()))
            .collect(),
        Error::Parse(errors) => errors
            .iter()
            .map(|(expected, found)| format!("character {}: expected {}", place(found), expected.as_str()))
            .collect::<Vec<_>>(),
    });
    all.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(program: &str, input: &Value) -> Result<String, String> {
        let jq = Jq::compile(program, &["$request", "$degraded"], 100_000)?;
        let variables = [&json!({"query": {"q": "ä"}}), &json!([])];
        let bytes = jq.run(input, &variables, 64 * 1024).map_err(|stopped| stopped.to_string())?;
        Ok(String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn programs_shape_values() {
        let input = json!({"a": [{"n": 2, "s": "x"}, {"n": 1, "s": "ü"}], "big": 12345678901234567_u64, "none": null});
        for (program, want) in [
            (".a | map(.n) | add", "3"),
            ("{total: ([.a[].n] | add), first: .a[0].s}", r#"{"total":3,"first":"x"}"#),
            (".a | sort_by(.n) | map(.s)", r#"["ü","x"]"#),
            ("[.a[] | select(.n > 1)]", r#"[{"n":2,"s":"x"}]"#),
            ("reduce .a[] as $x ({}; . + {($x.s): $x.n})", r#"{"x":2,"ü":1}"#),
            ("def double($x): $x * 2; [.a[].n | double(.)]", "[4,2]"),
            ("$request.query.q", "\"ä\""),
            (".big", "12345678901234567"),
            ("\"\\(.a[0].s)-\\(.a[1].s)\"", "\"x-ü\""),
            (".a[0].n += 5 | .a[0].n", "7"),
            (".a | group_by(.n) | length", "2"),
            ("[.a[].s | test(\"x\")]", "[true,false]"),
            ("[limit(3; repeat(\"x\"))]", r#"["x","x","x"]"#),
            ("try error(\"no\") catch .", "\"no\""),
            ("[.. | numbers] | length", "3"),
            ("del(.a) | keys", r#"["big","none"]"#),
            ("{a, $degraded}", r#"{"a":[{"n":2,"s":"x"},{"n":1,"s":"ü"}],"degraded":[]}"#),
            ("[.a[] as {$n, $s} | \"\\($s)\\($n)\"]", r#"["x2","ü1"]"#),
            ("1 as $x | 2 as $y | [$x, $y, $__loc__?]", ""),
        ] {
            if want.is_empty() {
                assert!(run(program, &input).is_err(), "{program}");
                continue;
            }
            assert_eq!(run(program, &input).as_deref(), Ok(want), "{program}");
        }
    }

    #[test]
    fn what_would_go_on_for_ever_is_halted() {
        let begun = std::time::Instant::now();
        for program in [
            "[range(0; infinite)]",
            "last(range(0; infinite))",
            "[repeat(1)]",
            "repeat(empty)",
            "until(false; .)",
            "last(recurse(1))",
            "try [repeat(1)] catch 1",
            "if range(0; infinite) then empty else empty end",
            "range(0; infinite) and empty",
            "range(0; infinite) + empty",
            "(range(0; infinite) | false) // 1",
            "{a: range(0; infinite), b: empty}",
            "\"\\(range(0; infinite))\\(empty)\"",
            ".[range(0; infinite) | tostring][empty]",
            "reduce range(0; infinite) as $x (0; . + 1)",
            "reduce range(0; 60) as $x (\"ab\"; . + .)",
            "\"x\" * 1000000000000000000",
            "reduce range(0; infinite) as $x (0; [.])",
            "last(recurse([.]))",
            "isempty(range(0; infinite) | empty)",
            "path(repeat(.))",
        ] {
            let told = run(program, &json!({"a": 1})).expect_err(program);
            assert!(told.contains("steps") || told.contains("several"), "{program}: {told}");
        }
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }

    #[test]
    fn what_is_no_program_is_refused_and_told() {
        for (program, want) in [
            (".a |", "expected"),
            ("foo", "there is no filter `foo`"),
            ("$nothing", "there is no variable `$nothing`"),
            ("env", "programs here know nothing of the process"),
            ("input", "there is no filter `input`"),
            ("def f: 1 + f; f", "`f` calls itself"),
            ("def f(x): def g: f(x); g; f(1)", "`f` calls itself"),
            ("import \"a\" as a; a::b", ""),
        ] {
            let error = Jq::compile(program, &["$request", "$degraded"], 100).err().unwrap_or_default();
            assert!(!error.is_empty() && error.contains(want), "{program}: {error}");
        }
    }

    #[test]
    fn what_is_no_one_json_value_is_an_error() {
        for (program, want) in [
            ("empty", "nothing"),
            ("1, 2", "several values"),
            ("{(\"a\", \"b\"): 1}", "several values"),
            (".a.b", "cannot"),
            ("\"x\" * 70000", "too large"),
        ] {
            let told = run(program, &json!({"a": 1})).expect_err(program);
            assert!(told.contains(want), "{program}: {told}");
        }
    }
}
