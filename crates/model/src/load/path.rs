//! The full path of a key, as people write it: `routes[3].policies[0].rateLimit.limit`.

use std::fmt;

#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    pub(crate) fn push_key(&mut self, key: &str) {
        self.steps.push(Step::Key(key.to_owned()));
    }

    pub(crate) fn push_index(&mut self, index: usize) {
        self.steps.push(Step::Index(index));
    }

    pub(crate) fn pop(&mut self) {
        self.steps.pop();
    }

    /// The key of the document itself that it begins with.
    pub(crate) fn top(&self) -> Option<&str> {
        match self.steps.first() {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// The list of the document that it begins with, and the number of the item.
    pub(crate) fn item(&self) -> Option<(&str, usize)> {
        match self.steps.as_slice() {
            [Step::Key(list), Step::Index(index), ..] => Some((list, *index)),
            _ => None,
        }
    }

    /// Whether it leads to a key of the document itself.
    pub(crate) fn is_top(&self) -> bool {
        self.steps.len() == 1
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}
