//! Tools that OpenAI knows by a word and that the caller runs: shells, patches, a search among the caller's own tools.
//!
//! Models of OpenAI's call them by items of their own. To any other model they are functions, whose arguments are what
//! those items hold; so a call and its result are a call and a result in the canonical form, and become the items again
//! for a caller whose tools are such.

use serde_json::{Map, Value, json};

use crate::canon::{Part, Tool, ToolKind};

/// A tool that the caller runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    /// `local_shell`: one command at a time.
    LocalShell,
    /// `shell`: several.
    Shell,
    /// `apply_patch`: a file created, changed or deleted.
    ApplyPatch,
    /// `tool_search` that the caller answers: more of its tools.
    ToolSearch,
}

impl Hand {
    const ALL: [Self; 4] = [Self::LocalShell, Self::Shell, Self::ApplyPatch, Self::ToolSearch];

    /// The word for the tool, by which it is called as a function.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::LocalShell => "local_shell",
            Self::Shell => "shell",
            Self::ApplyPatch => "apply_patch",
            Self::ToolSearch => "tool_search",
        }
    }

    /// The types of the items that call it, and that answer.
    fn items(self) -> (&'static str, &'static str) {
        match self {
            Self::LocalShell => ("local_shell_call", "local_shell_call_output"),
            Self::Shell => ("shell_call", "shell_call_output"),
            Self::ApplyPatch => ("apply_patch_call", "apply_patch_call_output"),
            Self::ToolSearch => ("tool_search_call", "tool_search_output"),
        }
    }

    /// How ids of its calls begin.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::LocalShell => "lsh",
            Self::Shell => "sh",
            Self::ApplyPatch => "apc",
            Self::ToolSearch => "tsc",
        }
    }

    /// The tool that a value declares.
    pub(super) fn of(tool: &Value) -> Option<Self> {
        let kind = tool.get("type").and_then(Value::as_str)?;
        let found = Self::ALL.into_iter().find(|hand| hand.word() == kind)?;
        let text = |pointer: &str| tool.pointer(pointer).and_then(Value::as_str);
        // What runs in a container of OpenAI's, or is searched for there, is no caller's business.
        let is_ours = match found {
            Self::LocalShell | Self::ApplyPatch => true,
            Self::Shell => text("/environment/type").is_none_or(|place| place == "local"),
            Self::ToolSearch => text("/execution") == Some("client"),
        };
        is_ours.then_some(found)
    }

    /// The one that is called by this name among a request's tools, as they are written in this dialect.
    pub(super) fn among(tools: Option<&Value>, name: &str) -> Option<Self> {
        let tools = tools.and_then(Value::as_array)?;
        // A function of that name is what is called by it: the tool was not told beside that.
        let is_function = |tool: &Value| {
            let text = |key: &str| tool.get(key).and_then(Value::as_str);
            matches!(text("type"), Some("function" | "custom")) && text("name") == Some(name)
        };
        if tools.iter().any(is_function) {
            return None;
        }
        tools.iter().filter_map(Self::of).find(|hand| hand.word() == name)
    }

    /// All that are called by their words among tools in the canonical form: found once for a conversation of many calls.
    pub(super) fn all_among(tools: &[Tool]) -> Vec<Self> {
        let is_there = |hand: &Self| {
            let is_it = |tool: &Tool| match &tool.kind {
                ToolKind::Vendor { value, .. } => Self::of(value) == Some(*hand),
                ToolKind::Function { .. } | ToolKind::Custom { .. } => false,
            };
            let is_other = |tool: &Tool| !tool.is_vendors() && tool.name == hand.word();
            tools.iter().any(is_it) && !tools.iter().any(is_other)
        };
        Self::ALL.into_iter().filter(is_there).collect()
    }

    /// The one whose call an item is.
    pub(super) fn called(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hand| hand.items().0 == kind)
    }

    /// The one whose answer an item is.
    pub(super) fn answered(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hand| hand.items().1 == kind)
    }

    /// The arguments of a call: what its item holds.
    pub(super) fn arguments(self, item: &Value) -> String {
        let key = match self {
            Self::LocalShell | Self::Shell => "action",
            Self::ApplyPatch => "operation",
            Self::ToolSearch => "arguments",
        };
        let mut held = match item.get(key) {
            Some(Value::String(text)) => return text.clone(),
            Some(held) => held.clone(),
            None => json!({}),
        };
        if self == Self::LocalShell
            && let Some(action) = held.as_object_mut()
        {
            action.shift_remove("type");
        }
        held.to_string()
    }

    /// An item that calls it.
    pub(super) fn call(self, item: Option<&str>, id: &str, arguments: &str, status: &str) -> Value {
        let mut held = match serde_json::from_str(arguments) {
            Ok(Value::Object(held)) => held,
            _ => Map::new(),
        };
        let mut value = json!({"type": self.items().0, "call_id": id, "status": status});
        value.as_object_mut().into_iter().for_each(|value| {
            value.extend(item.map(|item| ("id".to_owned(), item.into())));
        });
        match self {
            Self::LocalShell => {
                as_list(&mut held, "command", |line| json!(["bash", "-lc", line]));
                let mut action = Map::new();
                action.insert("type".into(), "exec".into());
                action.extend(held);
                action.entry("env").or_insert_with(|| json!({}));
                value["action"] = action.into();
            }
            Self::Shell => {
                as_list(&mut held, "commands", |line| json!([line]));
                value["action"] = held.into();
            }
            Self::ApplyPatch => value["operation"] = held.into(),
            Self::ToolSearch => {
                value["execution"] = "client".into();
                value["arguments"] = held.into();
            }
        }
        value
    }

    /// What an answer says: its text, and whether the call failed.
    pub(super) fn said(self, item: &Value) -> (String, bool) {
        let output = item.get("output");
        let is_failed = item.get("status").and_then(Value::as_str) == Some("failed");
        let text = match (self, output) {
            (Self::ToolSearch, _) => names_of(item.get("tools")),
            (_, Some(Value::String(text))) => text.clone(),
            (_, Some(other)) => other.to_string(),
            (_, None) => String::new(),
        };
        (text, is_failed && self == Self::ApplyPatch)
    }

    /// An item that answers.
    pub(super) fn answer(self, id: &str, content: &[Part], is_error: bool) -> Value {
        let texts = content.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        let text = texts.collect::<Vec<_>>().join("\n");
        let kind = self.items().1;
        match self {
            Self::LocalShell => json!({"type": kind, "call_id": id, "output": text}),
            Self::Shell => {
                let told = serde_json::from_str(&text).ok().filter(Value::is_array);
                let exit = json!({"type": "exit", "exit_code": u8::from(is_error)});
                let output = told.unwrap_or_else(|| json!([{"stdout": text, "stderr": "", "outcome": exit}]));
                json!({"type": kind, "call_id": id, "output": output})
            }
            Self::ApplyPatch => {
                let status = if is_error { "failed" } else { "completed" };
                json!({"type": kind, "call_id": id, "status": status, "output": text})
            }
            // The tools that were found are the request's own by now.
            Self::ToolSearch => json!({"type": "function_call_output", "call_id": id, "output": text}),
        }
    }
}

/// A command that came as one text, as the list that it must be.
fn as_list(held: &mut Map<String, Value>, key: &str, list: impl Fn(&str) -> Value) {
    if let Some(Value::String(line)) = held.get(key) {
        let list = list(line);
        held.insert(key.to_owned(), list);
    }
}

/// The tools that a search found, by their names.
fn names_of(tools: Option<&Value>) -> String {
    let mut names = Vec::new();
    for tool in tools.and_then(Value::as_array).into_iter().flatten() {
        let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
        match tool.get("tools").and_then(Value::as_array) {
            Some(inner) => names.extend(inner.iter().filter_map(|inner| {
                let own = inner.get("name").and_then(Value::as_str)?;
                Some(crate::canon::flat(&crate::canon::scoped(Some(name), own)))
            })),
            None => names.push(name.to_owned()),
        }
    }
    match names.is_empty() {
        true => "No tools were found.".to_owned(),
        false => format!("These tools can be called now: {}", names.join(", ")),
    }
}

/// The tool as a function: its description and its parameters.
pub(in crate::dialect) fn as_function(tool: &Value) -> Option<(String, Value)> {
    let hand = Hand::of(tool)?;
    let number = json!({"type": "integer"});
    let text = json!({"type": "string"});
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let (description, properties, required) = match hand {
        Hand::LocalShell => (
            "Runs a command on the user's machine and gives its output.",
            json!({
                "command": {"type": "array", "items": {"type": "string"}, "description": "The program and its arguments."},
                "working_directory": text,
                "timeout_ms": number,
            }),
            json!(["command"]),
        ),
        Hand::Shell => (
            "Runs shell commands on the user's machine and gives what each of them wrote and how it ended.",
            json!({"commands": texts, "timeout_ms": number, "max_output_length": number}),
            json!(["commands"]),
        ),
        Hand::ApplyPatch => (
            "Creates, changes or deletes a file of the user's by a diff.",
            json!({
                "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                "path": {"type": "string", "description": "The file, from the working directory."},
                "diff": {
                    "type": "string",
                    "description": "Lines of the V4A diff format: context lines begin with a space, lines taken out with `-`, lines put in with `+`, and `@@` leads to a place. Not for delete_file.",
                },
            }),
            json!(["type", "path"]),
        ),
        Hand::ToolSearch => {
            let said = tool.get("description").and_then(Value::as_str);
            let parameters = tool.get("parameters").filter(|parameters| parameters.is_object());
            let query = json!({"type": "object", "properties": {"query": text}, "required": ["query"]});
            let description = said.unwrap_or("Searches for further tools that can be called then.");
            return Some((description.to_owned(), parameters.cloned().unwrap_or(query)));
        }
    };
    let parameters = json!({"type": "object", "properties": properties, "required": required});
    Some((description.to_owned(), parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_item_calls_is_an_item_again() {
        for item in [
            json!({"type": "local_shell_call", "call_id": "c", "status": "completed", "id": "i",
                "action": {"type": "exec", "command": ["ls", "-l"], "timeout_ms": 5, "env": {"A": "b"}}}),
            json!({"type": "shell_call", "call_id": "c", "status": "completed", "id": "i",
                "action": {"commands": ["ls", "pwd"], "timeout_ms": 5}}),
            json!({"type": "apply_patch_call", "call_id": "c", "status": "completed", "id": "i",
                "operation": {"type": "update_file", "path": "a", "diff": "@@\n-a\n+b"}}),
            json!({"type": "tool_search_call", "call_id": "c", "status": "completed", "id": "i",
                "execution": "client", "arguments": {"query": "issues"}}),
        ] {
            let hand = Hand::called(item["type"].as_str().unwrap_or_default()).expect("known");
            let arguments = hand.arguments(&item);
            assert!(!arguments.contains("exec"), "{arguments}");
            assert_eq!(hand.call(Some("i"), "c", &arguments, "completed"), item);
        }
    }

    #[test]
    fn what_an_answer_says_is_an_answer_again() {
        for (item, is_error) in [
            (json!({"type": "local_shell_call_output", "call_id": "c", "output": "a\nb"}), false),
            (
                json!({"type": "shell_call_output", "call_id": "c",
                    "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 1}}]}),
                false,
            ),
            (
                json!({"type": "apply_patch_call_output", "call_id": "c", "status": "failed", "output": "no"}),
                true,
            ),
        ] {
            let hand = Hand::answered(item["type"].as_str().unwrap_or_default()).expect("known");
            let (text, failed) = hand.said(&item);
            assert_eq!(failed, is_error);
            assert_eq!(hand.answer("c", &[Part::text(text)], failed), item);
        }
        let found = json!({"tools": [{"type": "namespace", "name": "gh", "tools": [{"name": "list"}]}, {"name": "f"}]});
        assert_eq!(Hand::ToolSearch.said(&found).0, "These tools can be called now: gh__list, f");
    }

    #[test]
    fn a_function_that_has_a_tools_word_as_its_name_is_what_is_called_by_it() {
        let among = |tools: Value| Hand::among(Some(&tools), "shell");
        let plain = json!({"type": "function", "name": "shell", "parameters": {}});
        let elsewhere =
            json!({"type": "namespace", "name": "shell", "tools": [{"type": "function", "name": "shell"}]});
        assert_eq!(among(json!([{"type": "shell"}])), Some(Hand::Shell));
        assert_eq!(among(json!([{"type": "shell"}, plain])), None);
        assert_eq!(among(json!([{"type": "shell"}, {"type": "custom", "name": "shell"}])), None);
        assert_eq!(among(json!([{"type": "shell"}, elsewhere])), Some(Hand::Shell));
    }

    #[test]
    fn what_openai_runs_is_no_function() {
        for (tool, is_ours) in [
            (json!({"type": "local_shell"}), true),
            (json!({"type": "shell", "environment": {"type": "local"}}), true),
            (json!({"type": "shell", "environment": {"type": "container_auto"}}), false),
            (json!({"type": "apply_patch"}), true),
            (json!({"type": "tool_search", "execution": "client"}), true),
            (json!({"type": "tool_search"}), false),
            (json!({"type": "web_search"}), false),
        ] {
            assert_eq!(as_function(&tool).is_some(), is_ours, "{tool}");
        }
        let line = Hand::Shell.call(None, "c", r#"{"commands": "ls"}"#, "completed");
        assert_eq!(line["action"]["commands"], json!(["ls"]), "some models write one command as a text");
    }
}
