//! Kong's consumers: their credentials and groups, and what is theirs as members of a group of consumers.

use serde_json::{Value, json};

use super::super::leftovers;
use super::scope::{add, kind};
use super::{Fields, Import, closing, idle, known_as, list, name_of, reference, text};

/// A consumer, and what plugins, groups and `anonymous` know it by.
#[derive(Default)]
pub(super) struct Consumer {
    pub(super) fields: Fields,
    /// Its name and its id in their file.
    known_as: Vec<String>,
    /// The groups of consumers that it is in.
    member_of: Vec<String>,
    /// Kinds of its own plugins, in whose place none of a group stands.
    own: Vec<String>,
}

impl Import {
    pub(super) fn consumer(&mut self, at: &str, mut fields: Fields) {
        let known_as = known_as(&fields);
        let custom = text(&mut fields, "custom_id");
        idle(&mut fields);
        let Some(theirs) = text(&mut fields, "username").or(custom) else {
            return self.note(at, "it has no `username`; left out");
        };
        let name = self.free_consumer(&name_of(&theirs));
        let mut made = Fields::new();
        let variable = name.to_ascii_uppercase().replace('-', "_");
        made.insert("name".to_owned(), json!(name));
        let keys = self.keys(at, &variable, &mut fields);
        let basic = self.passwords(at, &variable, &mut fields);
        let mut groups = Vec::new();
        for mut acl in list(&mut fields, "acls") {
            groups.extend(text(&mut acl, "group").map(Value::from));
        }
        for (key, all) in [("keys", keys), ("basic", basic), ("groups", groups)] {
            if !all.is_empty() {
                made.insert(key.to_owned(), all.into());
            }
        }
        let member_of = match fields.remove("groups") {
            Some(Value::Array(all)) => all.iter().filter_map(reference).collect(),
            _ => Vec::new(),
        };
        let policies: Vec<Value> = self.policies(at, &mut fields).into_iter().map(closing::ended).collect();
        let own = policies.iter().map(kind).collect();
        if !policies.is_empty() {
            made.insert("policies".to_owned(), policies.into());
        }
        leftovers(&fields.into(), at, &mut self.notes);
        self.consumers.push(Consumer { fields: made, known_as, member_of, own });
    }

    fn keys(&mut self, at: &str, variable: &str, fields: &mut Fields) -> Vec<Value> {
        let mut keys = Vec::new();
        for (index, mut credential) in list(fields, "keyauth_credentials").into_iter().enumerate() {
            let at = format!("{at}.keyauth_credentials[{index}]");
            idle(&mut credential);
            if text(&mut credential, "key").is_none() {
                self.note(&at, "it has no `key`, so that Kong makes one up; left out");
            } else if credential.remove("ttl").is_some() {
                self.note(
                    &format!("{at}.ttl"),
                    "the key ends some time after it was made, which is not in the file; left out: write it under \
                     `hashedKeys` with `expiresAt`",
                );
            } else {
                let variable = format!("{variable}_KEY_{}", keys.len() + 1);
                self.note(
                    &format!("{at}.key"),
                    format_args!("a key in the file is not copied: put it into the variable `{variable}`"),
                );
                keys.push(json!({"env": variable}));
            }
            leftovers(&credential.into(), &at, &mut self.notes);
        }
        keys
    }

    fn passwords(&mut self, at: &str, variable: &str, fields: &mut Fields) -> Vec<Value> {
        let mut basic = Vec::new();
        for (index, mut credential) in list(fields, "basicauth_credentials").into_iter().enumerate() {
            let at = format!("{at}.basicauth_credentials[{index}]");
            idle(&mut credential);
            credential.remove("password");
            match text(&mut credential, "username") {
                Some(username) => {
                    let variable = format!("{variable}_PASSWORD_{}", basic.len() + 1);
                    self.note(
                        &format!("{at}.password"),
                        format_args!(
                            "a password in the file is not copied: put it into the variable `{variable}`"
                        ),
                    );
                    basic.push(json!({"username": username, "password": {"env": variable}}));
                }
                None => self.note(&at, "it has no `username`; left out"),
            }
            leftovers(&credential.into(), &at, &mut self.notes);
        }
        basic
    }

    /// A name that no consumer has yet: what is told apart by letters that ours have not stays apart.
    fn free_consumer(&self, name: &str) -> String {
        let is_free = |name: &str| self.consumers.iter().all(|one| one.fields["name"] != name);
        crate::cli::import::free_name(name, is_free)
    }

    /// Our name for a consumer of theirs, by its name or its id.
    pub(super) fn consumer_named(&self, theirs: &str) -> Option<String> {
        let found = self.consumers.iter().find(|one| one.is(theirs))?;
        found.fields.get("name")?.as_str().map(str::to_owned)
    }

    /// A group of consumers: its plugins are those of its members.
    pub(super) fn group(&mut self, at: &str, mut fields: Fields) {
        let known_as = known_as(&fields);
        idle(&mut fields);
        fields.remove("name");
        if let Some(Value::Array(members)) = fields.remove("consumers") {
            for member in members.iter().filter_map(reference) {
                for consumer in self.consumers.iter_mut().filter(|one| one.is(&member)) {
                    consumer.member_of.extend(known_as.iter().cloned());
                }
            }
        }
        self.groups.push(known_as.clone());
        for policy in self.policies(at, &mut fields) {
            // Of a group without members nothing is anybody's.
            self.of_group(&known_as, &closing::ended(policy));
        }
        leftovers(&fields.into(), at, &mut self.notes);
    }

    /// Puts a policy to the members of a group that have none of its kind; whether there are members.
    pub(super) fn of_group(&mut self, group: &[String], policy: &Value) -> bool {
        let of_kind = kind(policy);
        let mut is_there = false;
        let is_member = |one: &Consumer| one.member_of.iter().any(|name| group.contains(name));
        for consumer in self.consumers.iter_mut().filter(|one| is_member(one)) {
            is_there = true;
            if !consumer.own.contains(&of_kind) {
                add(&mut consumer.fields, policy.clone());
            }
        }
        is_there
    }

    /// Puts a policy to a consumer; whether it is there.
    pub(super) fn of_consumer(&mut self, theirs: &str, policy: &Value) -> bool {
        let Some(consumer) = self.consumers.iter_mut().find(|one| one.is(theirs)) else { return false };
        let of_kind = kind(policy);
        if let Some(all) = closing::policies(&mut consumer.fields) {
            // What a group had put there gives way.
            all.retain(|other| consumer.own.contains(&of_kind) || kind(other) != of_kind);
        }
        add(&mut consumer.fields, policy.clone());
        consumer.own.push(of_kind);
        true
    }
}

impl Consumer {
    fn is(&self, theirs: &str) -> bool {
        self.known_as.iter().any(|name| name == theirs)
    }
}
