//! `run --seeds`: one scenario from several seeds.

use core::fmt::Write as _;
use core::ops::Range;
use std::collections::BTreeMap;

use djembe_sim::panics;
use djembe_sim::report::Ran;
use djembe_sim::search::{self, Finding, Outcome, Plan, Told};

use super::progress::Meter;
use super::verdict::Trail;
use super::{Done, print, print_json, run, seeds};

/// What is printed.
#[derive(serde::Serialize)]
struct Runs {
    scenario: String,
    seeds: Vec<Ran>,
    mean: serde_json::Value,
    worst: serde_json::Value,
}

/// What was found, and how many in all.
type Bad = (Vec<Finding>, u64);

pub(super) fn run(args: &run::Args, seeds: Range<u64>) -> Done {
    let named = args.named();
    let plan = seeds::plan(named.source()?, seeds, Some(args.jobs), None);
    let plan = Plan { stop: args.watch.stop(), census: args.census, ..plan };
    panics::hush_panics();
    let mut meter = Meter::new(None);
    let mut runs: Vec<Ran> = Vec::new();
    let mut bad: BTreeMap<u64, Bad> = BTreeMap::new();
    let replay = |seed| named.replay(seed) + args.watch.option();
    let before = |seed| panics::on_abort(format!("replay: {}", replay(seed)));
    let progress = search::explore(
        &plan,
        |_| true,
        before,
        |told| match told {
            Told::Progress(progress) => meter.tell(progress),
            Told::Ran(seed, outcome) => {
                meter.clear();
                let line = line(seed, outcome);
                if args.json {
                    eprint!("{line}")
                } else {
                    print(&line)
                }
                runs.extend(outcome.ran(&named.to_string()));
                if !outcome.findings.is_empty() {
                    let findings = outcome.findings.clone();
                    bad.insert(seed, (findings, outcome.n_findings()));
                }
            }
        },
    );
    meter.end(&progress);
    runs.sort_by_key(|ran| ran.report.seed);
    let (mean, worst) = (search::mean(&runs), search::worst(&runs));
    if args.json {
        let [mean, worst] = [mean, worst].map(|figures| search::nested(&figures));
        print_json(&Runs { scenario: named.to_string(), seeds: runs, mean, worst })?;
    } else {
        print(&table(&mean, &worst));
    }
    // Each of the others has its command as well, which writes its trace.
    let mut bad = bad.into_iter();
    if let Some((seed, (findings, n))) = bad.next() {
        let trail = Trail::new(None, true);
        args.watch.conclude(named.name, &plan.scenario(seed), &findings, n, &replay(seed), trail);
    }
    bad.for_each(|(seed, _)| eprintln!("replay: {}", replay(seed)));
    Ok(progress.bad == 0)
}

/// A run in a line.
fn line(seed: u64, outcome: &Outcome) -> String {
    let first = outcome.findings.first();
    let Some(report) = &outcome.report else {
        return format!("seed {seed}: {}\n", first.map(ToString::to_string).unwrap_or_default());
    };
    let mut line = format!(
        "seed {seed}: {:.4} delivered, {:.4} copies, p99 {:.1} ms, to all p99 {:.1} ms",
        report.delivery_ratio, report.copies, report.latency_p99_ms, report.full_delivery_ms.p99
    );
    if report.optimum_ratio_p99 > 0.0 {
        let _ = write!(line, ", {:.3} of the best", report.optimum_ratio_p99);
    }
    let _ = write!(line, ", {} hops, {:.0} s", report.last_hop_max, outcome.took.as_secs_f64());
    if let Some(first) = first {
        let _ = write!(line, "; {first} ({} in all)", outcome.n_findings());
    }
    line + "\n"
}

fn table(mean: &BTreeMap<String, f64>, worst: &BTreeMap<String, f64>) -> String {
    let mut table = format!("\n{:<48}{:>16}{:>16}\n", "figure", "mean", "worst");
    for (name, mean) in mean {
        let worst = worst.get(name).copied().unwrap_or(*mean);
        let _ = writeln!(table, "{name:<48}{mean:>16.4}{worst:>16.4}");
    }
    table
}
