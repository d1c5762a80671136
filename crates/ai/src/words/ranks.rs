//! Ranks: documents in the order of their use for a query, asked for and told in Cohere's words.

use serde_json::{Value, json};

use super::{Came, To, Told, Words, Written, broken, lack, lose_all, unspoken};
use crate::{
    canon::{Error, Losses, Usage},
    fields::Fields,
    name,
};

/// Documents to be put in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranks {
    query: String,
    documents: Vec<String>,
    most: Option<u64>,
    wants_documents: bool,
    /// Fields that nobody else has.
    extra: Vec<String>,
}

pub(super) fn read(body: &[u8]) -> Result<Ranks, Error> {
    let mut fields = Fields::document(body)?;
    fields.take("model");
    let query = fields.required_text("query")?;
    let text = |value: Value| match value {
        Value::String(text) => Ok(text),
        Value::Object(mut own) if own.len() == 1 => match own.remove("text") {
            Some(Value::String(text)) => Ok(text),
            _ => Err(no_text()),
        },
        _ => Err(no_text()),
    };
    let documents: Vec<String> = fields.list("documents")?.into_iter().map(text).collect::<Result<_, _>>()?;
    if documents.is_empty() {
        return Err(Error::invalid("documents", "there is no document to rank"));
    }
    let most = fields.count("top_n")?;
    let wants_documents = fields.flag("return_documents")?.unwrap_or(false);
    let mut extra = Vec::new();
    fields.rest(&mut extra);
    let extra = extra.into_iter().map(|(path, _)| path).collect();
    Ok(Ranks { query, documents, most, wants_documents, extra })
}

fn no_text() -> Error {
    lack("`documents`: this model's provider ranks texts alone: send each as a string")
}

impl Ranks {
    pub(super) fn write(&self, to: &To<'_>, losses: &mut Losses) -> Result<Written, Error> {
        lose_all(losses, &self.extra);
        let (path, mut body, most) = match to.words {
            // The same bodies as Cohere's own but for their version (Amazon Bedrock user guide: "Use a reranker model",
            // InvokeModel).
            Words::Bedrock => {
                let mut body = json!({"query": self.query, "documents": self.documents});
                if to.model.contains("cohere.") {
                    body["api_version"] = 2.into();
                } else if !to.model.contains("amazon.rerank") {
                    return Err(lack(format!(
                        "of Bedrock's models `cohere.rerank…` and `amazon.rerank…` rank, and `{}` is neither",
                        to.model
                    )));
                }
                (format!("/model/{}/invoke", name::segment(to.model)?), body, "top_n")
            }
            // Google Cloud: Discovery Engine, `projects.locations.rankingConfigs.rank`. The path is the catalogue's.
            Words::Ranking => {
                let record = |(at, text): (usize, &String)| json!({"id": at.to_string(), "content": text});
                let records: Vec<Value> = self.documents.iter().enumerate().map(record).collect();
                let body = json!({
                    "model": to.model, "query": self.query, "records": records, "ignoreRecordDetailsInResponse": true,
                });
                ("/rankingConfigs/default_ranking_config:rank".to_owned(), body, "topN")
            }
            // Voyage AI: API reference, Rerankers.
            Words::Voyage => {
                let body = json!({"model": to.model, "query": self.query, "documents": self.documents});
                ("/rerank".to_owned(), body, "top_k")
            }
            // Jina AI: Reranker API. Documents come back unless that is not wanted.
            Words::Jina => {
                let body = json!({
                    "model": to.model, "query": self.query, "documents": self.documents, "return_documents": false,
                });
                ("/rerank".to_owned(), body, "top_n")
            }
            // IBM Cloud API: watsonx.ai, Text rerank. Its path and the model's field are the catalogue's.
            Words::Watsonx => {
                let inputs: Vec<Value> = self.documents.iter().map(|text| json!({"text": text})).collect();
                let mut body = json!({"query": self.query, "inputs": inputs});
                if let Some(most) = self.most {
                    body["parameters"] = json!({"return_options": {"top_n": most}});
                }
                return Ok(Written::json("/ml/v1/text/rerank".to_owned(), &body));
            }
            _ => return Err(unspoken("a rank")),
        };
        if let Some(wanted) = self.most {
            body[most] = wanted.into();
        }
        Ok(Written::json(path, &body))
    }

    pub(super) fn tell(&self, words: Words, came: &Came<'_>) -> Result<Told, Error> {
        let answer: Value =
            serde_json::from_slice(came.body).map_err(|_| broken("the provider's answer is no JSON"))?;
        let (list, score) = match words {
            Words::Ranking => ("records", "score"),
            Words::Voyage => ("data", "relevance_score"),
            Words::Watsonx => ("results", "score"),
            _ => ("results", "relevance_score"),
        };
        let list = answer.get(list).and_then(Value::as_array);
        let list = list.ok_or_else(|| broken("the provider's answer has no ranks"))?;
        let mut results = Vec::with_capacity(list.len());
        for one in list {
            let index = match words {
                Words::Ranking => one.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok()),
                _ => one.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok()),
            };
            let document = index.and_then(|index: usize| self.documents.get(index));
            let (Some(index), Some(document), Some(score)) =
                (index, document, one.get(score).and_then(Value::as_f64))
            else {
                return Err(broken("the provider's answer ranks a document that there is not"));
            };
            let mut result = json!({"index": index, "relevance_score": score});
            if self.wants_documents {
                result["document"] = json!({"text": document});
            }
            results.push(result);
        }
        let number = |way: &str| answer.pointer(way).and_then(Value::as_u64);
        let tokens = number("/usage/total_tokens").or_else(|| number("/input_token_count"));
        let mut meta = json!({"api_version": {"version": "2"}});
        let mut told = json!({"id": "", "results": results});
        if let Some(tokens) = tokens {
            meta["tokens"] = json!({"input_tokens": tokens, "output_tokens": 0});
            told["usage"] = json!({"total_tokens": tokens});
        }
        told["meta"] = meta;
        let usage = tokens.map(|input| Usage { input, ..Usage::default() });
        Ok(Told::json(&told, usage))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const BODY: &str = r#"{"model":"alias","query":"q","documents":["a",{"text":"b"}],"top_n":1,"return_documents":true,"max_tokens_per_doc":9}"#;

    fn written(words: Words, model: &str) -> (String, Value, bool) {
        let (ranks, mut losses) = (read(BODY.as_bytes()).expect("read"), Losses::default());
        let written =
            ranks.write(&To { words, model, voices: &BTreeMap::new() }, &mut losses).expect("written");
        let lost =
            losses.iter().any(|loss| *loss == crate::canon::Loss::Field("max_tokens_per_doc".to_owned()));
        (written.path, serde_json::from_slice(&written.body).expect("JSON"), lost)
    }

    fn told(words: Words, answer: &Value) -> Result<Value, Error> {
        let ranks = read(BODY.as_bytes()).expect("read");
        let body = answer.to_string();
        let came = Came { kind: "application/json", finish: None, body: body.as_bytes() };
        ranks.tell(words, &came).map(|told| serde_json::from_slice(&told.body).expect("JSON"))
    }

    #[test]
    fn each_vendor_is_asked_in_its_words() {
        for (words, model, path, body) in [
            (
                Words::Bedrock,
                "cohere.rerank-v3-5:0",
                "/model/cohere.rerank-v3-5%3A0/invoke",
                json!({"query": "q", "documents": ["a", "b"], "api_version": 2, "top_n": 1}),
            ),
            (
                Words::Bedrock,
                "amazon.rerank-v1:0",
                "/model/amazon.rerank-v1%3A0/invoke",
                json!({"query": "q", "documents": ["a", "b"], "top_n": 1}),
            ),
            (
                Words::Ranking,
                "semantic-ranker-default@latest",
                "/rankingConfigs/default_ranking_config:rank",
                json!({"model": "semantic-ranker-default@latest", "query": "q", "topN": 1, "ignoreRecordDetailsInResponse": true,
                    "records": [{"id": "0", "content": "a"}, {"id": "1", "content": "b"}]}),
            ),
            (
                Words::Voyage,
                "rerank-2.5",
                "/rerank",
                json!({"model": "rerank-2.5", "query": "q", "documents": ["a", "b"], "top_k": 1}),
            ),
            (
                Words::Jina,
                "jina-reranker-v2",
                "/rerank",
                json!({"model": "jina-reranker-v2", "query": "q", "documents": ["a", "b"], "return_documents": false, "top_n": 1}),
            ),
            (
                Words::Watsonx,
                "ms-marco",
                "/ml/v1/text/rerank",
                json!({"query": "q", "inputs": [{"text": "a"}, {"text": "b"}], "parameters": {"return_options": {"top_n": 1}}}),
            ),
        ] {
            assert_eq!(written(words, model), (path.to_owned(), body, true), "{model}");
        }
    }

    #[test]
    fn each_answer_is_told_in_coheres_words() {
        let want = json!([{"index": 1, "relevance_score": 0.5, "document": {"text": "b"}}]);
        for (words, answer) in [
            (Words::Bedrock, json!({"results": [{"index": 1, "relevance_score": 0.5}]})),
            (Words::Ranking, json!({"records": [{"id": "1", "score": 0.5}]})),
            (
                Words::Voyage,
                json!({"data": [{"index": 1, "relevance_score": 0.5}], "usage": {"total_tokens": 7}}),
            ),
            (
                Words::Jina,
                json!({"results": [{"index": 1, "relevance_score": 0.5}], "usage": {"total_tokens": 7}}),
            ),
            (Words::Watsonx, json!({"results": [{"index": 1, "score": 0.5}], "input_token_count": 7})),
        ] {
            let told = told(words, &answer).expect("told");
            assert_eq!(told["results"], want, "{words:?}");
            let has_tokens = !matches!(words, Words::Bedrock | Words::Ranking);
            assert_eq!(told.pointer("/usage/total_tokens") == Some(&json!(7)), has_tokens, "{told}");
        }
        for broken in [
            json!({}),
            json!({"results": [{"index": 2, "relevance_score": 0.5}]}),
            json!({"results": [{"index": 0}]}),
        ] {
            assert_eq!(told(Words::Jina, &broken).expect_err("broken").status, 502, "{broken}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for (body, status) in [
            (r#"{"query":"q","documents":[{"title":"a","text":"b"}]}"#, 501),
            (r#"{"query":"q","documents":[]}"#, 400),
            (r#"{"documents":["a"]}"#, 400),
        ] {
            assert_eq!(read(body.as_bytes()).expect_err(body).status, status, "{body}");
        }
    }
}
