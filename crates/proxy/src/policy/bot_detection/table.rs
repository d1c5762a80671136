//! Bots that say who they are.

use std::collections::HashMap;

use model::policy::bot_detection::{BotCategory, BotClass, BotDetection};
use regex::bytes::{RegexSet, RegexSetBuilder};

/// The table that is built in.
const TABLE: &str = include_str!("bots.txt");

/// All that are known, those of the operator first.
pub(super) struct Table {
    agents: RegexSet,
    bots: Vec<Bot>,
}

/// A bot.
#[derive(Debug)]
pub(super) struct Bot {
    pub(super) name: Box<str>,
    pub(super) category: BotCategory,
    pub(super) class: BotClass,
    /// With a dot in front.
    pub(super) domains: Vec<Box<str>>,
}

impl Table {
    pub(super) fn compile(settings: &BotDetection) -> Result<Self, String> {
        let mut agents = Vec::new();
        let mut bots = Vec::new();
        let class = |name: &str, category: BotCategory| {
            let usual = if category == BotCategory::Scanner { BotClass::Deny } else { BotClass::Allow };
            let by_category = settings.categories.get(category.as_str()).copied().unwrap_or(usual);
            settings.bots.get(name).copied().unwrap_or(by_category)
        };
        for bot in &settings.declared {
            agents.push(regex::escape(bot.agent.trim()));
            bots.push(Bot {
                name: bot.name.as_str().into(),
                category: bot.category,
                class: class(&bot.name, bot.category),
                domains: bot.domains.iter().map(|domain| dotted(domain)).collect(),
            });
        }
        let categories: HashMap<&str, BotCategory> =
            BotCategory::ALL.iter().map(|category| (category.as_str(), *category)).collect();
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let mut parts = line.split('|');
            let mut part = || parts.next().unwrap_or_default();
            let (name, category, agent, domains) = (part(), part(), part(), part());
            let category = categories.get(category).ok_or_else(|| format!("the table of bots: `{line}`"))?;
            agents.push(regex::escape(agent));
            bots.push(Bot {
                name: name.into(),
                category: *category,
                class: class(name, *category),
                domains: domains.split(',').filter(|domain| !domain.is_empty()).map(dotted).collect(),
            });
        }
        for name in settings.bots.keys() {
            if !bots.iter().any(|bot| *bot.name == **name) {
                return Err(format!(
                    "`bots`: no bot is called `{name}`; names are as in the table, such as `GPTBot`"
                ));
            }
        }
        let agents = RegexSetBuilder::new(&agents).case_insensitive(true).unicode(false).build();
        Ok(Self { agents: agents.map_err(|error| format!("the table of bots: {error}"))?, bots })
    }

    /// The first whose agent this is.
    pub(super) fn find(&self, agent: &[u8]) -> Option<(usize, &Bot)> {
        let place = self.agents.matches(agent).iter().next()?;
        Some((place, self.bots.get(place)?))
    }

    pub(super) fn len(&self) -> usize {
        self.bots.len()
    }

    /// The domains of all.
    pub(super) fn domains(&self) -> Vec<Box<str>> {
        let mut all: Vec<Box<str>> = self.bots.iter().flat_map(|bot| bot.domains.iter().cloned()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn dotted(domain: &str) -> Box<str> {
    format!(".{}", domain.trim_matches('.').to_ascii_lowercase()).into()
}

/// Whether a name is in one of these domains.
pub(super) fn is_in(name: &str, domains: &[Box<str>]) -> bool {
    domains.iter().any(|domain| name.ends_with(&**domain) || Some(name) == domain.get(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_whole_and_none_hides_another() {
        let table = Table::compile(&BotDetection::default()).expect("a table");
        assert!(table.len() > 100);
        for (place, line) in TABLE.lines().filter(|line| !line.starts_with('#')).enumerate() {
            let parts: Vec<&str> = line.split('|').collect();
            assert_eq!(parts.len(), 4, "{line}");
            assert!(parts[2].len() >= 3 && parts[2] == parts[2].to_lowercase(), "{line}");
            let (found, bot) = table.find(parts[2].as_bytes()).expect(line);
            assert_eq!(found, place, "{line} is hidden by {bot:?}");
        }
    }

    #[test]
    fn bots_that_name_others_are_themselves() {
        let table = Table::compile(&BotDetection::default()).expect("a table");
        for (agent, name) in [
            ("TelegramBot (like TwitterBot)", "TelegramBot"),
            ("Twitterbot/1.0", "Twitterbot"),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot"),
        ] {
            let (_, bot) = table.find(agent.as_bytes()).expect(agent);
            assert_eq!(&*bot.name, name, "{agent}");
        }
    }

    #[test]
    fn browsers_are_in_no_line() {
        let table = Table::compile(&BotDetection::default()).expect("a table");
        for agent in super::super::signs::tests::BROWSERS {
            assert!(table.find(agent.as_bytes()).is_none(), "{agent}");
        }
    }

    #[test]
    fn a_domain_ends_at_a_dot() {
        let domains = [dotted("googlebot.com")];
        for (name, want) in [
            ("crawl-1.googlebot.com", true),
            ("googlebot.com", true),
            ("evilgooglebot.com", false),
            ("googlebot.com.evil.test", false),
            ("", false),
        ] {
            assert_eq!(is_in(name, &domains), want, "{name}");
        }
    }
}
