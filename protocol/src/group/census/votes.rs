//! Votes against members that this node does not watch itself.
//!
//! Presence judges neighbours by what it sees and what others say. Of all others there is only what is said: three
//! votes of members, or those of all who watch it if they are fewer, and a second in which it could have spoken.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Census, Ground, Heard, Junk, Worth};
use crate::id::{Incarnation, PeerId};
use crate::io::{PresenceCause, PresenceState};
use crate::limits;
use crate::measure::OF_OBSERVERS;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Alert, Fact, Stay, TreeIx};

/// What is said against one member.
#[derive(Debug)]
pub(super) struct Case {
    /// Of different members, against this run or one that was not heard of yet; at most [`limits::VOTES`], those against
    /// the latest run, and of these those of the lowest ids. Nobody stops one of these on its way, so everybody has the
    /// same in the end: whichever three came first are not the same three everywhere, and each would be stopped somewhere.
    votes: Vec<Arc<Alert>>,
    /// Who is not heard for now, and since when: their votes were disproved, or gave way to others. At most
    /// [`limits::VOTERS_IN_VAIN_MAX`]; the oldest makes room.
    in_vain: Vec<(PeerId, Timestamp)>,
    /// The trees along which this node has passed votes on; at most [`limits::VOTES`].
    trees: Vec<TreeIx>,
    /// When the first one came.
    since: Timestamp,
    /// When there were enough.
    agreed_at: Option<Timestamp>,
    /// It is one of many who fell silent together.
    is_cut_off: bool,
    /// The votes were said again, to those who have been cut off and may have come back.
    is_repeated: bool,
    /// When it has disproved the last vote. There are none, then.
    risen_at: Option<Timestamp>,
}

impl Case {
    fn new(now: Timestamp) -> Self {
        Self {
            votes: Vec::new(),
            in_vain: Vec::new(),
            trees: Vec::new(),
            since: now,
            agreed_at: None,
            is_cut_off: false,
            is_repeated: false,
            risen_at: None,
        }
    }

    /// Votes that make it gone: of all who watch it, as far as they know, but three are enough.
    fn needed(&self) -> usize {
        let watchers = self.votes.iter().map(|vote| usize::from(vote.observers)).max();
        watchers.unwrap_or(0).clamp(1, limits::VOTES)
    }

    /// Whether a vote is one of those that everybody is to have. Each observer is heard once.
    fn wants(&self, now: Timestamp, alert: &Alert) -> bool {
        let observer = &alert.observer;
        let is_heard = self.votes.iter().any(|vote| vote.observer == *observer)
            || self.in_vain.iter().any(|(vain, at)| vain == observer && now - *at < limits::VOTE_AGAIN);
        let is_before = self.votes.last().is_some_and(|last| rank(alert) < rank(last));
        !is_heard && (self.votes.len() < limits::VOTES || is_before)
    }

    /// Takes a vote that is wanted.
    fn put(&mut self, now: Timestamp, alert: &Arc<Alert>) {
        if self.risen_at.is_some() {
            let in_vain = std::mem::take(&mut self.in_vain);
            *self = Self { in_vain, ..Self::new(now) };
        }
        let at = self.votes.partition_point(|vote| rank(vote) < rank(alert));
        self.votes.insert(at, alert.clone());
        for last in self.votes.split_off(self.votes.len().min(limits::VOTES)) {
            self.hear_no_more(now, last.observer);
        }
        self.agree(now);
    }

    fn agree(&mut self, now: Timestamp) {
        if self.votes.len() >= self.needed() {
            self.agreed_at.get_or_insert(now);
        }
    }

    /// Those votes are void that are not against this run or a later one, or all of them.
    fn disprove(&mut self, now: Timestamp, run: Option<Incarnation>) {
        let is_void = |vote: &Arc<Alert>| run.is_none_or(|run| vote.incarnation < run);
        let (void, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.votes).into_iter().partition(is_void);
        self.votes = left;
        if self.votes.is_empty() {
            self.risen_at.get_or_insert(now);
        } else if !void.is_empty() {
            (self.since, self.agreed_at) = (now, None);
            self.agree(now);
        }
        void.iter().for_each(|vote| self.hear_no_more(now, vote.observer));
    }

    fn hear_no_more(&mut self, now: Timestamp, observer: PeerId) {
        self.in_vain.retain(|(vain, at)| *vain != observer && now - *at < limits::VOTE_AGAIN);
        if self.in_vain.len() >= limits::VOTERS_IN_VAIN_MAX {
            self.in_vain.remove(0);
        }
        self.in_vain.push((observer, now));
    }

    /// Whether this very vote is one of those that are not disproved.
    fn stands(&self, alert: &Alert) -> bool {
        self.votes.iter().any(|vote| vote.observer == alert.observer && vote.incarnation == alert.incarnation)
    }
}

/// In which order votes against one member are kept.
fn rank(vote: &Alert) -> (Reverse<Incarnation>, PeerId) {
    (Reverse(vote.incarnation), vote.observer)
}

impl Census {
    /// This node's own vote. True if it is to be passed on: enough others have not voted yet, or it stands and is said
    /// again. Whoever knows better answers.
    pub(crate) fn accuse(&mut self, ground: &Ground<'_>, alert: &Arc<Alert>) -> bool {
        let counts = self.may_count(ground, alert);
        if counts {
            self.count(ground.now, alert);
        }
        counts || self.cases.get(&alert.target).is_some_and(|case| case.stands(alert))
    }

    pub(super) fn take_vote(
        &mut self,
        ground: &Ground<'_>,
        alert: &Arc<Alert>,
        toll: &mut u32,
    ) -> Result<Worth, Junk> {
        if alert.observer == ground.me || alert.observer == alert.target {
            return Ok(Worth::Old);
        }
        if alert.target == ground.me {
            // Of a sample most who watch this node are not on the list.
            let may_be_member = self.is_sample || self.members.contains(&alert.observer);
            if alert.incarnation >= ground.incarnation && may_be_member {
                *toll += limits::SIGNATURE_TOLL;
                alert.check().map_err(|_| Junk)?;
                self.heard.push(Heard::Vote(alert.clone()));
            }
            return Ok(Worth::Old);
        }
        if self.members.get(&alert.target).is_some_and(|known| alert.incarnation < known.word.incarnation) {
            return Ok(Worth::Outdated);
        }
        if !self.may_count(ground, alert) || !self.voters.admits(ground.now, OF_OBSERVERS, alert.observer) {
            return Ok(Worth::Old);
        }
        *toll += limits::SIGNATURE_TOLL;
        alert.check().map_err(|_| Junk)?;
        self.count(ground.now, alert);
        self.heard.push(Heard::Vote(alert.clone()));
        Ok(Worth::News)
    }

    /// Whether a vote says something: against a member in its present run, by another one that has not spoken yet.
    fn may_count(&self, ground: &Ground<'_>, alert: &Alert) -> bool {
        let Some(target) = self.members.get(&alert.target).filter(|target| target.is_here()) else {
            return false;
        };
        let is_of_now = alert.incarnation >= target.word.incarnation
            && alert.incarnation.0 - target.word.incarnation.0 <= limits::INCARNATION_JUMP_MAX;
        // Who watches a member of a sample need not be on it.
        let may_be_member = self.is_sample || self.members.contains(&alert.observer);
        let is_of_member = alert.observer == ground.me || may_be_member;
        let is_news = self.cases.get(&alert.target).is_none_or(|case| case.wants(ground.now, alert));
        is_of_now && is_of_member && is_news
    }

    fn count(&mut self, now: Timestamp, alert: &Arc<Alert>) {
        self.cases.entry(alert.target).or_insert_with(|| Case::new(now)).put(now, alert);
        self.judge_by(now + limits::REFUTE_WAIT);
    }

    fn judge_by(&mut self, at: Timestamp) {
        self.judge_at = Some(self.judge_at.map_or(at, |due| due.min(at)));
    }

    /// Votes against members that may still answer, for a new neighbour, who may be the first from the other side of a
    /// cut; if there are many, others for each neighbour. Where lists are samples it is told those against itself only:
    /// the answer to others may not have come here, and would not follow them there.
    pub(crate) fn open_votes(&self, neighbour: &PeerId) -> Vec<Fact> {
        let cases = self.cases.range(*neighbour..).chain(self.cases.range(..*neighbour));
        let is_for_it = |peer: &PeerId| !self.may_miss_answers() || peer == neighbour;
        let open =
            cases.filter(|(peer, case)| case.risen_at.is_none() && self.is_here(peer) && is_for_it(peer));
        open.flat_map(|(_, case)| &case.votes).take(limits::FACTS_MAX).cloned().map(Fact::Vote).collect()
    }

    /// A vote against a member was passed on along a tree: so will be the answer.
    pub(crate) fn went_along(&mut self, peer: &PeerId, tree: TreeIx) {
        let case = self.cases.get_mut(peer).filter(|case| case.trees.len() < limits::VOTES);
        if let Some(case) = case.filter(|case| !case.trees.contains(&tree)) {
            case.trees.push(tree);
        }
    }

    /// Where votes against a member went.
    pub(crate) fn ways_of_votes(&self, peer: &PeerId) -> impl Iterator<Item = TreeIx> + '_ {
        self.cases.get(peer).into_iter().flat_map(|case| case.trees.iter().copied())
    }

    /// Whether there were votes against a member lately.
    pub(crate) fn was_accused(&self, peer: &PeerId) -> bool {
        self.cases.contains_key(peer) || self.proofs.contains_key(peer)
    }

    /// Votes against a member that stand, or by which it was found to be gone.
    pub(super) fn votes_against(&self, peer: &PeerId) -> &[Arc<Alert>] {
        let open = self.cases.get(peer).map(|case| &case.votes);
        open.or_else(|| self.proofs.get(peer)).map_or(&[], Vec::as_slice)
    }

    /// Whether there are votes against a member that no cut explains.
    pub(super) fn is_accused(&self, peer: &PeerId) -> bool {
        self.cases.get(peer).is_some_and(|case| case.risen_at.is_none() && !case.is_cut_off)
    }

    /// A member has spoken for itself. Who voted against it in vain is remembered for a while.
    pub(super) fn close_case(&mut self, now: Timestamp, peer: &PeerId, incarnation: Incarnation, stay: Stay) {
        let proof = self.proofs.remove(peer);
        if stay != Stay::Here {
            self.cases.remove(peer);
            return;
        }
        if let Some(votes) = proof {
            self.cases.insert(*peer, Case { votes, ..Case::new(now) });
        }
        self.disprove(now, peer, Some(incarnation));
    }

    /// A member is there, as this node itself sees, which is worth more than what was said: when it watches that member no
    /// longer the votes are not taken up again.
    pub(crate) fn seen(&mut self, now: Timestamp, peer: &PeerId) {
        self.disprove(now, peer, None);
    }

    fn disprove(&mut self, now: Timestamp, peer: &PeerId, run: Option<Incarnation>) {
        let Some(case) = self.cases.get_mut(peer) else { return };
        case.disprove(now, run);
        let due = case.risen_at.map_or(now + limits::REFUTE_WAIT, |at| at + limits::VOTE_AGAIN);
        self.judge_by(due);
    }

    /// Whether so many were voted against by several at once that it is the network that is cut.
    fn is_cut(&self, ground: &Ground<'_>) -> bool {
        let now = ground.now;
        let is_fresh =
            |case: &&Case| case.risen_at.is_none() && now - case.since <= 2 * limits::PARTITION_WINDOW;
        let fresh: Vec<&Case> = self.cases.values().filter(is_fresh).collect();
        let voters: BTreeSet<PeerId> =
            fresh.iter().flat_map(|case| case.votes.iter().map(|vote| vote.observer)).collect();
        let many = limits::PARTITION_MAX.max(self.n_here / limits::PARTITION_MEMBERS_SHARE);
        let at_most = (self.n_here / 3).max(many);
        let many = if ground.is_weather_bad { (many * limits::CUT_BAD).min(at_most) } else { many };
        fresh.len() >= many && voters.len() >= limits::VOTES
    }

    /// Of those who are gone the votes are kept, to be shown. Each look is at all cases, and in a network where many come
    /// and go most would be of these.
    fn set_aside(&mut self, now: Timestamp) {
        let is_old = |case: &Case| now - case.since > 2 * limits::PARTITION_WINDOW;
        let old = self.cases.iter().filter(|(_, case)| is_old(case)).map(|(peer, _)| *peer);
        let gone: Vec<PeerId> = old.filter(|peer| !self.is_here(peer)).collect();
        for peer in gone {
            if let Some(case) = self.cases.remove(&peer) {
                self.proofs.insert(peer, case.votes);
            }
        }
    }

    pub(super) fn judge_all(&mut self, ground: &Ground<'_>) {
        let now = ground.now;
        self.judge_at = None;
        self.cases.retain(|_, case| case.risen_at.is_none_or(|at| now - at < limits::VOTE_AGAIN));
        self.set_aside(now);
        let (is_cut, may_miss_answers) = (self.is_cut(ground), self.may_miss_answers());
        let open: Vec<PeerId> = self.cases.keys().filter(|peer| self.is_here(peer)).copied().collect();
        for peer in open {
            let Some(case) = self.cases.get_mut(&peer) else { continue };
            if let Some(at) = case.risen_at {
                self.judge_by(at + limits::VOTE_AGAIN);
                continue;
            }
            case.is_cut_off |= is_cut && now - case.since <= 2 * limits::PARTITION_WINDOW;
            let patience = if case.is_cut_off { limits::PARTITION_HOLD } else { patience(case.votes.len()) };
            let due = case.since + patience;
            let own = case.votes.iter().find(|vote| vote.observer == ground.me);
            if let Some(own) = own.filter(|_| case.is_cut_off && !case.is_repeated) {
                // The cut may be mended, and the target not have heard of the vote.
                let at = case.since + limits::REPEAT_AFTER;
                if now >= at {
                    self.heard.push(Heard::Repeat(own.clone()));
                    case.is_repeated = true;
                }
                let at = if now < at { at } else { due };
                self.judge_at = Some(self.judge_at.map_or(at, |due| due.min(at)));
            }
            let agreed = case.agreed_at.filter(|_| !case.is_cut_off).map(|at| at + ground.refute_wait());
            let at = agreed.map_or(due, |agreed| agreed.min(due));
            if now < at {
                self.judge_by(at);
            } else if (ground.state)(&peer) == Some(PresenceState::Alive) {
                self.seen(now, &peer);
            } else if ground.watches(&peer) {
                self.judge_by(now + limits::REFUTE_WAIT);
            } else if agreed.is_none() && may_miss_answers {
                // Where lists are samples nobody passes on what is said of those whom it does not list, and an answer may
                // have come to nothing: too few votes say too little.
                self.cases.remove(&peer);
            } else {
                let cause = if agreed.is_some() { PresenceCause::Voted } else { PresenceCause::TimedOut };
                self.set_gone(now, &peer, cause);
            }
        }
    }
}

/// How long fewer votes than are needed take to make a member gone (Lifeguard, section IV-B, as for a neighbour).
fn patience(votes: usize) -> Duration {
    if votes >= 2 { (limits::SUSPICION_MAX + limits::SUSPICION_MIN) / 2 } else { limits::SUSPICION_MAX }
}
