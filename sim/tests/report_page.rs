//! The page of a report, opened in a browser: all there is to draw is drawn, and what there is nothing of says why.
//!
//! Needs Chromium. Without it these tests skip themselves, saying so; with `DJEMBE_REQUIRE_BROWSER=1` they fail.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use djembe_sim::baseline::Protocol;
use djembe_sim::ledger::Stop;
use djembe_sim::report::{self, Beside, Report};
use djembe_sim::scenario::Scenario;

/// All drawings.
const CHARTS: [&str; 12] = [
    "delivery",
    "latency",
    "optimum",
    "copies",
    "bytes",
    "kinds",
    "bandwidth",
    "depth",
    "network",
    "presence",
    "standings",
    "tree",
];
/// Those of messages.
const OF_MESSAGES: [&str; 6] = ["delivery", "latency", "optimum", "copies", "depth", "tree"];

/// Nodes enough that there are trees, two of which die.
const SMALL: &str = "
    nodes = 24
    duration = \"24s\"
    settle = \"4s\"
    latency = \"5ms\"
    spread = \"20ms\"
    messages = { rate = 1, senders = 6, start = \"6s\", stop = \"14s\" }
    crashes = [{ node = 7, at = \"8s\" }, { node = 9, at = \"8s\", restart = \"10s\" }]
";

/// What befell these.
const SHADED: &str = "Shaded below: node 7 is down, 8 to 24 s; node 9 is down, 8 to 10 s.";

/// Nobody says anything.
const SILENT: &str = "
    nodes = 3
    duration = \"6s\"
    settle = \"1s\"
    messages = { rate = 0, start = \"1s\", stop = \"2s\" }
";

fn scenario(text: &str) -> Scenario {
    Scenario::parse(text, &[]).expect("a scenario")
}

/// Where the browser is; nothing, having said so, if it is nowhere and need not be.
fn browser() -> Option<&'static str> {
    let found =
        Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some("chromium");
    }
    let is_required = std::env::var_os("DJEMBE_REQUIRE_BROWSER").is_some_and(|value| value == "1");
    assert!(!is_required, "DJEMBE_REQUIRE_BROWSER=1, but there is no chromium");
    eprintln!("skipped: there is no chromium");
    None
}

/// A directory that is gone when this is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("djembe-page-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("room for a page");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(browser: &str, page: &Path, profile: &Path) -> Output {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // What the browser itself would like to fetch goes nowhere either.
        .arg("--proxy-server=127.0.0.1:9")
        .args([
            "--enable-logging=stderr",
            "--window-size=1200,900",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output();
    output.expect("a browser that starts")
}

/// What a browser has made of a page: how much is drawn in each chart, and the document.
struct Seen {
    charts: Vec<(String, u64)>,
    document: String,
}

/// Opens a page, in which nothing may go wrong and which may ask for nothing.
fn see(name: &str, page: &str) -> Option<Seen> {
    let browser = browser()?;
    let scratch = Scratch::new(name);
    let file = scratch.0.join("page.html");
    std::fs::write(&file, page).expect("a page");
    let output = open(browser, &file, &scratch.0.join("profile"));
    let (document, log) =
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr));
    let said: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(output.status.success(), "{log}");
    assert!(said.is_empty(), "{said:#?}");
    assert!(document.contains("<body data-requests=\"0\">"), "{document}");
    let tags = document.split("<figure ").skip(1).filter_map(|rest| rest.split('>').next());
    let value = |tag: &str, name: &str| {
        let rest = tag.split_once(&format!("{name}=\"")).map(|(_, rest)| rest)?;
        rest.split('"').next().map(str::to_owned)
    };
    let chart = |tag: &str| {
        let id = value(tag, "data-chart").expect("a name");
        let drawn = value(tag, "data-drawn").unwrap_or_else(|| panic!("{id} is neither drawn nor empty"));
        (id, drawn.parse().expect("a number"))
    };
    Some(Seen { charts: tags.map(chart).collect(), document })
}

fn check_all_drawn(seen: &Seen) {
    let names: Vec<&str> = seen.charts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, CHARTS);
    let empty: Vec<_> = seen.charts.iter().filter(|(_, drawn)| *drawn < 20).collect();
    assert!(empty.is_empty(), "{empty:?}");
}

/// Goal: of a run in which there is something of everything all is drawn, from a file, with nothing said on the console
/// and nothing asked of a network; and what one wants to know first comes first.
#[test]
fn everything_is_drawn_from_a_file() {
    let report = report::run(&scenario(SMALL), |_| ());
    assert!(report.is_good(), "{report}");
    let page = report::html::page("small", &[&report], "djembe-sim run small --seed 1");
    assert!(page.len() < 500_000, "{}", page.len());
    let at = |what: &str| page.find(what).unwrap_or_else(|| panic!("no {what}"));
    let first =
        ["id=\"verdict\">good", "seed <b>1</b>", "djembe-sim run small --seed 1", SHADED, "id=\"charts\""]
            .map(at);
    assert!(first.is_sorted(), "{first:?}");
    let Some(seen) = see("drawn", &page) else { return };
    check_all_drawn(&seen);
    assert!(!seen.document.contains("class=\"nothing\""));
    assert!(seen.document.contains("23 of 23 nodes") || seen.document.contains("24 of 24 nodes"));
}

/// Goal: where there is nothing to draw the page says so, and why.
#[test]
fn a_chart_of_nothing_says_why() {
    let report = report::run(&scenario(SILENT), |_| ());
    let page = report::html::page("silence", &[&report], "");
    let Some(seen) = see("nothing", &page) else { return };
    for (name, drawn) in &seen.charts {
        assert_eq!(*drawn == 0, OF_MESSAGES.contains(&name.as_str()), "{name}: {drawn}");
    }
    assert_eq!(seen.document.matches(">The scenario has no messages.<").count(), OF_MESSAGES.len());
}

/// Goal: a page of several protocols has a column for each, and draws them in one chart where they can be compared.
#[test]
fn protocols_stand_side_by_side_on_a_page() {
    let others = [Protocol::Flood, Protocol::Plumtree];
    let beside = Beside::run("small", &scenario(SMALL), &others, &Stop::default(), |_, _| ());
    let beside = beside.expect("a scenario for all");
    let reports: Vec<&Report> = beside.reports().collect();
    let page = report::html::page("three", &reports, "");
    assert!(page.contains("<th>djembe</th><th>flood</th><th>plumtree</th>"));
    assert!(
        page.contains("id=\"verdict\">good<") && page.contains("id=\"reasons\"></ul>"),
        "others may miss some"
    );
    let deep = |report: &&Report| report.last_hop_max > 1 && report.picture.hops.iter().sum::<u64>() > 0;
    assert!(reports.iter().all(deep), "hops are counted of all of them");
    let Some(seen) = see("beside", &page) else { return };
    check_all_drawn(&seen);
    assert!(["djembe, %", "flood, %", "plumtree, %"].iter().all(|label| seen.document.contains(label)));
}
