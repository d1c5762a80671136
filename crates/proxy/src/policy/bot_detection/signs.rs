//! Signs that a visitor who seems to be a browser is none.

use http::{HeaderMap, HeaderName, header};
use model::policy::bot_detection::{BotScores, OldestBrowsers};

use crate::policy::credentials::in_header;

const SEC_CH_UA: HeaderName = HeaderName::from_static("sec-ch-ua");
const SEC_CH_UA_PLATFORM: HeaderName = HeaderName::from_static("sec-ch-ua-platform");

/// Bytes of an agent that are looked at; what is longer is no browser's.
pub(super) const AGENT_BYTES_MAX: usize = 1024;

/// What programs that drive browsers say in their agents, small.
const DRIVERS: [&str; 11] = [
    "headlesschrome",
    "headless",
    "phantomjs",
    "slimerjs",
    "puppeteer",
    "playwright",
    "selenium",
    "webdriver",
    "chromedriver",
    "geckodriver",
    "cypress",
];

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Signs {
    pub(super) empty_agent: bool,
    pub(super) ancient_agent: bool,
    pub(super) headless: bool,
    pub(super) missing_headers: bool,
    pub(super) inconsistent: bool,
    pub(super) impostor: bool,
}

impl Signs {
    /// The signs of a head; `switches` when it asks for WebSocket, whose handshakes have fewer headers.
    pub(super) fn of(
        headers: &HeaderMap,
        agent: Option<&[u8]>,
        switches: bool,
        oldest: OldestBrowsers,
    ) -> Self {
        let mut signs = Self::default();
        let agent = match agent.map(<[u8]>::trim_ascii) {
            Some(agent) if !agent.is_empty() => agent,
            _ => return Self { empty_agent: true, ..signs },
        };
        let text =
            String::from_utf8_lossy(agent.get(..AGENT_BYTES_MAX).unwrap_or(agent)).to_ascii_lowercase();
        let hints = in_header(headers, &SEC_CH_UA).ok().flatten().unwrap_or_default();
        let hints = String::from_utf8_lossy(hints).to_ascii_lowercase();
        signs.headless = DRIVERS.iter().any(|driver| text.contains(driver)) || hints.contains("headless");
        let (chrome, firefox) = (version(&text, "chrome/"), version(&text, "firefox/"));
        let safari = version(&text, "version/").filter(|_| text.contains("safari/") && chrome.is_none());
        let is_explorer = text.contains("msie ") || text.contains("trident/");
        let is_browser =
            text.starts_with("mozilla/") && (chrome.or(firefox).or(safari).is_some() || is_explorer);
        let is_old = |version: Option<u32>, oldest: u32| version.is_some_and(|version| version < oldest);
        signs.ancient_agent = is_explorer
            || is_old(chrome, oldest.chrome)
            || is_old(firefox, oldest.firefox)
            || is_old(safari, oldest.safari)
            || text.starts_with("mozilla/4.0");
        if !is_browser {
            return signs;
        }
        signs.missing_headers = !headers.contains_key(header::ACCEPT_LANGUAGE)
            || !headers.contains_key(header::ACCEPT_ENCODING)
            || !(switches || headers.contains_key(header::ACCEPT))
            || agent.len() > AGENT_BYTES_MAX;
        signs.inconsistent = contradicts(headers, &text, &hints, chrome);
        signs
    }

    /// What they add up to.
    pub(super) fn score(self, scores: &BotScores) -> u32 {
        let all = [
            (self.empty_agent, scores.empty_agent),
            (self.ancient_agent, scores.ancient_agent),
            (self.headless, scores.headless),
            (self.missing_headers, scores.missing_headers),
            (self.inconsistent, scores.inconsistent),
            (self.impostor, scores.impostor),
        ];
        all.iter()
            .filter(|(is_there, _)| *is_there)
            .fold(0, |sum: u32, (_, score)| sum.saturating_add(*score))
    }

    /// For records and upstreams.
    pub(super) fn words(self) -> String {
        let all = [
            (self.empty_agent, "empty-agent"),
            (self.ancient_agent, "ancient-agent"),
            (self.headless, "headless"),
            (self.missing_headers, "missing-headers"),
            (self.inconsistent, "inconsistent"),
            (self.impostor, "impostor"),
        ];
        let there = all.iter().filter(|(is_there, _)| *is_there).map(|(_, word)| *word);
        there.collect::<Vec<_>>().join("+")
    }
}

/// The number after a name.
fn version(agent: &str, name: &str) -> Option<u32> {
    let rest = agent.split_once(name)?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end.min(6))?.parse().ok()
}

/// Whether client hints, which browsers made of Chromium alone send, say something else than the agent.
fn contradicts(headers: &HeaderMap, agent: &str, hints: &str, chrome: Option<u32>) -> bool {
    if hints.is_empty() {
        return false;
    }
    let Some(chrome) = chrome else { return true };
    if hints.contains("\"chromium\"") && !hints.contains(&format!("v=\"{chrome}\"")) {
        return true;
    }
    let platform = in_header(headers, &SEC_CH_UA_PLATFORM).ok().flatten().unwrap_or_default();
    let named: &[&str] = match platform {
        b"\"Windows\"" => &["windows"],
        b"\"macOS\"" => &["macintosh"],
        b"\"Android\"" => &["android", "linux"],
        b"\"Linux\"" => &["linux", "x11"],
        b"\"Chrome OS\"" | b"\"ChromeOS\"" | b"\"Chromium OS\"" => &["cros"],
        _ => return false,
    };
    !named.iter().any(|name| agent.contains(name))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Agents of ordinary browsers.
    pub(in crate::policy::bot_detection) const BROWSERS: [&str; 8] = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
        "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    ];

    fn signs(agent: &str, more: &[(&'static str, &str)]) -> Signs {
        let mut headers = HeaderMap::new();
        for (name, value) in more {
            headers.append(*name, value.parse().expect("a value"));
        }
        Signs::of(&headers, Some(agent.as_bytes()), false, OldestBrowsers::default())
    }

    const USUAL: [(&str, &str); 3] =
        [("accept", "*/*"), ("accept-language", "en"), ("accept-encoding", "gzip")];

    #[test]
    fn ordinary_browsers_show_no_sign() {
        for agent in BROWSERS {
            assert_eq!(signs(agent, &USUAL), Signs::default(), "{agent}");
        }
        let hints = [
            ("sec-ch-ua", "\"Google Chrome\";v=\"131\", \"Chromium\";v=\"131\", \"Not_A Brand\";v=\"24\""),
            ("sec-ch-ua-platform", "\"Windows\""),
        ];
        assert_eq!(signs(BROWSERS[0], &[&USUAL[..], &hints].concat()), Signs::default());
        assert_eq!(
            signs("curl/8.5.0", &[]),
            Signs::default(),
            "what says that it is a program hides nothing"
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_client_says_it_has_signs_that_add_up(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000),
            text in "(Mozilla/[45]\\.0 )?(Chrome/|Firefox/|Version/)?[0-9.a-zA-Z /;()]{0,40}(Safari/)?[0-9.]{0,9}",
            hints in "[\"a-zA-Z;=0-9, ]{0,100}",
        ) {
            for agent in [bytes.as_slice(), text.as_bytes()] {
                let mut headers = HeaderMap::new();
                headers.insert(SEC_CH_UA, hints.parse().expect("a value"));
                let found = Signs::of(&headers, Some(agent), false, OldestBrowsers::default());
                let words = found.words();
                assert_eq!(found.empty_agent, agent.trim_ascii().is_empty());
                assert!(!found.empty_agent || words == "empty-agent", "{words}");
                assert_eq!(found.score(&BotScores::default()) == 0, words.is_empty(), "{words}");
            }
        }
    }

    #[test]
    fn each_sign_is_found() {
        let chrome = BROWSERS[0];
        let with =
            |more: &[(&'static str, &'static str)]| signs(chrome, &[&USUAL[..], more].concat()).words();
        for (agent, want) in [
            ("", "empty-agent"),
            ("  ", "empty-agent"),
            (&chrome.replace("Chrome/131", "HeadlessChrome/131"), "headless"),
            (&chrome.replace("Chrome/131", "Chrome/49"), "ancient-agent"),
            ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)", "ancient-agent"),
            ("Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "ancient-agent"),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:45.0) Gecko/20100101 Firefox/45.0", "ancient-agent"),
            (
                "Mozilla/5.0 (Unknown; Linux) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1",
                "headless",
            ),
            (&chrome.replace("Chrome/131", "Chrome/99999999999999999999"), ""),
        ] {
            assert_eq!(signs(agent, &USUAL).words(), want, "{agent}");
        }
        assert_eq!(signs(chrome, &USUAL[..2]).words(), "missing-headers");
        assert_eq!(
            with(&[("sec-ch-ua", "\"HeadlessChrome\";v=\"131\", \"Chromium\";v=\"131\"")]),
            "headless"
        );
        assert_eq!(with(&[("sec-ch-ua", "\"Chromium\";v=\"120\"")]), "inconsistent");
        let linux = [("sec-ch-ua", "\"Chromium\";v=\"131\""), ("sec-ch-ua-platform", "\"Linux\"")];
        assert_eq!(with(&linux), "inconsistent");
        assert_eq!(signs(BROWSERS[2], &[&USUAL[..], &linux[..1]].concat()).words(), "inconsistent");
        let long = format!("{chrome}{}", "x".repeat(5000));
        assert_eq!(signs(&long, &USUAL).words(), "missing-headers");
    }
}
