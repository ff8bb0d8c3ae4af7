//! What the driver, the connection and the stream tasks of one link share: queues, counters, the reason to end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use djembe_protocol::id::{LinkId, PeerId};
use djembe_protocol::limits;
use futures::task::AtomicWaker;
use tokio::sync::{Notify, SetOnce};

use super::streams::WriteHalf;
use super::{Cause, Class, NotSent, Path};

/// Bytes queued for one link at which it is given up: more than the engine ever queues, so this is met only by a
/// flood of tiny frames, or when its count and ours have come apart. It stops after one frame past each limit.
pub(super) const QUEUE_MAX: usize = limits::CONTROL_QUEUE_MAX
    + limits::LINK_WINDOW
    + limits::BULK_WINDOW
    + Class::ALL.len() * limits::FRAME_MAX;
/// What a queued frame costs beside its bytes, so that a flood of tiny frames is bounded too.
const ENTRY_COST: usize = size_of::<Transmit>();

/// A frame to send: what is written for this link alone, then what it shares with others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transmit {
    /// Kind, elided header and the like.
    pub(crate) head: Bytes,
    /// The envelope; its bytes are shared by all links it goes to.
    pub(crate) body: Bytes,
}

impl Transmit {
    /// Bytes of the frame, as `Written` and `Inbound` count them: without the length prefix.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// One link's shared state.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) peer: PeerId,
    pub(super) path: Path,
    pub(super) dialed: bool,
    queues: Mutex<Queues>,
    /// The writer task sleeps on this.
    pub(super) writer: AtomicWaker,
    /// The reader tasks sleep on these beside their streams.
    readers: [AtomicWaker; Class::ALL.len()],
    /// The connection handler sleeps on this.
    pub(super) handler: AtomicWaker,
    /// True once the driver knows of the link, so that no frame overtakes the news; false if it never will.
    pub(super) released: SetOnce<bool>,
    /// Every control frame that arrived has been handed over, so that news of the end overtakes none.
    drained: AtomicBool,
    /// The driver has closed the link: what is queued as control still goes out.
    closing: AtomicBool,
    /// Nothing more that comes is looked at.
    deaf: AtomicBool,
    /// The connection ought to be closed.
    over: AtomicBool,
    /// The connection is gone: the tasks of the link end.
    gone: AtomicBool,
    /// Why, when it is this side that says so.
    fault: OnceLock<Cause>,
    written: [AtomicUsize; Class::ALL.len()],
    has_written: AtomicBool,
    is_reported: AtomicBool,
    reports: Arc<Reports>,
}

/// What waits for the writer.
#[derive(Default)]
pub(super) struct Queues {
    pub(super) frames: [VecDeque<Transmit>; Class::ALL.len()],
    /// Streams that have come up since the writer last looked.
    pub(super) streams: Vec<(Class, WriteHalf)>,
    cost: usize,
}

/// The links that have news for the driver: a list instead of an event for every frame.
#[derive(Default)]
pub(super) struct Reports {
    pub(super) notify: Notify,
    links: Mutex<Vec<Arc<Link>>>,
}

impl Reports {
    /// The links with news since the last call.
    pub(super) fn take(&self) -> Vec<Arc<Link>> {
        std::mem::take(&mut *locked(&self.links))
    }
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        peer: PeerId,
        path: Path,
        dialed: bool,
        reports: Arc<Reports>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            peer,
            path,
            dialed,
            queues: Mutex::default(),
            writer: AtomicWaker::new(),
            readers: Default::default(),
            handler: AtomicWaker::new(),
            released: SetOnce::new(),
            drained: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            over: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            fault: OnceLock::new(),
            written: Default::default(),
            has_written: AtomicBool::new(false),
            is_reported: AtomicBool::new(false),
            reports,
        })
    }

    pub(super) fn queues(&self) -> MutexGuard<'_, Queues> {
        locked(&self.queues)
    }

    /// Queues a frame, for the writer to see when it is woken. Past [`QUEUE_MAX`] the link is given up.
    pub(super) fn push(&self, class: Class, frame: Transmit) -> Result<(), NotSent> {
        if self.is_closing() || self.is_gone() {
            return Err(NotSent::Gone);
        }
        {
            let mut queues = self.queues();
            if queues.cost + cost(&frame) > QUEUE_MAX {
                drop(queues);
                self.fail(Cause::QueueFull);
                return Err(NotSent::Full);
            }
            queues.cost += cost(&frame);
            queues.frames[class as usize].push_back(frame);
        }
        Ok(())
    }

    /// Lets what is queued as control go out, then ends the link.
    pub(super) fn close(&self) {
        self.fault.set(Cause::Ours).ok();
        self.closing.store(true, Ordering::Release);
        self.writer.wake();
        self.handler.wake();
    }

    /// Ends the link at once, and spends nothing more on what has come on it.
    pub(super) fn cut_off(&self) {
        self.deaf.store(true, Ordering::Release);
        self.fault.set(Cause::Ours).ok();
        self.end();
    }

    pub(super) fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Acquire)
    }

    /// Ends the link for a reason that this side has found. The first reason stands.
    pub(super) fn fail(&self, cause: Cause) {
        tracing::debug!(link = self.id.0, peer = %self.peer.short(), ?cause, "link fails");
        self.fault.set(cause).ok();
        self.end();
    }

    /// Ends the link; why will be known from the connection.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.handler.wake();
    }

    /// The connection is gone: the writer ends, and each reader when it has nothing left.
    pub(super) fn bury(&self) {
        self.gone.store(true, Ordering::Release);
        self.writer.wake();
        self.readers.iter().for_each(AtomicWaker::wake);
    }

    /// For a reader with nothing to read: whether nothing will come. Yamux does not tell it when it is our side
    /// that closes. Registers first, then looks.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>, class: Class) -> Poll<()> {
        self.readers[class as usize].register(cx.waker());
        if self.is_gone() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn fault(&self) -> Option<Cause> {
        self.fault.get().cloned()
    }

    pub(super) fn set_drained(self: &Arc<Self>) {
        self.drained.store(true, Ordering::Release);
        self.report();
    }

    pub(super) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Acquire)
    }

    /// Counts what the writer has handed over. The connection's task passes it on, for it is about to run anyway:
    /// driver, writer, connection, driver is then a chain in which each task wakes one other, which the runtime
    /// runs on one thread. Waking two costs a second thread, at rest more than everything else together.
    pub(super) fn add_written(&self, class: Class, bytes: usize) {
        self.written[class as usize].fetch_add(bytes, Ordering::Release);
        self.has_written.store(true, Ordering::Release);
        self.handler.wake();
    }

    /// Tells the driver of written bytes if there are any. For the connection's task.
    pub(super) fn report_written(self: &Arc<Self>) {
        if self.has_written.swap(false, Ordering::AcqRel) {
            self.report();
        }
    }

    /// What was written since the last call, by class. The flag falls first: what is added meanwhile is either
    /// seen here or reported again.
    pub(super) fn take_written(&self) -> [usize; Class::ALL.len()] {
        self.is_reported.store(false, Ordering::SeqCst);
        Class::ALL.map(|class| self.written[class as usize].swap(0, Ordering::AcqRel))
    }

    fn report(self: &Arc<Self>) {
        if !self.is_reported.swap(true, Ordering::SeqCst) {
            locked(&self.reports.links).push(self.clone());
            self.reports.notify.notify_one();
        }
    }
}

impl Queues {
    /// Takes the next frame of a class if it still fits into `room` bytes with its prefix. The first one of a
    /// chunk always fits.
    pub(super) fn pop(&mut self, class: Class, room: usize, is_first: bool) -> Option<Transmit> {
        let queue = &mut self.frames[class as usize];
        if queue.front()?.len() > room && !is_first {
            return None;
        }
        let frame = queue.pop_front()?;
        if queue.is_empty() && queue.capacity() > 64 {
            // A burst leaves no memory behind.
            queue.shrink_to(16);
        }
        self.cost -= cost(&frame);
        Some(frame)
    }
}

fn cost(frame: &Transmit) -> usize {
    frame.len() + ENTRY_COST
}

/// A panic elsewhere while the lock was held leaves nothing half done here: every holder only moves whole values.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
