//! How long work is shown: a bar for each layer on a terminal, lines if asked for, else nothing, so
//! that the stderr of a failed command is its one error line.

use std::collections::HashMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use longshore::model::Digest;

use super::args::ProgressKind;

/// Shows how far layers have come. May be told from any thread.
pub(crate) enum Progress {
    Nothing,
    /// One line when a layer begins, and one for each tenth of it.
    Lines(Mutex<HashMap<Digest, u64>>),
    Bars(MultiProgress, Mutex<HashMap<Digest, ProgressBar>>),
}

impl Progress {
    pub(crate) fn new(kind: ProgressKind) -> Self {
        match kind {
            ProgressKind::Plain => Self::Lines(Mutex::default()),
            ProgressKind::Auto if std::io::stderr().is_terminal() => {
                Self::Bars(MultiProgress::new(), Mutex::default())
            }
            ProgressKind::Auto | ProgressKind::None => Self::Nothing,
        }
    }

    /// `bytes` of `total` of a layer have come.
    pub(crate) fn layer(&self, layer: &Digest, bytes: u64, total: u64) {
        match self {
            Self::Nothing => {}
            Self::Lines(told) => {
                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(line) = line(&mut told, layer, bytes, total) {
                    anstream::eprintln!("{line}");
                }
            }
            Self::Bars(all, bars) => {
                let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = bars.entry(layer.clone()).or_insert_with(|| all.add(bar(layer, total)));
                bar.set_position(bytes);
            }
        }
    }

    /// Clears the terminal for what comes next.
    pub(crate) fn finish(&self) {
        if let Self::Bars(all, bars) = self {
            for (_, bar) in bars.lock().unwrap_or_else(PoisonError::into_inner).drain() {
                bar.finish_and_clear();
            }
            // A terminal that is gone needs no clearing.
            let _ = all.clear();
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Lines(_) => "Lines",
            Self::Bars(..) => "Bars",
        })
    }
}

fn bar(layer: &Digest, total: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix} {bar:30} {bytes:>10}/{total_bytes:10} {eta}");
    let bar = ProgressBar::new(total).with_prefix(short(layer));
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The line that is due, if another tenth is done; `told` has the last tenth told of each layer.
fn line(told: &mut HashMap<Digest, u64>, layer: &Digest, bytes: u64, total: u64) -> Option<String> {
    let tenth = match total {
        0 => 10,
        _ => u64::try_from(u128::from(bytes) * 10 / u128::from(total)).unwrap_or(10),
    };
    if told.get(layer).is_some_and(|last| *last >= tenth) {
        return None;
    }
    told.insert(layer.clone(), tenth);
    Some(format!("layer {}: {bytes}/{total} bytes", short(layer)))
}

/// Enough of a digest to tell layers apart.
fn short(layer: &Digest) -> String {
    let text = layer.to_string();
    let hex = text.split_once(':').map_or(text.as_str(), |(_, hex)| hex);
    hex.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_a_line_for_each_tenth_at_most() {
        let layer: Digest = format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest");
        let mut told = HashMap::new();
        let mut lines = Vec::new();
        for bytes in 0..=1000 {
            lines.extend(line(&mut told, &layer, bytes, 1000));
        }
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[0], "layer abababababab: 0/1000 bytes");
        assert_eq!(lines[10], "layer abababababab: 1000/1000 bytes");
    }
}
