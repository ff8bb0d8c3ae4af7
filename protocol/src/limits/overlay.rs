//! What neighbours and others can make of the overlay. Figures without a reason are those with which the prototype was
//! measured.

use core::time::Duration;

use super::{KNOWN_PEERS_MAX, LINKS_MAX};

/// Dials under way at once.
pub const DIALS_MAX: usize = 64;
/// Peers of whom no more is known than that some neighbour has named them: half of all that can be known.
pub const HEARSAY_MAX: usize = KNOWN_PEERS_MAX / 2;
/// Peers that one neighbour has named and of whom no more is known: as many as it can be linked to.
pub const HEARSAY_PER_LINK: usize = LINKS_MAX;
/// Dials to those at once.
pub const HEARSAY_DIALS_BURST: u32 = HEARSAY_PER_LINK as u32;
/// And a second, later: each goes to up to eight addresses, which may be anybody's.
pub const HEARSAY_DIALS_RATE: u32 = 2;
/// The same for all neighbours together, those that went included: who comes under another name each time gets no more.
pub const HEARSAY_DIALS_ALL_BURST: u32 = 4 * HEARSAY_DIALS_BURST;
/// And a second, later.
pub const HEARSAY_DIALS_ALL_RATE: u32 = 16 * HEARSAY_DIALS_RATE;
/// Of the dials under way so many go to names at most: who swallows packets holds each of these for 5 to 10 s, and whom
/// discovery finds is dialled all the same.
pub const HEARSAY_DIALS_MAX: usize = DIALS_MAX / 2;
/// After so many dials in vain, some 16 s, a peer that nobody names any longer is forgotten.
pub const HEARSAY_FAILURES_MAX: u32 = 6;

/// With up to so many others known to live everybody is linked to everybody.
pub const MESH_MAX: usize = 16;
/// Below so many a partial overlay becomes a mesh again.
pub const MESH_AGAIN: usize = 12;
/// A network is only taken to be larger than a mesh when so many links stand: peers of former days in a cache are
/// no network.
pub const MESH_LINKS_MIN: usize = 8;
/// How long a sign of life counts when the others are counted. Longer than discovery and probing take to come round.
pub const LIVE_FOR: Duration = Duration::from_secs(90);
/// A node to which the network seems small asks those it knows whether they are there, and waits so long for answers.
pub const ASK_AROUND: Duration = Duration::from_secs(10);
/// How long a node stays in partial mode at least: it was told, or counted in a rush of newcomers, and has to find out.
pub const PARTIAL_MIN: Duration = Duration::from_secs(30);
/// Links wanted to random peers: they hold the network together.
pub const RANDOM_LINKS: usize = 5;
/// Links to random peers that are accepted.
pub const RANDOM_LINKS_MAX: usize = 7;
/// Links wanted to peers close by: they make it fast.
pub const NEAR_LINKS: usize = 3;
/// Links to peers close by that are accepted.
pub const NEAR_LINKS_MAX: usize = 4;
/// Links in partial mode to one address, where there are others to choose from: two nodes of one machine, or of one
/// operator's thousand.
pub const LINKS_PER_BLOCK: usize = 2;
/// Other addresses are there to choose from if links stand to so many of them.
pub const BLOCKS_MIN: usize = 4;
/// So many in [`SIEGE_FOR`] of addresses that have enough links, and a node is besieged.
pub const SIEGE_AFTER: u32 = 16;
/// And for so long after the last of them.
pub const SIEGE_FOR: Duration = Duration::from_secs(60);
/// A block from which so many too many came is one of a crowd,
pub const CROWD_MIN: u32 = 4;
/// ... and a besieged node keeps so many links to all of these together.
pub const CROWD_LINKS: usize = 3;
/// Blocks that are counted; what comes from others is let in as from any.
pub const CROWDS_MAX: usize = 1024;
/// A besieged node has so many links that it chose itself, of peers that it drew: more than half of what it wants.
pub const CHOSEN_LINKS: usize = 4;
/// Known peers without a link, in partial mode, behind one address.
pub const PASSIVE_PER_BLOCK: usize = 2;
/// Links in partial mode, those that groups need included.
pub const PARTIAL_LINKS_MAX: usize = 32;
/// Links that we dialled and do not give up: whoever surrounds us has to be chosen by us.
pub const DIALED_LINKS_MIN: usize = 2;
/// Known peers without a link in partial mode.
pub const PASSIVE_MAX: usize = 64;
/// Peers whose links broke, that are dialled again: after a partition they are the way to the other side.
pub const LOST_MAX: usize = 16;
/// Dials that have failed in a row before a lost peer is given up: about an hour.
pub const LOST_FAILURES_MAX: u32 = 128;
/// Hops of a newcomer's walk.
pub const WALK_HOPS: u8 = 12;
/// Hops that a walk which splits nothing may take on top, to find somebody with room.
pub const WALK_HOPS_MORE: u8 = 8;
/// Walks and shuffles that a neighbour may send in a second; a contact through which 1,000 nodes join in a second
/// sends 3,000 over its links.
pub const WALKS_RATE: u32 = 512;
/// And at once.
pub const WALKS_BURST: u32 = 1024;
/// Dials in a second to which the walks of others make us.
pub const WALK_DIALS_RATE: u32 = 16;
/// And at once.
pub const WALK_DIALS_BURST: u32 = 32;
/// How often a node in partial mode looks whether it has the links it wants.
pub const OVERLAY_TICK: Duration = Duration::from_secs(1);
/// While it is new it exchanges known peers and measures at each tick.
pub const YOUNG_FOR: Duration = Duration::from_secs(30);
/// Afterwards at this pause.
pub const SHUFFLE_MIN: Duration = Duration::from_secs(10);
/// Which doubles to this while no link comes or goes.
pub const SHUFFLE_MAX: Duration = Duration::from_secs(60);
/// Peers measured at once.
pub const PROBES: usize = 3;
/// From this age on near links change only for a good reason: trees stand on them.
pub const NEAR_SETTLED: Duration = Duration::from_secs(45);
/// Passive peers asked at once by who has few links.
pub const NEIGHBOR_DIALS: usize = 6;
/// Members of each group wanted among the neighbours.
pub const GROUP_LINKS: usize = 4;
/// Of each group, where there are more than [`MANY_GROUPS`]: three hold a group together as well, and ten groups would
/// need forty links.
pub const GROUP_LINKS_OF_MANY: usize = 3;
/// So many groups are not many yet.
pub const MANY_GROUPS: usize = 4;
/// Neighbours in partial mode, at most, of who is in many groups: until links are found that serve several.
pub const PARTIAL_LINKS_OF_MANY: usize = 48;
/// So long members are told of each other often by who has more links than that.
pub const GATHER_FOR: Duration = Duration::from_secs(180);
/// So often.
pub const GATHER_EVERY: Duration = Duration::from_secs(3);
/// From so many on a link that only a group needs is given up again.
pub const GROUP_LINKS_MAX: usize = 7;
/// Groups for which links are looked for at one tick; the others at the next.
pub const COVERED_AT_ONCE: usize = 4;
/// First pause between two searches for members of a group; doubles while none is found.
pub const FIND_MIN: Duration = Duration::from_secs(2);
/// To this: a group that is alone costs some 4 kB in five minutes.
pub const FIND_MAX: Duration = Duration::from_secs(300);
/// Walks of one search.
pub const FIND_WALKS: usize = 2;
/// Searches of others that are remembered, so that two who look for the same group meet: 300 bytes each.
pub const CRUMBS_MAX: usize = 128;
/// For so long.
pub const CRUMBS_FOR: Duration = Duration::from_secs(120);
/// Who refused is not asked again for so long.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(10);
