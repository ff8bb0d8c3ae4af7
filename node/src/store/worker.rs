//! The thread that owns the store, so that nobody else ever waits for the disk.
//!
//! Jobs are done in order, one after the other as far as anybody can tell: a query sees what was applied
//! before it. What is queued together is committed together (group commit): one sync of the disk pays for all
//! of it, and under load the commits grow by themselves.
//!
//! After a failed write nothing is written that was asked for before its failure was known: later changes rest
//! on earlier ones (a frontier on its envelopes), and a hole that looks like a complete log would never be
//! mended. Whoever knows of the failure asks again in order, so a disk that was full heals without a restart.
//! Only a damaged store takes nothing more in this run. Queries are always answered.

use std::thread::JoinHandle;

use djembe_protocol::persist::{Answer, Query, StoreOp, Token};
use tokio::sync::mpsc;

use super::{Store, StoreError, check};

/// Jobs that may be under way; a [`Worker`] refuses more until one is done. With an envelope of 61 KB in
/// each, 16 MB.
pub(crate) const JOBS_MAX: usize = 256;
/// Changes in one transaction: more would hold up the first of them longer than a sync does.
const OPS_MAX: usize = 1024;

/// Something to do, in the engine's words.
#[derive(Debug)]
pub(crate) enum Job {
    /// Make the changes durable.
    Apply(Changes),
    /// Answer a question.
    Query {
        /// Comes back with the answer.
        token: Token,
        /// The question.
        query: Query,
    },
}

/// What one job wants changed; [`Worker::changes`] makes it.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Comes back with the outcome.
    token: Token,
    /// All of them, or none.
    ops: Vec<StoreOp>,
    /// Failures that were known when this was asked for. If there were more, it may rest on one of them.
    known: u64,
}

/// What became of a job. Every job gets exactly one, in the order of the jobs.
#[derive(Debug)]
pub(crate) enum Done {
    /// All the changes are durable.
    Persisted(Token),
    /// None of the changes was made.
    Failed(Token, StoreError),
    /// What the store found.
    Fetched(Token, Answer),
}

/// A job came at a time when it could not be taken; here it is back.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Job);

/// The two ends of the store's thread, in one hand: it lets in so many jobs that neither channel is ever
/// full, so neither side ever waits for the other to make room.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Done>,
    n_under_way: usize,
    /// Failures that have come back.
    known: u64,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Worker {
    /// Starts the thread. An error is the system's refusal of a thread.
    pub(crate) fn spawn(store: Box<dyn Store>) -> std::io::Result<Self> {
        let (jobs, jobs_in) = mpsc::channel(JOBS_MAX);
        let (done_out, done) = mpsc::channel(JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("djembe-store".to_owned())
            .spawn(move || Desk { store, done: done_out, told: 0, state: State::Well }.run(jobs_in))?;
        Ok(Self { jobs, done, n_under_way: 0, known: 0, thread })
    }

    /// Whether a job would be taken now.
    #[cfg(test)]
    pub(crate) fn has_room(&self) -> bool {
        self.n_under_way < JOBS_MAX && !self.jobs.is_closed()
    }

    /// Whether every job handed over has been answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.n_under_way == 0
    }

    /// A job that makes changes, asked for now, though it may be handed over later: it rests on what has been
    /// answered so far.
    pub(crate) fn changes(&self, token: Token, ops: Vec<StoreOp>) -> Job {
        Job::Apply(Changes { token, ops, known: self.known })
    }

    /// Hands over a job, never waiting; refused if too many are under way, or if the thread is gone.
    pub(crate) fn try_submit(&mut self, job: Job) -> Result<(), Refused> {
        if self.n_under_way == JOBS_MAX {
            return Err(Refused(job));
        }
        self.jobs.try_send(job).map_err(|error| Refused(error.into_inner()))?;
        self.n_under_way += 1;
        Ok(())
    }

    /// Waits for the next job to be done. `None` once the thread is gone: then [`Worker::close`] says why.
    /// Cancel-safe.
    pub(crate) async fn next_done(&mut self) -> Option<Done> {
        let done = self.done.recv().await?;
        self.n_under_way -= 1;
        if let Done::Failed(_, error) = &done
            && holds_up_others(error)
        {
            self.known += 1;
        }
        Some(done)
    }

    /// Does what is still queued, closes the store and ends the thread. The error is the first that nobody
    /// has heard of yet. Not cancel-safe: dropped half-way, the thread still ends in order, but unheard.
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        let Self { jobs, mut done, thread, .. } = self;
        drop(jobs);
        let mut outcome = Ok(());
        while let Some(done) = done.recv().await {
            match done {
                Done::Failed(_, error) if outcome.is_ok() => outcome = Err(error),
                Done::Persisted(_) | Done::Failed(..) | Done::Fetched(..) => {}
            }
        }
        // The thread lets go of the channel as its last act, so this does not block.
        let closed = thread.join().unwrap_or(Err(StoreError::Stopped));
        outcome.and(closed)
    }
}

/// Whether what comes after a failed change may rest on it. What can never be stored is nobody's ground.
fn holds_up_others(error: &StoreError) -> bool {
    !matches!(error, StoreError::SeqTooLarge(_))
}

/// The thread's own side.
struct Desk {
    store: Box<dyn Store>,
    done: mpsc::Sender<Done>,
    /// Failures told so far.
    told: u64,
    state: State,
}

/// How the last transaction went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Failing,
    /// It is damaged: to write on would spoil what can still be read.
    Halted,
}

impl Desk {
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) -> Result<(), StoreError> {
        while let Some(job) = jobs.blocking_recv() {
            let mut next = Some(job);
            while let Some(job) = next.take() {
                match job {
                    Job::Query { token, query } => {
                        let answer = self.store.query(&query);
                        self.tell(Done::Fetched(token, answer));
                    }
                    // It can never succeed, and must not take the others of a group with it.
                    Job::Apply(changes) => match check(&changes.ops) {
                        Err(error) => self.tell(Done::Failed(changes.token, error)),
                        Ok(()) if !self.may_write(&changes) => self.fail(changes.token, StoreError::Halted),
                        Ok(()) => {
                            let (group, after) = gather(changes, &mut jobs);
                            self.commit(group);
                            next = after;
                        }
                    },
                }
            }
        }
        self.store.close()
    }

    fn may_write(&self, changes: &Changes) -> bool {
        self.state != State::Halted && changes.known == self.told
    }

    fn commit(&mut self, group: Vec<Changes>) {
        let batches: Vec<&[StoreOp]> = group.iter().map(|changes| changes.ops.as_slice()).collect();
        match self.store.apply(&batches) {
            Ok(()) => {
                if self.state == State::Failing {
                    tracing::info!("the store works again");
                }
                self.state = State::Well;
                group.iter().for_each(|changes| self.tell(Done::Persisted(changes.token)));
            }
            Err(error) => {
                if self.state == State::Well {
                    tracing::error!(%error, "the store failed");
                }
                let is_damaged = matches!(error, StoreError::Corrupt { .. });
                self.state = if is_damaged { State::Halted } else { State::Failing };
                // The first is told the cause; the others failed because it did.
                let errors = std::iter::once(error).chain(std::iter::repeat_with(|| StoreError::Halted));
                group.iter().zip(errors).for_each(|(changes, error)| self.fail(changes.token, error));
            }
        }
    }

    fn fail(&mut self, token: Token, error: StoreError) {
        self.told += 1;
        self.tell(Done::Failed(token, error));
    }

    /// There is always room, for [`Worker`] counts. If nobody listens any more, the host has gone without
    /// closing: what was queued is still written.
    fn tell(&self, done: Done) {
        if let Err(mpsc::error::TrySendError::Full(done)) = self.done.try_send(done) {
            unreachable!("more jobs under way than are let in: {done:?}");
        }
    }
}

/// What can be committed together with `first`: what is queued already, up to the first job of another kind
/// or of another knowledge of failures, which comes back to be done next.
fn gather(first: Changes, jobs: &mut mpsc::Receiver<Job>) -> (Vec<Changes>, Option<Job>) {
    let (mut n_ops, known) = (first.ops.len(), first.known);
    let mut group = vec![first];
    while n_ops < OPS_MAX {
        match jobs.try_recv() {
            Ok(Job::Apply(changes)) if changes.known == known && check(&changes.ops).is_ok() => {
                n_ops += changes.ops.len();
                group.push(changes);
            }
            Ok(other) => return (group, Some(other)),
            // Empty, or nobody will send any more: the next to wait finds out which.
            Err(_) => break,
        }
    }
    (group, None)
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
