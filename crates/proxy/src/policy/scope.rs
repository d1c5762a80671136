//! Which routes a policy may run for.

use crate::compiled::Building;

/// The one route that the policy belongs to, or all of them for a policy that is shared or general.
pub(crate) fn routes_of<'a>(cx: &Building<'a>) -> Vec<&'a model::Route> {
    // The owner is `routes/<name>/<policy>`.
    let own = cx.owner.strip_prefix("routes/").and_then(|rest| Some(rest.rsplit_once('/')?.0));
    let routes = &cx.snapshot.config.routes;
    match own {
        Some(name) => routes.iter().filter(|route| route.name == name).collect(),
        None => routes.iter().collect(),
    }
}
