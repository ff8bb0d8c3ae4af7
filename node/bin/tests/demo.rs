//! `djembe demo` as a person runs it: it checks every step itself, so its exit code is the verdict; here its
//! output is held to what the documents promise of it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::process::{Command, Output};

use serde_json::Value;

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_djembe")).arg("demo").args(arguments).output().unwrap()
}

#[test]
fn three_nodes_find_each_other_talk_lose_one_and_take_it_back() {
    let output = demo(&["--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));

    let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    let story = [
        "start", "found", "talk", "sealed", "kill", "gone", "talk on", "return", "together", "once", "end",
        "verdict",
    ];
    assert_eq!(names, story);
    for step in &steps {
        assert_eq!(step["ok"], true, "{step}");
        assert!(!step["text"].as_str().unwrap().is_empty(), "{step}");
    }

    let measured = |step: &str, name: &str| {
        let step = steps.iter().find(|other| other["step"] == step).unwrap();
        step[name].as_f64().unwrap_or_else(|| panic!("no {name} in {step}"))
    };
    for (step, name) in [
        ("found", "start_to_found_ms"),
        ("talk", "found_to_first_message_ms"),
        ("return", "return_to_caught_up_ms"),
        ("verdict", "seconds"),
    ] {
        assert!(measured(step, name) > 0.0, "{step} {name}");
    }
    assert_eq!(measured("return", "lines"), 4.0);
    let gone = steps.iter().find(|step| step["step"] == "gone").unwrap()["kill_to_gone_ms"].clone();
    assert_eq!(gone.as_array().map(Vec::len), Some(2), "{gone}");
}
