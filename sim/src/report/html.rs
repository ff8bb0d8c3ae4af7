//! The report as one page that needs nothing else, no network least of all: verdict, figures, and how the run went, as
//! drawings. What is drawn stands in the page as JSON; `html/page.js` draws it with what is in `sim/vendor`.

mod data;

use core::fmt::Write;

use super::Report;
use super::beside::rows;
use crate::scenario::Trouble;

const STYLE: &str = include_str!("html/page.css");
const SCRIPT: &str = include_str!("html/page.js");
const UPLOT: &str = include_str!("../../vendor/uplot/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("../../vendor/uplot/uPlot.min.css");
const UPLOT_LICENCE: &str = include_str!("../../vendor/uplot/LICENSE");
const HIERARCHY: &str = include_str!("../../vendor/d3-hierarchy/d3-hierarchy.min.js");
const HIERARCHY_LICENCE: &str = include_str!("../../vendor/d3-hierarchy/LICENSE");

/// The browser fetches nothing, whatever the page says.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";
/// Violations that are told on top.
const TOLD_MAX: usize = 10;

/// A page about a run. `title` is what was run, `replay` the command that does it again. Of several reports the first
/// is the scenario's own, and the others are of the same with other protocols.
pub fn page(title: &str, reports: &[&Report], replay: &str) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <title>{}</title><style>{UPLOT_STYLE}\n{STYLE}</style></head><body>",
        escape(title)
    );
    let Some(report) = reports.first() else {
        page.push_str("<p>Nothing was run.</p></body></html>");
        return page;
    };
    head(&mut page, title, reports, report, replay);
    if reports.len() > 1 {
        beside(&mut page, reports);
    }
    page.push_str(
        "<main id=\"charts\"></main><noscript><p>The drawings need JavaScript.</p></noscript>\
         <section><h2>All figures</h2><div class=\"wide\"><table>",
    );
    for line in report.to_string().lines() {
        let (what, value) = line.split_at(line.char_indices().nth(28).map_or(line.len(), |(at, _)| at));
        let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escape(what.trim()), escape(value.trim()));
    }
    let _ = write!(
        page,
        "</table></div></section><footer><details><summary>Licences of what draws this page</summary>\
         <pre>uPlot\n\n{}\n\nd3-hierarchy\n\n{}</pre></details></footer>\
         <script>{UPLOT}</script><script>{HIERARCHY}</script>\
         <script type=\"application/json\" id=\"data\">{}</script><script>{SCRIPT}</script></body></html>\n",
        escape(UPLOT_LICENCE),
        escape(HIERARCHY_LICENCE),
        // As JSON writes it `<` means the same, and no script ends in the middle.
        data::of(reports).to_string().replace('<', "\\u003c")
    );
    page
}

/// What everybody wants to know first.
fn head(page: &mut String, title: &str, reports: &[&Report], report: &Report, replay: &str) {
    let is_good = report.is_good() && reports.iter().all(|report| report.violations.is_empty());
    let (class, verdict) = if is_good { ("good", "good") } else { ("bad", "not good") };
    let _ = write!(
        page,
        "<header><h1>{}: <span class=\"{class}\" id=\"verdict\">{verdict}</span></h1>\
         <p>{} &middot; {} nodes &middot; {} s of virtual time &middot; seed <b>{}</b> &middot; \
         trace <code>{}</code></p>",
        escape(title),
        report.protocol,
        report.nodes,
        report.seconds,
        report.seed,
        escape(&report.hash)
    );
    let _ = write!(
        page,
        "<p class=\"dim\">To run the same again:</p><pre id=\"replay\">{}</pre>",
        escape(replay)
    );
    page.push_str("<ul class=\"bad\" id=\"reasons\">");
    for (n, report) in reports.iter().enumerate() {
        reasons(page, report, n > 0);
    }
    page.push_str("</ul><dl class=\"tiles\">");
    for (what, value) in tiles(report) {
        let _ = write!(page, "<div><dt>{what}</dt><dd>{}</dd></div>", escape(&value));
    }
    page.push_str("</dl>");
    troubles(page, report);
    page.push_str("</header>");
}

/// What befell the nodes; drawings over time are shaded meanwhile.
fn troubles(page: &mut String, report: &Report) {
    if report.picture.troubles.is_empty() {
        return;
    }
    page.push_str("<p class=\"dim\" id=\"troubles\">Shaded below: ");
    for (n, Trouble { what, from, until }) in report.picture.troubles.iter().enumerate() {
        let comma = if n == 0 { "" } else { "; " };
        let time = if until > from { format!("{from} to {until} s") } else { format!("at {from} s") };
        let _ = write!(page, "{comma}{}, {time}", escape(what));
    }
    page.push_str(".</p>");
}

/// Why a run is not good. One that is only beside another need not deliver everything.
fn reasons(page: &mut String, report: &Report, is_beside: bool) {
    let of = if is_beside { format!("{}: ", report.protocol) } else { String::new() };
    let mut tell = |text: &str| {
        let _ = write!(page, "<li>{of}{}</li>", escape(text));
    };
    if report.planned > 0 && report.messages == 0 && !is_beside {
        tell("none of the messages left its author");
    }
    if report.missing > 0 && !is_beside {
        tell(&format!("{} of {} deliveries are missing", report.missing, report.expected));
    }
    for violation in report.violations.iter().take(TOLD_MAX) {
        let at = violation.at as f64 / 1e6;
        tell(&format!("{} at node {}, {at:.6} s: {}", violation.check, violation.node, violation.text));
    }
    let n_told = report.violations.len().min(TOLD_MAX) as u64;
    if report.n_violations > n_told {
        tell(&format!("and {} more", report.n_violations - n_told));
    }
}

fn tiles(report: &Report) -> Vec<(&'static str, String)> {
    let mut tiles = vec![("delivered", format!("{:.2} %", 100.0 * report.delivery_ratio))];
    if report.delivered > 0 {
        let latency = format!("{:.1} / {:.1} ms", report.latency_p50_ms, report.latency_p99_ms);
        tiles.push(("latency, median / 99 %", latency));
        tiles.push(("copies of a payload", format!("{:.3}", report.copies)));
    }
    if report.optimum_ratio_p99 > 0.0 {
        tiles.push(("time to 99 %, of the best", format!("{:.2} times", report.optimum_ratio_p99)));
    }
    tiles.push(("on the wire, a node", format!("{:.0} B/s", report.wire_bytes_per_node_second)));
    tiles.push(("violations", report.n_violations.to_string()));
    tiles
}

/// A column for each protocol.
fn beside(page: &mut String, reports: &[&Report]) {
    page.push_str("<section id=\"beside\"><h2>Side by side</h2><div class=\"wide\"><table><tr><th></th>");
    for report in reports {
        let _ = write!(page, "<th>{}</th>", report.protocol);
    }
    page.push_str("</tr>");
    for (what, values) in rows(reports) {
        let _ = write!(page, "<tr><td>{}</td>", escape(what));
        for value in values {
            let _ = write!(page, "<td>{}</td>", escape(&value));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div></section>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is put into a page as it is must not end the element that it is in.
    #[test]
    fn scripts_end_where_they_should() {
        for part in [SCRIPT, UPLOT, HIERARCHY] {
            assert!(!part.to_lowercase().contains("</script") && !part.contains("<!--"));
        }
        assert!([STYLE, UPLOT_STYLE].iter().all(|part| !part.to_lowercase().contains("</style")));
    }
}
