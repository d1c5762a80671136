//! What a client can be asked, in the few forms that there are of it.

use super::message::Members;

/// What a client can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Able(u8);

impl Able {
    const SAMPLING: u8 = 1;
    /// Sampling with tools.
    const TOOLS: u8 = 2;
    const FORM: u8 = 4;
    /// To be sent somewhere else for an answer.
    const URL: u8 = 8;
    const ROOTS: u8 = 16;

    /// What a client says of itself. `capabilities` is what it says, of any revision.
    pub(super) fn of(capabilities: &Members<'_>) -> Self {
        let mut able = 0;
        if let Some(sampling) = capabilities.object("sampling") {
            able |= Self::SAMPLING;
            able |= if sampling.get("tools").is_some() { Self::TOOLS } else { 0 };
        }
        if let Some(elicitation) = capabilities.object("elicitation") {
            let by_url = elicitation.get("url").is_some();
            able |= if by_url { Self::URL } else { 0 };
            // Who names no way takes forms.
            able |= if elicitation.get("form").is_some() || !by_url { Self::FORM } else { 0 };
        }
        able |= if capabilities.object("roots").is_some() { Self::ROOTS } else { 0 };
        Self(able)
    }

    /// It can be asked nothing.
    pub(super) fn is_nothing(self) -> bool {
        self.0 == 0
    }

    fn has(self, what: u8) -> bool {
        self.0 & what == what
    }

    /// The same in words of the protocol's.
    pub(super) fn capabilities(self) -> String {
        let mut all = Vec::new();
        if self.has(Self::SAMPLING) {
            let tools = if self.has(Self::TOOLS) { r#""tools":{}"# } else { "" };
            all.push(format!(r#""sampling":{{{tools}}}"#));
        }
        match (self.has(Self::FORM), self.has(Self::URL)) {
            (true, true) => all.push(r#""elicitation":{"form":{},"url":{}}"#.to_owned()),
            (false, true) => all.push(r#""elicitation":{"url":{}}"#.to_owned()),
            // As revisions that know but one way say it.
            (true, false) => all.push(r#""elicitation":{}"#.to_owned()),
            (false, false) => {}
        }
        if self.has(Self::ROOTS) {
            all.push(r#""roots":{}"#.to_owned());
        }
        format!("{{{}}}", all.join(","))
    }

    /// Whether it can be asked this.
    pub(super) fn can(self, method: &str, params: &Members<'_>) -> bool {
        match method {
            "roots/list" => self.has(Self::ROOTS),
            "sampling/createMessage" => {
                let has_tools = params.get("tools").is_some() || params.get("toolChoice").is_some();
                self.has(Self::SAMPLING) && (!has_tools || self.has(Self::TOOLS))
            }
            "elicitation/create" => match params.text("mode").as_deref() {
                Some("url") => self.has(Self::URL),
                Some("form") => self.has(Self::FORM),
                Some(_) => false,
                None => params.get("mode").is_none() && self.has(Self::FORM),
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able(text: &str) -> Able {
        Able::of(&Members::parse(text).expect("an object"))
    }

    #[test]
    fn what_a_client_says_comes_back_in_one_form() {
        for (said, want) in [
            ("{}", "{}"),
            (r#"{"sampling":null,"roots":true}"#, "{}"),
            (r#"{"sampling":{"x":1},"roots":{"listChanged":true}}"#, r#"{"sampling":{},"roots":{}}"#),
            (r#"{"sampling":{"tools":{}}}"#, r#"{"sampling":{"tools":{}}}"#),
            (r#"{"elicitation":{"form":{}}}"#, r#"{"elicitation":{}}"#),
            (r#"{"elicitation":{"url":{}}}"#, r#"{"elicitation":{"url":{}}}"#),
            (r#"{"elicitation":{"url":{},"form":{}}}"#, r#"{"elicitation":{"form":{},"url":{}}}"#),
        ] {
            assert_eq!(able(said).capabilities(), want, "{said}");
            assert_eq!(able(&able(said).capabilities()), able(said), "{said}");
        }
    }

    #[test]
    fn who_is_asked_said_that_it_can_be() {
        for (said, method, params, want) in [
            (r#"{"roots":{}}"#, "roots/list", "{}", true),
            (r#"{"sampling":{}}"#, "roots/list", "{}", false),
            (r#"{"sampling":{}}"#, "sampling/createMessage", r#"{"tools":[]}"#, false),
            (r#"{"sampling":{"tools":{}}}"#, "sampling/createMessage", r#"{"toolChoice":{}}"#, true),
            (r#"{"elicitation":{}}"#, "elicitation/create", "{}", true),
            (r#"{"elicitation":{}}"#, "elicitation/create", r#"{"mode":"url"}"#, false),
            (r#"{"elicitation":{"url":{}}}"#, "elicitation/create", r#"{"mode":"\u0075rl"}"#, true),
            (r#"{"elicitation":{"url":{}}}"#, "elicitation/create", "{}", false),
            (r#"{"elicitation":{}}"#, "elicitation/create", r#"{"mode":7}"#, false),
            (r#"{"elicitation":{},"sampling":{},"roots":{}}"#, "tools/call", "{}", false),
        ] {
            let params = Members::parse(params).expect("an object");
            assert_eq!(able(said).can(method, &params), want, "{said} {method}");
        }
    }
}
