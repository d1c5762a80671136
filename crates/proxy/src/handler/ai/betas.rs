//! Anthropic's header `anthropic-beta` at Bedrock, which takes some of its flags in the body.

use std::borrow::Cow;

use ai::{
    canon::{Loss, Losses},
    dialect::{self, Dialect},
    rules::Rules,
};
use http::HeaderMap;

use super::prepare::Prepared;

const BETA: &str = "anthropic-beta";

/// The fields of a caller's head that are left to carry. The flags that the model takes stand in the body then, and the
/// others are named.
pub(super) fn carried<'h>(
    came: &'h HeaderMap,
    caller: Dialect,
    rules: &Rules,
    prepared: &mut Prepared,
) -> Cow<'h, HeaderMap> {
    if caller != Dialect::Anthropic || prepared.dialect != Dialect::Bedrock || !came.contains_key(BETA) {
        return Cow::Borrowed(came);
    }
    let values = came.get_all(BETA).iter().filter_map(|value| value.to_str().ok());
    let flags = values.flat_map(|value| value.split(',')).map(str::trim).filter(|flag| !flag.is_empty());
    let (taken, others): (Vec<&str>, Vec<&str>) =
        flags.partition(|flag| rules.betas.iter().any(|known| known == flag));
    name(&others, &mut prepared.losses);
    if !taken.is_empty()
        && let Some(body) = dialect::with_betas(&prepared.body, &taken)
    {
        prepared.body = body.into();
    }
    let mut rest = came.clone();
    rest.remove(BETA);
    Cow::Owned(rest)
}

fn name(flags: &[&str], losses: &mut Losses) {
    flags.iter().for_each(|flag| losses.add(Loss::Field(format!("{BETA}: {flag}"))));
}
