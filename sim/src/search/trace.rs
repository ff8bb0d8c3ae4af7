//! What applications are told, a line of JSON each.

use std::io::{BufWriter, Write};

use djembe_protocol::id::PeerId;
use djembe_protocol::io::Event;
use serde_json::{Value, json};

use crate::world::World;

/// Has a world write its events from now on.
pub(super) fn write_to(world: &mut World, to: impl Write + Send + 'static) {
    let peers = world.topology().peers.clone();
    let mut to = Some(BufWriter::new(to));
    world.listen(Box::new(move |now, node, event| {
        let line = json!({ "at": now.as_micros(), "node": node, "event": told(&peers, event) });
        if let Some(writer) = &mut to
            && writeln!(writer, "{line}").is_err()
        {
            to = None;
        }
    }));
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
