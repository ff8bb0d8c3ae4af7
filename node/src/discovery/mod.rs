//! Finding peers: beacons on the LAN, mDNS, addresses given by the user, and a cache, merged into one stream.

mod bounds;
mod cache;
mod candidates;
mod given;
mod jitter;
mod listener;
pub(crate) mod mdns;
mod pace;
#[cfg(test)]
mod testing;

use djembe_protocol::id::PeerId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Our form of a peer id; None for a key that is not Ed25519.
fn from_libp2p(peer: &libp2p::PeerId) -> Option<PeerId> {
    peer.to_string().parse().ok()
}

/// Takes a trailing `/p2p` off.
fn strip_peer(address: &mut Multiaddr) {
    if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
        address.pop();
    }
}
