//! A network between hosts of a [`Lab`](crate::netns::Lab) that takes its time: each host gets a TAP device, and one
//! thread, the switch between them, hands each frame on when its way has been gone. Where the kernel has no `netem`
//! this is how hosts on one machine are some milliseconds apart.
//!
//! Frames of one pair of hosts stay in their order, as on a cable. A frame for all, or for a multicast group, goes to
//! every other host, each after its own way. Nothing is ever early; how late frames are is told ([`Seen`]). Not here:
//! loss, and bandwidth.
//!
//! Needs root, iproute2 and `/dev/net/tun`: see [`available`].

use std::collections::BTreeMap;
use std::io::{ErrorKind, PipeReader, PipeWriter};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tappers::{Interface, Tap};

use crate::netns::{Bridge, Host, with_tools};
use crate::traffic::{self, Traffic};

/// A frame with its header, a tag, and what the largest packet may grow to.
const FRAME_MAX: usize = 2048;
/// Frames that are on their way at once; a switch drops what is more.
const FRAMES_MAX: usize = 100_000;
/// Frames that are taken from one host before the others have their turn.
const TURN: usize = 64;

/// A frame that is handed on so much later than its time is counted: the machine was busy with something else.
pub const LATE: Duration = Duration::from_millis(1);

/// The time of one way from a host to another, asked for each frame; none if it does not get there.
pub type Way = Box<dyn FnMut(usize, usize) -> Option<Duration> + Send>;

/// A running network. It ends when this is dropped, and the devices with it.
#[derive(Debug)]
pub struct Emulation {
    /// Closed, it ends the thread.
    life: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Seen>>,
}

/// What the switch has seen.
#[derive(Clone, Default, Debug)]
pub struct Seen {
    /// What hosts have sent; a frame for all counts once.
    pub traffic: Traffic,
    /// Frames handed on.
    pub delivered: u64,
    /// How much later than their time, in all.
    pub late: Duration,
    /// Frames that were later than [`LATE`].
    pub n_late: u64,
    /// Frames that found no room.
    pub dropped: u64,
}

/// Whether there can be one here, or why not.
///
/// # Errors
/// What is missing, for people.
pub fn available() -> Result<(), String> {
    with_tools(&[("ip", "iproute2")])?;
    if Path::new("/dev/net/tun").exists() {
        Ok(())
    } else {
        Err("there is no /dev/net/tun (kernel module `tun`)".to_owned())
    }
}

impl Emulation {
    /// Plugs hosts that are plugged into nothing into a network of these ways: as `eth0`, with the address that the
    /// first switch would give them.
    pub fn start(hosts: &[Host], way: Way) -> Self {
        let (end, life) = std::io::pipe().unwrap_or_else(|error| panic!("a pipe: {error}"));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (plugged, is_plugged) = channel();
        let thread = {
            let (hosts, seen) = (hosts.to_vec(), seen.clone());
            std::thread::spawn(move || run(&hosts, way, &end, &seen, &plugged))
        };
        let emulation = Self { life: Some(life), thread: Some(thread), seen };
        is_plugged.recv().unwrap_or_else(|_| panic!("the emulated network did not start"));
        for host in hosts {
            host.wait_until_up(&host.interface(Bridge::FIRST));
        }
        emulation
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Emulation {
    fn drop(&mut self) {
        self.life = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been told.
            let _ = thread.join();
        }
    }
}

fn run(hosts: &[Host], way: Way, end: &PipeReader, seen: &Mutex<Seen>, plugged: &Sender<()>) {
    // It is the hardware of the hosts, and should not wait for what they compute.
    let _ = rustix::process::setpriority_process(None, -20);
    let plug = |host| plug(host).unwrap_or_else(|error| panic!("a device for {host:?}: {error}"));
    let taps: Vec<Tap> = hosts.iter().map(plug).collect();
    let mut switch = Switch {
        taps: &taps,
        way,
        on_the_way: BTreeMap::new(),
        n_frames: 0,
        last: vec![None; taps.len() * taps.len()],
        seen,
    };
    let _ = plugged.send(());
    let mut sources: Vec<PollFd<'_>> = taps.iter().map(|tap| PollFd::new(tap, PollFlags::IN)).collect();
    sources.push(PollFd::new(end, PollFlags::IN));
    loop {
        let wait = switch.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        let wait =
            wait.map(|wait| Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() });
        // Woken by a signal, it only looks again.
        let _ = poll(&mut sources, wait.as_ref());
        if !sources[taps.len()].revents().is_empty() {
            return;
        }
        for (host, source) in sources[..taps.len()].iter().enumerate() {
            if !source.revents().is_empty() {
                switch.take(host);
            }
        }
        switch.deliver();
    }
}

/// Makes a host's device. Its address on the wire is the host's number.
fn plug(host: &Host) -> std::io::Result<Tap> {
    let interface = host.interface(Bridge::FIRST);
    host.enter()?;
    let mut tap = Tap::new_named(Interface::new(&interface)?)?;
    tap.set_nonblocking(true)?;
    let address = mac(host.index()).map(|byte| format!("{byte:02x}")).join(":");
    host.ip(&["link", "set", &interface, "address", &address]);
    host.address_interface(Bridge::FIRST);
    Ok(tap)
}

/// Locally administered, of one host.
fn mac(host: usize) -> [u8; 6] {
    [0x02, 0, 0, 0, 0, host as u8]
}

/// Whom a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    One(usize),
    All,
    /// Nobody here.
    Nobody,
}

fn target(frame: &[u8], n_hosts: usize) -> Target {
    match frame.first_chunk::<6>() {
        Some([first, ..]) if first & 1 == 1 => Target::All,
        Some(address @ [.., host]) if usize::from(*host) < n_hosts && *address == mac((*host).into()) => {
            Target::One((*host).into())
        }
        _ => Target::Nobody,
    }
}

/// A frame on its way.
struct OnTheWay {
    to: usize,
    frame: Arc<[u8]>,
}

struct Switch<'a> {
    taps: &'a [Tap],
    way: Way,
    /// By when it is due, and the how-many-th it is.
    on_the_way: BTreeMap<(Instant, u64), OnTheWay>,
    n_frames: u64,
    /// For each pair when its last frame is due: the next is not there before.
    last: Vec<Option<Instant>>,
    seen: &'a Mutex<Seen>,
}

impl Switch<'_> {
    fn next_due(&self) -> Option<Instant> {
        self.on_the_way.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes what a host has sent.
    fn take(&mut self, from: usize) {
        let mut buffer = [0; FRAME_MAX];
        for _ in 0..TURN {
            let Ok(n) = self.taps[from].recv(&mut buffer) else { return };
            let now = Instant::now();
            let frame: Arc<[u8]> = buffer[..n].into();
            self.count(&frame);
            match target(&frame, self.taps.len()) {
                Target::One(to) => self.send(now, from, to, &frame),
                Target::All => (0..self.taps.len()).for_each(|to| self.send(now, from, to, &frame)),
                Target::Nobody => {}
            }
        }
    }

    fn count(&self, frame: &[u8]) {
        let (kind, count) = traffic::look(frame);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = seen.traffic.entry(kind).or_default();
        *sum = *sum + count;
    }

    fn send(&mut self, now: Instant, from: usize, to: usize, frame: &Arc<[u8]>) {
        if from == to {
            return;
        }
        let Some(way) = (self.way)(from, to) else { return };
        if self.on_the_way.len() >= FRAMES_MAX {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).dropped += 1;
            return;
        }
        let last = &mut self.last[from * self.taps.len() + to];
        let due = last.map_or(now + way, |last| last.max(now + way));
        *last = Some(due);
        self.n_frames += 1;
        self.on_the_way.insert((due, self.n_frames), OnTheWay { to, frame: frame.clone() });
    }

    /// Hands on whatever has gone its way.
    fn deliver(&mut self) {
        while let Some(entry) = self.on_the_way.first_entry() {
            let (due, now) = (entry.key().0, Instant::now());
            if due > now {
                return;
            }
            let OnTheWay { to, frame } = entry.remove();
            let result = self.taps[to].send(&frame);
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Err(error) if error.kind() == ErrorKind::WouldBlock => seen.dropped += 1,
                // A host whose interface is down hears nothing, as on any cable.
                _ => {
                    seen.delivered += 1;
                    seen.late += now - due;
                    seen.n_late += u64::from(now - due > LATE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_for_one_or_all_or_nobody() {
        assert_eq!(target(&mac(3), 4), Target::One(3));
        assert_eq!(target(&mac(4), 4), Target::Nobody);
        assert_eq!(target(&[0xff; 60], 4), Target::All);
        assert_eq!(target(&[0x33, 0x33, 0, 0, 0, 1], 4), Target::All);
        assert_eq!(target(&[2, 0, 0], 4), Target::Nobody);
    }
}
