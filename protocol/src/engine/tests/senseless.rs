//! A neighbour whose every frame is well formed and makes no sense.

use std::sync::Arc;

use super::*;
use crate::wire::frame::{
    Advert, Adverts, Anchor, AnchorReq, Graft, LoopProbe, Name, Peers, PeersChange, SeqReq, Ungraft,
};

/// A small generator of frames that are well formed and make no sense.
struct Chaos(Xoshiro256PlusPlus);

impl Chaos {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn seq(&mut self) -> Seq {
        match self.below(4) {
            0 => self.below(4),
            1 => limits::SEQ_MAX - self.below(3),
            2 => limits::SEQ_JUMP_MAX + self.below(3),
            _ => self.below(200),
        }
    }

    fn log(&mut self, me: PeerId, them: PeerId) -> LogId {
        let author = match self.below(4) {
            0 => me,
            1 => them,
            _ => log(self.below(3)).author,
        };
        let lane = Lane::ALL[self.below(3) as usize];
        LogId { author, lane }
    }

    fn range(&mut self, me: PeerId, them: PeerId) -> Range {
        let (a, b) = (self.seq(), self.seq());
        Range { log: self.log(me, them), from: a.min(b), to: a.max(b) }
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation(match self.below(3) {
            0 => limits::INCARNATION_MAX,
            _ => self.below(20),
        })
    }

    fn frame(&mut self, me: PeerId, hostile: &Identity) -> Frame {
        let them = hostile.peer_id();
        let group = self.below(3) as u16;
        match self.below(35) {
            0 => Subscribe { group, proof: [self.below(256) as u8; 32] }.into(),
            1 if self.below(20) == 0 => Unsubscribe { group }.into(),
            2 => Beat {
                n: self.below(256) as u8,
                echo: self.below(256) as u8,
                held: self.0.next_u64() as u32,
                ask: self.below(3) as u8,
            }
            .into(),
            3 => Alert::new(me, self.incarnation(), 3, hostile).into(),
            4 => Alert::new(log(1).author, self.incarnation(), 3, hostile).into(),
            5 => Alive::new(self.incarnation(), hostile).into(),
            6 => Gone { alerts: vec![Alert::new(me, self.incarnation(), 3, hostile)] }.into(),
            7 => Peers {
                peers: (0..self.below(33))
                    .map(|_| (log(self.below(5000)).author, vec![Address(vec![1])]))
                    .collect(),
            }
            .into(),
            8 => Digest { root: [self.below(2) as u8; 32] }.into(),
            9 => Roots { roots: vec![(group, [1; 32], MembersDigest { n: 9, sum: 9 })] }.into(),
            10 => {
                let next = self.seq();
                Clock {
                    group,
                    part: [Part::All, Part::Ask, Part::Recent, Part::Answer([1; 32])][self.below(4) as usize],
                    entries: vec![ClockEntry {
                        log: self.log(me, them),
                        next,
                        floor: next.min(self.below(10)),
                        head: [1; 8],
                    }],
                }
                .into()
            }
            11 => {
                let n = self.below(20);
                let told = |_| OnTree { tree: self.below(3) as u16, range: self.range(me, them) };
                Announce { group, ranges: (0..n).map(told).collect() }.into()
            }
            12 => Want {
                request: self.below(10) as u32,
                group,
                range: self.range(me, them),
                graft: self.below(2) == 0,
            }
            .into(),
            13 => Served {
                request: self.below(100) as u32,
                group,
                count: self.below(2) as u32,
                floor: self.0.next_u64(),
                upto: self.0.next_u64(),
            }
            .into(),
            29 => {
                let stay = [Stay::Here, Stay::Left, Stay::Stopped][self.below(3) as usize];
                let (incarnation, seq) = (self.incarnation(), self.below(9) as u32);
                let word = MemberRecord::new(&key().topic_tag(), incarnation, seq, stay, hostile);
                let vote = Alert::new(me, self.incarnation(), 1, hostile);
                let facts = vec![Fact::Said(word.into()), Fact::Vote(vote.into())];
                News { group, tree: [0, 1, u16::MAX][self.below(3) as usize], facts }.into()
            }
            30 => MembersAsk { group, after: log(self.below(9)).author }.into(),
            31 => {
                let word = MemberRecord::new(&key().topic_tag(), self.incarnation(), 1, Stay::Here, hostile);
                let more_after = Some(log(self.below(9)).author);
                Members { group, facts: vec![Fact::Said(word.into())], more_after }.into()
            }
            32 => MembersSums { group, sums: vec![self.0.next_u32(); MembersSums::BUCKETS] }.into(),
            33 => MembersHave { group, buckets: self.0.next_u64(), ids: vec![self.below(9); 3] }.into(),
            34 => MembersWant { group, ids: vec![self.0.next_u64(), 1] }.into(),
            14 => Prune { group, author: self.log(me, them).author }.into(),
            16 => Walk {
                record: self.record(hostile),
                split: self.below(2) == 0,
                hops: self.below(u64::from(Walk::HOPS_MAX) + 1) as u8,
            }
            .into(),
            17 => {
                let peers = (0..self.below(9)).map(|_| self.record(hostile)).collect();
                Shuffle { reply: self.below(2) == 0, peers }.into()
            }
            19 => Find { tag: self.tag(me), record: self.record(hostile), hops: self.below(21) as u8 }.into(),
            20 => {
                let seeker = if self.below(2) == 0 { me } else { log(self.below(5000)).author };
                Found { tag: self.tag(me), seeker, record: self.record(hostile) }.into()
            }
            18 if self.below(40) == 0 => {
                let why = if self.below(2) == 0 { Refusal::Full } else { Refusal::Replaced };
                Refuse { why, peers: vec![self.record(hostile)] }.into()
            }
            15 => Stored { group, logs: vec![(self.log(me, them), self.0.next_u64())] }.into(),
            21 => Graft { group, mine: self.below(4) as u16, yours: self.below(4) as u16 }.into(),
            22 => Ungraft { group, yours: self.below(4) as u16, fade: self.below(3) as u16 * 1000 }.into(),
            23 => AnchorReq { group, trees: (0..self.below(20) as u16).collect() }.into(),
            24 => {
                let (seq, branch) = (self.below(300) as u16, self.below(3) as u8);
                SeqReq { group, yours: self.below(4) as u16, seq, branch, ttl: 9 }.into()
            }
            27 => {
                let nonce = [self.below(2) as u8; 8];
                LoopProbe { group, yours: self.below(4) as u16, nonce, ttl: 9 }.into()
            }
            28 => {
                let (came, went) = (log(self.below(3)).author, log(self.below(3)).author);
                PeersChange { came: vec![came], went: vec![went] }.into()
            }
            25 | 26 => {
                Adverts { group, trees: (0..self.below(5)).map(|_| self.advert(hostile)).collect() }.into()
            }
            _ => self.data(group, hostile),
        }
    }

    fn tag(&mut self, me: PeerId) -> MateTag {
        let topic = crate::id::TopicTag([self.below(3) as u8; 16]);
        if self.below(2) == 0 { find_tag(&topic) } else { mate_tag(&topic, &me) }
    }

    /// What anybody may say of anybody: signed by nobody, or by a stranger who may not exist.
    fn record(&mut self, hostile: &Identity) -> Arc<PeerRecord> {
        let addresses = (0..self.below(3)).map(|n| Address(vec![n as u8; 5])).collect();
        let seq = self.seq();
        if self.below(8) == 0 {
            return PeerRecord::new(hostile, seq, addresses, Vec::new());
        }
        let peer = log(self.below(5000)).author;
        Arc::new(PeerRecord { peer, seq, addresses, tags: Vec::new(), signature: Signature([1; 64]) })
    }

    /// Of a tree of which the liar is root, or of none.
    fn advert(&mut self, hostile: &Identity) -> Advert {
        let name = match self.below(4) {
            0 => Name::Id([self.below(3) as u8; 8]),
            1 => {
                let (chain, length) = (self.below(4) as u16, self.below(257) as u16);
                let end = [self.below(2) as u8; 16];
                let tag = key().topic_tag();
                Name::Anchor(Box::new(Anchor::new(&tag, self.incarnation(), chain, length, end, hostile)))
            }
            _ => Name::Told,
        };
        let (seq, dist) = (self.below(300) as u16, self.0.next_u64() as u16);
        let branch = self.below(256) as u8;
        Advert { tree: self.below(4) as u16, name, seq, key: [self.below(2) as u8; 16], dist, branch }
    }

    /// An envelope that is signed and opens, with numbers that a liar may choose.
    fn data(&mut self, group: u16, hostile: &Identity) -> Frame {
        let body = crate::message::encode_body(&Draft::default(), Hlc(self.0.next_u64())).expect("a draft");
        let seq = match self.below(8) {
            0 => u64::MAX,
            1 => u64::from(u32::MAX),
            _ => self.seq(),
        };
        let mut skip = self.below(seq.min(40) + 1) as u32;
        if self.below(8) == 0 {
            skip = u32::try_from(seq).unwrap_or(u32::MAX);
        }
        let is_first = u64::from(skip) == seq;
        let input = crate::crypto::SealInput {
            lane: Lane::ALL[self.below(3) as usize],
            seq,
            prev: if is_first { EnvelopeId::NONE } else { EnvelopeId([1; 32]) },
            skip,
            ttl_secs: 0,
            bodies: &[body],
            frame_salt: [self.below(256) as u8; 16],
        };
        let envelope = crate::crypto::seal(hostile, &*key(), &input).expect("small");
        Frame::Data { group, tree: self.below(3) as u16, envelope: envelope.as_bytes().clone() }
    }
}

/// Goal: a member that lies in every way neither stops the engine nor makes it grow. Method: 10 seeds of 2000
/// senseless frames, time passing, reconnecting as somebody else whenever it is cut off.
#[test]
fn senseless_frames_do_no_harm() {
    for seed in 0..10 {
        let mut chaos = Chaos(Xoshiro256PlusPlus::seed_from_u64(seed));
        let mut bench = Bench::new();
        let mut link = bench.member();
        for _ in 0..2000 {
            let frame = chaos.frame(bench.engine.me, &bench.hostile);
            bench.say(link, frame);
            if chaos.below(10) == 0 {
                bench.pass(Duration::from_millis(chaos.below(300)));
            }
            if !bench.engine.links.contains_key(&link) {
                bench.hostile = Identity::from_seed([chaos.below(250) as u8 + 3; 32]);
                link = bench.member();
            }
        }
        let group = bench.group();
        assert!(group.n_claims() <= limits::AUTHORS_MAX && group.n_logs() <= limits::AUTHORS_MAX);
        assert!(bench.engine.out.is_empty());
        assert!(bench.engine.status().peers.len() <= limits::GONE_MAX);
        bench.pass(Duration::from_secs(60));
    }
}

/// Goal: bytes that are no frames at all do no harm either. Method: valid frames with bytes changed.
#[test]
fn broken_frames_do_no_harm() {
    let mut chaos = Chaos(Xoshiro256PlusPlus::seed_from_u64(99));
    let mut bench = Bench::new();
    let mut link = bench.member();
    for _ in 0..5000 {
        let frame = chaos.frame(bench.engine.me, &bench.hostile);
        let mut bytes = frame.encode().concat().to_vec();
        for _ in 0..=chaos.below(3) {
            let at = chaos.below(bytes.len() as u64) as usize;
            bytes[at] = chaos.below(256) as u8;
        }
        bench.bytes(link, bytes.into());
        if !bench.engine.links.contains_key(&link) {
            bench.hostile = Identity::from_seed([chaos.below(250) as u8 + 3; 32]);
            link = bench.member();
        }
    }
    assert!(bench.engine.counters.count("unreadable") > 100);
    assert!(bench.engine.counters.count("signature") > 10);
}
