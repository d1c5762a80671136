//! Pictures made and changed. Sizes become the ratio of sides that a vendor has; pictures come back as base64, and as
//! `data:` addresses where the caller asked for an address and the vendor gives bytes.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    Came, To, Told, Words, Written, broken, google, lack, lose, lose_all, multipart::Form, unspoken,
};
use crate::{
    canon::{Error, Losses, Usage},
    fields::Fields,
    form, name,
};

/// Pictures to be made or changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictures<'a> {
    prompt: String,
    count: u64,
    /// Dots, wide and high.
    size: Option<(u64, u64)>,
    wants_url: bool,
    /// `png`, `jpeg` or `webp`.
    output: Option<String>,
    compression: Option<u64>,
    /// What is to be changed.
    images: Vec<(&'a [u8], &'static str)>,
    has_mask: bool,
    is_edit: bool,
    /// Fields that nobody else has.
    extra: Vec<String>,
}

/// Ratios of sides that vendors have: Gemini (`ImageConfig` of google-genai 3.6), Imagen (Imagen API: `aspectRatio`),
/// Stability (REST API, Generate: `aspect_ratio`), MiniMax (Image generation: `aspect_ratio`).
const GEMINI_RATIOS: [(u64, u64); 8] = [(1, 1), (2, 3), (3, 2), (3, 4), (4, 3), (9, 16), (16, 9), (21, 9)];
const IMAGEN_RATIOS: [(u64, u64); 5] = [(1, 1), (3, 4), (4, 3), (9, 16), (16, 9)];
const STABILITY_RATIOS: [(u64, u64); 9] =
    [(1, 1), (2, 3), (3, 2), (4, 5), (5, 4), (9, 16), (16, 9), (21, 9), (9, 21)];
const MINIMAX_RATIOS: [(u64, u64); 8] = GEMINI_RATIOS;

/// The longest side that a caller may name: larger than anybody makes.
const SIDE_MAX: u64 = 1 << 16;

/// What asks for nothing.
fn is_usual(value: &Value) -> bool {
    matches!(value.as_str(), Some("auto" | ""))
}

fn new() -> Pictures<'static> {
    Pictures {
        prompt: String::new(),
        count: 1,
        size: None,
        wants_url: false,
        output: None,
        compression: None,
        images: Vec::new(),
        has_mask: false,
        is_edit: false,
        extra: Vec::new(),
    }
}

pub(super) fn read(body: &[u8]) -> Result<Pictures<'static>, Error> {
    let mut pictures = new();
    pictures.take(Fields::document(body)?)?;
    Ok(pictures)
}

pub(super) fn read_form<'a>(kind: &str, body: &'a [u8]) -> Result<Pictures<'a>, Error> {
    let mut pictures = Pictures { is_edit: true, ..new() };
    let mut texts = Map::new();
    for field in form::fields(kind, body)? {
        let bytes = body.get(field.value.clone()).unwrap_or_default();
        let name = field.name.as_str();
        match name {
            "image" | "image[]" => pictures.images.push((bytes, media_type(bytes, field.kind.as_deref())?)),
            "mask" => pictures.has_mask = true,
            _ => {
                let text = std::str::from_utf8(bytes)
                    .map_err(|_| Error::invalid(name, format!("`{name}` must be text")))?;
                let value = match (name, text.parse::<u64>()) {
                    ("n" | "output_compression" | "partial_images", Ok(number)) => number.into(),
                    ("stream", _) => (text == "true").into(),
                    _ => Value::from(text),
                };
                texts.insert(name.to_owned(), value);
            }
        }
    }
    pictures.take(Fields::document(&serde_json::to_vec(&texts).unwrap_or_default())?)?;
    if pictures.images.is_empty() {
        return Err(Error::invalid("image", "`image` is required"));
    }
    Ok(pictures)
}

/// What kind of picture it is, by its first bytes, else as the caller tells.
fn media_type(bytes: &[u8], told: Option<&str>) -> Result<&'static str, Error> {
    const KNOWN: [&str; 3] = ["image/png", "image/jpeg", "image/webp"];
    let found = match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'R', b'I', b'F', b'F', ..] if bytes.get(8..12) == Some(b"WEBP") => Some("image/webp"),
        _ => KNOWN.into_iter().find(|known| Some(*known) == told),
    };
    found.ok_or_else(|| Error::invalid("image", "`image` must be a picture: PNG, JPEG or WebP"))
}

impl Pictures<'_> {
    fn take(&mut self, mut fields: Fields) -> Result<(), Error> {
        fields.take("model");
        self.prompt = fields.required_text("prompt")?;
        self.count = fields.count("n")?.unwrap_or(1).max(1);
        self.wants_url = match fields.text("response_format")?.as_deref() {
            None | Some("b64_json") => false,
            Some("url") => true,
            Some(other) => return Err(fields.unknown("response_format", other, "b64_json or url")),
        };
        if let Some(size) = fields.text("size")?.filter(|size| size != "auto") {
            let sides =
                size.split_once('x').and_then(|(wide, high)| Some((wide.parse().ok()?, high.parse().ok()?)));
            let sides =
                sides.filter(|(wide, high)| (1..=SIDE_MAX).contains(wide) && (1..=SIDE_MAX).contains(high));
            self.size = Some(sides.ok_or_else(|| fields.unknown("size", &size, "WIDTHxHEIGHT or auto"))?);
        }
        self.output = fields.text("output_format")?;
        self.compression = fields.count("output_compression")?;
        if fields.flag("stream")? == Some(true) {
            return Err(lack("pictures are told whole by this model's provider: ask without `stream`"));
        }
        let mut extra = Vec::new();
        fields.rest(&mut extra);
        let asks = extra.into_iter().filter(|(_, value)| !is_usual(value));
        self.extra = asks.map(|(path, _)| path).collect();
        Ok(())
    }

    pub(super) fn write(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        lose_all(losses, &self.extra);
        if self.has_mask {
            return Err(lack(format!(
                "`mask`: `{}` has none of OpenAI's kind: say in the prompt what is to be changed",
                to.model
            )));
        }
        match (to.words, self.is_edit) {
            (Words::Google, false) if to.model.contains("imagen") => self.imagen(to, losses),
            (Words::Google, true) if to.model.contains("imagen") => {
                Err(lack(format!("pictures of `{}` are not changed here", to.model)))
            }
            (Words::Google, _) => self.gemini(to, losses),
            (Words::Stability, _) => self.stability(to, losses),
            (Words::MiniMax, false) => self.minimax(to, losses),
            (Words::Bedrock, false) => self.bedrock(to, losses),
            _ => Err(unspoken("a picture")),
        }
    }

    fn one_at_a_time(&self, to: &To<'_>) -> Result<(), Error> {
        match self.count {
            1 => Ok(()),
            count => Err(lack(format!("`n`: `{}` makes one picture at a time: ask {count} times", to.model))),
        }
    }

    /// The ratio that comes next to the size that is asked for. What is not that size is a loss.
    fn ratio(&self, known: &[(u64, u64)], losses: &mut Losses) -> Option<String> {
        let (wide, high) = self.size?;
        let far = |(a, b): &&(u64, u64)| {
            let (wanted, has) = (wide as f64 / high as f64, *a as f64 / *b as f64);
            (wanted.ln() - has.ln()).abs()
        };
        let (a, b) = known.iter().min_by(|one, other| far(one).total_cmp(&far(other)))?;
        if wide * b != high * a {
            lose(losses, "size");
        }
        Some(format!("{a}:{b}"))
    }

    fn lose_output(&self, losses: &mut Losses) {
        if self.output.as_deref().is_some_and(|kind| kind != "png") {
            lose(losses, "output_format");
        }
        if self.compression.is_some() {
            lose(losses, "output_compression");
        }
    }

    /// `generateContent` with the modality IMAGE (Gemini API: Image generation).
    fn gemini(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        self.one_at_a_time(to)?;
        self.lose_output(losses);
        let mut config = json!({"responseModalities": ["TEXT", "IMAGE"]});
        if let Some(ratio) = self.ratio(&GEMINI_RATIOS, losses) {
            config["imageConfig"] = json!({"aspectRatio": ratio});
            // The first ones have one size alone (Gemini API: Image generation, Aspect ratios and image size).
            let longest = self.size.map_or(0, |(wide, high)| wide.max(high));
            let size = match longest {
                0..2048 => None,
                2048..4096 => Some("2K"),
                _ => Some("4K"),
            };
            match size {
                Some(size) if !to.model.contains("gemini-2") => {
                    config["imageConfig"]["imageSize"] = size.into()
                }
                Some(_) => lose(losses, "size"),
                None => {}
            }
        }
        let mut parts: Vec<Value> = Vec::with_capacity(self.images.len() + 1);
        for (bytes, kind) in &self.images {
            parts.push(json!({"inlineData": {"mimeType": kind, "data": STANDARD.encode(bytes)}}));
        }
        parts.push(json!({"text": self.prompt}));
        let body = json!({"contents": [{"role": "user", "parts": parts}], "generationConfig": config});
        Ok(Written::json(google::path(to.model, "generateContent")?, &body))
    }

    /// `predict` (Vertex AI: Imagen API).
    fn imagen(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        let mut parameters = json!({"sampleCount": self.count});
        if let Some(ratio) = self.ratio(&IMAGEN_RATIOS, losses) {
            parameters["aspectRatio"] = ratio.into();
        }
        match self.output.as_deref() {
            None => {}
            Some(kind @ ("png" | "jpeg")) => {
                parameters["outputOptions"] = json!({"mimeType": format!("image/{kind}")});
                if let Some(quality) = self.compression {
                    parameters["outputOptions"]["compressionQuality"] = quality.into();
                }
            }
            Some(_) => self.lose_output(losses),
        }
        let body = json!({"instances": [{"prompt": self.prompt}], "parameters": parameters});
        Ok(Written::json(google::path(to.model, "predict")?, &body))
    }

    /// `POST /v2beta/stable-image/generate/{core,ultra,sd3}` and `…/edit/inpaint`, forms (Stability AI: REST API).
    fn stability(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        self.one_at_a_time(to)?;
        if self.compression.is_some() {
            lose(losses, "output_compression");
        }
        let mut form = Form::default();
        form.text("prompt", self.prompt.as_str());
        let path = if self.is_edit {
            if to.model != "inpaint" {
                return Err(lack(format!(
                    "pictures are changed here by `inpaint` alone, and `{}` wants more than a prompt: reach it by a \
                     route to an upstream",
                    to.model
                )));
            }
            let [(bytes, kind)] = self.images.as_slice() else {
                return Err(lack("one picture is changed at a time: send one `image`"));
            };
            if self.size.is_some() {
                lose(losses, "size");
            }
            // Without a mask what is transparent is painted, here and at OpenAI.
            form.file("image", kind, bytes);
            "/stable-image/edit/inpaint".to_owned()
        } else {
            if let Some(ratio) = self.ratio(&STABILITY_RATIOS, losses) {
                form.text("aspect_ratio", ratio);
            }
            let model = to.model.strip_prefix("stable-image-").unwrap_or(to.model);
            let end = match model {
                "core" | "ultra" => model,
                _ if model.starts_with("sd3") => {
                    form.text("model", model);
                    "sd3"
                }
                _ => return Err(lack(format!("`{}` is none of core, ultra and sd3…", to.model))),
            };
            format!("/stable-image/generate/{end}")
        };
        match self.output.as_deref() {
            // The one that all of its models have.
            None => form.text("output_format", "png"),
            Some("webp") if path.ends_with("/sd3") => lose(losses, "output_format"),
            Some(kind @ ("png" | "jpeg" | "webp")) => form.text("output_format", kind),
            Some(_) => lose(losses, "output_format"),
        }
        let (kind, body) = form.finish();
        Ok(Written { path, kind, headers: vec![("accept", "image/*".to_owned())], body })
    }

    /// `POST /v1/image_generation` (MiniMax: Text to image).
    fn minimax(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        self.lose_output(losses);
        let format = if self.wants_url { "url" } else { "base64" };
        let mut body =
            json!({"model": to.model, "prompt": self.prompt, "n": self.count, "response_format": format});
        if let Some(ratio) = self.ratio(&MINIMAX_RATIOS, losses) {
            body["aspect_ratio"] = ratio.into();
        }
        Ok(Written::json("/image_generation".to_owned(), &body))
    }

    /// Stability's models (Amazon Bedrock user guide: "Stable Image Core request and response").
    fn bedrock(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        if !to.model.contains("stability.") {
            return Err(lack(format!(
                "of Bedrock's models those of Stability make pictures here, and `{}` is none",
                to.model
            )));
        }
        self.one_at_a_time(to)?;
        if self.compression.is_some() {
            lose(losses, "output_compression");
        }
        let mut body = json!({"prompt": self.prompt});
        if let Some(ratio) = self.ratio(&STABILITY_RATIOS, losses) {
            body["aspect_ratio"] = ratio.into();
        }
        match self.output.as_deref() {
            None => {}
            Some(kind @ ("png" | "jpeg")) => body["output_format"] = kind.into(),
            Some(_) => lose(losses, "output_format"),
        }
        Ok(Written::json(format!("/model/{}/invoke", name::segment(to.model)?), &body))
    }

    pub(super) fn tell(&self, words: Words, came: &Came<'_>, created: u64) -> Result<Told, Error> {
        let json = || -> Result<Value, Error> {
            serde_json::from_slice(came.body).map_err(|_| broken("the provider's answer is no JSON"))
        };
        match words {
            Words::Google => {
                let answer = json()?;
                if answer.get("predictions").is_some()
                    || answer.get("candidates").is_none() && answer.get("promptFeedback").is_none()
                {
                    return self.told(&predicted(&answer)?, None, created);
                }
                let pictures: Vec<Picture<'_>> = google::data(&answer, "image/").map(Picture::of).collect();
                if pictures.is_empty() {
                    return Err(google::silent(&answer, "a picture"));
                }
                self.told(&pictures, google::usage(&answer), created)
            }
            Words::Stability => {
                if came.finish == Some("CONTENT_FILTERED") {
                    return Err(google::filtered("the provider's filter refused this"));
                }
                if !came.kind.starts_with("image/") || came.body.is_empty() {
                    return Err(broken("the provider's answer is no picture"));
                }
                let data = STANDARD.encode(came.body);
                self.told(&[Picture { kind: came.kind, data: &data, is_url: false }], None, created)
            }
            Words::MiniMax => {
                let answer = super::faults::minimax(came.body)?;
                let list = |name: &str| answer.pointer(&format!("/data/{name}")).and_then(Value::as_array);
                let (list, is_url) = match list("image_urls") {
                    Some(urls) => (urls, true),
                    None => (
                        list("image_base64")
                            .ok_or_else(|| broken("the provider's answer has no pictures"))?,
                        false,
                    ),
                };
                let texts = list.iter().filter_map(Value::as_str);
                let pictures: Vec<Picture<'_>> =
                    texts.map(|data| Picture { kind: "image/jpeg", data, is_url }).collect();
                if pictures.is_empty() {
                    return Err(google::filtered("the provider's filter refused all of the pictures"));
                }
                self.told(&pictures, None, created)
            }
            Words::Bedrock => {
                let answer = json()?;
                let reason = answer.pointer("/finish_reasons/0").and_then(Value::as_str);
                if let Some(reason) = reason {
                    return Err(match reason.starts_with("Filter reason") {
                        true => google::filtered(format!("the provider's filter refused this: {reason}")),
                        false => broken(format!("the provider answered without a picture: {reason}")),
                    });
                }
                let list = answer.get("images").and_then(Value::as_array);
                let list = list.ok_or_else(|| broken("the provider's answer has no pictures"))?;
                let kind = if self.output.as_deref() == Some("jpeg") { "image/jpeg" } else { "image/png" };
                let pictures: Vec<Picture<'_>> = list
                    .iter()
                    .filter_map(|value| Some(Picture { kind, data: value.as_str()?, is_url: false }))
                    .collect();
                self.told(&pictures, None, created)
            }
            _ => Err(unspoken("a picture")),
        }
    }

    fn told(&self, pictures: &[Picture<'_>], usage: Option<Usage>, created: u64) -> Result<Told, Error> {
        let Some(first) = pictures.first() else {
            return Err(broken("the provider's answer has no pictures"));
        };
        let one = |picture: &Picture<'_>| match (picture.is_url, self.wants_url) {
            (true, _) => json!({"url": picture.data}),
            (false, true) => json!({"url": format!("data:{};base64,{}", picture.kind, picture.data)}),
            (false, false) => json!({"b64_json": picture.data}),
        };
        let data: Vec<Value> = pictures.iter().map(one).collect();
        let mut told = json!({"created": created, "data": data});
        if let Some(kind) = first.kind.strip_prefix("image/").filter(|_| !first.is_url) {
            told["output_format"] = kind.into();
        }
        if let Some(usage) = &usage {
            told["usage"] = json!({
                "input_tokens": usage.input,
                "output_tokens": usage.output,
                "total_tokens": usage.total(),
                "input_tokens_details": {
                    "image_tokens": usage.input_image,
                    "text_tokens": usage.input.saturating_sub(usage.input_image),
                },
                "output_tokens_details": {
                    "image_tokens": usage.output_image,
                    "text_tokens": usage.output.saturating_sub(usage.output_image),
                },
            });
        }
        Ok(Told { images: Some(pictures.len() as u64), ..Told::json(&told, usage) })
    }
}

/// A picture that came.
struct Picture<'a> {
    kind: &'a str,
    data: &'a str,
    is_url: bool,
}

impl<'a> Picture<'a> {
    fn of((kind, data): (&'a str, &'a str)) -> Self {
        Self { kind, data, is_url: false }
    }
}

/// Imagen's pictures. Those that its filter took out are missing.
fn predicted(answer: &Value) -> Result<Vec<Picture<'_>>, Error> {
    let list = answer.get("predictions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let pictures: Vec<Picture<'_>> = list
        .iter()
        .filter_map(|value| {
            let kind = value.get("mimeType").and_then(Value::as_str).unwrap_or("image/png");
            Some(Picture::of((kind, value.get("bytesBase64Encoded")?.as_str()?)))
        })
        .collect();
    if pictures.is_empty() {
        let reason = list.iter().find_map(|value| value.get("raiFilteredReason")?.as_str());
        return Err(google::filtered(reason.unwrap_or("the provider's filter refused all of the pictures")));
    }
    Ok(pictures)
}

#[cfg(test)]
mod tests;
