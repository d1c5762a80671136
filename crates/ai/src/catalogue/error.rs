//! What can be wrong with a catalogue: an unknown name, or a text that does not say what it should.

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Nobody has this name.
    #[error("no provider is named `{name}`{}", hint(nearest))]
    UnknownProvider {
        /// The name asked for.
        name: String,
        /// The known name that looks most like it.
        nearest: Option<&'static str>,
    },
    /// A text does not parse.
    #[error("{file}: {what}")]
    Broken {
        /// The file, or whatever the text came from.
        file: String,
        /// What was expected, found, and where.
        what: String,
    },
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map_or_else(|| format!("; there are {}", kinds()), |name| format!("; did you mean `{name}`?"))
}

/// All names, for whoever looks for one.
fn kinds() -> String {
    super::names().collect::<Vec<_>>().join(", ")
}

/// Names of models and of companies, by which providers are called too.
const CALLED: [(&str, &str); 14] = [
    ("claude", "anthropic"),
    ("gpt", "openai"),
    ("chatgpt", "openai"),
    ("google", "gemini"),
    ("google-genai", "gemini"),
    ("vertexai", "vertex"),
    ("vertex-ai", "vertex"),
    ("aws", "bedrock"),
    ("amazon", "bedrock"),
    ("azure", "azure-openai"),
    ("grok", "xai"),
    ("llama", "ollama"),
    ("kimi", "moonshot"),
    ("custom", "openai-compatible"),
];

/// The name that looks most like another, if any looks like it at all.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let wanted = name.to_ascii_lowercase().replace('_', "-");
    if let Some((_, called)) = CALLED.iter().find(|(other, _)| *other == wanted) {
        return Some(called);
    }
    alike(&wanted, known)
}

/// The name that looks most like another, if any looks like it.
pub(super) fn alike(wanted: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let near = known.map(|known| (distance(wanted, known), known)).min()?;
    (near.0 <= 2 || near.1.contains(wanted) && wanted.len() > 2).then_some(near.1)
}

/// Letters to change, add or take away.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (above, left) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = above + 1;
        for (column, letter) in b.bytes().enumerate() {
            let change = corner + usize::from(left != letter);
            corner = row[column + 1];
            row[column + 1] = change.min(corner + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}
