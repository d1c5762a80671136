//! Writing forms (`multipart/form-data`, RFC 7578).

use std::hash::{BuildHasher, RandomState};

use memchr::memmem;

/// A form that is being written.
#[derive(Default)]
pub(super) struct Form<'a> {
    parts: Vec<(String, &'a [u8])>,
    owned: Vec<(String, Vec<u8>)>,
}

impl<'a> Form<'a> {
    /// Adds a field of text.
    pub(super) fn text(&mut self, name: &'static str, value: impl Into<String>) {
        let head = format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        self.owned.push((head, value.into().into_bytes()));
    }

    /// Adds a file. Its name is ours: a caller's own could end the line that it stands in.
    pub(super) fn file(&mut self, name: &'static str, kind: &'static str, value: &'a [u8]) {
        let end = kind.rsplit('/').next().unwrap_or("bin");
        let head = format!(
            "Content-Disposition: form-data; name=\"{name}\"; filename=\"{name}.{end}\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        self.parts.push((head, value));
    }

    /// Its media type and its bytes.
    pub(super) fn finish(self) -> (String, Vec<u8>) {
        let texts = self.owned.iter().map(|(head, value)| (head, value.as_slice()));
        let all: Vec<(&String, &[u8])> =
            texts.chain(self.parts.iter().map(|(head, value)| (head, *value))).collect();
        let boundary = boundary(|boundary| {
            all.iter().any(|(_, value)| memmem::find(value, boundary.as_bytes()).is_some())
        });
        let length: usize =
            all.iter().map(|(head, value)| head.len() + value.len() + boundary.len() + 6).sum();
        let mut body = Vec::with_capacity(length + boundary.len() + 6);
        for (head, value) in all {
            body.extend_from_slice(format!("--{boundary}\r\n{head}").as_bytes());
            body.extend_from_slice(value);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={boundary}"), body)
    }
}

/// A boundary that is in nothing of what it parts. Nobody can guess it: a caller who could would have all of its sound
/// looked through once for each that stands there.
fn boundary(is_in: impl Fn(&str) -> bool) -> String {
    let mut turn = 0_u64;
    loop {
        let half = || RandomState::new().hash_one(turn);
        let boundary = format!("tidegate-form-{:016x}{:016x}", half(), half());
        if !is_in(&boundary) {
            return boundary;
        }
        turn += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form;

    #[test]
    fn what_is_written_is_read_and_no_value_ends_its_part() {
        let file = b"\r\n--tidegate-form-000000--\r\n\0".to_vec();
        let mut written = Form::default();
        written.text("prompt", "tide\r\n--tidegate-form-000001");
        written.file("image", "image/png", &file);
        let (kind, body) = written.finish();
        let fields = form::fields(&kind, &body).expect("a form");
        let value = |at: usize| body[fields[at].value.clone()].to_vec();
        assert_eq!((value(0), value(1)), (b"tide\r\n--tidegate-form-000001".to_vec(), file));
        assert_eq!((fields[1].name.as_str(), fields[1].kind.as_deref()), ("image", Some("image/png")));
    }

    #[test]
    fn a_boundary_is_another_one_where_it_stands_already_and_no_two_forms_have_the_same() {
        let tried = std::cell::RefCell::new(Vec::new());
        let found = boundary(|one| {
            tried.borrow_mut().push(one.to_owned());
            tried.borrow().len() < 3
        });
        let tried = tried.into_inner();
        assert_eq!((tried.len(), tried.last()), (3, Some(&found)));
        assert!(tried.iter().collect::<std::collections::BTreeSet<_>>().len() == 3, "{tried:?}");
        // What could be guessed could be put in so often that looking for the next takes for ever.
        let kinds: Vec<String> = (0..2).map(|_| Form::default().finish().0).collect();
        assert_ne!(kinds[0], kinds[1]);
    }
}
