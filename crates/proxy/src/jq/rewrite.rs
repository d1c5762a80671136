//! Rewrites programs so that every round of theirs takes a step.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Def, Pattern, Term},
    },
    ops::{Cmp, Math},
    path::{Part, Path},
};

/// Gives its input and takes a step.
pub(super) const STEP: &str = "tidegate_step";
/// The same for an array or object that may lie in the one of the round before.
pub(super) const NEST: &str = "tidegate_nest";
/// Takes the bytes of an array or object that was made.
pub(super) const MADE: &str = "tidegate_made";
/// Takes for looking at all of a value.
pub(super) const WEIGH: &str = "tidegate_weigh";
/// The same before it becomes a text.
pub(super) const WEIGH_TEXT: &str = "tidegate_weigh_text";
/// Operators within bounds.
pub(super) const PLUS: &str = "tidegate_plus";
pub(super) const MINUS: &str = "tidegate_minus";
pub(super) const TIMES: &str = "tidegate_times";
pub(super) const OVER: &str = "tidegate_over";
pub(super) const REST: &str = "tidegate_rest";
pub(super) const LESS: &str = "tidegate_less";
pub(super) const LESS_EQUAL: &str = "tidegate_less_equal";
pub(super) const MORE: &str = "tidegate_more";
pub(super) const MORE_EQUAL: &str = "tidegate_more_equal";
pub(super) const EQUAL: &str = "tidegate_equal";
pub(super) const UNEQUAL: &str = "tidegate_unequal";
/// Names that programs may not write begin so.
const OWN: &str = "tidegate_";
/// Holds what is added in `.a += b`.
const ADDED: &str = "$tidegate_added";

/// Filters whose arguments are fed with what they gave.
const FEEDING: [&str; 6] = ["recurse", "while", "until", "repeat", "walk", "limit"];

/// Filters that put what they are given into something deeper.
const DEEPENING: [&str; 8] = [
    "to_entries",
    "with_entries",
    "group_by",
    "paths",
    "path_value",
    "key_values",
    "transpose",
    "combinations",
];

type Program<'s> = Term<&'s str>;

/// How a term is rewritten.
#[derive(Clone, Copy)]
struct Mode {
    /// Steps are counted; else sums and products alone are measured.
    counts: bool,
    /// What is made here may lie in what is made in the next round.
    feeds: bool,
}

/// A program of the operator's, bounded in steps and sizes.
pub(super) fn bounded(term: Program<'_>) -> Program<'_> {
    rewritten(term, Mode { counts: true, feeds: false })
}

/// A definition of the standard library, bounded in what its operators do: it takes its steps in what it is given.
pub(super) fn measured(term: Program<'static>) -> Program<'static> {
    rewritten(term, Mode { counts: false, feeds: false })
}

fn call<'s>(name: &'s str, args: Vec<Program<'s>>) -> Program<'s> {
    Term::Call(name, args)
}

fn pipe<'s>(left: Program<'s>, right: Program<'s>) -> Program<'s> {
    Term::BinOp(Box::new(left), BinaryOp::Pipe(None), Box::new(right))
}

/// A part of a term: a step before it and one for each of its values.
fn part<'s>(term: Program<'s>, mode: Mode) -> Program<'s> {
    let is_plain = match &term {
        Term::Id | Term::Num(_) | Term::Var(_) | Term::Break(_) => true,
        Term::Str(None, parts) => parts.iter().all(|part| !matches!(part, StrPart::Term(_))),
        _ => false,
    };
    let term = rewritten(term, mode);
    match mode.counts && !is_plain {
        true => pipe(call(STEP, Vec::new()), pipe(term, call(STEP, Vec::new()))),
        // It goes round with whatever stands around it, which counts.
        false if mode.counts => pipe(term, call(STEP, Vec::new())),
        false => term,
    }
}

#[expect(clippy::boxed_local, reason = "terms lie in each other in boxes")]
fn boxed<'s>(term: Box<Program<'s>>, mode: Mode) -> Box<Program<'s>> {
    Box::new(part(*term, mode))
}

/// Makes an array or object, at the price of one that may be deep.
fn made<'s>(term: Program<'s>, mode: Mode) -> Program<'s> {
    let term = pipe(term, call(MADE, Vec::new()));
    deeper(term, mode)
}

fn deeper<'s>(term: Program<'s>, mode: Mode) -> Program<'s> {
    match mode.counts && mode.feeds {
        true => pipe(term, call(NEST, Vec::new())),
        false => term,
    }
}

/// A text of parts is their sum, so that it is measured as any sum is.
fn text<'s>(format: Option<&'s str>, parts: Vec<StrPart<&'s str, Program<'s>>>, mode: Mode) -> Program<'s> {
    if !parts.iter().any(|part| matches!(part, StrPart::Term(_))) {
        return Term::Str(format, parts);
    }
    let one = |one| match one {
        StrPart::Term(term) => {
            let term = part(term, mode);
            let made = match format {
                Some(format) => call(format, Vec::new()),
                None => pipe(call(WEIGH_TEXT, Vec::new()), Term::Str(None, vec![StrPart::Term(Term::Id)])),
            };
            pipe(term, made)
        }
        plain => Term::Str(None, vec![plain]),
    };
    let parts = parts.into_iter().map(one);
    parts.reduce(|left, right| call(PLUS, vec![left, right])).unwrap_or(Term::Str(None, Vec::new()))
}

fn bound<'s>(pattern: Pattern<&'s str>, mode: Mode) -> Pattern<&'s str> {
    match pattern {
        Pattern::Var(name) => Pattern::Var(name),
        Pattern::Arr(inner) => Pattern::Arr(inner.into_iter().map(|inner| bound(inner, mode)).collect()),
        Pattern::Obj(members) => {
            let one = |(key, inner): (Program<'s>, Pattern<&'s str>)| {
                let key = match key {
                    name @ (Term::Var(_) | Term::Str(..)) => name,
                    key => part(key, mode),
                };
                (key, bound(inner, mode))
            };
            Pattern::Obj(members.into_iter().map(one).collect())
        }
    }
}

fn rewritten<'s>(term: Program<'s>, mode: Mode) -> Program<'s> {
    let feeding = Mode { feeds: true, ..mode };
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) | Term::Arr(None) => term,
        Term::Str(format, parts) => text(format, parts, mode),
        Term::Arr(Some(inner)) => made(Term::Arr(Some(boxed(inner, mode))), mode),
        Term::Obj(members) => {
            let one = |(key, value): (Program<'s>, Option<Program<'s>>)| {
                let is_name = value.is_none() || matches!(key, Term::Var(_) | Term::Str(..) | Term::Num(_));
                let key = match is_name {
                    true => key,
                    false => part(key, mode),
                };
                (key, value.map(|value| part(value, mode)))
            };
            made(Term::Obj(members.into_iter().map(one).collect()), mode)
        }
        Term::Neg(inner) => Term::Neg(boxed(inner, mode)),
        Term::BinOp(left, op, right) => binary(left, op, right, mode),
        Term::Label(name, inner) => Term::Label(name, boxed(inner, mode)),
        Term::Fold(name, list, pattern, args) => {
            let list = boxed(list, mode);
            let args = args.into_iter().map(|arg| part(arg, feeding)).collect();
            Term::Fold(name, list, bound(pattern, mode), args)
        }
        Term::TryCatch(inner, caught) => {
            Term::TryCatch(boxed(inner, mode), caught.map(|caught| boxed(caught, mode)))
        }
        Term::IfThenElse(cases, last) => {
            let one = |(test, then)| (part(test, mode), part(then, mode));
            let cases = cases.into_iter().map(one).collect();
            Term::IfThenElse(cases, last.map(|last| boxed(last, mode)))
        }
        Term::Def(defs, inner) => {
            // What it is given may be fed with what it gave.
            let one = |def: Def<&'s str>| Def { body: part(def.body, feeding), ..def };
            let defs = defs.into_iter().map(one).collect();
            Term::Def(defs, boxed(inner, mode))
        }
        Term::Call(name, args) => {
            let inner = if FEEDING.contains(&name) { feeding } else { mode };
            let called = Term::Call(name, args.into_iter().map(|arg| part(arg, inner)).collect());
            if DEEPENING.contains(&name) { deeper(called, mode) } else { called }
        }
        Term::Path(head, Path(parts)) => {
            let one = |part_of: Part<Program<'s>>| match part_of {
                Part::Index(index) => Part::Index(part(index, mode)),
                Part::Range(from, to) => {
                    Part::Range(from.map(|from| part(from, mode)), to.map(|to| part(to, mode)))
                }
            };
            let parts = parts.into_iter().map(|(step, optional)| (one(step), optional)).collect();
            Term::Path(boxed(head, mode), Path(parts))
        }
    }
}

fn binary<'s>(
    left: Box<Program<'s>>,
    op: BinaryOp<&'s str>,
    right: Box<Program<'s>>,
    mode: Mode,
) -> Program<'s> {
    let left = boxed(left, mode);
    let changes = matches!(op, BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt);
    let right = boxed(right, Mode { feeds: mode.feeds || changes, ..mode });
    match op {
        BinaryOp::Math(math) => call(operator(math), vec![*left, *right]),
        BinaryOp::Cmp(cmp) => {
            let name = match cmp {
                Cmp::Lt => LESS,
                Cmp::Le => LESS_EQUAL,
                Cmp::Gt => MORE,
                Cmp::Ge => MORE_EQUAL,
                Cmp::Eq => EQUAL,
                Cmp::Ne => UNEQUAL,
            };
            call(name, vec![*left, *right])
        }
        BinaryOp::UpdateMath(math) => {
            let made = call(operator(math), vec![Term::Id, Term::Var(ADDED)]);
            let update = Term::BinOp(left, BinaryOp::Update, Box::new(made));
            Term::BinOp(right, BinaryOp::Pipe(Some(Pattern::Var(ADDED))), Box::new(update))
        }
        BinaryOp::Pipe(pattern) => {
            Term::BinOp(left, BinaryOp::Pipe(pattern.map(|pattern| bound(pattern, mode))), right)
        }
        op => Term::BinOp(left, op, right),
    }
}

fn operator(math: Math) -> &'static str {
    match math {
        Math::Add => PLUS,
        Math::Sub => MINUS,
        Math::Mul => TIMES,
        Math::Div => OVER,
        Math::Rem => REST,
    }
}

/// The terms that lie in a term.
fn inner<'t, 's>(term: &'t Program<'s>) -> Vec<&'t Program<'s>> {
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) | Term::Arr(None) => {
            Vec::new()
        }
        Term::Str(_, parts) => {
            let one = |part: &'t StrPart<&'s str, Program<'s>>| match part {
                StrPart::Term(term) => Some(term),
                _ => None,
            };
            parts.iter().filter_map(one).collect()
        }
        Term::Arr(Some(inner)) | Term::Neg(inner) | Term::Label(_, inner) => vec![inner],
        Term::Obj(members) => {
            members.iter().flat_map(|(key, value)| std::iter::once(key).chain(value)).collect()
        }
        Term::BinOp(left, op, right) => {
            let mut all = vec![&**left, &**right];
            if let BinaryOp::Pipe(Some(pattern)) = op {
                keys(pattern, &mut all);
            }
            all
        }
        Term::Fold(_, list, pattern, args) => {
            let mut all: Vec<_> = std::iter::once(&**list).chain(args).collect();
            keys(pattern, &mut all);
            all
        }
        Term::TryCatch(inner, caught) => std::iter::once(&**inner).chain(caught.as_deref()).collect(),
        Term::IfThenElse(cases, last) => {
            cases.iter().flat_map(|(test, then)| [test, then]).chain(last.as_deref()).collect()
        }
        Term::Path(head, Path(parts)) => {
            let inner = parts.iter().flat_map(|(part, _)| match part {
                Part::Index(index) => [Some(index), None],
                Part::Range(from, to) => [from.as_ref(), to.as_ref()],
            });
            std::iter::once(&**head).chain(inner.flatten()).collect()
        }
        Term::Call(_, args) => args.iter().collect(),
        Term::Def(defs, inner) => defs.iter().map(|def| &def.body).chain([&**inner]).collect(),
    }
}

/// The terms in a pattern.
fn keys<'t, 's>(pattern: &'t Pattern<&'s str>, all: &mut Vec<&'t Program<'s>>) {
    match pattern {
        Pattern::Var(_) => {}
        Pattern::Arr(inner) => inner.iter().for_each(|inner| keys(inner, all)),
        Pattern::Obj(members) => {
            for (key, inner) in members {
                all.push(key);
                keys(inner, all);
            }
        }
    }
}

/// Whether a program asks for a variable, and whether for this member of it or for all of it.
pub(super) fn asks(term: &Program<'_>, variable: &str, member: &str) -> (bool, bool) {
    if let Term::Path(head, Path(parts)) = term
        && matches!(&**head, Term::Var(name) if *name == variable)
        && let Some((Part::Index(Term::Str(None, key)), _)) = parts.first()
        && let [StrPart::Str(key)] = key.as_slice()
    {
        let rest = inner(term).into_iter().skip(2).map(|term| asks(term, variable, member));
        return rest.fold((true, *key == member), |(any, of), (more, more_of)| (any | more, of | more_of));
    }
    if matches!(term, Term::Var(name) if *name == variable) {
        return (true, true);
    }
    let all = inner(term).into_iter().map(|term| asks(term, variable, member));
    all.fold((false, false), |(any, of), (more, more_of)| (any | more, of | more_of))
}

/// A definition can call itself and those around it alone: whoever does so goes round. Nor may a program call what
/// stands behind those that charge.
pub(super) fn refuse_recursion<'s>(
    term: &Program<'s>,
    around: &mut Vec<(&'s str, usize)>,
) -> Result<(), String> {
    if let Term::Call(name, args) = term {
        if around.contains(&(*name, args.len())) {
            return Err(format!(
                "`{name}` calls itself; `recurse`, `until`, `reduce` and `foreach` go round"
            ));
        }
        if name.starts_with(OWN) {
            return Err(format!("there is no filter `{name}`"));
        }
    }
    let Term::Def(defs, last) = term else {
        return inner(term).into_iter().try_for_each(|term| refuse_recursion(term, around));
    };
    for def in defs {
        around.push((def.name, def.args.len()));
        let result = refuse_recursion(&def.body, around);
        around.pop();
        result?;
    }
    refuse_recursion(last, around)
}
