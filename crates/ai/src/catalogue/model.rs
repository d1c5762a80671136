//! One model of a provider's: its limits, what it can, what it costs, and when it goes.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de};

use super::{Capabilities, CatalogueError, Prices, Rates, UnitPrices};

/// A model of a provider's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its name at the provider.
    pub name: String,
    /// What it is for.
    pub surface: Surface,
    /// Most tokens of a prompt.
    pub context: Option<u64>,
    /// Most tokens of an answer.
    pub max_output: Option<u64>,
    /// Numbers in a vector that it makes.
    pub vector_size: Option<u32>,
    /// What it can.
    pub can: Capabilities,
    /// What it costs.
    pub prices: Prices,
    /// The day on which the provider turns it off.
    pub retires: Option<Day>,
}

/// Something that a provider offers, and that a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Surface {
    /// Conversations.
    Chat,
    /// Conversations, and only through OpenAI's Responses.
    Responses,
    /// Texts to be gone on with.
    Completions,
    /// Tokens of a conversation, counted.
    CountTokens,
    /// Vectors of texts.
    Embeddings,
    /// Pictures made.
    Images,
    /// Pictures changed.
    ImageEdits,
    /// Speech made.
    Speech,
    /// Speech written down.
    Transcriptions,
    /// Speech written down in English.
    Translations,
    /// Films made.
    Videos,
    /// Documents put in order.
    Rerank,
    /// Harmful texts told.
    Moderations,
    /// Conversations made shorter.
    Compact,
    /// Pages read.
    Ocr,
    /// Talk both ways over a WebSocket.
    Realtime,
    /// Files kept.
    Files,
    /// Many requests at once, later.
    Batches,
    /// The provider's own list of models.
    Models,
}

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl Day {
    /// From `2026-11-30`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let dashes = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
        if !dashes || !text.bytes().enumerate().all(|(at, byte)| at == 4 || at == 7 || byte.is_ascii_digit())
        {
            return None;
        }
        let day = Self {
            year: text[..4].parse().ok()?,
            month: text[5..7].parse().ok()?,
            day: text[8..].parse().ok()?,
        };
        (day.year > 0 && (1..=12).contains(&day.month) && (1..=31).contains(&day.day)).then_some(day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is no day: expected such as 2026-11-30")))
    }
}

/// The models of one provider, by name, with the day on which the facts were taken and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    /// When the facts were taken.
    pub taken: Option<Day>,
    /// Where.
    pub source: String,
    /// In the order of their names.
    list: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    taken: Option<Day>,
    #[serde(default)]
    source: String,
    #[serde(default)]
    models: BTreeMap<String, Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    mode: Surface,
    context: Option<u64>,
    output: Option<u64>,
    vector: Option<u32>,
    #[serde(default)]
    can: Capabilities,
    #[serde(default)]
    price: Rates,
    batch: Option<Rates>,
    flex: Option<Rates>,
    priority: Option<Rates>,
    #[serde(default)]
    unit: UnitPrices,
    retires: Option<Day>,
}

impl Models {
    /// None at all.
    pub(super) fn none() -> Self {
        Self { taken: None, source: String::new(), list: Vec::new() }
    }

    /// From TOML; `file` is for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, CatalogueError> {
        let broken =
            |error: toml::de::Error| CatalogueError::Broken { file: file.into(), what: error.to_string() };
        let File { taken, source, models } = toml::from_str(text).map_err(broken)?;
        let list = models
            .into_iter()
            .map(|(name, line)| Model {
                name,
                surface: line.mode,
                context: line.context,
                max_output: line.output,
                vector_size: line.vector,
                can: line.can,
                prices: Prices {
                    tokens: line.price,
                    batch: line.batch,
                    flex: line.flex,
                    priority: line.priority,
                    units: line.unit,
                },
                retires: line.retires,
            })
            .collect();
        Ok(Self { taken, source, list })
    }

    /// These with others on top: a name that both have means the other's. So configuration adds models and overrules
    /// what ships.
    #[must_use]
    pub fn overlaid(&self, others: Self) -> Self {
        let mut list = others.list;
        list.extend(self.list.iter().cloned());
        // The sort is stable and keeps the others' first of two.
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list.dedup_by(|later, earlier| later.name == earlier.name);
        Self { taken: self.taken, source: self.source.clone(), list }
    }

    /// All of them, in the order of their names.
    pub fn all(&self) -> &[Model] {
        &self.list
    }

    /// The model of this very name.
    pub fn exact(&self, name: &str) -> Option<&Model> {
        self.list.binary_search_by(|model| model.name.as_str().cmp(name)).ok().map(|at| &self.list[at])
    }

    /// The model of this name; else the one that it is a dated version of (`gpt-4o-2030-01-01` is a `gpt-4o`); else
    /// the latest dated version of it.
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.exact(name)
            .or_else(|| undated(name).and_then(|base| self.exact(base)))
            .or_else(|| self.list.iter().rfind(|model| undated(&model.name) == Some(name)))
    }
}

/// A name without the date at its end: `-2024-08-06`, `-20250929`, `@20250929`, `-latest`.
fn undated(name: &str) -> Option<&str> {
    if let Some(base) = name.strip_suffix("-latest").or_else(|| name.strip_suffix("@latest")) {
        return (!base.is_empty()).then_some(base);
    }
    let date = |shape: &str| {
        let at = name.len().checked_sub(shape.len())?;
        let (base, end) = (name.get(..at)?, name.get(at..)?);
        let fits = end.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'-' => byte == b'-' || byte == b'@' && shape == b'-',
            _ => byte == shape,
        });
        (fits && !base.is_empty()).then_some(base)
    };
    date("-0000-00-00").or_else(|| date("-00000000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_taken_off_names() {
        for (name, want) in [
            ("gpt-4o-2024-08-06", Some("gpt-4o")),
            ("claude-sonnet-4-5-20250929", Some("claude-sonnet-4-5")),
            ("claude-sonnet-4-5@20250929", Some("claude-sonnet-4-5")),
            ("grok-4.5-latest", Some("grok-4.5")),
            ("gpt-4o", None),
            ("gpt-4-0613", None),
            ("-20250929", None),
            ("é0000000", None),
            ("", None),
        ] {
            assert_eq!(undated(name), want, "{name}");
        }
    }

    #[test]
    fn days_are_days() {
        let day = |text| Day::parse(text).map(|day| day.to_string());
        assert_eq!(day("2026-11-30").as_deref(), Some("2026-11-30"));
        for text in [
            "",
            "2026-13-01",
            "2026-00-01",
            "2026-01-32",
            "2026/01/01",
            "26-01-01",
            "2026-01-1é",
            "+026-01-01",
        ] {
            assert_eq!(day(text), None, "{text}");
        }
    }
}
