//! `geo`: judges and tells where clients are.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, headers::FRAMING};
use crate::{
    Cidr, Enforcement, FilePath, HeaderName,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::Context,
};

/// Finds out where clients are by files in MaxMind's format (GeoLite2, GeoIP2, DB-IP), lets in and refuses countries,
/// continents and networks' operators with 403, and tells upstreams. `deny` wins over `allow`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Geo {
    /// A file of countries or cities, read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<FilePath>,
    /// A file of autonomous systems, read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn_database: Option<FilePath>,
    /// Who is let in: any of these; everybody when empty.
    pub allow: GeoPlaces,
    /// Who is refused.
    pub deny: GeoPlaces,
    /// What is done with addresses that the files do not tell of: without it they are refused where anything is under
    /// `allow`, and pass otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<UnknownPlace>,
    /// Networks that pass wherever they are, such as one's own.
    pub exempt: Vec<Cidr>,
    /// Whether it refuses.
    pub mode: Enforcement,
    /// Headers in which the upstream is told. Those of clients are removed.
    pub headers: GeoHeaders,
}

/// Countries, continents and autonomous systems.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GeoPlaces {
    /// Two capital letters (ISO 3166-1), such as `DE`.
    pub countries: BTreeSet<String>,
    /// `AF`, `AN`, `AS`, `EU`, `NA`, `OC` and `SA`.
    pub continents: BTreeSet<String>,
    /// Numbers of autonomous systems.
    pub asns: BTreeSet<u32>,
}

/// What is done with addresses that the files do not tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnknownPlace {
    /// They pass.
    Allow,
    /// They are refused.
    Deny,
}

/// Headers in which an upstream is told where a client is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GeoHeaders {
    /// The country's two letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<HeaderName>,
    /// The continent's two letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continent: Option<HeaderName>,
    /// The code of the largest part of the country (ISO 3166-2), such as `BY`; of a file of cities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<HeaderName>,
    /// The city's English name, percent-encoded UTF-8; of a file of cities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<HeaderName>,
    /// The number of the autonomous system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<HeaderName>,
    /// Who runs it, percent-encoded UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<HeaderName>,
}

impl GeoHeaders {
    /// All of them, by their keys.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &HeaderName)> {
        let all = [
            ("country", &self.country),
            ("continent", &self.continent),
            ("region", &self.region),
            ("city", &self.city),
            ("asn", &self.asn),
            ("organization", &self.organization),
        ];
        all.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?)))
    }
}

impl GeoPlaces {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.countries.is_empty() && self.continents.is_empty() && self.asns.is_empty()
    }

    fn is_within(&self, other: &Self) -> bool {
        self.countries.is_subset(&other.countries)
            && self.continents.is_subset(&other.continents)
            && self.asns.is_subset(&other.asns)
    }

    fn words(&self) -> String {
        let asns = self.asns.iter().map(|asn| format!("AS{asn}"));
        let all = self.countries.iter().chain(&self.continents).cloned().chain(asns);
        all.collect::<Vec<_>>().join(", ")
    }
}

const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];

impl Settings for Geo {
    fn place(&self) -> Place<'_> {
        Place::IpRestriction(self)
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.database.is_none() && self.asn_database.is_none() {
            at.error("expected `database` or `asnDatabase`, found neither");
        }
        for (key, places) in [("allow", &self.allow), ("deny", &self.deny)] {
            at.field(key, |at| {
                for country in &places.countries {
                    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
                        at.field("countries", |at| {
                            at.error(format!(
                                "`{country}` is no country: expected two capital letters, such as `DE`"
                            ));
                        });
                    }
                }
                for continent in places.continents.iter().filter(|one| !CONTINENTS.contains(&one.as_str())) {
                    at.field("continents", |at| {
                        at.error(format!(
                            "`{continent}` is no continent: expected one of {}",
                            CONTINENTS.join(", ")
                        ));
                    });
                }
                if !places.asns.is_empty() && self.asn_database.is_none() {
                    at.field("asns", |at| {
                        at.error("`asnDatabase` tells of autonomous systems, and is missing")
                    });
                }
                if !(places.countries.is_empty() && places.continents.is_empty()) && self.database.is_none() {
                    at.error("`database` tells of countries and continents, and is missing");
                }
            });
        }
        at.field("headers", |at| {
            let mut known: Vec<&HeaderName> = Vec::new();
            for (key, name) in self.headers.all() {
                let is_of_asns = ["asn", "organization"].contains(&key);
                at.field(key, |at| {
                    if FRAMING.contains(&name.as_str()) {
                        at.error(format!("`{name}` is the gateway's own to set"));
                    }
                    if known.contains(&name) {
                        at.error(format!("`{name}` tells something else already"));
                    }
                    match is_of_asns {
                        true if self.asn_database.is_none() => {
                            at.error("`asnDatabase` tells of it, and is missing")
                        }
                        false if self.database.is_none() => {
                            at.error("`database` tells of it, and is missing")
                        }
                        _ => {}
                    }
                });
                known.push(name);
            }
        });
    }
}

impl Asks for Geo {
    fn asks(&self, of: &Asked<'_>) -> Option<Demand> {
        let refuses = self.mode == Enforcement::Enforce
            && !(self.allow.is_empty() && self.deny.is_empty() && self.unknown != Some(UnknownPlace::Deny));
        refuses.then(|| demand(Somewhere { rule: self.clone(), trusted: of.trusted().to_vec() }))
    }
}

/// An address, as these proxies may state it, of some place.
struct Somewhere {
    rule: Geo,
    trusted: Vec<Cidr>,
}

impl Geo {
    /// Whether addresses of which nothing is known pass.
    pub fn lets_in_unknown(&self) -> bool {
        self.unknown.map_or(self.allow.is_empty(), |unknown| unknown == UnknownPlace::Allow)
    }
}

impl Terms for Somewhere {
    fn implies(&self, other: &Self) -> bool {
        let covered = |one: &Cidr, by: &[Cidr]| by.iter().any(|other| other.covers(one));
        let (mine, theirs) = (&self.rule, &other.rule);
        let allowed =
            theirs.allow.is_empty() || (!mine.allow.is_empty() && mine.allow.is_within(&theirs.allow));
        // Whoever is trusted can claim any address.
        self.trusted.iter().all(|one| covered(one, &other.trusted))
            && (&mine.database, &mine.asn_database) == (&theirs.database, &theirs.asn_database)
            && allowed
            && theirs.deny.is_within(&mine.deny)
            && (!mine.lets_in_unknown() || theirs.lets_in_unknown())
            && mine.exempt.iter().all(|one| covered(one, &theirs.exempt))
    }

    fn words(&self) -> String {
        format!("geo allow [{}] deny [{}]", self.rule.allow.words(), self.rule.deny.words())
    }
}
