//! The directory a node lives in: its identity, its store, its socket and the addresses it knows.
//!
//! One node per directory: [`DataDir`] holds an exclusive advisory lock for as long as it lives. The kernel
//! lets go of it when the process ends, however it ends, so that there are no stale locks; the lock file
//! itself stays.
//!
//! Deliberately not here: what the files contain, and narrowing the permissions of a directory that was there
//! before us. Every file we create is 0600.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation};

/// Why a data directory, or a file in it, could not be used. Nothing was changed but what is said here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DataDirError {
    /// Neither `XDG_DATA_HOME` nor `HOME` says where data belongs.
    #[error("no place for data is known: set HOME or XDG_DATA_HOME, or name a data directory")]
    NoHome,
    /// It, or something on the way to it, is no directory.
    #[error(
        "{} is not a directory, or lies below something that is not: move that away, or name another \
         data directory",
        path.display()
    )]
    NotADirectory {
        /// What was to be opened.
        path: PathBuf,
    },
    /// It cannot be read, or not be created where it is wanted.
    #[error(
        "{} cannot be read by this user: give yourself access (chown, chmod u+rwx), or name another data \
         directory",
        path.display()
    )]
    NotReadable {
        /// What was to be opened.
        path: PathBuf,
    },
    /// It can be read and not written.
    #[error(
        "{} cannot be written: make it writable (chmod u+w, or mount it read-write), or name another \
         data directory",
        path.display()
    )]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
    },
    /// A node is running on it.
    #[error(
        "{} is in use by a running node ({}): talk to that node, stop it, or name another data directory",
        path.display(), holder(*pid)
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who holds it, if the lock file says so.
        pid: Option<u32>,
    },
    /// No space, or no quota. A file that was to be replaced is as it was.
    #[error("the disk that holds {} is full: free some space and start again", path.display())]
    Full {
        /// What was to be written.
        path: PathBuf,
    },
    /// Anything else the system says. A file that was to be replaced is whole: the old one, or (if the directory
    /// could not be synced) the new one.
    #[error("{} cannot be used: {source}; check the disk, or name another data directory", path.display())]
    Io {
        /// What was to be used.
        path: PathBuf,
        /// The system's word on it.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "its process id is not known".to_owned(), |pid| format!("process {pid}"))
}

impl DataDirError {
    fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => Self::NotADirectory { path },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { path },
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            ErrorKind::PermissionDenied => {
                let directory = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
                let is_readable = directory
                    .is_some_and(|path| rustix::fs::access(path, Access::READ_OK | Access::EXEC_OK).is_ok());
                if is_readable { Self::ReadOnly { path } } else { Self::NotReadable { path } }
            }
            _ => Self::Io { path, source },
        }
    }
}

/// The store's file.
pub(crate) const DATABASE: &str = "node.sqlite";

/// A data directory that is ours alone until this value is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Holds the lock; closing it lets go.
    _lock: File,
}

impl DataDir {
    /// Takes the directory, after creating it (0700) if it is missing.
    pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self, DataDirError> {
        let path = path.as_ref();
        let failed = |error| DataDirError::new(path, error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        // Absolute, so that it stays right should the process change its directory.
        let path = path.canonicalize().map_err(failed)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where the data belongs if nobody says otherwise: `$XDG_DATA_HOME/djembe`, else
    /// `~/.local/share/djembe`.
    pub(crate) fn default_path() -> Result<PathBuf, DataDirError> {
        default_path_from(std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME"))
    }

    /// The directory itself.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The key file.
    pub(crate) fn identity(&self) -> PathBuf {
        self.path.join("identity")
    }

    /// The store.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The local socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join("node.sock")
    }

    /// Addresses of peers met before.
    pub(crate) fn peers(&self) -> PathBuf {
        self.path.join("peers")
    }
}

/// The XDG base directory specification has relative paths ignored.
fn default_path_from(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, DataDirError> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(xdg)
        .or_else(|| absolute(home).map(|home| home.join(".local/share")))
        .map(|data| data.join("djembe"))
        .ok_or(DataDirError::NoHome)
}

fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join("lock");
    let failed = |error| match error {
        // The directory is what a user knows about.
        error if ErrorKind::PermissionDenied == io::Error::kind(&error) => {
            DataDirError::new(directory, error)
        }
        error => DataDirError::new(&path, error),
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            // Its holder may be about to write the number: then it is not known, and the lock counts all the
            // same.
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(DataDirError::Locked { path: directory.to_owned(), pid });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Replaces a file (0600) so that after a crash at any time either the old or the new content is there,
/// whole. One writer per path at a time: the temporary file beside it has a fixed name, so that crashes leave
/// one at most, which the next write clears away.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let failed = |error| DataDirError::new(path, error);
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(ErrorKind::InvalidInput.into()));
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    let temporary = directory.join(temporary);

    let written = write_synced(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // Best effort: the first error is the one to tell, and the next write clears away what is left.
        let _ = std::fs::remove_file(&temporary);
        return Err(failed(error));
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// `create_new` follows no link and takes over no file with wider permissions.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A directory of a test's own, gone with the value.
    pub(crate) struct TempDir(PathBuf);

    impl TempDir {
        pub(crate) fn new() -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("djembe-test-{}-{number}", std::process::id()));
            std::fs::create_dir(&path).expect("a fresh directory");
            Self(path)
        }

        pub(crate) fn join(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_missing_directory_is_created_for_its_owner_alone() {
        let temp = TempDir::new();
        let dir = DataDir::open(temp.join("a/b")).expect("can be created");
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(mode(&dir.path().join("lock")), 0o600);
        let pid = std::fs::read_to_string(dir.path().join("lock")).expect("readable");
        assert_eq!(pid.trim().parse(), Ok(std::process::id()));
        let mut paths = [dir.identity(), dir.database(), dir.socket(), dir.peers()].to_vec();
        assert!(paths.iter().all(|path| path.is_absolute() && path.parent() == Some(dir.path())));
        paths.dedup();
        assert_eq!(paths.len(), 4);
    }

    #[test]
    fn a_second_opener_is_told_who_holds_it_and_gets_it_afterwards() {
        let temp = TempDir::new();
        let first = DataDir::open(temp.join("d")).expect("free");
        let error = DataDir::open(temp.join("d")).expect_err("held");
        let own = std::process::id();
        assert!(matches!(error, DataDirError::Locked { pid: Some(pid), .. } if pid == own), "{error:?}");
        assert!(error.to_string().contains(&format!("process {own}")), "{error}");
        drop(first);
        DataDir::open(temp.join("d")).expect("free again");
    }

    #[test]
    fn a_file_in_the_way_is_not_a_directory() {
        let temp = TempDir::new();
        std::fs::write(temp.join("file"), "").expect("writable");
        for path in ["file", "file/below"] {
            let error = DataDir::open(temp.join(path)).expect_err("a file is in the way");
            assert!(matches!(error, DataDirError::NotADirectory { .. }), "{error:?}");
        }
    }

    /// Goal: each refusal has its own name. Method: take the permissions away one by one.
    #[test]
    fn missing_permissions_are_told_apart() {
        if rustix::process::geteuid().is_root() {
            println!("skipped: root may read and write everything");
            return;
        }
        let temp = TempDir::new();
        let path = temp.join("d");
        std::fs::create_dir(&path).expect("fresh");
        let open_as = |mode| {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("ours");
            DataDir::open(&path).map(drop)
        };
        assert!(matches!(open_as(0o500), Err(DataDirError::ReadOnly { .. })));
        assert!(matches!(open_as(0o000), Err(DataDirError::NotReadable { .. })));
        open_as(0o700).expect("ours again");
    }

    #[test]
    fn each_refusal_names_a_remedy() {
        let error = |kind: ErrorKind| DataDirError::new(Path::new("/d"), kind.into());
        assert!(matches!(error(ErrorKind::StorageFull), DataDirError::Full { .. }));
        assert!(error(ErrorKind::StorageFull).to_string().contains("free some space"));
        assert!(matches!(error(ErrorKind::ReadOnlyFilesystem), DataDirError::ReadOnly { .. }));
        assert!(error(ErrorKind::ReadOnlyFilesystem).to_string().contains("mount it read-write"));
        assert!(matches!(error(ErrorKind::Other), DataDirError::Io { .. }));
    }

    #[test]
    fn the_default_follows_xdg() {
        let path = |xdg: Option<&str>, home: Option<&str>| {
            default_path_from(xdg.map(OsString::from), home.map(OsString::from))
        };
        assert_eq!(path(Some("/x"), Some("/h")).expect("known"), Path::new("/x/djembe"));
        assert_eq!(path(Some("x"), Some("/h")).expect("known"), Path::new("/h/.local/share/djembe"));
        assert_eq!(path(None, Some("/h")).expect("known"), Path::new("/h/.local/share/djembe"));
        assert!(matches!(path(Some(""), None), Err(DataDirError::NoHome)));
        assert!(DataDir::default_path().is_ok_and(|path| path.ends_with("djembe")));
    }

    #[test]
    fn a_private_file_is_replaced_whole() {
        let temp = TempDir::new();
        let path = temp.join("identity");
        write_private(&path, b"old").expect("writable");
        assert_eq!(mode(&path), 0o600);
        // What a crash before the rename leaves: half a temporary file, and the old content in its place.
        std::fs::write(temp.join(".identity.new"), "ne").expect("writable");
        assert_eq!(std::fs::read(&path).expect("readable"), b"old");
        write_private(&path, b"new").expect("writable");
        assert_eq!(std::fs::read(&path).expect("readable"), b"new");
        assert!(!temp.join(".identity.new").exists());
    }

    /// Goal: a write that fails leaves the old content and no litter. Method: a directory where the file
    /// belongs lets everything succeed up to the rename.
    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let temp = TempDir::new();
        let path = temp.join("identity");
        std::fs::create_dir(&path).expect("fresh");
        std::fs::write(path.join("old"), "old").expect("writable");
        write_private(&path, b"new").expect_err("a directory is in the way");
        assert_eq!(std::fs::read(path.join("old")).expect("readable"), b"old");
        assert!(!temp.join(".identity.new").exists());
    }

    /// Goal: a reader sees the old or the new content, never a part. Method: read while another thread
    /// writes.
    #[test]
    fn a_reader_never_sees_half_a_file() {
        let temp = TempDir::new();
        let path = temp.join("peers");
        let contents = [vec![1; 100_000], vec![2; 50_000]];
        write_private(&path, &contents[0]).expect("writable");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (0..50).for_each(|i| write_private(&path, &contents[i % 2]).expect("writable"));
            });
            while !writer.is_finished() {
                let seen = std::fs::read(&path).expect("always there");
                assert!(contents.contains(&seen), "{} bytes, begins {:?}", seen.len(), seen.first());
            }
        });
    }
}
