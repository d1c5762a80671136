//! The actions of a rule, from their list.

use super::{
    Allowed, Control, Disruption, Effect, Mode, Processor, Selector, Setting, compile::Reader, targets,
};
use crate::{
    finding::Place,
    seclang::{RawAction, split_actions, split_targets},
    template::Template,
    transform::Transform,
    variable::{PERSISTENT, Variable},
};

/// Which rules an action or a directive is about.
#[derive(Debug, Clone)]
pub(super) enum Which {
    Ids(Vec<(u32, u32)>),
    Tag(String),
    Message(String),
}

/// An effect, perhaps about rules that are yet to come.
#[derive(Debug)]
pub(super) enum RawEffect {
    Ready(Effect),
    Without(Which),
    WithoutTarget(Which, Variable, Selector),
}

/// What a match does, before defaults are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RawDisruption {
    Block,
    Set(Disruption),
}

/// The actions of a rule.
#[derive(Debug, Default)]
pub(super) struct Actions {
    pub(super) id: Option<u32>,
    pub(super) phase: Option<usize>,
    pub(super) transforms: Vec<Transform>,
    /// `t:none` was among them: what the default says does not count.
    pub(super) is_bare: bool,
    pub(super) disruption: Option<RawDisruption>,
    pub(super) status: Option<u16>,
    pub(super) skip_after: Option<String>,
    pub(super) skip: Option<u32>,
    pub(super) message: Option<String>,
    pub(super) severity: Option<u8>,
    pub(super) tags: Vec<String>,
    pub(super) is_logged: Option<bool>,
    pub(super) captures: bool,
    pub(super) is_multi: bool,
    pub(super) is_chained: bool,
    pub(super) effects: Vec<RawEffect>,
}

/// Compiles a list of actions.
pub(super) fn compile(text: &str, place: &Place, reader: &mut Reader<'_>) -> Result<Actions, String> {
    let mut actions = Actions::default();
    for action in split_actions(text)? {
        if !about_the_rule(&mut actions, &action)? && !about_the_call(&mut actions, &action, place, reader)? {
            return Err(format!("the action `{}` is not known; is it misspelt?", action.name));
        }
    }
    Ok(actions)
}

fn about_the_rule(actions: &mut Actions, RawAction { name, value }: &RawAction) -> Result<bool, String> {
    match name.as_str() {
        "id" => {
            let id = value
                .trim()
                .parse()
                .map_err(|_| format!("expected a number as the rule's id, found `{value}`"))?;
            actions.id = Some(id);
        }
        "phase" => actions.phase = Some(phase(value)?),
        "t" if value.eq_ignore_ascii_case("none") => {
            actions.transforms.clear();
            actions.is_bare = true;
        }
        "t" => {
            let unknown = || format!("the transformation `t:{value}` is not known; is it misspelt?");
            actions.transforms.push(Transform::named(value).ok_or_else(unknown)?);
        }
        "msg" => actions.message = Some(value.clone()),
        "tag" => actions.tags.push(value.clone()),
        "severity" => actions.severity = Some(severity(value)?),
        "log" => actions.is_logged = Some(true),
        "nolog" => actions.is_logged = Some(false),
        "capture" => actions.captures = true,
        "multimatch" => actions.is_multi = true,
        "chain" => actions.is_chained = true,
        "status" => {
            let status = value.trim().parse().ok().filter(|status| (200..=599).contains(status));
            actions.status =
                Some(status.ok_or_else(|| format!("expected a status from 200 to 599, found `{value}`"))?);
        }
        "skipafter" => actions.skip_after = Some(value.clone()),
        "skip" => {
            let count = value
                .trim()
                .parse()
                .map_err(|_| format!("expected a number of rules to skip, found `{value}`"))?;
            actions.skip = Some(count);
        }
        "block" => actions.disruption = Some(RawDisruption::Block),
        "pass" => actions.disruption = Some(RawDisruption::Set(Disruption::Pass)),
        "deny" => actions.disruption = Some(RawDisruption::Set(Disruption::Deny)),
        "drop" => actions.disruption = Some(RawDisruption::Set(Disruption::Drop)),
        "redirect" => {
            actions.disruption = Some(RawDisruption::Set(Disruption::Redirect(Template::new(value)?)))
        }
        "allow" => {
            let allowed = match value.to_ascii_lowercase().as_str() {
                "" => Allowed::All,
                "phase" => Allowed::Phase,
                "request" => Allowed::Request,
                other => {
                    return Err(format!(
                        "expected allow, allow:phase or allow:request, found `allow:{other}`"
                    ));
                }
            };
            actions.disruption = Some(RawDisruption::Set(Disruption::Allow(allowed)));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn about_the_call(
    actions: &mut Actions,
    action: &RawAction,
    place: &Place,
    reader: &mut Reader<'_>,
) -> Result<bool, String> {
    let value = action.value.as_str();
    match action.name.as_str() {
        "setvar" => actions.effects.push(RawEffect::Ready(setvar(value)?)),
        "expirevar" => {
            let (target, seconds) = value
                .split_once('=')
                .ok_or_else(|| format!("expected `expirevar:ip.name=60`, found `{value}`"))?;
            let (collection, name) = collection_and_name(target)?;
            let seconds = Template::new(seconds)?;
            actions.effects.push(RawEffect::Ready(Effect::Expire {
                collection,
                name: Template::new(name)?,
                seconds,
            }));
        }
        "initcol" => {
            let (name, key) = value
                .split_once('=')
                .ok_or_else(|| format!("expected `initcol:ip=%{{remote_addr}}`, found `{value}`"))?;
            actions.effects.push(RawEffect::Ready(begin(name, key)?));
        }
        "setsid" => actions.effects.push(RawEffect::Ready(begin("session", value)?)),
        "setuid" => actions.effects.push(RawEffect::Ready(begin("user", value)?)),
        "setrsc" => actions.effects.push(RawEffect::Ready(begin("resource", value)?)),
        "ctl" => actions.effects.extend(control(value, place, reader)?),
        // What is written into ModSecurity's own log; here the record of the call has the rules.
        "ver" | "rev" | "maturity" | "accuracy" | "logdata" => {}
        "auditlog" | "noauditlog" => {}
        "sanitisearg"
        | "sanitisematched"
        | "sanitisematchedbytes"
        | "sanitiserequestheader"
        | "sanitiseresponseheader"
        | "sanitizearg"
        | "sanitizematched"
        | "sanitizematchedbytes"
        | "sanitizerequestheader"
        | "sanitizeresponseheader" => reader.note(
            "sanitise…",
            place,
            "has no effect here: values are recorded only with `recordMatches`, and then as they are",
        ),
        "setenv" | "xmlns" => reader.note(
            if action.name == "setenv" { "setenv" } else { "xmlns" },
            place,
            "has no effect here: there is no environment of the call, and XML is looked at by its texts",
        ),
        name @ ("exec" | "proxy" | "pause" | "append" | "prepend" | "deprecatevar") => {
            return Err(format!(
                "the action `{name}` is not supported: take it out; what a rule may do is refuse a call, \
                                note it, or set variables"
            ));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn phase(value: &str) -> Result<usize, String> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" => Ok(0),
        "2" | "request" => Ok(1),
        "3" => Ok(2),
        "4" | "response" => Ok(3),
        "5" | "logging" => Ok(4),
        other => Err(format!("expected a phase from 1 to 5, found `{other}`")),
    }
}

fn severity(value: &str) -> Result<u8, String> {
    const NAMES: [&str; 8] =
        ["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"];
    let by_name = NAMES.iter().position(|name| name.eq_ignore_ascii_case(value));
    let number = by_name.map(|at| at as u8).or_else(|| value.parse().ok().filter(|number| *number < 8));
    number.ok_or_else(|| format!("expected a severity such as CRITICAL, or from 0 to 7, found `{value}`"))
}

fn collection_and_name(target: &str) -> Result<(Variable, &str), String> {
    let split = target.split_once(['.', ':']);
    let (collection, name) =
        split.ok_or_else(|| format!("expected a variable such as `tx.name`, found `{target}`"))?;
    let known = Variable::named(&collection.trim().to_ascii_uppercase());
    let known = known.filter(|known| *known == Variable::Tx || PERSISTENT.contains(known));
    let known = known.ok_or_else(|| {
        format!(
            "expected a variable of TX, IP, GLOBAL, SESSION, USER or RESOURCE, found \
                                             `{target}`"
        )
    })?;
    Ok((known, name.trim()))
}

fn setvar(value: &str) -> Result<Effect, String> {
    if let Some(target) = value.strip_prefix('!') {
        let (collection, name) = collection_and_name(target)?;
        return Ok(Effect::Set { collection, name: Template::new(name)?, how: Setting::Gone });
    }
    let (target, to) = value.split_once('=').unwrap_or((value, "1"));
    let (collection, name) = collection_and_name(target)?;
    let how = match to {
        to if to.starts_with('+') => Setting::Plus(Template::new(to.get(1..).unwrap_or_default())?),
        to if to.starts_with('-') => Setting::Minus(Template::new(to.get(1..).unwrap_or_default())?),
        to => Setting::To(Template::new(to)?),
    };
    Ok(Effect::Set { collection, name: Template::new(name)?, how })
}

fn begin(name: &str, key: &str) -> Result<Effect, String> {
    let collection =
        Variable::named(&name.trim().to_ascii_uppercase()).filter(|known| PERSISTENT.contains(known));
    let collection = collection
        .ok_or_else(|| format!("expected one of IP, GLOBAL, SESSION, USER and RESOURCE, found `{name}`"))?;
    Ok(Effect::Begin { collection, key: Template::new(key)? })
}

/// Ids and ranges of them, by blanks or commas.
pub(super) fn ids(text: &str) -> Result<Vec<(u32, u32)>, String> {
    let wrong = |part: &str| format!("expected ids of rules and ranges of them, found `{part}`");
    let parts = text.split([' ', ',', '"']).filter(|part| !part.is_empty());
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
            _ => Err(wrong(part)),
        }
    };
    let found = parts.map(range).collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() { Err(wrong(text)) } else { Ok(found) }
}

fn control(value: &str, place: &Place, reader: &mut Reader<'_>) -> Result<Option<RawEffect>, String> {
    let (name, value) =
        value.split_once('=').ok_or_else(|| format!("expected `ctl:name=value`, found `ctl:{value}`"))?;
    let is_on = || match value.to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("expected On or Off, found `{other}`")),
    };
    let which = |text: &str, name: &str| {
        Ok::<_, String>(match name {
            name if name.ends_with("id") => Which::Ids(ids(text)?),
            name if name.ends_with("tag") => Which::Tag(text.to_owned()),
            _ => Which::Message(text.to_owned()),
        })
    };
    let ready = |control| Ok(Some(RawEffect::Ready(Effect::Control(control))));
    match name.trim().to_ascii_lowercase().as_str() {
        "ruleengine" => ready(Control::Mode(mode(value)?)),
        "forcerequestbodyvariable" => ready(Control::ForceBody(is_on()?)),
        "requestbodyaccess" => ready(Control::BodyAccess(is_on()?)),
        "responsebodyaccess" => ready(Control::AnswerBodyAccess(is_on()?)),
        "requestbodyprocessor" => {
            ready(Control::Processor(Some(match value.to_ascii_uppercase().as_str() {
                "URLENCODED" => Processor::Form,
                "MULTIPART" => Processor::Multipart,
                "JSON" => Processor::Json,
                "XML" => Processor::Xml,
                other => return Err(format!("expected URLENCODED, MULTIPART, JSON or XML, found `{other}`")),
            })))
        }
        name @ ("ruleremovebyid" | "ruleremovebytag" | "ruleremovebymsg") => {
            Ok(Some(RawEffect::Without(which(value, name)?)))
        }
        name @ ("ruleremovetargetbyid" | "ruleremovetargetbytag" | "ruleremovetargetbymsg") => {
            let (rules, target) = value.split_once(';').ok_or_else(|| {
                format!("expected rules and a target such as `942100;ARGS:name`, found `{value}`")
            })?;
            let targets = targets::compile(split_targets(target)?, reader.backtracks)?;
            match targets.looked.as_slice() {
                [one] if targets.without.is_empty() => Ok(Some(RawEffect::WithoutTarget(
                    which(rules, name)?,
                    one.variable,
                    one.selector.clone(),
                ))),
                _ => Err(format!("expected one target, found `{target}`")),
            }
        }
        "auditengine" | "auditlogparts" | "debugloglevel" => {
            reader.note(
                "ctl:auditLogParts, ctl:auditEngine and ctl:debugLogLevel",
                place,
                "have no effect here: what fired is in the record of each call",
            );
            Ok(None)
        }
        "requestbodylimit" | "responsebodylimit" => {
            reader.note(
                "ctl:requestBodyLimit and ctl:responseBodyLimit",
                place,
                "have no effect here: the bounds are `requestBody.limit` and `response.limit` of the policy",
            );
            Ok(None)
        }
        "parsexmlintoargs" => {
            Err("`ctl:parseXmlIntoArgs` is not supported: rules look at XML:/* and XML://@*".into())
        }
        other => Err(format!("`ctl:{other}` is not supported; is it misspelt?")),
    }
}

/// `On`, `Off` and `DetectionOnly`.
pub(super) fn mode(value: &str) -> Result<Mode, String> {
    match value.to_ascii_lowercase().as_str() {
        "on" => Ok(Mode::On),
        "off" => Ok(Mode::Off),
        "detectiononly" => Ok(Mode::DetectionOnly),
        other => Err(format!("expected On, Off or DetectionOnly, found `{other}`")),
    }
}
