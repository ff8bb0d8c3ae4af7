//! Who is told to stop has to: a neighbour that was told so (Prune of an author, Ungraft of a tree), was not asked to go on
//! since, and passes on all the same what was published after it had heard of it, costs a copy of every message. Nobody
//! loses a message by it, so no other checker sees it.
//!
//! It shows when the neighbour is told again because of such a message. A neighbour that has just become a child in the
//! tree may do so, and what it sends may overtake its word of it: so that word is waited for. What is needed of the
//! books, when the message was published and whether somebody stood still in between, is looked up there.

use core::time::Duration;
use std::collections::BTreeMap;

use djembe_protocol::id::{Lane, LinkId, LogId, PeerId, Seq};
use djembe_protocol::io::Input;
use djembe_protocol::limits;
use djembe_protocol::time::Timestamp;
use djembe_protocol::wire::frame::{FLOOD, Frame, Graft, Prune, STAR, TreeIx, Ungraft, Want};

use super::Shard;
use crate::calendar::Key;
use crate::host::Wish;
use crate::topology::{NodeIx, Topology};

/// Of what somebody is to send no more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Of {
    Author(PeerId),
    /// By the neighbour's number.
    Tree(TreeIx),
}

/// Whom a node has told to stop.
#[derive(Default, Debug)]
pub(crate) struct Stops {
    /// When it told so first, since they last were to send.
    told: BTreeMap<(LinkId, Of), Timestamp>,
    /// Who was told again, until it is sure that there is no reason.
    doubts: Vec<(Timestamp, LinkId, Of, Repeat)>,
}

/// A neighbour was told again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeat {
    pub(crate) key: Key,
    /// By whom.
    pub(crate) node: NodeIx,
    /// Who.
    pub(crate) neighbour: NodeIx,
    /// When it was told first.
    pub(crate) since: Timestamp,
    /// Because of this envelope.
    pub(crate) log: LogId,
    pub(crate) seq: Seq,
}

/// An envelope that came as to somebody who wants all of them, and over which link.
#[derive(Clone, Copy)]
pub(super) struct Cause {
    link: LinkId,
    of: Of,
    log: LogId,
    seq: Seq,
}

pub(super) fn cause(input: &Input) -> Option<Cause> {
    let Input::Frame { link, frame, .. } = input else { return None };
    let (header, tree) = frame.header()?;
    let (author, lane): (PeerId, Lane) = (header.author, header.lane);
    let of = if tree == STAR { Of::Author(author) } else { Of::Tree(tree) };
    (tree != FLOOD).then_some(Cause { link: *link, of, log: LogId { author, lane }, seq: header.seq })
}

impl Stops {
    fn is_idle(&self) -> bool {
        self.told.is_empty()
    }

    /// There is a reason to send again.
    fn take_back(&mut self, link: LinkId, of: Of) {
        self.told.remove(&(link, of));
        self.doubts.retain(|(_, at, what, _)| (*at, *what) != (link, of));
    }
}

impl Shard {
    /// Looks at what a node hears before its engine does.
    pub(super) fn hear_of_stops(&mut self, local: usize, input: &Input) {
        let now = self.key.at;
        let stops = &mut self.hosts[local].stops;
        if stops.is_idle() {
            return;
        }
        if let Input::Frame { link, frame, .. } = input
            && let Some(Frame::Graft(Graft { mine, .. })) = frame.talk()
        {
            // It is a child of this node from now on, and sends what is to go up.
            stops.take_back(*link, Of::Tree(*mine));
        }
        let repeats = &mut self.repeats;
        stops.doubts.retain(|(until, .., repeat)| {
            if *until <= now {
                repeats.push(*repeat);
            }
            *until > now
        });
    }

    /// Looks at what a node wants before its host does anything with it.
    pub(super) fn watch_stops(&mut self, topology: &Topology, local: usize, why: Option<Cause>, wish: &Wish) {
        let Wish::Send(link, _, frame) = wish else { return };
        let stops = &mut self.hosts[local].stops;
        match frame {
            // The answer may come at any time.
            Frame::Want(Want { range, .. }) if !stops.is_idle() => {
                stops.take_back(*link, Of::Author(range.log.author));
            }
            Frame::Graft(Graft { yours, .. }) if !stops.is_idle() => {
                stops.take_back(*link, Of::Tree(*yours));
            }
            Frame::Prune(Prune { author, .. }) => {
                self.on_told(topology, local, (*link, Of::Author(*author)), Duration::ZERO, why);
            }
            Frame::Ungraft(Ungraft { yours, fade, .. }) => {
                let fade = Duration::from_millis((*fade).into()).min(limits::FADE_MAX);
                self.on_told(topology, local, (*link, Of::Tree(*yours)), fade, why);
            }
            _ => {}
        }
    }

    /// It is to stop so long after it hears of it.
    fn on_told(
        &mut self,
        topology: &Topology,
        local: usize,
        (link, of): (LinkId, Of),
        after: Duration,
        why: Option<Cause>,
    ) {
        let key = self.key;
        let host = &mut self.hosts[local];
        let Some(neighbour) = host.links.get(&link).map(|end| end.other) else { return };
        let is_hostile = |node: NodeIx| topology.places[node].is_hostile;
        let longest = topology.longest(host.ix, neighbour);
        let Some(longest) = longest.filter(|_| !is_hostile(host.ix) && !is_hostile(neighbour)) else {
            return;
        };
        let links = &host.links;
        host.stops.told.retain(|(link, _), _| links.contains_key(link));
        let since = host.stops.told.entry((link, of)).or_insert(key.at + after);
        *since = (*since).min(key.at + after);
        let since = *since;
        let why = why.filter(|why| (why.link, why.of) == (link, of));
        if let Some(Cause { log, seq, .. }) = why
            // What is its own an author may send to anybody.
            && log.author != topology.peers[neighbour]
            && since + longest < key.at
        {
            let repeat = Repeat { key, node: host.ix, neighbour, since, log, seq };
            host.stops.doubts.push((key.at + longest, link, of, repeat));
        }
    }
}
