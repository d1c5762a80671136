//! What lets in some and refuses others: `allow` and `deny`, modules that guard, `if`, files that are not there.

use serde_json::{Map, Value, json};

use super::{Import, Scope, syntax::Directive, words};
use crate::cli::import::nobody;

/// Modules of others that guard, by a directive whose name says nothing of it.
const GUARDS: [&str; 10] = [
    "secure_link",
    "secure_link_secret",
    "js_access",
    "shib_request",
    "modsecurity",
    "SecRulesEnabled",
    "app_protect_enable",
    "app_protect_dos_enable",
    "waf",
    "testcookie",
];

/// What belongs to a guard and is none without it (`auth_ldap_servers`), or is looked at elsewhere.
const SETTINGS: [&str; 8] = [
    "auth_basic",
    "auth_request",
    "auth_jwt_",
    "auth_ldap_",
    "auth_pam_",
    "auth_gss_",
    "auth_digest_",
    "auth_delay",
];

/// Whether a directive guards and is none of those that become a policy: a module that nobody knows here may be one.
pub(super) fn is_guard(name: &str) -> bool {
    let is_script = ["access_by_lua", "rewrite_by_lua", "server_rewrite_by_lua"]
        .iter()
        .any(|phase| name.starts_with(phase));
    (name.starts_with("auth_") && !SETTINGS.iter().any(|known| name.starts_with(known)))
        || name == "auth_jwt_require"
        || (is_script && !name.ends_with("_no_postpone"))
        || GUARDS.contains(&name)
}

/// The names of the guards around a place, each once.
fn guards<'a>(scope: &Scope<'a>) -> Vec<&'a str> {
    let mut names: Vec<&'a str> = Vec::new();
    for level in &scope.levels {
        for one in level.iter().filter(|one| is_guard(&one.name)) {
            if !names.contains(&one.name.as_str()) {
                names.push(&one.name);
            }
        }
    }
    names
}

/// Variables that say what is asked for, and nothing of who asks.
const OF_THE_TARGET: [&str; 28] = [
    "scheme",
    "https",
    "host",
    "http_host",
    "hostname",
    "server_name",
    "server_port",
    "server_protocol",
    "request_uri",
    "request_method",
    "request_filename",
    "document_root",
    "uri",
    "document_uri",
    "is_args",
    "content_type",
    "http_accept",
    "http_accept_encoding",
    "http_accept_language",
    "http_upgrade",
    "http_user_agent",
    "http_x_forwarded_host",
    "http_x_forwarded_port",
    "http_x_forwarded_proto",
    "http_x_forwarded_ssl",
    "http_front_end_https",
    "http_cf_visitor",
    "ssl_protocol",
];

/// How far variables are followed that come of others.
const STEPS_MAX: usize = 3;

/// Names of files that hold no guard, by what stands in them, unless they say one of the others.
const HARMLESS: [&str; 8] = ["mime", "params", "ssl", "tls", "fastcgi", "gzip", "brotli", "headers"];
const GUARDING: [&str; 6] = ["auth", "access", "allow", "deny", "block", "client"];

impl<'a> Import<'a> {
    /// What guards a place, in the end as policies.
    pub(super) fn guarded(&mut self, scope: &Scope<'a>, place: &'a Directive) -> Vec<Value> {
        let mut all = Vec::new();
        let mut closed = Vec::new();
        // nginx answers with `return` before it asks who calls; what stands beside it is meant to hold all the same.
        let returns = place.name == "location" && place.inside().iter().any(|one| one.name == "return");
        let asks = if returns { Scope { levels: vec![place.inside()] } } else { scope.clone() };
        self.addresses(&asks, &mut all, &mut closed);
        let is_by_address = all.iter().any(|policy| *policy != nobody());
        if let Some(header) = self.other_header(scope).filter(|_| is_by_address) {
            closed.push(format!("real_ip_header {header}"));
        }
        if asks.arg("satisfy") == Some("any") {
            closed.push("satisfy any".to_owned());
        }
        if let Some(realm) = asks.one("auth_basic").filter(|one| one.arg(0) != "off") {
            asks.one("auth_basic_user_file");
            closed.push(realm.name.clone());
        }
        if self.is_unasked {
            closed.push("ssl_verify_client on".to_owned());
        }
        for name in guards(scope) {
            if scope.one(name).is_some_and(|one| one.arg(0) != "off") {
                closed.push(name.to_owned());
            }
        }
        if let Some(ask) = asks.one("auth_request").filter(|one| one.arg(0) != "off") {
            match self.judge(scope, ask) {
                Some(policy) => all.push(policy),
                None => closed.push(ask.name.clone()),
            }
        }
        conditions(scope, &mut closed);
        closed.extend(missing(scope));
        if !closed.is_empty() {
            all.retain(|policy| policy.get("ipRestriction").is_none());
            all.push(nobody());
            let names = closed.join("`, `");
            self.note(
                place,
                format_args!("CLOSED, for `{names}` is not taken over: write who may call, then take its `ipRestriction` out"),
            );
        }
        all
    }

    /// `allow` and `deny`, the first that fits. Ours has lists, of which `deny` wins.
    fn addresses(&mut self, scope: &Scope<'a>, all: &mut Vec<Value>, closed: &mut Vec<String>) {
        // Both at one level count as one list.
        let is_rule = |one: &&'a Directive| one.name == "allow" || one.name == "deny";
        let mut rules: Vec<&'a Directive> = Vec::new();
        for level in scope.levels.iter().rev() {
            let own: Vec<&'a Directive> = level.iter().filter(is_rule).collect();
            own.iter().for_each(|one| one.seen.set(true));
            if rules.is_empty() {
                rules = own;
            }
        }
        let (mut allow, mut deny) = (Vec::new(), Vec::new());
        let mut ends = false;
        for rule in &rules {
            let is_network = rule.arg(0).parse::<model::Cidr>().is_ok();
            match (rule.name.as_str(), rule.arg(0)) {
                ("allow", "all") => {
                    // All that is refused comes before.
                    allow.clear();
                    ends = true;
                }
                ("deny", "all") => {
                    if allow.is_empty() {
                        all.push(nobody());
                        return;
                    }
                    ends = true;
                }
                ("allow", network) if is_network => allow.push(network.to_owned()),
                ("allow", other) => {
                    self.note(rule, format_args!("`{other}` is no network here; it is not let in"));
                }
                // A network that is refused after one that is let in may hold it.
                (_, _) if !allow.is_empty() || !is_network => return closed.push("deny".to_owned()),
                (_, network) => deny.push(network.to_owned()),
            }
            if ends {
                break;
            }
        }
        if !ends {
            allow.clear();
        }
        if !allow.is_empty() || !deny.is_empty() {
            let mut lists = Map::new();
            for (key, list) in [("allow", allow), ("deny", deny)] {
                if !list.is_empty() {
                    lists.insert(key.to_owned(), json!(list));
                }
            }
            all.push(json!({"ipRestriction": lists}));
        }
    }
}

/// `if` that refuses protects, and so does one that leads elsewhere by who asks; any other is told.
fn conditions(scope: &Scope<'_>, closed: &mut Vec<String>) {
    for level in &scope.levels {
        for one in level.iter().filter(|one| one.name == "if") {
            let refuses = one.inside().iter().any(|inner| {
                inner.name == "deny" || (inner.name == "return" && inner.arg(0).starts_with('4'))
            });
            let leads = one.inside().iter().any(|inner| match inner.name.as_str() {
                "return" => !inner.arg(0).starts_with('2'),
                name => name == "rewrite",
            });
            if refuses || (leads && !is_of_the_target(scope, one, 0)) {
                one.take();
                closed.push(one.shown());
            }
        }
    }
}

/// Whether a condition asks for nothing but what is called.
fn is_of_the_target(scope: &Scope<'_>, condition: &Directive, steps: usize) -> bool {
    let words: Vec<&str> = condition
        .args
        .iter()
        .map(|word| word.trim_matches(['(', ')']))
        .filter(|word| !word.is_empty())
        .collect();
    let Some(first) = words.first() else { return false };
    if first.trim_start_matches('!').starts_with('-') {
        // A file that is there or not.
        return true;
    }
    // What a query has asks for something; what it lacks may be a key.
    let has_value = words.len() > 2 && words.get(1).is_some_and(|sign| ["=", "~", "~*"].contains(sign));
    let is_query = |name: &str| ["args", "query_string"].contains(&name) || name.starts_with("arg_");
    let mut names = words::variables(first).peekable();
    names.peek().is_some()
        && names.all(|name| if is_query(name) { has_value } else { is_target(scope, name, steps) })
}

/// Whether a variable says nothing of who asks, nor anything that it is made of.
fn is_target(scope: &Scope<'_>, name: &str, steps: usize) -> bool {
    if OF_THE_TARGET.contains(&name) {
        return true;
    }
    if steps > STEPS_MAX {
        return false;
    }
    let own = |word: &str| word.trim_start_matches('$').trim_matches(['{', '}']) == name;
    let all_targets =
        |text: &str| words::variables(text).all(|other| other == name || is_target(scope, other, steps + 1));
    let mut is_known = false;
    for one in scope.levels.iter().flat_map(|level| level.iter()) {
        let is_fine = match one.name.as_str() {
            "map" if own(one.arg(1)) => all_targets(one.arg(0)),
            "set" if own(one.arg(0)) => all_targets(one.arg(1)),
            "geo" | "split_clients" if one.args.last().is_some_and(|last| own(last)) => false,
            "if" => {
                let sets: Vec<&Directive> =
                    one.inside().iter().filter(|inner| inner.name == "set" && own(inner.arg(0))).collect();
                if sets.is_empty() {
                    continue;
                }
                is_of_the_target(scope, one, steps + 1) && sets.iter().all(|inner| all_targets(inner.arg(1)))
            }
            _ => continue,
        };
        if !is_fine {
            return false;
        }
        is_known = true;
    }
    is_known
}

/// Files that are not there, and may hold a guard.
fn missing(scope: &Scope<'_>) -> Vec<String> {
    let all = scope.levels.iter().flat_map(|level| level.iter()).filter(|one| one.name == "include");
    let guards = all.filter(|one| {
        let name = one.arg(0).rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
        !says(&HARMLESS) || says(&GUARDING)
    });
    guards.map(Directive::shown).collect()
}
