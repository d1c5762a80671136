//! Reads the contents of items.

use serde_json::Value;

use crate::{
    canon::{CacheMark, Citation, Error, Extra, Part, Source},
    dialect::{openai_chat::inbound::source_of_url, openai_responses::content::citation_of},
    fields::Fields,
};

/// A text, or a list of pieces.
pub(super) fn read_content(fields: &mut Fields, key: &str, extra: &mut Extra) -> Result<Vec<Part>, Error> {
    if fields.peek_text(key).is_some() {
        return Ok(vec![Part::text(fields.text(key)?.unwrap_or_default())]);
    }
    fields.objects(key)?.into_iter().map(|piece| read_piece(piece, extra)).collect()
}

fn read_piece(mut piece: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let kind = piece.required_text("type")?;
    let cache = piece.take("prompt_cache_breakpoint").map(|value| cache_mark(&value));
    let read = match kind.as_str() {
        "input_text" | "output_text" | "text" => {
            let citations = read_annotations(&mut piece)?;
            piece.take("logprobs");
            Part::Text { text: piece.required_text("text")?, citations, cache, proof: None }
        }
        "refusal" => Part::Refusal { text: piece.required_text("refusal")? },
        "input_image" => {
            let detail = piece.text("detail")?;
            let source = match (piece.text("image_url")?, piece.text("file_id")?) {
                (Some(url), _) => source_of_url(url),
                (None, Some(id)) => Source::File { id },
                (None, None) => return Err(piece.missing("image_url")),
            };
            Part::Image { source, detail, cache }
        }
        "input_file" => read_file(&mut piece, cache)?,
        "input_audio" => {
            let mut audio = piece.object("input_audio")?.ok_or_else(|| piece.missing("input_audio"))?;
            let data = audio.required_text("data")?;
            let media_type = match audio.text("format")?.as_deref() {
                Some("mp3") => "audio/mpeg".to_owned(),
                Some(format) => format!("audio/{format}"),
                None => "audio/wav".to_owned(),
            };
            Part::Audio { source: Source::Inline { media_type, data }, transcript: None, id: None }
        }
        other => {
            let known = "input_text, input_image, input_file, input_audio, output_text or refusal";
            return Err(piece.unknown("type", other, known));
        }
    };
    piece.rest(extra);
    Ok(read)
}

fn read_annotations(piece: &mut Fields) -> Result<Vec<Citation>, Error> {
    Ok(piece.list("annotations")?.iter().filter_map(citation_of).collect())
}

fn read_file(piece: &mut Fields, cache: Option<CacheMark>) -> Result<Part, Error> {
    let name = piece.text("filename")?;
    let source = match (piece.text("file_data")?, piece.text("file_id")?, piece.text("file_url")?) {
        (Some(data), _, _) if data.starts_with("data:") => source_of_url(data),
        (Some(data), _, _) => Source::Inline { media_type: "application/pdf".to_owned(), data },
        (None, Some(id), _) => Source::File { id },
        (None, None, Some(url)) => Source::Url { url, media_type: None },
        (None, None, None) => return Err(piece.missing("file_data")),
    };
    Ok(Part::Document { source, name, context: None, citable: false, cache })
}

fn cache_mark(value: &Value) -> CacheMark {
    CacheMark { ttl: value.get("ttl").and_then(Value::as_str).map(str::to_owned) }
}
