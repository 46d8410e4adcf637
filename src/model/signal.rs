//! Signals by name or number, signal(7), as images and operators write them.

/// Names of the signals 1 to 31 without `SIG`, in the numbering of every architecture but Alpha,
/// MIPS, PA-RISC and SPARC, on none of which we run.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The largest real-time signal.
pub(crate) const SIGNAL_MAX: i32 = 64;

/// `SIGTERM`, `TERM`, `term` or `15`; also `RTMIN+N` and `RTMAX-N`, with SIGRTMIN as glibc and musl
/// programs see it (34 and 35 differ by one; 34 is what images mean).
pub fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=SIGNAL_MAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |offset: Option<i32>| offset.filter(|number| (34..=SIGNAL_MAX).contains(number));
    match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(34),
        (Some(plus), _) => {
            realtime(plus.strip_prefix('+').and_then(|n| n.parse::<i32>().ok()).map(|n| 34 + n))
        }
        (_, Some("")) => Some(SIGNAL_MAX),
        (_, Some(minus)) => realtime(
            minus.strip_prefix('-').and_then(|n| n.parse::<i32>().ok()).map(|n| SIGNAL_MAX - n),
        ),
        (None, None) => {
            let position = NAMES.iter().position(|known| *known == name)?;
            i32::try_from(position + 1).ok()
        }
    }
}

/// `SIGTERM` for 15; the number where there is no name.
pub fn signal_name(signal: i32) -> String {
    let index = usize::try_from(signal).ok().and_then(|number| number.checked_sub(1));
    match index.and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => signal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_realtime_signals_are_read() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGWINCH", 28),
            ("SYS", 31),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse_signal(text), Some(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for bad in ["", "0", "65", "-1", "SIG", "SIGNOPE", "RTMIN+99", "RTMIN3"] {
            assert_eq!(parse_signal(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_number_has_its_name() {
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(40), "40");
    }
}
