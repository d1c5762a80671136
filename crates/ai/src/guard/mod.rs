//! What guardrails look for in texts, and what masking makes of it. Pure: texts in, texts out.
//!
//! [`detect`] knows what personal data and secrets look like, each where it begins; [`patterns`] does the same for an
//! operator's own words and patterns; [`scan`] asks both at every place of a text, and [`hold`] does so while the text
//! is still coming. `sift` and `words` tell at a glance that nothing is in a text, which is so of most. [`vault`]
//! remembers what a placeholder stands for. [`leaves`] finds the texts of a request of any dialect and changes them where
//! they stand. [`injection`] and [`language`] judge a text as a whole; [`rule`] says what is
//! looked for, and [`screen`] puts the rules to one call.

pub mod detect;
pub mod hold;
mod ids;
pub mod injection;
pub mod language;
mod leaf_walk;
pub mod leaves;
pub mod patterns;
pub mod rule;
pub mod scan;
pub mod screen;
mod secrets;
mod sift;
pub mod vault;
mod words;
