//! Beyond a mesh: who is kept, where walks end, what is believed, and what a liar cannot do.

mod block;
mod dials;
mod find;
mod mates;

use super::*;
use crate::crypto::Identity;
use crate::overlay::find::Cover;
use crate::wire::frame::{Find, Found, Refusal, Shuffle, Signature, Walk};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

fn identity(n: u16) -> Identity {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(seed)
}

fn record(n: u16) -> Arc<PeerRecord> {
    PeerRecord::new(&identity(n), 1, vec![Address(n.to_be_bytes().to_vec())], Vec::new())
}

fn forged(n: u16, seq: u64) -> Arc<PeerRecord> {
    PeerRecord { seq, signature: Signature([1; 64]), ..PeerRecord::clone(&record(n)) }.into()
}

fn peer(n: u16) -> PeerId {
    identity(n).peer_id()
}

/// One overlay and the host's side of it.
struct Bench {
    overlay: Overlay,
    now: Timestamp,
    n_links: u64,
    dialed: Vec<PeerId>,
    walks: Vec<(LinkId, Walk)>,
    shuffles: Vec<Shuffle>,
    parted: Vec<(PeerId, Refusal)>,
    probes: Vec<PeerId>,
    finds: Vec<(LinkId, Find)>,
    founds: Vec<(LinkId, Found)>,
    counts: Vec<&'static str>,
}

impl Bench {
    fn new() -> Self {
        let mut overlay = Overlay::new(peer(9999), 1);
        overlay.set_record(Some(record(9999)));
        Self {
            overlay,
            now: at(1),
            n_links: 0,
            dialed: Vec::new(),
            walks: Vec::new(),
            shuffles: Vec::new(),
            parted: Vec::new(),
            probes: Vec::new(),
            finds: Vec::new(),
            founds: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// In partial mode, with so many random links and no others.
    fn partial(n_random: u16) -> Self {
        let mut bench = Self::new();
        bench.overlay.hint(bench.now);
        for n in 0..n_random {
            assert_eq!(bench.dialed_by(n, Why::Priority), None);
        }
        bench.drain();
        bench.counts.clear();
        bench
    }

    fn drain(&mut self) {
        for fact in self.overlay.take_facts() {
            match fact {
                Fact::Connect { peer, .. } => self.dialed.push(peer),
                Fact::Send { link, frame: Frame::Walk(walk) } => self.walks.push((link, walk)),
                Fact::Send { frame: Frame::Shuffle(shuffle), .. } => self.shuffles.push(shuffle),
                Fact::Send { link, frame: Frame::Find(find) } => self.finds.push((link, find)),
                Fact::Send { link, frame: Frame::Found(found) } => self.founds.push((link, found)),
                Fact::Part { peer, refuse, .. } => self.parted.push((peer, refuse.why)),
                Fact::Probe { peer, .. } => self.probes.push(peer),
                Fact::Count(cause) => self.counts.push(cause),
                Fact::Send { .. } | Fact::Retire { .. } | Fact::Disconnect { .. } | Fact::Cover => {}
            }
        }
    }

    /// Our groups, of which nobody is a member but whoever is linked.
    fn cover(&mut self, groups: &[Cover]) {
        self.overlay.cover(self.now, groups, |_, _| false);
    }

    fn link(&mut self, n: u16, dialed: bool) -> LinkId {
        self.n_links += 1;
        let link = LinkId(self.n_links);
        self.overlay.link_up(self.now, link, peer(n), dialed);
        link
    }

    /// Somebody dials us and says why.
    fn dialed_by(&mut self, n: u16, why: Why) -> Option<Refuse> {
        let link = self.link(n, false);
        let refuse = self.overlay.greeted(self.now, link, peer(n), why, record(n));
        self.drain();
        refuse
    }

    /// Our dial is answered.
    fn answered(&mut self, n: u16) -> LinkId {
        let link = self.link(n, true);
        assert_eq!(self.overlay.greeted(self.now, link, peer(n), Why::Random, record(n)), None);
        self.drain();
        link
    }

    fn walk(&mut self, from: u16, newcomer: u16, split: bool, hops: u8) {
        let walk = Walk { record: record(newcomer), split, hops };
        self.overlay.walk(self.now, peer(from), walk);
        self.drain();
    }

    fn pass(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(next) = self.overlay.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.overlay.on_deadline(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn count(&self, slot: Slot) -> usize {
        self.overlay.count(slot)
    }
}

/// Goal: sixteen others are a mesh, seventeen are not; and what others merely say changes nothing.
#[test]
fn a_mesh_ends_where_it_is_counted_to_end() {
    let mut bench = Bench::new();
    let hearsay = (100..200).map(|n| (peer(n), vec![Address(vec![1])])).collect();
    for n in 0..16 {
        assert_eq!(bench.dialed_by(n, Why::Mesh), None);
    }
    bench.overlay.neighbours_of(bench.now, peer(0), hearsay);
    for n in 100..200 {
        bench.overlay.learn(record(n), false);
    }
    bench.pass(1000);
    assert!(!bench.overlay.is_partial());
    assert_eq!(bench.dialed_by(16, Why::Mesh), None);
    assert!(bench.overlay.is_partial());
    assert_eq!(bench.count(Slot::Random), 17);
}

/// Goal: peers that discovery or a cache names and that are not there are no network.
#[test]
fn seventeen_names_without_links_are_still_a_mesh() {
    let mut bench = Bench::new();
    for n in 0..40 {
        bench.overlay.found(bench.now, peer(n), vec![Address(vec![1])]);
    }
    for n in 0..7 {
        bench.dialed_by(n, Why::Mesh);
    }
    bench.drain();
    assert!(!bench.overlay.is_partial());
    assert_eq!(bench.dialed.len(), 40, "all are dialled");
    bench.dialed_by(7, Why::Mesh);
    assert!(bench.overlay.is_partial(), "eight that answer vouch for the rest");
}

/// Goal: few that are left become a mesh, and what one of them says that has not counted yet does not undo it.
#[test]
fn a_mesh_begins_again_when_few_are_left() {
    let mut bench = Bench::new();
    for n in 0..17 {
        bench.dialed_by(n, Why::Mesh);
    }
    for n in 11..17 {
        bench.overlay.forget(&peer(n));
        let link = bench.overlay.link(&peer(n)).expect("linked");
        bench.overlay.link_down(bench.now, link, peer(n), 0);
    }
    // Eleven others are left, and nobody has said otherwise.
    bench.pass(limits::PARTIAL_MIN.as_millis() as u64 - 2000);
    assert!(bench.overlay.is_partial(), "not in a hurry");
    bench.pass(4000);
    assert!(bench.overlay.is_partial(), "others are asked first");
    bench.pass(limits::ASK_AROUND.as_millis() as u64);
    assert!(!bench.overlay.is_partial());
    bench.walk(3, 300, true, 5);
    assert!(!bench.overlay.is_partial());
    bench.pass(2 * limits::LIVE_FOR.as_millis() as u64);
    bench.walk(3, 300, true, 5);
    assert!(bench.overlay.is_partial(), "later it may be large again");
}

/// Goal: at rest nobody is measured any more, and who has not been seen for long is not taken for gone: the network would
/// seem small to everybody now and then. Method: twenty that are known besides five links; all answer, or none.
#[test]
fn who_sees_few_asks_around_first() {
    for answers in [true, false] {
        let mut bench = Bench::partial(5);
        (100..120).for_each(|n| bench.overlay.learn(record(n), false));
        for second in 0..4 * limits::LIVE_FOR.as_secs() {
            bench.pass(1000);
            let is_there = answers || second < 40;
            for peer in std::mem::take(&mut bench.probes) {
                bench.overlay.probed(bench.now, peer, is_there.then_some(Duration::from_millis(80)));
            }
            let dialed = std::mem::take(&mut bench.dialed);
            (100..120).filter(|n| is_there && dialed.contains(&peer(*n))).for_each(|n| {
                bench.answered(n);
            });
        }
        assert_eq!(bench.overlay.is_partial(), answers);
    }
}

/// Goal: each kind of link has its bound, and one past it is refused.
#[test]
fn links_are_kept_up_to_the_bound_of_their_kind() {
    let near = Why::Near { rtt: 1_000_000 };
    for (why, max) in [
        (Why::Mesh, limits::RANDOM_LINKS),
        (Why::Join, limits::RANDOM_LINKS),
        (Why::Random, limits::RANDOM_LINKS_MAX),
        (near, limits::NEAR_LINKS_MAX),
        (Why::Priority, limits::PARTIAL_LINKS_MAX),
        (Why::Group, limits::PARTIAL_LINKS_MAX),
    ] {
        let mut bench = Bench::partial(0);
        let mut kept = 0;
        for n in 0..100 {
            let refuse = bench.dialed_by(n, why);
            if let Some(link) = bench.overlay.link(&peer(n)) {
                bench.overlay.measured(&peer(n), Duration::from_millis(5));
                assert_eq!(refuse, None, "{link:?}");
                kept += 1;
            } else {
                let refuse = refuse.expect("a refusal");
                assert_eq!(refuse.why, Refusal::Full);
                assert!(refuse.peers.len() <= Refuse::PEERS_MAX);
                assert!(refuse.peers.iter().all(|record| record.peer != peer(n)), "not to itself");
            }
        }
        assert_eq!(kept, max, "{why:?}");
    }
}

/// Goal: a newcomer is sent on three walks, and told of others to try.
#[test]
fn who_joins_is_sent_on_walks() {
    let mut bench = Bench::partial(limits::RANDOM_LINKS as u16);
    let refuse = bench.dialed_by(50, Why::Join).expect("no room");
    assert_eq!(refuse.peers.len(), limits::RANDOM_LINKS);
    let kinds: Vec<(bool, u8)> = bench.walks.iter().map(|(_, walk)| (walk.split, walk.hops)).collect();
    assert_eq!(kinds, [(true, 12), (true, 12), (false, 20)]);
    assert!(bench.walks.iter().all(|(_, walk)| walk.record == record(50)));
}

/// Goal: a contact through which a rush of newcomers goes stays as it is: it knows that they are there although it keeps
/// none, and what it remembers of them is bounded.
#[test]
fn a_rush_of_newcomers_is_remembered_within_bounds() {
    let mut bench = Bench::partial(limits::RANDOM_LINKS as u16);
    for n in 100..400 {
        assert!(bench.dialed_by(n, Why::Join).is_some());
    }
    assert_eq!(
        bench.overlay.known.len() - bench.overlay.active.len(),
        limits::PASSIVE_MAX + limits::LOST_MAX
    );
    bench.pass(limits::PARTIAL_MIN.as_millis() as u64 + 5000);
    assert!(bench.overlay.is_partial());
}

/// Goal: a walk goes on, never back, until its hops are used up, and then to the newcomer.
#[test]
fn a_walk_goes_on_and_ends() {
    let mut bench = Bench::partial(2);
    for _ in 0..20 {
        bench.walk(0, 50, true, 3);
    }
    let forth = bench.overlay.link(&peer(1)).expect("linked");
    assert_eq!(bench.walks.len(), 20);
    assert!(bench.walks.iter().all(|(link, walk)| *link == forth && walk.hops == 2));
    assert!(bench.dialed.is_empty());
    bench.walk(0, 50, true, 0);
    assert_eq!(bench.dialed, [peer(50)]);
    // One that does not split ends early where there is room.
    bench.walk(0, 51, false, limits::WALK_HOPS_MORE + 1);
    assert_eq!(bench.dialed.len(), 1);
    bench.walk(0, 51, false, limits::WALK_HOPS_MORE);
    assert_eq!(bench.dialed[1..], [peer(51)]);
}

/// Goal: a link makes way for a newcomer only once the newcomer is linked. Method: a full node; one newcomer answers,
/// another never does.
#[test]
fn a_split_costs_nothing_until_the_newcomer_is_there() {
    let full = limits::RANDOM_LINKS;
    let mut bench = Bench::partial(full as u16);
    bench.walk(0, 50, true, 0);
    bench.walk(0, 51, true, 0);
    assert_eq!(bench.dialed, [peer(50), peer(51)]);
    assert!(bench.parted.is_empty());
    bench.overlay.dial_failed(bench.now, peer(51), 0);
    bench.answered(50);
    assert_eq!(bench.parted.len(), 1);
    let (parted, why) = bench.parted[0];
    assert!(parted != peer(50) && why == Refusal::Replaced);
    assert_eq!(bench.count(Slot::Random), full);
}

/// Goal: whose link makes way links to the newcomer in its place.
#[test]
fn the_other_end_of_a_split_dials_the_newcomer() {
    let mut bench = Bench::partial(3);
    let link = bench.overlay.link(&peer(1)).expect("linked");
    let refuse = Refuse { why: Refusal::Replaced, peers: vec![record(50)] };
    assert!(bench.overlay.refused(bench.now, link, peer(1), refuse));
    bench.drain();
    assert_eq!(bench.dialed, [peer(50)]);
    assert_eq!(bench.count(Slot::Random), 2);
    // Any other refusal only names others to try.
    let link = bench.overlay.link(&peer(2)).expect("linked");
    let refuse = Refuse { why: Refusal::Surplus, peers: vec![record(51)] };
    bench.overlay.refused(bench.now, link, peer(2), refuse);
    bench.drain();
    assert_eq!(bench.dialed.len(), 1);
}

/// Goal: what nobody signed is not dialled, and does not displace what is known to be good.
#[test]
fn forged_records_are_forgotten() {
    let mut bench = Bench::partial(1);
    let walk = Walk { record: forged(50, 9), split: true, hops: 0 };
    bench.overlay.walk(bench.now, peer(0), walk);
    bench.drain();
    assert!(bench.dialed.is_empty());
    assert_eq!(bench.counts, ["signatures-checked", "bad-record"]);
    assert!(!bench.overlay.known.contains_key(&peer(50)));
    // 51 was here itself; nobody can move it elsewhere, and it can.
    bench.dialed_by(51, Why::Mesh);
    bench.overlay.part(peer(51), Refusal::Surplus, Vec::new());
    let known = |bench: &Bench| bench.overlay.known[&peer(51)].record.as_ref().map(|record| record.seq);
    bench.overlay.learn(forged(51, 9), false);
    assert_eq!(known(&bench), Some(1));
    // One signature is checked for what came in one frame.
    let later = PeerRecord::new(&identity(51), 9, Vec::new(), Vec::new());
    bench.overlay.learn(later.clone(), false);
    assert_eq!(known(&bench), Some(1));
    bench.drain();
    assert_eq!(bench.counts[2..], ["signatures-checked", "bad-record"]);
    bench.overlay.learn(later, false);
    bench.overlay.learn(PeerRecord::new(&identity(51), 9, Vec::new(), Vec::new()), false);
    assert_eq!(known(&bench), Some(9));
}

/// Goal: a neighbour that floods us makes us neither speak nor dial without bound.
#[test]
fn a_flood_of_walks_is_bounded() {
    let mut bench = Bench::partial(2);
    for _ in 0..2 * limits::WALKS_BURST {
        bench.walk(0, 50, true, 3);
    }
    assert_eq!(bench.walks.len(), limits::WALKS_BURST as usize);
    assert_eq!(bench.counts.len(), limits::WALKS_BURST as usize);
    bench.now = bench.now + Duration::from_secs(1);
    for n in 0..limits::WALKS_RATE as u16 {
        bench.walk(0, 1000 + n % 200, true, 0);
    }
    assert!(bench.dialed.len() <= limits::WALK_DIALS_BURST as usize, "{} dials", bench.dialed.len());
    assert!(bench.overlay.known.len() <= limits::PASSIVE_MAX + limits::LOST_MAX + 2);
    // Who is no neighbour has no say.
    let n_walks = bench.walks.len();
    bench.walk(77, 50, true, 3);
    assert_eq!(bench.walks.len(), n_walks);
}

/// Goal: the passive view is bounded, whatever is poured into it, and links stay.
#[test]
fn the_view_is_bounded() {
    let mut bench = Bench::partial(4);
    for n in 0..100 {
        let peers = (0..8).map(|k| forged(100 + n * 8 + k, 1)).collect();
        bench.overlay.shuffle(bench.now, peer(0), Shuffle { reply: true, peers });
    }
    assert_eq!(bench.overlay.known.len(), 4 + limits::PASSIVE_MAX + limits::LOST_MAX);
    assert_eq!(bench.count(Slot::Random), 4);
}

/// Goal: of too many links the youngest go, one a second; but not those that we dialled ourselves if they are few, so
/// that nobody who comes in number can surround us.
#[test]
fn the_youngest_go_and_our_own_choice_stays() {
    let mut bench = Bench::partial(0);
    for n in 0..2 {
        bench.overlay.learn(record(n), false);
        bench.overlay.dial(bench.now, peer(n), Why::Random, false);
    }
    for n in 2..20 {
        bench.dialed_by(n, Why::Priority);
        bench.now = bench.now + Duration::from_millis(1);
    }
    bench.answered(0);
    bench.answered(1);
    bench.drain();
    bench.pass(30_000);
    assert_eq!(bench.count(Slot::Random), 2 * limits::RANDOM_LINKS, "those with few neighbours stay");
    for n in 0..20 {
        let list = (500..508).map(|n| (peer(n), Vec::new())).collect();
        bench.overlay.neighbours_of(bench.now, peer(n), list);
    }
    bench.pass(30_000);
    assert_eq!(bench.count(Slot::Random), limits::RANDOM_LINKS + 1);
    let gone: Vec<PeerId> = bench.parted.iter().map(|(peer, _)| *peer).collect();
    assert_eq!(gone, (6..20).rev().map(peer).collect::<Vec<_>>());
    assert!(bench.overlay.link(&peer(0)).is_some() && bench.overlay.link(&peer(1)).is_some());
}

/// Goal: who lacks links looks for them: walks of its own, and passive peers if it has next to none.
#[test]
fn who_lacks_links_looks_for_them() {
    let mut bench = Bench::partial(3);
    bench.pass(1000);
    assert_eq!(bench.walks.iter().map(|(_, walk)| walk.split).collect::<Vec<_>>(), [true]);
    assert!(bench.walks.iter().all(|(_, walk)| walk.record == record(9999)));
    let mut bench = Bench::partial(1);
    for n in 50..70 {
        bench.overlay.learn(record(n), false);
    }
    bench.pass(1000);
    assert_eq!(bench.dialed.len(), 4, "as many as are missing");
    assert!(bench.dialed.iter().all(|peer| {
        bench.overlay.known[peer].dialing.as_ref().is_some_and(|dial| dial.why == Why::Priority)
    }));
}

/// Goal: after a partition the old links are made again and keep their age; a refusal or a goodbye is no loss.
#[test]
fn a_broken_link_is_made_again_and_is_as_old_as_it_was() {
    let mut bench = Bench::partial(3);
    bench.pass(10_000);
    let born = bench.overlay.active[&peer(1)].since;
    let link = bench.overlay.link(&peer(1)).expect("linked");
    bench.dialed.clear();
    assert!(bench.overlay.link_down(bench.now, link, peer(1), 0));
    bench.drain();
    assert_eq!(bench.dialed, [peer(1)]);
    for _ in 0..4 {
        bench.overlay.dial_failed(bench.now, peer(1), 0);
        bench.pass(2500);
    }
    assert_eq!(bench.dialed.iter().filter(|dialed| **dialed == peer(1)).count(), 5, "again and again");
    bench.answered(1);
    let standing = bench.overlay.active[&peer(1)];
    assert_eq!((standing.since, standing.slot), (born, Slot::Random));

    let mut bench = Bench::partial(3);
    bench.pass(10_000);
    let link = bench.overlay.link(&peer(1)).expect("linked");
    bench.overlay.forget(&peer(1));
    bench.overlay.link_down(bench.now, link, peer(1), 0);
    let link = bench.overlay.link(&peer(2)).expect("linked");
    let refuse = Refuse { why: Refusal::Surplus, peers: Vec::new() };
    bench.overlay.refused(bench.now, link, peer(2), refuse);
    bench.overlay.link_down(bench.now, link, peer(2), 0);
    bench.drain();
    assert!(bench.dialed.is_empty());
}

/// Goal: peers are measured, the nearest is asked, and later only one that is nearer by a good deal.
#[test]
fn near_links_change_for_a_reason() {
    let ms = Duration::from_millis;
    let mut bench = Bench::partial(5);
    for n in 50..56 {
        bench.overlay.learn(record(n), false);
    }
    bench.pass(2500);
    assert_eq!(bench.probes.len(), 2 * limits::PROBES);
    for n in 50..53 {
        bench.overlay.probed(bench.now, peer(n), Some(ms(40)));
        bench.pass(1000);
        bench.answered(n);
    }
    assert_eq!(bench.count(Slot::Near), limits::NEAR_LINKS);
    assert!(bench.overlay.beats_the_farthest(bench.now, ms(37)));
    assert!(!bench.overlay.beats_the_farthest(bench.now, ms(38)), "2 ms is not enough");
    bench.overlay.probed(bench.now, peer(53), Some(ms(20)));
    bench.pass(1000);
    bench.answered(53);
    assert_eq!(bench.count(Slot::Near), limits::NEAR_LINKS, "the farthest goes");
    let later = bench.now + limits::NEAR_SETTLED;
    assert!(bench.overlay.beats_the_farthest(later, ms(29)));
    assert!(!bench.overlay.beats_the_farthest(later, ms(30)), "a quarter and 3 ms is not enough");
    // Who does not answer a probe is not there.
    bench.overlay.probed(bench.now, peer(55), None);
    assert!(!bench.overlay.known.contains_key(&peer(55)));
}

/// Goal: exchanges slow down while nothing changes, and begin again when something does.
#[test]
fn shuffles_slow_down() {
    let mut bench = Bench::partial(5);
    // Peers that answer probes keep the node in partial mode.
    let pass = |bench: &mut Bench, seconds: u64| {
        let before = bench.shuffles.len();
        for _ in 0..seconds {
            bench.overlay.learn(record(60 + (bench.now.as_micros() / 1_000_000 % 30) as u16), false);
            for n in 60..90 {
                bench.overlay.probed(bench.now, peer(n), Some(Duration::from_secs(2)));
                if let Some(known) = bench.overlay.known.get_mut(&peer(n)) {
                    known.refused_at = Some(bench.now);
                }
            }
            bench.pass(1000);
        }
        bench.shuffles.len() - before
    };
    assert!((28..=31).contains(&pass(&mut bench, 30)));
    assert!((2..=5).contains(&pass(&mut bench, 60)));
    pass(&mut bench, 120);
    assert_eq!(pass(&mut bench, 120), 2);
    assert!(bench.shuffles.iter().all(|shuffle| shuffle.peers.len() <= Shuffle::PEERS_MAX));
}
