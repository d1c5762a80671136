//! `geo`: judges and tells where clients are.
//!
//! What upstreams are told is set or absent: a client's own headers of these names are taken away first. A record that
//! cannot be read is no address that nothing is known of: where anything is refused, so is it.

use std::{fmt, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use maxminddb::{LookupResult, Reader};
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
    help: "Calls by where their clients are; what is asked is not known of `unknown` ones, which pass, and the file cannot \
           be read at `unreadable` ones, which are refused where anything is.",
    outcomes: &["passed", "unknown", "exempt", "detected", "refused", "unreadable"],
    gauges: &[],
};
const PASSED: usize = 0;
const UNKNOWN: usize = 1;
const EXEMPT: usize = 2;
const DETECTED: usize = 3;
const REFUSED: usize = 4;
const UNREADABLE: usize = 5;

/// Records that are looked at for one that tells what a file is for.
const PROBES_MAX: usize = 10_000;

/// What of a name stands in a header as it is.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// The compiled policy.
pub(crate) struct Geo {
    places: Option<Reader<Bytes>>,
    systems: Option<Reader<Bytes>>,
    rules: Rules,
    /// Whether what is in a record of cities is told.
    tells_cities: bool,
    exempt: Networks,
    mode: Enforcement,
    headers: Vec<(Told, HeaderName)>,
    counted: Arc<Counted>,
}

/// Who is let in.
struct Rules {
    allow: GeoPlaces,
    deny: GeoPlaces,
    lets_in_unknown: bool,
    /// Whether there is a file of places.
    has_places: bool,
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
    /// A file has something of the address that is not what it should be.
    is_unreadable: bool,
}

/// What becomes of an address.
enum Judgement {
    Passes,
    /// It passes, and what the rules ask is not known of it.
    PassesUnknown,
    Refused(String),
}

/// A record of countries or cities, as far as rules ask for it.
#[derive(Deserialize)]
struct PlaceRecord<'d> {
    #[serde(borrow, default)]
    country: Option<Coded<'d>>,
    /// Where the network is registered: the next best.
    #[serde(borrow, default)]
    registered_country: Option<Coded<'d>>,
    #[serde(borrow, default)]
    continent: Option<Continent<'d>>,
}

/// What is only told of a record of cities: nothing depends on whether it can be read.
#[derive(Default, Deserialize)]
struct CityRecord<'d> {
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
        if let Some(places) = &places {
            probe("database", places, &wanted_of_places(settings))?;
        }
        if let Some(systems) = &systems {
            probe("asnDatabase", systems, &[("numbers of autonomous systems", has_number as Has)])?;
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
            rules: Rules {
                allow: settings.allow.clone(),
                deny: settings.deny.clone(),
                lets_in_unknown: settings.lets_in_unknown(),
                has_places: places.is_some(),
            },
            places,
            systems,
            tells_cities: settings.headers.region.is_some() || settings.headers.city.is_some(),
            exempt: Networks::new(&settings.exempt),
            mode: settings.mode,
            headers: settings.headers.all().map(|(key, name)| (told(key), name.to_http())).collect(),
            counted: Counted::of(&METRIC, cx),
        })
    }

    fn find(&self, client: IpAddr) -> Found<'_> {
        let client = client.to_canonical();
        let mut found = Found::default();
        if let Some(known) = self.places.as_ref().and_then(|places| known(places, client)) {
            let place = known.as_ref().ok().map(|known| known.decode::<PlaceRecord<'_>>());
            match place {
                Some(Ok(Some(place))) => {
                    found.country = place.country();
                    found.continent = place.continent.and_then(|continent| continent.code);
                }
                Some(Ok(None)) => {}
                Some(Err(_)) | None => found.is_unreadable = true,
            }
            let cities = known.ok().filter(|_| self.tells_cities);
            let cities =
                cities.and_then(|cities| cities.decode::<CityRecord<'_>>().ok()?).unwrap_or_default();
            found.region = cities.subdivisions.first().and_then(|part| part.iso_code);
            found.city = cities.city.and_then(|city| city.names).and_then(|names| names.en);
        }
        if let Some(known) = self.systems.as_ref().and_then(|systems| known(systems, client)) {
            match known.map(|known| known.decode::<SystemRecord<'_>>()) {
                Ok(Ok(Some(system))) => {
                    found.asn = system.autonomous_system_number.map(|Asn(number)| number);
                    found.organization = system.autonomous_system_organization;
                }
                Ok(Ok(None)) => {}
                Ok(Err(_)) | Err(_) => found.is_unreadable = true,
            }
        }
        found
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

impl Rules {
    /// What becomes of an address. Unknown is judged by what the rules ask: another file, which is there to be told of,
    /// changes nothing.
    fn judge(&self, found: &Found<'_>) -> Judgement {
        let judges = !(self.allow.is_empty() && self.deny.is_empty() && self.lets_in_unknown);
        if found.is_unreadable && judges {
            return Judgement::Refused("the file cannot be read at the address".to_owned());
        }
        if let Some(by) = found.among(&self.deny) {
            return Judgement::Refused(format!("{by} is refused"));
        }
        let is_allowed = found.among(&self.allow).is_some();
        let asks_nothing = self.allow.is_empty() && self.deny.is_empty();
        let is_unknown = found.lacks_any(&self.deny)
            || (!is_allowed && found.lacks_all(&self.allow))
            || (asks_nothing && found.is_nothing(self.has_places));
        if is_unknown {
            return match self.lets_in_unknown {
                true => Judgement::PassesUnknown,
                false => Judgement::Refused("nothing is known of the address".to_owned()),
            };
        }
        if is_allowed || self.allow.is_empty() {
            return Judgement::Passes;
        }
        Judgement::Refused(match (found.country.or(found.continent), found.asn) {
            (Some(place), _) => format!("{place} is not let in"),
            (None, Some(asn)) => format!("AS{asn} is not let in"),
            (None, None) => "its place is not let in".to_owned(),
        })
    }
}

/// What a file has of an address. A file of IPv4 alone knows nothing of IPv6, which is an error to its reader.
fn known(
    reader: &Reader<Bytes>,
    client: IpAddr,
) -> Option<Result<LookupResult<'_, Bytes>, maxminddb::MaxMindDbError>> {
    (client.is_ipv4() || reader.metadata().ip_version != 4).then(|| reader.lookup(client))
}

/// Whether a record tells something.
type Has = fn(&LookupResult<'_, Bytes>) -> bool;

fn has_country(record: &LookupResult<'_, Bytes>) -> bool {
    record.decode::<PlaceRecord<'_>>().ok().flatten().is_some_and(|place| place.country().is_some())
}

fn has_continent(record: &LookupResult<'_, Bytes>) -> bool {
    let place = record.decode::<PlaceRecord<'_>>().ok().flatten();
    place.and_then(|place| place.continent?.code).is_some()
}

fn has_place(record: &LookupResult<'_, Bytes>) -> bool {
    has_country(record) || has_continent(record)
}

fn has_number(record: &LookupResult<'_, Bytes>) -> bool {
    let system = record.decode::<SystemRecord<'_>>().ok().flatten();
    system.is_some_and(|system| system.autonomous_system_number.is_some())
}

/// What a file of places has to tell, for these rules.
fn wanted_of_places(settings: &model::policy::Geo) -> Vec<(&'static str, Has)> {
    let asks = |of: fn(&GeoPlaces) -> bool| of(&settings.allow) || of(&settings.deny);
    let mut wanted: Vec<(&'static str, Has)> = vec![("countries or continents", has_place as Has)];
    if asks(|places| !places.countries.is_empty()) {
        wanted.push(("countries", has_country));
    }
    if asks(|places| !places.continents.is_empty()) {
        wanted.push(("continents", has_continent));
    }
    wanted
}

/// Sees to it that a file tells what it is for: with one of another kind everybody would be unknown.
fn probe(key: &str, reader: &Reader<Bytes>, wanted: &[(&str, Has)]) -> Result<(), String> {
    for (what, has) in wanted {
        let networks = reader.networks(Default::default()).map_err(|error| format!("`{key}`: {error}"))?;
        if !networks.take(PROBES_MAX).any(|record| record.is_ok_and(|record| has(&record))) {
            let kind = &reader.metadata().database_type;
            return Err(format!(
                "`{key}` is a file of `{kind}`, of whose first {PROBES_MAX} networks none tells of {what}: it needs one that does"
            ));
        }
    }
    Ok(())
}

fn plain(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

fn encoded(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&utf8_percent_encode(text, ENCODED).to_string()).ok()
}

impl<'d> PlaceRecord<'d> {
    fn country(&self) -> Option<&'d str> {
        let code = |coded: &Option<Coded<'d>>| coded.as_ref().and_then(|coded| coded.iso_code);
        code(&self.country).or_else(|| code(&self.registered_country))
    }
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

    /// Of each kind of places whether it is not known, of those that are asked for.
    fn lacking(&self, places: &GeoPlaces) -> impl Iterator<Item = bool> {
        let all = [
            (places.countries.is_empty(), self.country.is_none()),
            (places.continents.is_empty(), self.continent.is_none()),
            (places.asns.is_empty(), self.asn.is_none()),
        ];
        all.into_iter().filter(|(is_unasked, _)| !is_unasked).map(|(_, is_unknown)| is_unknown)
    }

    /// Whether something is not known that keeps out: then nobody can say that it does not.
    fn lacks_any(&self, places: &GeoPlaces) -> bool {
        self.lacking(places).any(|is_unknown| is_unknown)
    }

    /// Whether nothing is known that lets in.
    fn lacks_all(&self, places: &GeoPlaces) -> bool {
        !places.is_empty() && self.lacking(places).all(|is_unknown| is_unknown)
    }

    /// Whether the file of places, or without one that of autonomous systems, does not tell of it.
    fn is_nothing(&self, has_places: bool) -> bool {
        match has_places {
            true => self.country.is_none() && self.continent.is_none(),
            false => self.asn.is_none(),
        }
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
        let reason = match self.rules.judge(&found) {
            Judgement::Refused(reason) => reason,
            Judgement::Passes | Judgement::PassesUnknown if found.is_unreadable => {
                self.counted.note(UNREADABLE);
                return Flow::Continue;
            }
            Judgement::Passes => {
                self.counted.note(PASSED);
                return Flow::Continue;
            }
            Judgement::PassesUnknown => {
                self.counted.note(UNKNOWN);
                return Flow::Continue;
            }
        };
        if !judged::object(call, "geo", self.mode, reason.as_str()) {
            self.counted.note(if found.is_unreadable { UNREADABLE } else { DETECTED });
            return Flow::Continue;
        }
        self.counted.note(if found.is_unreadable { UNREADABLE } else { REFUSED });
        Flow::Fail(
            Failure::refused(Problem::Forbidden)
                .with_hint("this is not available where you are")
                // Its address is in the record, masked where that is wanted.
                .with_detail(reason),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(countries: &[&str], continents: &[&str], asns: &[u32]) -> GeoPlaces {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        GeoPlaces {
            countries: all(countries),
            continents: all(continents),
            asns: asns.iter().copied().collect(),
        }
    }

    #[test]
    fn unknown_is_judged_by_what_the_rules_ask() {
        let none = || places(&[], &[], &[]);
        let korea = || places(&["KP"], &[], &[]);
        let system = Found { asn: Some(64500), ..Found::default() };
        let german = Found { country: Some("DE"), continent: Some("EU"), ..Found::default() };
        let registered = Found { country: Some("DE"), ..Found::default() };
        let broken = Found { country: Some("DE"), is_unreadable: true, ..Found::default() };
        // Allowed, denied, whether unknown ones are let in, the address; whether it passes.
        for (what, allow, deny, lets_in, found, want) in [
            ("no country beside an AS", none(), korea(), false, &system, false),
            ("the same, let in", none(), korea(), true, &system, true),
            ("not let in by country, of an AS", places(&["DE"], &[], &[]), none(), true, &system, true),
            ("an AS is no country", places(&["DE"], &[], &[]), none(), false, &system, false),
            ("another country, AS unknown", places(&["US"], &[], &[1]), none(), true, &german, false),
            ("let in, other kinds unknown", places(&["DE"], &[], &[1]), none(), false, &german, true),
            ("no continent", none(), places(&[], &["AS"], &[]), false, &registered, false),
            ("known, no rules", none(), none(), false, &german, true),
            ("no place, no rules", none(), none(), false, &system, false),
            ("unreadable", none(), korea(), true, &broken, false),
            ("unreadable, no rules", none(), none(), true, &broken, true),
        ] {
            let rules = Rules { allow, deny, lets_in_unknown: lets_in, has_places: true };
            let passes = !matches!(rules.judge(found), Judgement::Refused(_));
            assert_eq!(passes, want, "{what}");
        }
    }
}
