//! `djembe bench` for a moment: that it ends, loses nothing, and prints the figures that docs/benchmarks.md
//! names. Never how fast: a test machine has other things to do.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_djembe"))
        .arg("bench")
        .args(arguments)
        .args(["--secs", "0.3", "--json", "--quiet"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{text}{errors}", output.status);
    assert_eq!(errors, "", "{arguments:?}: quiet, so nothing but errors");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

/// Holds for every run, whatever is measured.
fn check(figures: &Value, subscribers: u64) {
    for name in ["duplicates", "out_of_order", "corrupt"] {
        assert_eq!(figures[name], 0, "{name}: {figures}");
    }
    assert_eq!(figures["loss"], 0.0, "{figures}");
    for name in [
        "msgs_per_s",
        "min_msgs_per_s",
        "mb_per_s",
        "p50_us",
        "p99_us",
        "max_us",
        "cpu_us_per_msg",
        "seconds",
        "sent_per_s",
        "msgs_per_envelope",
    ] {
        assert!(figures[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {figures}");
    }
    let sent = figures["sent"].as_u64().unwrap();
    assert_eq!(figures["received"].as_u64(), Some(sent * subscribers), "{figures}");
    assert_eq!(figures["subscribers"], subscribers, "{figures}");
    let processes = figures["processes"].as_array().unwrap();
    assert_eq!(processes.len() as u64, 1 + subscribers, "{figures}");
    for process in processes {
        assert!(process["rss_kib"].as_u64().is_some_and(|kib| kib > 0), "{process}");
        assert!(process["cpu_s"].as_f64().is_some_and(|secs| secs > 0.0), "{process}");
    }
}

#[test]
fn throughput_of_live_messages() {
    let figures = bench(&["throughput", "--size", "64"]);
    check(&figures, 1);
    assert_eq!((&figures["lane"], &figures["store"]), (&"live".into(), &"memory".into()));
}

#[test]
fn throughput_of_durable_messages() {
    let figures = bench(&["throughput", "--lane", "durable", "--size", "1024"]);
    check(&figures, 1);
    assert_eq!((&figures["lane"], &figures["store"]), (&"durable".into(), &"disk".into()));
}

#[test]
fn latency_at_a_steady_rate() {
    let figures = bench(&["latency", "--rate", "50"]);
    check(&figures, 1);
    assert_eq!((&figures["rate"], &figures["size"]), (&50.into(), &1024.into()));
    // 0.3 s at 50 a second.
    assert!((10..=20).contains(&figures["sent"].as_u64().unwrap()), "{figures}");
}

#[test]
fn fan_out_to_three() {
    check(&bench(&["fanout", "--subscribers", "3", "--size", "16"]), 3);
}

#[test]
fn a_size_below_the_stamp_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_djembe"))
        .args(["bench", "latency", "--size", "15"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
