//! How the demo speaks: to people in sentences, to programs in JSON.

use std::io::Write;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Untrue;

/// One line for people, or one object for programs, at each step.
#[derive(Clone, Copy)]
pub(super) struct Printer {
    pub(super) json: bool,
    /// Only what is not true, unless for programs.
    pub(super) quiet: bool,
    pub(super) began: Instant,
}

#[derive(Serialize)]
struct StepLine<'a> {
    step: &'a str,
    ok: bool,
    text: &'a str,
    #[serde(flatten)]
    measured: Map<String, Value>,
}

impl Printer {
    pub(super) fn headline(self) {
        if !self.json && !self.quiet {
            self.line("Three nodes on this machine, strangers to each other, in a network of their own.\n");
        }
    }

    pub(super) fn step(self, step: &str, text: &str, measured: Value) {
        self.print(true, step, text, measured);
    }

    pub(super) fn verdict(self) {
        let secs = self.began.elapsed().as_secs_f64();
        let text = format!("All of it was true. It took {secs:.1} s and left nothing behind.");
        self.print(true, "verdict", &text, json!({ "seconds": secs }));
    }

    pub(super) fn untrue(self, untrue: &Untrue) {
        let Untrue { step, what, hint } = untrue;
        self.print(false, step, &format!("Not true: {what}"), json!({}));
        let text = format!("Failed at \"{step}\". What to try: {hint}.");
        self.print(false, "verdict", &text, json!({ "failed": step, "try": hint }));
    }

    pub(super) fn print(self, ok: bool, step: &str, text: &str, measured: Value) {
        if self.json {
            let measured = measured.as_object().cloned().unwrap_or_default();
            let line = StepLine { step, ok, text, measured };
            self.line(&serde_json::to_string(&line).unwrap_or_default());
        } else if !ok || !self.quiet {
            let mark = if ok { "ok " } else { "BAD" };
            self.line(&format!("{mark} {step:<9} {text}"));
        }
    }

    fn line(self, line: &str) {
        // A reader that has gone changes nothing of what is true.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}
