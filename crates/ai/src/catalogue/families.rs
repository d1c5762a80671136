//! Families of models that many providers serve under the same name and the same rules.

use std::sync::OnceLock;

use serde::Deserialize;

use super::{CatalogueError, quirks::Quirks};

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Family {
    /// OpenAI's.
    Gpt,
    /// Anthropic's.
    Claude,
    /// Google's.
    Gemini,
    /// xAI's.
    Grok,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rules: Vec<Quirks>,
}

impl Family {
    /// Every family.
    #[cfg(test)]
    pub(super) const ALL: [Self; 4] = [Self::Gpt, Self::Claude, Self::Gemini, Self::Grok];

    /// The rules of a family, parsed when first asked for.
    pub(super) fn rules(self) -> Result<&'static [Quirks], &'static CatalogueError> {
        static GPT: OnceLock<Result<Vec<Quirks>, CatalogueError>> = OnceLock::new();
        static CLAUDE: OnceLock<Result<Vec<Quirks>, CatalogueError>> = OnceLock::new();
        static GEMINI: OnceLock<Result<Vec<Quirks>, CatalogueError>> = OnceLock::new();
        static GROK: OnceLock<Result<Vec<Quirks>, CatalogueError>> = OnceLock::new();
        let (cell, file, text) = match self {
            Self::Gpt => (&GPT, "families/gpt.toml", include_str!("../../catalogue/families/gpt.toml")),
            Self::Claude => {
                (&CLAUDE, "families/claude.toml", include_str!("../../catalogue/families/claude.toml"))
            }
            Self::Gemini => {
                (&GEMINI, "families/gemini.toml", include_str!("../../catalogue/families/gemini.toml"))
            }
            Self::Grok => (&GROK, "families/grok.toml", include_str!("../../catalogue/families/grok.toml")),
        };
        let parsed = cell.get_or_init(|| {
            let broken = |error: toml::de::Error| CatalogueError::Broken {
                file: file.into(),
                what: error.to_string(),
            };
            toml::from_str::<File>(text).map(|file| file.rules).map_err(broken)
        });
        parsed.as_ref().map(Vec::as_slice)
    }
}
