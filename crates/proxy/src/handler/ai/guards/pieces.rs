//! A long text in pieces that overlap, for those who judge elsewhere: each sees as much as it can take, and all of it is
//! seen.

/// Bytes of a piece. A model that judges must have room for it.
pub(super) const PIECE_BYTES: usize = 128 * 1024;
/// Bytes that two pieces share, so that what stands across a cut stands whole in one of them.
const OVERLAP_BYTES: usize = 2 * 1024;

/// The pieces of a text, in order; a short one is one piece.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    of(text, PIECE_BYTES, OVERLAP_BYTES)
}

fn of(text: &str, size: usize, overlap: usize) -> impl Iterator<Item = &str> {
    let mut next = Some(0_usize);
    std::iter::from_fn(move || {
        let from = next.take()?;
        let to = text.floor_char_boundary(from.saturating_add(size));
        if to < text.len() {
            // A piece goes on by more than it repeats.
            next = Some(text.floor_char_boundary(to.saturating_sub(overlap)).max(from + 1));
        }
        text.get(from..to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stretch_of_a_text_stands_whole_in_a_piece() {
        for text in ["", "short", "äöü-€uro-", "the quick brown fox jumps over the lazy dog, ünd sö weiter"]
        {
            let all: Vec<&str> = of(text, 16, 8).collect();
            assert!(all.iter().all(|piece| piece.len() <= 16) && !all.is_empty(), "{all:?}");
            let letters: Vec<(usize, char)> = text.char_indices().collect();
            for window in letters.windows(3) {
                let (from, (at, last)) = (window[0].0, window[2]);
                let stretch = &text[from..at + last.len_utf8()];
                assert!(all.iter().any(|piece| piece.contains(stretch)), "{stretch} in {all:?}");
            }
        }
    }
}
