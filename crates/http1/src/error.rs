//! Refusals: one kind per rule, each with a status, a stable name and the section it rests on.

use std::fmt;

use http::StatusCode;

/// Why bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError {
    /// The rule that was broken.
    pub kind: ParseErrorKind,
}

impl ParseError {
    /// What a server answers; a client that reads a response makes it 502.
    pub fn status(&self) -> StatusCode {
        use ParseErrorKind as Kind;
        match self.kind {
            Kind::TargetTooLong => StatusCode::URI_TOO_LONG,
            Kind::HeadTooLarge | Kind::TooManyHeaders | Kind::TrailersTooLarge => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Kind::UnknownTransferCoding => StatusCode::NOT_IMPLEMENTED,
            Kind::UnsupportedVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// A stable name for logs and metrics, such as `both-length-and-chunked`.
    pub fn reason(&self) -> &'static str {
        self.kind.text().0
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, rule, section) = self.kind.text();
        write!(f, "{rule} ({section})")
    }
}

impl std::error::Error for ParseError {}

impl From<ParseErrorKind> for ParseError {
    #[cold]
    fn from(kind: ParseErrorKind) -> Self {
        Self { kind }
    }
}

/// Writes the enum and its texts from one list, so that no kind is without its rule and section.
macro_rules! kinds {
    ($($kind:ident $reason:literal $rule:literal $section:literal)*) => {
        /// The rules that can be broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ParseErrorKind {
            $(#[doc = concat!($rule, " (", $section, ").")] $kind,)*
        }

        impl ParseErrorKind {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Name, rule and section.
            fn text(self) -> (&'static str, &'static str, &'static str) {
                match self {
                    $(Self::$kind => ($reason, $rule, $section),)*
                }
            }
        }
    };
}

kinds! {
    BareLf "bare-lf" "a line must end in CRLF, not in LF alone" "RFC 9112 §2.2"
    BareCr "bare-cr" "CR stands only before LF" "RFC 9112 §2.2"
    MalformedRequestLine "malformed-request-line" "a request line is method, target and version with single spaces between" "RFC 9112 §3"
    MalformedMethod "malformed-method" "a method is a token of at most 32 bytes" "RFC 9110 §9.1"
    MalformedVersion "malformed-version" "the version is HTTP/1.1 or HTTP/1.0" "RFC 9112 §2.3"
    UnsupportedVersion "unsupported-version" "only HTTP/1.1 and HTTP/1.0 are spoken here" "RFC 9110 §15.6.6"
    TargetTooLong "target-too-long" "the request target is longer than allowed" "RFC 9110 §15.5.15"
    SpaceInTarget "space-in-target" "a request target has no white space" "RFC 9112 §3.2"
    FragmentInTarget "fragment-in-target" "a request target has no fragment" "RFC 9112 §3.2"
    MalformedTarget "malformed-target" "the request target has none of the four forms, or a byte no URI has" "RFC 9112 §3.2"
    AsteriskWithoutOptions "asterisk-without-options" "the target `*` is for OPTIONS alone" "RFC 9112 §3.2.4"
    MissingHost "missing-host" "an HTTP/1.1 request has a Host" "RFC 9112 §3.2"
    RepeatedHost "repeated-host" "a request has one Host" "RFC 9112 §3.2"
    MalformedHost "malformed-host" "Host is a name or address with perhaps a port" "RFC 9110 §7.2"
    HostDiffersFromTarget "host-differs-from-target" "Host and the target's authority are the same" "RFC 9112 §3.2.2"
    MalformedStatusLine "malformed-status-line" "a status line is version, status and reason with single spaces between" "RFC 9112 §4"
    MalformedStatus "malformed-status" "a status is three digits from 100 to 599" "RFC 9110 §15"
    ControlInReason "control-in-reason" "a reason phrase has no control characters" "RFC 9112 §4"
    SpaceBeforeFirstHeader "space-before-first-header" "no white space comes between the first line and the fields" "RFC 9112 §2.2"
    ObsoleteFold "obsolete-fold" "a field is one line" "RFC 9112 §5.2"
    MissingColon "missing-colon" "a field line has a colon" "RFC 9112 §5"
    EmptyName "empty-name" "a field has a name" "RFC 9110 §5.1"
    SpaceBeforeColon "space-before-colon" "no white space comes between a field's name and its colon" "RFC 9112 §5.1"
    MalformedName "malformed-name" "a field's name is a token" "RFC 9110 §5.1"
    ControlInValue "control-in-value" "a field's value has no control characters" "RFC 9110 §5.5"
    HeadTooLarge "head-too-large" "the head is larger than allowed" "RFC 6585 §5"
    TooManyHeaders "too-many-headers" "there are more fields than allowed" "RFC 6585 §5"
    BothLengthAndChunked "both-length-and-chunked" "Content-Length and Transfer-Encoding exclude each other" "RFC 9112 §6.1"
    RepeatedContentLength "repeated-content-length" "Content-Length is said once" "RFC 9112 §6.3"
    MalformedContentLength "malformed-content-length" "Content-Length is digits alone" "RFC 9110 §8.6"
    ContentLengthTooLarge "content-length-too-large" "Content-Length is below 2^63" "RFC 9110 §8.6"
    RepeatedTransferEncoding "repeated-transfer-encoding" "`chunked` is said once" "RFC 9112 §6.1"
    MalformedTransferEncoding "malformed-transfer-encoding" "Transfer-Encoding is `chunked`" "RFC 9112 §6.1"
    UnknownTransferCoding "unknown-transfer-coding" "the only transfer coding known here is `chunked`" "RFC 9112 §6.1"
    ChunkedOnHttp10 "chunked-on-http10" "HTTP/1.0 has no Transfer-Encoding" "RFC 9112 §6.1"
    MalformedConnection "malformed-connection" "Connection is a list of tokens" "RFC 9110 §7.6.1"
    MalformedChunkSize "malformed-chunk-size" "a chunk size is 1 to 16 hexadecimal digits" "RFC 9112 §7.1"
    ChunkTooLarge "chunk-too-large" "a chunk size is below 2^63" "RFC 9112 §7.1"
    MalformedChunkExtension "malformed-chunk-extension" "a chunk extension is `;name`, `;name=token` or `;name=\"text\"`" "RFC 9112 §7.1.1"
    ChunkExtensionsTooLong "chunk-extensions-too-long" "a body's chunk extensions are longer than allowed" "RFC 9112 §7.1.1"
    MissingChunkEnd "missing-chunk-end" "CRLF follows a chunk's data" "RFC 9112 §7.1"
    TrailersTooLarge "trailers-too-large" "the trailers are larger than allowed" "RFC 6585 §5"
    ForbiddenTrailer "forbidden-trailer" "framing and Host never come in trailers" "RFC 9110 §6.5.1"
    Incomplete "incomplete" "the connection closed before the message ended" "RFC 9112 §8"
}
