//! What of an answer came by, for when nobody tells how many tokens it has.

/// Bytes of text that are kept until they are counted.
const KEPT_BYTES_MAX: usize = 4096;

/// Counts tokens as one model's vocabulary has them.
pub trait CountsTokens: Send + Sync + std::fmt::Debug {
    /// Of the prompt.
    fn prompt(&self) -> u64;

    /// Of a text of the answer.
    fn text(&self, text: &str) -> u64;

    /// The same where it is likely that nobody will ask: it may be less exact, and must be cheap.
    fn passing(&self, text: &str) -> u64;
}

/// What of an answer came by: its end as text, what was before it counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    counted: u64,
    counted_bytes: u64,
    text: String,
}

impl Heard {
    /// Hears more. What is kept is bounded.
    pub(super) fn push(&mut self, text: &str, counter: Option<&dyn CountsTokens>) {
        self.text.push_str(text);
        if self.text.len() > KEPT_BYTES_MAX {
            // Vocabularies cut before the blank that a word begins with.
            let end = self.text.rfind(char::is_whitespace).filter(|end| *end > 0).unwrap_or(self.text.len());
            let counted = self.text.get(..end).map_or(0, |text| counter.map_or(0, |one| one.passing(text)));
            self.counted = self.counted.saturating_add(counted);
            self.counted_bytes = self.counted_bytes.saturating_add(end as u64);
            self.text.drain(..end);
        }
    }

    /// Bytes of it all.
    pub(super) fn bytes(&self) -> u64 {
        self.counted_bytes.saturating_add(self.text.len() as u64)
    }

    /// Tokens of it all, as cheaply as it goes.
    pub(super) fn about(&self, counter: Option<&dyn CountsTokens>) -> u64 {
        self.counted.saturating_add(counter.map_or(0, |one| one.passing(&self.text)))
    }

    /// Tokens of it all.
    pub(super) fn tokens(&self, counter: Option<&dyn CountsTokens>) -> u64 {
        if self.text.is_empty() {
            return self.counted;
        }
        self.counted.saturating_add(counter.map_or(0, |one| one.text(&self.text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token is a word, with the blank before it.
    #[derive(Debug)]
    struct Words;

    impl CountsTokens for Words {
        fn prompt(&self) -> u64 {
            0
        }

        fn text(&self, text: &str) -> u64 {
            text.split_whitespace().count() as u64
        }

        fn passing(&self, text: &str) -> u64 {
            self.text(text)
        }
    }

    #[test]
    fn a_long_answer_is_counted_as_it_goes_and_no_word_is_cut() {
        let mut heard = Heard::default();
        for at in 0..100_000 {
            heard.push(if at % 7 == 6 { "d wö" } else { "r" }, Some(&Words));
            assert!(heard.text.len() <= KEPT_BYTES_MAX + 8);
        }
        assert_eq!(heard.tokens(Some(&Words)), 100_000 / 7 + 1);
        assert_eq!(heard.bytes(), 100_000 / 7 * 11 + 5);
        let mut endless = Heard::default();
        (0..5000).for_each(|_| endless.push("日本", Some(&Words)));
        assert!(endless.text.len() <= KEPT_BYTES_MAX);
    }
}
