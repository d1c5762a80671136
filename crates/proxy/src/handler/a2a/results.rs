//! What agents answer: their ids become such as the caller alone can use.

use model::{A2aRecord, resource::a2a::A2aMethod as Method};

use super::{
    card::Cards,
    ids::{Ids, Kind},
    json::{Object, list, listed, quoted},
};

/// Who rewrites an agent's results, and for whom.
pub(super) struct Outbound<'a> {
    pub(super) ids: &'a Ids<'a>,
    pub(super) record: &'a A2aRecord,
    pub(super) cards: &'a Cards,
    /// The agent's address at the gateway.
    pub(super) address: &'a str,
    /// The context whose tasks were asked for, by the agent's own id.
    pub(super) context: Option<&'a str>,
}

/// What an agent said, as the client may know it: both are JSON.
pub(super) enum Told {
    Result(String),
    Error { code: i64, json: String },
}

impl Outbound<'_> {
    /// A message of an agent's as the client may know it; none when it is no answer.
    pub(super) fn message(&self, method: Method, text: &str) -> Option<Told> {
        let said = Object::parse(text)?;
        if let Some(error) = said.get("error") {
            let code =
                Object::parse(error).and_then(|error| error.get("code").and_then(|code| code.parse().ok()));
            let code = code.unwrap_or(-32603);
            self.record.fail(code);
            return Some(Told::Error { code, json: error.to_owned() });
        }
        // The answer to a deletion is null.
        let result = match said.get("result") {
            Some(result) => self.result(method, result),
            None if said.names().any(|name| name == "result") => "null".to_owned(),
            None => return None,
        };
        Some(Told::Result(result))
    }

    fn result(&self, method: Method, text: &str) -> String {
        match method {
            Method::GetExtendedAgentCard => match serde_json::from_str(text) {
                Ok(card) => self.cards.rewritten(card, self.address).to_string(),
                Err(_) => text.to_owned(),
            },
            Method::ListTasks => self.tasks(text),
            Method::CreateTaskPushNotificationConfig
            | Method::GetTaskPushNotificationConfig
            | Method::ListTaskPushNotificationConfigs
            | Method::DeleteTaskPushNotificationConfig => self.configs(text),
            Method::SendMessage
            | Method::SendStreamingMessage
            | Method::GetTask
            | Method::CancelTask
            | Method::SubscribeToTask => self.any(text),
        }
    }

    /// A task, a message, or news of a task; in 1.0 in an object that says which.
    fn any(&self, text: &str) -> String {
        let Some(mut object) = Object::parse(text) else { return text.to_owned() };
        match object.text("kind").as_deref() {
            Some("task") => return self.task(object),
            Some("message") => return self.spoken(object),
            Some("status-update" | "artifact-update") => return self.news(object),
            _ => {}
        }
        let mut is_wrapped = false;
        for name in ["task", "message", "statusUpdate", "artifactUpdate"] {
            let Some(inner) = object.object(name) else { continue };
            let inner = match name {
                "task" => self.task(inner),
                "message" => self.spoken(inner),
                _ => self.news(inner),
            };
            object.set(name, inner);
            is_wrapped = true;
        }
        match is_wrapped {
            true => object.json(),
            false if object.get("taskId").is_some() && object.get("id").is_none() => self.news(object),
            false => self.task(object),
        }
    }

    fn task_id(&self, object: &mut Object, name: &str) {
        if let Some(raw) = object.text(name).filter(|raw| !raw.is_empty()) {
            let id = self.ids.seal(Kind::Task, &raw);
            self.record.about_task(&id);
            object.set(name, quoted(&id));
        }
    }

    fn context_id(&self, object: &mut Object) {
        if let Some(raw) = object.text("contextId").filter(|raw| !raw.is_empty()) {
            let id = self.ids.context_out(&raw);
            self.record.in_context(&id);
            object.set("contextId", quoted(&id));
        }
    }

    fn task(&self, mut task: Object) -> String {
        self.task_id(&mut task, "id");
        self.context_id(&mut task);
        self.status(&mut task);
        if let Some(history) = task.get("history").and_then(list) {
            let turns: Vec<String> = history
                .iter()
                .map(|turn| match Object::parse(turn.get()) {
                    Some(turn) => self.spoken(turn),
                    None => turn.get().to_owned(),
                })
                .collect();
            task.set("history", listed(&turns));
        }
        task.json()
    }

    fn status(&self, object: &mut Object) {
        let Some(mut status) = object.object("status") else { return };
        if let Some(message) = status.object("message") {
            status.set("message", self.spoken(message));
            object.set("status", status.json());
        }
    }

    fn spoken(&self, mut message: Object) -> String {
        self.task_id(&mut message, "taskId");
        self.context_id(&mut message);
        if let Some(all) =
            message.get("referenceTaskIds").and_then(|text| serde_json::from_str::<Vec<String>>(text).ok())
        {
            let sealed: Vec<String> = all.iter().map(|raw| quoted(&self.ids.seal(Kind::Task, raw))).collect();
            message.set("referenceTaskIds", listed(&sealed));
        }
        message.json()
    }

    fn news(&self, mut news: Object) -> String {
        self.task_id(&mut news, "taskId");
        self.context_id(&mut news);
        self.status(&mut news);
        news.json()
    }

    /// The tasks of the context that was asked for, and no others.
    fn tasks(&self, text: &str) -> String {
        let Some(mut object) = Object::parse(text) else { return "{\"tasks\":[]}".to_owned() };
        let all = object.get("tasks").and_then(list).unwrap_or_default();
        let own = all.iter().filter_map(|task| {
            let task = Object::parse(task.get())?;
            (task.text("contextId").as_deref() == self.context).then(|| self.task(task))
        });
        let own: Vec<String> = own.collect();
        if own.len() != all.len() {
            object.set("totalSize", own.len().to_string());
        }
        object.set("tasks", listed(&own));
        object.json()
    }

    fn configs(&self, text: &str) -> String {
        let config = |text: &str| match Object::parse(text) {
            Some(mut config) => {
                self.task_id(&mut config, "taskId");
                config.json()
            }
            None => text.to_owned(),
        };
        let each = |text: &str| {
            let items = list(text).unwrap_or_default();
            listed(&items.iter().map(|item| config(item.get())).collect::<Vec<_>>())
        };
        if text.starts_with('[') {
            return each(text);
        }
        match Object::parse(text) {
            Some(mut object) if object.get("configs").is_some() => {
                let configs = each(object.get("configs").unwrap_or("[]"));
                object.set("configs", configs);
                object.json()
            }
            _ => config(text),
        }
    }
}
