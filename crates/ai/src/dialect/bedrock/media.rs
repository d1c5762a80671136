//! Pictures, documents, sound and film: here they have a `format` rather than a media type, and are in the body or in
//! S3, never on the web.

use serde_json::{Value, json};

use crate::{
    canon::{Error, Source},
    fields::Fields,
};

/// What a block of media is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Image,
    Document,
    Audio,
    Video,
}

/// Formats whose names differ from their media types, each with its type.
const DOCUMENTS: [(&str, &str); 9] = [
    ("pdf", "application/pdf"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("html", "text/html"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
];
const IMAGES: [&str; 4] = ["png", "jpeg", "gif", "webp"];
const AUDIO: [&str; 12] =
    ["mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "mpeg", "pcm", "webm"];
const VIDEO: [&str; 9] = ["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"];

impl Media {
    /// The media type of a format.
    pub(super) fn media_type(self, format: &str) -> String {
        match (self, format) {
            (Self::Image, _) => format!("image/{format}"),
            (Self::Audio, "mp3") => "audio/mpeg".to_owned(),
            (Self::Audio, _) => format!("audio/{format}"),
            (Self::Video, "mov") => "video/quicktime".to_owned(),
            (Self::Video, "three_gp") => "video/3gpp".to_owned(),
            (Self::Video, _) => format!("video/{format}"),
            (Self::Document, _) => {
                let known = DOCUMENTS.iter().find(|(known, _)| *known == format);
                known.map_or_else(
                    || format!("application/{format}"),
                    |(_, media_type)| (*media_type).to_owned(),
                )
            }
        }
    }

    /// The format of a media type, if it is taken.
    pub(super) fn format(self, media_type: &str) -> Option<&str> {
        let plain = media_type.split(';').next().unwrap_or_default().trim();
        let inner = plain.split('/').nth(1).unwrap_or_default();
        let inner = inner.strip_prefix("x-").unwrap_or(inner);
        match self {
            Self::Image => {
                let inner = if inner == "jpg" { "jpeg" } else { inner };
                IMAGES.contains(&inner).then_some(inner)
            }
            Self::Document => DOCUMENTS.iter().find(|(_, known)| *known == plain).map(|(format, _)| *format),
            Self::Audio if inner == "mpeg" => Some("mp3"),
            Self::Audio => AUDIO.contains(&inner).then_some(inner),
            Self::Video => match inner {
                "quicktime" => Some("mov"),
                "3gpp" => Some("three_gp"),
                "matroska" => Some("mkv"),
                inner => VIDEO.contains(&inner).then_some(inner),
            },
        }
    }

    /// Reads `format` and `source`.
    pub(super) fn read(self, fields: &mut Fields) -> Result<Source, Error> {
        let format = fields.text("format")?;
        let mut source = fields.object("source")?.ok_or_else(|| fields.missing("source"))?;
        let media_type = format.as_deref().map(|format| self.media_type(format));
        if let Some(data) = source.text("bytes")? {
            let media_type = media_type.ok_or_else(|| fields.missing("format"))?;
            return Ok(Source::Inline { media_type, data });
        }
        if let Some(mut place) = source.object("s3Location")? {
            return Ok(Source::Url { url: place.required_text("uri")?, media_type });
        }
        if let Some(text) = source.text("text")? {
            return Ok(Source::Text { text });
        }
        let texts: Vec<String> = source
            .list("content")?
            .iter()
            .filter_map(|block| block.get("text").and_then(Value::as_str).map(str::to_owned))
            .collect();
        if texts.is_empty() {
            Err(source.missing("bytes"))
        } else {
            Ok(Source::Text { text: texts.join("\n") })
        }
    }

    /// Writes `format` and `source`; `None` when it cannot be said here.
    pub(super) fn write(self, source: &Source) -> Option<Value> {
        match source {
            Source::Inline { media_type, data } => {
                Some(json!({"format": self.format(media_type)?, "source": {"bytes": data}}))
            }
            Source::Url { url, media_type } if url.starts_with("s3://") => {
                let format = match media_type {
                    Some(media_type) => self.format(media_type)?,
                    None => self.of_ending(url)?,
                };
                Some(json!({"format": format, "source": {"s3Location": {"uri": url}}}))
            }
            Source::Text { text } if self == Self::Document => {
                Some(json!({"format": "txt", "source": {"text": text}}))
            }
            Source::Url { .. } | Source::File { .. } | Source::Text { .. } => None,
        }
    }

    /// The format that the ending of an address tells.
    fn of_ending(self, url: &str) -> Option<&str> {
        let (_, ending) = url.rsplit_once('.')?;
        match self {
            Self::Image if ending == "jpg" => Some("jpeg"),
            Self::Image => IMAGES.into_iter().find(|known| *known == ending),
            Self::Document => DOCUMENTS.iter().map(|(known, _)| *known).find(|known| *known == ending),
            Self::Audio => AUDIO.into_iter().find(|known| *known == ending),
            Self::Video => VIDEO.into_iter().find(|known| *known == ending),
        }
    }
}

/// Most letters of a document's name; 200 are taken, and a number may follow.
const NAME_LETTERS_MAX: usize = 190;

/// A document's name of the letters that are taken: letters, digits, single spaces, hyphens and brackets.
pub(super) fn document_name(name: Option<&str>, number: usize) -> String {
    let taken = |letter: char| letter.is_ascii_alphanumeric() || "-()[]".contains(letter);
    let wanted = name.unwrap_or_default().chars().take(NAME_LETTERS_MAX);
    let kept: String = wanted.map(|letter| if taken(letter) { letter } else { ' ' }).collect();
    let kept = kept.split_whitespace().collect::<Vec<&str>>().join(" ");
    if kept.is_empty() { format!("document {number}") } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_media_types_are_each_others() {
        for (media, format) in [
            (Media::Image, "jpeg"),
            (Media::Document, "pdf"),
            (Media::Document, "xlsx"),
            (Media::Audio, "mp3"),
            (Media::Audio, "wav"),
            (Media::Video, "mov"),
            (Media::Video, "three_gp"),
            (Media::Video, "mp4"),
        ] {
            assert_eq!(media.format(&media.media_type(format)), Some(format));
        }
        assert_eq!(Media::Image.format("image/tiff"), None);
    }

    #[test]
    fn names_have_the_letters_that_are_taken() {
        assert_eq!(document_name(Some("Report_v1.2  (final).pdf"), 1), "Report v1 2 (final) pdf");
        assert_eq!(document_name(Some("…"), 3), "document 3");
    }
}
