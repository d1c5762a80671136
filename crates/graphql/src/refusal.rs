//! Why an operation is refused, as a client is told.

use std::fmt;

/// A refusal: its kind, and a sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind.
    pub code: Code,
    /// For the client. Names what the client sent, the bound that it broke, and types on its way.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Refusal {}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal;)*) => {
        /// Kinds of refusals, each with the code in `extensions.code` and a status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The value of `extensions.code`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The status of the answer.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// What came is no request of GraphQL.
    BadRequest = "BAD_REQUEST", 400;
    /// The text is no document.
    Syntax = "GRAPHQL_PARSE_FAILED", 400;
    /// The document cannot be run: an unknown fragment, field or operation.
    Invalid = "GRAPHQL_VALIDATION_FAILED", 400;
    /// No operation has the name that was asked for.
    Operation = "OPERATION_RESOLUTION_FAILURE", 400;
    /// More bytes than are read.
    TooLarge = "REQUEST_TOO_LARGE", 413;
    /// The content has another type than those that are read.
    Media = "UNSUPPORTED_MEDIA_TYPE", 415;
    /// The method is not for this kind of operation.
    Method = "METHOD_NOT_ALLOWED", 405;
    /// More tokens than are read.
    Tokens = "TOKEN_LIMIT_EXCEEDED", 400;
    /// Fields too deep below one another, or nested too deeply to be read or measured.
    Depth = "DEPTH_LIMIT_EXCEEDED", 400;
    /// Too many fields.
    Fields = "FIELD_LIMIT_EXCEEDED", 400;
    /// Too many aliases.
    Aliases = "ALIAS_LIMIT_EXCEEDED", 400;
    /// Too many fields at the root.
    RootFields = "ROOT_FIELD_LIMIT_EXCEEDED", 400;
    /// Too many directives.
    Directives = "DIRECTIVE_LIMIT_EXCEEDED", 400;
    /// Too many operations in one request.
    Batch = "BATCH_LIMIT_EXCEEDED", 400;
    /// It would cost too much.
    Cost = "COST_LIMIT_EXCEEDED", 400;
    /// It asks for the schema, or for it too many times over.
    Introspection = "INTROSPECTION_DISABLED", 400;
    /// It asks for a field that this caller may not see.
    Forbidden = "FORBIDDEN", 403;
    /// Nobody knows the text of this id: it is to be sent.
    NotFound = "PERSISTED_QUERY_NOT_FOUND", 200;
    /// Texts are not kept here.
    NotSupported = "PERSISTED_QUERY_NOT_SUPPORTED", 200;
    /// The text is not that of the id.
    HashMismatch = "PERSISTED_QUERY_HASH_MISMATCH", 400;
    /// The list has no such id.
    NotInList = "PERSISTED_QUERY_NOT_IN_LIST", 400;
    /// The list has no such text.
    NotListed = "QUERY_NOT_IN_SAFELIST", 400;
    /// Only ids of the list are taken.
    IdRequired = "PERSISTED_QUERY_ID_REQUIRED", 400;
    /// Bytes would flow that nobody judges.
    Upgrade = "UPGRADE_REFUSED", 400;
}
