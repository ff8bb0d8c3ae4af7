//! Applications on nodes: what they are told, and what they do.

use djembe_protocol::id::MessageId;
use djembe_protocol::io::{Command, Event, Input};
use djembe_protocol::message::Draft;

use super::{Shard, To};
use crate::app::{Act, App, Desk, Received};
use crate::topology::Topology;

impl Shard {
    /// A node with an application was started.
    pub(crate) fn start_app(&mut self, topology: &Topology, local: usize) {
        self.with_app(topology, local, |app, desk| app.on_start(desk));
    }

    /// Its time has come, unless the process stands still: then it is late.
    pub(crate) fn wake_app(&mut self, topology: &Topology, local: usize, token: u64) {
        let host = &mut self.hosts[local];
        if host.is_paused {
            return host.late_wakes.push(token);
        }
        self.with_app(topology, local, |app, desk| app.on_wake(desk, token));
    }

    pub(super) fn tell_app(&mut self, topology: &Topology, local: usize, event: &Event) {
        self.with_app(topology, local, |app, desk| match event {
            Event::Delivered(delivered) => {
                for (index, body) in (0..).zip(&delivered.messages) {
                    let id = MessageId { log: delivered.log, seq: delivered.seq, index };
                    let received = Received {
                        id,
                        group: delivered.group,
                        author: delivered.log.author,
                        subject: &body.subject,
                        content: &body.content,
                    };
                    app.on_message(desk, &received);
                }
            }
            event => app.on_event(desk, event),
        });
    }

    fn with_app(&mut self, topology: &Topology, local: usize, f: impl FnOnce(&mut dyn App, &mut Desk<'_>)) {
        let now = self.now();
        let host = &mut self.hosts[local];
        let Some(mut app) = host.app.take() else { return };
        let mut desk = Desk { now, node: host.ix, peer: host.peer, rng: &mut host.app_rng, acts: Vec::new() };
        f(&mut *app, &mut desk);
        let acts = desk.acts;
        // What it does may be told to it at once: it is back before anything is done.
        host.app = Some(app);
        for act in acts {
            self.do_act(topology, local, act);
        }
    }

    fn do_act(&mut self, topology: &Topology, local: usize, act: Act) {
        match act {
            Act::Publish { group, lane, subject, content } => {
                let Some(group) = self.groups.get(group).copied() else { return };
                let host = &mut self.hosts[local];
                let ticket = host.next_ticket(group, lane);
                let draft = Draft { subject, content, ..Draft::default() };
                let command = Command::Publish { group, lane, ttl_secs: 0, draft, ticket };
                self.input(topology, local, Input::Command(command));
            }
            Act::Wake { after, token } => {
                let at = self.now() + after;
                self.schedule_own(topology, local, at, To::WakeApp { token });
            }
        }
    }
}
