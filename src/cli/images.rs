//! `pull`, `images`, `prune`: the store, without a containerizer.

use std::sync::Arc;

use longshore::error::{Error, Stage};
use longshore::limits;
use longshore::model::{PullPolicy, signal_name};
use longshore::provisioner::stores::{
    ImageRow, ImageStore, ProgressFn, Pruned, StoreError, StoredImage,
};

use super::args::{Format, Images, Listing, ProgressKind, Prune, Pull};
use super::exit::{self, Complaint};
use super::program::print;
use super::progress::Progress;
use super::settings::Settings;
use super::signals::Signals;

/// Brings an image into the store; says what it is called there.
pub(crate) fn pull(pull: Pull) -> Result<(), Complaint> {
    let settings = pull.shared.resolve()?;
    let store = open(&settings)?;
    let asked = Asked { reference: pull.reference, policy: PullPolicy::Always };
    let image = executor()?.block_on(get(&store, asked, pull.reporting.progress))?;
    let digest = image.digest.map(|digest| format!(" {digest}")).unwrap_or_default();
    print(format!("{}{digest}\n", image.reference).as_bytes())
}

/// Lists what the store has.
pub(crate) fn list(images: Images) -> Result<(), Complaint> {
    let settings = images.shared.resolve()?;
    let rows = match existing(&settings)? {
        Some(store) => executor()?.block_on(store.list()).map_err(failed)?,
        None => Vec::new(),
    };
    let header = ["REFERENCE", "DIGEST", "SIZE", "LAYERS", "CREATED"];
    print_listing(&images.listing, &rows, header, |row: &ImageRow| {
        let created = row.created.clone().unwrap_or_default();
        let size = indicatif::HumanBytes(row.size).to_string();
        [row.reference.clone(), row.digest.to_string(), size, row.layers.to_string(), created]
    })
}

/// Removes what no container uses; says how much that was.
pub(crate) fn prune(prune: Prune) -> Result<(), Complaint> {
    let settings = prune.shared.resolve()?;
    let pruned = match existing(&settings)? {
        Some(store) => executor()?.block_on(store.prune(&prune.keep)).map_err(failed)?,
        None => Pruned::default(),
    };
    let bytes = indicatif::HumanBytes(pruned.bytes);
    let line = format!("removed {} images, {} layers, {bytes}\n", pruned.images, pruned.layers);
    print(line.as_bytes())
}

/// What to get, and whether to ask for a newer one.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) reference: longshore::model::ImageReference,
    pub(crate) policy: PullPolicy,
}

/// The image from the store, pulled if it must be. A signal withdraws the pull, and what it has
/// staged is removed before this returns.
pub(crate) async fn get(
    store: &ImageStore,
    asked: Asked,
    kind: ProgressKind,
) -> Result<StoredImage, Complaint> {
    let progress = Arc::new(Progress::new(kind));
    let told = Arc::clone(&progress);
    let tell: ProgressFn = Arc::new(move |p| told.layer(&p.layer, p.bytes, p.total));
    let mut signals = Signals::listen()
        .map_err(|error| Complaint::usage(format_args!("cannot listen to signals: {error}")))?;
    let image = tokio::select! {
        biased;
        image = store.get(&asked.reference, asked.policy, Some(tell)) => image.map_err(failed),
        signal = signals.next() => Err(exit::withdrawn(signal, &signal_name(signal))),
    };
    progress.finish();
    if image.is_err() {
        // What does not go in time is swept by the next one who opens the store.
        let _in_time = tokio::time::timeout(limits::PULL_WITHDRAWN, store.settled()).await;
    }
    image
}

/// The store that the settings name.
pub(crate) fn open(settings: &Settings) -> Result<ImageStore, Complaint> {
    longshore::open_store(&settings.paths, &settings.config)
        .map_err(|error| Complaint::failed(&error))
}

/// The same, if it is there: who only looks, or removes, makes nothing.
fn existing(settings: &Settings) -> Result<Option<ImageStore>, Complaint> {
    let chosen = settings.config.docker_store_dir.clone();
    let directory = chosen.unwrap_or_else(|| settings.paths.store());
    match directory.try_exists() {
        Ok(false) => Ok(None),
        // One that cannot even be looked at is complained about by the attempt to open it.
        Ok(true) | Err(_) => open(settings).map(Some),
    }
}

fn failed(error: StoreError) -> Complaint {
    match error {
        // As of a `run`: nothing was begun.
        StoreError::Reference { reason, .. } => Complaint::usage(format_args!("{reason}")),
        error => Complaint::failed(&Error::wrap(Stage::Provision, error)),
    }
}

/// Runs the futures of one command.
pub(crate) fn executor() -> Result<tokio::runtime::Runtime, Complaint> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Complaint::usage(format_args!("no event loop: {error}")))
}

/// Rows as a table for people, or as one JSON array.
pub(crate) fn print_listing<T: serde::Serialize, const N: usize>(
    listing: &Listing,
    rows: &[T],
    header: [&str; N],
    cells: impl Fn(&T) -> [String; N],
) -> Result<(), Complaint> {
    let text = match listing.format {
        Format::Table => table(header, &rows.iter().map(cells).collect::<Vec<_>>()),
        Format::Json => {
            let json = serde_json::to_string(rows).expect("rows are texts, numbers and truths");
            json + "\n"
        }
    };
    print(text.as_bytes())
}

/// Columns as wide as their widest cell, two spaces between them.
fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let all = || std::iter::once(&header).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME  N\na     1\nlong\n");
    }
}
