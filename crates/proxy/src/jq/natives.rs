//! Filters that are not those of the interpreter: what counts, and what does a bounded amount of work for what it takes.
//!
//! Those of the interpreter that look at more than one value get a definition before them, which charges for what they
//! are given and for what they give; their own implementation has the name with [`RAW`] before it, which no program may
//! write.

use std::{collections::BTreeMap, rc::Rc, sync::OnceLock};

use jaq_core::{Cv, Error, Exn, Native, load::parse::Def, native};
use jaq_json::Val;

use super::{
    Data,
    charge::{
        NESTING_COST, NUMBER_BITS_MAX, TICKS, TOO_LARGE, VALUE_SIZE_MAX, bits, compare, make, product,
        shallow, take, weigh,
    },
    regex::{self, Wanted},
    rewrite, value,
};

/// Before the names of what a definition charges for.
const RAW: &str = "tidegate_raw_";

/// Definitions that charge: the library's own come after them, and so use them.
const CHARGED: &str = "
def tojson: tidegate_weigh | tidegate_raw_tojson;
def tobytes: tidegate_weigh | tidegate_raw_tobytes;
def length: tidegate_glance | tidegate_raw_length;
def contains($x): tidegate_product($x) | tidegate_raw_contains($x);
def has($x): tidegate_product_of_lists($x) | tidegate_raw_has($x);
def indices($x): tidegate_product($x) | tidegate_raw_indices($x);
def bsearch($x): tidegate_searched($x) | tidegate_raw_bsearch($x);
def utf8bytelength: tidegate_glance | tidegate_raw_utf8bytelength;
def explode: tidegate_spread | tidegate_raw_explode;
def implode: tidegate_spread | tidegate_raw_implode;
def ascii_downcase: tidegate_flat | tidegate_raw_ascii_downcase;
def ascii_upcase: tidegate_flat | tidegate_raw_ascii_upcase;
def reverse: tidegate_flat | tidegate_raw_reverse;
def sort: tidegate_flat | tidegate_sorted | tidegate_raw_sort;
def sort_by(f): tidegate_flat | tidegate_raw_sort_by(f | tidegate_sorted);
def group_by(f): tidegate_flat | tidegate_raw_group_by(f | tidegate_sorted);
def min_by_or_empty(f): tidegate_flat | tidegate_raw_min_by_or_empty(f | tidegate_weigh);
def max_by_or_empty(f): tidegate_flat | tidegate_raw_max_by_or_empty(f | tidegate_weigh);
def startswith($x): tidegate_glance | tidegate_raw_startswith($x);
def endswith($x): tidegate_glance | tidegate_raw_endswith($x);
def ltrimstr($x): tidegate_glance | tidegate_raw_ltrimstr($x);
def rtrimstr($x): tidegate_glance | tidegate_raw_rtrimstr($x);
def trim: tidegate_glance | tidegate_raw_trim;
def ltrim: tidegate_glance | tidegate_raw_ltrim;
def rtrim: tidegate_glance | tidegate_raw_rtrim;
def escape_sh: tidegate_spread | tidegate_raw_escape_sh;
def escape_html: tidegate_spread | tidegate_raw_escape_html;
def unescape_html: tidegate_flat | tidegate_raw_unescape_html;
def encode_uri: tidegate_spread | tidegate_raw_encode_uri;
def decode_uri: tidegate_flat | tidegate_raw_decode_uri;
def encode_base64: tidegate_spread | tidegate_raw_encode_base64;
def decode_base64: tidegate_flat | tidegate_raw_decode_base64;
def keys_unsorted: tidegate_flat | tidegate_raw_keys_unsorted;
def key_values: tidegate_spread | tidegate_raw_key_values;
def path(f): tidegate_raw_path(f) | tidegate_flat;
def path_value(f): tidegate_raw_path_value(f) | tidegate_flat;
def strftime($x): ($x | tidegate_weigh) as $y | tidegate_weigh | tidegate_raw_strftime($y);
def strptime($x): ($x | tidegate_weigh) as $y | tidegate_weigh | tidegate_raw_strptime($y);
def fromdateiso8601: tidegate_weigh | tidegate_raw_fromdateiso8601;
def todateiso8601: tidegate_weigh | tidegate_raw_todateiso8601;
def gmtime: tidegate_weigh | tidegate_raw_gmtime;
def mktime: tidegate_weigh | tidegate_raw_mktime;
def add(f): [f] | tidegate_sum;
def add: [.[]] | tidegate_sum;
def from_entries: [.[] | {(.key): .value}] | tidegate_sum + {};
def transpose: (reduce .[] as $row (0; ($row | length) as $n | if $n > . then $n else . end)) as $most
  | [range(0; $most; 1) as $i | [.[] | tidegate_step | .[$i]] | tidegate_made];
def getpath($path): ($path | tidegate_path) as $p | reduce $p[] as $k (.; .[$k]);
";

/// Definitions of the library in whose place others stand.
pub(super) const REPLACED: [(&str, usize); 5] =
    [("add", 0), ("add", 1), ("from_entries", 0), ("transpose", 0), ("getpath", 1)];

/// The definitions that charge.
pub(super) fn definitions() -> Vec<Def<&'static str>> {
    jaq_core::load::parse(CHARGED, |parser| parser.defs()).unwrap_or_default()
}

/// The interpreter's own filter under the name that it has here.
pub(super) fn renamed((name, args, run): native::Fun<Data>) -> native::Fun<Data> {
    static NAMES: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let defs = definitions();
        defs.iter().map(|def| (def.name.to_owned(), format!("{RAW}{}", def.name))).collect()
    });
    (names.get(name).map_or(name, String::as_str), args, run)
}

fn one<'a, T: 'a>(value: T) -> Box<dyn Iterator<Item = T> + 'a> {
    Box::new(std::iter::once(value))
}

/// A filter that gives its input, and takes for it: also where a path is looked for.
macro_rules! counted {
    ($take:expr) => {
        Native::<Data>::new(|cv| {
            let take: fn(&Val) -> Result<(), Exn<'static, Val>> = $take;
            one(match take(&cv.1) {
                Ok(()) => Ok(cv.1),
                Err(halt) => Err(again(halt)),
            })
        })
        .with_paths(|cv| {
            let take: fn(&Val) -> Result<(), Exn<'static, Val>> = $take;
            one(match take(&(cv.1).0) {
                Ok(()) => Ok(cv.1),
                Err(halt) => Err(again(halt)),
            })
        })
        .with_update(|cv, update| {
            let take: fn(&Val) -> Result<(), Exn<'static, Val>> = $take;
            match take(&cv.1) {
                Ok(()) => update(cv.1),
                Err(halt) => one(Err(again(halt))),
            }
        })
    };
}

/// A halt for as long as it is wanted.
fn again<'a>(halt: Exn<'static, Val>) -> Exn<'a, Val> {
    match halt.get_halt() {
        Ok(code) => Exn::halt(code),
        Err(_) => Exn::halt(super::charge::OUT_OF_STEPS),
    }
}

/// One with a variable that it and its input are charged for.
macro_rules! charged {
    ($charge:expr) => {
        Native::<Data>::new(|mut cv| {
            let other = cv.0.pop_var();
            one($charge(&cv.1, &other).map(|()| cv.1))
        })
    };
}

/// An operator within bounds.
macro_rules! operator {
    ($run:expr) => {
        Native::<Data>::new(|cv| {
            let (left, right) = operands(cv);
            one($run(left, right))
        })
    };
}

/// Both sides; nothing else holds them then, so that what is added to grows in its place.
fn operands(mut cv: Cv<'_, Data>) -> (Val, Val) {
    let (right, left) = (cv.0.pop_var(), cv.0.pop_var());
    (left, right)
}

type Result_<'a> = Result<Val, Exn<'a, Val>>;

/// How large a value is in the way that adding makes larger.
fn size(value: &Val) -> usize {
    match value {
        Val::TStr(text) | Val::BStr(text) => text.len(),
        Val::Arr(items) => items.len(),
        Val::Obj(members) => members.len(),
        _ => 0,
    }
}

fn plus<'a>(left: Val, right: Val) -> Result_<'a> {
    if size(&left) + size(&right) > VALUE_SIZE_MAX || bits(&left).max(bits(&right)) > NUMBER_BITS_MAX {
        return Err(Exn::halt(TOO_LARGE));
    }
    let grows = match (&left, &right) {
        (Val::Null, _) | (_, Val::Null) => true,
        (Val::Arr(items), _) => Rc::strong_count(items) == 1,
        (Val::Obj(members), _) => Rc::strong_count(members) == 1,
        (Val::Num(_), _) => true,
        _ => false,
    };
    let moved = if grows { 0 } else { shallow(&left) } + shallow(&right);
    take(moved / 8 + 1)?;
    if !matches!((&left, &right), (Val::Num(_), _) | (Val::Null, _) | (_, Val::Null)) {
        make(moved)?;
    }
    (left + right).map_err(Exn::from)
}

fn minus<'a>(left: Val, right: Val) -> Result_<'a> {
    if let (Val::Arr(_), Val::Arr(_)) = (&left, &right) {
        weigh(&left, 8)?;
        weigh(&right, 8)?;
        make(shallow(&left) + shallow(&right) * 2)?;
    }
    take(1 + (bits(&left) + bits(&right)) / 64)?;
    (left - right).map_err(Exn::from)
}

fn times<'a>(left: Val, right: Val) -> Result_<'a> {
    let repeated = |text: &Val, count: &Val| match (text, count) {
        (Val::TStr(text) | Val::BStr(text), Val::Num(count)) => {
            count.to_string().parse::<f64>().unwrap_or(f64::MAX) * text.len() as f64
        }
        _ => 0.0,
    };
    let bytes = repeated(&left, &right).max(repeated(&right, &left));
    if bytes > VALUE_SIZE_MAX as f64 || bits(&left) + bits(&right) > NUMBER_BITS_MAX {
        return Err(Exn::halt(TOO_LARGE));
    }
    if let (Val::Obj(_), Val::Obj(_)) = (&left, &right) {
        let merged = weigh(&left, 4)? + weigh(&right, 4)?;
        make(merged * 4)?;
    }
    take(1 + bytes.max(0.0) as u64 / 8 + (bits(&left) / 64 + 1) * (bits(&right) / 64 + 1))?;
    make(bytes.max(0.0) as u64)?;
    (left * right).map_err(Exn::from)
}

fn over<'a>(left: Val, right: Val) -> Result_<'a> {
    if let (Val::TStr(text) | Val::BStr(text), Val::TStr(separator) | Val::BStr(separator)) = (&left, &right)
    {
        let parts = match separator.is_empty() {
            true => text.len(),
            false => memchr::memmem::find_iter(text, &separator[..]).count(),
        };
        take((text.len() + parts * 64) as u64 / 4)?;
        make(parts as u64 * 80)?;
    }
    take(1 + (bits(&left) / 64 + 1) * (bits(&right) / 64 + 1))?;
    (left / right).map_err(Exn::from)
}

fn rest<'a>(left: Val, right: Val) -> Result_<'a> {
    take(1 + (bits(&left) / 64 + 1) * (bits(&right) / 64 + 1))?;
    (left % right).map_err(Exn::from)
}

fn compared<'a>(left: Val, right: Val, is: fn(&Val, &Val) -> bool) -> Result_<'a> {
    compare(&left, &right)?;
    Ok(Val::from(is(&left, &right)))
}

/// The sum of a list, each of its items moved once.
fn sum<'a>(list: Val) -> Result_<'a> {
    let Val::Arr(items) = list else { return Err(Exn::from(Error::typ(list, "array"))) };
    let mut items = match Rc::try_unwrap(items) {
        Ok(items) => items.into_iter(),
        Err(items) => items.iter().cloned().collect::<Vec<_>>().into_iter(),
    };
    let first = items.next().unwrap_or(Val::Null);
    // Texts would be copied for each that is added.
    if let Val::TStr(text) = &first {
        let mut all = text.to_vec();
        for item in &mut items {
            match item {
                Val::TStr(text) => {
                    if all.len() + text.len() > VALUE_SIZE_MAX {
                        return Err(Exn::halt(TOO_LARGE));
                    }
                    take(text.len() as u64 / 8 + 1)?;
                    make(text.len() as u64)?;
                    all.extend_from_slice(&text);
                }
                Val::Null => {}
                other => {
                    let all = plus(Val::utf8_str(all), other)?;
                    return items.try_fold(all, plus);
                }
            }
        }
        return Ok(Val::utf8_str(all));
    }
    items.try_fold(first, plus)
}

/// What stands in a text, as JSON: no deeper than any other that comes from outside.
fn from_json<'a>(text: Val) -> Result_<'a> {
    let Val::TStr(text) = text else { return Err(Exn::from(Error::typ(text, "string"))) };
    let nodes = value::nodes(&text);
    take((text.len() as u64 + nodes * 64) / 2)?;
    make(text.len() as u64 + nodes * 128)?;
    let read: Result<serde_json::Value, _> = serde_json::from_slice(&text);
    match read {
        Ok(read) => Ok(value::read(&read)),
        Err(reason) => {
            let begin: String =
                String::from_utf8_lossy(text.get(..80).unwrap_or(&text)).chars().take(40).collect();
            Err(Exn::from(Error::str(format_args!("cannot parse {begin:?} as JSON: {reason}"))))
        }
    }
}

/// What a program and the library use of this crate.
pub(super) fn natives() -> Vec<native::Fun<Data>> {
    let (none, one_, two) = (native::v(0), native::v(1), native::v(2));
    vec![
        (rewrite::STEP, none.clone(), counted!(|_| take(TICKS))),
        (rewrite::NEST, none.clone(), counted!(|_| take(NESTING_COST.get()))),
        (rewrite::MADE, none.clone(), counted!(|value| make(shallow(value)))),
        (rewrite::WEIGH, none.clone(), counted!(weighed)),
        (rewrite::WEIGH_TEXT, none.clone(), counted!(weighed_as_text)),
        ("tidegate_sorted", none.clone(), counted!(|value| weigh(value, 16).map(|_| ()))),
        ("tidegate_glance", none.clone(), counted!(glanced)),
        ("tidegate_flat", none.clone(), counted!(|value| flat(value, 1))),
        ("tidegate_spread", none.clone(), counted!(|value| flat(value, 8))),
        ("tidegate_path", none.clone(), counted!(long_path)),
        ("tidegate_product", one_.clone(), charged!(product)),
        ("tidegate_product_of_lists", one_.clone(), charged!(product_of_lists)),
        ("tidegate_searched", one_, charged!(searched)),
        ("tidegate_sum", none.clone(), Native::new(|cv| one(sum(cv.1)))),
        ("fromjson", none, Native::new(|cv| one(from_json(cv.1)))),
        (rewrite::PLUS, two.clone(), operator!(plus)),
        (rewrite::MINUS, two.clone(), operator!(minus)),
        (rewrite::TIMES, two.clone(), operator!(times)),
        (rewrite::OVER, two.clone(), operator!(over)),
        (rewrite::REST, two.clone(), operator!(rest)),
        (rewrite::LESS, two.clone(), operator!(|left, right| compared(left, right, |a, b| a < b))),
        (rewrite::LESS_EQUAL, two.clone(), operator!(|left, right| compared(left, right, |a, b| a <= b))),
        (rewrite::MORE, two.clone(), operator!(|left, right| compared(left, right, |a, b| a > b))),
        (rewrite::MORE_EQUAL, two.clone(), operator!(|left, right| compared(left, right, |a, b| a >= b))),
        (rewrite::EQUAL, two.clone(), operator!(|left, right| compared(left, right, |a, b| a == b))),
        (rewrite::UNEQUAL, two.clone(), operator!(|left, right| compared(left, right, |a, b| a != b))),
        (
            "matches",
            two.clone(),
            Native::new(|cv| one(regex::run(cv, Wanted { between: false, matches: true }))),
        ),
        (
            "split_matches",
            two.clone(),
            Native::new(|cv| one(regex::run(cv, Wanted { between: true, matches: true }))),
        ),
        ("split_", two, Native::new(|cv| one(regex::run(cv, Wanted { between: true, matches: false })))),
    ]
}

/// Names of filters of the interpreter in whose place others stand.
pub(super) const OWN: [&str; 4] = ["fromjson", "matches", "split_matches", "split_"];

fn weighed(value: &Val) -> Result<(), Exn<'static, Val>> {
    let weight = weigh(value, 4)?;
    make(weight)
}

/// A text is itself as a text.
fn weighed_as_text(value: &Val) -> Result<(), Exn<'static, Val>> {
    match value {
        Val::TStr(_) => Ok(()),
        value => weighed(value),
    }
}

fn glanced(value: &Val) -> Result<(), Exn<'static, Val>> {
    match value {
        Val::TStr(text) | Val::BStr(text) => take(text.len() as u64 / 16 + 1),
        _ => take(1),
    }
}

fn flat(value: &Val, times: u64) -> Result<(), Exn<'static, Val>> {
    let bytes = shallow(value) * times;
    take(bytes / 8 + 1)?;
    make(bytes)
}

/// A path makes what it leads through where that is not there yet.
fn long_path(value: &Val) -> Result<(), Exn<'static, Val>> {
    take((size(value) as u64).saturating_mul(NESTING_COST.get()))
}

fn product_of_lists<'a>(left: &Val, right: &Val) -> Result<(), Exn<'a, Val>> {
    match (left, right) {
        (Val::Arr(_), Val::Arr(_)) => product(left, right),
        (_, right) => weigh(right, 1).map(|_| ()),
    }
}

fn searched<'a>(_: &Val, right: &Val) -> Result<(), Exn<'a, Val>> {
    weigh(right, 24).map(|_| ())
}
