//! Embeddings: texts become vectors. What OpenAI, Gemini, Cohere and Bedrock's models (Amazon's Titan, Cohere's) ask and
//! answer is read into one middle and written again, as conversations are; what cannot be carried is named.
//!
//! Pictures, tokens in place of texts and vectors of whole numbers have no counterpart everywhere: they are refused
//! across dialects, with what to do.

use std::ops::Range;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    canon::{Error, ErrorKind, Loss, Losses},
    dialect::Dialect,
    fields::Fields,
    name,
    rules::Cut,
};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Asked {
    texts: Vec<String>,
    dimensions: Option<u64>,
    /// What the vectors are for, in Cohere's words.
    purpose: Option<String>,
    /// OpenAI's callers may want vectors as base64 of floats.
    is_base64: bool,
    /// Gemini's callers ask for one, or for several at once.
    is_batch: bool,
    /// Fields that nobody else has.
    extra: Vec<String>,
}

/// What a provider is sent.
#[derive(Debug)]
pub struct Written {
    /// Below the provider's base address.
    pub path: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What vectors are for: Cohere's word, and Gemini's.
const PURPOSES: [(&str, &str); 4] = [
    ("search_query", "RETRIEVAL_QUERY"),
    ("search_document", "RETRIEVAL_DOCUMENT"),
    ("classification", "CLASSIFICATION"),
    ("clustering", "CLUSTERING"),
];

fn lack(message: impl Into<String>) -> Error {
    Error { status: 501, ..Error::new(ErrorKind::Invalid, message) }
}

/// Whether vectors are asked for in this dialect at all.
pub fn is_spoken(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::OpenAiChat | Dialect::Gemini | Dialect::Cohere | Dialect::Bedrock)
}

/// Reads a request of a caller's.
pub fn read(dialect: Dialect, body: &[u8]) -> Result<Asked, Error> {
    let mut fields = Fields::document(body)?;
    fields.take("model");
    let mut asked = match dialect {
        Dialect::OpenAiChat => openai(&mut fields)?,
        Dialect::Gemini => gemini(&mut fields)?,
        Dialect::Cohere => cohere(&mut fields)?,
        other => return Err(lack(format!("nobody asks for embeddings in the dialect {}", other.name()))),
    };
    let mut extra = Vec::new();
    fields.rest(&mut extra);
    asked.extra.extend(extra.into_iter().map(|(path, _)| path));
    if asked.texts.is_empty() {
        return Err(Error::invalid("input", "there is no text to embed"));
    }
    Ok(asked)
}

fn openai(fields: &mut Fields) -> Result<Asked, Error> {
    let texts = match fields.take("input") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.into_iter().map(text_of).collect::<Result<_, _>>()?,
        _ => return Err(fields.missing("input")),
    };
    let is_base64 = fields.text("encoding_format")?.as_deref() == Some("base64");
    Ok(Asked {
        texts,
        dimensions: fields.count("dimensions")?,
        is_base64,
        is_batch: true,
        ..Asked::default()
    })
}

fn text_of(value: Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(lack(
            "the model's provider takes texts alone, and these are tokens: send texts (LangChain: \
             `check_embedding_ctx_length=False`)",
        )),
    }
}

fn gemini(fields: &mut Fields) -> Result<Asked, Error> {
    let requests = fields.objects("requests")?;
    let is_batch = !requests.is_empty();
    let mut asked = Asked { is_batch, ..Asked::default() };
    if !is_batch {
        one_of_gemini(fields, &mut asked)?;
    }
    for mut request in requests {
        request.take("model");
        one_of_gemini(&mut request, &mut asked)?;
        let mut extra = Vec::new();
        request.rest(&mut extra);
        asked.extra.extend(extra.into_iter().map(|(path, _)| path));
    }
    Ok(asked)
}

fn one_of_gemini(fields: &mut Fields, asked: &mut Asked) -> Result<(), Error> {
    let mut content = fields.object("content")?.ok_or_else(|| fields.missing("content"))?;
    content.take("role");
    let mut whole = String::new();
    for mut part in content.objects("parts")? {
        whole.push_str(&part.text("text")?.ok_or_else(|| lack("only texts can be embedded at this model"))?);
    }
    asked.texts.push(whole);
    let (snake, camel) = (fields.text("task_type")?, fields.text("taskType")?);
    if let Some(task) = camel.or(snake).filter(|task| task != "TASK_TYPE_UNSPECIFIED") {
        match PURPOSES.iter().find(|(_, theirs)| *theirs == task) {
            Some((ours, _)) => asked.purpose = Some((*ours).to_owned()),
            None => asked.extra.push("taskType".to_owned()),
        }
    }
    let (snake, camel) = (fields.count("output_dimensionality")?, fields.count("outputDimensionality")?);
    asked.dimensions = camel.or(snake).or(asked.dimensions);
    Ok(())
}

fn cohere(fields: &mut Fields) -> Result<Asked, Error> {
    let texts = fields.list("texts")?.into_iter().map(text_of).collect::<Result<_, _>>()?;
    if fields.has("inputs") || fields.has("images") {
        return Err(lack(
            "only `texts` can be embedded at this model: its provider has another form for pictures",
        ));
    }
    let kinds = fields.list("embedding_types")?;
    if kinds.iter().any(|kind| kind != "float") {
        return Err(lack("`embedding_types`: the model's provider has `float` alone"));
    }
    let (purpose, dimensions) = (fields.text("input_type")?, fields.count("output_dimension")?);
    Ok(Asked { texts, dimensions, purpose, is_batch: true, ..Asked::default() })
}

/// Writes a request for a provider.
pub fn write(asked: &Asked, dialect: Dialect, model: &str, losses: &mut Losses) -> Result<Written, Error> {
    asked.extra.iter().for_each(|field| losses.add(Loss::Field(field.clone())));
    let mut lost = |what: Option<&String>, name: &str| {
        if what.is_some() {
            losses.add(Loss::Field(name.to_owned()));
        }
    };
    let purpose = asked.purpose.as_ref();
    let (path, body) = match dialect {
        Dialect::OpenAiChat => {
            lost(purpose, "input_type");
            let mut body = json!({"model": model, "input": asked.texts, "encoding_format": "float"});
            put(&mut body, "dimensions", asked.dimensions);
            ("/embeddings".to_owned(), body)
        }
        Dialect::Gemini => {
            let task = purpose.and_then(|ours| PURPOSES.iter().find(|(known, _)| known == ours));
            lost(purpose.filter(|_| task.is_none()), "input_type");
            let of = format!("models/{}", model.strip_prefix("models/").unwrap_or(model));
            let request = |text: &String| {
                let mut one = json!({"model": of, "content": {"parts": [{"text": text}]}});
                put(&mut one, "outputDimensionality", asked.dimensions);
                if let Some((_, task)) = task {
                    one["taskType"] = (*task).into();
                }
                one
            };
            let requests: Vec<Value> = asked.texts.iter().map(request).collect();
            (gemini_path(model, true)?, json!({"requests": requests}))
        }
        Dialect::Cohere => {
            let mut body = cohere_body(asked);
            body["model"] = model.into();
            body["embedding_types"] = json!(["float"]);
            ("/v2/embed".to_owned(), body)
        }
        Dialect::Bedrock => {
            let body = if model.contains("cohere.embed") {
                cohere_body(asked)
            } else if model.contains("titan-embed-text") || model.contains("titan-embed-g1") {
                lost(purpose, "input_type");
                let [text] = asked.texts.as_slice() else {
                    return Err(lack(format!(
                        "`{model}` embeds one text at a time: send one in each request"
                    )));
                };
                let mut body = json!({"inputText": text});
                put(&mut body, "dimensions", asked.dimensions);
                body
            } else {
                return Err(lack(format!(
                    "of Bedrock's models the texts of `amazon.titan-embed-text…` and `cohere.embed…` are embedded here, \
                     and `{model}` is neither"
                )));
            };
            (format!("/model/{}/invoke", name::segment(model)?), body)
        }
        other => return Err(lack(format!("providers of the dialect {} have no embeddings", other.name()))),
    };
    Ok(Written { path, body: serde_json::to_vec(&body).unwrap_or_default() })
}

fn put(body: &mut Value, key: &str, value: Option<u64>) {
    if let Some(value) = value {
        body[key] = value.into();
    }
}

/// Cohere must be told what vectors are for; texts that are searched are what most embed.
fn cohere_body(asked: &Asked) -> Value {
    let purpose = asked.purpose.as_deref().unwrap_or("search_document");
    let mut body = json!({"texts": asked.texts, "input_type": purpose});
    put(&mut body, "output_dimension", asked.dimensions);
    body
}

/// Reads a provider's answer and writes it for the caller.
pub fn tell(asked: &Asked, from: Dialect, to: Dialect, model: &str, answer: &[u8]) -> Result<Vec<u8>, Error> {
    let broken = || {
        let message = "the provider's answer has not one vector for each text";
        Error { status: 502, ..Error::new(ErrorKind::Server, message) }
    };
    let answer: Value = serde_json::from_slice(answer).map_err(|_| broken())?;
    let (vectors, tokens) = vectors(from, &answer).ok_or_else(broken)?;
    if vectors.len() != asked.texts.len() {
        return Err(broken());
    }
    let told = match to {
        Dialect::OpenAiChat => {
            let entry = |(index, vector): (usize, &Vec<Value>)| {
                let vector = if asked.is_base64 { packed(vector) } else { json!(vector) };
                json!({"object": "embedding", "index": index, "embedding": vector})
            };
            let data: Vec<Value> = vectors.iter().enumerate().map(entry).collect();
            let mut told = json!({"object": "list", "data": data, "model": model});
            if let Some(tokens) = tokens {
                told["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
            }
            told
        }
        Dialect::Gemini => {
            let mut values = vectors.iter().map(|vector| json!({"values": vector}));
            let mut told = Map::new();
            match asked.is_batch {
                true => drop(told.insert("embeddings".into(), values.collect())),
                false => drop(told.insert("embedding".into(), values.next().unwrap_or_default())),
            }
            if let Some(tokens) = tokens {
                told.insert(
                    "usageMetadata".into(),
                    json!({"promptTokenCount": tokens, "totalTokenCount": tokens}),
                );
            }
            Value::Object(told)
        }
        _ => {
            let mut told = json!({
                "id": "", "texts": asked.texts, "embeddings": {"float": vectors}, "response_type": "embeddings_by_type",
                "meta": {"api_version": {"version": "2"}},
            });
            if let Some(tokens) = tokens {
                told["meta"]["billed_units"] = json!({"input_tokens": tokens});
                // Where its answers to conversations have it, so that it is counted.
                told["usage"] =
                    json!({"billed_units": {"input_tokens": tokens}, "tokens": {"input_tokens": tokens}});
            }
            told
        }
    };
    Ok(serde_json::to_vec(&told).unwrap_or_default())
}

type Vectors = (Vec<Vec<Value>>, Option<u64>);

fn vectors(dialect: Dialect, answer: &Value) -> Option<Vectors> {
    let count = |pointer: &str| answer.pointer(pointer).and_then(Value::as_u64);
    let numbers = |value: &Value| value.as_array().filter(|list| list.iter().all(Value::is_number)).cloned();
    let each = |value: &Value| value.as_array()?.iter().map(numbers).collect::<Option<Vec<_>>>();
    Some(match dialect {
        Dialect::OpenAiChat => {
            let mut data: Vec<&Value> = answer.get("data")?.as_array()?.iter().collect();
            data.sort_by_key(|one| one.get("index").and_then(Value::as_u64));
            let found = data.iter().map(|one| numbers(one.get("embedding")?)).collect::<Option<_>>()?;
            (found, count("/usage/prompt_tokens").or_else(|| count("/usage/total_tokens")))
        }
        Dialect::Gemini => {
            let list = answer.get("embeddings")?.as_array()?;
            let found = list.iter().map(|one| numbers(one.get("values")?)).collect::<Option<_>>()?;
            (found, count("/usageMetadata/promptTokenCount"))
        }
        Dialect::Bedrock if answer.get("embedding").is_some() => {
            (vec![numbers(answer.get("embedding")?)?], count("/inputTextTokenCount"))
        }
        Dialect::Cohere | Dialect::Bedrock => {
            let found = answer.get("embeddings")?;
            (each(found.get("float").unwrap_or(found))?, count("/meta/billed_units/input_tokens"))
        }
        _ => return None,
    })
}

/// Floats of four bytes, the least one first, in base64: what OpenAI's SDKs ask for unless they are told otherwise.
fn packed(vector: &[Value]) -> Value {
    let floats = vector.iter().filter_map(Value::as_f64);
    let bytes: Vec<u8> = floats.flat_map(|number| (number as f32).to_le_bytes()).collect();
    STANDARD.encode(bytes).into()
}

/// One request of Gemini's, as far as it names a model.
#[derive(Deserialize, Default)]
struct Named<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

/// All of Gemini's requests.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    requests: Option<Vec<&'a RawValue>>,
}

/// Where a request of Gemini's that passes as it is goes, and what must change in it: each part names the model.
pub fn pass(body: &[u8], model: &str) -> Result<(String, Vec<Cut>), Error> {
    let broken = |error: serde_json::Error| Error::invalid("requests", format!("`requests`: {error}"));
    let text = std::str::from_utf8(body).unwrap_or_default();
    let batch: Batch<'_> = serde_json::from_str(text).map_err(broken)?;
    let named = Value::from(format!("models/{}", model.strip_prefix("models/").unwrap_or(model))).to_string();
    let place = |inner: &str| {
        let start = (inner.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        Range { start, end: start + inner.len() }
    };
    let mut cuts = Vec::new();
    for one in batch.requests.iter().flatten() {
        let found: Named<'_> = serde_json::from_str(one.get()).map_err(broken)?;
        cuts.push(match found.model {
            Some(raw) => (place(raw.get()), named.clone()),
            None => {
                let at = place(one.get()).start + 1;
                let comma =
                    if one.get().trim_start_matches('{').trim_start().starts_with('}') { "" } else { "," };
                (at..at, format!("\"model\":{named}{comma}"))
            }
        });
    }
    if batch.requests.is_none()
        && let Named { model: Some(raw) } = serde_json::from_str(text).map_err(broken)?
    {
        cuts.push((place(raw.get()), named));
    }
    Ok((gemini_path(model, batch.requests.is_some())?, cuts))
}

fn gemini_path(model: &str, is_batch: bool) -> Result<String, Error> {
    let path = Dialect::Gemini.path(crate::endpoint::Operation::Embeddings, model, false)?;
    let single = path.strip_suffix("embedContent").filter(|_| is_batch);
    Ok(single.map_or_else(|| path.clone(), |start| format!("{start}batchEmbedContents")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENAI: &str = r#"{"model":"alias","input":["a","b"],"dimensions":2,"user":"u"}"#;
    const GEMINI: &str = r#"{"requests":[{"model":"models/alias","content":{"parts":[{"text":"a"}],"role":"user"},"taskType":"RETRIEVAL_QUERY","outputDimensionality":2},{"model":"models/alias","content":{"parts":[{"text":"b"}]},"taskType":"RETRIEVAL_QUERY","outputDimensionality":2}]}"#;
    const COHERE: &str = r#"{"model":"alias","texts":["a","b"],"input_type":"search_query","embedding_types":["float"],"output_dimension":2}"#;

    fn answer(dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::OpenAiChat => {
                r#"{"object":"list","data":[{"object":"embedding","index":1,"embedding":[3,4.5]},{"object":"embedding","index":0,"embedding":[1,2.5]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#
            }
            Dialect::Gemini => {
                r#"{"embeddings":[{"values":[1,2.5]},{"values":[3,4.5]}],"usageMetadata":{"promptTokenCount":7}}"#
            }
            _ => {
                r#"{"id":"1","embeddings":{"float":[[1,2.5],[3,4.5]]},"texts":["a","b"],"meta":{"billed_units":{"input_tokens":7}}}"#
            }
        }
    }

    #[test]
    fn every_caller_reaches_every_provider() {
        let callers = [(Dialect::OpenAiChat, OPENAI), (Dialect::Gemini, GEMINI), (Dialect::Cohere, COHERE)];
        for (caller, body) in callers {
            let asked = read(caller, body.as_bytes()).expect("read");
            assert_eq!(
                (asked.texts.as_slice(), asked.dimensions),
                (&["a".to_owned(), "b".to_owned()][..], Some(2))
            );
            for target in [Dialect::OpenAiChat, Dialect::Gemini, Dialect::Cohere] {
                let mut losses = Losses::default();
                let written = write(&asked, target, "real", &mut losses).expect("written");
                let back = read(target, &written.body).expect("what is written can be read");
                assert_eq!((&back.texts, back.dimensions), (&asked.texts, Some(2)), "{caller:?} {target:?}");
                let carries = target != Dialect::OpenAiChat || caller == Dialect::OpenAiChat;
                let named = losses.iter().any(|loss| *loss == Loss::Field("input_type".to_owned()));
                assert_eq!(named, !carries, "{caller:?} {target:?}");
                assert_eq!(
                    losses.iter().any(|loss| *loss == Loss::Field("user".to_owned())),
                    caller == Dialect::OpenAiChat
                );
                let told = tell(&asked, target, caller, "real", answer(target).as_bytes()).expect("told");
                let told: Value = serde_json::from_slice(&told).expect("JSON");
                let found = vectors(caller, &told).expect("vectors");
                assert_eq!(json!(found.0), json!([[1, 2.5], [3, 4.5]]), "{caller:?} {target:?}: {told}");
                let pointer = match caller {
                    Dialect::OpenAiChat => "/usage/prompt_tokens",
                    Dialect::Gemini => "/usageMetadata/promptTokenCount",
                    _ => "/meta/billed_units/input_tokens",
                };
                assert_eq!(told.pointer(pointer), Some(&json!(7)), "{told}");
            }
        }
        assert!(
            read(Dialect::Gemini, GEMINI.as_bytes()).expect("read").purpose.as_deref()
                == Some("search_query")
        );
    }

    #[test]
    fn bedrocks_models_have_words_of_their_own() {
        let asked = read(Dialect::OpenAiChat, br#"{"input":"a","dimensions":256}"#).expect("read");
        let body = |model: &str| {
            let written = write(&asked, Dialect::Bedrock, model, &mut Losses::default())?;
            Ok::<_, Error>((written.path, String::from_utf8(written.body).expect("text")))
        };
        let titan = body("amazon.titan-embed-text-v2:0").expect("written");
        assert_eq!(titan.0, "/model/amazon.titan-embed-text-v2%3A0/invoke");
        assert_eq!(titan.1, r#"{"inputText":"a","dimensions":256}"#);
        let cohere = body("cohere.embed-v4:0").expect("written").1;
        assert_eq!(cohere, r#"{"texts":["a"],"input_type":"search_document","output_dimension":256}"#);
        assert_eq!(body("amazon.nova").expect_err("no embeddings").status, 501);
        let told = tell(
            &asked,
            Dialect::Bedrock,
            Dialect::OpenAiChat,
            "m",
            br#"{"embedding":[1.5],"inputTextTokenCount":3}"#,
        );
        let told: Value = serde_json::from_slice(&told.expect("told")).expect("JSON");
        assert_eq!(
            (&told["data"][0]["embedding"], &told["usage"]["prompt_tokens"]),
            (&json!([1.5]), &json!(3))
        );
        let plain =
            tell(&asked, Dialect::Bedrock, Dialect::Gemini, "m", br#"{"embeddings":[[1.5]]}"#).expect("told");
        assert_eq!(plain, br#"{"embeddings":[{"values":[1.5]}]}"#);
        let two = read(Dialect::OpenAiChat, br#"{"input":["a","b"]}"#).expect("read");
        let refused = write(&two, Dialect::Bedrock, "amazon.titan-embed-text-v2:0", &mut Losses::default());
        assert_eq!(refused.expect_err("one at a time").status, 501);
    }

    #[test]
    fn what_has_no_counterpart_is_refused_with_what_to_do() {
        for (dialect, body, word) in [
            (Dialect::OpenAiChat, r#"{"input":[[1,2]]}"#, "check_embedding_ctx_length"),
            (Dialect::Cohere, r#"{"texts":["a"],"embedding_types":["int8"]}"#, "embedding_types"),
            (Dialect::Cohere, r#"{"inputs":[{}]}"#, "texts"),
            (Dialect::Gemini, r#"{"content":{"parts":[{"inlineData":{}}]}}"#, "texts"),
            (Dialect::OpenAiChat, r#"{"input":[]}"#, "no text"),
        ] {
            let error = read(dialect, body.as_bytes()).expect_err(body);
            assert!(error.message.contains(word), "{body}: {}", error.message);
        }
        let asked =
            read(Dialect::OpenAiChat, br#"{"input":["a","b"],"encoding_format":"base64"}"#).expect("read");
        assert!(
            tell(&asked, Dialect::Gemini, Dialect::OpenAiChat, "m", br#"{"embeddings":[{"values":[1]}]}"#)
                .is_err()
        );
        let told =
            tell(&asked, Dialect::Gemini, Dialect::OpenAiChat, "m", answer(Dialect::Gemini).as_bytes());
        let told: Value = serde_json::from_slice(&told.expect("told")).expect("JSON");
        // 1.0 and 2.5 as floats.
        assert_eq!(told["data"][0]["embedding"], "AACAPwAAIEA=");
    }

    #[test]
    fn geminis_own_requests_name_the_model_in_each_part() {
        let edited = |body: &str| {
            let (path, mut cuts) = pass(body.as_bytes(), "gemini-embedding-001").expect("passed");
            cuts.sort_by_key(|(at, _)| at.start);
            let mut out = body.to_owned();
            cuts.into_iter().rev().for_each(|(at, text)| out.replace_range(at, &text));
            (path, out)
        };
        let (path, body) = edited(
            r#"{"requests":[ {"model" : "models/alias","content":{"parts":[{"text":"model"}]},"x":1.50},{"content":{}}]}"#,
        );
        assert_eq!(path, "/models/gemini-embedding-001:batchEmbedContents");
        assert_eq!(
            body,
            r#"{"requests":[ {"model" : "models/gemini-embedding-001","content":{"parts":[{"text":"model"}]},"x":1.50},{"model":"models/gemini-embedding-001","content":{}}]}"#
        );
        let (path, body) = edited(r#"{"model":"models/alias","content":{"parts":[]}}"#);
        assert_eq!(path, "/models/gemini-embedding-001:embedContent");
        assert_eq!(body, r#"{"model":"models/gemini-embedding-001","content":{"parts":[]}}"#);
        let plain = r#"{"content":{"parts":[]}}"#;
        assert_eq!(edited(plain).1, plain);
    }
}
