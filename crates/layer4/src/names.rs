//! Server names, exact or for one label: whose a name is.

use std::collections::HashMap;

/// Who has which names. Exact ones come before wildcards, which stand for one label, and both before who takes any.
#[derive(Debug, Clone)]
pub struct Names<T> {
    exact: HashMap<String, T>,
    /// By what follows the first label.
    wildcard: HashMap<String, T>,
    any: Option<T>,
}

/// Two want the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twice<T> {
    /// Who was there first.
    pub first: T,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: None }
    }
}

impl<T: Clone> Names<T> {
    /// Gives a name (`a.test`, or `*.a.test` for one label) to somebody.
    ///
    /// # Errors
    /// Somebody has it already.
    pub fn add(&mut self, name: &str, whose: T) -> Result<(), Twice<T>> {
        let name = name.to_ascii_lowercase();
        let (map, key) = match name.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, rest.to_owned()),
            None => (&mut self.exact, name),
        };
        match map.get(&key) {
            Some(first) => Err(Twice { first: first.clone() }),
            None => {
                map.insert(key, whose);
                Ok(())
            }
        }
    }

    /// Gives all other names, and what comes without one, to somebody.
    ///
    /// # Errors
    /// Somebody has them already.
    pub fn add_any(&mut self, whose: T) -> Result<(), Twice<T>> {
        match &self.any {
            Some(first) => Err(Twice { first: first.clone() }),
            None => {
                self.any = Some(whose);
                Ok(())
            }
        }
    }

    /// Whose a name is, in lower case; none is what comes without a name.
    pub fn find(&self, name: Option<&str>) -> Option<&T> {
        let named = name.and_then(|name| {
            let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
            self.exact.get(name).or_else(by_wildcard)
        });
        named.or(self.any.as_ref())
    }

    /// Whether somebody has a name, and not only any.
    pub fn has_names(&self) -> bool {
        !self.exact.is_empty() || !self.wildcard.is_empty()
    }

    /// Who takes what nobody else does.
    pub fn any(&self) -> Option<&T> {
        self.any.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_come_before_wildcards_and_these_before_any() {
        let mut names = Names::default();
        for (name, whose) in [("a.test", 1), ("*.b.test", 2), ("x.b.test", 3)] {
            names.add(name, whose).expect("a name of nobody's");
        }
        for (name, whose) in [
            (Some("a.test"), Some(1)),
            (Some("y.b.test"), Some(2)),
            (Some("x.b.test"), Some(3)),
            (Some("b.test"), None),
            (Some("a.y.b.test"), None),
            (Some("c.test"), None),
            (None, None),
        ] {
            assert_eq!(names.find(name).copied(), whose, "{name:?}");
        }
        names.add_any(4).expect("nobody's");
        assert_eq!(names.find(Some("c.test")), Some(&4));
        assert_eq!(names.find(None), Some(&4));
        assert_eq!(names.find(Some("a.test")), Some(&1));
    }

    #[test]
    fn a_name_is_one_ones_alone() {
        let mut names = Names::default();
        names.add("A.test", 1).expect("a name of nobody's");
        assert_eq!(names.add("a.TEST", 2), Err(Twice { first: 1 }));
        assert_eq!(names.find(Some("a.test")), Some(&1));
        names.add_any(1).expect("nobody's");
        assert_eq!(names.add_any(2), Err(Twice { first: 1 }));
    }
}
