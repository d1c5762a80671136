//! `mask`: hides what not everybody may see, in bodies and in the access log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, guardrails::PersonalData};
use crate::{Size, load::Context};

/// Hides fields of JSON by their paths, and by choice whatever detectors find in texts, in bodies of requests and answers, in
/// streams of events and lines, and in the access log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mask {
    /// Paths in JSON such as `user.email`, `items[].card`, `meta.*`; `**.password` is one of this name anywhere, and `[].card` is
    /// in the items of a body that is a list. A backslash stands before what belongs to a name: `address\.line`.
    pub fields: Vec<String>,
    /// What is looked for in all texts, as the guardrails of models do.
    pub detect: Vec<PersonalData>,
    /// What stands in the place of what is hidden.
    pub replacement: String,
    /// Take fields away instead.
    pub remove: bool,
    /// Which bodies.
    pub on: MaskSide,
    /// Names of parameters in the query whose values are hidden in the access log and in traces; what detectors find in others
    /// is hidden as well.
    pub log_query: Vec<String>,
    /// Bytes of a body that is held; of a stream, of each piece. A larger request is 413, a larger answer 502.
    pub max_size: Size,
}

/// Which bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MaskSide {
    /// Of requests.
    Request,
    /// Of answers.
    #[default]
    Answer,
    /// Of both.
    Both,
}

impl Default for Mask {
    fn default() -> Self {
        Self {
            fields: Vec::new(),
            detect: Vec::new(),
            replacement: "[masked]".to_owned(),
            remove: false,
            on: MaskSide::Answer,
            log_query: Vec::new(),
            max_size: Size::mib(1),
        }
    }
}

impl Settings for Mask {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.fields.is_empty() && self.detect.is_empty() && self.log_query.is_empty() {
            at.error("hides nothing; expected `fields`, `detect` or `logQuery`");
        }
        at.each("fields", &self.fields, |at, path| {
            if let Some(instead) = in_another_language(path) {
                at.error_with(
                    format!("`{path}` would hide nothing: paths are no JSONPath and no JSON Pointer"),
                    format!(
                        "names with dots between them, such as {instead}; a name that begins so has a backslash \
                         before it"
                    ),
                );
            } else if steps(path).is_none() {
                at.error_with(
                    format!("`{path}` is no path"),
                    "names with dots between them, `[]` behind a list's name, `*` for any name, `**` for any depth, and a \
                     backslash before a dot, a bracket, a star or a backslash of a name",
                );
            }
        });
        if self.max_size.bytes() == 0 {
            at.field("maxSize", |at| at.error("expected more than nothing"));
        }
    }
}

/// Warns of a path in another language, where a member may be called so and nothing else could be written.
pub(super) fn warn_of_another_language(path: &str, at: &mut Context<'_, '_>) {
    if let Some(instead) = in_another_language(path) {
        at.warning_with(
            format!("`{path}` is no JSONPath and no JSON Pointer: only members that are called so are found"),
            format!("names with dots between them, such as {instead}"),
        );
    }
}

/// What could be meant by a path of JSONPath (`$.a.b`) or of JSON Pointer (`/a/b`); none of all others.
fn in_another_language(path: &str) -> Option<String> {
    let rest = path.strip_prefix('$').filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let meant = match rest {
        Some(rest) => rest.strip_prefix('.').unwrap_or(rest).to_owned(),
        None => path.strip_prefix('/')?.replace('/', "."),
    };
    let meant = if steps(&meant).is_some() { meant } else { "user.email".to_owned() };
    Some(format!("`{meant}`"))
}

/// Steps of a path, at most.
const STEPS_MAX: usize = 64;

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A member of this name.
    Name(String),
    /// Each member.
    Any,
    /// Each item of a list.
    Items,
    /// Here, and anywhere below.
    Deep,
}

/// What a path means; none of what is no path.
pub fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path.chars();
    loop {
        let (mut name, mut is_plain, mut items) = (String::new(), true, 0);
        let mut is_over = true;
        while let Some(next) = rest.next() {
            match next {
                '.' => {
                    is_over = false;
                    break;
                }
                '[' => {
                    if rest.next() != Some(']') {
                        return None;
                    }
                    items += 1;
                }
                // Behind its items a name has come to its end.
                _ if items > 0 => return None,
                ']' => return None,
                '\\' => {
                    name.push(rest.next().filter(|next| ".[]*\\$/".contains(*next))?);
                    is_plain = false;
                }
                next => name.push(next),
            }
        }
        match name.as_str() {
            // A list without a name is the body itself.
            "" if items > 0 && steps.is_empty() => {}
            "" => return None,
            "*" if is_plain => steps.push(Step::Any),
            "**" if is_plain && is_over => return None,
            "**" if is_plain => steps.push(Step::Deep),
            _ => steps.push(Step::Name(name)),
        }
        steps.extend((0..items).map(|_| Step::Items));
        if steps.len() > STEPS_MAX {
            return None;
        }
        if is_over {
            return Some(steps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_jsonpath_or_json_pointer_is_told_with_the_form_that_is_meant() {
        for (path, want) in [
            ("$.user.email", Some("`user.email`")),
            ("$", Some("`user.email`")),
            ("$[].card", Some("`[].card`")),
            ("$['a']", Some("`user.email`")),
            ("$..a", Some("`user.email`")),
            ("/user/password", Some("`user.password`")),
            ("/", Some("`user.email`")),
            ("user.email", None),
            ("$ref", None),
            ("a.$.b", None),
            ("a.b/c", None),
            (r"\$.a", None),
            (r"\/a", None),
        ] {
            assert_eq!(in_another_language(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn a_path_is_names_and_lists_and_whatever_a_backslash_takes_into_a_name() {
        let name = |name: &str| Step::Name(name.to_owned());
        for (path, want) in [
            ("a", vec![name("a")]),
            ("a.b[].c", vec![name("a"), name("b"), Step::Items, name("c")]),
            ("a[][]", vec![name("a"), Step::Items, Step::Items]),
            ("[].a", vec![Step::Items, name("a")]),
            ("[][]", vec![Step::Items, Step::Items]),
            ("*.x", vec![Step::Any, name("x")]),
            ("**.x", vec![Step::Deep, name("x")]),
            ("***", vec![name("***")]),
            (r"a\.b.c", vec![name("a.b"), name("c")]),
            (r"\*.a\[\]", vec![name("*"), name("a[]")]),
            (r"a\\.b", vec![name("a\\"), name("b")]),
            (r"\$.a", vec![name("$"), name("a")]),
            (r"\/a/b.$ref", vec![name("/a/b"), name("$ref")]),
            (r"a\.b[].\*\*", vec![name("a.b"), Step::Items, name("**")]),
        ] {
            assert_eq!(steps(path), Some(want), "{path}");
        }
        for path in [
            "", ".", "a.", ".a", "a..b", "a[", "a]", "a[0]", "a[]b", "a.[]", "**", "a.**", r"a\", r"a\b",
            "a[\\]",
        ] {
            assert_eq!(steps(path), None, "{path}");
        }
        assert!(
            steps(&["a"; STEPS_MAX].join(".")).is_some() && steps(&["a"; STEPS_MAX + 1].join(".")).is_none()
        );
    }
}
