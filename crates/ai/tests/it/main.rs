//! Golden tests of the dialects: every fixture of every dialect against every other, and the laws that hold for all.
//!
//! `fixtures/<dialect>/requests/*.json` are requests of callers, `answers/*.json` whole answers of providers,
//! `streams/*.jsonl` their streams (a frame per line: `{"event": …, "data": …}`), `errors/<status>-*.json` their errors.
//! What each becomes in each dialect stands in `golden/`; `TIDEGATE_GOLDEN=write` writes it anew.

mod answers;
mod errors;
mod fixtures;
mod fuzz;
mod law;
mod lengths;
mod names;
mod noise;
mod requests;
mod streams;
