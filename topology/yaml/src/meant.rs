//! Words that are not there, and those that were meant.

/// How many of those there are that are named.
const NAMED_MAX: usize = 20;

/// `` `a`, `b` ``.
pub(crate) fn in_words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// What was meant by a word: the one of those there are that it differs from in a letter or two, or all of them.
pub(crate) fn meant<'a>(word: &str, there: impl IntoIterator<Item = &'a str>) -> String {
    let mut there: Vec<&str> = there.into_iter().collect();
    there.sort_unstable();
    there.dedup();
    let len = word.chars().count();
    let near = there
        .iter()
        .filter_map(|other| {
            let others = other.chars().count();
            let most = 1 + len.min(others) / 4;
            // What differs in length differs in as many letters.
            let by = (len.abs_diff(others) <= most).then(|| differ(word, other))?;
            (by <= most).then_some((by, *other))
        })
        .min();
    match (near, &there[..]) {
        (Some((_, near)), _) => format!("did you mean `{near}`?"),
        (None, []) => "there is none".to_owned(),
        (None, [one]) => format!("there is `{one}`"),
        (None, all) => {
            let named = in_words(all.iter().copied().take(NAMED_MAX));
            match all.len().saturating_sub(NAMED_MAX) {
                0 => format!("there are {named}"),
                more => format!("there are {named} and {more} more"),
            }
        }
    }
}

/// By how many letters that are changed, left out, put in or exchanged two words differ, whatever their case.
fn differ(one: &str, other: &str) -> usize {
    let letters = |word: &str| -> Vec<char> {
        // Longer words differ, too.
        let same = |c: char| if c == '_' { '-' } else { c.to_ascii_lowercase() };
        word.chars().take(64).map(same).collect()
    };
    let (one, other) = (letters(one), letters(other));
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut by = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                by = by.min(before[j - 1] + 1);
            }
            next.push(by);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_near_is_meant_and_else_all_are_named() {
        let there = ["parse", "parallelism", "split"];
        assert_eq!(meant("paralelism", there), "did you mean `parallelism`?");
        assert_eq!(meant("psrae", there), "did you mean `parse`?");
        assert_eq!(meant("count", there), "there are `parallelism`, `parse`, `split`");
        assert_eq!(meant("sptil", there), "did you mean `split`?");
        assert_eq!(meant("Split", there), "did you mean `split`?");
        assert_eq!(meant("x", ["one"]), "there is `one`");
        assert_eq!(meant("x", []), "there is none");
        assert_eq!(meant(&"ä".repeat(1000), ["b"]), "there is `b`");
    }
}
