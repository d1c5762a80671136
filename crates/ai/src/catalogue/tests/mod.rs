//! What the catalogue promises: every file is sound, and the rules of known models are what their makers say.

mod files;
mod lookups;
mod rules;
mod sources;
