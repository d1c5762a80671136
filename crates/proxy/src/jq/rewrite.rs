//! Rewrites programs so that every round of theirs takes a step.

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Def, Pattern, Term},
    },
    ops::Math,
    path::{Part, Path},
};

/// Gives its input and takes a step.
pub(super) const STEP: &str = "tidegate_step";
/// The same for an array or object that may lie in the one of the round before.
pub(super) const NEST: &str = "tidegate_nest";
/// `$a + $b` within a bound.
pub(super) const PLUS: &str = "tidegate_plus";
/// `$a * $b` within a bound.
pub(super) const TIMES: &str = "tidegate_times";
/// Holds what is added in `.a += b`.
const ADDED: &str = "$tidegate_added";

/// Filters whose arguments are fed with what they gave.
const FEEDING: [&str; 6] = ["recurse", "while", "until", "repeat", "walk", "limit"];

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
pub(super) fn bounded(term: Program<'_>) -> Result<Program<'_>, String> {
    let mut has_other = false;
    let term = rewritten(term, Mode { counts: true, feeds: false }, &mut has_other);
    match has_other {
        true => Err("`-=`, `/=` and `%=` are written with `|=` here, such as `.a |= . - 1`".to_owned()),
        false => Ok(term),
    }
}

/// A definition of the standard library, bounded in sizes alone: it takes its steps in what it is given.
pub(super) fn measured(term: Program<'static>) -> Program<'static> {
    rewritten(term, Mode { counts: false, feeds: false }, &mut false)
}

fn call<'s>(name: &'s str, args: Vec<Program<'s>>) -> Program<'s> {
    Term::Call(name, args)
}

fn pipe<'s>(left: Program<'s>, right: Program<'s>) -> Program<'s> {
    Term::BinOp(Box::new(left), BinaryOp::Pipe(None), Box::new(right))
}

/// A part of a term: a step before it and one for each of its values.
fn part<'s>(term: Program<'s>, mode: Mode, other: &mut bool) -> Program<'s> {
    let is_plain = match &term {
        Term::Id | Term::Num(_) | Term::Var(_) | Term::Break(_) => true,
        Term::Str(None, parts) => parts.iter().all(|part| !matches!(part, StrPart::Term(_))),
        _ => false,
    };
    let term = rewritten(term, mode, other);
    match mode.counts && !is_plain {
        true => pipe(call(STEP, Vec::new()), pipe(term, call(STEP, Vec::new()))),
        // It goes round with whatever stands around it, which counts.
        false if mode.counts => pipe(term, call(STEP, Vec::new())),
        false => term,
    }
}

#[expect(clippy::boxed_local, reason = "terms lie in each other in boxes")]
fn boxed<'s>(term: Box<Program<'s>>, mode: Mode, other: &mut bool) -> Box<Program<'s>> {
    Box::new(part(*term, mode, other))
}

/// Makes an array or object, at the price of one that may be deep.
fn made<'s>(term: Program<'s>, mode: Mode) -> Program<'s> {
    match mode.counts && mode.feeds {
        true => pipe(term, call(NEST, Vec::new())),
        false => term,
    }
}

fn rewritten<'s>(term: Program<'s>, mode: Mode, other: &mut bool) -> Program<'s> {
    let feeding = Mode { feeds: true, ..mode };
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) | Term::Arr(None) => term,
        Term::Str(format, parts) => {
            let one = |one| match one {
                StrPart::Term(term) => StrPart::Term(part(term, mode, other)),
                same => same,
            };
            Term::Str(format, parts.into_iter().map(one).collect())
        }
        Term::Arr(Some(inner)) => made(Term::Arr(Some(boxed(inner, mode, other))), mode),
        Term::Obj(members) => {
            let one = |(key, value): (Program<'s>, Option<Program<'s>>)| {
                let is_name = value.is_none() || matches!(key, Term::Var(_) | Term::Str(..) | Term::Num(_));
                let key = match is_name {
                    true => key,
                    false => part(key, mode, other),
                };
                (key, value.map(|value| part(value, mode, other)))
            };
            made(Term::Obj(members.into_iter().map(one).collect()), mode)
        }
        Term::Neg(inner) => Term::Neg(boxed(inner, mode, other)),
        Term::BinOp(left, op, right) => binary(left, op, right, mode, other),
        Term::Label(name, inner) => Term::Label(name, boxed(inner, mode, other)),
        Term::Fold(name, list, pattern, args) => {
            let list = boxed(list, mode, other);
            let args = args.into_iter().map(|arg| part(arg, feeding, other)).collect();
            Term::Fold(name, list, pattern, args)
        }
        Term::TryCatch(inner, caught) => {
            Term::TryCatch(boxed(inner, mode, other), caught.map(|caught| boxed(caught, mode, other)))
        }
        Term::IfThenElse(cases, last) => {
            let one = |(test, then)| (part(test, mode, other), part(then, mode, other));
            let cases = cases.into_iter().map(one).collect();
            Term::IfThenElse(cases, last.map(|last| boxed(last, mode, other)))
        }
        Term::Def(defs, inner) => {
            // What it is given may be fed with what it gave.
            let one = |def: Def<&'s str>| Def { body: part(def.body, feeding, other), ..def };
            let defs = defs.into_iter().map(one).collect();
            Term::Def(defs, boxed(inner, mode, other))
        }
        Term::Call(name, args) => {
            let mode = if FEEDING.contains(&name) { feeding } else { mode };
            Term::Call(name, args.into_iter().map(|arg| part(arg, mode, other)).collect())
        }
        Term::Path(head, Path(parts)) => {
            let mut one = |part_of: Part<Program<'s>>| match part_of {
                Part::Index(index) => Part::Index(part(index, mode, other)),
                Part::Range(from, to) => {
                    Part::Range(from.map(|from| part(from, mode, other)), to.map(|to| part(to, mode, other)))
                }
            };
            let parts = parts.into_iter().map(|(step, optional)| (one(step), optional)).collect();
            Term::Path(boxed(head, mode, other), Path(parts))
        }
    }
}

fn binary<'s>(
    left: Box<Program<'s>>,
    op: BinaryOp<&'s str>,
    right: Box<Program<'s>>,
    mode: Mode,
    other: &mut bool,
) -> Program<'s> {
    let left = boxed(left, mode, other);
    let changes = matches!(op, BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt);
    let right = boxed(right, Mode { feeds: mode.feeds || changes, ..mode }, other);
    let named = |math| match math {
        Math::Add => Some(PLUS),
        Math::Mul => Some(TIMES),
        _ => None,
    };
    match op {
        BinaryOp::Math(math) => match named(math) {
            Some(name) => call(name, vec![*left, *right]),
            None => Term::BinOp(left, op, right),
        },
        BinaryOp::UpdateMath(math) => match named(math) {
            Some(name) => {
                let made = call(name, vec![Term::Id, Term::Var(ADDED)]);
                let update = Term::BinOp(left, BinaryOp::Update, Box::new(made));
                Term::BinOp(right, BinaryOp::Pipe(Some(Pattern::Var(ADDED))), Box::new(update))
            }
            None => {
                *other |= mode.counts;
                Term::BinOp(left, op, right)
            }
        },
        op => Term::BinOp(left, op, right),
    }
}

/// A definition can call itself and those around it alone: whoever does so goes round.
pub(super) fn refuse_recursion<'t, 's>(
    term: &'t Program<'s>,
    around: &mut Vec<(&'s str, usize)>,
) -> Result<(), String> {
    if let Term::Call(name, args) = term
        && around.contains(&(*name, args.len()))
    {
        return Err(format!("`{name}` calls itself; `recurse`, `until`, `reduce` and `foreach` go round"));
    }
    let mut all = |terms: &mut dyn Iterator<Item = &'t Program<'s>>| -> Result<(), String> {
        for term in terms {
            refuse_recursion(term, around)?;
        }
        Ok(())
    };
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) | Term::Arr(None) => Ok(()),
        Term::Str(_, parts) => all(&mut parts.iter().filter_map(|part| match part {
            StrPart::Term(term) => Some(term),
            _ => None,
        })),
        Term::Arr(Some(inner)) | Term::Neg(inner) | Term::Label(_, inner) => {
            all(&mut std::iter::once(&**inner))
        }
        Term::Obj(members) => {
            all(&mut members.iter().flat_map(|(key, value)| std::iter::once(key).chain(value)))
        }
        Term::BinOp(left, _, right) => all(&mut [&**left, &**right].into_iter()),
        Term::Fold(_, list, _, args) => all(&mut std::iter::once(&**list).chain(args)),
        Term::TryCatch(inner, caught) => all(&mut std::iter::once(&**inner).chain(caught.as_deref())),
        Term::IfThenElse(cases, last) => {
            all(&mut cases.iter().flat_map(|(test, then)| [test, then]).chain(last.as_deref()))
        }
        Term::Path(head, Path(parts)) => {
            let inner = parts.iter().flat_map(|(part, _)| match part {
                Part::Index(index) => [Some(index), None],
                Part::Range(from, to) => [from.as_ref(), to.as_ref()],
            });
            all(&mut std::iter::once(&**head).chain(inner.flatten()))
        }
        Term::Call(_, args) => all(&mut args.iter()),
        Term::Def(defs, inner) => {
            for def in defs {
                around.push((def.name, def.args.len()));
                let result = refuse_recursion(&def.body, around);
                around.pop();
                result?;
            }
            refuse_recursion(inner, around)
        }
    }
}
