//! Who calls a provider: keys, and identities of AWS, Azure and Google. Nothing secret is copied out of the file.

use serde_json::{Map, Value, json};

use super::{super::providers, Import, variable};

impl Import {
    /// A secret: the variable that it names, or a customary one where it stands in the file.
    fn secret(&mut self, value: &Value, customary: &str, place: &str) -> Value {
        if let Some(name) = variable(value) {
            return json!({"env": name});
        }
        let name = self.variable_of(value, customary);
        self.note(
            place,
            format_args!("a secret in the file is not copied: put it into the variable `{name}`"),
        );
        json!({"env": name})
    }

    /// A variable for a secret that stands in the file: one of its own, that the file uses for nothing else.
    pub(super) fn variable_of(&mut self, secret: &Value, customary: &str) -> String {
        if let Some((_, name)) = self.secrets.iter().find(|(known, _)| known == secret) {
            return name.clone();
        }
        let is_free = |name: &String| {
            !self.variables.contains(name) && self.secrets.iter().all(|(_, known)| known != name)
        };
        let numbered = (2_u32..).map(|number| format!("{customary}_{number}"));
        let mut names = std::iter::once(customary.to_owned()).chain(numbered);
        let name = names.find(is_free).unwrap_or_else(|| customary.to_owned());
        self.secrets.push((secret.clone(), name.clone()));
        name
    }

    /// What is no secret here and may stand in a variable there.
    fn plain(&mut self, value: &Value, ours: &str, place: &str) -> String {
        if let Some(name) = variable(value) {
            self.note(place, format_args!("write what the variable `{name}` holds into `{ours}`"));
            return name.to_owned();
        }
        value.as_str().map_or(value.to_string(), str::to_owned)
    }

    /// A secret that may be a file.
    fn secret_file(&mut self, value: &Value, customary: &str, place: &str) -> Value {
        match value.as_str() {
            Some(path) if variable(value).is_none() && !path.trim_start().starts_with('{') => {
                json!({"file": path})
            }
            _ => self.secret(value, customary, place),
        }
    }

    /// The identity of a kind that wants one other than a key.
    pub(super) fn identity(
        &mut self,
        kind: &str,
        params: &mut Map<String, Value>,
        provider: &mut Map<String, Value>,
        at: &str,
    ) {
        match kind {
            "bedrock" | "bedrock-mantle" if !params.contains_key("api_key") => self.aws(params, provider, at),
            "vertex" | "vertex-anthropic" => self.google(params, provider, at),
            "azure-openai" | "azure-foundry" if params.contains_key("tenant_id") => {
                self.azure(params, provider, at);
            }
            _ => {}
        }
    }

    fn aws(&mut self, params: &mut Map<String, Value>, provider: &mut Map<String, Value>, at: &str) {
        let mut aws = Map::new();
        let secrets = [
            ("aws_access_key_id", "accessKeyId", "AWS_ACCESS_KEY_ID"),
            ("aws_secret_access_key", "secretAccessKey", "AWS_SECRET_ACCESS_KEY"),
            ("aws_session_token", "sessionToken", "AWS_SESSION_TOKEN"),
        ];
        for (theirs, ours, customary) in secrets {
            if let Some(value) = params.remove(theirs) {
                let secret = self.secret(&value, customary, &format!("{at}.{theirs}"));
                aws.insert(ours.into(), secret);
            }
        }
        let profile = params.remove("aws_profile_name");
        if let Some(role) = params.remove("aws_role_name") {
            let arn = self.plain(&role, "aws.assumeRole.roleArn", &format!("{at}.aws_role_name"));
            let mut assume = Map::from_iter([("roleArn".to_owned(), arn.into())]);
            if let Some(name) = params.remove("aws_session_name") {
                let name = self.plain(&name, "aws.assumeRole.sessionName", &format!("{at}.aws_session_name"));
                assume.insert("sessionName".into(), name.into());
            }
            for (theirs, ours, customary) in [
                ("aws_external_id", "externalId", "AWS_EXTERNAL_ID"),
                ("aws_web_identity_token", "webIdentityToken", "AWS_WEB_IDENTITY_TOKEN"),
            ] {
                if let Some(value) = params.remove(theirs) {
                    let place = format!("{at}.{theirs}");
                    let secret = match theirs {
                        "aws_web_identity_token" => self.secret_file(&value, customary, &place),
                        _ => self.secret(&value, customary, &place),
                    };
                    assume.insert(ours.into(), secret);
                }
            }
            if let Some(Value::String(endpoint)) = params.remove("aws_sts_endpoint") {
                assume.insert("endpoint".into(), endpoint.into());
            }
            aws.insert("assumeRole".into(), assume.into());
        }
        let is_web = aws.get("assumeRole").is_some_and(|role| role.get("webIdentityToken").is_some());
        if !aws.contains_key("accessKeyId") && !is_web {
            aws.insert("accessKeyId".into(), json!({"env": "AWS_ACCESS_KEY_ID"}));
            aws.insert("secretAccessKey".into(), json!({"env": "AWS_SECRET_ACCESS_KEY"}));
            match profile {
                Some(profile) => self.note(
                    &format!("{at}.aws_profile_name"),
                    format_args!(
                        "no files of AWS's command line are read: put the keys of the profile {profile} into \
                         `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or write `metadata: {{cloud: aws}}` for the \
                         machine's own role"
                    ),
                ),
                None => self.note(
                    at,
                    "no keys of AWS are given: they are taken from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; \
                     the machine's own role is `metadata: {cloud: aws}` in place of `aws`",
                ),
            }
        }
        provider.insert("aws".into(), aws.into());
    }

    fn google(&mut self, params: &mut Map<String, Value>, provider: &mut Map<String, Value>, at: &str) {
        match params.remove("vertex_credentials") {
            Some(value) => {
                let place = format!("{at}.vertex_credentials");
                let secret = self.secret_file(&value, "GOOGLE_SERVICE_ACCOUNT", &place);
                provider.insert("google".into(), json!({"serviceAccount": secret}));
            }
            None => {
                self.note(
                    at,
                    "application default credentials became the machine's own identity; a key is `google: \
                     {serviceAccount: {file: …}}` in place of `metadata`",
                );
                provider.insert("metadata".into(), json!({"cloud": "google"}));
            }
        }
    }

    fn azure(&mut self, params: &mut Map<String, Value>, provider: &mut Map<String, Value>, at: &str) {
        let mut azure = Map::new();
        for (theirs, ours) in [("tenant_id", "tenantId"), ("client_id", "clientId")] {
            if let Some(value) = params.remove(theirs) {
                let text = self.plain(&value, &format!("azure.{ours}"), &format!("{at}.{theirs}"));
                azure.insert(ours.into(), text.into());
            }
        }
        if let Some(value) = params.remove("client_secret") {
            let secret = self.secret(&value, "AZURE_CLIENT_SECRET", &format!("{at}.client_secret"));
            azure.insert("clientSecret".into(), secret);
        }
        provider.insert("azure".into(), azure.into());
    }

    /// What a kind's address leaves open.
    pub(super) fn placeholders(
        &mut self,
        kind: &str,
        params: &mut Map<String, Value>,
        at: &str,
    ) -> Map<String, Value> {
        let mut values = Map::new();
        for (theirs, ours) in [
            ("api_version", "api-version"),
            ("aws_region_name", "region"),
            ("region_name", "region"),
            ("vertex_project", "project"),
            ("vertex_ai_project", "project"),
            ("vertex_location", "location"),
            ("vertex_ai_location", "location"),
        ] {
            if !providers::leaves_open(kind, ours) {
                continue;
            }
            if let Some(value) = params.remove(theirs) {
                let text = self.plain(&value, &format!("values.{ours}"), &format!("{at}.{theirs}"));
                values.insert(ours.into(), text.to_ascii_lowercase().replace('_', "-").into());
            }
        }
        let mut must = |ours: &str, other: &str, why: &str| {
            if providers::leaves_open(kind, ours) && !values.contains_key(ours) {
                values.insert(ours.into(), other.into());
                self.note(at, format_args!("{why}: `{other}` stands in `values.{ours}`"));
            }
        };
        match kind {
            "bedrock" | "bedrock-mantle" => must("region", "us-west-2", "no region is given"),
            "vertex" | "vertex-anthropic" => {
                must("location", "us-central1", "no location is given");
                must("project", "my-project", "no project is given");
                // Regions have hosts of their own.
                let location = values.get("location").and_then(Value::as_str).unwrap_or("global").to_owned();
                if location != "global" && !params.contains_key("api_base") {
                    values.insert("host".into(), format!("{location}-aiplatform.googleapis.com").into());
                }
            }
            _ => {}
        }
        values
    }
}
