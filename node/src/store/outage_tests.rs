//! A disk that fails for a while under a node: engine, worker and SQLite together, without a network.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use djembe_protocol::bounds::Bounds;
use djembe_protocol::crypto::{GroupKey, Identity};
use djembe_protocol::engine::{Config, Engine};
use djembe_protocol::id::{Incarnation, Lane, Seq};
use djembe_protocol::io::{Command, Event, Input, Output, Secrets};
use djembe_protocol::limits;
use djembe_protocol::message::Draft;
use djembe_protocol::persist::{Answer, Query, StoreOp};
use djembe_protocol::time::{Timestamp, WallTime};

use super::sqlite::Sqlite;
use super::worker::{Done, Job, Worker};
use super::{Store, StoreError};
use crate::datadir::tests::TempDir;

/// A disk that is full whenever it is told to be.
struct Flaky {
    disk: Sqlite,
    is_full: Arc<AtomicBool>,
}

impl Store for Flaky {
    fn apply(&mut self, batches: &[&[StoreOp]]) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::Full { path: "disk".into() });
        }
        self.disk.apply(batches)
    }

    fn query(&mut self, query: &Query) -> Answer {
        self.disk.query(query)
    }

    fn next_incarnation(&mut self) -> Result<u64, StoreError> {
        self.disk.next_incarnation()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Box::new(self.disk).close()
    }
}

struct Zeros;

impl Secrets for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn key() -> GroupKey {
    GroupKey::open("test", "lobby", None).expect("a name")
}

/// A node alone, with a disk.
struct Harness {
    engine: Engine,
    worker: Worker,
    jobs: VecDeque<Job>,
    is_full: Arc<AtomicBool>,
    now: Timestamp,
    next_ticket: u64,
    /// Numbers of the envelopes that were released, and the first word of each message, in order.
    released: Vec<(Seq, String)>,
    n_store_failed: usize,
}

impl Harness {
    async fn new(temp: &TempDir) -> Self {
        let identity = Identity::from_seed([1; 32]);
        let mut disk = Sqlite::open(&temp.join("node.sqlite"), identity.peer_id()).expect("ours");
        let incarnation = Incarnation(disk.next_incarnation().expect("counted"));
        let is_full = Arc::new(AtomicBool::new(false));
        let worker = Worker::spawn(Box::new(Flaky { disk, is_full: is_full.clone() })).expect("a thread");
        let config = Config {
            network: [0; 8],
            incarnation,
            seed: 1,
            bounds: Bounds::default(),
            patience: limits::PATIENCE,
        };
        let mut node = Self {
            engine: Engine::new(config, identity, Box::new(Zeros)),
            worker,
            jobs: VecDeque::new(),
            is_full,
            now: Timestamp::from_micros(1),
            next_ticket: 0,
            released: Vec::new(),
            n_store_failed: 0,
        };
        node.input(Input::WallTime(WallTime(1)));
        node.input(Input::Command(Command::Join { key: Box::new(key()), name: "lobby".to_owned() }));
        node.settle().await;
        node
    }

    fn input(&mut self, input: Input) {
        self.engine.handle_input(self.now, input);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Persist { token, ops } => self.jobs.push_back(self.worker.changes(token, ops)),
                Output::Fetch { token, query } => self.jobs.push_back(Job::Query { token, query }),
                Output::Event(Event::Delivered(delivered)) => {
                    let messages = delivered
                        .messages
                        .iter()
                        .map(|body| (delivered.seq, String::from_utf8_lossy(&body.content).into_owned()));
                    self.released.extend(messages);
                }
                Output::Event(Event::StoreFailed { .. }) => self.n_store_failed += 1,
                _ => {}
            }
        }
        while let Some(job) = self.jobs.pop_front() {
            self.worker.try_submit(job).expect("room");
        }
    }

    /// Until the store has nothing more to answer.
    async fn settle(&mut self) {
        while !self.worker.is_idle() {
            match self.worker.next_done().await.expect("the worker lives") {
                Done::Persisted(token) => self.input(Input::Persisted(token)),
                Done::Failed(token, error) => self.input(Input::PersistFailed(token, error.to_string())),
                Done::Fetched(token, answer) => self.input(Input::Fetched(token, answer)),
            }
        }
    }

    /// Publishes a message, without waiting for the disk, and lets it have an envelope of its own.
    fn publish(&mut self) {
        let draft = Draft { content: self.next_ticket.to_string().into(), ..Draft::default() };
        let (group, lane, ticket) = (key().group_id(), Lane::Durable, self.next_ticket);
        self.next_ticket += 1;
        self.input(Input::Command(Command::Publish { group, lane, ttl_secs: 0, draft, ticket }));
        self.now = self.now + limits::BATCH_DELAY;
        self.input(Input::Timeout);
    }

    async fn retry(&mut self) {
        self.now = self.now + limits::STORE_RETRY;
        self.input(Input::Timeout);
        self.settle().await;
    }

    fn words(&self) -> Vec<String> {
        self.released.iter().map(|(_, word)| word.clone()).collect()
    }
}

/// Goal: a disk that is full for a while costs nothing: what was published before, during and after is released, in
/// order, each under a number of its own, and the next run goes on behind it. Method: the disk is full while
/// envelopes are on their way to it and stays so over several attempts.
#[tokio::test]
async fn a_disk_that_was_full_for_a_while_loses_nothing() {
    let temp = TempDir::new();
    let mut node = Harness::new(&temp).await;
    for _ in 0..3 {
        node.publish();
        node.settle().await;
    }
    assert_eq!(node.words().len(), 3);

    node.is_full.store(true, Ordering::SeqCst);
    // Some are on their way to the disk when it fails, others are published after that is known.
    (0..5).for_each(|_| node.publish());
    node.settle().await;
    (0..5).for_each(|_| node.publish());
    for _ in 0..3 {
        node.retry().await;
        assert_eq!(node.words().len(), 3, "nothing is released that is not kept");
    }
    assert_eq!(node.n_store_failed, 1);

    node.is_full.store(false, Ordering::SeqCst);
    node.retry().await;
    node.publish();
    node.settle().await;
    let expected: Vec<String> = (0..node.next_ticket).map(|ticket| ticket.to_string()).collect();
    assert_eq!(node.words(), expected);
    assert!(node.released.is_sorted_by_key(|(seq, _)| *seq));
    let last = node.released.last().map(|(seq, _)| *seq).expect("released");
    let seqs: Vec<Seq> = node.released.iter().map(|(seq, _)| *seq).collect();
    node.worker.close().await.expect("closed");

    let mut disk =
        Sqlite::open(&temp.join("node.sqlite"), Identity::from_seed([1; 32]).peer_id()).expect("ours");
    let Answer::Group(record) = disk.query(&Query::Group(key().group_id())) else { panic!("a group") };
    let [frontier] = record.frontiers[..] else { panic!("one log") };
    assert_eq!((frontier.next, record.above.len()), (last + 1, 0), "complete");
    let all =
        Query::Range { group: frontier.group, log: frontier.log, from: 0, to: last, bytes_max: 1 << 20 };
    let Answer::Range(kept) = disk.query(&all) else { panic!("a range") };
    let mut released = seqs;
    released.dedup();
    assert_eq!(kept.iter().map(|envelope| envelope.seq).collect::<Vec<_>>(), released);
    drop(disk);

    let mut next = Harness::new(&temp).await;
    next.publish();
    next.settle().await;
    assert!(next.released.last().is_some_and(|(seq, _)| *seq > last), "{:?} after {last}", next.released);
    next.worker.close().await.expect("closed");
}
