//! What a path pattern captured: names, and where their values lie in the path. Nothing is copied.

use std::{ops::Range, sync::Arc};

/// A pattern captures at most this many values.
pub(crate) const CAPTURES_MAX: usize = 16;

/// Where captured values lie in the path, in the order of their names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    len: u8,
    at: [(u32, u32); CAPTURES_MAX],
}

impl Ranges {
    /// Adds a value; a pattern that has too many was refused when it was compiled.
    pub(super) fn push(&mut self, value: Range<usize>) {
        if let (Some(slot), Ok(start), Ok(end)) =
            (self.at.get_mut(usize::from(self.len)), u32::try_from(value.start), u32::try_from(value.end))
        {
            *slot = (start, end);
            self.len += 1;
        }
    }

    pub(super) fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }

    fn get(&self, index: usize) -> Option<Range<usize>> {
        let (start, end) = *self.at[..usize::from(self.len)].get(index)?;
        Some(start as usize..end as usize)
    }
}

/// What the matched route's pattern captured. One value serves any number of requests.
#[derive(Debug, Clone, Default)]
pub struct Captures {
    names: Option<Arc<[Box<str>]>>,
    ranges: Ranges,
}

impl Captures {
    /// The value of a capture, in the path that was matched.
    pub fn get<'p>(&self, path: &'p str, name: &str) -> Option<&'p str> {
        self.view(path).get(name)
    }

    /// All names and values, in the order of the pattern.
    pub fn iter<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.view(path).iter()
    }

    /// The captures together with their path, as expressions read them.
    pub(crate) fn view<'a, 'p: 'a>(&'a self, path: &'p str) -> CapturesView<'a, 'p> {
        CapturesView { names: self.names.as_deref().unwrap_or_default(), ranges: &self.ranges, path }
    }

    pub(super) fn set(&mut self, names: &Arc<[Box<str>]>, ranges: &Ranges) {
        // Most patterns capture nothing, and the count of a shared `Arc` is a line that cores fight over.
        self.names = (!names.is_empty()).then(|| names.clone());
        self.ranges = *ranges;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Captures with the path that they point into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CapturesView<'a, 'p> {
    pub(super) names: &'a [Box<str>],
    pub(super) ranges: &'a Ranges,
    pub(super) path: &'p str,
}

impl<'a, 'p: 'a> CapturesView<'a, 'p> {
    pub(crate) fn get(&self, name: &str) -> Option<&'p str> {
        let index = self.names.iter().position(|known| **known == *name)?;
        self.path.get(self.ranges.get(index)?)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let value = move |index| self.path.get(self.ranges.get(index)?);
        self.names.iter().enumerate().filter_map(move |(index, name)| Some((&**name, value(index)?)))
    }
}
