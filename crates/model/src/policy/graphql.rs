//! `graphql`: stands in front of a service of GraphQL and judges every operation before it is run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{
    FilePath, Size,
    load::{Context, scope::Named},
    rules::Around,
};

/// Tokens of a document that may be read.
const TOKENS_MAX: u32 = 100_000;

/// Judges operations of GraphQL before the service runs them: how deep they are, what they may cost, which fields they ask
/// for, and whether their text is one that is known. What is refused is told as GraphQL tells errors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Graphql {
    /// The service's schema, in the schema definition language, with `@cost` and `@listSize` where it has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<FilePath>,
    /// Bounds of what one request may ask for.
    pub limits: GraphqlLimits,
    /// What operations are taken to cost.
    pub costs: GraphqlCosts,
    /// Whether clients may ask for the schema; `__typename` is always told.
    pub introspection: bool,
    /// What becomes of fields and types that `schema` does not have.
    pub unknown_fields: GraphqlUnknown,
    /// Documents that are known by an id, so that clients need not send them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persisted: Option<GraphqlPersisted>,
    /// Who may ask for which fields. Of several rules about one field, all must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<GraphqlFieldRule>,
    /// Takes uploads (`multipart/form-data`), of so many bytes at most. They are held whole; without it they are 415.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_upload_size: Option<Size>,
    /// What becomes of connections that turn to WebSocket, in which nothing is judged.
    pub web_socket: GraphqlWebSocket,
}

/// Bounds of what one request may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GraphqlLimits {
    /// Bytes of a body that is no upload.
    pub max_body_size: Size,
    /// Tokens of a document.
    #[schemars(range(min = 1, max = 100_000))]
    pub tokens: u32,
    /// Fields below one another; a field at the root is 1 deep.
    #[schemars(range(min = 1, max = 150))]
    pub depth: u32,
    /// Fields, each counted as often as its fragment is spread.
    #[schemars(range(min = 1))]
    pub fields: u32,
    /// Aliases, each counted as often as its fragment is spread.
    pub aliases: u32,
    /// Fields at the root of an operation.
    #[schemars(range(min = 1))]
    pub root_fields: u32,
    /// Directives, each counted as often as its fragment is spread.
    pub directives: u32,
    /// Operations in one request.
    #[schemars(range(min = 1, max = 100))]
    pub batch: u32,
    /// What all operations of a request may cost together; anything without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0))]
    pub cost: Option<f64>,
}

/// What operations are taken to cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GraphqlCosts {
    /// An object of which nothing else is known.
    #[schemars(range(min = 0.0))]
    pub object: f64,
    /// A scalar of which nothing else is known.
    #[schemars(range(min = 0.0))]
    pub scalar: f64,
    /// The length of a list of which nothing else is known.
    #[schemars(range(min = 1.0))]
    pub list_size: f64,
    /// Arguments that tell the length of lists where the schema does not say which.
    pub size_arguments: Vec<String>,
    /// What types and fields cost, by `Type` or `Type.field`, whatever the schema says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, f64>,
    /// How long lists are taken to be at least, by `Type.field`, whatever the schema says.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub list_sizes: BTreeMap<String, f64>,
}

/// What becomes of what the schema does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GraphqlUnknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It passes; below it a rule is about every field of its name.
    Pass,
}

/// What becomes of WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GraphqlWebSocket {
    /// It is refused.
    #[default]
    Refuse,
    /// It passes, and nobody judges what is asked for in it.
    PassUnjudged,
}

/// Documents that are known by an id.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GraphqlPersisted {
    /// Keeps documents that clients send with their hash (automatic persisted queries), in so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automatic: Option<Size>,
    /// A list of documents: Apollo's manifest, or an object of texts by their ids, in JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<FilePath>,
    /// What becomes of documents that are not in `list`.
    pub unlisted: GraphqlUnlisted,
}

/// What becomes of documents that are not in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GraphqlUnlisted {
    /// They are refused, whether they are asked for by an id or sent.
    #[default]
    Refuse,
    /// They are refused, and so is a document of the list that is sent whole: only ids are taken.
    RequireId,
    /// They pass, and are counted and in the access log.
    Report,
}

/// Who may ask for some fields: whoever fits each of what is said.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GraphqlFieldRule {
    /// The fields, by `Type.field`, or `Type.*` for all of a type.
    pub of: Vec<String>,
    /// Consumers and groups, of which the caller is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Scopes, all of which are in `scope` or `scp` of a verified token.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Claims of a verified token, such as `{realm_access.roles: [admin]}`: of each, one of the values is the claim's or,
    /// where that is a list, is in it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Vec<String>>,
    /// An expression over the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cel"))]
    pub when: Option<String>,
}

impl Default for GraphqlLimits {
    fn default() -> Self {
        Self {
            max_body_size: Size::kib(256),
            tokens: 5_000,
            depth: 15,
            fields: 2_000,
            aliases: 30,
            root_fields: 20,
            directives: 50,
            batch: 1,
            cost: None,
        }
    }
}

impl Default for GraphqlCosts {
    fn default() -> Self {
        Self {
            object: 1.0,
            scalar: 0.0,
            list_size: 10.0,
            size_arguments: ["first", "last", "limit"].map(String::from).to_vec(),
            weights: BTreeMap::new(),
            list_sizes: BTreeMap::new(),
        }
    }
}

impl GraphqlFieldRule {
    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.of.is_empty() {
            at.field("of", |at| at.error_with("expected at least one field", "`of: [User.email]`"));
        }
        let names_nobody =
            self.allow.is_empty() && self.scopes.is_empty() && self.claims.is_empty() && self.when.is_none();
        if names_nobody {
            at.error("says nothing of who may ask; expected `allow`, `scopes`, `claims` or `when`");
        }
        at.each("allow", &self.allow, |at, name| at.refer(Named::Subject, name));
        at.field("claims", |at| {
            for (claim, values) in &self.claims {
                if claim.is_empty() || values.is_empty() {
                    at.field(claim, |at| at.error("expected the name of a claim, and values that let in"));
                }
            }
        });
    }
}

impl GraphqlLimits {
    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.max_body_size.bytes() == 0 {
            at.field("maxBodySize", |at| at.error("expected more than nothing"));
        }
        for (key, value, most) in [
            ("tokens", self.tokens, TOKENS_MAX),
            ("depth", self.depth, 150),
            ("fields", self.fields, u32::MAX),
            ("rootFields", self.root_fields, u32::MAX),
            ("batch", self.batch, 100),
        ] {
            if value == 0 {
                at.field(key, |at| at.error("expected at least 1"));
            } else if value > most {
                at.field(key, |at| at.error(format!("expected {most} at most")));
            }
        }
        if self.cost.is_some_and(|cost| !cost.is_finite() || cost < 0.0) {
            at.field("cost", |at| at.error("expected a number that is not below nothing"));
        } else if self.cost == Some(0.0) {
            at.field("cost", |at| {
                at.warning_with(
                    "every operation that costs anything is refused",
                    "leave it out where operations may cost what they like",
                );
            });
        }
    }
}

impl Settings for Graphql {
    fn comes_too_late(&self) -> Option<&'static str> {
        Some(
            "an answer that `cache` keeps is given before an upstream is picked, and nobody would be asked for its fields",
        )
    }

    fn place(&self) -> Place<'_> {
        Place::Validation
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        if !around.may_take(&["GET", "POST"]) {
            at.warning(
                "the route takes neither GET nor POST, by which operations are sent: nothing is judged",
            );
        }
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.field("limits", |at| self.limits.validate(at));
        if !self.fields.is_empty() && self.web_socket == GraphqlWebSocket::PassUnjudged {
            at.field("webSocket", |at| {
                at.error_with(
                    "whoever may not ask for some `fields` could ask for them there, where nothing is judged",
                    "leave it out, or put sockets on a route of their own with `acl`",
                );
            });
        }
        at.field("costs", |at| {
            let costs = &self.costs;
            for (key, value, least) in [
                ("object", costs.object, 0.0),
                ("scalar", costs.scalar, 0.0),
                ("listSize", costs.list_size, 1.0),
            ] {
                if !value.is_finite() || value < least {
                    at.field(key, |at| at.error(format!("expected a number of at least {least}")));
                }
            }
            for (key, all) in [("weights", &costs.weights), ("listSizes", &costs.list_sizes)] {
                at.field(key, |at| {
                    for (name, value) in all {
                        if !value.is_finite() || *value < 0.0 {
                            at.field(name, |at| at.error("expected a number that is not below nothing"));
                        }
                    }
                });
            }
        });
        if let Some(persisted) = &self.persisted {
            at.field("persisted", |at| {
                if persisted.automatic.is_none() && persisted.list.is_none() {
                    at.error_with(
                        "expected `automatic` or `list`",
                        "`automatic: 8MiB`, or `list: operations.json`",
                    );
                }
                if persisted.list.is_none() && persisted.unlisted != GraphqlUnlisted::default() {
                    at.field("unlisted", |at| at.error("there is no `list`"));
                }
            });
        }
        at.each("fields", &self.fields, |at, rule| rule.validate(at));
    }
}
