//! `djembe bench slow-reader`: what it costs the others, and the speaker, that one reader stands still.
//!
//! In turns all read, one is stopped (SIGSTOP), and it goes on (SIGCONT); the speaker speaks all the time. So what is
//! compared are seconds that lie next to each other, several times.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::slow_reader_node::{Command, Heard, Report, Setup, Spoke};
use super::tally::{Histogram, median};
use super::{LaneArg, SlowReaderArgs, end, failed, print, scratch, unless_interrupted};
use crate::cli::exit::{Exit, Failure};
use crate::cli::global::Global;
use crate::cli::scratch::{Scratch, monotonic_ns, random_name};
use crate::cli::worker::{Crew, Trouble};

/// The hidden subcommand each of the nodes runs.
pub(in crate::cli) const WORKER: &str = "bench-slow-reader-node";

/// For processes to start and to be heard.
const START_MAX: Duration = Duration::from_secs(30);
/// For all to have all after a round.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);
/// For the last live messages.
const LIVE_MAX: Duration = Duration::from_secs(2);
/// For a process to say something that it has at hand.
const TELL_MAX: Duration = Duration::from_secs(10);
/// Between rounds: links are made again, and what was slow is prompt.
const CALM: Duration = Duration::from_secs(3);
/// Stretches of a round: all read, one stands still, it goes on.
const STRETCHES: usize = 3;

/// What came out. Names and units are part of the interface of `--json`.
#[derive(Clone, Debug, Serialize)]
struct Figures {
    measure: &'static str,
    lane: &'static str,
    /// Where messages were kept: `memory` or `disk`.
    store: &'static str,
    size: u32,
    rate: u32,
    readers: usize,
    /// Of each stretch.
    seconds: f64,
    /// Of the readers that were never stopped, all rounds together.
    before: Times,
    stopped: Times,
    woken: Times,
    /// `stopped` to `before`.
    p50_ratio: f64,
    p99_ratio: f64,
    /// The middle of the ratios of the rounds.
    p99_ratio_median: f64,
    /// The most that waited for the one that stood still.
    queued_bytes_max: usize,
    /// What the speaker grew by while all read, and while one stood still; the middle of the rounds.
    rss_growth_before_kib: f64,
    rss_growth_stopped_kib: f64,
    sent: u64,
    /// What the one that was stopped never got.
    missed: u64,
    /// What others never got.
    lost: u64,
    duplicates: u64,
    out_of_order: u64,
    corrupt: u64,
    rounds: Vec<Round>,
}

/// How long messages took.
#[derive(Clone, Debug, Serialize)]
struct Times {
    received: u64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

/// One round; seconds are counted from the moment in which the reader was stopped, or went on.
#[derive(Clone, Debug, Serialize)]
struct Round {
    before: Times,
    stopped: Times,
    woken: Times,
    p99_ratio: f64,
    queued_bytes_max: usize,
    rss_growth_before_kib: Option<i64>,
    rss_growth_stopped_kib: Option<i64>,
    slow_secs: Option<f64>,
    blocked_secs: Option<f64>,
    suspect_secs: Option<f64>,
    /// Until the speaker had no link to it.
    unlinked_secs: Option<f64>,
    gone_secs: Option<f64>,
    /// Until it had everything, after it went on, if that is asked of it.
    caught_up_secs: Option<f64>,
}

impl Times {
    fn of(histogram: &Histogram) -> Self {
        let us = |ns: u64| Duration::from_nanos(ns).as_secs_f64() * 1e6;
        Self {
            received: histogram.n(),
            p50_us: us(histogram.percentile(50)),
            p99_us: us(histogram.percentile(99)),
            max_us: us(histogram.max()),
        }
    }
}

impl Figures {
    fn is_sound(&self) -> bool {
        let is_whole = self.lane == "live" || self.missed == 0 && self.lost == 0;
        is_whole && self.duplicates == 0 && self.out_of_order == 0 && self.corrupt == 0
    }
}

/// Runs it. Whatever happens, processes and directories are gone afterwards.
pub(super) async fn run(args: SlowReaderArgs, global: &Global) -> Result<(), Failure> {
    let n_messages = (f64::from(args.rate) * args.secs).round().max(1.0) as u64;
    let mut run = Run {
        args,
        global,
        scratch: scratch()?,
        crew: Crew::new(WORKER),
        n_messages,
        readers: Vec::new(),
        stopped_id: String::new(),
        sent: 0,
    };
    let figures = unless_interrupted(run.play()).await;
    let figures = end(run.crew, run.scratch, figures).await?;
    print(&figures, table, global)?;
    if figures.is_sound() {
        Ok(())
    } else {
        let what = "what came is not what was sent: see missed, lost, duplicates, out_of_order and corrupt";
        Err(Failure::new(Exit::Failure, what))
    }
}

struct Run<'a> {
    args: SlowReaderArgs,
    global: &'a Global,
    scratch: Scratch,
    crew: Crew<Report>,
    /// Of a stretch.
    n_messages: u64,
    /// The last one is stopped.
    readers: Vec<usize>,
    stopped_id: String,
    sent: u64,
}

/// What the speaker said of the reader, and when.
#[derive(Default)]
struct Told {
    spoke: Spoke,
    said: Vec<(String, u64)>,
}

impl Told {
    /// Seconds until it was said that it is so.
    fn secs(&self, what: &str, since: u64) -> Option<f64> {
        let found = self.said.iter().find(|(said, at)| said == what && *at >= since);
        found.map(|(_, at)| Duration::from_nanos(at - since).as_secs_f64())
    }
}

/// A round as it was played.
struct Played {
    before: Spoke,
    stopped: Told,
    stopped_at: u64,
    caught_up_secs: Option<f64>,
}

const SPEAKER: usize = 0;

impl Run<'_> {
    async fn play(&mut self) -> Result<Figures, Failure> {
        self.gather().await?;
        let SlowReaderArgs { rate, rounds, secs, .. } = self.args;
        let n = self.readers.len();
        self.global.say(format_args!(
            "slow-reader: {n} readers, {rate} msg/s; {rounds} rounds: {secs} s all read, {secs} s one stands still, \
             {secs} s it goes on"
        ));
        // Not counted: routines are loaded, and round trips known.
        self.speak().await?;
        let mut played = Vec::new();
        for round in 1..=rounds {
            sleep(CALM).await;
            played.push(self.round().await?);
            self.global.say(format_args!("slow-reader: round {round} of {rounds}"));
        }
        let heard = self.heard().await?;
        Ok(figures(self, &played, &heard))
    }

    async fn round(&mut self) -> Result<Played, Failure> {
        let stopped = self.stopped();
        let before = self.speak().await?.spoke;
        self.crew.stand_still(stopped);
        let stopped_at = monotonic_ns();
        let told = self.speak().await?;
        self.crew.go_on(stopped);
        let woken_at = Instant::now();
        self.speak().await?;
        let caught_up_secs = self.catch_up(woken_at).await?;
        Ok(Played { before, stopped: told, stopped_at, caught_up_secs })
    }

    fn stopped(&self) -> usize {
        self.readers[self.readers.len() - 1]
    }

    /// Starts everybody, and waits until every reader hears the speaker.
    async fn gather(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START_MAX;
        let setup = Setup {
            network: format!("bench-{}", random_name()),
            is_live: self.args.lane == LaneArg::Live,
            size: self.args.size as usize,
            data_dir: None,
            peer: None,
            stretch: self.n_messages,
        };
        self.start("speaker", setup.clone()).await?;
        let (_, address) = self.ready(deadline).await?;
        let none = || Failure::new(Exit::Address, "the speaker could not listen on 127.0.0.1");
        let peer = Some(address.ok_or_else(none)?);
        for n in 1..=self.args.readers {
            let number =
                self.start(&format!("reader-{n}"), Setup { peer: peer.clone(), ..setup.clone() }).await?;
            self.readers.push(number);
        }
        let (mut n_linked, mut n_ready) = (0, 0);
        while n_linked < self.readers.len() || n_ready < self.readers.len() {
            match self.next(deadline).await? {
                Some((_, Report::Linked)) => n_linked += 1,
                Some((number, Report::Ready { peer_id, .. })) => {
                    n_ready += 1;
                    if number == self.stopped() {
                        self.stopped_id = peer_id;
                    }
                }
                Some(_) => {}
                None => {
                    let what = format!(
                        "only {n_linked} of {} readers heard the speaker within {} s; try fewer with --readers, or \
                         when the machine is less busy",
                        self.readers.len(),
                        START_MAX.as_secs()
                    );
                    return Err(Failure::new(Exit::TimedOut, what));
                }
            }
        }
        Ok(())
    }

    async fn start(&mut self, name: &str, setup: Setup) -> Result<usize, Failure> {
        // What is live is kept nowhere, so the disk has no part in it.
        let data_dir = (!setup.is_live).then(|| self.scratch.path().join(name));
        self.crew.start(name, &Command::Begin(Setup { data_dir, ..setup })).await.map_err(failed)
    }

    async fn ready(&mut self, deadline: Instant) -> Result<(usize, Option<String>), Failure> {
        loop {
            match self.next(deadline).await? {
                Some((number, Report::Ready { listen, .. })) => {
                    return Ok((number, listen.into_iter().next()));
                }
                Some(_) => {}
                None => return Err(failed(Trouble::Late)),
            }
        }
    }

    /// The next report; none if none comes in time.
    async fn next(&mut self, deadline: Instant) -> Result<Option<(usize, Report)>, Failure> {
        match self.crew.next(deadline).await {
            Ok(report) => Ok(Some(report)),
            Err(Trouble::Late) => Ok(None),
            Err(trouble) => Err(failed(trouble)),
        }
    }

    /// One stretch, and what the speaker tells meanwhile.
    async fn speak(&mut self) -> Result<Told, Failure> {
        let command = Command::Speak { rate: self.args.rate, reader: self.stopped_id.clone() };
        self.crew.tell(SPEAKER, &command).await.map_err(failed)?;
        self.sent += self.n_messages;
        let deadline = Instant::now() + Duration::from_secs_f64(self.args.secs) + CATCH_UP_MAX;
        let mut told = Told::default();
        loop {
            match self.next(deadline).await? {
                Some((SPEAKER, Report::Said { of, what, at_ns })) if of == self.stopped_id => {
                    told.said.push((what, at_ns));
                }
                Some((_, Report::Unlinked { at_ns })) => told.said.push(("unlinked".to_owned(), at_ns)),
                Some((_, Report::Spoke(spoke))) => {
                    told.spoke = spoke;
                    return Ok(told);
                }
                Some(_) => {}
                None => {
                    let what = "stuck: the speaker got nothing accepted; report this with the command line";
                    return Err(Failure::new(Exit::TimedOut, what));
                }
            }
        }
    }

    /// Waits until everybody has everything, but for what is live and was said while one stood still; seconds until that
    /// one has.
    async fn catch_up(&mut self, woken_at: Instant) -> Result<Option<f64>, Failure> {
        let is_live = self.args.lane == LaneArg::Live;
        let mut waiting = self.readers.clone();
        let patience = if is_live { LIVE_MAX } else { CATCH_UP_MAX };
        waiting.truncate(waiting.len() - usize::from(is_live));
        for reader in &waiting {
            self.crew.tell(*reader, &Command::Await(self.sent)).await.map_err(failed)?;
        }
        let deadline = Instant::now() + patience;
        let (mut n_there, mut caught_up_secs) = (0, None);
        while n_there < waiting.len() {
            match self.next(deadline).await? {
                Some((number, Report::There)) => {
                    n_there += 1;
                    if number == self.stopped() {
                        caught_up_secs = Some(woken_at.elapsed().as_secs_f64());
                    }
                }
                Some(_) => {}
                // What is missing is told by the figures.
                None => break,
            }
        }
        Ok(caught_up_secs)
    }

    /// What each reader has got, in their order.
    async fn heard(&mut self) -> Result<Vec<Heard>, Failure> {
        let deadline = Instant::now() + TELL_MAX;
        let mut all = Vec::new();
        for reader in self.readers.clone() {
            self.crew.tell(reader, &Command::Tell).await.map_err(failed)?;
            let heard = loop {
                match self.next(deadline).await? {
                    Some((_, Report::Heard(heard))) => break *heard,
                    Some(_) => {}
                    None => return Err(failed(Trouble::Late)),
                }
            };
            all.push(heard);
        }
        Ok(all)
    }
}

fn figures(run: &Run<'_>, played: &[Played], heard: &[Heard]) -> Figures {
    let args = &run.args;
    let is_live = args.lane == LaneArg::Live;
    let (last_one, others) = heard.split_last().map_or((None, heard), |(last, others)| (Some(last), others));
    let in_stretch = |stretch: usize| {
        let mut all = Histogram::default();
        others.iter().filter_map(|one| one.latencies.get(stretch)).for_each(|one| all.merge(one));
        all
    };
    let mut all = [Histogram::default(), Histogram::default(), Histogram::default()];
    let mut rounds = Vec::new();
    for (n, round) in played.iter().enumerate() {
        // The first stretch of all was to warm up.
        let each: [Histogram; STRETCHES] = std::array::from_fn(|of| in_stretch(1 + n * STRETCHES + of));
        all.iter_mut().zip(&each).for_each(|(all, one)| all.merge(one));
        rounds.push(figures_of(round, each.map(|one| Times::of(&one))));
    }
    let [before, stopped, woken] = all.map(|one| Times::of(&one));
    let growth = |of: fn(&Round) -> Option<i64>| median(rounds.iter().filter_map(of).map(|kib| kib as f64));
    let missing = |one: &Heard| run.sent - one.unique;
    let sum = |count: fn(&Heard) -> u64| heard.iter().map(count).sum();
    Figures {
        measure: "slow-reader",
        lane: if is_live { "live" } else { "durable" },
        store: if is_live { "memory" } else { "disk" },
        size: args.size,
        rate: args.rate,
        readers: heard.len(),
        seconds: args.secs,
        p50_ratio: ratio(stopped.p50_us, before.p50_us),
        p99_ratio: ratio(stopped.p99_us, before.p99_us),
        p99_ratio_median: median(rounds.iter().map(|round| round.p99_ratio)),
        before,
        stopped,
        woken,
        queued_bytes_max: rounds.iter().map(|round| round.queued_bytes_max).max().unwrap_or_default(),
        rss_growth_before_kib: growth(|round| round.rss_growth_before_kib),
        rss_growth_stopped_kib: growth(|round| round.rss_growth_stopped_kib),
        sent: run.sent,
        missed: last_one.map_or(0, missing),
        lost: others.iter().map(missing).sum(),
        duplicates: sum(|one| one.duplicates),
        out_of_order: sum(|one| one.late),
        corrupt: sum(|one| one.corrupt),
        rounds,
    }
}

fn figures_of(round: &Played, [before, stopped, woken]: [Times; STRETCHES]) -> Round {
    let Played { before: calm, stopped: told, stopped_at, caught_up_secs } = round;
    let growth = |spoke: &Spoke| {
        let (before, after) = spoke.rss_kib_before.zip(spoke.rss_kib_after)?;
        Some(i64::try_from(after).ok()? - i64::try_from(before).ok()?)
    };
    let secs = |what| told.secs(what, *stopped_at);
    Round {
        p99_ratio: ratio(stopped.p99_us, before.p99_us),
        before,
        stopped,
        woken,
        queued_bytes_max: told.spoke.queued_max,
        rss_growth_before_kib: growth(calm),
        rss_growth_stopped_kib: growth(&told.spoke),
        slow_secs: secs("slow"),
        blocked_secs: secs("blocked"),
        suspect_secs: secs("suspect"),
        unlinked_secs: secs("unlinked"),
        gone_secs: secs("gone"),
        caught_up_secs: *caught_up_secs,
    }
}

fn ratio(of: f64, to: f64) -> f64 {
    if to > 0.0 { of / to } else { 0.0 }
}

/// For people.
fn table(figures: &Figures) -> String {
    let Figures { lane, store, size, rate, readers, seconds, rounds, .. } = figures;
    let times = |name: &str, times: &Times| {
        let Times { received, p50_us, p99_us, max_us } = times;
        format!("  {name:<9} p50 {p50_us:.0} us, p99 {p99_us:.0} us, longest {max_us:.0} us, of {received}")
    };
    let or = |secs: Option<f64>| secs.map_or_else(|| "-".to_owned(), |secs| format!("{secs:.2}"));
    let mut lines = vec![
        format!(
            "slow-reader  {readers} readers, {size} B at {rate}/s, {lane} lane (kept: {store}), {} rounds of 3 x \
             {seconds} s",
            rounds.len()
        ),
        times("before", &figures.before),
        times("stopped", &figures.stopped),
        times("woken", &figures.woken),
        format!(
            "  ratio     stopped to before: p50 {:.3}, p99 {:.3} (of rounds, the middle: {:.3})",
            figures.p50_ratio, figures.p99_ratio, figures.p99_ratio_median
        ),
        format!(
            "  memory    at most {} bytes waited for it; the speaker grew by {:.0} KiB, before by {:.0} KiB",
            figures.queued_bytes_max, figures.rss_growth_stopped_kib, figures.rss_growth_before_kib
        ),
        format!(
            "  whole     of {} it missed {}, others {}; duplicates {}, out of order {}, changed {}",
            figures.sent,
            figures.missed,
            figures.lost,
            figures.duplicates,
            figures.out_of_order,
            figures.corrupt
        ),
    ];
    lines.extend(rounds.iter().enumerate().map(|(n, round)| {
        format!(
            "  round {:<3} p99 x {:.3}; slow after {} s, blocked {}, suspect {}, unlinked {}, gone {}; had all {} s \
             after it went on",
            n + 1,
            round.p99_ratio,
            or(round.slow_secs),
            or(round.blocked_secs),
            or(round.suspect_secs),
            or(round.unlinked_secs),
            or(round.gone_secs),
            or(round.caught_up_secs)
        )
    }));
    lines.join("\n")
}
