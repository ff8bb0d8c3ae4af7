//! What applications are told, a line of JSON each.

use std::io::{self, BufWriter, Write};
use std::sync::{Arc, Mutex, PoisonError};

use djembe_protocol::id::PeerId;
use djembe_protocol::io::Event;
use serde_json::{Value, json};

use super::Finding;
use crate::world::World;

/// Writes what happens in a world. The first error ends it, and is told at its end.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<io::Result<Box<dyn Write + Send>>>>);

impl Trace {
    /// Lines go there.
    pub fn new(to: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Ok(Box::new(BufWriter::new(to))))))
    }

    /// Has a world write its events from now on.
    pub fn listen_to(&self, world: &mut World) {
        let peers = world.topology().peers.clone();
        let trace = self.clone();
        world.listen(Box::new(move |now, node, event| {
            trace.write(&json!({ "at": now.as_micros(), "node": node, "event": told(&peers, event) }));
        }));
    }

    /// The last lines are what is wrong with the run.
    ///
    /// # Errors
    /// If a line could not be written.
    pub fn end(self, findings: &[Finding]) -> io::Result<()> {
        for Finding { check, at, node, text } in findings {
            self.write(&json!({ "at": at, "node": node, "finding": { "check": check, "text": text } }));
        }
        let gone = || Err(io::Error::other("it has ended"));
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *to, gone()).and_then(|mut to| to.flush())
    }

    fn write(&self, line: &Value) {
        let mut to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = to.as_mut().ok().and_then(|to| writeln!(to, "{line}").err());
        if let Some(error) = failed {
            *to = Err(error);
        }
    }
}

/// Peers by their numbers, where they have one.
fn told(peers: &[PeerId], event: &Event) -> Value {
    let who = |peer: &PeerId| match peers.iter().position(|other| other == peer) {
        Some(node) => json!(node),
        None => json!(peer.short().to_string()),
    };
    match event {
        Event::Joined { .. } => json!({ "kind": "joined" }),
        Event::Delivered(delivered) => {
            let number = |content: &[u8]| content.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
            let messages: Vec<Option<u64>> =
                delivered.messages.iter().map(|body| number(&body.content)).collect();
            json!({
                "kind": "delivered",
                "author": who(&delivered.log.author),
                "lane": delivered.log.lane.name(),
                "seq": delivered.seq,
                "messages": messages,
                "backfilled": delivered.backfilled,
            })
        }
        Event::Sealed { lane, tickets, seq, sent, .. } => {
            json!({ "kind": "sealed", "lane": lane.name(), "tickets": tickets, "seq": seq, "sent": sent })
        }
        Event::Stored { peer, lane, next, .. } => {
            json!({ "kind": "stored", "peer": who(peer), "lane": lane.name(), "next": next })
        }
        Event::Dropped { lane, tickets, reason, .. } => {
            json!({ "kind": "dropped", "lane": lane.name(), "tickets": tickets, "reason": reason })
        }
        Event::Gap { log, from, to, .. } => {
            json!({ "kind": "gap", "author": who(&log.author), "lane": log.lane.name(), "from": from, "to": to })
        }
        Event::Fork { log, seq, .. } => {
            json!({ "kind": "fork", "author": who(&log.author), "lane": log.lane.name(), "seq": seq })
        }
        Event::Cloned { .. } => json!({ "kind": "cloned" }),
        Event::Presence { peer, state, cause } => {
            let state = format!("{state:?}").to_lowercase();
            json!({ "kind": "presence", "peer": who(peer), "state": state, "cause": cause.name() })
        }
        Event::MemberJoined { peer, .. } => json!({ "kind": "member-joined", "peer": who(peer) }),
        Event::MemberLeft { peer, cause, .. } => {
            json!({ "kind": "member-left", "peer": who(peer), "cause": cause.name() })
        }
        Event::Pace { peer, pace } => {
            json!({ "kind": "pace", "peer": who(peer), "pace": format!("{pace:?}").to_lowercase() })
        }
        Event::StoreFailed { error } => json!({ "kind": "store-failed", "error": error }),
    }
}
