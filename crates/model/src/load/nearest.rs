//! The known name that is nearest to an unknown one.

/// Names that are longer are not compared: the work grows with the square.
const COMPARED_LENGTH_MAX: usize = 64;

/// The nearest of `known` when it is near enough to be meant.
pub fn nearest<'k>(unknown: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let unknown = unknown.to_lowercase();
    if unknown.len() > COMPARED_LENGTH_MAX {
        return None;
    }
    let near = (unknown.chars().count() / 3).max(1);
    let candidates = known.into_iter().filter(|name| name.len() <= COMPARED_LENGTH_MAX);
    let distances = candidates.map(|name| (distance(&unknown, &name.to_lowercase()), name));
    distances
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Optimal string alignment: insert, delete, replace, swap neighbours.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replace = rows[i][j] + usize::from(a != b);
            let mut best = replace.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unknown: &str, want: Option<&str>) {
        assert_eq!(nearest(unknown, ["limit", "window", "burst", "key"]), want, "{unknown}");
    }

    #[test]
    fn a_near_name_is_offered_and_a_far_one_is_not() {
        check("limt", Some("limit"));
        check("Limit", Some("limit"));
        check("widnow", Some("window"));
        check("keys", Some("key"));
        check("ratelimiter", None);
        check("", None);
    }
}
