//! What becomes reachable by routes of byte streams and datagrams, or from more addresses.

use super::{Exposure, door::is_public, host::Host};
use crate::{
    Cidr, Config, Listener, Snapshot,
    resource::{
        listener::ListenerProtocol,
        stream_route::{StreamRoute, StreamTls},
    },
};

/// One way in.
struct Way<'c> {
    listener: &'c Listener,
    route: &'c StreamRoute,
    /// `*` for any.
    name: &'c str,
    host: Host,
}

impl<'c> Way<'c> {
    fn all(config: &'c Config) -> Vec<Self> {
        let mut all = Vec::new();
        for route in &config.stream_routes {
            let of = |name: &String| config.listeners.iter().find(|listener| listener.name == *name);
            for listener in route.listeners.iter().filter_map(of) {
                let names: Vec<&str> = match route.server_names.is_empty() {
                    true => vec!["*"],
                    false => route.server_names.iter().map(String::as_str).collect(),
                };
                all.extend(names.into_iter().map(|name| Self {
                    listener,
                    route,
                    name,
                    host: Host::of(name),
                }));
            }
        }
        all
    }

    /// Whether who comes by another way could come by this one, as far as name and place go.
    fn covers(&self, other: &Self) -> bool {
        let is_there = self.listener.address == other.listener.address
            || (is_public(&self.listener.address) && !is_public(&other.listener.address));
        let is_udp = |way: &Self| way.listener.protocol == ListenerProtocol::Udp;
        is_there && is_udp(self) == is_udp(other) && self.host.covers(&other.host)
    }

    /// Whether all addresses that another way lets in are let in here.
    fn lets_in(&self, other: &Self) -> bool {
        let covered = |inner: &Cidr, by: &[Cidr]| by.iter().any(|outer| outer.covers(inner));
        let (mine, theirs) = (self.route, other.route);
        let allows = mine.allow.is_empty()
            || (!theirs.allow.is_empty() && theirs.allow.iter().all(|one| covered(one, &mine.allow)));
        allows && mine.deny.iter().all(|one| covered(one, &theirs.deny))
    }

    /// What is asked of clients, in words.
    fn words(&self) -> Vec<String> {
        let list = |what: &str, of: &[Cidr]| {
            let of: Vec<String> = of.iter().map(ToString::to_string).collect();
            (!of.is_empty()).then(|| format!("an address {what} {}", of.join(", ")))
        };
        let tls = (self.route.tls == StreamTls::Terminate).then(|| "TLS".to_owned());
        let client =
            self.listener.tls.as_ref().filter(|_| tls.is_some()).and_then(|tls| tls.client_auth.as_ref());
        let client = client.map(|_| "a client certificate".to_owned());
        let lists = [list("of", &self.route.allow), list("not of", &self.route.deny)];
        tls.into_iter().chain(client).chain(lists.into_iter().flatten()).collect()
    }

    fn exposure(&self, was: Option<&Self>) -> Exposure {
        Exposure {
            kind: if was.is_some() { "weakerIdentity" } else { "newlyReachable" },
            listener: format!("{} ({})", self.listener.name, self.listener.address),
            host: self.name.to_owned(),
            path: String::new(),
            methods: Vec::new(),
            route: self.route.name.clone(),
            resource: String::new(),
            was: was.map(Self::words),
            now: self.words(),
        }
    }
}

pub(super) fn exposure(old: &Snapshot, new: &Snapshot) -> Vec<Exposure> {
    let before = Way::all(&old.config);
    let mut found = Vec::new();
    for way in Way::all(&new.config) {
        let covering: Vec<&Way<'_>> = before.iter().filter(|old| old.covers(&way)).collect();
        let asks_less = |old: &&&Way<'_>| {
            let needed = old.words();
            let now = way.words();
            !old.lets_in(&way) || needed.iter().any(|one| !one.contains("address") && !now.contains(one))
        };
        match covering.first() {
            None => found.push(way.exposure(None)),
            // One of several that lets in as much is enough.
            Some(first) if covering.iter().all(|old| asks_less(&old)) => {
                found.push(way.exposure(Some(first)))
            }
            Some(_) => {}
        }
    }
    found
}
