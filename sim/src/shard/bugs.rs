//! Mistakes that a host could make, planted to show that they are found. For tests.

use bytes::Bytes;
use djembe_protocol::io::{CloseCause, Delivered, Event, PresenceCause, PresenceState};
use djembe_protocol::wire::frame::Frame;

use super::Shard;
use crate::bug::Bug;
use crate::host::Wish;
use crate::topology::Topology;

impl Shard {
    /// What a host that makes this world's mistake is left with of what its engine wants.
    pub(super) fn spoil(&mut self, topology: &Topology, local: usize, wish: Wish) -> Option<Wish> {
        let Some(bug) = self.rules.bug else { return Some(wish) };
        let host = &mut self.hosts[local];
        let could_strike = match (bug, &wish) {
            (Bug::LostPrune, Wish::Send(_, _, frame)) => matches!(frame, Frame::Prune(_) | Frame::Ungraft(_)),
            (Bug::LostGraft, Wish::Send(_, _, frame)) => matches!(frame, Frame::Graft(_)),
            (Bug::LostRefusal, Wish::Send(_, _, frame)) => matches!(frame, Frame::Refuse(_)),
            (Bug::LostRefusal, Wish::Disconnect(_, cause)) => *cause == CloseCause::NotKept,
            (Bug::LostDial, Wish::Connect(_, addresses)) => {
                let to = addresses.iter().find_map(|address| topology.node_at(address));
                to.is_some_and(|to| to % 2 != host.ix % 2)
            }
            (Bug::LostWrite, Wish::Persist(..)) => true,
            (Bug::LostPrune | Bug::LostGraft | Bug::LostRefusal | Bug::LostDial | Bug::LostWrite, _) => false,
            (_, Wish::Event(event)) => {
                matches!(event, Event::Delivered(delivered) if delivered.log.author != host.peer)
            }
            _ => false,
        };
        if let (Some(late), Wish::Event(Event::Delivered(delivered))) = (&host.late, &wish)
            && (late.group, late.log) == (delivered.group, delivered.log)
        {
            let late = host.late.take();
            self.on_event(topology, local, Event::Delivered(delivered.clone()));
            return late.map(|late| Wish::Event(Event::Delivered(late)));
        }
        host.n_spoilable += u32::from(could_strike);
        if !could_strike || !host.n_spoilable.is_multiple_of(bug.every()) {
            return Some(wish);
        }
        match (bug, &wish) {
            (Bug::LostPrune | Bug::LostGraft | Bug::LostRefusal, Wish::Send(link, class, frame)) => {
                // As far as the engine knows it was written.
                let bytes = u32::try_from(frame.encode().len()).unwrap_or(u32::MAX);
                self.written.push((*link, *class, bytes));
                return None;
            }
            (Bug::LostRefusal | Bug::LostDial, _) => return None,
            (Bug::DoubleDelivery, Wish::Event(Event::Delivered(delivered))) => {
                self.on_event(topology, local, Event::Delivered(delivered.clone()));
            }
            (Bug::WrongGroup, Wish::Event(Event::Delivered(delivered))) => {
                let other = self.groups.iter().find(|group| **group != delivered.group).copied();
                let group = other.unwrap_or(delivered.group);
                let delivered = Box::new(Delivered { group, ..(**delivered).clone() });
                return Some(Wish::Event(Event::Delivered(delivered)));
            }
            (Bug::Forgery, Wish::Event(Event::Delivered(delivered))) => {
                let mut forged = delivered.clone();
                forged.messages.iter_mut().for_each(|body| body.content = Bytes::from_static(&[0xff; 8]));
                return Some(Wish::Event(Event::Delivered(forged)));
            }
            (Bug::LateDelivery, Wish::Event(Event::Delivered(delivered))) if host.late.is_none() => {
                host.late = Some(delivered.clone());
                return None;
            }
            (Bug::LostDelivery, _) => return None,
            (Bug::LostWrite, Wish::Persist(token, _)) => return Some(Wish::Persist(*token, Vec::new())),
            (Bug::PresenceFlap, Wish::Event(Event::Delivered(delivered))) => {
                let peer = delivered.log.author;
                for (state, cause) in [
                    (PresenceState::Gone, PresenceCause::Silent),
                    (PresenceState::Alive, PresenceCause::Heard),
                ] {
                    self.on_event(topology, local, Event::Presence { peer, state, cause });
                }
            }
            _ => {}
        }
        Some(wish)
    }
}
