//! HTTP and JSON, the second binding of 1.0: a method is a path, and its parameters are the path's, the query's and the
//! body's.
//!
//! What is asked so goes on to the agent in JSON-RPC, whose parameters and results are the same: rules, limits, ids and
//! records know no difference.

use http::Method as Http;
use model::resource::a2a::A2aMethod as Method;

use super::{
    INVALID_REQUEST, PARSE_ERROR,
    json::{self, Object, quoted},
    params::INVALID_PARAMS,
};

/// The version that this binding is of.
pub(super) const VERSION: &str = "1.0";
/// The client speaks another.
pub(super) const VERSION_NOT_SUPPORTED: i32 = -32009;

/// Parameters that are numbers, truths or texts in a query.
const NUMBERS: [&str; 2] = ["historyLength", "pageSize"];
const TRUTHS: [&str; 1] = ["includeArtifacts"];
const TEXTS: [&str; 5] = ["contextId", "status", "pageToken", "statusTimestampAfter", "tenant"];

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked<'p> {
    /// The path of the agent.
    pub(super) base: &'p str,
    pub(super) method: Method,
    task: Option<&'p str>,
    config: Option<&'p str>,
}

/// What is asked for; none when it is nothing of this binding.
pub(super) fn asked<'p>(path: &'p str, http: &Http) -> Option<Asked<'p>> {
    let (is_get, is_post) = (*http == Http::GET, *http == Http::POST);
    let plain = |base: &'p str, method| Asked { base: below(base), method, task: None, config: None };
    for (end, fits, method) in [
        ("/message:send", is_post, Method::SendMessage),
        ("/message:stream", is_post, Method::SendStreamingMessage),
        ("/tasks", is_get, Method::ListTasks),
        ("/extendedAgentCard", is_get, Method::GetExtendedAgentCard),
    ] {
        if let (true, Some(base)) = (fits, path.strip_suffix(end)) {
            return Some(plain(base, method));
        }
    }
    let (base, rest) = path.rsplit_once("/tasks/")?;
    let mut parts = rest.splitn(3, '/');
    let (task, configs, config) = (parts.next()?, parts.next(), parts.next());
    let (task, method) = match (configs, config) {
        (None, _) => {
            let cancel = task.strip_suffix(":cancel").filter(|_| is_post);
            let subscribe = task.strip_suffix(":subscribe").filter(|_| is_post || is_get);
            match (cancel, subscribe) {
                (Some(task), _) => (task, Method::CancelTask),
                (_, Some(task)) => (task, Method::SubscribeToTask),
                _ if is_get => (task, Method::GetTask),
                _ => return None,
            }
        }
        (Some("pushNotificationConfigs"), None) if is_post => {
            (task, Method::CreateTaskPushNotificationConfig)
        }
        (Some("pushNotificationConfigs"), None) if is_get => (task, Method::ListTaskPushNotificationConfigs),
        (Some("pushNotificationConfigs"), Some(_)) if is_get => (task, Method::GetTaskPushNotificationConfig),
        (Some("pushNotificationConfigs"), Some(_)) if *http == Http::DELETE => {
            (task, Method::DeleteTaskPushNotificationConfig)
        }
        _ => return None,
    };
    Some(Asked { task: Some(task), config, ..plain(base, method) })
}

/// The agent's path, without the `/v1` that some clients put behind it.
fn below(base: &str) -> &str {
    base.strip_suffix("/v1").unwrap_or(base)
}

/// A segment of a path without its escapes; none when it is no text.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

impl Asked<'_> {
    /// The parameters. The error is a code and a sentence for whoever asked.
    pub(super) fn params(&self, query: Option<&str>, body: &[u8]) -> Result<Object, (i32, String)> {
        let wrong = |text: String| (INVALID_PARAMS, text);
        let text = std::str::from_utf8(body).map_err(|_| (PARSE_ERROR, "the body is no UTF-8".to_owned()))?;
        let takes_body = matches!(
            self.method,
            Method::SendMessage
                | Method::SendStreamingMessage
                | Method::CancelTask
                | Method::CreateTaskPushNotificationConfig
        );
        let mut params = match (text.trim().is_empty(), takes_body) {
            (true, _) => Object::default(),
            (false, false) => return Err(wrong("there is no body in such a request".to_owned())),
            (false, true) => {
                json::check(text).map_err(|why| {
                    (if why.ends_with("JSON") { PARSE_ERROR } else { INVALID_REQUEST }, why.to_owned())
                })?;
                Object::parse(text).ok_or_else(|| wrong("the body must be an object".to_owned()))?
            }
        };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let is_text = TEXTS.contains(&&*name);
            let json = match &*value {
                number if NUMBERS.contains(&&*name) && number.parse::<u32>().is_ok() => number.to_owned(),
                "true" | "false" if TRUTHS.contains(&&*name) => value.to_string(),
                text if is_text => quoted(text),
                _ => {
                    let name: String = name.chars().take(64).collect();
                    return Err(wrong(format!(
                        "`{name}` in the query is no parameter of this method, or no good one"
                    )));
                }
            };
            if params.get(&name).is_some() {
                return Err(wrong(format!("`{name}` is there twice")));
            }
            params.set(&name, json);
        }
        let is_push = matches!(
            self.method,
            Method::CreateTaskPushNotificationConfig
                | Method::GetTaskPushNotificationConfig
                | Method::ListTaskPushNotificationConfigs
                | Method::DeleteTaskPushNotificationConfig
        );
        let task_name = if is_push { "taskId" } else { "id" };
        for (name, segment) in [(task_name, self.task), ("id", self.config)] {
            let Some(segment) = segment else { continue };
            let value = decoded(segment).ok_or_else(|| wrong("an id in the path is no text".to_owned()))?;
            // A body may say it again, but nothing else.
            if params.text(name).is_some_and(|said| said != value) {
                return Err(wrong(format!("`{name}` in the body is not that of the path")));
            }
            params.set(name, quoted(&value));
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_methods() {
        for (http, path, want) in [
            ("POST", "/a2a/echo/message:send", Some(("/a2a/echo", Method::SendMessage, None, None))),
            ("POST", "/a2a/echo/v1/message:send", Some(("/a2a/echo", Method::SendMessage, None, None))),
            ("POST", "/message:stream", Some(("", Method::SendStreamingMessage, None, None))),
            ("GET", "/a2a/message:send", None),
            ("GET", "/a2a/tasks", Some(("/a2a", Method::ListTasks, None, None))),
            ("POST", "/a2a/tasks", None),
            ("GET", "/a2a/tasks/7", Some(("/a2a", Method::GetTask, Some("7"), None))),
            ("GET", "/a2a/tasks/tasks/7", Some(("/a2a/tasks", Method::GetTask, Some("7"), None))),
            ("POST", "/a2a/tasks/7", None),
            ("POST", "/a2a/tasks/7:cancel", Some(("/a2a", Method::CancelTask, Some("7"), None))),
            ("GET", "/a2a/tasks/7:subscribe", Some(("/a2a", Method::SubscribeToTask, Some("7"), None))),
            (
                "GET",
                "/a/tasks/7/pushNotificationConfigs",
                Some(("/a", Method::ListTaskPushNotificationConfigs, Some("7"), None)),
            ),
            (
                "DELETE",
                "/a/tasks/7/pushNotificationConfigs/c",
                Some(("/a", Method::DeleteTaskPushNotificationConfig, Some("7"), Some("c"))),
            ),
            ("DELETE", "/a/tasks/7/pushNotificationConfigs", None),
            ("GET", "/a/tasks/7/others", None),
            ("GET", "/a/extendedAgentCard", Some(("/a", Method::GetExtendedAgentCard, None, None))),
            ("POST", "/a2a/echo", None),
        ] {
            let http = Http::from_bytes(http.as_bytes()).expect("a method");
            let want = want.map(|(base, method, task, config)| Asked { base, method, task, config });
            assert_eq!(asked(path, &http), want, "{http} {path}");
        }
    }

    #[test]
    fn parameters_are_those_of_path_query_and_body() {
        let params = |http: &str, path: &str, query: &str, body: &str| {
            let http = Http::from_bytes(http.as_bytes()).expect("a method");
            let asked = asked(path, &http).expect("a method of the binding");
            asked.params(Some(query), body.as_bytes()).map(|params| params.json()).map_err(|(code, _)| code)
        };
        let list = params("GET", "/tasks", "contextId=a%20b&pageSize=5&includeArtifacts=true", "");
        assert_eq!(list.as_deref(), Ok(r#"{"contextId":"a b","pageSize":5,"includeArtifacts":true}"#));
        let cancel = params("POST", "/tasks/7:cancel", "", r#"{"metadata":{}}"#);
        assert_eq!(cancel.as_deref(), Ok(r#"{"metadata":{},"id":"7"}"#));
        assert_eq!(params("POST", "/tasks/7:cancel", "", r#"{"id":"7"}"#).as_deref(), Ok(r#"{"id":"7"}"#));
        let get = params("GET", "/tasks/7/pushNotificationConfigs/a%2Bb", "", "");
        assert_eq!(get.as_deref(), Ok(r#"{"taskId":"7","id":"a+b"}"#));
        for (http, path, query, body, code) in [
            ("POST", "/tasks/7:cancel", "", r#"{"id":"8"}"#, INVALID_PARAMS),
            ("POST", "/tasks/7/pushNotificationConfigs", "", r#"{"taskId":"8"}"#, INVALID_PARAMS),
            ("GET", "/tasks/7", "id=8", "", INVALID_PARAMS),
            ("GET", "/tasks/7", "historyLength=many", "", INVALID_PARAMS),
            ("GET", "/tasks/7", "historyLength=1&historyLength=2", "", INVALID_PARAMS),
            ("GET", "/tasks/7", "", "{}", INVALID_PARAMS),
            ("POST", "/message:send", "", "{", PARSE_ERROR),
            ("POST", "/message:send", "", r#"{"a":1,"a":2}"#, INVALID_REQUEST),
            ("POST", "/message:send", "", "[]", INVALID_PARAMS),
            ("GET", "/tasks/%ff", "", "", INVALID_PARAMS),
        ] {
            assert_eq!(params(http, path, query, body), Err(code), "{http} {path}?{query} {body}");
        }
    }
}
