//! Reads YAML into a tree, within bounds of depth and of what aliases may expand to.

use std::{borrow::Cow, collections::HashMap, iter::Peekable};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};
use serde_json::Number;

use super::tree::{Entry, Kind, Node};
use crate::diagnostic::{Diagnostic, Diagnostics, Place};

/// Lists and mappings inside of each other.
const DEPTH_MAX: usize = 64;
/// Nodes that aliases may add to a document.
const ALIASED_NODES_MAX: usize = 100_000;
/// Bytes of a source: places are 32 bits wide.
const SOURCE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a source says.
#[derive(Default)]
pub(crate) struct Parsed {
    /// The tree; none when the source is empty or cannot be read at all.
    pub(crate) tree: Option<Node>,
    /// Values under keys that are there twice, which are in no tree.
    pub(crate) dropped: Vec<Node>,
    /// It could not be read to its end, so that nobody knows what its parts are.
    pub(crate) is_broken: bool,
}

/// Reads a source.
pub(crate) fn parse(source: u32, text: &str, found: &mut Diagnostics) -> Parsed {
    if text.len() > SOURCE_BYTES_MAX {
        found.push(Diagnostic::error("", format!("a file has at most {SOURCE_BYTES_MAX} bytes")));
        return Parsed { is_broken: true, ..Parsed::default() };
    }
    let offsets = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at as u32).collect());
    let events = Events { parser: Parser::new_from_str(text), failed: false }.peekable();
    let mut reader = Reader {
        source,
        length: text.len() as u32,
        offsets,
        events,
        anchors: HashMap::new(),
        aliased: 0,
        dropped: Vec::new(),
        found,
    };
    let read = reader.document();
    let dropped = std::mem::take(&mut reader.dropped);
    match read {
        Ok(tree) => Parsed { tree, dropped, is_broken: false },
        Err(wrong) => {
            found.push(*wrong);
            Parsed { tree: None, dropped, is_broken: true }
        }
    }
}

/// Why a text cannot be read any further.
type Refusal = Box<Diagnostic>;

/// The parser's events up to the first error.
struct Events<'t> {
    parser: Parser<'t, StrInput<'t>>,
    failed: bool,
}

type Read<'t> = Result<(Event<'t>, Span), (String, Marker)>;

impl<'t> Iterator for Events<'t> {
    type Item = Read<'t>;

    fn next(&mut self) -> Option<Read<'t>> {
        if self.failed {
            return None;
        }
        let event = self.parser.next_event()?;
        self.failed = event.is_err();
        Some(event.map_err(|wrong| (wrong.info().to_owned(), *wrong.marker())))
    }
}

struct Reader<'t, 'd> {
    source: u32,
    length: u32,
    /// Byte of each character, unless all characters are bytes.
    offsets: Option<Vec<u32>>,
    events: Peekable<Events<'t>>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    dropped: Vec<Node>,
    found: &'d mut Diagnostics,
}

impl<'t> Reader<'t, '_> {
    fn document(&mut self) -> Result<Option<Node>, Refusal> {
        let mut tree = None;
        while let Some(read) = self.events.peek() {
            match read {
                Ok((
                    Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing,
                    _,
                )) => {
                    self.next()?;
                }
                Ok((Event::StreamEnd, _)) => break,
                Ok((_, span)) if tree.is_some() => {
                    let span = *span;
                    let place = self.place(span);
                    let wrong = Diagnostic::error("", "expected one YAML document, found a second one");
                    return Err(wrong.at(place).help("put it into a file of its own").into());
                }
                _ => tree = Some(self.node(0)?),
            }
        }
        Ok(tree)
    }

    fn next(&mut self) -> Result<(Event<'t>, Place), Refusal> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, self.place(span))),
            Some(Err((wrong, mark))) => {
                let place = self.character(mark.index());
                Err(Diagnostic::error("", format!("not valid YAML: {wrong}")).at(place).into())
            }
            None => Err(Diagnostic::error("", "not valid YAML: the text ends too early").into()),
        }
    }

    fn offset(&self, character: usize) -> u32 {
        match &self.offsets {
            Some(offsets) => offsets.get(character).copied().unwrap_or(self.length),
            None => (character as u32).min(self.length),
        }
    }

    /// The place of one character; of the last one when the index is beyond it.
    fn character(&self, index: usize) -> Place {
        let last = match &self.offsets {
            Some(offsets) => offsets.len().saturating_sub(1),
            None => (self.length as usize).saturating_sub(1),
        };
        let index = index.min(last);
        Place { source: self.source, start: self.offset(index), end: self.offset(index + 1) }
    }

    fn place(&self, span: Span) -> Place {
        let start = self.offset(span.start.index());
        Place { source: self.source, start, end: self.offset(span.end.index()).max(start) }
    }

    fn node(&mut self, depth: usize) -> Result<Node, Refusal> {
        let (event, place) = self.next()?;
        if depth > DEPTH_MAX {
            return Err(Diagnostic::error("", format!("nested deeper than {DEPTH_MAX} levels"))
                .at(place)
                .into());
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let node = Node::new(scalar(text, style), place);
                Ok(self.anchored(anchor, node))
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let node = self.list(place, depth)?;
                Ok(self.anchored(anchor, node))
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), place);
                let node = self.map(place, depth)?;
                Ok(self.anchored(anchor, node))
            }
            Event::Alias(anchor) => self.alias(anchor, place),
            _ => Err(Diagnostic::error("", "not valid YAML: expected a value").at(place).into()),
        }
    }

    fn list(&mut self, start: Place, depth: usize) -> Result<Node, Refusal> {
        let mut items = Vec::new();
        while !matches!(self.events.peek(), Some(Ok((Event::SequenceEnd, _)))) {
            let mut item = self.node(depth + 1)?;
            item.index = items.len();
            items.push(item);
        }
        let (_, end) = self.next()?;
        Ok(Node::new(Kind::List(items), Place { end: end.end, ..start }))
    }

    fn map(&mut self, start: Place, depth: usize) -> Result<Node, Refusal> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Place> = HashMap::new();
        while !matches!(self.events.peek(), Some(Ok((Event::MappingEnd, _)))) {
            let (event, place) = self.next()?;
            let Event::Scalar(key, ..) = event else {
                return Err(Diagnostic::error("", "expected a plain text as the key of a mapping")
                    .at(place)
                    .into());
            };
            let key = key.into_owned();
            let value = self.node(depth + 1)?;
            if let Some(first) = seen.get(&key) {
                let mut twice = Diagnostic::error("", format!("the key `{key}` is there twice")).at(place);
                twice.other = Some((*first, "first here".to_owned()));
                self.found.push(twice);
                self.dropped.push(value);
                continue;
            }
            seen.insert(key.clone(), place);
            entries.push(Entry { key, place, value });
        }
        let (_, end) = self.next()?;
        Ok(Node::new(Kind::Map(entries), Place { end: end.end, ..start }))
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Node, Refusal> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Diagnostic::error("", "this alias stands inside of its own anchor").at(place).into());
        };
        self.aliased = self.aliased.saturating_add(node.count());
        if self.aliased > ALIASED_NODES_MAX {
            let wrong = format!("aliases expand to more than {ALIASED_NODES_MAX} values");
            return Err(Diagnostic::error("", wrong).at(place).into());
        }
        Ok(node.clone())
    }

    fn anchored(&mut self, anchor: usize, node: Node) -> Node {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        node
    }

    fn refuse_tag(&mut self, tagged: bool, place: Place) {
        if tagged {
            self.found.push(Diagnostic::error("", "YAML tags are not used here").at(place));
        }
    }
}

/// A scalar by YAML's core schema; quoted ones are always texts.
fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Kind {
    if style != ScalarStyle::Plain {
        return Kind::Text(text.into_owned());
    }
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        _ => {}
    }
    number(&text).map_or_else(|| Kind::Text(text.into_owned()), Kind::Number)
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let plain = text.strip_prefix('+').unwrap_or(text);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return plain
            .parse::<u64>()
            .map(Number::from)
            .or_else(|_| plain.parse::<i64>().map(Number::from))
            .ok();
    }
    let fraction = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    fraction.then(|| plain.parse().ok().and_then(Number::from_f64)).flatten()
}
