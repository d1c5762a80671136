//! Media in parts, for both sides: `inlineData` and `fileData`.

use serde_json::{Value, json};

use super::standard_base64;
use crate::{
    canon::{Error, Part, Source},
    fields::Fields,
};

/// Files in the store of the Gemini API are named by addresses below this host.
const FILE_STORE: &str = "https://generativelanguage.googleapis.com/";

/// Reads `inlineData` or `fileData`, whichever is there.
pub(super) fn read_media(part: &mut Fields) -> Result<Option<Part>, Error> {
    if let Some(mut blob) = part.object("inlineData")? {
        let media_type = blob.required_text("mimeType")?;
        let data = standard_base64(blob.required_text("data")?);
        let name = blob.text("displayName")?;
        return Ok(Some(media(
            Source::Inline { media_type: media_type.clone(), data },
            Some(&media_type),
            name,
        )));
    }
    let Some(mut file) = part.object("fileData")? else { return Ok(None) };
    let url = file.required_text("fileUri")?;
    let media_type = file.text("mimeType")?;
    let name = file.text("displayName")?;
    let kind = media_type.clone().or_else(|| guess(&url).map(str::to_owned));
    let source =
        if url.starts_with(FILE_STORE) { Source::File { id: url } } else { Source::Url { url, media_type } };
    Ok(Some(media(source, kind.as_deref(), name)))
}

/// A part of the kind that its media type says.
fn media(source: Source, media_type: Option<&str>, name: Option<String>) -> Part {
    match media_type.and_then(|kind| kind.split('/').next()) {
        Some("image") => Part::Image { source, detail: None, cache: None },
        Some("audio") => Part::Audio { source, transcript: None, id: None },
        Some("video") => Part::Video { source },
        // Nobody says what it is: so it is with the addresses of films at YouTube.
        None if is_film(&source) => Part::Video { source },
        _ => Part::Document { source, name, context: None, citable: false, cache: None },
    }
}

fn is_film(source: &Source) -> bool {
    matches!(source, Source::Url { url, .. } if url.contains("youtube.com/") || url.contains("youtu.be/"))
}

/// Writes `inlineData` or `fileData`; `None` where the source cannot be reached from there.
pub(super) fn media_value(source: &Source, fallback: &str) -> Option<Value> {
    match source {
        Source::Inline { media_type, data } => {
            Some(json!({"inlineData": {"mimeType": media_type, "data": data}}))
        }
        Source::Url { url, .. } if is_film(source) => Some(json!({"fileData": {"fileUri": url}})),
        Source::Url { url, media_type } => {
            let media_type = media_type.as_deref().or_else(|| guess(url)).unwrap_or(fallback);
            Some(json!({"fileData": {"mimeType": media_type, "fileUri": url}}))
        }
        Source::File { id } if id.starts_with(FILE_STORE) => {
            Some(json!({"fileData": {"mimeType": guess(id).unwrap_or(fallback), "fileUri": id}}))
        }
        Source::File { .. } | Source::Text { .. } => None,
    }
}

/// The media type that the end of an address means.
fn guess(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "md" => "text/markdown",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "json" => "application/json",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        _ => return None,
    })
}
