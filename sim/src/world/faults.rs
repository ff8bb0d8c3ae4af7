//! What breaks and heals from outside.

use djembe_protocol::io::{Command, Input};
use djembe_protocol::time::Timestamp;

use super::events::Happening;
use super::{World, source};
use crate::network::NodeIx;

/// What can be done to nodes and network from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies; its sockets are reset.
    Crash(NodeIx),
    /// The machine dies; nobody is told.
    PowerOff(NodeIx),
    /// It starts again from its disk and joins its groups.
    Restart(NodeIx),
    /// It stands still.
    Pause(NodeIx),
    /// It goes on.
    Resume(NodeIx),
    /// Its sockets are not read any more.
    Stall(NodeIx),
    /// They are read again.
    Unstall(NodeIx),
    /// It listens to talk and takes no payload.
    Clog(NodeIx),
    /// It does again.
    Unclog(NodeIx),
    /// It says goodbye and ends.
    Shutdown(NodeIx),
    /// These are cut off from all others.
    Partition(Vec<NodeIx>),
    /// No partition any more.
    Heal,
}

impl World {
    /// A fault at a later time.
    pub fn fault_at(&mut self, at: Timestamp, fault: Fault) {
        self.calendar.schedule(at, 0, Happening::Fault(fault));
    }

    /// A fault now.
    pub fn fault(&mut self, fault: Fault) {
        let now = self.now();
        match fault {
            Fault::Crash(node) => self.crash(node, true),
            Fault::PowerOff(node) => self.crash(node, false),
            Fault::Restart(node) => self.start(node),
            Fault::Pause(node) => {
                self.hosts[node].is_paused = true;
                self.ledger.on_disturbed(now, node);
            }
            Fault::Resume(node) => {
                self.ledger.on_disturbed(now, node);
                self.hosts[node].is_paused = false;
                for input in self.hosts[node].take_backlog() {
                    self.input(node, input);
                }
                self.input(node, Input::Timeout);
            }
            Fault::Stall(node) => {
                self.hosts[node].is_stalled = true;
                self.ledger.on_disturbed(now, node);
            }
            Fault::Unstall(node) => {
                self.hosts[node].is_stalled = false;
                self.ledger.on_disturbed(now, node);
                self.let_go();
            }
            Fault::Clog(node) => self.hosts[node].is_clogged = true,
            Fault::Unclog(node) => {
                self.hosts[node].is_clogged = false;
                self.let_go();
            }
            Fault::Shutdown(node) => {
                self.input(node, Input::Command(Command::Shutdown));
                self.crash(node, true);
            }
            Fault::Partition(nodes) => {
                for node in 0..self.hosts.len() {
                    self.network.set_part(node, u8::from(nodes.contains(&node)));
                    self.ledger.on_disturbed(now, node);
                }
            }
            Fault::Heal => {
                for node in 0..self.hosts.len() {
                    self.network.set_part(node, 0);
                    self.ledger.on_disturbed(now, node);
                }
                self.let_go();
            }
        }
    }

    fn crash(&mut self, node: NodeIx, resets: bool) {
        if self.hosts[node].engine.is_none() {
            return;
        }
        self.ledger.on_crash(self.now(), node);
        self.hosts[node].crash();
        self.hosts[node].is_off = !resets;
        for (link, side) in self.network.links_of(node) {
            let heard = self.network.close(self.now(), link, side);
            if let Some(at) = heard.filter(|_| resets) {
                let happening = Happening::PeerClosed { link, side: 1 - side };
                self.calendar.schedule(at, source(node), happening);
            }
        }
    }

    /// What was held up goes on.
    fn let_go(&mut self) {
        for (link, from, class, at) in self.network.waiting(self.calendar.now()) {
            let node = self.network.node_at(link, from).unwrap_or(0);
            self.calendar.schedule(at, source(node), Happening::Arrive { link, from, class });
        }
    }
}
