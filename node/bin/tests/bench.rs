//! `djembe bench` for a moment: that it ends, loses nothing, and prints the figures that docs/benchmarks.md
//! names. Never how fast: a test machine has other things to do.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_djembe"))
        .arg("bench")
        .args(arguments)
        .args(["--json", "--quiet"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{text}{errors}", output.status);
    assert_eq!(errors, "", "{arguments:?}: quiet, so nothing but errors");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

fn under_load(arguments: &[&str]) -> Value {
    bench(&[arguments, &["--secs", "0.3"]].concat())
}

/// Holds for every run under load, whatever is measured.
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
    let figures = under_load(&["throughput", "--size", "64"]);
    check(&figures, 1);
    assert_eq!((&figures["lane"], &figures["store"]), (&"live".into(), &"memory".into()));
}

#[test]
fn throughput_of_durable_messages() {
    let figures = under_load(&["throughput", "--lane", "durable", "--size", "1024"]);
    check(&figures, 1);
    assert_eq!((&figures["lane"], &figures["store"]), (&"durable".into(), &"disk".into()));
}

#[test]
fn latency_at_a_steady_rate() {
    let figures = under_load(&["latency", "--rate", "50"]);
    check(&figures, 1);
    assert_eq!((&figures["rate"], &figures["size"]), (&50.into(), &1024.into()));
    // 0.3 s at 50 a second.
    assert!((10..=20).contains(&figures["sent"].as_u64().unwrap()), "{figures}");
}

#[test]
fn fan_out_to_three() {
    check(&under_load(&["fanout", "--subscribers", "3", "--size", "16"]), 3);
}

#[test]
fn nodes_at_rest_cost_something() {
    let figures = bench(&["idle", "--peers", "2", "--secs", "0.3"]);
    assert_eq!((&figures["measure"], &figures["peers"]), (&"idle".into(), &2.into()));
    for name in
        ["seconds", "rss_kib_max", "rss_kib_median", "cpu_percent_max", "cpu_percent_median", "threads"]
    {
        assert!(figures[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {figures}");
    }
    // Nobody need have spoken in so short a time.
    assert!(figures["loopback_bytes_per_s"].is_number(), "{figures}");
    let processes = figures["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 3, "{figures}");
    for process in processes {
        assert!(process["rss_kib"].as_u64() <= figures["rss_kib_max"].as_u64(), "{figures}");
        assert!(process["rss_anon_kib"].as_u64() < process["rss_kib"].as_u64(), "{figures}");
        assert!(process["cpu_percent"].as_f64() <= figures["cpu_percent_max"].as_f64(), "{figures}");
        assert!(process["threads"].as_u64().is_some_and(|n| n > 0), "{figures}");
    }
}

#[test]
fn a_start_ends_with_a_message() {
    let figures = bench(&["start", "--runs", "2"]);
    assert_eq!(
        (&figures["measure"], &figures["runs"], &figures["succeeded"]),
        (&"start".into(), &2.into(), &2.into())
    );
    let times = ["min_ms", "median_ms", "p90_ms", "max_ms"].map(|name| figures[name].as_f64().unwrap());
    assert!(times[0] > 0.0 && times.is_sorted(), "{figures}");
    let each = figures["each_ms"].as_array().unwrap();
    assert_eq!(each.len(), 2, "{figures}");
    for stages in each.iter().chain([&figures["stages_ms"]]) {
        let stages =
            ["main", "runtime", "node", "subscribed", "message"].map(|name| stages[name].as_f64().unwrap());
        assert!(stages[0] > 0.0 && stages.is_sorted(), "{figures}");
    }
}

#[test]
fn many_nodes_in_one_process_hear_all_of_each_other() {
    let figures = bench(&["mesh", "--nodes", "5", "--secs", "0.5", "--settle", "0.5"]);
    let expected = [("nodes", 5), ("sent", 10), ("received", 40), ("duplicates", 0), ("corrupt", 0)];
    for (name, value) in expected {
        assert_eq!(figures[name].as_u64(), Some(value), "{name}: {figures}");
    }
    assert_eq!((&figures["delivery"], &figures["links_max"]), (&1.0.into(), &4.into()), "{figures}");
    let times = ["p50_us", "p99_us", "max_us"].map(|name| figures[name].as_f64().unwrap());
    assert!(times[0] > 0.0 && times.is_sorted(), "{figures}");
    for name in ["wire_bytes_per_payload_byte", "cpu_us_per_delivery", "rss_kib_per_node", "reach_secs"] {
        assert!(figures[name].as_f64().is_some_and(|value| value > 0.0), "{name}: {figures}");
    }
}

#[test]
fn a_reader_that_was_stopped_has_everything() {
    let figures = bench(&["slow-reader", "--readers", "3", "--secs", "1", "--rounds", "2"]);
    // Two rounds of three stretches, and one before.
    let expected =
        [("sent", 350), ("missed", 0), ("lost", 0), ("readers", 3), ("duplicates", 0), ("corrupt", 0)];
    for (name, value) in expected {
        assert_eq!(figures[name].as_u64(), Some(value), "{name}: {figures}");
    }
    let rounds = figures["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2, "{figures}");
    for (figures, received) in [(&figures, 200), (&rounds[0], 100), (&rounds[1], 100)] {
        for stretch in ["before", "stopped", "woken"].map(|name| &figures[name]) {
            assert_eq!(stretch["received"], received, "{figures}");
            let times = ["p50_us", "p99_us", "max_us"].map(|name| stretch[name].as_f64().unwrap());
            assert!(times[0] > 0.0 && times.is_sorted(), "{figures}");
        }
        assert!(figures["p99_ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{figures}");
    }
    assert!(rounds.iter().all(|round| round["caught_up_secs"].as_f64().is_some()), "{figures}");
}

#[test]
fn a_size_below_the_stamp_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_djembe"))
        .args(["bench", "latency", "--size", "15"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
