//! Files of rules into [`Rules`]: what is read, how it refers to other files, and what is told about it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Control, Effect, Link, Mode, NO_STEP, PathExclusion, Rules, Selector,
    actions::{RawEffect, Which},
    directives::Book,
    has_bit,
    scan::Gathering,
    targets,
};
use crate::{
    finding::{Finding, Findings, Place},
    pattern::{BACKTRACKS_MAX, Pattern},
    request::ARGUMENTS,
    seclang::split_targets,
    transform::Transform,
    variable::Variable,
};

/// Reads the files that rules refer to.
pub trait Files {
    /// The bytes of a file that is named in another one.
    fn read(&self, from: &str, name: &str) -> Result<Vec<u8>, String>;

    /// The files of a pattern such as `rules/*.conf` that is named in another one, in the order of their names.
    fn list(&self, from: &str, pattern: &str) -> Result<Vec<String>, String>;
}

/// A file of rules.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name, for findings and for what it refers to.
    pub name: Arc<str>,
    /// What is in it.
    pub text: String,
}

/// A target that is left out, such as `ARGS:password`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(pub String);

/// Rules that are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusion {
    /// Ids, from and to.
    pub ids: Vec<(u32, u32)>,
    /// Tags, as they are written.
    pub tags: Vec<String>,
    /// The targets that the rules do not look at; when empty, the rules are left out wholly.
    pub targets: Vec<Target>,
    /// The paths on which that is so, with `*` for anything; everywhere when empty.
    pub paths: Vec<String>,
}

/// What is said about the rules beside their files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Takes the place of `SecRuleEngine`.
    pub mode: Option<Mode>,
    /// Variables of TX that every call begins with.
    pub variables: Vec<(String, String)>,
    /// Variables of TX that are set after the first so many sources, whatever these set.
    pub pinned: Vec<(String, String)>,
    /// The number of sources before the pinned variables.
    pub pinned_after: usize,
    /// Rules that are left out.
    pub exclusions: Vec<Exclusion>,
}

/// What reading needs: files, and where findings go.
pub(super) struct Reader<'f> {
    pub(super) files: &'f dyn Files,
    pub(super) findings: Findings,
    pub(super) backtracks: usize,
    notes: BTreeMap<&'static str, (Place, usize, &'static str)>,
}

impl Reader<'_> {
    /// Notes something without effect that files have often: it is told once.
    pub(super) fn note(&mut self, what: &'static str, place: &Place, why: &'static str) {
        self.notes.entry(what).or_insert_with(|| (place.clone(), 0, why)).1 += 1;
    }
}

impl Rules {
    /// Compiles rules. Gives them with what has no effect, or everything that is wrong with them.
    pub fn compile(
        sources: &[Source],
        files: &dyn Files,
        options: &Options,
    ) -> Result<(Self, Vec<Finding>), Vec<Finding>> {
        let mut reader = Reader {
            files,
            findings: Findings::default(),
            backtracks: BACKTRACKS_MAX,
            notes: BTreeMap::new(),
        };
        let mut book = Book::default();
        let base = Source { name: "built in".into(), text: include_str!("base.conf").to_owned() };
        book.read(&base, &mut reader, 0);
        for (at, source) in sources.iter().enumerate() {
            if at == options.pinned_after {
                book.read(&pinned(&options.pinned), &mut reader, 0);
            }
            book.read(source, &mut reader, 0);
        }
        if sources.len() <= options.pinned_after {
            book.read(&pinned(&options.pinned), &mut reader, 0);
        }
        book.close(&mut reader);
        let last = Source { name: "built in".into(), text: include_str!("last.conf").to_owned() };
        book.read_last(&last, &mut reader);
        let rules = finish(book, &mut reader, options);
        for (what, (place, count, why)) in std::mem::take(&mut reader.notes) {
            let times = if count == 1 { String::new() } else { format!(" ({count} times, here first)") };
            reader.findings.warning(&place, format!("{what}{times} {why}"));
        }
        match rules {
            Ok(rules) if reader.findings.errors.is_empty() => Ok((rules, reader.findings.warnings)),
            Ok(_) => Err(reader.findings.errors),
            Err(error) => {
                reader.findings.error(&Place { file: "rules".into(), line: 0 }, error);
                Err(reader.findings.errors)
            }
        }
    }
}

/// A source that sets variables, as a file would.
fn pinned(variables: &[(String, String)]) -> Source {
    let mut text = String::new();
    if !variables.is_empty() {
        let set = |(name, value): &(String, String)| {
            let value = value.replace(['\\', '\'', '"'], "");
            format!(",setvar:'tx.{name}={value}'")
        };
        let all: String = variables.iter().map(set).collect();
        text = format!("SecAction \"id:190010,phase:1,pass,t:none,nolog{all}\"");
    }
    Source { name: "settings".into(), text }
}

fn finish(book: Book, reader: &mut Reader<'_>, options: &Options) -> Result<Rules, String> {
    let mut rules = Rules {
        chains: Vec::with_capacity(book.drafts.len()),
        phases: Default::default(),
        steps: vec![(NO_STEP, Transform::Length)],
        scan: Default::default(),
        groups: 0,
        mode: options.mode.or(book.mode).unwrap_or(Mode::On),
        exclusions: Vec::new(),
        given: options
            .variables
            .iter()
            .map(|(n, v)| (n.to_ascii_lowercase().into(), v.as_bytes().into()))
            .collect(),
        collection_timeout: book.collection_timeout.unwrap_or(3_600),
        backtracks: reader.backtracks,
        arguments_max: book.arguments_max.unwrap_or(ARGUMENTS),
        by_id: HashMap::default(),
    };
    let mut raw = Vec::with_capacity(book.drafts.len());
    for draft in book.drafts {
        let at = rules.chains.len() as u32;
        if draft.is_alive {
            if let Some(phase) = rules.phases.get_mut(draft.chain.phase) {
                phase.push(at);
            }
            rules.by_id.insert(draft.chain.id, at);
        }
        raw.push((draft.effects, draft.skip_after, draft.skip));
        rules.chains.push(draft.chain);
    }
    resolve_skips(&mut rules, &raw, &book.markers, reader);
    for (at, (effects, ..)) in raw.into_iter().enumerate() {
        for (link, effects) in effects.into_iter().enumerate() {
            let effects = effects.into_iter().map(|effect| resolve(effect, &rules)).collect();
            if let Some(link) = rules.chains.get_mut(at).and_then(|chain| chain.links.get_mut(link)) {
                link.effects = effects;
            }
        }
    }
    exclude(&mut rules, reader, &options.exclusions);
    share(&mut rules)?;
    Ok(rules)
}

type Raw = (Vec<Vec<RawEffect>>, Option<String>, Option<u32>);

/// Markers are places among all chains; where a phase goes on is the first of its chains from there.
fn resolve_skips(rules: &mut Rules, raw: &[Raw], markers: &HashMap<String, u32>, reader: &mut Reader<'_>) {
    for (at, (_, after, count)) in raw.iter().enumerate() {
        let Some(chain) = rules.chains.get_mut(at) else { continue };
        let Some(phase) = rules.phases.get(chain.phase) else { continue };
        let own = phase.partition_point(|place| (*place as usize) <= at) as u32;
        if let Some(name) = after {
            match markers.get(name) {
                Some(marker) if *marker as usize > at => {
                    chain.skip_to = Some(phase.partition_point(|place| place < marker) as u32);
                }
                Some(_) => reader.findings.error(
                    &Place { file: chain.file.clone(), line: chain.line },
                    format!("`skipAfter:{name}` goes back to a marker that stands before; expected one that follows"),
                ),
                None => reader.findings.error(
                    &Place { file: chain.file.clone(), line: chain.line },
                    format!("`skipAfter:{name}` names no `SecMarker` of these files; is a file missing?"),
                ),
            }
        } else if let Some(count) = count {
            chain.skip_to = Some(own.saturating_add(*count));
        }
    }
}

/// The places of the chains that are meant.
fn places(which: &Which, rules: &Rules) -> Arc<[u32]> {
    let pattern = match which {
        Which::Tag(text) | Which::Message(text) => Pattern::new(text, false, BACKTRACKS_MAX).ok(),
        Which::Ids(_) => None,
    };
    let found =
        |text: &str| pattern.as_ref().is_some_and(|pattern| pattern.is_match(text.as_bytes()) == Some(true));
    let is_meant = |chain: &super::Chain| match which {
        Which::Ids(ids) => ids.iter().any(|(first, last)| (*first..=*last).contains(&chain.id)),
        Which::Tag(text) => chain.tags.iter().any(|tag| &**tag == text.as_str() || found(tag)),
        Which::Message(_) => found(&chain.message),
    };
    let all = rules.chains.iter().enumerate();
    all.filter(|(_, chain)| is_meant(chain)).map(|(at, _)| at as u32).collect()
}

fn resolve(effect: RawEffect, rules: &Rules) -> Effect {
    match effect {
        RawEffect::Ready(effect) => effect,
        RawEffect::Without(which) => Effect::Control(Control::Without(places(&which, rules))),
        RawEffect::WithoutTarget(which, variable, selector) => {
            Effect::Control(Control::WithoutTarget(places(&which, rules), variable, selector))
        }
    }
}

/// Takes the exclusions of the settings in.
fn exclude(rules: &mut Rules, reader: &mut Reader<'_>, exclusions: &[Exclusion]) {
    for (index, exclusion) in exclusions.iter().enumerate() {
        let place = Place { file: "exclusions".into(), line: index as u32 };
        let mut meant: Vec<u32> = Vec::new();
        for range in &exclusion.ids {
            let of_range = places(&Which::Ids(vec![*range]), rules);
            if of_range.is_empty() {
                let (first, last) = range;
                let named = if first == last { first.to_string() } else { format!("{first}-{last}") };
                reader
                    .findings
                    .warning(&place, format!("no rule has the id {named}; nothing is left out by it"));
            }
            meant.extend(of_range.iter());
        }
        for tag in &exclusion.tags {
            let has = |chain: &super::Chain| chain.tags.iter().any(|own| &**own == tag.as_str());
            let of_tag: Vec<u32> = rules
                .chains
                .iter()
                .enumerate()
                .filter(|(_, chain)| has(chain))
                .map(|(at, _)| at as u32)
                .collect();
            if of_tag.is_empty() {
                reader
                    .findings
                    .warning(&place, format!("no rule has the tag `{tag}`; nothing is left out by it"));
            }
            meant.extend(of_tag);
        }
        let mut without: Vec<(Variable, Selector)> = Vec::new();
        for target in &exclusion.targets {
            match split_targets(&target.0).and_then(|raw| targets::compile(raw, reader.backtracks)) {
                Ok(compiled)
                    if !compiled.without.is_empty() || compiled.looked.iter().any(|one| one.is_count) =>
                {
                    let text = &target.0;
                    let error =
                        format!("expected what is left out as it is, such as `ARGS:name`, found `{text}`");
                    reader.findings.error(&place, error);
                }
                Ok(compiled) => {
                    without.extend(compiled.looked.into_iter().map(|one| (one.variable, one.selector)))
                }
                Err(error) => reader.findings.error(&place, error),
            }
        }
        // They are searched by halves.
        meant.sort_unstable();
        meant.dedup();
        let meant: Arc<[u32]> = meant.into();
        let controls: Vec<Control> = match without.as_slice() {
            [] if exclusion.targets.is_empty() => vec![Control::Without(meant)],
            without => {
                without.iter().map(|(v, s)| Control::WithoutTarget(meant.clone(), *v, s.clone())).collect()
            }
        };
        if exclusion.paths.is_empty() {
            rules.exclusions.push(PathExclusion { path: None, controls });
            continue;
        }
        for path in &exclusion.paths {
            let text = format!("^{}$", regex_syntax::escape(path).replace("\\*", ".*"));
            match Pattern::new(&text, false, reader.backtracks) {
                Ok(path) => {
                    rules.exclusions.push(PathExclusion { path: Some(path), controls: controls.clone() })
                }
                Err(error) => reader.findings.error(&place, error),
            }
        }
    }
}

/// Finds what rules share: literals, steps of transformations, targets.
fn share(rules: &mut Rules) -> Result<(), String> {
    let mut gathering = Gathering::default();
    let mut steps: HashMap<(u16, Transform), u16> = HashMap::new();
    let mut groups: HashMap<String, u16> = HashMap::new();
    for link in rules.chains.iter_mut().flat_map(|chain| &mut chain.links) {
        let mut step = NO_STEP;
        for transform in &link.transforms {
            let next = rules.steps.len() as u16;
            step = *steps.entry((step, *transform)).or_insert_with(|| {
                rules.steps.push((step, *transform));
                next
            });
        }
        link.step = step;
        if let Some(required) = link.required.take() {
            link.bit = gathering.add_required(&required);
        }
        // A group is asked as a whole whether any of its texts may be found: that holds for what a call does not change.
        let is_stable = |target: &super::Looked| is_stable(target.variable) && !target.is_count;
        if link.bit.is_some() && !link.is_negated && !link.is_multi && link.targets.iter().all(is_stable) {
            let key = format!("{:?} {:?} {step}", link.targets, link.without);
            let next = groups.len() as u16;
            link.group = Some(*groups.entry(key).or_insert(next));
        }
    }
    rules.groups = groups.len();
    rules.scan = gathering.finish()?;
    debug_assert!(!has_bit(&rules.scan.none(), 0));
    Ok(())
}

/// Whether a variable stays as it is through a phase.
fn is_stable(variable: Variable) -> bool {
    !matches!(
        variable,
        Variable::Tx
            | Variable::Ip
            | Variable::Global
            | Variable::Session
            | Variable::User
            | Variable::Resource
            | Variable::MatchedVar
            | Variable::MatchedVarName
            | Variable::MatchedVars
            | Variable::MatchedVarsNames
            | Variable::HighestSeverity
            | Variable::Duration
            | Variable::Rule
    )
}

impl Link {
    /// Whether it can be asked of a text by its scan alone.
    pub(crate) fn is_ruled_out(&self, bits: &[u64]) -> bool {
        self.bit.is_some_and(|bit| !has_bit(bits, bit))
    }
}
