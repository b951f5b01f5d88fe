//! "Did you mean": the known word nearest to one that is not known.

/// The candidate with the fewest edits, when that is few for the word's length.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).clamp(1, 3);
    let distances = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    distances.min().filter(|(edits, _)| *edits <= most).map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into another; upper and lower case
/// and `-` and `_` are the same.
fn distance(from: &str, to: &str) -> usize {
    let (from, to) = (folded(from), folded(to));
    let mut rows: [Vec<usize>; 3] = [vec![0; to.len() + 1], (0..=to.len()).collect(), vec![0; to.len() + 1]];
    for i in 1..=from.len() {
        rows[2][0] = i;
        for j in 1..=to.len() {
            let replaced = rows[1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = replaced.min(rows[1][j] + 1).min(rows[2][j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[0][j - 2] + 1);
            }
            rows[2][j] = least;
        }
        rows.rotate_left(1);
    }
    rows[1][to.len()]
}

/// Bounded: a key of a megabyte is not compared letter by letter.
fn folded(word: &str) -> Vec<char> {
    word.chars().take(64).map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expected: Option<&str>) {
        let known = ["expr", "step", "keep_labels", "max_delay", "record", "retention"];
        assert_eq!(did_you_mean(word, known), expected, "{word}");
    }

    #[test]
    fn near_words_are_offered_and_far_ones_are_not() {
        check("stpe", Some("step"));
        check("steps", Some("step"));
        check("keepLabels", Some("keep_labels"));
        check("max-delay", Some("max_delay"));
        check("Recrod", Some("record"));
        check("", None);
        check("ab", None);
        check("interval", None);
        check("windows", None);
    }
}
