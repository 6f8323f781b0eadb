//! Percent-encoding, as strictly as a key wants it: what decodes to something else than was meant finds another key.

/// Whether `text` decodes to a text, byte for byte.
///
/// # Errors
/// With what is wrong in this `part` of a request, and what to write instead.
pub(crate) fn check(part: &str, text: &str) -> Result<(), String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        rest = more;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.split_at_checked(2).and_then(|(digits, more)| {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            Some((u8::try_from(digit(0)? * 16 + digit(1)?).ok()?, more))
        });
        let Some((byte, more)) = digits else {
            let there = String::from_utf8_lossy(&rest[..rest.len().min(2)]);
            return Err(format!(
                "`%{there}` in the {part} stands for no byte: write %25 for a percent sign, and two hexadecimal \
                 digits after it for any other byte"
            ));
        };
        bytes.push(byte);
        rest = more;
    }
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(()),
        Err(why) => Err(format!(
            "the {part} is no text behind its byte {}: encode UTF-8, and write a key that is bytes in hexadecimal \
             with 0x before",
            why.valid_up_to()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decodes_to_a_text_passes() {
        for text in ["", "a/b", "100%25", "%c3%A4", "from=%26&limit=1", "\u{e4}"] {
            assert_eq!(check("path", text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_would_be_read_as_something_else_is_refused_with_what_to_write() {
        for (text, there) in [("a%zzb", "`%zz`"), ("%", "`%`"), ("x=%4", "`%4`"), ("%+1", "`%+1`")]
        {
            let why = check("query", text).unwrap_err();
            assert!(
                why.contains(there) && why.contains("in the query stands for no byte"),
                "{why}"
            );
            assert!(why.contains("write %25 for a percent sign"), "{why}");
        }
        for (text, at) in [("%ff", 0), ("ab%c3%28", 2), ("from=%ff&x=1", 5)] {
            let why = check("path", text).unwrap_err();
            assert!(why.contains(&format!("behind its byte {at}:")), "{why}");
            assert!(why.contains("in hexadecimal with 0x before"), "{why}");
        }
    }
}
