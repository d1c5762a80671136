//! A path to a file that the configuration refers to.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A file that is read when the configuration is loaded, and watched. A relative path starts at the directory
/// of the file that names it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath(PathBuf);

impl FilePath {
    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for FilePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("the path of a file is empty".to_owned()),
            _ => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

super::textual!(FilePath, "FilePath", { "type": "string", "format": "file", "minLength": 1 });
