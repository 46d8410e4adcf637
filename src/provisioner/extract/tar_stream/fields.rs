//! Numbers and times as tar headers write them. Pure.

use crate::linux::fs::Time;

/// A header field: octal text, or base 256 with the top bit set (negative ones too). An empty field
/// is zero, as all readers have it.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.first()? {
        first if first & 0x80 != 0 => {
            // 0xff is the sign of a negative number spread over the field.
            let start = if *first == 0xff { -1 } else { i64::from(first & 0x7f) };
            field[1..].iter().try_fold(start, |value: i64, byte| {
                value.checked_mul(256)?.checked_add(i64::from(*byte))
            })
        }
        _ => {
            let text = field.split(|byte| *byte == 0).next()?;
            let text = std::str::from_utf8(text).ok()?.trim();
            if text.is_empty() { Some(0) } else { i64::from_str_radix(text, 8).ok() }
        }
    }
}

/// `SECONDS[.FRACTION]`, possibly negative.
pub(super) fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some(Time { seconds: seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds });
    }
    Some(Time { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256_of_either_sign() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0x01, 0x02]), Some(258));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(b"9999\0"), None);
    }

    #[test]
    fn pax_times_have_nanoseconds_and_may_lie_before_1970() {
        assert_eq!(time(b"12.5"), Some(Time { seconds: 12, nanoseconds: 500_000_000 }));
        assert_eq!(time(b"-1.25"), Some(Time { seconds: -2, nanoseconds: 750_000_000 }));
        assert_eq!(time(b"x"), None);
    }
}
