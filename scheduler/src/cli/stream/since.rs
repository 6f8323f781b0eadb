//! A time in the past, as one types it: so long ago, or milliseconds since 1970.

/// Since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Since {
    /// So many milliseconds ago.
    Ago(u64),
    /// At this many milliseconds since 1970.
    At(u64),
}

impl Since {
    /// In milliseconds since 1970.
    pub(in crate::cli) fn ms(self, now_ms: u64) -> u64 {
        match self {
            Since::Ago(ms) => now_ms.saturating_sub(ms),
            Since::At(ms) => ms,
        }
    }
}

/// Reads `90s`, `15m`, `2h`, `7d` or a number of milliseconds since 1970.
pub(in crate::cli) fn since(text: &str) -> Result<Since, String> {
    let wrong =
        || format!("`{text}` is no time: give 90s, 15m, 2h or 7d ago, or milliseconds since 1970");
    let unit_ms = match text.chars().last() {
        Some('s') => 1000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => return text.parse().map(Since::At).map_err(|_| wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    count.checked_mul(unit_ms).map(Since::Ago).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_typed() {
        let read = |text: &str| since(text).map(|since| since.ms(1_000_000_000));
        assert_eq!(read("90s"), Ok(1_000_000_000 - 90_000));
        assert_eq!(read("2h"), Ok(1_000_000_000 - 7_200_000));
        assert_eq!(read("365000d"), Ok(0), "before 1970 is everything");
        assert_eq!(read("1764113000000"), Ok(1_764_113_000_000));
        for bad in ["", "m", "-1h", "yesterday", "5w", "1.5h", "99999999999999999999d", "é"] {
            assert!(read(bad).unwrap_err().contains("is no time"), "{bad}");
        }
    }
}
