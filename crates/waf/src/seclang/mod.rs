//! ModSecurity's language as a file has it: lines into directives, their words, targets and actions.

mod actions;
mod lines;
mod targets;

pub(crate) use self::{
    actions::{RawAction, split_actions},
    lines::{Directive, directives},
    targets::{RawTarget, split_targets},
};
