//! The binary that end-to-end tests run is found or built, and starts.

use std::process::{Command, Stdio};

#[test]
fn the_binary_is_found_or_built_and_starts() {
    let output = Command::new(djembe_tests::binary::djembe()).arg("--version").stdin(Stdio::null()).output();
    let output = output.expect("it can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
