//! Quotas by address: identities cost nothing, addresses do.
//!
//! In partial mode a node keeps few links to one *block*, and few of its peers in the passive view, so that a thousand
//! identities behind one address are as good as two. A block is an IPv4 address; an IPv6 network of 64 bits or, where
//! this node has such a network itself, an address of it. What is on this node's own addresses is no block, nor is a
//! name. A quota binds only where there are enough other blocks to choose from: who finds everybody behind one address
//! has nobody else.
//!
//! Where many come from few addresses, this node is *besieged*: for a while one link to a block is enough, nobody makes
//! it give up links for others, and it sees to it that some links are to peers that it drew itself.
//!
//! An address in a record may be made up, but then no dial reaches its peer: one that is of use to it counts. Where the
//! other end of a link is, the host says. Not here: bounds for what has not said HELLO (the host).

use std::collections::{BTreeMap, BTreeSet};

use super::{Fact, Known, Overlay};
use crate::id::{LinkId, PeerId};
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{Address, Refusal, Why};

/// Codes of multiaddr.
const IP4: u8 = 4;
const IP6: u8 = 41;
const IP6_ZONE: u8 = 42;

/// What one operator is taken to have: an IPv6 address, or the first half of one; version 4 as IPv6 maps it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Block([u8; 16]);

impl Block {
    fn bit(self) -> u64 {
        bit(&self.0)
    }
}

/// How many of a block that had enough links came or were named of late.
#[derive(Debug, Default)]
pub(super) struct Siege {
    n: u32,
    since: Timestamp,
    until: Option<Timestamp>,
    by: BTreeMap<Block, Arrivals>,
}

/// What came too many from one block.
#[derive(Debug, Default)]
struct Arrivals {
    /// In this span.
    n: u32,
    /// It was a crowd in the span before.
    was_crowd: bool,
}

impl Siege {
    /// Whether a block is among those from which many come.
    pub(super) fn has(&self, block: &Block) -> bool {
        self.by.get(block).is_some_and(|came| came.was_crowd || came.n >= limits::CROWD_MIN)
    }
}

/// The IP address at the beginning of an address, that of version 4 as IPv6 maps it.
fn ip(address: &Address) -> Option<[u8; 16]> {
    match &address.0[..] {
        [IP4, a, b, c, d, ..] => Some([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, *a, *b, *c, *d]),
        [IP6, rest @ ..] => rest.first_chunk().copied(),
        [IP6_ZONE, length, rest @ ..] => match rest.get(usize::from(*length)..)? {
            [IP6, rest @ ..] => rest.first_chunk().copied(),
            _ => None,
        },
        _ => None,
    }
}

fn is_v4(ip: &[u8; 16]) -> bool {
    ip[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
}

/// One of 64 bits, the same for all addresses of a block.
fn bit(ip: &[u8; 16]) -> u64 {
    let [high, low] =
        [0, 8].map(|at| ip[at..].iter().take(8).fold(0u64, |n, byte| n << 8 | u64::from(*byte)));
    let place = if is_v4(ip) { low } else { high };
    1 << (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

/// The bits of the blocks where these may be.
pub(super) fn bits<'a>(addresses: impl IntoIterator<Item = &'a Address>) -> u64 {
    addresses.into_iter().filter_map(ip).fold(0, |bits, ip| bits | bit(&ip))
}

fn is_loopback(ip: &[u8; 16]) -> bool {
    is_v4(ip) && ip[12] == 127 || *ip == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
}

fn is_nobodys(ip: &[u8; 16]) -> bool {
    let is_v6_nobodys = ip[0] == 0xff || *ip == [0; 16];
    is_v6_nobodys || is_v4(ip) && (ip[12] == 0 || ip[12] >= 224)
}

/// Whether an address that somebody else has told of is worth a dial: not if it stands for many or nobody, nor this
/// host's own loopback unless who told of it is on this host too. What this does not understand is.
pub(super) fn may_be_dialed(address: &Address, is_told_here: bool) -> bool {
    ip(address).is_none_or(|ip| !is_nobodys(&ip) && (is_told_here || !is_loopback(&ip)))
}

impl Overlay {
    pub(super) fn is_on_this_host(&self, peer: &PeerId) -> bool {
        self.standing(peer).is_some_and(|standing| standing.is_on_this_host)
    }

    fn own_ips(&self) -> impl Iterator<Item = [u8; 16]> {
        self.record.iter().flat_map(|record| record.addresses.iter().filter_map(ip))
    }

    pub(super) fn block(&self, address: &Address) -> Option<Block> {
        let mut ip = ip(address).filter(|ip| !is_loopback(ip))?;
        if self.own_ips().any(|own| own == ip) {
            return None;
        }
        let is_local = ip[0] == 0xfe && ip[1] & 0xc0 == 0x80 || self.own_ips().any(|own| own[..8] == ip[..8]);
        if !is_v4(&ip) && !is_local {
            ip[8..].fill(0);
        }
        Some(Block(ip))
    }

    /// The host says where the other end of a link is.
    pub(crate) fn linked_at(&mut self, link: LinkId, peer: &PeerId, address: &Address) {
        let block = self.block(address);
        let is_on_this_host =
            ip(address).is_some_and(|ip| is_loopback(&ip) || self.own_ips().any(|own| own == ip));
        if let Some(standing) = self.active.get_mut(peer).filter(|standing| standing.link == link) {
            (standing.block, standing.is_on_this_host) = (block, is_on_this_host);
        }
    }

    /// The blocks in which a peer says that it can be reached.
    fn blocks_of(&self, known: &Known) -> impl Iterator<Item = Block> {
        known.places().filter_map(|address| self.block(address))
    }

    /// Whether a peer says that it can be reached in a block. Most say nothing of the kind, and that is seen at once.
    fn is_in(&self, known: &Known, block: Block) -> bool {
        debug_assert_eq!(bits(known.places()) & !known.bits, 0, "they say of each address where it may be");
        known.bits & block.bit() != 0 && self.blocks_of(known).any(|other| other == block)
    }

    /// Whether there are links to so many blocks beside this one that it needs no more than its share.
    fn has_choice(&self, but: Block) -> bool {
        let linked = self.kept().filter_map(|(_, standing)| standing.block);
        let others: BTreeSet<Block> = linked.filter(|block| *block != but).collect();
        others.len() >= limits::BLOCKS_MIN
    }

    /// Whether a link to this peer would be one too many to its block.
    pub(super) fn is_crowding(&self, now: Timestamp, peer: &PeerId) -> bool {
        let Some(known) = self.known.get(peer).filter(|_| self.is_partial()) else {
            return false;
        };
        match self.active.get(peer) {
            Some(standing) => standing.block.is_some_and(|block| self.is_full(now, block, peer)),
            None => self.blocks_of(known).any(|block| self.is_full(now, block, peer)),
        }
    }

    /// Whether a block has its share of links beside that of one peer.
    fn is_full(&self, now: Timestamp, block: Block, but: &PeerId) -> bool {
        let is_of_crowd = self.is_besieged(now) && self.siege.has(&block);
        let is_full = self.n_linked_in(block, but) >= self.links_per_block(now)
            || is_of_crowd && self.n_linked_to_crowds(but) >= limits::CROWD_LINKS;
        is_full && self.has_choice(block)
    }

    /// Links that are kept to blocks from which many come, but for one peer's.
    fn n_linked_to_crowds(&self, but: &PeerId) -> usize {
        let kept = self.kept().filter(|(peer, _)| peer != but);
        kept.filter(|(_, standing)| standing.block.is_some_and(|block| self.siege.has(&block))).count()
    }

    /// Blocks that are counted.
    pub(super) fn n_crowds(&self) -> usize {
        self.siege.by.len()
    }

    fn links_per_block(&self, now: Timestamp) -> usize {
        if self.is_besieged(now) { 1 } else { limits::LINKS_PER_BLOCK }
    }

    /// One more of a block that has enough links was not dialled, or not let in: then the block it came from is known.
    pub(super) fn on_crowded(&mut self, now: Timestamp, from: Option<Block>) {
        self.facts.push(Fact::Count("crowded"));
        let siege = &mut self.siege;
        if now - siege.since >= limits::SIEGE_FOR {
            // A crowd is one for the next span as well, and on for as long as any come: it is not let in anew each time.
            siege.by.retain(|_, came| {
                let is_crowd = came.n >= limits::CROWD_MIN || came.was_crowd && came.n > 0;
                *came = Arrivals { n: 0, was_crowd: is_crowd };
                is_crowd
            });
            (siege.n, siege.since) = (0, now);
        }
        siege.n = siege.n.saturating_add(1);
        if let Some(block) = from
            && (siege.by.len() < limits::CROWDS_MAX || siege.by.contains_key(&block))
        {
            let came = siege.by.entry(block).or_default();
            came.n = came.n.saturating_add(1);
        }
        if siege.n >= limits::SIEGE_AFTER {
            siege.until = Some(now + limits::SIEGE_FOR);
        }
    }

    /// Whether many come from few addresses.
    pub(super) fn is_besieged(&self, now: Timestamp) -> bool {
        self.is_partial() && self.siege.until.is_some_and(|until| until > now)
    }

    /// Whoever surrounds a besieged node has to be chosen by it: it draws some itself of those it knows, of whom no more
    /// are behind one address than behind any.
    pub(super) fn choose(&mut self, now: Timestamp) {
        let linked = self.kept().filter(|(_, standing)| standing.is_chosen);
        let is_chosen = |known: &&Known| known.dialing.as_ref().is_some_and(|dial| dial.is_chosen);
        if !self.is_besieged(now)
            || linked.count() + self.known.values().filter(is_chosen).count() >= limits::CHOSEN_LINKS
        {
            return;
        }
        let mut candidates = self.candidates(now);
        candidates.retain(|peer| !self.is_crowding(now, peer));
        let Some(peer) = self.pick(&candidates) else { return };
        self.dial(now, peer, Why::Priority, false);
        if let Some(dial) = self.known.get_mut(&peer).and_then(|known| known.dialing.as_mut()) {
            dial.is_chosen = true;
        }
    }

    /// Links to a block that are kept or being made, but for one peer's.
    fn n_linked_in(&self, block: Block, but: &PeerId) -> usize {
        let kept = self.kept().filter(|(peer, standing)| peer != but && standing.block == Some(block));
        let n_dialing = if self.n_dialing == 0 {
            0
        } else {
            let dialing = self.known.iter().filter(|(peer, known)| *peer != but && known.dialing.is_some());
            dialing.filter(|(_, known)| self.is_in(known, block)).count()
        };
        kept.count() + n_dialing
    }

    /// Whether the passive view has enough peers that can be reached where these addresses are.
    pub(super) fn is_crowded(&self, peer: &PeerId, addresses: &[Address]) -> bool {
        if !self.is_partial() || self.known.contains_key(peer) {
            return false;
        }
        addresses
            .iter()
            .filter_map(|address| self.block(address))
            .any(|block| self.has_enough_in(block, peer))
    }

    /// Whether the passive view has enough peers of a block, but for one.
    fn has_enough_in(&self, block: Block, but: &PeerId) -> bool {
        let is_passive = |peer: &PeerId, known: &Known| !known.is_linked && peer != but;
        let there =
            self.known.iter().filter(|(peer, known)| self.is_in(known, block) && is_passive(peer, known));
        there.take(limits::PASSIVE_PER_BLOCK).count() >= limits::PASSIVE_PER_BLOCK
    }

    /// Who was refused is remembered for another time, but not one of many, wherever it says that it is.
    pub(super) fn forget_crowd(&mut self, now: Timestamp, peer: &PeerId, block: Option<Block>) {
        let Some(known) = self.known.get(peer) else { return };
        let crowds = |block| self.has_enough_in(block, peer) || self.is_full(now, block, peer);
        if self.blocks_of(known).chain(block).any(crowds) {
            self.remove(peer);
        }
    }

    /// Of the links to a block that has too many, from before there was a choice, the youngest goes.
    pub(super) fn thin_out(&mut self, now: Timestamp) {
        let crowding = self
            .kept()
            .filter_map(|(peer, standing)| Some((standing.since, peer, standing.block?)))
            .filter(|(_, peer, block)| self.is_full(now, *block, peer))
            .max_by_key(|(since, peer, _)| (*since, *peer));
        if let Some((_, peer, _)) = crowding {
            self.on_crowded(now, None);
            self.part(peer, Refusal::Surplus, Vec::new());
        }
    }
}
