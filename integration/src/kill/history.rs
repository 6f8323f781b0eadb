//! The output stream as it ended, and what must hold of it.

use std::collections::BTreeMap;

/// One record of the output: where it stands, its key, its running count.
pub type Rows = BTreeMap<(u32, egret_schemas::Position), (Vec<u8>, u64)>;

/// Where the running count of a key does not rise: an input counted twice, or output repeated.
pub fn repeats(rows: &Rows) -> Vec<String> {
    let mut last: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut found = Vec::new();
    for ((partition, position), (key, count)) in rows {
        let before = last.insert(key, *count);
        if before.is_some_and(|before| *count <= before) {
            found.push(format!(
                "partition {partition} {position}: {} went from {} to {count}",
                key.escape_ascii(),
                before.unwrap_or_default()
            ));
        }
    }
    found
}

/// What a reader saw and the stream does not hold: it was shown something uncommitted.
pub fn unkept(seen: &Rows, rows: &Rows) -> Vec<String> {
    seen.iter()
        .filter(|(at, row)| rows.get(at) != Some(row))
        .map(|((partition, position), (key, count))| {
            format!("partition {partition} {position}: {} = {count}", key.escape_ascii())
        })
        .collect()
}

/// The last count of each key, as `count<TAB>word` ordered by word bytes.
pub fn totals(rows: &Rows) -> Vec<u8> {
    let last: BTreeMap<&Vec<u8>, u64> = rows.values().map(|(key, count)| (key, *count)).collect();
    let mut out = Vec::new();
    for (key, count) in last {
        out.extend_from_slice(count.to_string().as_bytes());
        out.push(b'\t');
        out.extend_from_slice(key);
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::{EntryId, Position, SegmentId};

    fn rows(counts: &[u64]) -> Rows {
        let at = |e: u64| Position { segment: SegmentId(1), entry: EntryId(e), slot: 0 };
        (0..).zip(counts).map(|(e, n)| ((0, at(e)), (b"a".to_vec(), *n))).collect()
    }

    #[test]
    fn a_count_that_does_not_rise_is_a_repeat() {
        assert!(repeats(&rows(&[1, 2, 5])).is_empty());
        assert_eq!(repeats(&rows(&[1, 2, 2])).len(), 1);
        assert_eq!(repeats(&rows(&[3, 1])).len(), 1);
    }

    #[test]
    fn what_was_seen_must_stay() {
        assert!(unkept(&rows(&[1]), &rows(&[1, 2])).is_empty());
        assert_eq!(unkept(&rows(&[1, 3]), &rows(&[1, 2])).len(), 1);
        assert_eq!(unkept(&rows(&[1, 2]), &rows(&[1])).len(), 1);
    }

    #[test]
    fn totals_are_last_counts() {
        assert_eq!(totals(&rows(&[1, 7])), b"7\ta\n");
    }
}
