//! What a record tells of a copied request: how the answer to it differs from the one that the client got.

/// How an answer to a copy differs from the client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorRecord {
    /// The policy that copied, by its place.
    pub policy: Box<str>,
    /// Status of the client's answer and of the copy's.
    pub status: (u16, u16),
    /// What differs, by field, and both values as they are shown.
    pub differences: Vec<Difference>,
    /// More fields differ than are told.
    pub is_cut: bool,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `status`, `header:` and a name, `body`, or `json:` and a path.
    pub field: String,
    /// What the client got.
    pub own: String,
    /// What the copy got.
    pub other: String,
}
