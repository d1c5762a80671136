//! What can be asked of who calls: the words in which policies say it, and the comparison of two of them.

use std::{
    any::Any,
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    rc::Rc,
};

use crate::{Cidr, Consumer, FilePath, Snapshot};

/// A policy that keeps some callers out.
pub(crate) trait Asks {
    /// What it asks; nothing when it lets everybody pass.
    fn asks(&self, of: &Asked<'_>) -> Option<Demand>;
}

/// Something that is asked of a caller.
pub(crate) trait Terms: 'static {
    /// Whether who meets this also meets the other.
    fn implies(&self, other: &Self) -> bool;

    /// For people.
    fn words(&self) -> String;
}

/// Terms of any kind.
pub(crate) type Demand = Rc<dyn AnyTerms>;

/// What is asked, so that it can be compared with what others ask.
pub(crate) fn demand(terms: impl Terms) -> Demand {
    Rc::new(terms)
}

/// [`Terms`] of which only those of one kind compare.
pub(crate) trait AnyTerms: Any {
    fn implies(&self, other: &dyn AnyTerms) -> bool;
    fn words(&self) -> String;
}

impl<T: Terms> AnyTerms for T {
    fn implies(&self, other: &dyn AnyTerms) -> bool {
        let other: &dyn Any = other;
        other.downcast_ref::<T>().is_some_and(|other| Terms::implies(self, other))
    }

    fn words(&self) -> String {
        Terms::words(self)
    }
}

/// The parts of a file, such as its certificates or keys, whatever its name.
pub(crate) type Parts = Rc<BTreeSet<String>>;

/// The files of a configuration, each taken apart once.
pub(super) struct Files<'s> {
    snapshot: &'s Snapshot,
    known: RefCell<HashMap<PathBuf, Parts>>,
}

impl<'s> Files<'s> {
    pub(super) fn of(snapshot: &'s Snapshot) -> Self {
        Self { snapshot, known: RefCell::default() }
    }

    /// What a file holds, by `split`.
    pub(super) fn parts(&self, path: &FilePath, split: fn(&[u8]) -> BTreeSet<String>) -> Parts {
        let mut known = self.known.borrow_mut();
        let parts = known.entry(path.as_path().to_owned());
        parts.or_insert_with(|| Rc::new(split(&self.snapshot.file(path)))).clone()
    }
}

/// What decides, beside a policy's own settings, who passes it.
pub(crate) struct Asked<'a> {
    pub(super) files: &'a Files<'a>,
    /// Who calls without credentials count as.
    pub(super) nobody: Option<&'a Consumer>,
    pub(super) trusted: &'a [Cidr],
}

impl Asked<'_> {
    /// What a file holds, by `split`.
    pub(crate) fn parts(&self, path: &FilePath, split: fn(&[u8]) -> BTreeSet<String>) -> Parts {
        self.files.parts(path, split)
    }

    /// The consumer that calls without credentials count as; none where they are refused, or not asked at all.
    pub(crate) fn nobody(&self) -> Option<&Consumer> {
        self.nobody
    }

    /// Who may state a client's address.
    pub(crate) fn trusted(&self) -> &[Cidr] {
        self.trusted
    }
}

/// Whether a list of what is allowed allows nothing beyond another; an empty one allows everything.
pub(crate) fn among(mine: &[String], theirs: &[String]) -> bool {
    theirs.is_empty() || (!mine.is_empty() && mine.iter().all(|one| theirs.contains(one)))
}
