//! The engine as its callers see it.

mod fuzz;
mod language;
mod requests;
mod verdicts;
