//! Directives, one after the other: rules gathered into chains, defaults, and what changes rules that were before.

use std::collections::{HashMap, HashSet};

use super::{
    Chain, Disruption, Link, Mode, NO_STEP,
    actions::{self, Actions, RawDisruption, RawEffect},
    compile::{Reader, Source},
    operators, targets,
};
use crate::{
    finding::Place,
    operator::Operator,
    pattern::Pattern,
    request::ARGUMENTS_MAX,
    seclang::{Directive, directives, split_targets},
};

/// How deep files may include others.
const INCLUDES_MAX: usize = 8;
/// Rules in all.
const RULES_MAX: usize = 50_000;
/// The status of a refusal when no rule says another.
const REFUSED: u16 = 403;

/// A chain before all of the files are read.
pub(super) struct Draft {
    pub(super) chain: Chain,
    /// Of each link.
    pub(super) effects: Vec<Vec<RawEffect>>,
    pub(super) skip_after: Option<String>,
    pub(super) skip: Option<u32>,
    pub(super) is_alive: bool,
    disruption: Option<RawDisruption>,
    is_open: bool,
}

/// What has been read.
#[derive(Default)]
pub(super) struct Book {
    pub(super) drafts: Vec<Draft>,
    /// How many chains stood before each marker.
    pub(super) markers: HashMap<String, u32>,
    pub(super) mode: Option<Mode>,
    pub(super) collection_timeout: Option<u64>,
    pub(super) arguments_max: Option<usize>,
    defaults: HashMap<usize, Actions>,
    ids: HashSet<u32>,
}

impl Book {
    /// Reads a file.
    pub(super) fn read(&mut self, source: &Source, reader: &mut Reader<'_>, depth: usize) {
        for directive in directives(&source.name, &source.text) {
            match directive {
                Err((place, error)) => reader.findings.error(&place, error),
                Ok(directive) => {
                    if let Err(error) = self.directive(&directive, reader, depth) {
                        reader.findings.error(&directive.place, format!("{}: {error}", directive.name));
                    }
                }
            }
        }
    }

    /// Reads the rules that come after all others, whatever defaults those have.
    pub(super) fn read_last(&mut self, source: &Source, reader: &mut Reader<'_>) {
        self.defaults.clear();
        self.read(source, reader, 0);
    }

    /// Ends the reading: nothing may be left open.
    pub(super) fn close(&mut self, reader: &mut Reader<'_>) {
        self.expect_closed(reader);
    }

    fn expect_closed(&mut self, reader: &mut Reader<'_>) {
        if let Some(draft) = self.drafts.last_mut().filter(|draft| draft.is_open) {
            draft.is_open = false;
            let place = Place { file: draft.chain.file.clone(), line: draft.chain.line };
            reader.findings.error(&place, "`chain` is said, but no rule follows that is chained to it");
        }
    }

    fn directive(
        &mut self,
        directive: &Directive,
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> Result<(), String> {
        let Directive { place, name, words } = directive;
        let word = |at: usize| {
            let missing = || format!("expected {} words after it, found {}", at + 1, words.len());
            words.get(at).map(String::as_str).ok_or_else(missing)
        };
        match name.to_ascii_lowercase().as_str() {
            "secrule" => {
                return self.rule(word(0)?, word(1)?, words.get(2).map_or("", String::as_str), place, reader);
            }
            "secaction" => return self.action(word(0)?, place, reader),
            _ => self.expect_closed(reader),
        }
        match name.to_ascii_lowercase().as_str() {
            "secmarker" => {
                let before = self.markers.insert(word(0)?.to_owned(), self.drafts.len() as u32);
                if before.is_some() {
                    reader
                        .findings
                        .warning(place, "there is a marker of this name before; `skipAfter` means this one");
                }
            }
            "secdefaultaction" => self.default_action(word(0)?, place, reader)?,
            "secruleengine" => self.mode = Some(actions::mode(word(0)?)?),
            "seccollectiontimeout" => {
                let seconds = word(0)?.parse().map_err(|_| "expected seconds".to_owned())?;
                self.collection_timeout = Some(seconds);
            }
            "secargumentslimit" => {
                let is_some = |count: &usize| (1..=ARGUMENTS_MAX).contains(count);
                let count = word(0)?.parse().ok().filter(is_some);
                let wrong = || format!("expected a number of arguments from 1 to {ARGUMENTS_MAX}");
                self.arguments_max = Some(count.ok_or_else(wrong)?);
            }
            "secpcrematchlimit" => {
                let steps: usize = word(0)?.parse().map_err(|_| "expected a number of steps".to_owned())?;
                reader.backtracks = steps.clamp(1_000, 1_000_000);
            }
            "seccomponentsignature" => {}
            "secruleremovebyid" | "secruleremovebytag" | "secruleremovebymsg" => {
                let kind = name.to_ascii_lowercase();
                self.remove(&kind, &words.join(" "), place, reader)?;
            }
            "secruleupdatetargetbyid" | "secruleupdatetargetbytag" | "secruleupdatetargetbymsg" => {
                let kind = name.to_ascii_lowercase();
                self.update_targets(&kind, word(0)?, word(1)?, words.get(2), place, reader)?;
            }
            "secruleupdateactionbyid" => self.update_actions(word(0)?, word(1)?, place, reader)?,
            "include" | "includeoptional" => {
                let is_optional = name.eq_ignore_ascii_case("includeoptional");
                self.include(word(0)?, is_optional, place, reader, depth)?;
            }
            "secargumentseparator" if word(0)? != "&" => {
                return Err("arguments are divided by `&`; another separator is not supported".into());
            }
            "seccookieformat" if word(0)? != "0" => {
                return Err("cookies are those of Netscape (0); others are not supported".into());
            }
            "secargumentseparator" | "seccookieformat" => {}
            other => without_effect(other, place, reader)?,
        }
        Ok(())
    }

    fn include(
        &mut self,
        pattern: &str,
        is_optional: bool,
        place: &Place,
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> Result<(), String> {
        if depth >= INCLUDES_MAX {
            return Err(format!("files include each other more than {INCLUDES_MAX} deep"));
        }
        let names = match reader.files.list(&place.file, pattern) {
            Ok(names) if names.is_empty() && !is_optional => {
                return Err(format!("`{pattern}` names no file"));
            }
            Ok(names) => names,
            Err(_) if is_optional => return Ok(()),
            Err(error) => return Err(error),
        };
        for name in names {
            let data = reader.files.read(&place.file, &name)?;
            let text = String::from_utf8(data).map_err(|_| format!("`{name}` is no UTF-8 text"))?;
            self.read(&Source { name: name.as_str().into(), text }, reader, depth + 1);
        }
        Ok(())
    }

    fn default_action(&mut self, text: &str, place: &Place, reader: &mut Reader<'_>) -> Result<(), String> {
        let actions = actions::compile(text, place, reader)?;
        let phase = actions.phase.ok_or("expected a phase among the actions")?;
        if actions.is_chained
            || actions.id.is_some()
            || !actions.effects.is_empty()
            || actions.skip_after.is_some()
        {
            return Err("expected a disruptive action, a status, log and transformations alone".into());
        }
        if actions.disruption == Some(RawDisruption::Block) {
            return Err(
                "`block` asks for the default, and cannot be it; expected pass, deny, drop or redirect"
                    .into(),
            );
        }
        self.defaults.insert(phase, actions);
        Ok(())
    }

    fn action(&mut self, text: &str, place: &Place, reader: &mut Reader<'_>) -> Result<(), String> {
        let mut link = empty_link(Operator::Always);
        link.is_action = true;
        let actions = actions::compile(text, place, reader)?;
        self.add(link, actions, place, reader)
    }

    fn rule(
        &mut self,
        looked: &str,
        operator: &str,
        text: &str,
        place: &Place,
        reader: &mut Reader<'_>,
    ) -> Result<(), String> {
        let actions = actions::compile(text, place, reader);
        let built = targets::compile(split_targets(looked)?, reader.backtracks)
            .and_then(|targets| Ok((targets, operators::compile(operator, place, reader)?)));
        let (targets, compiled) = match built {
            Ok(built) => built,
            Err(error) => {
                // What is chained to it must not become a rule of its own.
                let is_chained = actions.as_ref().is_ok_and(|actions| actions.is_chained);
                match self.drafts.last_mut().filter(|draft| draft.is_open) {
                    Some(draft) => draft.is_open = is_chained,
                    None if is_chained => {
                        let (id, link) =
                            (actions.as_ref().ok().and_then(|actions| actions.id), Operator::Never);
                        let mut draft = self.draft(id.unwrap_or_default(), 1, place);
                        draft.is_open = true;
                        draft.chain.links.push(empty_link(link));
                        draft.effects.push(Vec::new());
                        self.drafts.push(draft);
                    }
                    None => {}
                }
                return Err(error);
            }
        };
        if targets.looked.is_empty() {
            return Err("expected a variable to look at, found only what is left out".into());
        }
        let mut link = empty_link(compiled.operator);
        link.targets = targets.looked;
        link.without = targets.without;
        link.is_negated = compiled.is_negated;
        link.required = compiled.required;
        self.add(link, actions?, place, reader)
    }

    fn draft(&self, id: u32, phase: usize, place: &Place) -> Draft {
        Draft {
            chain: Chain {
                id,
                links: Vec::new(),
                disruption: Disruption::Pass,
                status: REFUSED,
                skip_to: None,
                is_logged: true,
                severity: None,
                message: "".into(),
                tags: Vec::new(),
                phase,
                file: place.file.clone(),
                line: place.line,
            },
            effects: Vec::new(),
            skip_after: None,
            skip: None,
            is_alive: true,
            disruption: None,
            is_open: false,
        }
    }

    fn add(
        &mut self,
        mut link: Link,
        actions: Actions,
        place: &Place,
        reader: &mut Reader<'_>,
    ) -> Result<(), String> {
        if self.drafts.len() >= RULES_MAX {
            return Err(format!("expected {RULES_MAX} rules at most"));
        }
        link.captures = actions.captures;
        link.is_multi = actions.is_multi;
        let open = self.drafts.last().filter(|draft| draft.is_open).map(|draft| draft.chain.phase);
        let phase = open.or(actions.phase).unwrap_or(1);
        let inherited = self.defaults.get(&phase).filter(|_| !actions.is_bare);
        link.transforms = inherited.map(|default| default.transforms.clone()).unwrap_or_default();
        link.transforms.extend(&actions.transforms);
        if open.is_some()
            && let Some(draft) = self.drafts.last_mut()
        {
            draft.is_open = actions.is_chained;
            let of_first = [
                ("id", actions.id.is_some()),
                ("phase", actions.phase.is_some()),
                ("a disruptive action", actions.disruption.is_some()),
                ("skipAfter", actions.skip_after.is_some() || actions.skip.is_some()),
            ];
            draft.chain.links.push(link);
            draft.effects.push(actions.effects);
            return match of_first.iter().find(|(_, is_said)| *is_said) {
                Some((what, _)) => {
                    Err(format!("{what} belongs to the first rule of a chain; take it away here"))
                }
                None => Ok(()),
            };
        }
        let id = actions.id.ok_or("expected `id` among the actions: every rule has a number of its own")?;
        if !self.ids.insert(id) {
            // Its chained rules belong to it, all the same.
            let mut draft = self.draft(id, phase, place);
            draft.is_open = actions.is_chained;
            draft.is_alive = false;
            self.drafts.push(draft);
            return Err(format!("the id {id} is that of another rule; each has its own"));
        }
        let mut draft = self.draft(id, phase, place);
        draft.is_open = actions.is_chained;
        draft.chain.links.push(link);
        self.describe(&mut draft, actions, reader);
        self.drafts.push(draft);
        Ok(())
    }

    /// Takes what actions say of a chain as a whole.
    fn describe(&self, draft: &mut Draft, actions: Actions, _: &mut Reader<'_>) {
        let default = self.defaults.get(&draft.chain.phase);
        let of_default = default.and_then(|default| default.disruption.clone());
        draft.disruption = actions.disruption.or_else(|| draft.disruption.take());
        draft.chain.disruption = match (&draft.disruption, of_default) {
            (Some(RawDisruption::Set(own)), _) => own.clone(),
            (_, Some(RawDisruption::Set(default))) => default,
            _ => Disruption::Pass,
        };
        let status = actions.status.or_else(|| default.and_then(|default| default.status));
        draft.chain.status = status.unwrap_or(draft.chain.status);
        let logged = actions.is_logged.or_else(|| default.and_then(|default| default.is_logged));
        draft.chain.is_logged = logged.unwrap_or(draft.chain.is_logged);
        draft.chain.severity = actions.severity.or(draft.chain.severity);
        if let Some(message) = actions.message {
            draft.chain.message = message.into();
        }
        draft.chain.tags.extend(actions.tags.into_iter().map(String::into_boxed_str));
        draft.skip_after = actions.skip_after.or_else(|| draft.skip_after.take());
        draft.skip = actions.skip.or(draft.skip);
        match draft.effects.first_mut() {
            Some(effects) => effects.extend(actions.effects),
            None => draft.effects.push(actions.effects),
        }
    }

    /// The rules before that are meant.
    fn meant<'b>(
        &'b mut self,
        kind: &str,
        text: &str,
    ) -> Result<impl Iterator<Item = &'b mut Draft>, String> {
        let ids = if kind.ends_with("id") { actions::ids(text)? } else { Vec::new() };
        let pattern = match kind.ends_with("id") {
            true => None,
            false => Some(Pattern::new(text.trim_matches('"'), false, 10_000)?),
        };
        let is_tag = kind.ends_with("tag");
        Ok(self.drafts.iter_mut().filter(move |draft| match &pattern {
            None => ids.iter().any(|(first, last)| (*first..=*last).contains(&draft.chain.id)),
            Some(pattern) => {
                let found = |text: &str| pattern.is_match(text.as_bytes()) == Some(true);
                if is_tag {
                    draft.chain.tags.iter().any(|tag| found(tag))
                } else {
                    found(&draft.chain.message)
                }
            }
        }))
    }

    fn remove(
        &mut self,
        kind: &str,
        text: &str,
        place: &Place,
        reader: &mut Reader<'_>,
    ) -> Result<(), String> {
        let mut count = 0;
        for draft in self.meant(kind, text)? {
            draft.is_alive = false;
            count += 1;
        }
        none_before(count, place, reader);
        Ok(())
    }

    fn update_targets(
        &mut self,
        kind: &str,
        which: &str,
        text: &str,
        replaced: Option<&String>,
        place: &Place,
        reader: &mut Reader<'_>,
    ) -> Result<(), String> {
        let (which, link) = match which.split_once(':') {
            Some((id, link)) if kind.ends_with("id") => {
                let wrong =
                    || format!("expected an id and the number of a rule of its chain, found `{which}`");
                (id, link.parse::<usize>().map_err(|_| wrong())?)
            }
            _ => (which, 0),
        };
        let added = targets::compile(split_targets(text)?, reader.backtracks)?;
        let gone =
            replaced.map(|text| targets::compile(split_targets(text)?, reader.backtracks)).transpose()?;
        let mut count = 0;
        for draft in self.meant(kind, which)? {
            count += 1;
            let count_of_links = draft.chain.links.len();
            let id = draft.chain.id;
            let missing = || {
                format!("the chain of {id} has {count_of_links} rules, counted from 0; there is no {link}")
            };
            let link = draft.chain.links.get_mut(link).ok_or_else(missing)?;
            for gone in gone.iter().flat_map(|gone| &gone.looked) {
                link.targets.retain(|target| {
                    target.variable != gone.variable
                        || format!("{:?}", target.selector) != format!("{:?}", gone.selector)
                });
            }
            link.targets.extend(added.looked.iter().cloned());
            link.without.extend(added.without.iter().cloned());
        }
        none_before(count, place, reader);
        Ok(())
    }

    fn update_actions(
        &mut self,
        which: &str,
        text: &str,
        place: &Place,
        reader: &mut Reader<'_>,
    ) -> Result<(), String> {
        let (first, last) = *actions::ids(which)?.first().ok_or("expected an id")?;
        let mut count = 0;
        for at in 0..self.drafts.len() {
            if !self.drafts.get(at).is_some_and(|draft| (first..=last).contains(&draft.chain.id)) {
                continue;
            }
            count += 1;
            let actions = actions::compile(text, place, reader)?;
            if actions.id.is_some() || actions.phase.is_some() || actions.is_chained {
                return Err("id, phase and chain of a rule cannot be changed".into());
            }
            let (transforms, captures, is_multi) =
                (actions.transforms.clone(), actions.captures, actions.is_multi);
            let is_bare = actions.is_bare;
            let mut draft = self.drafts.remove(at);
            self.describe(&mut draft, actions, reader);
            if let Some(link) = draft.chain.links.first_mut() {
                link.captures |= captures;
                link.is_multi |= is_multi;
                if is_bare || !transforms.is_empty() {
                    link.transforms = transforms;
                }
            }
            self.drafts.insert(at, draft);
        }
        none_before(count, place, reader);
        Ok(())
    }
}

fn empty_link(operator: Operator) -> Link {
    Link {
        targets: Vec::new(),
        without: Vec::new(),
        operator,
        is_negated: false,
        step: NO_STEP,
        transforms: Vec::new(),
        is_multi: false,
        captures: false,
        effects: Vec::new(),
        required: None,
        bit: None,
        group: None,
        is_action: false,
    }
}

fn none_before(count: usize, place: &Place, reader: &mut Reader<'_>) {
    if count == 0 {
        reader.findings.warning(
            place,
            "no rule before this line is meant, so it changes nothing; put it after the rules, in a file that is read \
             later",
        );
    }
}

/// Directives of ModSecurity that say something about its host, which the gateway's own settings say here.
fn without_effect(name: &str, place: &Place, reader: &mut Reader<'_>) -> Result<(), String> {
    let remedy = match name {
        "secrequestbodyaccess"
        | "secrequestbodylimit"
        | "secrequestbodynofileslimit"
        | "secrequestbodyinmemorylimit"
        | "secrequestbodylimitaction" => "`requestBody` of the policy says what is read",
        "secresponsebodyaccess"
        | "secresponsebodymimetype"
        | "secresponsebodymimetypesclear"
        | "secresponsebodylimit"
        | "secresponsebodylimitaction" => "`response` of the policy says what is read",
        "secrequestbodyjsondepthlimit" | "secuploadfilelimit" => {
            "bodies have bounds of the gateway's own, and what is beyond them is refused"
        }
        "secauditengine"
        | "secauditlog"
        | "secauditlog2"
        | "secauditlogdirmode"
        | "secauditlogfilemode"
        | "secauditlogformat"
        | "secauditlogparts"
        | "secauditlogrelevantstatus"
        | "secauditlogstoragedir"
        | "secauditlogtype"
        | "secdebuglog"
        | "secdebugloglevel" => "what fired is in the record of each call",
        "secpcrematchlimitrecursion" => "patterns are searched without recursion",
        "secunicodemapfile" => {
            "of wide characters the low byte is looked at, of full-width ones the plain one"
        }
        "secgeolookupdb" => "`@geoLookup` is not in this build",
        "sechttpblkey" => "`@rbl` is not supported",
        "secdatadir" | "sectmpdir" | "secuploaddir" | "secuploadfilemode" | "secuploadkeepfiles" => {
            "nothing is written to files here"
        }
        "secstatusengine"
        | "secserversignature"
        | "secsensorid"
        | "secwebappid"
        | "secconnengine"
        | "secconnreadstatelimit"
        | "secconnwritestatelimit"
        | "secguardianlog"
        | "secinterceptonerror"
        | "secchrootdir"
        | "seccachetransformations"
        | "sechashengine"
        | "sechashkey"
        | "sechashparam"
        | "sechashmethodrx"
        | "sechashmethodpm"
        | "secdisablebackendcompression"
        | "seccookiev0separator"
        | "secruleinheritance"
        | "secruleperftime"
        | "secstreaminbodyinspection"
        | "secstreamoutbodyinspection"
        | "secxmlexternalentity"
        | "seccontentinjection"
        | "secreadstatelimit"
        | "secwritestatelimit" => "it is about ModSecurity's host",
        "secremoterules" | "secremoterulesfailaction" => {
            return Err("rules are not fetched from elsewhere: put the file beside the others".into());
        }
        "secrulescript" => return Err("scripts are not run: write the rule in the language of rules".into()),
        _ => return Err("this directive is not known; is it misspelt, or is it Apache's own?".into()),
    };
    reader.findings.warning(place, format!("`{name}` has no effect here: {remedy}"));
    Ok(())
}
