//! `shrink`: the scenario of a seed, small.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use djembe_sim::scenario::Scenario;
use djembe_sim::search::{self, CHECKS, Finding};

use super::seeds::{self, Drawn};
use super::{Done, about, lost, print};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A seed, the name of a scenario that is built in, or a TOML file.
    seed: String,
    /// Where to write the scenario, the smallest so far after each step; stdout at the end if not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which of the checks that fail; the first if not given.
    #[arg(long, value_parser = PossibleValuesParser::new(CHECKS))]
    check: Option<String>,
    /// Runs at most.
    #[arg(long, default_value_t = 400)]
    runs: u32,
    #[command(flatten)]
    drawn: Drawn,
}

pub(super) fn run(args: &Args) -> Done {
    let (_, scenario) = seeds::scenario(&args.seed, &args.drawn)?;
    // Before the runs, which may take long.
    let mut file = args.output.as_deref().map(Output::open).transpose()?;
    search::hush_panics();
    search::on_abort("replay: build with `--profile sim` to shrink a panic".to_owned());
    eprintln!("run 0: does it fail?");
    let outcome = search::attempt(&scenario);
    let is_it = |check: &str| args.check.as_ref().is_none_or(|wanted| wanted == check);
    let Some(finding) = outcome.findings.iter().find(|finding| is_it(&finding.check)) else {
        eprintln!("{}: nothing fails that could be made small", args.seed);
        file.iter().for_each(Output::forget);
        return Ok(true);
    };
    eprintln!("{}", finding);
    // Who breaks it off has the smallest that was found until then.
    let mut keep = |scenario: &Scenario, finding: &Finding, is_last: bool| {
        file.as_mut().is_some_and(|file| file.write(&toml(scenario, finding), is_last))
    };
    keep(&scenario, finding, false);
    let shrunk = search::shrink(&scenario, finding, args.runs, |step| {
        let fails = if step.fails { "still fails" } else { "does not" };
        let scenario = step.scenario;
        if step.fails {
            keep(scenario, step.finding, false);
        }
        eprintln!(
            "run {} of {}: {}: {fails}; left are {} nodes, {} faults, {} messages, {:?}",
            step.runs,
            args.runs,
            step.what,
            scenario.nodes,
            search::n_faults(scenario),
            scenario.publishes().count(),
            scenario.duration
        );
    });
    let end = if shrunk.is_least { "nothing smaller fails" } else { "runs ran out" };
    eprintln!("{} runs; {end}: {}", shrunk.runs, &shrunk.finding);
    match &args.output {
        Some(path) if keep(&shrunk.scenario, &shrunk.finding, true) => {
            print(&format!("djembe-sim run {}\n", path.display()));
        }
        _ => print(&toml(&shrunk.scenario, &shrunk.finding)),
    }
    Ok(false)
}

/// What is written: the failure, and the scenario.
fn toml(scenario: &Scenario, finding: &Finding) -> String {
    format!("# {}\n{}", finding.to_string().replace('\n', " "), scenario.to_toml())
}

/// A file that always has the smallest scenario.
struct Output<'a> {
    path: &'a Path,
    file: File,
    /// It was not there before.
    is_new: bool,
    /// It can be written over, which a pipe cannot.
    is_regular: bool,
    is_broken: bool,
}

impl<'a> Output<'a> {
    /// What is in it stays until there is something better.
    fn open(path: &'a Path) -> Result<Self, String> {
        let is_new = !path.exists();
        let open = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            Ok((file.metadata()?.is_file(), file))
        };
        let (is_regular, file) = open().map_err(|error: io::Error| about(path)(&error))?;
        Ok(Self { path, file, is_new, is_regular, is_broken: false })
    }

    /// Nothing comes of it.
    fn forget(&self) {
        if self.is_new {
            let _ = std::fs::remove_file(self.path);
        }
    }

    /// In place of what it has. What cannot be written is said once, and not tried again.
    fn write(&mut self, text: &str, is_last: bool) -> bool {
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
