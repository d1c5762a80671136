//! The texts of a prompt: compiled once, rendered within bounds.
//!
//! A template sees the input and nothing else: no files, no other templates, no environment. Values go in as text and
//! are never read as template. Time and memory of a rendering are bounded by fuel, its output by a size.

use std::{collections::BTreeSet, io};

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};

/// Steps of a rendering: some hundred thousand instructions, or 32 MB of values.
const FUEL: u64 = 500_000;
/// Bytes of a rendered text.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How deep loops and conditions nest.
const DEPTH_MAX: usize = 64;

/// The templates of one version of a prompt.
pub(super) struct Templates {
    environment: Environment<'static>,
    variables: Vec<BTreeSet<String>>,
}

impl Templates {
    /// Compiles texts whose variables are among these. An error names the message and what is wrong with it.
    pub(super) fn compile<'t>(
        texts: impl IntoIterator<Item = &'t str>,
        known: &BTreeSet<String>,
    ) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH_MAX);
        let globals: BTreeSet<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
        let mut variables = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            let wrong = |what: String| format!("messages[{index}].content: {what}");
            environment.add_template_owned(name(index), text.to_owned()).map_err(|error| {
                let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
                wrong(format!("{line}{}", error.detail().unwrap_or("not a template")))
            })?;
            let template =
                environment.get_template(&name(index)).map_err(|error| wrong(error.to_string()))?;
            let used: BTreeSet<String> = template
                .undeclared_variables(false)
                .into_iter()
                .filter(|name| !globals.contains(name))
                .collect();
            if let Some(unknown) = used.iter().find(|name| !known.contains(*name)) {
                let there: Vec<&str> = known.iter().map(String::as_str).collect();
                return Err(wrong(match there.is_empty() {
                    true => format!(
                        "`{unknown}` is no property of `input`, which has none; add it to `input.properties`"
                    ),
                    false => format!("`{unknown}` is no property of `input`, which has {}", there.join(", ")),
                }));
            }
            variables.push(used);
        }
        Ok(Self { environment, variables })
    }

    /// The text of a message for an input. An error names the message and, where one is missing, the variable.
    pub(super) fn render(&self, index: usize, input: &Value) -> Result<String, String> {
        let wrong = |what: &dyn std::fmt::Display| format!("messages[{index}]: {what}");
        let template = self.environment.get_template(&name(index)).map_err(|error| wrong(&error))?;
        let mut text = Bounded { bytes: Vec::new() };
        let done = template.render_captured_to(input.clone(), &mut text).map(drop);
        done.map_err(|error| match error.kind() {
            ErrorKind::UndefinedError => match self.missing(index, input) {
                Some(name) => wrong(&format_args!("`{name}` is not given")),
                None => wrong(&format_args!("something that it uses is not given: {}", plain(&error))),
            },
            ErrorKind::OutOfFuel => wrong(&"it takes too long to write out"),
            ErrorKind::WriteFailure => wrong(&format_args!("it becomes longer than {TEXT_BYTES_MAX} bytes")),
            _ => wrong(&plain(&error)),
        })?;
        String::from_utf8(text.bytes).map_err(|error| wrong(&error))
    }

    /// The first variable of a message that an input lacks.
    fn missing(&self, index: usize, input: &Value) -> Option<&str> {
        let used = self.variables.get(index)?;
        used.iter()
            .find(|name| input.get_attr(name).is_ok_and(|value| value.is_undefined()))
            .map(String::as_str)
    }
}

fn name(index: usize) -> String {
    format!("messages[{index}]")
}

/// An error without the place in the template, which is the operator's business.
fn plain(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(more.len()) > TEXT_BYTES_MAX {
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compiled(text: &str) -> Result<Templates, String> {
        let names = ["text", "list", "n"].map(str::to_owned).into();
        Templates::compile([text], &names)
    }

    fn rendered(text: &str, input: serde_json::Value) -> Result<String, String> {
        compiled(text)?.render(0, &Value::from(minijinja::value::Serde(input)))
    }

    #[test]
    fn values_go_in_as_text_and_are_not_read_as_template_or_escaped() {
        let hostile = "{{ n }} {% for x in list %} <b>&amp;</b> {# no #}";
        assert_eq!(rendered("<{{ text }}>", json!({"text": hostile})), Ok(format!("<{hostile}>")));
    }

    #[test]
    fn loops_conditions_and_filters_are_there() {
        let text = "{% for one in list %}{{ loop.index }}:{{ one|upper }} {% endfor %}{% if text %}yes{% else %}no{% endif %}";
        assert_eq!(rendered(text, json!({"list": ["a", "b"]})), Ok("1:A 2:B no".to_owned()));
        assert_eq!(rendered("{{ list|tojson }}", json!({"list": [1, "x"]})), Ok("[1, \"x\"]".to_owned()));
    }

    #[test]
    fn what_is_not_given_is_named() {
        assert_eq!(
            rendered("{{ text }}", json!({"n": 1})),
            Err("messages[0]: `text` is not given".to_owned())
        );
        assert_eq!(rendered("{{ text|default('x') }}", json!({})), Ok("x".to_owned()));
    }

    #[test]
    fn mistakes_are_found_when_it_is_compiled() {
        for (text, says) in [
            ("{{ other }}", "messages[0].content: `other` is no property of `input`"),
            ("{{ text", "messages[0].content: line 1:"),
            ("{% include 'x' %}", "include"),
            ("{% extends 'x' %}", "extends"),
        ] {
            let error = compiled(text).err().unwrap_or_default();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn neither_time_nor_memory_nor_output_is_without_bound() {
        let forever =
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ text }}{% endfor %}{% endfor %}";
        let doubling = "{% set a = text %}".to_owned() + &"{% set a = a ~ a %}".repeat(40) + "{{ a }}";
        for text in [forever, &doubling, "{{ text * n }}"] {
            let begun = std::time::Instant::now();
            let error = rendered(text, json!({"text": "0123456789", "n": 1_000_000_000})).err();
            assert!(error.is_some_and(|error| error.starts_with("messages[0]: ")), "{text}");
            assert!(begun.elapsed().as_secs() < 5, "{text} took {:?}", begun.elapsed());
        }
    }
}
