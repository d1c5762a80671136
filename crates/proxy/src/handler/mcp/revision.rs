//! Revisions of the protocol.

use serde::{Deserialize, Serialize};

/// A revision of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Revision {
    /// Of the time before Streamable HTTP; its messages are the same.
    #[serde(rename = "a")]
    V2024_11_05,
    #[serde(rename = "b")]
    V2025_03_26,
    #[serde(rename = "c")]
    V2025_06_18,
    #[serde(rename = "d")]
    V2025_11_25,
    /// Without sessions: every request says who sends it.
    #[serde(rename = "e")]
    V2026_07_28,
}

impl Revision {
    /// All that are spoken, oldest first.
    pub(super) const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];
    /// The newest that begins with a handshake.
    pub(super) const NEWEST_WITH_SESSIONS: Self = Self::V2025_11_25;

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// What a client that asks for this one in a handshake is answered: the same, or the newest that there is
    /// (lifecycle, "Version Negotiation").
    pub(super) fn negotiate(asked: &str) -> Self {
        Self::parse(asked).filter(|revision| revision.has_sessions()).unwrap_or(Self::NEWEST_WITH_SESSIONS)
    }

    /// Whether it begins with a handshake.
    pub(super) fn has_sessions(self) -> bool {
        self != Self::V2026_07_28
    }
}
