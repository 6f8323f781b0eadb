//! Lengths of time as they are written: `250ms`, `5s`, `1m`, `2h`.

use std::time::Duration;

/// Reads one.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(ms)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_a_unit() {
        for (text, ms) in [("250ms", 250), ("5 s", 5000), ("1m", 60_000), ("2h", 7_200_000)] {
            assert_eq!(span(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["5", "s", "-5s", "5d", "99999999999999999999s", "18446744073709551615h", ""] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
