//! System turns between the others, which agents write for newer models of Claude's (`role: "system"` in `messages`),
//! where a request passes untranslated to a model that refuses them: they become the user's. A body without any is not
//! touched.

use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::canon::{Loss, Losses};

/// Whether a body has such a turn as far as can be known before anything is read, however it sets its blanks.
fn is_marked(body: &[u8]) -> bool {
    let after = |at: usize, sign: &[u8]| body.get(at..)?.trim_ascii_start().strip_prefix(sign);
    memmem::find_iter(body, br#""role""#).any(|at| {
        let value = after(at + br#""role""#.len(), b":");
        value.is_some_and(|value| value.trim_ascii_start().starts_with(br#""system""#))
    })
}

#[derive(Deserialize)]
struct Turns<'a> {
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow, default)]
    role: Option<std::borrow::Cow<'a, str>>,
}

/// A body with its system turns folded into the user's, each named. `None` when there are none.
pub fn folded(body: &[u8], losses: &mut Losses) -> Option<Vec<u8>> {
    if !is_marked(body) {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let turns = serde_json::from_str::<Turns<'_>>(text).ok()?.messages?;
    let items: Vec<&RawValue> = serde_json::from_str(turns.get()).ok()?;
    let role = |item: &RawValue| {
        serde_json::from_str::<Turn<'_>>(item.get())
            .ok()
            .and_then(|turn| turn.role)
            .unwrap_or_default()
            .into_owned()
    };
    let roles: Vec<String> = items.iter().map(|item| role(item)).collect();
    if !roles.iter().any(|role| role == "system") {
        return None;
    }
    let mut written: Vec<String> = Vec::with_capacity(items.len());
    // Those that stand between a call and its result: the result must come first.
    let mut waiting: Vec<String> = Vec::new();
    let mut after_model = false;
    // Of each turn, whether the next that is none of the system's is the user's: known from behind.
    let mut leads: Vec<bool> = Vec::with_capacity(roles.len());
    let mut next_is_user = false;
    for role in roles.iter().rev() {
        leads.push(next_is_user);
        if role != "system" {
            next_is_user = role == "user";
        }
    }
    leads.reverse();
    for (index, ((item, role), leads_to_user)) in items.iter().zip(&roles).zip(leads).enumerate() {
        if role != "system" {
            written.push(item.get().to_owned());
            written.append(&mut waiting);
            after_model = role == "assistant";
            continue;
        }
        losses.add(Loss::Field(format!("messages[{index}].role")));
        let mut value: Value = serde_json::from_str(item.get()).ok()?;
        value["role"] = "user".into();
        match after_model && leads_to_user {
            true => waiting.push(value.to_string()),
            false => written.push(value.to_string()),
        }
    }
    written.append(&mut waiting);
    let begin = (turns.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let mut out = Vec::with_capacity(body.len());
    out.extend_from_slice(body.get(..begin)?);
    out.extend_from_slice(format!("[{}]", written.join(",")).as_bytes());
    out.extend_from_slice(body.get(begin + turns.get().len()..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(messages: &str, want: Option<&str>, named: &[&str]) {
        let mut losses = Losses::default();
        let body = |messages: &str| format!(r#"{{"system":"s","messages":{messages},"x":1.50}}"#);
        let out = folded(body(messages).as_bytes(), &mut losses);
        let out = out.map(|out| String::from_utf8(out).expect("text"));
        assert_eq!(out, want.map(body));
        let losses: Vec<&Loss> = losses.iter().collect();
        let want: Vec<Loss> = named.iter().map(|name| Loss::Field((*name).to_owned())).collect();
        assert_eq!(losses, want.iter().collect::<Vec<_>>());
    }

    #[test]
    fn system_turns_become_the_users_and_leave_results_first() {
        check(r#"[{"role":"user","content":"a"}]"#, None, &[]);
        check(r#"[{"role":"user","content":"\"role\":\"system\""}]"#, None, &[]);
        check(
            "[{\"role\" :\n \"system\",\"content\":\"b\"}]",
            Some(r#"[{"role":"user","content":"b"}]"#),
            &["messages[0].role"],
        );
        check(
            r#"[{"role":"user","content":"a"}, {"role":"system","content":"b"}]"#,
            Some(r#"[{"role":"user","content":"a"},{"role":"user","content":"b"}]"#),
            &["messages[1].role"],
        );
        check(
            r#"[{"role":"assistant","content":[]},{"role":"system","content":"b"},{"role":"user","content":[1.0]}]"#,
            Some(
                r#"[{"role":"assistant","content":[]},{"role":"user","content":[1.0]},{"role":"user","content":"b"}]"#,
            ),
            &["messages[1].role"],
        );
        check(
            r#"[{"role":"assistant","content":[]},{"role":"system","content":"b"}]"#,
            Some(r#"[{"role":"assistant","content":[]},{"role":"user","content":"b"}]"#),
            &["messages[1].role"],
        );
    }
}
