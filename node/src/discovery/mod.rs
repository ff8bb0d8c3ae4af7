//! Finding peers: beacons on the LAN, mDNS, addresses given by the user, and a cache, merged into one stream.

mod bounds;
mod candidates;
mod jitter;
mod listener;
mod pace;
#[cfg(test)]
mod testing;

use djembe_protocol::id::PeerId;

/// Our form of a peer id; None for a key that is not Ed25519.
fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    peer.to_string().parse().ok()
}
