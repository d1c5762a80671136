//! Joins the trees of several sources: lists grow, everything else may be there once.

use super::tree::{Entry, Kind, Node};
use crate::diagnostic::{Diagnostic, Diagnostics};

/// One tree of all. A single setting that is in two sources is refused with both places.
pub(super) fn merge(trees: Vec<Node>, found: &mut Diagnostics) -> Node {
    let mut trees = trees.into_iter();
    let Some(mut whole) = trees.next() else { return super::nothing() };
    for tree in trees {
        whole.tainted |= tree.tainted;
        let (Kind::Map(into), Kind::Map(entries)) = (&mut whole.kind, tree.kind) else { continue };
        for entry in entries {
            join(into, entry, found);
        }
    }
    whole
}

fn join(into: &mut Vec<Entry>, entry: Entry, found: &mut Diagnostics) {
    let Some(there) = into.iter_mut().find(|there| there.key == entry.key) else {
        into.push(entry);
        return;
    };
    match (&mut there.value.kind, entry.value.kind) {
        (Kind::List(items), Kind::List(more)) => {
            items.extend(more);
            there.value.tainted |= entry.value.tainted;
            there.value.pruned &= entry.value.pruned;
        }
        _ if there.value.pruned => {
            *there = Entry { value: Node { kind: Kind::Null, ..entry.value }, ..entry }
        }
        _ if entry.value.pruned => {}
        _ => {
            let message = format!("`{}` is there twice, in two files", entry.key);
            let mut twice = Diagnostic::error(entry.key, message).at(entry.place);
            twice.other = Some((there.place, "first here".to_owned()));
            found.push(twice);
        }
    }
}
