//! What clients send: ids become the agent's own, and what could be read in two ways is refused.

use model::{A2aRecord, resource::a2a::A2aMethod as Method};

use super::{
    ids::{Ids, Kind},
    json::{Object, list, listed, quoted},
};

/// No task of this caller's has such an id.
pub(super) const TASK_NOT_FOUND: i32 = -32001;
/// Nothing is pushed from here.
pub(super) const NO_PUSH: i32 = -32003;
/// The parameters do not fit.
pub(super) const INVALID_PARAMS: i32 = -32602;

/// References in one message.
const REFERENCES_MAX: usize = 256;

/// Why a message is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: i32,
    pub(super) text: String,
}

fn invalid(text: impl Into<String>) -> Refused {
    Refused { code: INVALID_PARAMS, text: text.into() }
}

/// Who rewrites a client's parameters, and for whom.
pub(super) struct Inbound<'a> {
    pub(super) ids: &'a Ids<'a>,
    pub(super) record: &'a A2aRecord,
    pub(super) push_hosts: &'a [String],
}

impl Inbound<'_> {
    /// The parameters as the agent gets them; `is_old`: the method is called as 0.3 does.
    pub(super) fn rewrite(
        &self,
        method: Method,
        is_old: bool,
        mut params: Object,
    ) -> Result<Object, Refused> {
        plain(
            &params,
            &[
                "id",
                "taskId",
                "contextId",
                "message",
                "configuration",
                "metadata",
                "historyLength",
                "pushNotificationConfig",
                "pushNotificationConfigId",
                "url",
                "token",
                "authentication",
                "tenant",
                "pageToken",
                "pageSize",
                "status",
                "includeArtifacts",
                "statusTimestampAfter",
            ],
        )?;
        match method {
            Method::SendMessage | Method::SendStreamingMessage => self.message(&mut params)?,
            Method::GetTask | Method::CancelTask | Method::SubscribeToTask => {
                self.task(&mut params, "id", true)?;
            }
            Method::ListTasks => {
                if params.text("contextId").is_none_or(|id| id.is_empty()) {
                    return Err(invalid(
                        "`contextId` is required here: whose a task is can be told of a context's tasks alone",
                    ));
                }
                self.context(&mut params)?;
            }
            Method::CreateTaskPushNotificationConfig => {
                self.push(&params)?;
                if let Some(config) = params.object("pushNotificationConfig") {
                    self.push(&config)?;
                }
                self.task(&mut params, "taskId", true)?;
            }
            Method::GetTaskPushNotificationConfig
            | Method::ListTaskPushNotificationConfigs
            | Method::DeleteTaskPushNotificationConfig => {
                // 0.3 names the task `id`, 1.0 `taskId` beside the configuration's own `id`.
                if is_old && params.get("taskId").is_some() {
                    return Err(invalid("`taskId` is no member of this: the task is its `id`"));
                }
                self.task(&mut params, if is_old { "id" } else { "taskId" }, true)?;
            }
            Method::GetExtendedAgentCard => {}
        }
        Ok(params)
    }

    fn message(&self, params: &mut Object) -> Result<(), Refused> {
        let mut message = params.object("message").ok_or_else(|| invalid("`message` is required"))?;
        plain(&message, &["taskId", "contextId", "referenceTaskIds", "messageId", "parts", "role"])?;
        self.task(&mut message, "taskId", false)?;
        self.context(&mut message)?;
        if let Some(text) = message.get("referenceTaskIds") {
            let items = list(text).ok_or_else(|| invalid("`referenceTaskIds` is a list"))?;
            if items.len() > REFERENCES_MAX {
                return Err(invalid(format!("`referenceTaskIds` has more than {REFERENCES_MAX} items")));
            }
            let opened: Result<Vec<String>, Refused> =
                items.iter().map(|item| self.opened(item.get()).map(|(_, raw)| quoted(&raw))).collect();
            let opened = listed(&opened?);
            message.set("referenceTaskIds", opened);
        }
        params.set("message", message.json());
        let Some(text) = params.get("configuration") else { return Ok(()) };
        let mut configuration = Object::parse(text).ok_or_else(|| invalid("`configuration` is an object"))?;
        const PUSHES: [&str; 2] = ["pushNotificationConfig", "taskPushNotificationConfig"];
        plain(&configuration, &PUSHES)?;
        for name in PUSHES {
            let Some(text) = configuration.get(name) else { continue };
            let mut config = Object::parse(text).ok_or_else(|| invalid(format!("`{name}` is an object")))?;
            self.push(&config)?;
            self.task(&mut config, "taskId", false)?;
            configuration.set(name, config.json());
        }
        params.set("configuration", configuration.json());
        Ok(())
    }

    /// Opens the id of a task.
    fn opened(&self, json: &str) -> Result<(String, String), Refused> {
        let id: String = serde_json::from_str(json).map_err(|_| invalid("the id of a task is a text"))?;
        match self.ids.open(Kind::Task, &id) {
            Some(raw) => Ok((id, raw)),
            None => Err(Refused { code: TASK_NOT_FOUND, text: "Task not found".to_owned() }),
        }
    }

    fn task(&self, object: &mut Object, name: &str, is_needed: bool) -> Result<(), Refused> {
        match object.get(name) {
            None if is_needed => Err(invalid(format!("`{name}` is required"))),
            None => Ok(()),
            // A message that begins a task may say so.
            Some("\"\"") if !is_needed => Ok(()),
            Some(json) => {
                let (id, raw) = self.opened(json)?;
                self.record.about_task(&id);
                object.set(name, quoted(&raw));
                Ok(())
            }
        }
    }

    fn context(&self, object: &mut Object) -> Result<(), Refused> {
        let Some(json) = object.get("contextId").filter(|json| *json != "\"\"") else { return Ok(()) };
        let id: String = serde_json::from_str(json).map_err(|_| invalid("`contextId` is a text"))?;
        let raw = self.ids.context_in(&id).ok_or_else(|| invalid("`contextId` is too long"))?;
        self.record.in_context(&id);
        object.set("contextId", quoted(&raw));
        Ok(())
    }

    /// Judges where something is to be pushed to.
    fn push(&self, config: &Object) -> Result<(), Refused> {
        plain(config, &["url", "taskId", "id", "token", "authentication"])?;
        if self.push_hosts.is_empty() {
            return Err(Refused {
                code: NO_PUSH,
                text: "push notifications are not passed on here".to_owned(),
            });
        }
        let Some(url) = config.get("url") else { return Ok(()) };
        let url: String = serde_json::from_str(url).map_err(|_| invalid("`url` is a text"))?;
        let host = host_of(&url).ok_or_else(|| invalid("`url` is no address that is pushed to from here"))?;
        let fits = |pattern: &String| match pattern.strip_prefix("*.") {
            Some(rest) => {
                host.strip_suffix(rest).is_some_and(|begin| begin.len() > 1 && begin.ends_with('.'))
            }
            None => *pattern == host,
        };
        match self.push_hosts.iter().any(fits) {
            true => Ok(()),
            false => Err(invalid(format!("nothing is pushed to `{host}` from here"))),
        }
    }
}

/// The host of a URL; none when another reader could find another one.
fn host_of(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    if url.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'@' | b'%')) {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        Some(_) => return None,
        None => authority,
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    (!host.is_empty() && host.bytes().all(good)).then(|| host.trim_end_matches('.').to_ascii_lowercase())
}

/// Refuses members that another reader could take for one of these.
fn plain(object: &Object, known: &[&str]) -> Result<(), Refused> {
    match object.lookalike(known) {
        None => Ok(()),
        Some(name) => {
            let short: String = name.chars().take(64).collect();
            Err(invalid(format!(
                "`{short}` is no member of the protocol's; names are written as it writes them"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::a2a::ids::Keys;

    fn rewritten(method: Method, text: &str) -> Result<String, i32> {
        rewritten_as(method, false, text)
    }

    fn rewritten_as(method: Method, is_old: bool, text: &str) -> Result<String, i32> {
        let keys = Keys::new(b"a secret of the tests", "agents").expect("keys");
        let ids = keys.of("travel", "gold");
        let text =
            text.replace("TASK", &ids.seal(Kind::Task, "t-1")).replace("CONTEXT", &ids.context_out("c-1"));
        let hosts = ["hooks.example.com".to_owned(), "*.example.org".to_owned()];
        let record = A2aRecord::default();
        let inbound = Inbound { ids: &ids, record: &record, push_hosts: &hosts };
        let params = Object::parse(&text).expect("an object");
        inbound.rewrite(method, is_old, params).map(|params| params.json()).map_err(|refused| refused.code)
    }

    #[test]
    fn ids_become_the_agents_own_wherever_they_stand() {
        let text = r#"{"message":{"taskId":"TASK","contextId":"CONTEXT","referenceTaskIds":["TASK"],"parts":[{"data":{"taskId":"x"}}]},"metadata":{"taskId":"y"}}"#;
        let want = r#"{"message":{"taskId":"t-1","contextId":"c-1","referenceTaskIds":["t-1"],"parts":[{"data":{"taskId":"x"}}]},"metadata":{"taskId":"y"}}"#;
        assert_eq!(rewritten(Method::SendMessage, text).as_deref(), Ok(want));
        assert_eq!(rewritten(Method::GetTask, r#"{"id":"TASK"}"#).as_deref(), Ok(r#"{"id":"t-1"}"#));
        let old = rewritten_as(
            Method::GetTaskPushNotificationConfig,
            true,
            r#"{"id":"TASK","pushNotificationConfigId":"p"}"#,
        );
        assert_eq!(old.as_deref(), Ok(r#"{"id":"t-1","pushNotificationConfigId":"p"}"#));
        let new = rewritten(Method::GetTaskPushNotificationConfig, r#"{"id":"p","taskId":"TASK"}"#);
        assert_eq!(new.as_deref(), Ok(r#"{"id":"p","taskId":"t-1"}"#));
        // An agent of 0.3 reads `id`, whatever else is there.
        for method in [
            Method::GetTaskPushNotificationConfig,
            Method::ListTaskPushNotificationConfigs,
            Method::DeleteTaskPushNotificationConfig,
        ] {
            let anothers = r#"{"id":"t-1","taskId":"TASK","pushNotificationConfigId":"p"}"#;
            assert_eq!(rewritten_as(method, true, anothers), Err(INVALID_PARAMS));
            assert_eq!(rewritten_as(method, true, r#"{"id":"t-1"}"#), Err(TASK_NOT_FOUND));
        }
    }

    #[test]
    fn what_is_not_this_callers_or_could_be_read_otherwise_is_refused() {
        for (method, text, code) in [
            (Method::GetTask, r#"{"id":"t-1"}"#, TASK_NOT_FOUND),
            (Method::GetTask, r#"{"id":"CONTEXT"}"#, TASK_NOT_FOUND),
            (Method::GetTask, r#"{"id":7}"#, INVALID_PARAMS),
            (Method::GetTask, r#"{"id":""}"#, TASK_NOT_FOUND),
            (Method::GetTask, r#"{"Id":"t-1"}"#, INVALID_PARAMS),
            (Method::CancelTask, "{}", INVALID_PARAMS),
            (Method::ListTasks, "{}", INVALID_PARAMS),
            (Method::SendMessage, r#"{"message":{"taskId":"t-1"}}"#, TASK_NOT_FOUND),
            (Method::SendMessage, r#"{"message":{"task_id":"t-1"}}"#, INVALID_PARAMS),
            (Method::SendMessage, r#"{"message":{"TaskID":"t-1"}}"#, INVALID_PARAMS),
            (Method::SendMessage, r#"{"message":{"referenceTaskIds":["TASK","t-2"]}}"#, TASK_NOT_FOUND),
            (Method::SendMessage, r#"{"message":{"reference_task_ids":["t-2"]}}"#, INVALID_PARAMS),
            (Method::SendMessage, r#"{"Message":{"taskId":"t-1"},"message":{}}"#, INVALID_PARAMS),
            (Method::SendMessage, r#"{"message":"x"}"#, INVALID_PARAMS),
        ] {
            assert_eq!(rewritten(method, text), Err(code), "{text}");
        }
    }

    #[test]
    fn agents_push_to_named_hosts_alone() {
        for (url, is_good) in [
            ("https://hooks.example.com/x", true),
            ("https://HOOKS.example.com:8443/x", true),
            ("https://a.example.org/", true),
            ("https://example.org/", false),
            ("http://169.254.169.254/latest", false),
            ("http://127.0.0.1/", false),
            ("http://[::1]/", false),
            ("https://hooks.example.com@127.0.0.1/", false),
            ("https://127.0.0.1\\\\@hooks.example.com/", false),
            ("https://hooks.example.com.evil.test/", false),
            ("file:///etc/passwd", false),
        ] {
            let text = format!(
                r#"{{"message":{{}},"configuration":{{"pushNotificationConfig":{{"url":"{url}"}}}}}}"#
            );
            assert_eq!(rewritten(Method::SendMessage, &text).is_ok(), is_good, "{url}");
            let text = format!(r#"{{"taskId":"TASK","url":"{url}"}}"#);
            assert_eq!(rewritten(Method::CreateTaskPushNotificationConfig, &text).is_ok(), is_good, "{url}");
        }
    }
}
