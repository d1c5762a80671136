//! `geo`: judges and tells where clients are.
//!
//! What upstreams are told is set or absent: a client's own headers of these names are taken away first. A record that
//! cannot be read is an address that nothing is known of.

use std::{fmt, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use maxminddb::Reader;
use model::{Enforcement, GeoRecord, policy::geo::GeoPlaces};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use super::{
    Flow, Needs, NeedsOf, Policy,
    counted::{Counted, Metric},
    judged,
    networks::Networks,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem},
};

static METRIC: Metric = Metric {
    name: "tidegate_geo_total",
    help: "Calls by where their clients are; nothing is known of `unknown` ones, which pass.",
    outcomes: &["passed", "unknown", "exempt", "detected", "refused"],
    gauges: &[],
};
const PASSED: usize = 0;
const UNKNOWN: usize = 1;
const EXEMPT: usize = 2;
const DETECTED: usize = 3;
const REFUSED: usize = 4;

/// What of a name stands in a header as it is.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// The compiled policy.
pub(crate) struct Geo {
    places: Option<Reader<Bytes>>,
    systems: Option<Reader<Bytes>>,
    allow: GeoPlaces,
    deny: GeoPlaces,
    lets_in_unknown: bool,
    exempt: Networks,
    mode: Enforcement,
    headers: Vec<(Told, HeaderName)>,
    counted: Arc<Counted>,
}

/// What a header tells.
#[derive(Clone, Copy)]
enum Told {
    Country,
    Continent,
    Region,
    City,
    Asn,
    Organization,
}

/// What is known of an address.
#[derive(Default)]
struct Found<'d> {
    country: Option<&'d str>,
    continent: Option<&'d str>,
    region: Option<&'d str>,
    city: Option<&'d str>,
    asn: Option<u32>,
    organization: Option<&'d str>,
}

/// A record of countries or cities, as far as it is read.
#[derive(Deserialize)]
struct PlaceRecord<'d> {
    #[serde(borrow, default)]
    country: Option<Coded<'d>>,
    /// Where the network is registered: the next best.
    #[serde(borrow, default)]
    registered_country: Option<Coded<'d>>,
    #[serde(borrow, default)]
    continent: Option<Continent<'d>>,
    #[serde(borrow, default)]
    subdivisions: Vec<Coded<'d>>,
    #[serde(borrow, default)]
    city: Option<Named<'d>>,
}

#[derive(Deserialize)]
struct Coded<'d> {
    #[serde(borrow, default)]
    iso_code: Option<&'d str>,
}

#[derive(Deserialize)]
struct Continent<'d> {
    #[serde(borrow, default)]
    code: Option<&'d str>,
}

#[derive(Deserialize)]
struct Named<'d> {
    #[serde(borrow, default)]
    names: Option<Names<'d>>,
}

#[derive(Deserialize)]
struct Names<'d> {
    #[serde(borrow, default)]
    en: Option<&'d str>,
}

/// A record of autonomous systems.
#[derive(Deserialize)]
struct SystemRecord<'d> {
    #[serde(default)]
    autonomous_system_number: Option<Asn>,
    #[serde(borrow, default)]
    autonomous_system_organization: Option<&'d str>,
}

/// The number of an autonomous system, in whatever width a writer has it.
struct Asn(u32);

impl<'d> Deserialize<'d> for Asn {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Asn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of an autonomous system")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Asn, E> {
                u32::try_from(number).map(Asn).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Asn, E> {
                u32::try_from(number).map(Asn).map_err(E::custom)
            }
        }
        from.deserialize_any(Number)
    }
}

impl Geo {
    pub(crate) fn compile(settings: &model::policy::Geo, cx: &Building<'_>) -> Result<Self, String> {
        let open = |key: &str, file: Option<&model::FilePath>| {
            let Some(file) = file else { return Ok(None) };
            let reader = Reader::from_source(cx.snapshot.file(file));
            reader
                .map(Some)
                .map_err(|error| format!("`{key}` {file} is no file in MaxMind's format: {error}"))
        };
        let places = open("database", settings.database.as_ref())?;
        let systems = open("asnDatabase", settings.asn_database.as_ref())?;
        let is_of_systems = |reader: &Reader<Bytes>| reader.metadata().database_type.contains("ASN");
        if places.as_ref().is_some_and(is_of_systems) {
            return Err("`database` is a file of autonomous systems: that is for `asnDatabase`".into());
        }
        let told = |key: &str| match key {
            "country" => Told::Country,
            "continent" => Told::Continent,
            "region" => Told::Region,
            "city" => Told::City,
            "asn" => Told::Asn,
            _ => Told::Organization,
        };
        Ok(Self {
            places,
            systems,
            allow: settings.allow.clone(),
            deny: settings.deny.clone(),
            lets_in_unknown: settings.lets_in_unknown(),
            exempt: Networks::new(&settings.exempt),
            mode: settings.mode,
            headers: settings.headers.all().map(|(key, name)| (told(key), name.to_http())).collect(),
            counted: Counted::of(&METRIC, cx),
        })
    }

    fn find(&self, client: IpAddr) -> Found<'_> {
        let client = client.to_canonical();
        let mut found = Found::default();
        let place = self.places.as_ref().and_then(|places| {
            // A file of IPv4 alone knows nothing of IPv6, which is an error to it.
            places.lookup(client).ok()?.decode::<PlaceRecord<'_>>().ok()?
        });
        if let Some(place) = place {
            found.country = place
                .country
                .and_then(|country| country.iso_code)
                .or(place.registered_country.and_then(|country| country.iso_code));
            found.continent = place.continent.and_then(|continent| continent.code);
            found.region = place.subdivisions.first().and_then(|part| part.iso_code);
            found.city = place.city.and_then(|city| city.names).and_then(|names| names.en);
        }
        let system = self
            .systems
            .as_ref()
            .and_then(|systems| systems.lookup(client).ok()?.decode::<SystemRecord<'_>>().ok()?);
        if let Some(system) = system {
            found.asn = system.autonomous_system_number.map(|Asn(number)| number);
            found.organization = system.autonomous_system_organization;
        }
        found
    }

    /// Why an address is not let in.
    fn objection(&self, found: &Found<'_>) -> Option<String> {
        if let Some(by) = found.among(&self.deny) {
            return Some(format!("{by} is refused"));
        }
        if found.is_nothing(self.places.is_some(), self.systems.is_some()) {
            return (!self.lets_in_unknown).then(|| "nothing is known of the address".to_owned());
        }
        let is_allowed = self.allow.is_empty() || found.among(&self.allow).is_some();
        (!is_allowed).then(|| match (found.country.or(found.continent), found.asn) {
            (Some(place), _) => format!("{place} is not let in"),
            (None, Some(asn)) => format!("AS{asn} is not let in"),
            (None, None) => "its place is not let in".to_owned(),
        })
    }

    fn tell(&self, call: &mut Call, found: &Found<'_>) {
        for (told, name) in &self.headers {
            let text = match told {
                Told::Country => found.country.and_then(plain),
                Told::Continent => found.continent.and_then(plain),
                Told::Region => found.region.and_then(plain),
                Told::City => found.city.and_then(encoded),
                Told::Asn => found.asn.map(HeaderValue::from),
                Told::Organization => found.organization.and_then(encoded),
            };
            match text {
                Some(value) => call.head.headers.insert(name.clone(), value),
                None => call.head.headers.remove(name),
            };
        }
    }
}

fn plain(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn encoded(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&utf8_percent_encode(text, ENCODED).to_string()).ok()
}

impl Found<'_> {
    /// Which of these places the address is in.
    fn among(&self, places: &GeoPlaces) -> Option<String> {
        let is = |name: Option<&str>, all: &std::collections::BTreeSet<String>| {
            name.filter(|name| all.contains(*name)).map(str::to_owned)
        };
        is(self.country, &places.countries)
            .or_else(|| is(self.continent, &places.continents))
            .or_else(|| self.asn.filter(|asn| places.asns.contains(asn)).map(|asn| format!("AS{asn}")))
    }

    /// Whether no file tells of it.
    fn is_nothing(&self, has_places: bool, has_systems: bool) -> bool {
        let no_place = !has_places || (self.country.is_none() && self.continent.is_none());
        let no_system = !has_systems || self.asn.is_none();
        no_place && no_system
    }

    fn record(&self) -> Option<Box<GeoRecord>> {
        let record = GeoRecord {
            country: self.country.map(Into::into),
            continent: self.continent.map(Into::into),
            asn: self.asn,
        };
        (record != GeoRecord::default()).then(|| Box::new(record))
    }
}

impl NeedsOf for model::policy::Geo {
    fn needs(&self) -> Needs {
        let names: Vec<HeaderName> = self.headers.all().map(|(_, name)| name.to_http()).collect();
        Needs { set: names.clone(), ..Needs::headers(names) }
    }
}

impl Policy for Geo {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        let found = self.find(call.client);
        self.tell(call, &found);
        call.record.geo = found.record();
        if self.exempt.contains(call.client) {
            self.counted.note(EXEMPT);
            return Flow::Continue;
        }
        let Some(reason) = self.objection(&found) else {
            let is_nothing = found.is_nothing(self.places.is_some(), self.systems.is_some());
            self.counted.note(if is_nothing { UNKNOWN } else { PASSED });
            return Flow::Continue;
        };
        if !judged::object(call, "geo", self.mode, reason.as_str()) {
            self.counted.note(DETECTED);
            return Flow::Continue;
        }
        self.counted.note(REFUSED);
        Flow::Fail(
            Failure::refused(Problem::Forbidden)
                .with_hint("this is not available where you are")
                .with_detail(format!("the client address {}: {reason}", call.client)),
        )
    }
}
