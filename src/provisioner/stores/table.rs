//! The reference table: which names are known, and what they stand for. One JSON file, replaced as
//! a whole; what does not parse is an error that names the file, and nothing is guessed.

use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::linux::fs;
use crate::model::Digest;

/// Version of the file's form.
const VERSION: u32 = 1;

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayerRow {
    /// Names the layer on top of all that are below it.
    pub(crate) chain: Digest,
    /// Bytes of its files.
    pub(crate) bytes: u64,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    /// Normalised.
    pub(crate) reference: String,
    /// Of the manifest for this platform.
    pub(crate) manifest: Digest,
    /// Of what the reference itself names: an index, or the manifest.
    pub(crate) top: Digest,
    /// Of the configuration.
    pub(crate) config: Digest,
    /// Bottom first.
    pub(crate) layers: Vec<LayerRow>,
    /// As the configuration has it.
    pub(crate) created: Option<String>,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    version: u32,
    /// In the order in which they came.
    pub(crate) images: Vec<Row>,
}

impl Default for Table {
    fn default() -> Self {
        Self { version: VERSION, images: Vec::new() }
    }
}

impl Table {
    /// Reads the file; a missing one is a store without images.
    pub(crate) fn read(path: &Path) -> Result<Self, StoreError> {
        let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            result => result.map_err(StoreError::file(path))?,
        };
        let table: Self = serde_json::from_slice(&bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            damaged(format!("the image table does not parse at line {line}, column {column}"))
        })?;
        match table.version {
            VERSION => Ok(table),
            other => Err(damaged(format!("the image table has the unknown version {other}"))),
        }
    }

    /// Replaces the file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec_pretty(self).expect("plain data with text keys serialises");
        fs::replace_file(path, &bytes).map_err(StoreError::kernel(path))
    }

    pub(crate) fn find(&self, reference: &str) -> Option<&Row> {
        self.images.iter().find(|row| row.reference == reference)
    }

    /// Adds an image, or replaces the one of the same name.
    pub(crate) fn put(&mut self, row: Row) {
        self.images.retain(|other| other.reference != row.reference);
        self.images.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_does_not_parse_is_an_error_that_names_the_file() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("images.json");
        assert_eq!(Table::read(&path).expect("missing"), Table::default());
        for bad in ["", "{", "{\"version\":2,\"images\":[]}", "{\"version\":1}"] {
            std::fs::write(&path, bad).expect("written");
            let error = Table::read(&path).expect_err(bad).to_string();
            assert!(error.contains("images.json"), "{error}");
        }
    }

    #[test]
    fn a_name_has_one_row_and_the_last_one_counts() {
        let row = |reference: &str, seed: &[u8]| Row {
            reference: reference.to_owned(),
            manifest: Digest::of(seed),
            top: Digest::of(seed),
            config: Digest::of(b"config"),
            layers: vec![LayerRow { chain: Digest::of(b"layer"), bytes: 7 }],
            created: None,
        };
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("images.json");
        let mut table = Table::default();
        table.put(row("a", b"1"));
        table.put(row("b", b"2"));
        table.put(row("a", b"3"));
        table.write(&path).expect("written");
        let read = Table::read(&path).expect("read");
        assert_eq!(read, table);
        assert_eq!(read.find("a").map(|row| &row.manifest), Some(&Digest::of(b"3")));
        assert_eq!(read.images.len(), 2);
    }
}
