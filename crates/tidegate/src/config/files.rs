//! Finds the files of a configuration: one file, a folder, or a pattern with `*` in any part of the path.

use std::path::{Path, PathBuf};

use model::Source;

/// Where a configuration is.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    given: PathBuf,
}

impl Files {
    pub(crate) fn new(given: impl Into<PathBuf>) -> Self {
        Self { given: given.into() }
    }

    /// The files, in the order of their names.
    pub(crate) fn list(&self) -> Result<Vec<PathBuf>, String> {
        let shown = self.given.display();
        if self.given.is_dir() {
            let found = entries(&self.given, |name| name.ends_with(".yaml") || name.ends_with(".yml"))?;
            let found: Vec<PathBuf> = found.into_iter().filter(|path| path.is_file()).collect();
            return if found.is_empty() { Err(format!("{shown} holds no .yaml file")) } else { Ok(found) };
        }
        if !self.given.to_string_lossy().contains('*') || self.given.exists() {
            return Ok(vec![self.given.clone()]);
        }
        let found: Vec<PathBuf> = expand(&self.given)?.into_iter().filter(|path| path.is_file()).collect();
        if found.is_empty() { Err(format!("no file matches {shown}")) } else { Ok(found) }
    }

    /// The files with their texts.
    pub(crate) fn read(&self) -> Result<Vec<Source>, String> {
        self.list()?
            .into_iter()
            .map(|path| {
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                Ok(Source::new(path.display().to_string(), text))
            })
            .collect()
    }
}

/// What a pattern stands for; `*` may be in any part of the path.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        if !name.contains('*') {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut below = Vec::new();
        for folder in &found {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if folder.is_dir() {
                below.extend(entries(folder, |candidate| matches(&name, candidate))?);
            }
        }
        found = below;
    }
    Ok(found)
}

/// What is in a folder and wanted, by name. Hidden files are not: editors leave their own there.
fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, String> {
    let wrong = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if wanted(&name) && !name.starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    last.is_none_or(|last| rest.len() >= last.len() && rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, fits) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("a*", "abc", true),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*bc", "abc", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("*", "x", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
