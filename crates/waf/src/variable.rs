//! Variables that rules look at, by their names in the language.

/// Makes of each line a variable and its name.
macro_rules! variables {
    ($($Name:ident => $key:literal,)*) => {
        /// A variable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Variable {
            $($Name,)*
        }

        impl Variable {
            /// How many there are.
            pub(crate) const COUNT: usize = [$($key),*].len();

            /// The variable of a name in upper case.
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name {
                    $($key => Some(Self::$Name),)*
                    _ => None,
                }
            }

            /// Its name.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$Name => $key,)*
                }
            }
        }
    };
}

variables! {
    Args => "ARGS",
    ArgsCombinedSize => "ARGS_COMBINED_SIZE",
    ArgsGet => "ARGS_GET",
    ArgsGetNames => "ARGS_GET_NAMES",
    ArgsNames => "ARGS_NAMES",
    ArgsPost => "ARGS_POST",
    ArgsPostNames => "ARGS_POST_NAMES",
    Duration => "DURATION",
    Files => "FILES",
    FilesCombinedSize => "FILES_COMBINED_SIZE",
    FilesNames => "FILES_NAMES",
    FilesSizes => "FILES_SIZES",
    FullRequestLength => "FULL_REQUEST_LENGTH",
    Geo => "GEO",
    Global => "GLOBAL",
    HighestSeverity => "HIGHEST_SEVERITY",
    InboundDataError => "INBOUND_DATA_ERROR",
    Ip => "IP",
    MatchedVar => "MATCHED_VAR",
    MatchedVarName => "MATCHED_VAR_NAME",
    MatchedVars => "MATCHED_VARS",
    MatchedVarsNames => "MATCHED_VARS_NAMES",
    MultipartBoundaryQuoted => "MULTIPART_BOUNDARY_QUOTED",
    MultipartBoundaryWhitespace => "MULTIPART_BOUNDARY_WHITESPACE",
    MultipartDataAfter => "MULTIPART_DATA_AFTER",
    MultipartDataBefore => "MULTIPART_DATA_BEFORE",
    MultipartFileLimitExceeded => "MULTIPART_FILE_LIMIT_EXCEEDED",
    MultipartFilename => "MULTIPART_FILENAME",
    MultipartHeaderFolding => "MULTIPART_HEADER_FOLDING",
    MultipartInvalidHeaderFolding => "MULTIPART_INVALID_HEADER_FOLDING",
    MultipartInvalidPart => "MULTIPART_INVALID_PART",
    MultipartInvalidQuoting => "MULTIPART_INVALID_QUOTING",
    MultipartLfLine => "MULTIPART_LF_LINE",
    MultipartMissingSemicolon => "MULTIPART_MISSING_SEMICOLON",
    MultipartName => "MULTIPART_NAME",
    MultipartPartHeaders => "MULTIPART_PART_HEADERS",
    MultipartStrictError => "MULTIPART_STRICT_ERROR",
    MultipartUnmatchedBoundary => "MULTIPART_UNMATCHED_BOUNDARY",
    OutboundDataError => "OUTBOUND_DATA_ERROR",
    QueryString => "QUERY_STRING",
    RemoteAddr => "REMOTE_ADDR",
    RemoteHost => "REMOTE_HOST",
    ReqbodyError => "REQBODY_ERROR",
    ReqbodyErrorMsg => "REQBODY_ERROR_MSG",
    ReqbodyProcessor => "REQBODY_PROCESSOR",
    ReqbodyProcessorError => "REQBODY_PROCESSOR_ERROR",
    ReqbodyProcessorErrorMsg => "REQBODY_PROCESSOR_ERROR_MSG",
    RequestBasename => "REQUEST_BASENAME",
    RequestBody => "REQUEST_BODY",
    RequestBodyLength => "REQUEST_BODY_LENGTH",
    RequestCookies => "REQUEST_COOKIES",
    RequestCookiesNames => "REQUEST_COOKIES_NAMES",
    RequestFilename => "REQUEST_FILENAME",
    RequestHeaders => "REQUEST_HEADERS",
    RequestHeadersNames => "REQUEST_HEADERS_NAMES",
    RequestLine => "REQUEST_LINE",
    RequestMethod => "REQUEST_METHOD",
    RequestProtocol => "REQUEST_PROTOCOL",
    RequestUri => "REQUEST_URI",
    RequestUriRaw => "REQUEST_URI_RAW",
    Resource => "RESOURCE",
    ResponseBody => "RESPONSE_BODY",
    ResponseContentLength => "RESPONSE_CONTENT_LENGTH",
    ResponseContentType => "RESPONSE_CONTENT_TYPE",
    ResponseHeaders => "RESPONSE_HEADERS",
    ResponseHeadersNames => "RESPONSE_HEADERS_NAMES",
    ResponseProtocol => "RESPONSE_PROTOCOL",
    ResponseStatus => "RESPONSE_STATUS",
    Rule => "RULE",
    ServerName => "SERVER_NAME",
    Session => "SESSION",
    Tx => "TX",
    UniqueId => "UNIQUE_ID",
    UrlencodedError => "URLENCODED_ERROR",
    User => "USER",
    Xml => "XML",
}

/// Collections that outlive a call.
pub(crate) const PERSISTENT: [Variable; 5] =
    [Variable::Global, Variable::Ip, Variable::Session, Variable::User, Variable::Resource];

impl Variable {
    /// Whether it has values by name.
    pub(crate) fn is_collection(self) -> bool {
        matches!(
            self,
            Self::Args
                | Self::ArgsGet
                | Self::ArgsGetNames
                | Self::ArgsNames
                | Self::ArgsPost
                | Self::ArgsPostNames
                | Self::Files
                | Self::FilesNames
                | Self::FilesSizes
                | Self::Geo
                | Self::MatchedVars
                | Self::MatchedVarsNames
                | Self::MultipartFilename
                | Self::MultipartName
                | Self::MultipartPartHeaders
                | Self::RequestCookies
                | Self::RequestCookiesNames
                | Self::RequestHeaders
                | Self::RequestHeadersNames
                | Self::ResponseHeaders
                | Self::ResponseHeadersNames
                | Self::Rule
                | Self::Tx
                | Self::Xml
        ) || PERSISTENT.contains(&self)
    }
}

/// Why a variable that ModSecurity knows is not here, and what to do.
pub(crate) fn absent(name: &str) -> Option<&'static str> {
    Some(match name {
        "FILES_TMPNAMES" | "FILES_TMP_CONTENT" => {
            "uploads are not written to files here: take the rule out, or look at REQUEST_BODY or FILES"
        }
        "ENV" => {
            "variables of the process are not for rules: set a TX variable under `variables` of the policy"
        }
        "FULL_REQUEST" => "look at REQUEST_LINE, REQUEST_HEADERS and REQUEST_BODY instead",
        "PERF_ALL" | "PERF_COMBINED" | "PERF_GC" | "PERF_LOGGING" | "PERF_PHASE1" | "PERF_PHASE2"
        | "PERF_PHASE3" | "PERF_PHASE4" | "PERF_PHASE5" | "PERF_RULES" | "PERF_SREAD" | "PERF_SWRITE" => {
            "times are in the gateway's metrics: take the rule out"
        }
        "SCRIPT_BASENAME" | "SCRIPT_FILENAME" | "SCRIPT_GID" | "SCRIPT_GROUPNAME" | "SCRIPT_MODE"
        | "SCRIPT_UID" | "SCRIPT_USERNAME" => {
            "a gateway runs no scripts: take the rule out, or look at REQUEST_FILENAME"
        }
        "TIME" | "TIME_DAY" | "TIME_EPOCH" | "TIME_HOUR" | "TIME_MIN" | "TIME_MON" | "TIME_SEC"
        | "TIME_WDAY" | "TIME_YEAR" => "rules by the time of day are not supported: take the rule out",
        "USERAGENT_IP"
        | "WEBAPPID"
        | "WEBSERVER_ERROR_LOG"
        | "MODSEC_BUILD"
        | "MULTIPART_BOUNDARY"
        | "REMOTE_PORT" => "this gateway does not have it: take the rule out",
        "AUTH_TYPE" | "REMOTE_USER" | "SESSIONID" | "USERID" => {
            "the rules run before anybody knows who calls: take the rule out, or look at the header"
        }
        "PATH_INFO" => "look at REQUEST_FILENAME instead",
        "STATUS_LINE" => "look at RESPONSE_STATUS instead",
        "SERVER_ADDR" | "SERVER_PORT" => "look at SERVER_NAME or REQUEST_HEADERS:Host instead",
        "MULTIPART_CRLF_LF_LINES" => "look at MULTIPART_LF_LINE instead",
        _ => return None,
    })
}
