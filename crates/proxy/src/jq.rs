//! Programs of jq: compiled when a snapshot is built, and bounded when they run.
//!
//! jq can loop for ever, and the interpreter (jaq) has no bound of its own. So a program is [rewritten](rewrite) before it
//! is compiled: wherever it may go round, a step is counted, and the program is halted when it has no more. Definitions
//! that call themselves are refused, because each of their rounds would take the stack of a worker; so is what reads the
//! process (`env`, `input`, `debug`, `halt`).

mod charge;
mod natives;
mod pool;
mod regex;
mod rewrite;
mod value;

use std::{fmt::Write, sync::Arc, time::Instant};

use jaq_core::{
    Ctx, Exn, Vars,
    data::JustLut,
    load::{Arena, Error, File, Loader, parse::Def},
};
use jaq_json::Val;
use serde_json::Value;

use self::charge::{OUT_OF_TIME, TOO_LARGE};
pub(crate) use self::value::nodes;

/// Bytes of a program.
const PROGRAM_BYTES_MAX: usize = 16 * 1024;
/// Brackets that may be open at one place, so that the parser's recursion is bounded.
const OPEN_BRACKETS_MAX: usize = 64;
/// Arrays and objects that a program may make in places that feed themselves: each might lie in the one before, and
/// depth is recursion when it is looked at and dropped.
const NESTINGS_MAX: u64 = 4_000;

/// The program within what surrounds it.
const MAIN: &str = "tidegate_main";

type Data = JustLut<Val>;

/// A compiled program.
pub(crate) struct Jq {
    program: Arc<Program>,
    /// Whether it asks for its first variable, and for the member `body` of it.
    pub(crate) asks: (bool, bool),
}

struct Program {
    filter: jaq_core::Filter<Data>,
    steps: u64,
}

/// Why a program gave no value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// It has taken all its steps.
    #[error("it took more steps than `maxSteps` allows")]
    Steps,
    /// It made more than there is room for.
    #[error("it made more bytes than a program may, or one value that is larger than 16 MiB")]
    Made,
    /// Its time is over.
    #[error("it did not end in its time")]
    Time,
    /// Programs wait for a thread already.
    #[error("too many other programs wait to be run")]
    Full,
    /// The interpreter broke.
    #[error("the interpreter broke")]
    Broke,
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

/// Runs other work that takes long on the threads that programs have. An error says why it was not run.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, &'static str> {
    pool::run(work).await.map_err(|unrun| match unrun {
        pool::Unrun::Full => "too many others wait for a thread",
        pool::Unrun::Late => "it did not end in its time",
        pool::Unrun::Broke => "it broke",
    })
}

/// The same until a time.
pub(crate) async fn aside_until<T: Send + 'static>(
    until: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopped> {
    pool::run_until(until, work).await.map_err(|unrun| match unrun {
        pool::Unrun::Full => Stopped::Full,
        pool::Unrun::Late => Stopped::Time,
        pool::Unrun::Broke => Stopped::Broke,
    })
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
        let asks = rewrite::asks(&term, variables.first().copied().unwrap_or_default(), "body");
        let body = rewrite::bounded(term);
        let main = Def { name: MAIN, args: variables.to_vec(), body };
        let library = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let library = library
            .filter(|known| !LEFT_OUT.contains(&known.name))
            .filter(|known| !natives::REPLACED.contains(&(known.name, known.args.len())));
        let library = natives::definitions().into_iter().chain(library);
        let library = library.map(|known| Def { body: rewrite::measured(known.body), ..known });
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = funs.filter(|known| !LEFT_OUT.contains(&known.0) && !natives::OWN.contains(&known.0));
        let funs = funs.map(natives::renamed).chain(natives::natives());
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
        Ok(Self { program: Arc::new(Program { filter, steps: u64::from(steps) }), asks })
    }

    /// Runs it on a thread of its kind until a time, and writes its one value as JSON. Members are those of its input.
    pub(crate) async fn run(
        &self,
        members: Vec<(Arc<str>, Option<Arc<Value>>)>,
        variables: Vec<Value>,
        bytes_max: usize,
        until: Instant,
    ) -> Result<Vec<u8>, Stopped> {
        let program = self.program.clone();
        aside_until(until, move || {
            let members = members.iter().map(|(name, value)| (&**name, value.as_deref()));
            program.run(|| value::object(members), &variables, bytes_max, until)
        })
        .await?
    }

    /// The same over a value of any kind.
    pub(crate) async fn run_on(
        &self,
        input: Value,
        variables: Vec<Value>,
        bytes_max: usize,
        until: Instant,
    ) -> Result<Vec<u8>, Stopped> {
        let program = self.program.clone();
        aside_until(until, move || program.run(|| value::read(&input), &variables, bytes_max, until)).await?
    }
}

impl Program {
    fn run(
        &self,
        input: impl FnOnce() -> Val,
        variables: &[Value],
        bytes_max: usize,
        until: Instant,
    ) -> Result<Vec<u8>, Stopped> {
        charge::open(self.steps, NESTINGS_MAX, until);
        charge::look().map_err(stopped)?;
        let ctx = Ctx::<Data>::new(&self.filter.lut, Vars::new(variables.iter().map(value::read)));
        let mut values = self.filter.id.run((ctx, input()));
        let first = values.next().ok_or(Stopped::Count("nothing"))?.map_err(stopped)?;
        match values.next() {
            None => {}
            Some(Ok(_)) => return Err(Stopped::Count("several values")),
            Some(Err(exn)) => return Err(stopped(exn)),
        }
        value::write(&first, bytes_max)
    }
}

/// The first characters of what is told; the rest is not even made.
struct Beginning(String);

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let left = 400_usize.saturating_sub(self.0.len());
        self.0.extend(text.chars().take(left));
        if text.len() > left { Err(std::fmt::Error) } else { Ok(()) }
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
        Ok(error) => {
            let mut told = Beginning(String::new());
            // It ends where it is long enough.
            let _ = write!(told, "{error}");
            Stopped::Failed(told.0)
        }
        Err(exn) => match exn.get_halt() {
            Ok(TOO_LARGE) => Stopped::Made,
            Ok(OUT_OF_TIME) => Stopped::Time,
            _ => Stopped::Steps,
        },
    }
}

fn read_error(errors: &[(File<&str, ()>, Error<&str>)], program: &str) -> String {
    let place = |found: &str| {
        let begin = jaq_core::load::span(program, found).start;
        let before = program.get(..begin).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        format!("line {}, column {}", before.matches('\n').count() + 1, line.chars().count() + 1)
    };
    let all = errors.iter().flat_map(|(_, error)| match error {
        Error::Io(errors) => {
            errors.iter().map(|(path, _)| format!("`{path}`: there are no modules")).collect()
        }
        Error::Lex(errors) => errors
            .iter()
            .map(|(expected, found)| format!("{}: expected {}", place(found), expected.as_str()))
            .collect(),
        Error::Parse(errors) => errors
            .iter()
            .map(|(expected, found)| format!("{}: expected {}", place(found), expected.as_str()))
            .collect::<Vec<_>>(),
    });
    all.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn run(program: &str, input: &Value) -> Result<String, String> {
        let jq = Jq::compile(program, &["$request", "$degraded"], 100_000)?;
        run_until(jq, input, Duration::from_secs(60)).map_err(|stopped| stopped.to_string())
    }

    /// As it is run to serve: on the threads that programs have.
    fn run_until(jq: Jq, input: &Value, time: Duration) -> Result<String, Stopped> {
        let members = input.as_object().expect("an object").iter();
        let members = members.map(|(name, value)| (name.as_str().into(), Some(Arc::new(value.clone()))));
        let variables = vec![json!({"query": {"q": "ä"}}), json!([])];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let run = jq.run(members.collect(), variables, 64 * 1024, Instant::now() + time);
        Ok(String::from_utf8(runtime.block_on(run)?).expect("text"))
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
            (".a[0].n -= 1 | .a[1].n /= 2 | .a[0].n %= 5 | [.a[].n]", "[1,0.5]"),
            (
                "[\"a1b22\" | match(\"[0-9]+\"; \"g\") | [.offset, .length, .string]]",
                r#"[[1,1,"1"],[3,2,"22"]]"#,
            ),
            ("\"ä-b\" | capture(\"(?<x>.)-(?<y>.)\")", r#"{"x":"ä","y":"b"}"#),
            ("\"a,b, c\" | [splits(\", *\")]", r#"["a","b","c"]"#),
            ("\"abab\" | gsub(\"(?<x>a)\"; .x + \"!\")", "\"a!ba!b\""),
            ("\"x\\(1, 2)y\\(3)\" | . == \"x1y3\" | select(.)", "true"),
            ("@base64 \"<\\(.a[0].s)>\"", "\"<eA==>\""),
            ("@json \"v=\\(.a[0])\"", r#""v={\"n\":2,\"s\":\"x\"}""#),
            ("[\"12\", \"-1.5\"] | map(tonumber)", "[12,-1.5]"),
            ("\"[1,{\\\"a\\\":2}]\" | fromjson", r#"[1,{"a":2}]"#),
            (".a | map({(.s): .n}) | add", r#"{"x":2,"ü":1}"#),
            (".a | map({key: .s, value: .n}) | from_entries", r#"{"x":2,"ü":1}"#),
            ("[] | from_entries, add | [.]", ""),
            ("{x: 1} | with_entries(.value += 1)", r#"{"x":2}"#),
            ("[[1, 2], [3]] | transpose", "[[1,3],[2,null]]"),
            ("[1, 2, 3] | (contains([2])), (inside([1, 2, 3, 4])) | select(. | not)", ""),
            ("[3, 1, 2] | [sort, unique, min, max, reverse] | tojson", "\"[[1,2,3],[1,2,3],1,3,[2,1,3]]\""),
            ("[\"a\", \"b\"] | join(\"-\")", "\"a-b\""),
            ("[1, [2, [3]]] | flatten", "[1,2,3]"),
            (". as {a: [{n: $n}]} | $n", "2"),
            (
                "[1, 1.0, \"1\"] | [.[0] == .[1], .[0] == .[2], .[0] < .[2], .[0] != .[2]]",
                "[true,false,true,true]",
            ),
            // Beyond what copies of the accumulator would leave room for.
            ("reduce range(0; 1000) as $x ({}; . + {($x | tostring): $x}) | length", "1000"),
            ("[range(0; 5000) | {(tostring): .}] | add | length", "5000"),
            ("tidegate_raw_tojson", ""),
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
            "reduce range(0; 40) as $x (\"ab\"; \"\\(.)\\(.)\")",
            "reduce range(0; 60) as $x (\"ab\"; tojson)",
            "reduce range(0; 100) as $x (\"ab\"; @base64)",
            "reduce range(0; 40) as $x (1; [., .]) | tojson",
            "reduce range(0; 40) as $x (1; [., .]) | flatten",
            "(reduce range(0; 40) as $x (1; [., .])) == (reduce range(0; 40) as $x (1; [., .]))",
            "(\"x\" * 16000000) as $s | [range(0; 60) | $s + tostring]",
            "\"a\" * 2000000 | [match(\"a*?\"; \"g\")]",
            "\"a\" * 2000000 | [explode, explode, explode, explode, explode, explode, explode, explode]",
            "\"a\" * 2000000 | . / \"\"",
            "reduce range(0; 25) as $x (3; . * .)",
            "[range(0; 10000)] as $d | $d | inside($d)",
            "[[range(0; 10000)]] + [range(0; 10000) | []] | transpose",
            "[range(0; 4000) | \"a\"] as $p | setpath($p; 1)",
            "reduce range(0; 20000) as $x ([1]; to_entries)",
            ". as {(\"a\" | repeat(.)): $x} | empty",
        ] {
            let one = Instant::now();
            let told = run(program, &json!({"a": 1})).expect_err(program);
            let is_halted = ["steps", "several", "16 MiB"].iter().any(|why| told.contains(why));
            assert!(is_halted, "{program}: {told}");
            assert!(one.elapsed().as_secs() < 4, "{program}: {:?}", one.elapsed());
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

    #[test]
    fn what_lies_in_itself_too_often_is_refused_and_not_followed() {
        for (text, want) in [("[".repeat(7_000), "recursion"), ("{\"a\":".repeat(7_000), "recursion")] {
            for program in [".x | fromjson", ".x | tonumber", "try (.x | fromjson) catch error(.)"] {
                let told = run(program, &json!({"x": text})).expect_err(program);
                assert!(told.contains(want), "{program}: {told}");
            }
        }
        let told = run(".x | tonumber", &json!({"x": "1".repeat(1_000_000)})).expect_err("no number");
        assert!(told.contains("number out of range"), "{told}");
        // As deep as a program can make it in its steps.
        let jq =
            Jq::compile("reduce range(0;3900) as $x (0;[.]) | tojson | length", &[], 10_000_000).expect("jq");
        assert_eq!(run_until(jq, &json!({}), Duration::from_secs(10)).ok().as_deref(), Some("7801"));
    }

    #[test]
    fn a_program_ends_when_its_time_is_over() {
        let jq = Jq::compile("[range(0; infinite) | select(false)]", &[], 10_000_000).expect("a program");
        let begun = Instant::now();
        let told = run_until(jq, &json!({}), Duration::from_millis(100));
        // It may be that others are before it, and it has no turn.
        assert!(matches!(told, Err(Stopped::Time | Stopped::Full)), "{told:?}");
        assert!(begun.elapsed().as_millis() < 1_000, "{:?}", begun.elapsed());
    }

    #[test]
    fn what_a_program_asks_of_its_request_is_known() {
        for (program, want) in [
            (".a.body", (false, false)),
            ("\"$request body\"", (false, false)),
            ("$request.query.body", (true, false)),
            ("$request.query[$request.path]", (true, false)),
            ("$request.body.id", (true, true)),
            ("$request | .body", (true, true)),
            ("{$request}", (true, true)),
            ("[.a[] | select(.id == $request.body.id)]", (true, true)),
        ] {
            let jq = Jq::compile(program, &["$request", "$degraded"], 100).expect(program);
            assert_eq!(jq.asks, want, "{program}");
        }
    }
}
