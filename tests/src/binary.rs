//! The `djembe` binary, as the tests' own build has it.
//!
//! Cargo tells a test where the binaries of its own package are, and of no other. So this looks beside the test's
//! executable, and has cargo build what is missing or older than its sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

/// The path of a `djembe` binary that is no older than its sources.
pub fn djembe() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| find_or_build("djembe", "node/bin/src/main.rs"))
}

/// Finds binary `name` of this workspace, whose root file is `root`, or builds it.
fn find_or_build(name: &str, root: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has an executable");
    // TARGET/PROFILE/deps/TEST
    let profile = test.ancestors().nth(2).expect("cargo puts tests two levels deep");
    let binary = profile.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in a workspace");
    if !is_current(&binary, workspace, root) {
        build(name, profile, workspace);
    }
    assert!(binary.exists(), "{} is still not there", binary.display());
    binary
}

/// Whether the binary was built from this workspace and nothing it was built from has changed since. Cargo writes
/// what that was into a `.d` file beside it, as make reads it.
fn is_current(binary: &Path, workspace: &Path, root: &str) -> bool {
    let (Some(built), Ok(rule)) = (modified(binary), fs::read_to_string(binary.with_extension("d"))) else {
        return false;
    };
    let sources: Vec<String> = rule
        .split_once(": ")
        .map(|(_, sources)| sources.trim().replace("\\ ", "\0"))
        .unwrap_or_default()
        .split(' ')
        .map(|path| path.replace('\0', " "))
        .collect();
    let lock = workspace.join("Cargo.lock");
    // A target directory may be shared with another copy of the workspace.
    sources.iter().any(|source| Path::new(source) == workspace.join(root))
        && sources
            .iter()
            .map(Path::new)
            .chain([lock.as_path()])
            .all(|source| modified(source).is_some_and(|changed| changed <= built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn build(name: &str, profile: &Path, workspace: &Path) {
    let target = profile.parent().expect("the profile's directory is in the target directory");
    let profile = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => panic!("no profile in {}", profile.display()),
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo told the test about the test's own package: some build scripts look at it, find it changed, and
    // half of the tree would be built again.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_", "OUT_DIR"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            cargo.env_remove(variable);
        }
    }
    // All members are selected, so that their dependencies get the features that `cargo test --workspace` built.
    let output = cargo
        .args(["build", "--workspace", "--bin", name, "--locked", "--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(workspace)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cargo: {error}"));
    assert!(output.status.success(), "building {name}: {}", String::from_utf8_lossy(&output.stderr));
}
