//! Order, shared commits, limits and endings of the store's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;

use djembe_protocol::id::{GroupId, Lane, PeerId};
use djembe_protocol::persist::GroupRecord;

use super::*;
use crate::datadir::tests::TempDir;
use crate::store::sqlite::Sqlite;

const GROUP: GroupId = GroupId([1; 32]);

/// A store that waits to be let on before each transaction, counts them, and refuses on demand.
struct Gated {
    gate: std_mpsc::Receiver<Result<(), StoreError>>,
    n_transactions: Arc<AtomicUsize>,
    upto: u64,
}

impl Store for Gated {
    fn apply(&mut self, batches: &[&[StoreOp]]) -> Result<(), StoreError> {
        self.gate.recv().unwrap_or(Ok(()))?;
        self.n_transactions.fetch_add(1, Ordering::SeqCst);
        for op in batches.concat() {
            if let StoreOp::Reserve { upto, .. } = op {
                self.upto = upto;
            }
        }
        Ok(())
    }

    fn query(&mut self, _: &Query) -> Answer {
        let reserved = vec![(Lane::Durable, self.upto)];
        Answer::Group(GroupRecord { reserved, ..GroupRecord::default() })
    }

    fn next_incarnation(&mut self) -> Result<u64, StoreError> {
        Ok(1)
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Err(StoreError::Full { path: "closed".into() })
    }
}

struct Harness {
    worker: Worker,
    gate: std_mpsc::Sender<Result<(), StoreError>>,
    n_transactions: Arc<AtomicUsize>,
    next_token: u64,
}

impl Harness {
    fn new() -> Self {
        let (gate, gate_in) = std_mpsc::channel();
        let n_transactions = Arc::new(AtomicUsize::new(0));
        let store = Gated { gate: gate_in, n_transactions: n_transactions.clone(), upto: 0 };
        let worker = Worker::spawn(Box::new(store)).expect("a thread");
        Self { worker, gate, n_transactions, next_token: 0 }
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token - 1)
    }

    fn reserve(&mut self, upto: u64) -> Result<(), Refused> {
        let token = self.token();
        let ops = vec![StoreOp::Reserve { group: GROUP, lane: Lane::Durable, upto }];
        self.worker.try_submit(self.worker.changes(token, ops))
    }

    fn ask(&mut self) -> Result<(), Refused> {
        let token = self.token();
        self.worker.try_submit(Job::Query { token, query: Query::Group(GROUP) })
    }

    fn let_on(&self, outcome: Result<(), StoreError>) {
        self.gate.send(outcome).expect("the worker lives");
    }

    /// All that is done, in few words.
    async fn outcomes(&mut self, n: usize) -> Vec<String> {
        let mut outcomes = Vec::new();
        for _ in 0..n {
            outcomes.push(match self.worker.next_done().await.expect("the worker lives") {
                Done::Persisted(Token(token)) => format!("{token} persisted"),
                Done::Failed(Token(token), StoreError::Halted) => format!("{token} halted"),
                Done::Failed(Token(token), StoreError::Full { .. }) => format!("{token} full"),
                Done::Failed(Token(token), StoreError::SeqTooLarge(_)) => format!("{token} too large"),
                Done::Fetched(Token(token), Answer::Group(record)) => {
                    format!("{token} saw {}", record.reserved[0].1)
                }
                done => panic!("unexpected {done:?}"),
            });
        }
        outcomes
    }
}

/// Goal: what waits for the disk shares the next sync, and order holds. Method: the first transaction is held
/// at the gate while more is queued behind it.
#[tokio::test]
async fn what_is_queued_is_committed_together_and_in_order() {
    let mut node = Harness::new();
    node.reserve(1).expect("room");
    node.let_on(Ok(()));
    assert_eq!(node.outcomes(1).await, ["0 persisted"]);

    // Taken alone or with some of the others: one or two transactions up to the query, one after it.
    for upto in 2..=9 {
        node.reserve(upto).expect("room");
    }
    node.ask().expect("room");
    node.reserve(10).expect("room");
    node.ask().expect("room");
    (0..3).for_each(|_| node.let_on(Ok(())));
    let expected: Vec<String> = (1..=8).map(|token| format!("{token} persisted")).collect();
    assert_eq!(node.outcomes(8).await, expected);
    assert_eq!(node.outcomes(3).await, ["9 saw 9", "10 persisted", "11 saw 10"]);
    let n = node.n_transactions.load(Ordering::SeqCst);
    assert!((3..=4).contains(&n), "{n} transactions for ten jobs");
}

fn full() -> StoreError {
    StoreError::Full { path: "disk".into() }
}

/// Goal: nothing that may rest on a failed write is written before that is, and the store heals. Method: more is
/// queued before the failure is known, while some failures are known, and after all of them are.
#[tokio::test]
async fn what_was_asked_before_a_failure_was_known_fails_and_what_comes_after_is_written() {
    let mut node = Harness::new();
    node.reserve(1).expect("room");
    node.let_on(Err(full()));
    let [second, third] = [2, 3].map(|upto| {
        let token = node.token();
        node.worker.changes(token, vec![StoreOp::Reserve { group: GROUP, lane: Lane::Durable, upto }])
    });
    node.worker.try_submit(second).expect("room");
    assert_eq!(node.outcomes(1).await, ["0 full"]);
    // Handed over later than it was asked for.
    node.worker.try_submit(third).expect("room");
    node.reserve(4).expect("room");
    node.ask().expect("room");
    assert_eq!(node.outcomes(4).await, ["1 halted", "2 halted", "3 halted", "4 saw 0"]);
    assert_eq!(node.n_transactions.load(Ordering::SeqCst), 0);

    for upto in 1..=4 {
        node.reserve(upto).expect("room");
    }
    (0..4).for_each(|_| node.let_on(Ok(())));
    assert_eq!(node.outcomes(4).await, ["5 persisted", "6 persisted", "7 persisted", "8 persisted"]);
    node.ask().expect("room");
    assert_eq!(node.outcomes(1).await, ["9 saw 4"]);
}

#[tokio::test]
async fn a_damaged_store_takes_nothing_more_and_answers_queries() {
    let mut node = Harness::new();
    node.reserve(1).expect("room");
    node.let_on(Err(StoreError::Corrupt { path: "disk".into(), cause: "a test".to_owned() }));
    assert!(matches!(node.worker.next_done().await, Some(Done::Failed(_, StoreError::Corrupt { .. }))));
    node.reserve(2).expect("room");
    node.ask().expect("room");
    assert_eq!(node.outcomes(2).await, ["1 halted", "2 saw 0"]);
    assert_eq!(node.n_transactions.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_impossible_job_fails_alone() {
    let mut node = Harness::new();
    for upto in [1, u64::MAX, 2] {
        node.reserve(upto).expect("room");
    }
    (0..2).for_each(|_| node.let_on(Ok(())));
    assert_eq!(node.outcomes(3).await, ["0 persisted", "1 too large", "2 persisted"]);
}

/// The limit from both sides: as many jobs as fit, one more, and one more once there is room.
#[tokio::test]
async fn more_than_fits_comes_back() {
    let mut node = Harness::new();
    for _ in 0..JOBS_MAX {
        assert!(node.worker.has_room());
        node.ask().expect("room");
    }
    assert!(!node.worker.has_room());
    let Refused(job) = node.ask().expect_err("full");
    assert!(matches!(job, Job::Query { token: Token(256), .. }), "{job:?}");
    assert_eq!(node.outcomes(1).await, ["0 saw 0"]);
    node.worker.try_submit(job).expect("room again");
    assert_eq!(node.outcomes(JOBS_MAX).await.last().map(String::as_str), Some("256 saw 0"));
}

/// Goal: closing finishes the queue, and no error stays unheard. Method: the store fails once at a write
/// nobody waits for, and always at closing.
#[tokio::test]
async fn closing_finishes_the_queue_and_tells_the_first_error() {
    let mut node = Harness::new();
    node.reserve(1).expect("room");
    node.let_on(Ok(()));
    let n_transactions = node.n_transactions.clone();
    let error = node.worker.close().await.expect_err("this store fails to close");
    assert!(matches!(error, StoreError::Full { path } if path.as_os_str() == "closed"));
    assert_eq!(n_transactions.load(Ordering::SeqCst), 1);

    let mut node = Harness::new();
    node.reserve(1).expect("room");
    node.let_on(Err(StoreError::ReadOnly { path: "disk".into() }));
    let error = node.worker.close().await.expect_err("a write failed");
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
}

/// Goal: what was told to be persisted is on the disk, and a host that just goes away loses nothing it
/// queued.
#[tokio::test]
async fn a_store_on_disk_keeps_what_the_worker_was_given() {
    let temp = TempDir::new();
    let path = temp.join("node.sqlite");
    let open = || Sqlite::open(&path, PeerId([1; 32])).expect("ours");
    let reserve = |worker: &Worker, upto| {
        worker.changes(Token(upto), vec![StoreOp::Reserve { group: GROUP, lane: Lane::Durable, upto }])
    };
    let mut worker = Worker::spawn(Box::new(open())).expect("a thread");
    worker.try_submit(reserve(&worker, 1)).expect("room");
    assert!(matches!(worker.next_done().await, Some(Done::Persisted(Token(1)))));
    worker.try_submit(reserve(&worker, 2)).expect("room");
    worker.close().await.expect("closed");

    let mut worker = Worker::spawn(Box::new(open())).expect("a thread");
    worker.try_submit(reserve(&worker, 3)).expect("room");
    let Worker { jobs, thread, .. } = worker;
    drop(jobs);
    thread.join().expect("no panic").expect("closed");
    let Answer::Group(found) = open().query(&Query::Group(GROUP)) else { panic!("a group") };
    assert_eq!(found.reserved, [(Lane::Durable, 3)]);
}

#[tokio::test]
async fn a_thread_that_dies_is_noticed() {
    struct Dying;
    impl Store for Dying {
        fn apply(&mut self, _: &[&[StoreOp]]) -> Result<(), StoreError> {
            panic!("this test's panic")
        }
        fn query(&mut self, _: &Query) -> Answer {
            panic!("this test's panic")
        }
        fn next_incarnation(&mut self) -> Result<u64, StoreError> {
            Ok(1)
        }
        fn close(self: Box<Self>) -> Result<(), StoreError> {
            Ok(())
        }
    }
    let mut worker = Worker::spawn(Box::new(Dying)).expect("a thread");
    worker.try_submit(Job::Query { token: Token(0), query: Query::Group(GROUP) }).expect("room");
    assert!(worker.next_done().await.is_none());
    assert!(!worker.has_room());
    assert!(matches!(worker.close().await, Err(StoreError::Stopped)));
}
