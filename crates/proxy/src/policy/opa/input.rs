//! The input document: what an agent is told of a call, in the form that its policies are written for.

use bytes::Bytes;
use http::{HeaderName, header};
use model::policy::opa::OpaShape;
use serde_json::{Map, Value, json};

use crate::{call::Call, template};

/// Fields that the gateway gives each call another value of: nobody decides by them, and no decision could be kept. They are
/// shown where the settings name them.
const OF_EACH_CALL: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

/// The part of a body that is shown.
pub(super) struct Shown {
    pub(super) bytes: Bytes,
    pub(super) is_whole: bool,
}

impl Shown {
    /// As JSON where it is that, otherwise as a text.
    fn value(&self, call: &Call) -> Value {
        let kind = call.head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_json = kind == "application/json" || kind.ends_with("+json");
        if is_json
            && self.is_whole
            && let Ok(value) = serde_json::from_slice(&self.bytes)
        {
            return value;
        }
        Value::from(String::from_utf8_lossy(&self.bytes).into_owned())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// What an agent is told of a call. Nothing in it changes from one call to the next that is the same.
pub(super) fn document(
    call: &Call,
    shape: OpaShape,
    headers: Option<&[HeaderName]>,
    body: Option<&Shown>,
) -> Map<String, Value> {
    let told = Told { call, headers, body };
    let document = match shape {
        OpaShape::Tidegate => told.own(),
        OpaShape::Envoy => told.envoy(),
        OpaShape::Kong => told.kong(),
        OpaShape::Apisix => told.apisix(),
    };
    match document {
        Value::Object(document) => document,
        _ => Map::new(),
    }
}

struct Told<'t> {
    call: &'t Call,
    headers: Option<&'t [HeaderName]>,
    body: Option<&'t Shown>,
}

impl Told<'_> {
    fn own(&self) -> Value {
        let call = self.call;
        let mut request = json!({
            "method": call.head.method.as_str(),
            "path": call.path(),
            "segments": segments(call.path()),
            "host": self.host(),
            "scheme": self.call.scheme(),
            "query": self.query_lists(),
            "headers": self.headers(),
        });
        if let Some(body) = self.body {
            request["body"] = body.value(call);
            request["bodyIsWhole"] = Value::from(body.is_whole);
        }
        let certificate = call.peer.tls.as_ref().and_then(|tls| tls.client.as_ref());
        json!({
            "request": request,
            "client": {"address": call.client.to_string()},
            "listener": call.record.listener.as_ref(),
            "route": {"name": self.route()},
            "consumer": call.consumer.as_ref().filter(|_| !call.is_stranger).map(|consumer| json!({
                "name": consumer.name.as_ref(),
                "groups": consumer.groups,
            })),
            "jwt": call.claims.as_deref(),
            "tls": certificate.map(|client| json!({"subject": client.names.subject.to_string()})),
        })
    }

    /// As OPA's plugin for Envoy makes it of an `ext_authz` request.
    fn envoy(&self) -> Value {
        let call = self.call;
        let mut http = json!({
            "method": call.head.method.as_str(),
            "path": self.target(),
            "host": self.host(),
            "scheme": self.call.scheme(),
            "protocol": call.protocol(),
            "headers": self.headers(),
        });
        let mut document = json!({
            "version": {"ext_authz": "v3", "encoding": "protojson"},
            "parsed_path": segments(call.path()),
            "parsed_query": self.query_lists(),
        });
        if let Some(body) = self.body {
            http["body"] = Value::from(body.text());
            document["truncated_body"] = Value::from(!body.is_whole);
            document["parsed_body"] = body.value(call);
        }
        let certificate = call.peer.tls.as_ref().and_then(|tls| tls.client.as_ref());
        document["attributes"] = json!({
            "source": {
                "address": {"socketAddress": {"address": call.client.to_string()}},
                "principal": certificate.map(|client| client.names.principal().to_owned()).unwrap_or_default(),
            },
            "request": {"http": http},
            "contextExtensions": {"route": self.route(), "consumer": self.consumer()},
            "metadataContext": {"filterMetadata": {"jwt": call.claims.as_deref()}},
        });
        document
    }

    /// As Kong's plugin makes it.
    fn kong(&self) -> Value {
        let call = self.call;
        let mut http = json!({
            "method": call.head.method.as_str(),
            "scheme": self.call.scheme(),
            "host": self.host(),
            "path": call.path(),
            "querystring": self.query(),
            "headers": self.headers(),
        });
        if let Some(body) = self.body {
            http["body"] = Value::from(body.text());
            http["parsed_body"] = body.value(call);
        }
        json!({
            "client_ip": call.client.to_string(),
            "request": {"http": http},
            "route": {"name": self.route()},
            "consumer": self.consumer().map(|name| json!({"username": name})),
        })
    }

    /// As APISIX's plugin makes it, but for its time, by which no decision could be kept.
    fn apisix(&self) -> Value {
        let call = self.call;
        let mut request = json!({
            "scheme": self.call.scheme(),
            "method": call.head.method.as_str(),
            "host": self.host(),
            "path": call.path(),
            "query": self.query(),
            "headers": self.headers(),
        });
        if let Some(body) = self.body {
            request["body"] = Value::from(body.text());
        }
        json!({
            "type": "http",
            "request": request,
            "var": {"remote_addr": call.client.to_string()},
            "route": {"name": self.route()},
            "consumer": self.consumer().map(|name| json!({"username": name})),
        })
    }

    fn host(&self) -> &str {
        self.call.host.as_ref().map_or("", |host| host.as_str())
    }

    fn target(&self) -> &str {
        self.call.head.uri.path_and_query().map_or("/", |target| target.as_str())
    }

    fn route(&self) -> Option<&str> {
        self.call.route.and_then(|route| self.call.plan.routes.get(route)).map(|route| route.name.as_ref())
    }

    fn consumer(&self) -> Option<&str> {
        self.call.consumer.as_ref().filter(|_| !self.call.is_stranger).map(|consumer| consumer.name.as_ref())
    }

    /// Fields by their names in small letters; several of one name in one text, as RFC 9110 §5.3 joins them.
    fn headers(&self) -> Value {
        let all = &self.call.head.headers;
        let mut told = Map::new();
        for name in all.keys().filter(|name| self.shows(name)) {
            let values: Vec<_> =
                all.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            let between = if *name == header::COOKIE { "; " } else { ", " };
            told.insert(name.as_str().to_owned(), Value::from(values.join(between)));
        }
        Value::Object(told)
    }

    fn parameters(&self) -> impl Iterator<Item = (String, String)> {
        let query = self.call.head.uri.query().unwrap_or_default();
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // What is no text stays as it was written: it is there, and is not left out.
            let text =
                |text: &str| template::decode(text).map_or_else(|| text.to_owned(), |text| text.into_owned());
            (text(name), text(value))
        })
    }

    fn shows(&self, name: &HeaderName) -> bool {
        match self.headers {
            Some(shown) => shown.contains(name),
            None => !OF_EACH_CALL.contains(&name.as_str()),
        }
    }

    /// All values of each parameter.
    fn query_lists(&self) -> Value {
        let mut told = Map::new();
        for (name, value) in self.parameters() {
            if let Value::Array(values) = told.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                values.push(Value::from(value));
            }
        }
        Value::Object(told)
    }

    /// The value of each parameter; of several a list.
    fn query(&self) -> Value {
        let Value::Object(lists) = self.query_lists() else { return Value::Null };
        let one = |(name, values): (String, Value)| match values {
            Value::Array(mut values) if values.len() == 1 => (name, values.remove(0)),
            values => (name, values),
        };
        Value::Object(lists.into_iter().map(one).collect())
    }
}

/// The parts of a path, decoded.
fn segments(path: &str) -> Vec<String> {
    let parts = path.trim_start_matches('/').split('/');
    parts
        .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{call, with_claims, with_header};

    fn example() -> Call {
        let call = call("POST", "/orders/a%20b?x=1&x=2&y=%26&z");
        let call = with_header(with_header(call, "x-a", "1"), "x-a", "2");
        let call = with_header(call, "content-type", "application/json; charset=utf-8");
        with_claims(call, r#"{"sub": "ann"}"#)
    }

    fn told(shape: OpaShape, body: &str) -> Value {
        let shown = Shown { bytes: Bytes::copy_from_slice(body.as_bytes()), is_whole: true };
        Value::Object(document(&example(), shape, None, Some(&shown)))
    }

    #[test]
    fn each_form_has_what_policies_of_its_kind_look_for() {
        let body = r#"{"n": 1}"#;
        for (shape, pointer, want) in [
            (OpaShape::Tidegate, "/request/segments/1", json!("a b")),
            (OpaShape::Tidegate, "/request/query", json!({"x": ["1", "2"], "y": ["&"], "z": [""]})),
            (OpaShape::Tidegate, "/request/headers/x-a", json!("1, 2")),
            (OpaShape::Tidegate, "/request/body/n", json!(1)),
            (OpaShape::Tidegate, "/jwt/sub", json!("ann")),
            (OpaShape::Tidegate, "/consumer", Value::Null),
            (OpaShape::Tidegate, "/client/address", json!("192.0.2.7")),
            (OpaShape::Envoy, "/attributes/request/http/path", json!("/orders/a%20b?x=1&x=2&y=%26&z")),
            (OpaShape::Envoy, "/attributes/request/http/body", json!(body)),
            (OpaShape::Envoy, "/parsed_path", json!(["orders", "a b"])),
            (OpaShape::Envoy, "/parsed_body/n", json!(1)),
            (OpaShape::Envoy, "/truncated_body", json!(false)),
            (OpaShape::Kong, "/request/http/querystring/y", json!("&")),
            (OpaShape::Kong, "/request/http/querystring/x", json!(["1", "2"])),
            (OpaShape::Apisix, "/request/method", json!("POST")),
            (OpaShape::Apisix, "/type", json!("http")),
        ] {
            let document = told(shape, body);
            if pointer == "/client/address" {
                assert!(document.pointer(pointer).is_some_and(Value::is_string));
                continue;
            }
            assert_eq!(document.pointer(pointer), Some(&want), "{shape:?} {pointer}\n{document}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_or_no_whole_one_is_a_text() {
        assert_eq!(told(OpaShape::Tidegate, "{").pointer("/request/body"), Some(&json!("{")));
        let part = Shown { bytes: Bytes::from_static(b"{}"), is_whole: false };
        let document = Value::Object(document(&example(), OpaShape::Tidegate, None, Some(&part)));
        assert_eq!(document.pointer("/request/body"), Some(&json!("{}")));
        assert_eq!(document.pointer("/request/bodyIsWhole"), Some(&json!(false)));
    }

    #[test]
    fn only_headers_that_are_named_are_shown() {
        let named = [HeaderName::from_static("x-a")];
        let document = document(&example(), OpaShape::Kong, Some(&named), None);
        let headers = &document["request"]["http"]["headers"];
        assert_eq!(headers, &json!({"x-a": "1, 2"}));
    }
}
