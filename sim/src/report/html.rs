//! The report as one page that needs nothing else: figures, and how the run went, as drawings.

use core::fmt::Write;

use super::Report;
use super::series::Sample;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;
/// Points of a line; more would not be seen.
const POINTS_MAX: usize = 600;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2024; --dim: #667078; --rule: #d5dade; --a: #0b6e99; --b: #c2571a; --c: #5b8c2a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --dim: #98a2aa; --rule: #3a4248; --a: #58b6dd; --b: #f0975c; --c: #a3cf6f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 720px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 2rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; } td { border-bottom: 1px solid var(--rule); padding: .2rem .4rem; }
td:first-child { color: var(--dim); } pre { overflow-x: auto; border: 1px solid var(--rule); padding: .6rem; }
svg { width: 100%; height: auto; } text { fill: var(--dim); font: 11px system-ui, sans-serif; }
.grid { stroke: var(--rule); stroke-width: 1; } .line { fill: none; stroke-width: 1.6; }
.key { font-size: .85rem; color: var(--dim); } .key b { font-weight: 600; } .bad { color: #c22; }
";

/// One line of a drawing.
struct Line<'a> {
    name: &'a str,
    color: &'a str,
    points: Vec<(f64, f64)>,
}

/// A page about a run. `title` is what was run, `text` the report for people, `replay` the command that does it again.
pub fn page(title: &str, report: &Report, text: &str, replay: &str) -> String {
    let verdict = if report.is_good() { "good" } else { "<span class=\"bad\">not good</span>" };
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style><h1>{0}: {verdict}</h1><table>",
        escape(title)
    );
    for line in text.lines() {
        let (what, value) = line.split_at(line.char_indices().nth(28).map_or(line.len(), |(at, _)| at));
        let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escape(what.trim()), escape(value.trim()));
    }
    page.push_str("</table>");
    let series = &report.series;
    let line = |name, color, of: fn(&Sample) -> f64| {
        let points = series.iter().map(|sample| (sample.seconds, of(sample))).collect();
        Line { name, color, points: thin(points) }
    };
    let spoken = |name, color, of: fn(&Sample) -> f64| {
        let heard = series.iter().filter(|sample| sample.deliveries > 0);
        Line { name, color, points: thin(heard.map(|sample| (sample.seconds, of(sample))).collect()) }
    };
    for (what, unit, lines) in [
        (
            "Publish to delivery",
            "ms",
            vec![spoken("median", "var(--a)", |s| s.p50_ms), spoken("99 %", "var(--b)", |s| s.p99_ms)],
        ),
        ("Copies of a payload that a node gets", "", vec![spoken("copies", "var(--a)", |s| s.copies)]),
        (
            "Bytes on the wire, a second and node",
            "B/s",
            vec![
                line("messages", "var(--a)", |s| s.message_bytes),
                line("presence", "var(--b)", |s| s.presence_bytes),
                line("background", "var(--c)", |s| s.background_bytes),
            ],
        ),
        ("Deliveries in a second", "", vec![line("deliveries", "var(--a)", |s| s.deliveries as f64)]),
        ("Nodes that run", "", vec![line("up", "var(--a)", |s| s.up as f64)]),
    ] {
        let _ = write!(page, "<h2>{what}</h2>");
        draw(&mut page, unit, &lines);
    }
    let _ = write!(page, "<h2>Again</h2><pre>{}</pre></html>", escape(replay));
    page
}

/// Of many points as many as can be told apart: of each stretch the highest.
fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(POINTS_MAX).max(1);
    let highest = |some: &[(f64, f64)]| some.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(stretch).filter_map(highest).collect()
}

fn draw(page: &mut String, unit: &str, lines: &[Line<'_>]) {
    let all = || lines.iter().flat_map(|line| &line.points);
    if all().next().is_none() {
        page.push_str("<p class=\"key\">nothing</p>");
        return;
    }
    let end = all().map(|(x, _)| *x).fold(0.0, f64::max).max(1.0);
    let top = round_up(all().map(|(_, y)| *y).fold(0.0, f64::max));
    let x = |seconds: f64| LEFT + seconds / end * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let _ = write!(page, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        let _ = write!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>\
             <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>",
            WIDTH - RIGHT,
            y(value),
            LEFT - 6.0,
            y(value) + 4.0,
            short(value)
        );
    }
    for part in 0..=4 {
        let seconds = end * f64::from(part) / 4.0;
        let _ = write!(
            page,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{} s</text>",
            x(seconds),
            HEIGHT - 8.0,
            short(seconds)
        );
    }
    for line in lines {
        let points: Vec<String> =
            line.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let _ = write!(
            page,
            "<polyline class=\"line\" stroke=\"{}\" points=\"{}\"/>",
            line.color,
            points.join(" ")
        );
    }
    page.push_str("</svg><p class=\"key\">");
    for line in lines {
        let _ = write!(page, "<b style=\"color:{}\">{}</b> ", line.color, line.name);
    }
    let _ = write!(page, "{unit}</p>");
}

/// The next of 1, 2, 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let mut step = 1e-3;
    while step < 1e15 {
        for times in [1.0, 2.0, 5.0] {
            if step * times >= value {
                return step * times;
            }
        }
        step *= 10.0;
    }
    step
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.3}G", v / 1e9),
        v if v >= 1e6 => format!("{:.3}M", v / 1e6),
        v if v >= 1e4 => format!("{:.1}k", v / 1e3),
        v if v >= 10.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        let ends = [0.0, 0.3, 1.0, 3.0, 7.0, 120.0, 5001.0].map(round_up);
        assert_eq!(ends.map(|end| (end * 1000.0).round()), [1.0, 500.0, 1e3, 5e3, 1e4, 2e5, 1e7]);
    }

    #[test]
    fn many_points_keep_their_peaks() {
        let mut points: Vec<(f64, f64)> = (0..5000).map(|n| (f64::from(n), 1.0)).collect();
        points[4321].1 = 99.0;
        let thinned = thin(points);
        assert!(thinned.len() <= POINTS_MAX && thinned.contains(&(4321.0, 99.0)));
    }
}
