//! Path templates: segments, some of which are captures.

use std::str::FromStr;

/// A path template in its parts: `/v1/orders/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    /// The segments between slashes; `/` alone has none.
    pub segments: Vec<TemplateSegment>,
}

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateSegment {
    /// Matches itself.
    Literal(String),
    /// Matches one segment that is not empty.
    Capture {
        /// Name of the capture.
        name: String,
        /// What the segment must be.
        kind: CaptureKind,
    },
    /// Matches all that is left, nothing included.
    Rest {
        /// Name of the capture.
        name: String,
    },
}

/// What a captured segment must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaptureKind {
    /// Anything.
    Any,
    /// Digits, up to 20 of them.
    Int,
    /// A UUID in its usual form, in any case.
    Uuid,
}

impl CaptureKind {
    /// Whether a segment is of this kind; an empty one never is.
    pub fn accepts(self, segment: &str) -> bool {
        match self {
            Self::Any => !segment.is_empty(),
            Self::Int => {
                (1..=20).contains(&segment.len()) && segment.bytes().all(|byte| byte.is_ascii_digit())
            }
            Self::Uuid => segment.len() == 36 && segment.bytes().enumerate().all(uuid_byte),
        }
    }
}

fn uuid_byte((at, byte): (usize, u8)) -> bool {
    if [8, 13, 18, 23].contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
}

impl PathTemplate {
    /// Names of the captures, in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            TemplateSegment::Literal(_) => None,
            TemplateSegment::Capture { name, .. } | TemplateSegment::Rest { name } => Some(name.as_str()),
        })
    }
}

impl FromStr for PathTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |reason: &str| format!("`{text}` is not a path template such as `/orders/{{id}}`: {reason}");
        let rest = text.strip_prefix('/').ok_or_else(|| wrong("it does not begin with `/`"))?;
        if text.bytes().any(|byte| byte <= b' ' || b"?#".contains(&byte)) {
            return Err(wrong("a space, `?` or `#` is in it"));
        }
        let mut segments = Vec::new();
        for part in rest.split('/').filter(|_| !rest.is_empty()) {
            if matches!(segments.last(), Some(TemplateSegment::Rest { .. })) {
                return Err(wrong("something follows the rest"));
            }
            segments.push(segment(part).map_err(wrong)?);
        }
        let template = Self { segments };
        let names: Vec<&str> = template.captures().collect();
        match names.iter().enumerate().any(|(at, name)| names[..at].contains(name)) {
            true => Err(wrong("a name is there twice")),
            false => Ok(template),
        }
    }
}

fn segment(part: &str) -> Result<TemplateSegment, &'static str> {
    let Some(inner) = part.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) else {
        return match part.contains(['{', '}']) {
            true => Err("a capture is a whole segment, `{name}`"),
            false => Ok(TemplateSegment::Literal(part.to_owned())),
        };
    };
    let good = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let (name, kind) = match inner.split_once(':') {
        None => match inner.strip_suffix('*') {
            Some(name) if good(name) => return Ok(TemplateSegment::Rest { name: name.to_owned() }),
            _ => (inner, CaptureKind::Any),
        },
        Some((name, "int")) => (name, CaptureKind::Int),
        Some((name, "uuid")) => (name, CaptureKind::Uuid),
        Some(_) => return Err("the kind of a capture is `int` or `uuid`"),
    };
    match good(name) {
        true => Ok(TemplateSegment::Capture { name: name.to_owned(), kind }),
        false => Err("the name of a capture has letters, digits and `_`"),
    }
}
