//! The thread that owns the store, so that nobody else ever waits for the disk.
//!
//! Jobs are done in order, one after the other as far as anybody can tell: a query sees what was applied
//! before it. What is queued together is committed together (group commit): one sync of the disk pays for all
//! of it, and under load the commits grow by themselves.
//!
//! After a failed write nothing more is written in this run: later changes rest on earlier ones (a frontier
//! on its envelopes), and a hole that looks like a complete log would never be mended. Queries are still
//! answered.

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
    Apply {
        /// Comes back with the outcome.
        token: Token,
        /// All of them, or none.
        ops: Vec<StoreOp>,
    },
    /// Answer a question.
    Query {
        /// Comes back with the answer.
        token: Token,
        /// The question.
        query: Query,
    },
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
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Worker {
    /// Starts the thread. An error is the system's refusal of a thread.
    pub(crate) fn spawn(store: Box<dyn Store>) -> std::io::Result<Self> {
        let (jobs, jobs_in) = mpsc::channel(JOBS_MAX);
        let (done_out, done) = mpsc::channel(JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("djembe-store".to_owned())
            .spawn(move || Desk { store, done: done_out, is_halted: false }.run(jobs_in))?;
        Ok(Self { jobs, done, n_under_way: 0, thread })
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

/// The thread's own side.
struct Desk {
    store: Box<dyn Store>,
    done: mpsc::Sender<Done>,
    is_halted: bool,
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
                    Job::Apply { token, ops } => match check(&ops) {
                        Err(error) => self.tell(Done::Failed(token, error)),
                        Ok(()) => {
                            let (group, after) = gather(Changes { token, ops }, &mut jobs);
                            self.commit(group);
                            next = after;
                        }
                    },
                }
            }
        }
        self.store.close()
    }

    fn commit(&mut self, group: Vec<Changes>) {
        let batches: Vec<&[StoreOp]> = group.iter().map(|changes| changes.ops.as_slice()).collect();
        let outcome = if self.is_halted { Err(StoreError::Halted) } else { self.store.apply(&batches) };
        match outcome {
            Ok(()) => group.iter().for_each(|changes| self.tell(Done::Persisted(changes.token))),
            Err(error) => {
                if !self.is_halted {
                    tracing::error!(%error, "the store takes no more writes");
                }
                self.is_halted = true;
                // The first is told the cause; the others failed because it did.
                let errors = std::iter::once(error).chain(std::iter::repeat_with(|| StoreError::Halted));
                group
                    .iter()
                    .zip(errors)
                    .for_each(|(changes, error)| self.tell(Done::Failed(changes.token, error)));
            }
        }
    }

    /// There is always room, for [`Worker`] counts. If nobody listens any more, the host has gone without
    /// closing: what was queued is still written.
    fn tell(&self, done: Done) {
        if let Err(mpsc::error::TrySendError::Full(done)) = self.done.try_send(done) {
            unreachable!("more jobs under way than are let in: {done:?}");
        }
    }
}

/// What one job wants changed.
struct Changes {
    token: Token,
    ops: Vec<StoreOp>,
}

/// What can be committed together with `first`: what is queued already, up to the first job of another kind,
/// which comes back to be done next.
fn gather(first: Changes, jobs: &mut mpsc::Receiver<Job>) -> (Vec<Changes>, Option<Job>) {
    let mut n_ops = first.ops.len();
    let mut group = vec![first];
    while n_ops < OPS_MAX {
        match jobs.try_recv() {
            Ok(Job::Apply { token, ops }) if check(&ops).is_ok() => {
                n_ops += ops.len();
                group.push(Changes { token, ops });
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
