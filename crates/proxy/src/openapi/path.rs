//! Paths of a document: which of them a path is, and what stands in their braces.

use std::collections::HashMap;

/// One path with braces, in segments.
#[derive(Debug)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Plain(Box<str>),
    /// Texts and names in turn; a text stands first and last, empty or not.
    Braces {
        texts: Vec<Box<str>>,
        names: Vec<Box<str>>,
    },
}

/// Names in braces, and the texts in their places as they came, escapes included.
pub(super) type Captured<'p> = Vec<(&'p str, &'p str)>;

impl Pattern {
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        let inside = path.strip_prefix('/').ok_or("a path begins with `/`")?;
        let segments: Result<Vec<Segment>, String> = inside.split('/').map(segment).collect();
        Ok(Self { segments: segments? })
    }

    /// Names in its braces.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.segments
            .iter()
            .flat_map(|segment| match segment {
                Segment::Plain(_) => &[][..],
                Segment::Braces { names, .. } => names,
            })
            .map(|name| &**name)
    }

    fn fits<'p>(&'p self, segments: &[&'p str]) -> Option<Captured<'p>> {
        let mut captured = Vec::new();
        if self.segments.len() != segments.len() {
            return None;
        }
        for (own, other) in self.segments.iter().zip(segments) {
            match own {
                Segment::Plain(text) if **text == **other => {}
                Segment::Plain(_) => return None,
                Segment::Braces { texts, names } => capture(texts, names, other, &mut captured)?,
            }
        }
        Some(captured)
    }

    /// Concrete paths come before those with braces, segment by segment.
    fn rank(&self) -> Vec<bool> {
        self.segments.iter().map(|segment| matches!(segment, Segment::Braces { .. })).collect()
    }
}

fn segment(text: &str) -> Result<Segment, String> {
    if !text.contains(['{', '}']) {
        return Ok(Segment::Plain(text.into()));
    }
    let (mut texts, mut names) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').ok_or_else(|| format!("`{text}` lacks a `}}`"))?;
        if name.is_empty() || before.contains('}') {
            return Err(format!("`{text}` has braces around nothing"));
        }
        if before.is_empty() && !texts.is_empty() {
            return Err(format!("`{text}` has nothing between two pairs of braces"));
        }
        texts.push(before.into());
        names.push(name.into());
        rest = behind;
    }
    texts.push(rest.into());
    Ok(Segment::Braces { texts, names })
}

fn capture<'p>(
    texts: &[Box<str>],
    names: &'p [Box<str>],
    segment: &'p str,
    out: &mut Captured<'p>,
) -> Option<()> {
    let (first, others) = texts.split_first()?;
    let mut rest = segment.strip_prefix(&**first)?;
    for (at, (name, text)) in names.iter().zip(others).enumerate() {
        let end = match at + 1 == names.len() {
            true => rest.len().checked_sub(text.len()).filter(|_| rest.ends_with(&**text))?,
            false => rest.find(&**text)?,
        };
        if end == 0 {
            return None;
        }
        out.push((name, rest.get(..end)?));
        rest = rest.get(end + text.len()..)?;
    }
    Some(())
}

/// Patterns, found by a path: by the number of segments and the first of them.
#[derive(Debug, Default)]
pub(super) struct Paths {
    buckets: HashMap<(usize, Box<str>), Bucket>,
}

/// Patterns and what each stands for.
type Bucket = Vec<(Pattern, usize)>;

impl Paths {
    /// Of patterns and what each stands for.
    pub(super) fn new(patterns: Vec<(Pattern, usize)>) -> Self {
        let mut paths = Self::default();
        for (pattern, at) in patterns {
            let first = match pattern.segments.first() {
                Some(Segment::Plain(text)) => text.clone(),
                _ => "{}".into(),
            };
            paths.buckets.entry((pattern.segments.len(), first)).or_default().push((pattern, at));
        }
        for bucket in paths.buckets.values_mut() {
            bucket.sort_by_key(|(pattern, _)| pattern.rank());
        }
        paths
    }

    /// What a path stands for, with what it captures.
    pub(super) fn find<'p>(&'p self, path: &'p str) -> Option<(usize, Captured<'p>)> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let first: Box<str> = (*segments.first()?).into();
        [first, "{}".into()].into_iter().find_map(|first| {
            let bucket = self.buckets.get(&(segments.len(), first))?;
            bucket.iter().find_map(|(pattern, at)| Some((*at, pattern.fits(&segments)?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[&str], path: &str) -> Option<(usize, String)> {
        let parse = |(at, text): (usize, &&str)| (Pattern::parse(text).expect("a path"), at);
        let paths = Paths::new(patterns.iter().enumerate().map(parse).collect());
        let (at, captured) = paths.find(path)?;
        let told: Vec<String> = captured.iter().map(|(name, text)| format!("{name}={text}")).collect();
        Some((at, told.join(",")))
    }

    #[test]
    fn the_most_concrete_path_is_found() {
        let all = ["/pets/{id}", "/pets/mine", "/{kind}/{id}", "/report.{format}", "/a/{x}-{y}/z", "/"];
        for (path, want) in [
            ("/pets/mine", Some((1, ""))),
            ("/pets/5%2F6", Some((0, "id=5%2F6"))),
            ("/dogs/5", Some((2, "kind=dogs,id=5"))),
            ("/report.pdf", Some((3, "format=pdf"))),
            ("/report.", None),
            ("/a/1-2-3/z", Some((4, "x=1,y=2-3"))),
            ("/", Some((5, ""))),
            ("/pets/", None),
            ("/pets/5/", None),
            ("/pets", None),
        ] {
            assert_eq!(found(&all, path), want.map(|(at, told)| (at, told.to_owned())), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["pets", "/{", "/{}", "/{a}{b}", "/a}b{c}"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
