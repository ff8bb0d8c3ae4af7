//! Files that results are written to at the end, or better ones over worse.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::Path;

use super::{about, lost};

/// A file for a result that takes long to come. What was in it stays until there is something better.
pub(super) struct Output<'a> {
    path: &'a Path,
    file: File,
    /// It was not there before.
    is_new: bool,
    /// It can be written over, which a pipe cannot.
    is_regular: bool,
    is_broken: bool,
}

impl<'a> Output<'a> {
    /// Before the work, so that a path that is wrong is said at once.
    ///
    /// # Errors
    /// That it cannot be written.
    pub(super) fn open(path: &'a Path) -> Result<Self, String> {
        let is_new = !path.exists();
        let open = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            Ok((file.metadata()?.is_file(), file))
        };
        let (is_regular, file) = open().map_err(|error: io::Error| about(path)(&error))?;
        Ok(Self { path, file, is_new, is_regular, is_broken: false })
    }

    /// Nothing comes of it.
    pub(super) fn forget(&self) {
        if self.is_new {
            let _ = std::fs::remove_file(self.path);
        }
    }

    /// In place of what it has. What cannot be written is said once, and not tried again.
    pub(super) fn write(&mut self, text: &str, is_last: bool) -> bool {
        if !self.is_broken
            && (is_last || self.is_regular)
            && let Err(error) = self.put(text)
        {
            self.is_broken = true;
            lost(&about(self.path)(&error));
        }
        !self.is_broken
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        if self.is_regular {
            self.file.rewind()?;
            self.file.set_len(0)?;
        }
        self.file.write_all(text.as_bytes())
    }
}
