//! The census: who is in the group beyond the neighbours, in a network in which nobody is linked to everybody.
//!
//! ```text
//! joins, leaves, stops:  its own signed word      --News--> everybody, along a tree or from all to all
//! dies: those who watch it vote (presence)        --News--> everybody
//!       min(3, watchers) votes, and a second without its word: gone; it speaks up with a higher incarnation
//! missed something: digests differ --Sums--> which parts --Have--> which members --Want--> their words
//! new here: --Ask--> pages
//! ```
//!
//! SWIM's dissemination (Das, Gupta, Motivala 2002, section 4) with signed facts. Only a member's own signature
//! makes it a member, and only votes of members count. A member is told its own death and disproves it; who has
//! voted in vain is not heard against it again for a while, so that liars cannot repeat themselves.
//!
//! Pure, and per group. Not here: who watches whom (presence), and along what news travel (its owner).

mod compare;
mod table;
mod votes;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::crypto::Identity;
use crate::heap;
use crate::id::{Incarnation, LinkId, PeerId, TopicTag};
use crate::io::{PresenceCause, PresenceState};
use crate::limits;
use crate::measure::Measure;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Alert, Class, Fact, Frame, GroupIx, MemberRecord, MembersDigest, Stay, member_id};
use compare::Compare;
use table::Table;
use votes::Case;

/// What the census may see and use outside itself.
pub(crate) struct Ground<'a> {
    pub(crate) now: Timestamp,
    pub(crate) me: PeerId,
    pub(crate) tag: TopicTag,
    /// Our number for the group.
    pub(crate) group: GroupIx,
    pub(crate) incarnation: Incarnation,
    /// Not everybody is a neighbour.
    pub(crate) is_partial: bool,
    /// Many packets are lost, and what is said takes its time.
    pub(crate) is_weather_bad: bool,
    /// Members on the list at most.
    pub(crate) members_max: usize,
    /// What presence knows of a peer, whom it watches and of whom it will say if it is gone.
    pub(crate) state: &'a dyn Fn(&PeerId) -> Option<PresenceState>,
}

impl Ground<'_> {
    /// So long after the last vote that was needed a member is gone.
    fn refute_wait(&self) -> Duration {
        if self.is_weather_bad { limits::REFUTE_WAIT_BAD } else { limits::REFUTE_WAIT }
    }

    fn watches(&self, peer: &PeerId) -> bool {
        (self.state)(peer).is_some_and(|state| state != PresenceState::Gone)
    }
}

/// What the census has found out.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Somebody is in the group.
    Joined(PeerId),
    /// And is not any more.
    Left(PeerId, PresenceCause),
    /// A member votes against another, or against us.
    Vote(Arc<Alert>),
    /// A vote of ours is to be said again.
    Repeat(Arc<Alert>),
    /// A member has risen above votes against it.
    Risen(PeerId, Incarnation),
    /// In a group of so many, one was voted against that was there, and no cut explains it.
    Vain(usize),
}

/// What a fact was worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Worth {
    /// New: it is passed on.
    News,
    /// New, and left to the comparing of lists: of this member too much was passed on, or it never was one.
    Noted,
    /// Known, or of no use.
    Old,
    /// Who says so does not know the latest: [`Census::facts_about`] tells.
    Outdated,
}

/// Something signed by somebody else than it says: its sender should have noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Junk;

/// Who is in one group.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Those who are there, this node among them, and those who no longer are.
    members: Table,
    n_here: usize,
    /// Of the ids of those who are there.
    sum: u64,
    /// The list was full: it is taken for a sample of the group, until half of those on it are gone.
    is_sample: bool,
    /// What is said against those who are there, or were until a moment ago.
    cases: BTreeMap<PeerId, Case>,
    /// The votes by which others were found to be gone.
    proofs: BTreeMap<PeerId, Vec<Arc<Alert>>>,
    /// What everybody's votes make travel.
    voters: Measure,
    compare: Compare,
    heard: Vec<Heard>,
    frames: Vec<(LinkId, Class, Frame)>,
    /// When somebody is judged.
    judge_at: Option<Timestamp>,
    /// When those are looked for of whom nothing was heard for long.
    sweep_at: Option<Timestamp>,
}

/// A member, by what it said last.
#[derive(Debug)]
struct Member {
    /// The first bytes of its peer's id, by which it is found: the word lies elsewhere.
    first: u64,
    /// Its [`member_id`]: lists are compared by it, again and again.
    id: u64,
    /// Shared with the frame that it came in and those in which it is passed on; a simulator has one for all nodes.
    word: Arc<MemberRecord>,
    /// When it said so, as far as this node knows, or when it was gone: in seconds of [`Timestamp`].
    changed_at: u32,
    /// Whether it is thought gone in this incarnation.
    gone: Gone,
    /// Words of it that were passed on within a span of [`limits::WORDS_WINDOW`], and which span that was.
    n_passed: u8,
    passed_in: u16,
}

const _: () = assert!(size_of::<Member>() == 32);

/// Whether a member whose last word was that it is there is gone all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gone {
    Not,
    /// It did not say for long that it is there: any later word shows that it is.
    Silent,
    /// Others say so, or presence: it has to rise above that.
    Found,
}

impl Member {
    fn is_here(&self) -> bool {
        self.word.stay == Stay::Here && self.gone == Gone::Not
    }

    fn new(id: u64, word: Arc<MemberRecord>, changed_at: u32) -> Self {
        let first = first_of(&word.peer);
        Self { first, id, word, changed_at, gone: Gone::Not, n_passed: 0, passed_in: 0 }
    }

    fn peer(&self) -> &PeerId {
        &self.word.peer
    }

    /// Whether a word of it may be passed on: each one goes to everybody.
    fn may_pass(&mut self, now: Timestamp) -> bool {
        // Modulo 2^16, which is 22 days.
        let span = (u64::from(seconds(now)) / limits::WORDS_WINDOW.as_secs()) as u16;
        if self.passed_in != span {
            (self.n_passed, self.passed_in) = (0, span);
        }
        self.n_passed = self.n_passed.saturating_add(1);
        self.n_passed <= limits::WORDS_OF_ONE
    }
}

/// What ids are ordered by first.
fn first_of(peer: &PeerId) -> u64 {
    peer.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// Seconds since the start of time.
fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_micros() / 1_000_000).unwrap_or(u32::MAX)
}

impl Census {
    pub(crate) fn take_heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    pub(crate) fn take_frames(&mut self) -> Vec<(LinkId, Class, Frame)> {
        std::mem::take(&mut self.frames)
    }

    /// How many there are, this node among them, and which, in one number.
    pub(crate) fn digest(&self) -> MembersDigest {
        let sum = if self.is_sample { MembersDigest::SAMPLE } else { self.sum };
        MembersDigest { n: u32::try_from(self.n_here).unwrap_or(u32::MAX), sum }
    }

    /// Bytes of memory behind it, about.
    pub(crate) fn heap(&self) -> usize {
        self.members.heap() + heap::map(&self.cases) + heap::map(&self.proofs)
    }

    /// Whether there are more in the group than on the list.
    pub(crate) fn is_sample(&self) -> bool {
        self.is_sample
    }

    /// Whether what is said of members may not come here: who does not list one does not pass it on.
    fn may_miss_answers(&self) -> bool {
        self.is_sample || self.compare.is_among_samples()
    }

    /// Those who are there, this node among them if it said so.
    pub(crate) fn here(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.members.iter().filter(|member| member.is_here()).map(|member| *member.peer())
    }

    pub(crate) fn is_here(&self, peer: &PeerId) -> bool {
        self.members.get(peer).is_some_and(Member::is_here)
    }

    /// Whether it was there and is not any more.
    pub(crate) fn is_absent(&self, peer: &PeerId) -> bool {
        self.members.get(peer).is_some_and(|member| !member.is_here())
    }

    pub(crate) fn n_here(&self) -> usize {
        self.n_here
    }

    /// Those who were there of late among them.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    fn n_absent(&self) -> usize {
        self.members.len() - self.n_here
    }

    // What is said.

    /// This node's own word, to be passed on.
    pub(crate) fn say(&mut self, ground: &Ground<'_>, identity: &Identity, seq: u32, stay: Stay) -> Fact {
        let record = Arc::new(MemberRecord::new(&ground.tag, ground.incarnation, seq, stay, identity));
        self.put(ground.now, &record);
        Fact::Said(record)
    }

    /// Takes what a neighbour says.
    ///
    /// # Errors
    /// [`Junk`] if nobody signed it.
    pub(crate) fn take(&mut self, ground: &Ground<'_>, fact: &Fact, toll: &mut u32) -> Result<Worth, Junk> {
        match fact {
            Fact::Said(record) => self.take_word(ground, record, toll),
            Fact::Vote(alert) => self.take_vote(ground, alert, toll),
        }
    }

    fn take_word(
        &mut self,
        ground: &Ground<'_>,
        record: &Arc<MemberRecord>,
        toll: &mut u32,
    ) -> Result<Worth, Junk> {
        if record.peer == ground.me {
            return Ok(Worth::Old);
        }
        if let Some(known) = self.members.get(&record.peer) {
            let word = &known.word;
            let is_later =
                (record.incarnation, record.seq, record.stay) > (word.incarnation, word.seq, word.stay);
            let is_dead = known.gone == Gone::Found && record.incarnation <= word.incarnation;
            if !is_later || is_dead && record.stay == Stay::Here {
                let is_behind = record.stay == Stay::Here && !known.is_here();
                return Ok(if is_behind { Worth::Outdated } else { Worth::Old });
            }
        } else if self.is_full(ground) || record.stay != Stay::Here && self.n_absent() >= limits::GONE_MAX {
            return Ok(Worth::Old);
        }
        *toll += limits::SIGNATURE_TOLL;
        record.verify(&ground.tag).map_err(|_| Junk)?;
        let is_new = !self.members.contains(&record.peer);
        // The farewell of somebody who never came makes an older word void. Anybody can invent as many as he likes.
        let is_idle = is_new && record.stay != Stay::Here;
        // Who lets others vote against it so as to answer is stopped where their votes are.
        let answers =
            self.votes_against(&record.peer).iter().any(|vote| vote.incarnation < record.incarnation);
        if is_new {
            self.make_room(self.room_for_others(ground));
        }
        self.put(ground.now, record);
        self.is_sample |= self.is_full(ground);
        let may_pass = self.members.get_mut(&record.peer).is_some_and(|known| known.may_pass(ground.now));
        Ok(if (may_pass || answers) && !is_idle { Worth::News } else { Worth::Noted })
    }

    /// A word that was found to be good, and later than what was known.
    fn put(&mut self, now: Timestamp, word: &Arc<MemberRecord>) {
        let MemberRecord { peer, incarnation, stay, .. } = **word;
        let mut new = Member::new(member_id(&peer, incarnation), word.clone(), seconds(now));
        let before = self.members.get(&peer);
        let has_risen =
            before.is_some_and(|known| known.word.incarnation < incarnation) && stay == Stay::Here;
        if has_risen && before.is_some_and(Member::is_here) && self.is_accused(&peer) {
            self.heard.push(Heard::Vain(self.n_here));
        }
        if let Some(known) = before {
            (new.n_passed, new.passed_in) = (known.n_passed, known.passed_in);
        }
        let is_here = new.is_here();
        let id = new.id;
        let old = self.members.insert(new).filter(Member::is_here);
        let was_here = old.is_some();
        if let Some(old) = old {
            self.tally(&peer, old.id, false);
        }
        if is_here {
            self.tally(&peer, id, true);
        }
        self.close_case(now, &peer, incarnation, stay);
        match (was_here, is_here) {
            (false, true) => self.heard.push(Heard::Joined(peer)),
            (true, false) => {
                let cause = if stay == Stay::Stopped { PresenceCause::Goodbye } else { PresenceCause::Left };
                self.heard.push(Heard::Left(peer, cause));
            }
            _ => {}
        }
        if has_risen {
            self.heard.push(Heard::Risen(peer, incarnation));
        }
        if !is_here {
            self.forget_some();
        }
        self.sweep_at.get_or_insert(now + limits::SWEEP_EVERY);
    }

    /// Presence has found out, or enough members say so.
    pub(crate) fn set_gone(&mut self, now: Timestamp, peer: &PeerId, cause: PresenceCause) {
        self.set_absent(now, peer, Gone::Found, cause);
    }

    fn set_absent(&mut self, now: Timestamp, peer: &PeerId, gone: Gone, cause: PresenceCause) {
        if !self.leave_sum(peer) {
            return;
        }
        if let Some(member) = self.members.get_mut(peer) {
            (member.gone, member.changed_at) = (gone, seconds(now));
            self.heard.push(Heard::Left(*peer, cause));
        }
        self.forget_some();
    }

    /// Forgets all but neighbours, as if they had never been there: they are told again by who knows better.
    pub(crate) fn forget_far(&mut self, ground: &Ground<'_>, near: &[PeerId]) {
        let is_far = |peer: &&PeerId| **peer != ground.me && !near.contains(peer);
        for peer in self.members.iter().map(Member::peer).filter(is_far).copied().collect::<Vec<_>>() {
            if self.leave_sum(&peer) {
                self.heard.push(Heard::Left(peer, PresenceCause::TimedOut));
            }
            self.forget(&peer);
        }
    }

    /// What shows that a member is there, or that it is not. Where lists are samples an answer to the votes may have come
    /// to nothing on its way here, and would not follow them: nothing is told of who is gone.
    pub(crate) fn facts_about(&self, peer: &PeerId) -> Vec<Fact> {
        let known =
            self.members.get(peer).filter(|member| member.gone == Gone::Not || !self.may_miss_answers());
        let Some(member) = known else { return Vec::new() };
        if member.gone != Gone::Not {
            return self.votes_against(peer).iter().cloned().map(Fact::Vote).collect();
        }
        vec![Fact::Said(member.word.clone())]
    }

    // The table.

    /// Counts a member that is there, or is not any more.
    fn tally(&mut self, peer: &PeerId, id: u64, is_here: bool) {
        let (n, id) = if is_here { (1, id) } else { (-1, id.wrapping_neg()) };
        self.n_here = self.n_here.saturating_add_signed(n);
        self.sum = self.sum.wrapping_add(id);
        self.members.add(peer, id);
    }

    /// Takes a member out of the count. True if it was in.
    fn leave_sum(&mut self, peer: &PeerId) -> bool {
        let Some(id) = self.members.get(peer).filter(|member| member.is_here()).map(|member| member.id)
        else {
            return false;
        };
        self.tally(peer, id, false);
        true
    }

    fn is_full(&self, ground: &Ground<'_>) -> bool {
        self.n_here >= self.room_for_others(ground)
    }

    /// Members that the list takes, but for this node's own place if it has not said its word yet.
    fn room_for_others(&self, ground: &Ground<'_>) -> usize {
        ground.members_max - usize::from(!self.members.contains(&ground.me))
    }

    /// Room for one more: those who are no longer there are forgotten for it, those who are there stay.
    fn make_room(&mut self, max: usize) {
        if self.members.len() >= max {
            self.forget_oldest();
        }
    }

    /// Who is not there any more is remembered for a while, so that old news of it are known to be old.
    fn forget_some(&mut self) {
        while self.n_absent() > limits::GONE_MAX && self.forget_oldest() {}
    }

    fn forget(&mut self, peer: &PeerId) {
        self.members.remove(peer);
        self.cases.remove(peer);
        self.proofs.remove(peer);
    }

    fn forget_oldest(&mut self) -> bool {
        let absent = self.members.iter().filter(|member| !member.is_here());
        let oldest = absent.min_by_key(|member| member.changed_at).map(|member| *member.peer());
        if let Some(oldest) = oldest {
            self.forget(&oldest);
        }
        oldest.is_some()
    }

    // Time.

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        [self.judge_at, self.sweep_at, self.compare.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn on_deadline(&mut self, ground: &Ground<'_>) {
        if self.judge_at.is_some_and(|at| at <= ground.now) {
            self.judge_all(ground);
        }
        if self.sweep_at.take_if(|at| *at <= ground.now).is_some() {
            self.sweep(ground);
        }
        self.compare_when_due(ground);
    }

    /// Those who have not said for long that they are there, though everybody does now and then, and whom nobody
    /// watched: their watchers died with them.
    fn sweep(&mut self, ground: &Ground<'_>) {
        self.is_sample &= self.n_here >= ground.members_max / 2;
        if self.is_sample {
            // How often each says its word depends on how many there are, which nobody knows here.
            self.sweep_at = Some(ground.now + limits::SWEEP_EVERY);
            return;
        }
        let oldest = limits::WORD_EXPIRES * self.word_pause();
        let now = seconds(ground.now);
        let is_stale =
            |member: &&Member| u64::from(now.saturating_sub(member.changed_at)) >= oldest.as_secs();
        let stale = self.members.iter().filter(|member| *member.peer() != ground.me).filter(is_stale);
        for peer in stale.map(|member| *member.peer()).collect::<Vec<_>>() {
            if self.is_here(&peer) {
                if !ground.watches(&peer) {
                    self.set_absent(ground.now, &peer, Gone::Silent, PresenceCause::TimedOut);
                }
            } else {
                self.forget(&peer);
            }
        }
        if self.members.len() > 0 {
            self.sweep_at = Some(ground.now + limits::SWEEP_EVERY);
        }
    }

    /// How often a member says that it is there.
    pub(crate) fn word_pause(&self) -> Duration {
        limits::WORD_EVERY.max(limits::WORD_EVERY_MEMBER * u32::try_from(self.n_here).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests;
