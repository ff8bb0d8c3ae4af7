//! `djembe demo`: the main job in one command, on one machine.
//!
//! Three nodes, each a process with keys, store and sockets of its own, find each other by beacon, talk, lose one
//! to SIGKILL, talk on, and take it back in. Every sentence printed was checked before it was printed. The nodes
//! have a network name, a beacon port and a passphrase of their own, so the demo disturbs nobody and meets nobody.

mod node;
mod printer;
mod told;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use self::node::{Report, Setup};
use self::printer::Printer;
use self::told::{Told, search};
use super::exit::{Exit, Failure};
use super::global::Global;
use super::scratch::{Scratch, free_port, monotonic_ns, random_name};
use super::worker::{Crew, Trouble, interrupted};

pub(super) use self::node::run as run_worker;

/// The hidden subcommand each of the nodes runs.
pub(super) const WORKER: &str = "demo-worker";

const NAMES: [&str; 3] = ["Ana", "Ben", "Cleo"];
/// Each says so many lines while all are there.
const LINES: usize = 3;
/// So many more while one is away.
const LINES_AWAY: usize = 2;
/// Everything but the detection of a death takes a fraction of this.
const SOON: Duration = Duration::from_secs(20);
/// For a node to say how it sees things after a failure.
const STATE_PATIENCE: Duration = Duration::from_secs(2);
/// Detecting a death may take several rounds of probing.
const DEATH: Duration = Duration::from_secs(45);

/// See a conversation of three nodes on this machine: found, encrypted, interrupted, caught up.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {}

/// Runs the demo; success only if every step was true.
///
/// # Errors
/// If a step was not true. It has been printed, with what to try.
pub(super) async fn run(_: DemoArgs, global: &Global) -> Result<(), Failure> {
    let printer = Printer { json: global.json, quiet: global.quiet, began: Instant::now() };
    let given = global.given_of_node();
    if !given.is_empty() {
        global.say(format_args!("the demo has nodes of its own; left out: {}", given.join(", ")));
    }
    printer.headline();
    let ended = match Demo::new(printer) {
        Ok(mut demo) => {
            let played = tokio::select! {
                played = demo.play() => played.map_err(Some),
                () = interrupted() => Err(None),
            };
            if let Err(Some(_)) = played {
                demo.tell_state().await;
            }
            demo.end(played).await
        }
        Err(error) => {
            Err(Some(Untrue::new("start", error, "make room in the directory for temporary files")))
        }
    };
    match ended {
        Ok(()) => {
            printer.verdict();
            Ok(())
        }
        Err(Some(untrue)) => {
            printer.untrue(&untrue);
            Err(Failure::new(Exit::Failure, ""))
        }
        Err(None) => Err(Failure::new(Exit::Interrupted, "interrupted")),
    }
}

/// What was not true, and what to try.
#[derive(Debug)]
struct Untrue {
    step: &'static str,
    what: String,
    hint: &'static str,
}

impl Untrue {
    fn new(step: &'static str, what: impl ToString, hint: &'static str) -> Self {
        Self { step, what: what.to_string(), hint }
    }
}

/// A line that was said: by whom, when, what.
struct Line {
    author: String,
    text: String,
    at: u64,
}

struct Demo {
    crew: Crew<Report>,
    scratch: Scratch,
    setup: Setup,
    told: Vec<Told>,
    said: Vec<Line>,
    printer: Printer,
    /// Which step the demo is at.
    step: &'static str,
}

impl Demo {
    fn new(printer: Printer) -> std::io::Result<Self> {
        let scratch = Scratch::new("demo")?;
        let setup = Setup {
            network: format!("demo-{}", random_name()),
            group: "campfire".to_owned(),
            passphrase: random_name(),
            data_dir: scratch.path().to_owned(),
            beacon_port: free_port()?,
        };
        let crew = Crew::new(WORKER);
        Ok(Self { crew, scratch, setup, told: Vec::new(), said: Vec::new(), printer, step: "start" })
    }

    /// The story.
    async fn play(&mut self) -> Result<(), Untrue> {
        self.step = "start";
        for name in NAMES {
            self.start(name).await?;
        }
        let [ana, ben, cleo] = [0, 1, 2];
        let everybody = [ana, ben, cleo];
        self.start_step(&everybody).await?;
        self.found_step(&everybody).await?;
        self.talk_step(&everybody).await?;
        self.sealed_step()?;
        let killed = self.kill_step(cleo).await;
        self.gone_step(&[ana, ben], cleo, killed).await?;
        self.talk_on_step(&[ana, ben]).await?;
        let returned = self.return_step(cleo, &[ana, ben]).await?;
        self.together_step(returned, &[ana, ben, returned]).await?;
        self.step = "once";
        self.check_all(&[(ana, None), (ben, None), (returned, Some(cleo))])?;
        let n = self.said.len();
        self.ok(
            &format!("All {n} lines reached all three, each author's in order, each once."),
            json!({"lines": n}),
        );
        Ok(())
    }

    async fn start_step(&mut self, everybody: &[usize]) -> Result<(), Untrue> {
        self.until(SOON, "a node was not ready", |told| told.iter().all(|told| told.ready > 0).then_some(()))
            .await?;
        let ready: Vec<f64> =
            everybody.iter().map(|n| ms(self.told[*n].ready - self.told[*n].started)).collect();
        let slowest = ready.iter().copied().fold(0.0, f64::max);
        self.ok(
            &format!(
                "Ana, Ben and Cleo run, each a process with keys and a store of its own; ready within {slowest:.0} ms."
            ),
            json!({ "ready_ms": ready }),
        );
        Ok(())
    }

    async fn found_step(&mut self, everybody: &[usize]) -> Result<(), Untrue> {
        self.step = "found";
        let n = everybody.len();
        let found = self
            .until(SOON, "the nodes did not all find each other", |told| {
                let all = told.iter().all(|told| told.members.len() == n - 1);
                all.then(|| told.iter().flat_map(|told| told.members.values()).copied().max()).flatten()
            })
            .await?;
        let ready = self.told.iter().map(|told| told.ready).max().unwrap_or_default();
        let started = self.told.iter().map(|told| told.started).min().unwrap_or_default();
        self.ok(
            &format!(
                "They found each other by beacon and proved to know the passphrase: {:.0} ms after the first was \
                 started, {:.0} ms after the last was ready.",
                ms(found - started),
                ms(found.saturating_sub(ready))
            ),
            json!({ "start_to_found_ms": ms(found - started), "ready_to_found_ms": ms(found.saturating_sub(ready)) }),
        );
        Ok(())
    }

    async fn talk_step(&mut self, everybody: &[usize]) -> Result<(), Untrue> {
        self.step = "talk";
        let found = monotonic_ns();
        for n in 0..LINES {
            for who in everybody {
                self.say(*who, &format!("line {} of {}", n + 1, LINES)).await?;
            }
        }
        let from = self.said[0].at;
        let heard = self.all_heard(everybody, 0).await?;
        self.all_stored(everybody, 0).await?;
        let first = everybody[1..].iter().filter_map(|n| self.told[*n].heard_at(&self.said[0].text)).max();
        let first = first.unwrap_or(heard).saturating_sub(from);
        for who in everybody {
            self.check(*who, 0)?;
        }
        let (slowest, n) = (self.slowest(everybody, 0), self.said.len());
        self.ok(
            &format!(
                "Each said {LINES} lines; all {n} were seen by all three, in order, once, and are on the disks of \
                 both others. The first line took {:.1} ms, the slowest {:.1} ms.",
                ms(first),
                ms(slowest)
            ),
            json!({
                "lines": n,
                "found_to_first_message_ms": ms(first + from.saturating_sub(found)),
                "first_ms": ms(first),
                "slowest_ms": ms(slowest),
            }),
        );
        Ok(())
    }

    fn sealed_step(&mut self) -> Result<(), Untrue> {
        self.step = "sealed";
        let words: Vec<&str> = self.said.iter().map(|line| line.text.as_str()).collect();
        let bytes = search(self.scratch.path(), &words).map_err(|what| {
            Untrue::new(self.step, what, "report this: what is kept should be readable to members only")
        })?;
        let kib = bytes / 1024;
        self.ok(
            &format!("None of it can be read in the {kib} KiB they keep on disk."),
            json!({ "disk_kib": kib }),
        );
        Ok(())
    }

    async fn kill_step(&mut self, who: usize) -> u64 {
        self.step = "kill";
        let at = monotonic_ns();
        self.crew.kill(who).await;
        let name = self.crew.name(who);
        self.printer.step(
            self.step,
            &format!("{name} was killed (SIGKILL), with no chance to say goodbye."),
            json!({}),
        );
        at
    }

    async fn gone_step(&mut self, others: &[usize], who: usize, killed: u64) -> Result<(), Untrue> {
        self.step = "gone";
        let peer = self.told[who].peer.clone();
        let gone = self
            .until(DEATH, "its death was not seen by both others", |told| {
                let seen: Option<Vec<u64>> =
                    others.iter().map(|n| told[*n].gone.get(&peer).copied()).collect();
                seen
            })
            .await?;
        let gone: Vec<f64> = gone.iter().map(|at| ms(at.saturating_sub(killed))).collect();
        self.ok(
            &format!("Ana saw Cleo gone after {:.0} ms, Ben after {:.0} ms.", gone[0], gone[1]),
            json!({ "kill_to_gone_ms": gone }),
        );
        Ok(())
    }

    async fn talk_on_step(&mut self, others: &[usize]) -> Result<(), Untrue> {
        self.step = "talk on";
        let from = self.said.len();
        for n in 0..LINES_AWAY {
            for who in others {
                self.say(*who, &format!("line {} without Cleo", n + 1)).await?;
            }
        }
        self.all_heard(others, from).await?;
        self.all_stored(others, from).await?;
        for who in others {
            self.check(*who, 0)?;
        }
        let (slowest, n) = (self.slowest(others, from), self.said.len() - from);
        self.ok(
            &format!("Ana and Ben talked on: {n} more lines, the slowest in {:.1} ms.", ms(slowest)),
            json!({ "lines": n, "slowest_ms": ms(slowest) }),
        );
        Ok(())
    }

    async fn return_step(&mut self, who: usize, others: &[usize]) -> Result<usize, Untrue> {
        self.step = "return";
        let missed = LINES_AWAY * others.len();
        let from = self.said.len() - missed;
        let name = self.crew.name(who).to_owned();
        let returned = self.start(&name).await?;
        let caught_up = self
            .until(SOON, "it did not get what it had missed", |told| {
                let heard = &told[returned].heard;
                (heard.len() >= missed).then(|| heard.iter().map(|heard| heard.at).max()).flatten()
            })
            .await?;
        if self.told[returned].peer != self.told[who].peer {
            return Err(
                self.fails("it came back as somebody else", "report this: its key file was not read again")
            );
        }
        self.check(returned, from)?;
        let told = &self.told[returned];
        let found = told.members.values().copied().min().unwrap_or(caught_up);
        let (start, found) = (ms(caught_up - told.started), ms(caught_up.saturating_sub(found)));
        self.ok(
            &format!(
                "Cleo came back as the same Cleo and got the {missed} lines that were missed, in order, once: \
                 {start:.0} ms after the start, {found:.0} ms after finding the first of the others."
            ),
            json!({ "lines": missed, "return_to_caught_up_ms": start, "found_to_caught_up_ms": found }),
        );
        Ok(returned)
    }

    async fn together_step(&mut self, returned: usize, everybody: &[usize]) -> Result<(), Untrue> {
        self.step = "together";
        let from = self.said.len();
        self.say(returned, "line of the one who came back").await?;
        self.all_heard(everybody, from).await?;
        let slowest = self.slowest(everybody, from);
        self.ok(
            &format!("Cleo spoke again and was heard by both in {:.1} ms.", ms(slowest)),
            json!({ "slowest_ms": ms(slowest) }),
        );
        Ok(())
    }

    /// How each node sees it, for whoever has to find out why a step was not true.
    async fn tell_state(&mut self) {
        let mut asked = self.crew.running();
        for number in asked.clone() {
            let _ = self.crew.tell(number, &node::tell()).await;
        }
        let deadline = Instant::now() + STATE_PATIENCE;
        while !asked.is_empty() {
            match self.crew.next(deadline).await {
                Ok((number, Report::Status { groups, peers })) => {
                    asked.retain(|other| *other != number);
                    let (name, heard) = (self.crew.name(number), self.told[number].heard.len());
                    let state = json!({ "node": name, "peer_id": self.told[number].peer, "groups": groups, "peers": peers });
                    self.printer.print(
                        false,
                        "state",
                        &format!("{name} saw {heard} lines: {state}"),
                        state.clone(),
                    );
                }
                Ok((number, report)) => self.told[number].take(report),
                Err(Trouble::Late) => return,
                Err(_) => {}
            }
        }
    }

    /// Whatever happened, nothing is left behind.
    async fn end(self, played: Result<(), Option<Untrue>>) -> Result<(), Option<Untrue>> {
        let Self { crew, scratch, printer, .. } = self;
        if played.is_err() {
            crew.abandon().await;
            return played;
        }
        if !crew.dismiss().await {
            let hint = "report this with the output above";
            return Err(Some(Untrue::new("end", "a node did not end by itself", hint)));
        }
        let path = scratch.path().display().to_string();
        let removed = scratch.remove();
        if removed.is_err() || scratch.path().exists() {
            let what = format!("{path} could not be removed");
            return Err(Some(Untrue::new("end", what, "remove it by hand, and look who else writes there")));
        }
        printer.step("end", "All three ended by themselves, and their directories are gone.", json!({}));
        Ok(())
    }

    // Verbs.

    async fn start(&mut self, name: &'_ str) -> Result<usize, Untrue> {
        let started = monotonic_ns();
        let setup = Setup { data_dir: self.scratch.path().join(name), ..self.setup.clone() };
        let number = self.crew.start(name, &node::begin(setup)).await;
        let number = number.map_err(|trouble| self.troubled(trouble))?;
        self.told.push(Told { started, ..Told::default() });
        Ok(number)
    }

    async fn say(&mut self, who: usize, text: &str) -> Result<(), Untrue> {
        let text = format!("{}: {text} ({})", self.crew.name(who), self.setup.network);
        let at = monotonic_ns();
        self.said.push(Line { author: self.told[who].peer.clone(), text: text.clone(), at });
        let told = self.crew.tell(who, &node::say(&text)).await;
        told.map_err(|trouble| self.troubled(trouble))
    }

    /// Waits until each of them has seen every line from that one on, and says when the last was seen.
    async fn all_heard(&mut self, who: &[usize], from: usize) -> Result<u64, Untrue> {
        let texts: Vec<String> = self.said[from..].iter().map(|line| line.text.clone()).collect();
        let all = self.until(SOON, "not every line was seen by everybody", |told| {
            let times = who.iter().flat_map(|n| texts.iter().map(|text| told[*n].heard_at(text)));
            times.collect::<Option<Vec<u64>>>()?.into_iter().max()
        });
        let all = all.await;
        all.map_err(|mut untrue| {
            let missed = who.iter().flat_map(|n| texts.iter().map(move |text| (*n, text)));
            for (n, text) in missed.filter(|(n, text)| self.told[*n].heard_at(text).is_none()) {
                untrue.what.push_str(&format!("; {} missed \"{text}\"", self.crew.name(n)));
            }
            untrue
        })
    }

    /// Waits until each line from that one on is on the disks of all the others there.
    async fn all_stored(&mut self, who: &[usize], from: usize) -> Result<(), Untrue> {
        let texts: Vec<String> = self.said[from..].iter().map(|line| line.text.clone()).collect();
        let others = who.len() - 1;
        self.until(SOON, "not every line was stored by everybody", |told| {
            let is_stored =
                |text| told.iter().any(|told| told.stored.get(text).is_some_and(|(by, _)| *by >= others));
            texts.iter().all(is_stored).then_some(())
        })
        .await
    }

    /// From saying to seeing, the longest.
    fn slowest(&self, who: &[usize], from: usize) -> u64 {
        let said = &self.said[from..];
        let times = who.iter().flat_map(|n| {
            said.iter().filter_map(|line| Some(self.told[*n].heard_at(&line.text)?.saturating_sub(line.at)))
        });
        times.max().unwrap_or_default()
    }

    /// That this one saw exactly what was said from that line on: each author's lines in order, each once.
    fn check(&self, who: usize, from: usize) -> Result<(), Untrue> {
        self.compare(who, self.crew.name(who), |author| self.told[who].heard_of(author), from)
    }

    fn check_all(&self, who: &[(usize, Option<usize>)]) -> Result<(), Untrue> {
        for (now, before) in who {
            let heard = |author: &str| {
                let mut heard = before.map(|before| self.told[before].heard_of(author)).unwrap_or_default();
                heard.extend(self.told[*now].heard_of(author));
                heard
            };
            self.compare(*now, self.crew.name(*now), heard, 0)?;
        }
        Ok(())
    }

    fn compare<'a>(
        &'a self,
        who: usize,
        name: &str,
        heard: impl Fn(&str) -> Vec<&'a str>,
        from: usize,
    ) -> Result<(), Untrue> {
        let mut n_heard = 0;
        for author in self.said.iter().map(|line| line.author.as_str()).collect::<BTreeSet<_>>() {
            let said = self.said[from..].iter().filter(|line| line.author == author);
            let said: Vec<&str> = said.map(|line| line.text.as_str()).collect();
            let heard = heard(author);
            n_heard += heard.len();
            if said != heard {
                let what = format!("{name} saw {heard:?} where {said:?} was said");
                return Err(self.fails(&what, "report this: order, completeness and uniqueness are promised"));
            }
        }
        // Somebody unknown would show here.
        let is_exact = n_heard >= self.told[who].heard.len();
        if is_exact { Ok(()) } else { Err(self.fails("lines of a stranger were seen", "report this")) }
    }

    /// Listens until it is so.
    async fn until<T>(
        &mut self,
        patience: Duration,
        otherwise: &str,
        is_so: impl Fn(&[Told]) -> Option<T>,
    ) -> Result<T, Untrue> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(value) = is_so(&self.told) {
                return Ok(value);
            }
            match self.crew.next(deadline).await {
                Ok((number, report)) => self.told[number].take(report),
                Err(Trouble::Late) => {
                    return Err(
                        self.fails(&format!("{otherwise} within {} s", patience.as_secs()), hint(self.step))
                    );
                }
                Err(trouble) => return Err(self.troubled(trouble)),
            }
        }
    }

    fn ok(&self, text: &str, measured: Value) {
        self.printer.step(self.step, text, measured);
    }

    fn fails(&self, what: &str, hint: &'static str) -> Untrue {
        Untrue::new(self.step, what, hint)
    }

    fn troubled(&self, trouble: Trouble) -> Untrue {
        Untrue::new(self.step, trouble, hint(self.step))
    }
}

fn hint(step: &str) -> &'static str {
    match step {
        "start" => "look at what the node said above; free memory, disk or file descriptors may be short",
        "found" => {
            "let UDP broadcast and multicast through on the loopback interface (a firewall or a sandbox may \
                    forbid it); `djembe status` says what was tried and heard"
        }
        "gone" => "the machine may be very busy; try again when it is not",
        _ => "try again when the machine is less busy; if it stays, report this with the output above",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration of hours is exact to the microsecond")]
fn ms(nanoseconds: u64) -> f64 {
    (nanoseconds / 1000) as f64 / 1000.0
}
