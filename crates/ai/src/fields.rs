//! Reading JSON objects without losing anything: known fields are taken out one by one, and what is left at the end
//! is what nobody knew.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::canon::{Error, Extra};

/// The fields of one JSON object, and where it stands in its document (`messages[2].`, with the dot; empty at the
/// top).
pub(crate) struct Fields {
    map: Map<String, Value>,
    place: String,
    both: bool,
}

impl Fields {
    /// A whole document.
    pub(crate) fn document(bytes: &[u8]) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            Error::new(crate::canon::ErrorKind::Invalid, format!("the body is not JSON: {error}"))
        })?;
        match value {
            Value::Object(map) => Ok(Self { map, place: String::new(), both: false }),
            other => Err(Error::new(
                crate::canon::ErrorKind::Invalid,
                format!("the body must be a JSON object, not {}", kind(&other)),
            )),
        }
    }

    /// The object at a place such as `messages[2]`.
    pub(crate) fn at(value: Value, place: &str) -> Result<Self, Error> {
        match value {
            Value::Object(map) => Ok(Self { map, place: format!("{place}."), both: false }),
            other => Err(expected(place, "an object", &other)),
        }
    }

    /// Fields are asked for in camel case, and found in snake case too, here and in the objects within: as servers
    /// read JSON that stands for protocol buffers.
    pub(crate) fn in_both_spellings(mut self) -> Self {
        self.both = true;
        self
    }

    /// The object at a place within this one, read with the same spellings.
    fn within(&self, value: Value, place: &str) -> Result<Self, Error> {
        Ok(Self { both: self.both, ..Self::at(value, place)? })
    }

    /// The spelling in which a field is there.
    fn spelled<'a>(&self, key: &'a str) -> Cow<'a, str> {
        if self.both && !self.map.contains_key(key) && key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Cow::Owned(snake_case(key));
        }
        Cow::Borrowed(key)
    }

    /// A field's place in its document.
    pub(crate) fn place(&self, key: &str) -> String {
        format!("{}{key}", self.place)
    }

    /// Takes a field, whatever it is. `null` is as good as absent: most SDKs write it for what was not set.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(&*self.spelled(key)).filter(|value| !value.is_null())
    }

    /// Puts a field back, that turned out to be somebody else's.
    pub(crate) fn put(&mut self, key: &str, value: Value) {
        self.map.insert(key.to_owned(), value);
    }

    /// Whether a field is there and not `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.get(&*self.spelled(key)).is_some_and(|value| !value.is_null())
    }

    /// A field's text, without taking it.
    pub(crate) fn peek_text(&self, key: &str) -> Option<&str> {
        self.map.get(&*self.spelled(key)).and_then(Value::as_str)
    }

    /// A field, without taking it.
    pub(crate) fn peek(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(expected(&self.place(key), "a string", &other)),
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, key: &str) -> Result<String, Error> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number.
    pub(crate) fn number(&mut self, key: &str) -> Result<Option<f64>, Error> {
        self.scalar(key, "a number", Value::as_f64)
    }

    /// A number of things. `4096.0` is one as well.
    pub(crate) fn count(&mut self, key: &str) -> Result<Option<u64>, Error> {
        self.scalar(key, "a non-negative integer", |value| {
            value.as_u64().or_else(|| {
                let float =
                    value.as_f64().filter(|float| float.fract() == 0.0 && (0.0..9e15).contains(float));
                float.map(|float| float as u64)
            })
        })
    }

    /// A signed integer.
    pub(crate) fn integer(&mut self, key: &str) -> Result<Option<i64>, Error> {
        self.scalar(key, "an integer", Value::as_i64)
    }

    /// A truth value.
    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>, Error> {
        self.scalar(key, "true or false", Value::as_bool)
    }

    fn scalar<T>(
        &mut self,
        key: &str,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| expected(&self.place(key), what, &value)),
        }
    }

    /// A list; absent is empty.
    pub(crate) fn list(&mut self, key: &str) -> Result<Vec<Value>, Error> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(expected(&self.place(key), "an array", &other)),
        }
    }

    /// A list of objects, each with its place.
    pub(crate) fn objects(&mut self, key: &str) -> Result<Vec<Fields>, Error> {
        let items = self.list(key)?;
        let object = |(index, item)| self.within(item, &format!("{}{key}[{index}]", self.place));
        items.into_iter().enumerate().map(object).collect()
    }

    /// A list of texts, or one text alone.
    pub(crate) fn texts(&mut self, key: &str) -> Result<Vec<String>, Error> {
        if let Some(text) = self.peek_text(key).map(str::to_owned) {
            self.take(key);
            return Ok(vec![text]);
        }
        let items = self.list(key)?;
        let text = |(index, item)| match item {
            Value::String(text) => Ok(text),
            other => Err(expected(&format!("{}{key}[{index}]", self.place), "a string", &other)),
        };
        items.into_iter().enumerate().map(text).collect()
    }

    /// An object's fields.
    pub(crate) fn object(&mut self, key: &str) -> Result<Option<Fields>, Error> {
        self.take(key).map(|value| self.within(value, &self.place(key))).transpose()
    }

    /// A map of anything; absent is empty.
    pub(crate) fn map(&mut self, key: &str) -> Result<Map<String, Value>, Error> {
        match self.take(key) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(other) => Err(expected(&self.place(key), "an object", &other)),
        }
    }

    /// What nobody took: it goes to the caller's own fields, each under its place.
    pub(crate) fn rest(self, extra: &mut Extra) {
        for (key, value) in self.map {
            if !value.is_null() {
                extra.push((format!("{}{key}", self.place), value));
            }
        }
    }

    /// Everything as it stands.
    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.map)
    }

    /// A field that must be there is not.
    pub(crate) fn missing(&self, key: &str) -> Error {
        let place = self.place(key);
        Error::invalid(place.clone(), format!("`{place}` is required"))
    }

    /// A field has a value that nobody knows.
    pub(crate) fn unknown(&self, key: &str, found: &str, known: &str) -> Error {
        let place = self.place(key);
        Error::invalid(place.clone(), format!("`{place}`: `{found}` is not known here; expected {known}"))
    }
}

/// `maxOutputTokens` as `max_output_tokens`.
fn snake_case(key: &str) -> String {
    let mut snake = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn expected(place: &str, what: &str, found: &Value) -> Error {
    Error::invalid(place, format!("`{place}` must be {what}, not {}", kind(found)))
}

/// What kind of JSON a value is, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
