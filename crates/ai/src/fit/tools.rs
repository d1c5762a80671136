//! Tools that a target takes, and what can be said of their choice.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use crate::{
    canon::{Feature, Losses, Request, Tool, ToolChoice, ToolKind, flat},
    dialect::{self, Dialect},
    rules::Rules,
};

pub(super) fn fit(request: &mut Cow<'_, Request>, dialect: Dialect, rules: &Rules, losses: &mut Losses) {
    describe(request, dialect);
    let lost: Vec<Option<Feature>> = request.tools.iter().map(|tool| lost(tool, dialect)).collect();
    if lost.iter().any(Option::is_some) {
        let wanted = Wanted::of(request.tool_choice.as_ref());
        for (tool, feature) in request.tools.iter().zip(&lost) {
            if let Some(feature) = feature
                && wanted.has(&tool.name)
            {
                losses.feature_at(*feature, format_args!("tools.{}", flat(&tool.name)));
            }
        }
        let mut taken = lost.iter().map(Option::is_none);
        request.to_mut().tools.retain(|_| taken.next().unwrap_or(true));
        fit_choice(request, losses);
    }
    if rules.no_forced_tools {
        unforce(request, losses);
    }
}

/// Tools that a vendor knows and the caller runs become functions where the vendor is another.
fn describe(request: &mut Cow<'_, Request>, dialect: Dialect) {
    let Cow::Owned(tools) = described(&request.tools, dialect) else { return };
    request.to_mut().tools = tools;
}

/// The same of tools alone: a conversation is not copied to be asked for its names.
pub(super) fn described(tools: &[Tool], dialect: Dialect) -> Cow<'_, [Tool]> {
    let is_foreign = |tool: &Tool| matches!(&tool.kind, ToolKind::Vendor { vendor, .. } if !dialect.takes_tools_of(vendor));
    let mut tools = Cow::Borrowed(tools);
    if !tools.iter().any(is_foreign) {
        return tools;
    }
    // Of two tools of one name neither could be told from the other when it is called.
    let mut named: HashMap<String, usize> = HashMap::new();
    for tool in tools.iter() {
        *named.entry(tool.name.clone()).or_default() += 1;
    }
    for index in 0..tools.len() {
        let tool = &tools[index];
        if let ToolKind::Vendor { vendor, value } = &tool.kind
            && is_foreign(tool)
            && named.get(&tool.name) == Some(&1)
            && let Some((description, parameters)) = dialect::as_function(vendor, value)
        {
            let tool = &mut tools.to_mut()[index];
            tool.description = Some(description);
            tool.kind = ToolKind::Function { parameters: Some(parameters) };
        }
    }
    tools
}

/// Which tools a choice lets be called at all. It is asked of each tool, and both lists are the caller's.
pub(crate) enum Wanted<'c> {
    All,
    Some(HashSet<&'c str>),
}

impl<'c> Wanted<'c> {
    /// By the choice. One that it does not want is nobody's loss.
    fn of(choice: Option<&'c ToolChoice>) -> Self {
        match choice {
            Some(ToolChoice::None) => Self::Some(HashSet::new()),
            Some(ToolChoice::Named(name)) => Self::Some(HashSet::from([name.as_str()])),
            other => Self::among(other),
        }
    }

    /// By a list of allowed tools alone.
    pub(crate) fn among(choice: Option<&'c ToolChoice>) -> Self {
        match choice {
            Some(ToolChoice::Among { names, .. }) => Self::Some(names.iter().map(String::as_str).collect()),
            _ => Self::All,
        }
    }

    /// Whether this tool is one of them.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(name),
        }
    }
}

/// Under which feature a tool is lost, if the dialect does not take it.
fn lost(tool: &Tool, dialect: Dialect) -> Option<Feature> {
    match &tool.kind {
        ToolKind::Function { .. } | ToolKind::Custom { .. } => None,
        ToolKind::Vendor { vendor, .. } => (!dialect.takes_tools_of(vendor)).then_some(Feature::VendorTool),
    }
}

/// A choice of tools that have gone has nothing to choose.
fn fit_choice(request: &mut Cow<'_, Request>, losses: &mut Losses) {
    let there: HashSet<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    let is_there = |name: &String| there.contains(name.as_str());
    let choice = match &request.tool_choice {
        Some(ToolChoice::Named(name)) if !is_there(name) => None,
        Some(ToolChoice::Among { names, required }) if !names.iter().all(is_there) => {
            let names: Vec<String> = names.iter().filter(|name| is_there(name)).cloned().collect();
            (!names.is_empty()).then_some(ToolChoice::Among { names, required: *required })
        }
        Some(ToolChoice::Required) if request.tools.is_empty() => None,
        _ => return,
    };
    if choice.is_none() {
        losses.feature(Feature::ToolChoice);
        // Where none may be called that is there, none is offered.
        if matches!(request.tool_choice, Some(ToolChoice::Among { .. })) {
            request.to_mut().tools.clear();
        }
    }
    request.to_mut().tool_choice = choice;
}

/// A choice that leaves none becomes one that does.
fn unforce(request: &mut Cow<'_, Request>, losses: &mut Losses) {
    let choice = match &request.tool_choice {
        Some(ToolChoice::Required) => ToolChoice::Auto,
        Some(ToolChoice::Named(name)) => ToolChoice::Among { names: vec![name.clone()], required: false },
        Some(ToolChoice::Among { names, required: true }) => {
            ToolChoice::Among { names: names.clone(), required: false }
        }
        _ => return,
    };
    losses.feature(Feature::ToolChoice);
    request.to_mut().tool_choice = Some(choice);
}
