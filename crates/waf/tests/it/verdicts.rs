//! What ModSecurity in Apache says about the requests of `bench/waf_requests.py`, and what the engine says, with Debian's
//! files of the Core Rule Set: the same but for the differences that are listed here, each of which must still be there.
//!
//! `tests/verdicts/*.tsv` is what ModSecurity says; `python3 bench/waf.py --verdicts` writes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use sha1::{Digest, Sha1};
use waf::{Collections, Options, Rules, Transaction, Verdict};

use super::requests::{Asked, Disk, source, sources, unpacked};

/// Rules of ModSecurity's recommended configuration, and those that are built in here instead.
const BUILT_IN: [(u32, u32); 4] =
    [(200_002, 190_003), (200_003, 190_004), (200_004, 190_004), (200_005, 190_005)];
/// Rules that sum up when the answer is out; the file does not have them.
const SUMMING_UP: std::ops::Range<u32> = 980_000..981_000;

/// A rule that fires on one side alone, and why.
struct Difference {
    rule: u32,
    /// It fires in ModSecurity alone, or here alone.
    is_theirs: bool,
    /// For so many requests at each paranoia level.
    requests: [usize; 4],
    why: &'static str,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        rule: 921_180,
        is_theirs: true,
        requests: [0, 0, 46, 46],
        why: "it looks for a parameter that is given twice, and items of a JSON array have one name in ModSecurity; \
              here each has its own, so that a list of things is no parameter given twice",
    },
    Difference {
        rule: 949_110,
        is_theirs: true,
        requests: [0, 0, 4, 0],
        why: "what 921180 adds there makes the score enough; at level 4 it is enough without",
    },
];

/// Requests of one description that one side alone refuses, and why.
struct Disagreement {
    what: &'static str,
    /// How many at each paranoia level.
    requests: [usize; 4],
    why: &'static str,
}

const DISAGREEMENTS: &[Disagreement] = &[
    Disagreement {
        what: "benign: writing, JSON: order",
        requests: [0, 0, 4, 0],
        why: "ModSecurity takes lists of a JSON body for parameters given twice (921180)",
    },
    Disagreement {
        what: "hostile: evasion, multipart: an empty file name",
        requests: [1, 1, 1, 1],
        why: "what only some take for a file is looked at as a field here",
    },
    Disagreement {
        what: "hostile: evasion, XML: UTF-7",
        requests: [1, 1, 1, 1],
        why: "ModSecurity reads XML in an encoding in which no rule knows what it says",
    },
];

/// Requests that are read in another way here, on purpose: which rules fire for them is not compared, what becomes of them is.
const READ_OTHERWISE: [&str; 5] = [
    // A part with such a name is a file to ModSecurity, and a field to whoever reads it so; here it is looked at as both.
    "hostile: evasion, multipart: an empty file name",
    "hostile: evasion, multipart: an extended file name",
    "hostile: evasion, multipart: an extended file name with its encoding",
    // An encoding in which no rule knows what the document says is no XML that is read here.
    "hostile: evasion, XML: UTF-7",
    // ModSecurity takes the first of two; here it is no body that is read in one way.
    "hostile: evasion, content type: two of them",
];

/// What one side says about a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    /// 200 when it passes.
    status: u16,
    score: i64,
    rules: BTreeSet<u32>,
}

impl Said {
    fn is_refused(&self) -> bool {
        self.status != 200
    }

    fn by(call: &Transaction) -> Self {
        let status = match call.verdict() {
            None => 200,
            Some(Verdict::Deny(status)) => *status,
            Some(other) => panic!("expected a status, found {other:?}"),
        };
        let rules = call.fired().iter().map(|fired| fired.rule).filter(|rule| !SUMMING_UP.contains(rule));
        let rules: BTreeSet<u32> = rules.collect();
        // The rules tell a score only when they refuse by it.
        let score = if rules.contains(&949_110) { call.scores().0 } else { 0 };
        Self { status, score, rules }
    }

    /// A cell, after that of the level before.
    fn read(cell: &str, before: &Self) -> Self {
        let mut words = cell.split(' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
        let (status, score) = (number() as u16, number());
        let mut rules = before.rules.clone();
        for rule in words.next().unwrap_or_default().split(',').filter(|rule| !rule.is_empty()) {
            match rule.strip_prefix('-') {
                Some(gone) => assert!(rules.remove(&gone.parse().expect("an id"))),
                None => assert!(rules.insert(rule.trim_start_matches('+').parse().expect("an id"))),
            }
        }
        Self { status, score, rules }
    }

    /// The same with the rules that are built in here.
    fn in_our_words(&self) -> Self {
        let ours =
            |rule: &u32| BUILT_IN.iter().find(|(theirs, _)| theirs == rule).map_or(*rule, |(_, own)| *own);
        Self { rules: self.rules.iter().map(ours).collect(), ..self.clone() }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} by {:?}", self.status, self.score, self.rules)
    }
}

/// A line of the file.
struct Line {
    digest: String,
    what: String,
    said: Vec<Said>,
}

fn lines(file: &str) -> Vec<Line> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verdicts").join(file);
    let text = fs::read_to_string(&path).expect("the file of verdicts");
    let line = |line: &str| {
        let mut cells = line.split('\t').map(str::to_owned);
        let mut cell = || cells.next().expect("a cell");
        let (digest, side, what) = (cell(), cell(), cell());
        let mut said: Vec<Said> = Vec::new();
        for cell in cells {
            said.push(Said::read(&cell, said.last().unwrap_or(&Said::default())));
        }
        Line { digest, what: format!("{side}: {what}"), said }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

fn peers() -> PathBuf {
    match env::var_os("TIDEGATE_PEERS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers"),
    }
}

/// The requests, as the script makes them.
fn requests() -> Vec<u8> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/waf_requests.py");
    let made = Command::new("python3").arg("-B").arg(script).arg("--packed").output().expect("python3");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// Debian's rules at a level.
fn rules(level: usize) -> Rules {
    let debian = peers().join("modsecurity");
    let folder = debian.join("usr/share/modsecurity-crs/rules");
    assert!(folder.exists(), "{} is missing: run scripts/peers.sh", folder.display());
    let mut all = vec![source(&debian.join("etc/modsecurity/crs/crs-setup.conf"))];
    all.extend(sources(&folder));
    let names = ["paranoia_level", "executing_paranoia_level", "blocking_paranoia_level"];
    let pinned = names.map(|name| (name.to_owned(), level.to_string())).to_vec();
    let options = Options { pinned, pinned_after: 1, ..Options::default() };
    let (rules, _) = Rules::compile(&all, &Disk, &options).unwrap_or_else(|errors| panic!("{errors:?}"));
    rules
}

/// What differs, at all levels: rules that fire on one side alone, verdicts, scores.
#[derive(Default)]
struct Found {
    /// By rule and whether it is theirs.
    rules: BTreeMap<(u32, bool), [Vec<String>; 4]>,
    /// Requests at each level that one side alone refuses, by their description.
    verdicts: BTreeMap<String, [usize; 4]>,
    /// Those of [`READ_OTHERWISE`] for which other rules fire.
    read_otherwise: BTreeSet<String>,
    /// Scores that differ though the same rules fired.
    scores: Vec<String>,
}

impl Found {
    fn compare(&mut self, level: usize, line: &Line, theirs: &Said, ours: &Said) {
        if READ_OTHERWISE.contains(&&*line.what) {
            if theirs.rules != ours.rules {
                self.read_otherwise.insert(line.what.clone());
            }
        } else {
            self.compare_rules(level, line, theirs, ours);
        }
        if theirs.is_refused() != ours.is_refused() {
            self.verdicts.entry(line.what.clone()).or_default()[level - 1] += 1;
        }
        if theirs.rules == ours.rules && (theirs.status, theirs.score) != (ours.status, ours.score) {
            self.scores.push(format!("{level}, {}: ModSecurity says {theirs}, the engine {ours}", line.what));
        }
    }

    fn compare_rules(&mut self, level: usize, line: &Line, theirs: &Said, ours: &Said) {
        for (side, rules) in
            [(true, theirs.rules.difference(&ours.rules)), (false, ours.rules.difference(&theirs.rules))]
        {
            for rule in rules {
                self.rules.entry((*rule, side)).or_default()[level - 1].push(line.what.clone());
            }
        }
    }
}

#[test]
fn requests_are_judged_as_modsecurity_judges_them() {
    let (lines, bytes) = (lines("crs-3.3.4.tsv"), requests());
    let requests = unpacked(&bytes);
    assert_eq!(lines.len(), requests.len());
    for (line, request) in lines.iter().zip(&requests) {
        let digest: String = Sha1::digest(request).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            line.digest, digest,
            "{} is another request now: python3 bench/waf.py --verdicts",
            line.what
        );
    }
    let asked: Vec<Asked> = requests.iter().map(|request| Asked::read(request)).collect();
    let mut found = Found::default();
    for level in 1..=4 {
        let (rules, collections) = (Arc::new(rules(level)), Arc::new(Collections::new(1_000)));
        for (line, asked) in lines.iter().zip(&asked) {
            let ours = Said::by(&asked.judge(&rules, &collections));
            found.compare(level, line, &line.said[level - 1].in_our_words(), &ours);
        }
    }
    found.check();
}

impl Found {
    /// Holds what was found to what is listed: nothing more, and nothing less.
    fn check(&self) {
        let mut wrong = self.scores.clone();
        for ((rule, is_theirs), at) in &self.rules {
            let listed = DIFFERENCES.iter().find(|one| (one.rule, one.is_theirs) == (*rule, *is_theirs));
            let requests = at.each_ref().map(Vec::len);
            if listed.is_none_or(|listed| listed.requests != requests) {
                let side = if *is_theirs { "in ModSecurity" } else { "here" };
                let some: BTreeSet<&String> = at.iter().flatten().take(60).collect();
                wrong.push(format!("{rule} fires {side} alone for {requests:?} requests, such as {some:#?}"));
            }
        }
        for one in DIFFERENCES.iter().filter(|one| !self.rules.contains_key(&(one.rule, one.is_theirs))) {
            wrong.push(format!("{} is no difference any more; it was one because {}", one.rule, one.why));
        }
        for one in READ_OTHERWISE.iter().filter(|one| !self.read_otherwise.contains(**one)) {
            wrong.push(format!("both sides read {one} in one way now"));
        }
        for (what, requests) in &self.verdicts {
            if !DISAGREEMENTS.iter().any(|one| one.what == what && one.requests == *requests) {
                wrong.push(format!(
                    "one side alone refuses {what}, so many times at each level: {requests:?}"
                ));
            }
        }
        for one in DISAGREEMENTS.iter().filter(|one| !self.verdicts.contains_key(one.what)) {
            wrong.push(format!("both sides agree about {} now; they did not because {}", one.what, one.why));
        }
        assert!(
            wrong.is_empty(),
            "{}\n(If Debian has other rules now: python3 bench/waf.py --verdicts, and look at what changed.)",
            wrong.join("\n")
        );
    }
}
