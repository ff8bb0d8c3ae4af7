//! What a page draws, as JSON: no more points than can be told apart, whatever was run.

use djembe_protocol::wire::frame::Frame;
use serde_json::{Value, json};

use super::super::picture::{PATHS_NODES_MAX, POINTS_MAX, round};
use super::super::series::{Change, Sample, Standing};
use super::super::{BEACON_KIND, Report};
use crate::baseline;

/// Rows of the drawing of single nodes.
const ROWS_MAX: usize = 100;
/// Changes in all of them.
const CHANGES_MAX: usize = 8_000;
/// Kinds of frames that have a bar of their own.
const KINDS_MAX: usize = 15;

/// The first report as a whole; of the others what is drawn beside it.
pub(super) fn of(reports: &[&Report]) -> Value {
    let first = reports.first().map(|report| {
        let (rows, n_unsteady) = rows(report);
        json!({
            "nodes": report.nodes,
            "seconds": report.seconds,
            "planned": report.planned,
            "delivered": report.delivered,
            "messages": report.picture.messages,
            "ratios": [round(report.optimum_ratio_p99), round(report.optimum_ratio_full)],
            "kinds": kinds(report),
            "bandwidth": report.picture.bandwidth,
            "troubles": report.picture.troubles,
            "rows": rows,
            "unsteady": n_unsteady,
            "falseAlarms": report.presence_false_alarms + report.members_missed,
            "pathsNodesMax": PATHS_NODES_MAX,
            "paths": report.picture.paths.iter().map(|path| json!({
                "author": path.author,
                "seconds": path.seconds,
                "took": path.took_ms,
                "steps": path.steps.iter().map(|step| json!([step.to, step.from, step.ms])).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    });
    let all: Vec<Value> = reports
        .iter()
        .enumerate()
        .map(|(n, report)| {
            // Of the others only copies are drawn over time.
            let of_series =
                if n == 0 { series(&report.series) } else { json!({ "copies": copies(&report.series) }) };
            json!({
                "protocol": report.protocol.name(),
                "series": of_series,
                "deliveryRatio": report.delivery_ratio,
                "delivery": report.picture.delivery,
                "hops": report.picture.hops,
                "copies": report.copies,
            })
        })
        .collect();
    json!({ "run": first, "all": all })
}

/// Each field of the samples as a list, thinned.
fn series(samples: &[Sample]) -> Value {
    let most = |of: fn(&Sample) -> f64| column(samples, |sample| Some(of(sample)), f64::max);
    let least = |of: fn(&Sample) -> f64| column(samples, |sample| Some(of(sample)), f64::min);
    // Where nothing is delivered there is no latency, rather than one of zero.
    let told = |of: fn(&Sample) -> f64| {
        column(samples, |sample| Some(of(sample)).filter(|value| *value > 0.0), f64::max)
    };
    json!({
        "seconds": most(|sample| sample.seconds),
        "up": least(|sample| sample.up as f64),
        "links": least(|sample| sample.links as f64),
        "deliveries": most(|sample| sample.deliveries as f64),
        "p50": told(|sample| sample.p50_ms),
        "p90": told(|sample| sample.p90_ms),
        "p99": told(|sample| sample.p99_ms),
        "best": told(|sample| sample.best_p99_ms),
        "copies": copies(samples),
        "messageBytes": most(|sample| sample.message_bytes),
        "presenceBytes": most(|sample| sample.presence_bytes),
        "discoveryBytes": most(|sample| sample.discovery_bytes),
        "backgroundBytes": most(|sample| sample.background_bytes),
        "suspected": most(|sample| sample.suspected as f64),
        "declaredGone": most(|sample| sample.declared_gone as f64),
        "unnoticed": most(|sample| sample.unnoticed as f64),
        "falseAlarms": most(|sample| sample.false_alarms as f64),
    })
}

/// Where nothing arrived there are none.
fn copies(samples: &[Sample]) -> Vec<Option<f64>> {
    column(samples, |sample| Some(sample.copies).filter(|copies| *copies > 0.0), f64::max)
}

/// Of many samples as many values as can be told apart: of each stretch the one that `fold` chooses.
fn column(
    samples: &[Sample],
    of: impl Fn(&Sample) -> Option<f64>,
    fold: impl Fn(f64, f64) -> f64,
) -> Vec<Option<f64>> {
    let stretch = samples.len().div_ceil(POINTS_MAX).max(1);
    let chosen = |some: &[Sample]| some.iter().filter_map(&of).reduce(&fold).map(round);
    samples.chunks(stretch).map(chosen).collect()
}

/// Bytes a second and node on the wire by kind of frame, the most first, and frames.
fn kinds(report: &Report) -> Vec<(String, f64, f64)> {
    let all = report.frames_per_node_second.iter().filter(|(_, (frames, _))| *frames > 0.0);
    let mut all: Vec<(String, f64, f64)> =
        all.map(|(kind, (frames, bytes))| (name(*kind), round(*bytes), round(*frames))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rest = all.split_off(all.len().min(KINDS_MAX));
    if !rest.is_empty() {
        let sum = |of: fn(&(String, f64, f64)) -> f64| round(rest.iter().map(of).sum());
        all.push((format!("{} others", rest.len()), sum(|kind| kind.1), sum(|kind| kind.2)));
    }
    all
}

/// As the protocol calls them, and the simulator what it has beside.
fn name(kind: u8) -> String {
    let known = Frame::KINDS.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name);
    let beside = match kind {
        baseline::PAYLOAD => Some("payload"),
        baseline::TALK => Some("gossip"),
        BEACON_KIND => Some("beacon"),
        _ => None,
    };
    known.or(beside).map_or_else(|| format!("kind {kind}"), str::to_owned)
}

/// What became of single nodes: of all in a small world, of those with something to tell in a large one. And how many
/// there are of these.
fn rows(report: &Report) -> (Vec<Value>, usize) {
    let changes = &report.picture.standings;
    let n = changes.iter().map(|change| change.node + 1).max().unwrap_or(0);
    let mut of_node: Vec<Vec<&Change>> = vec![Vec::new(); n];
    changes.iter().for_each(|change| of_node[change.node].push(change));
    let is_steady = |changes: &[&Change]| changes.iter().all(|change| change.standing == Standing::Up);
    let n_unsteady = of_node.iter().filter(|changes| !is_steady(changes)).count();
    let mut room = CHANGES_MAX;
    let told = of_node.iter().enumerate().filter(|(_, of)| n <= ROWS_MAX || !is_steady(of)).take(ROWS_MAX);
    let told = told.take_while(|(_, of)| {
        let fits = of.len() <= room;
        room = room.saturating_sub(of.len());
        fits
    });
    let row = |(node, of): (usize, &Vec<&Change>)| {
        let changes: Vec<Value> =
            of.iter().map(|change| json!([round(change.seconds), u8::from(change.standing)])).collect();
        json!([node, changes])
    };
    (told.map(row).collect(), n_unsteady)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::picture::Timed;

    const SILENCE: &str = "
        nodes = 3
        duration = \"4s\"
        settle = \"1s\"
        messages = { rate = 0, start = \"1s\", stop = \"2s\" }";

    #[test]
    fn many_points_keep_their_peaks() {
        let sample = |n: u32| Sample { seconds: f64::from(n), up: 9, ..Sample::default() };
        let mut samples: Vec<Sample> = (0..5000).map(sample).collect();
        (samples[4321].p99_ms, samples[1234].up) = (99.0, 3);
        let all = series(&samples);
        let of =
            |name: &str| all[name].as_array().expect("a list").iter().map(Value::as_f64).collect::<Vec<_>>();
        assert!(of("seconds").len() <= POINTS_MAX && of("seconds").len() == of("p99").len());
        assert_eq!(
            of("p99").into_iter().flatten().collect::<Vec<_>>(),
            [99.0],
            "and nothing where there was nothing"
        );
        assert_eq!(of("up").into_iter().flatten().fold(9.0, f64::min), 3.0);
    }

    #[test]
    fn nodes_of_a_large_world_are_told_of_if_something_is_to_be_told() {
        let mut report = crate::report::tests::report_of(SILENCE);
        let change = |seconds: f64, node, standing| Change { seconds, node, standing };
        let born = (0..1000).map(|node| change(1.0, node, Standing::Up));
        let died = [5, 800].map(|node| change(2.0, node, Standing::DownUnnoticed));
        report.picture.standings = born.chain(died).collect();
        let (told, n) = rows(&report);
        assert_eq!((told.len(), n), (2, 2));
        assert_eq!(told[1], json!([800, [[1.0, 1], [2.0, 5]]]));
        let many = (0..1000).map(|node| change(3.0, node, Standing::Suspected));
        report.picture.standings.extend(many);
        let (told, n) = rows(&report);
        assert_eq!((told.len(), n), (ROWS_MAX, 1000));
    }

    /// Goal: a page stays small, whatever was run.
    #[test]
    fn a_long_run_of_many_makes_no_large_page() {
        let mut report = crate::report::tests::report_of(SILENCE);
        let sample = |n: u32| Sample {
            seconds: f64::from(n) + 0.123,
            p99_ms: 1234.567,
            up: 9_999,
            ..Sample::default()
        };
        report.series = (0..100_000).map(sample).collect();
        let change = |n: u32| {
            let standing = if n.is_multiple_of(2) { Standing::Suspected } else { Standing::DownUnnoticed };
            Change { seconds: f64::from(n) / 7.0, node: n as usize * 7 % 10_000, standing }
        };
        report.picture.standings = (0..50_000).map(change).collect();
        report.picture.messages = vec![Timed { seconds: 1234.567, p99_ms: 45.678, ..Timed::default() }; 600];
        let size = of(&[&report; 4]).to_string().len();
        assert!(size < 380_000, "{size}");
    }
}
