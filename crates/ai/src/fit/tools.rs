//! Tools that a target takes, and what can be said of their choice.

use std::{borrow::Cow, collections::HashMap};

use crate::{
    canon::{Feature, Losses, Request, Tool, ToolChoice, ToolKind, flat},
    dialect::{self, Dialect},
    rules::Rules,
};

pub(super) fn fit(request: &mut Cow<'_, Request>, dialect: Dialect, rules: &Rules, losses: &mut Losses) {
    describe(request, dialect);
    let lost: Vec<Option<Feature>> = request.tools.iter().map(|tool| lost(tool, dialect)).collect();
    if lost.iter().any(Option::is_some) {
        for (tool, feature) in request.tools.iter().zip(&lost) {
            if let Some(feature) = feature
                && is_wanted(tool, request.tool_choice.as_ref())
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
pub(super) fn describe(request: &mut Cow<'_, Request>, dialect: Dialect) {
    let is_foreign = |tool: &Tool| matches!(&tool.kind, ToolKind::Vendor { vendor, .. } if !dialect.takes_tools_of(vendor));
    if !request.tools.iter().any(is_foreign) {
        return;
    }
    // Of two tools of one name neither could be told from the other when it is called.
    let mut named: HashMap<String, usize> = HashMap::new();
    for tool in &request.tools {
        *named.entry(tool.name.clone()).or_default() += 1;
    }
    for index in 0..request.tools.len() {
        let tool = &request.tools[index];
        if let ToolKind::Vendor { vendor, value } = &tool.kind
            && is_foreign(tool)
            && named.get(&tool.name) == Some(&1)
            && let Some((description, parameters)) = dialect::as_function(vendor, value)
        {
            let tool = &mut request.to_mut().tools[index];
            tool.description = Some(description);
            tool.kind = ToolKind::Function { parameters: Some(parameters) };
        }
    }
}

/// Whether a choice lets a tool be called at all: one that it does not is nobody's loss.
fn is_wanted(tool: &Tool, choice: Option<&ToolChoice>) -> bool {
    match choice {
        Some(ToolChoice::None) => false,
        Some(ToolChoice::Named(name)) => tool.name == *name,
        Some(ToolChoice::Among { names, .. }) => names.contains(&tool.name),
        Some(ToolChoice::Auto | ToolChoice::Required) | None => true,
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
    let is_there = |name: &String| request.tools.iter().any(|tool| tool.name == *name);
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
