//! Routes that can never match, because rules before them take all their requests.

use super::{
    Router, Tier,
    compile::Warning,
    host::{HostPattern, any_suffix},
    order::place,
    pattern::Pattern,
    rule::Rule,
    tree::RuleIndex,
};

/// For one rule and host, at most this many rules before it are looked at, so that building stays linear.
const LOOKED_AT_MAX: usize = 32;

/// A warning for each rule that is covered, under each of its hosts, by one rule that is tried before it.
pub(super) fn find(router: &Router) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (index, rule) in (0..).zip(&router.rules) {
        let by: Option<Vec<&Rule>> =
            rule.hosts.iter().map(|host| covered_by(router, index, rule, host)).collect();
        if let Some(first) = by.as_deref().and_then(<[_]>::first) {
            let name = router.route_name(first.route);
            let message =
                format!("can never match: `{name}` (match[{}]) takes all its requests before", first.entry);
            warnings.push(Warning {
                route: router.route_name(rule.route).to_owned(),
                rule: rule.entry,
                message,
            });
        }
    }
    warnings.sort_by(|one, two| (&one.route, one.rule).cmp(&(&two.route, two.rule)));
    warnings
}

fn covered_by<'r>(router: &'r Router, index: RuleIndex, rule: &Rule, host: &HostPattern) -> Option<&'r Rule> {
    let mut found = None;
    let mut left = LOOKED_AT_MAX;
    let mut judge = |other: RuleIndex, other_host: &HostPattern| {
        let candidate = &router.rules[other as usize];
        left = left.saturating_sub(1);
        let before = place(candidate, other_host, other) < place(rule, host, index);
        if before && other != index && candidate.covers_predicates(rule) {
            found = Some(candidate);
        }
        found.is_some() || left == 0
    };
    for tier in &router.tiers {
        if tier.visit_covering(host, &rule.pattern, &router.rules, &mut judge) {
            break;
        }
    }
    found
}

impl Tier {
    /// Visits rules whose host and path take all that this host and pattern take.
    fn visit_covering(
        &self,
        host: &HostPattern,
        pattern: &Pattern,
        rules: &[Rule],
        judge: &mut dyn FnMut(RuleIndex, &HostPattern) -> bool,
    ) -> bool {
        let mut under = |suffix: &str| {
            let host = HostPattern::Wildcard(suffix.into());
            self.wildcard
                .get(suffix)
                .is_some_and(|paths| paths.visit_covering(pattern, rules, &mut |rule| judge(rule, &host)))
        };
        let stopped = match host {
            HostPattern::Any => false,
            HostPattern::Wildcard(suffix) => under(suffix) || any_suffix(suffix, under),
            HostPattern::Exact(name) => {
                any_suffix(name, under)
                    || self.exact.get(name).is_some_and(|paths| {
                        paths.visit_covering(pattern, rules, &mut |rule| judge(rule, host))
                    })
            }
        };
        stopped || self.any.visit_covering(pattern, rules, &mut |rule| judge(rule, &HostPattern::Any))
    }
}
