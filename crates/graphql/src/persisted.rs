//! Documents that are known by their ids: a list that an operator made, and those that clients have sent before.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::{
    document::Document,
    limits::Limits,
    refusal::{Code, Refusal},
};

/// A SHA-256.
pub type Hash = [u8; 32];

/// A document and its text.
#[derive(Debug)]
pub struct Known {
    /// The text.
    pub text: Box<str>,
    /// What it says.
    pub document: Document,
}

/// The SHA-256 of a text.
pub fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// A SHA-256 from its 64 hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(hash)
}

/// A list of documents.
#[derive(Debug, Default)]
pub struct List {
    ids: HashMap<Box<str>, Arc<Known>, foldhash::fast::RandomState>,
    texts: HashMap<Hash, Arc<Known>, foldhash::fast::RandomState>,
}

impl List {
    /// Reads a list: Apollo's manifest (`apollo-persisted-query-manifest`), or an object of texts by their ids.
    ///
    /// # Errors
    /// What is wrong with it, for the operator.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
        let Some(object) = value.as_object() else { return Err("expected an object".into()) };
        let mut entries: Vec<(&str, &str)> = Vec::new();
        match object.get("format") {
            Some(format) => {
                if format != "apollo-persisted-query-manifest" {
                    return Err(format!(
                        "its `format` is {format}; expected `apollo-persisted-query-manifest`"
                    ));
                }
                let all = object.get("operations").and_then(|all| all.as_array());
                for one in all.ok_or("it has no list of `operations`")? {
                    let member = |name: &str| one.get(name).and_then(|value| value.as_str());
                    match (member("id"), member("body")) {
                        (Some(id), Some(body)) => entries.push((id, body)),
                        _ => return Err("an operation has no `id` or no `body`".into()),
                    }
                }
            }
            None => {
                for (id, text) in object {
                    let text = text.as_str().ok_or_else(|| format!("`{id}` is no text"))?;
                    entries.push((id, text));
                }
            }
        }
        let mut list = Self::default();
        for (id, text) in entries {
            let document =
                Document::parse(text, limits).map_err(|error| format!("`{id}`: {}", error.message))?;
            let known = Arc::new(Known { text: text.into(), document });
            if list.ids.insert(id.into(), known.clone()).is_some() {
                return Err(format!("`{id}` is there twice"));
            }
            list.texts.insert(hash(text), known);
        }
        Ok(list)
    }

    /// The document of an id; it may have `sha256:` before it.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Known>> {
        self.ids.get(id).or_else(|| self.ids.get(id.strip_prefix("sha256:")?))
    }

    /// The document of this text, byte for byte.
    pub fn by_text(&self, text: &str) -> Option<&Arc<Known>> {
        self.texts.get(&hash(text)).filter(|known| *known.text == *text)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Documents that clients have sent with their hashes, within a bound of bytes.
#[derive(Debug)]
pub struct Store {
    bytes_max: usize,
    generations: Mutex<Generations>,
}

/// Two generations: what is used goes to the young one, and when that is full the old one is forgotten.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Hash, Arc<Known>, foldhash::fast::RandomState>,
    old: HashMap<Hash, Arc<Known>, foldhash::fast::RandomState>,
    young_bytes: usize,
}

impl Store {
    /// A store of at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, generations: Mutex::default() }
    }

    /// A document by its hash.
    pub fn get(&self, hash: &Hash) -> Option<Arc<Known>> {
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.young.get(hash) {
            return Some(known.clone());
        }
        let known = all.old.remove(hash)?;
        self.put(&mut all, *hash, known.clone());
        Some(known)
    }

    /// Keeps a document, when it is that of the hash, and tells whether it was new.
    ///
    /// # Errors
    /// It is not.
    pub fn insert(&self, wanted: &Hash, known: Arc<Known>) -> Result<bool, Refusal> {
        verify(wanted, &known.text)?;
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if all.young.contains_key(wanted) {
            return Ok(false);
        }
        let is_new = all.old.remove(wanted).is_none();
        self.put(&mut all, *wanted, known);
        Ok(is_new)
    }

    fn put(&self, all: &mut Generations, hash: Hash, known: Arc<Known>) {
        let bytes = weight(&known);
        if bytes > self.bytes_max / 2 {
            return;
        }
        if all.young_bytes + bytes > self.bytes_max / 2 {
            all.old = std::mem::take(&mut all.young);
            all.young_bytes = 0;
        }
        all.young_bytes += bytes;
        all.young.insert(hash, known);
    }

    /// How many documents it has, and the bytes that they take.
    pub fn size(&self) -> (usize, usize) {
        let all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let old: usize = all.old.values().map(|known| weight(known)).sum();
        (all.young.len() + all.old.len(), all.young_bytes + old)
    }
}

fn weight(known: &Known) -> usize {
    known.text.len() + known.document.weight()
}

/// Whether a text is that of a hash.
///
/// # Errors
/// It is not.
pub fn verify(wanted: &Hash, text: &str) -> Result<(), Refusal> {
    match hash(text) == *wanted {
        true => Ok(()),
        false => Err(Refusal::new(Code::HashMismatch, "provided sha does not match query")),
    }
}
