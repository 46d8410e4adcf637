//! `provision`, `unprovision`, `backends`: root file systems without containers.

use std::path::{Path, PathBuf};

use longshore::error::{Error, Stage};
use longshore::provisioner::backends::TABLE;
use longshore::provisioner::{ProvisionError, Provisioner};
use serde::Serialize;

use super::args::{Backends, Provision, Unprovision};
use super::exit::Complaint;
use super::images::{Asked, executor, get, open, print_listing};
use super::settings::Settings;

/// Shows exactly the image's tree at a directory; outlives this process.
pub(crate) fn provision(provision: Provision) -> Result<(), Complaint> {
    let settings = provision.shared.resolve()?;
    let directory = absolute(&provision.directory)?;
    require_root("provision")?;
    let provisioner = provisioner(&settings)?;
    let asked = Asked { reference: provision.reference, policy: provision.pull };
    let image =
        executor()?.block_on(get(provisioner.store(), asked, provision.reporting.progress))?;
    provisioner.provision_at(&image, &directory).map_err(failed)
}

/// Takes down what `provision` put up.
pub(crate) fn unprovision(unprovision: Unprovision) -> Result<(), Complaint> {
    let settings = unprovision.shared.resolve()?;
    let directory = absolute(&unprovision.directory)?;
    require_root("unprovision")?;
    provisioner(&settings)?.unprovision(&directory).map_err(failed)
}

/// What each backend can do on this host.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    supported: bool,
    /// Taken when none is named.
    automatic: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Lists the backends.
pub(crate) fn backends(backends: Backends) -> Result<(), Complaint> {
    let settings = backends.shared.resolve()?;
    let place = standing(&settings.paths.provisioner());
    let rows: Vec<Row> = TABLE
        .iter()
        .map(|backend| {
            let reason = backend.supported(&place).err().map(|error| error.to_string());
            let automatic = backend.automatic();
            Row { name: backend.name(), supported: reason.is_none(), automatic, reason }
        })
        .collect();
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let header = ["BACKEND", "SUPPORTED", "AUTOMATIC", "REASON"];
    print_listing(&backends.listing, &rows, header, |row: &Row| {
        let reason = row.reason.clone().unwrap_or_default();
        [row.name.to_owned(), word(row.supported), word(row.automatic), reason]
    })
}

/// The lowest directory on the way to `path` that is there: what will be made lies on its file
/// system.
fn standing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn provisioner(settings: &Settings) -> Result<Provisioner, Complaint> {
    let backend = settings.config.image_provisioner_backend.map(|backend| backend.to_string());
    let store = open(settings)?;
    Provisioner::new(settings.paths.clone(), store, backend.as_deref()).map_err(failed)
}

fn failed(error: ProvisionError) -> Complaint {
    Complaint::failed(&Error::wrap(Stage::Provision, error))
}

fn absolute(path: &Path) -> Result<PathBuf, Complaint> {
    std::path::absolute(path)
        .map_err(|error| Complaint::usage(format_args!("{}: {error}", path.display())))
}

/// Says so before anything is made.
pub(crate) fn require_root(command: &str) -> Result<(), Complaint> {
    let user = nix::unistd::geteuid();
    match user.is_root() {
        true => Ok(()),
        false => Err(Complaint::usage(format_args!("{command} needs root; this is user {user}"))),
    }
}
