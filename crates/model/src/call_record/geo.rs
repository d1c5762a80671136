//! Where a client is.

/// What a database of addresses says of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeoRecord {
    /// Two letters (ISO 3166-1).
    pub country: Option<Box<str>>,
    /// Two letters.
    pub continent: Option<Box<str>>,
    /// The autonomous system that the address belongs to.
    pub asn: Option<u32>,
}
