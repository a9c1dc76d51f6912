//! A run's folder, `reports/<run id>/`, and `reports/latest`, which points to the newest.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::Error;

/// The link to the newest run's folder.
const LATEST: &str = "latest";

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    id: String,
}

impl RunFolder {
    /// Creates a folder in `out` for a run of the scenario with this name. Its name tells when it began.
    ///
    /// # Errors
    /// If nothing can be written there.
    pub fn create(out: &Path, scenario: &str) -> Result<Self, Error> {
        let unwritable = |error: &io::Error| Error::file("the output folder cannot be written:", out, error);
        fs::create_dir_all(out).map_err(|error| unwritable(&error))?;
        let began = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(':', "-");
        let id = format!("{began}-{}", file_name(scenario));
        // A run that began in the same second has the name already.
        let others = (2..).map(|number| format!("{id}-{number}"));
        for id in std::iter::once(id.clone()).chain(others) {
            let path = out.join(&id);
            match fs::create_dir(&path) {
                Ok(()) => return Self::furnish(path, id).map_err(|error| unwritable(&error)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unwritable(&error)),
            }
        }
        Err(Error::Internal(format!("no name is left for a run in {}", out.display())))
    }

    fn furnish(path: PathBuf, id: String) -> io::Result<Self> {
        let folder = Self { path, id };
        fs::create_dir(folder.logs())?;
        Ok(folder)
    }

    /// The run's identifier, which is the folder's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder for what processes print, one file for each.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Makes `latest` point to this folder, at once: whoever looks meanwhile finds the one before.
    ///
    /// # Errors
    /// If the link cannot be made.
    pub fn make_latest(&self) -> io::Result<()> {
        let new = self.path.with_file_name(format!(".{LATEST}-{}", self.id));
        symlink(&self.id, &new)?;
        fs::rename(&new, self.path.with_file_name(LATEST)).inspect_err(|_| _ = fs::remove_file(&new))
    }
}

/// A name without what a file's name cannot hold.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_in_one_second_have_folders_of_their_own_and_the_newest_is_the_latest() {
        let out = tempfile::tempdir().unwrap();
        let runs: Vec<_> = (0..3).map(|_| RunFolder::create(&out.path().join("new/er"), "a/b").unwrap()).collect();
        assert_ne!(runs[0].id(), runs[1].id());
        assert_ne!(runs[1].id(), runs[2].id());
        assert!(runs[0].id().contains("Z-a-b"), "{}", runs[0].id());
        for run in &runs {
            run.make_latest().unwrap();
            let latest = fs::canonicalize(out.path().join("new/er").join(LATEST)).unwrap();
            assert_eq!(latest, fs::canonicalize(run.path()).unwrap());
        }
    }

    #[test]
    fn folder_that_cannot_be_written_is_named() {
        let out = tempfile::NamedTempFile::new().unwrap();
        let message = RunFolder::create(out.path(), "soak").unwrap_err().to_string();
        let expected = format!("the output folder cannot be written: {}: ", out.path().display());
        assert!(message.starts_with(&expected), "{message}");
    }
}
