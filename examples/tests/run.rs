//! Runs every example as a user would, on loopback, two at a time.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A child that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, args: &[&str], network: &str) -> Running {
    let network = format!("{network}-{}", std::process::id());
    let mut command = Command::new(program);
    command.args(args).env("DJEMBE_TEST_NETWORK", network).stdout(Stdio::piped());
    Running(command.spawn().expect("the example starts"))
}

#[test]
fn two_hello_meshes_greet_each_other() {
    let program = env!("CARGO_BIN_EXE_hello_mesh");
    let children = [start(program, &["ann"], "hello"), start(program, &["bob"], "hello")];
    let outputs = children.map(|mut child| {
        let mut stdout = child.0.stdout.take().expect("piped");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut text).expect("text");
        assert!(child.0.wait().expect("ended").success(), "{text}");
        text
    });
    assert!(outputs[0].contains("says: hello from bob"), "{outputs:?}");
    assert!(outputs[1].contains("says: hello from ann"), "{outputs:?}");
}

#[test]
fn virtual_nodes_agree_on_a_leader_and_on_another() {
    let mut child = start(env!("CARGO_BIN_EXE_simulated_leader"), &["60"], "leader");
    let mut text = String::new();
    let mut stdout = child.0.stdout.take().expect("piped");
    std::io::Read::read_to_string(&mut stdout, &mut text).expect("text");
    assert!(child.0.wait().expect("ended").success(), "{text}");
    assert!(text.contains("60 nodes take") && text.contains("it died; after"), "{text}");
}

#[test]
fn a_watcher_sees_the_readings_it_asked_for() {
    let program = env!("CARGO_BIN_EXE_telemetry");
    let mut watcher = start(program, &["watch", "temp/+"], "telemetry");
    let _sensor = start(program, &["sensor"], "telemetry");
    let stdout = watcher.0.stdout.take().expect("piped");
    for line in BufReader::new(stdout).lines().take(5) {
        assert!(line.expect("text").starts_with("temp/kitchen 2"));
    }
}
