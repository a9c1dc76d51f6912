//! `harness init [DIR]`: a commented manifest and contract to start from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The files that are written, with their names.
const FILES: &[(&str, &str)] = &[
    ("system.toml", include_str!("templates/system.toml")),
    ("contract.toml", include_str!("templates/contract.toml")),
];

/// The files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// One of them is there already; nothing was written.
    #[error("{} is there already, and is left as it is; nothing was written", .0.display())]
    Exists(PathBuf),
    /// The operating system refused.
    #[error("{} cannot be written: {error}", file.display())]
    Io {
        /// The file or folder.
        file: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

/// Writes a commented manifest and contract into a folder, which is made if need be.
///
/// Returns the files that were written.
///
/// # Errors
/// If one of the files is there already, or cannot be written.
pub fn init(folder: &Path) -> Result<Vec<PathBuf>, InitError> {
    std::fs::create_dir_all(folder).map_err(|error| InitError::Io { file: folder.to_owned(), error })?;
    let files: Vec<_> = FILES.iter().map(|(name, text)| (folder.join(name), *text)).collect();
    if let Some((file, _)) = files.iter().find(|(file, _)| file.exists()) {
        return Err(InitError::Exists(file.clone()));
    }
    files.into_iter().map(|(file, text)| write_new(file, text)).collect()
}

/// Writes a file that is not there yet, even if it appeared a moment ago.
fn write_new(file: PathBuf, text: &str) -> Result<PathBuf, InitError> {
    let written = OpenOptions::new().write(true).create_new(true).open(&file).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.sync_all()
    });
    match written {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(InitError::Exists(file)),
        Err(error) => Err(InitError::Io { file, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check;

    #[test]
    fn what_is_written_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let files = init(&folder.path().join("new/folder")).unwrap();
        assert_eq!(files.len(), 2);
        for file in files {
            check(&file).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn what_is_there_stays_and_nothing_is_written_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let contract = folder.path().join("contract.toml");
        std::fs::write(&contract, "mine").unwrap();
        let error = init(folder.path()).unwrap_err();
        assert!(matches!(&error, InitError::Exists(file) if *file == contract), "{error}");
        assert_eq!(std::fs::read_to_string(&contract).unwrap(), "mine");
        assert!(!folder.path().join("system.toml").exists());
    }
}
