//! Repair and history: who claims to have what is missing here, and who has been asked for it.
//!
//! One mechanism for a gap, a reconnection and a late joiner: neighbours claim ranges (by announcement, by
//! clock, by sending what comes after a gap), and what is missing of them is asked for in ranges, from one
//! neighbour at a time, the next one if it does not answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::heap;
use crate::id::{LinkId, LogId, Seq};
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Range, STAR, TreeIx};

/// Ranges asked of one neighbour at once.
const WANTS_PER_LINK: usize = 4;
/// What was asked for is remembered for as many, to see whether it would have come by itself.
const PULLED_MAX: usize = 64;
/// Steps of a claim that are waited for apart; more are waited for together.
const CLAIM_STEPS_MAX: usize = 8;

/// Logs claimed beyond which looking for what to ask next is work: it is done every [`POLL_PAUSE`] then, at 100 us or so
/// for as many as there may be.
const CLAIMS_MANY: usize = 256;
const POLL_PAUSE: Duration = Duration::from_millis(2);

/// A neighbour says that it has this.
#[derive(Clone, Debug)]
struct Claim {
    from: Seq,
    /// Everything before may be asked for.
    ripe: Seq,
    /// What may be on its way by itself: until when it is not asked for, and up to where. Both ascend.
    steps: VecDeque<(Timestamp, Seq)>,
    /// The tree on which it was announced last.
    tree: TreeIx,
    /// How often it was asked and did not answer in time.
    n_asked: u32,
}

impl Claim {
    fn new(from: Seq) -> Self {
        Self { from, ripe: from, steps: VecDeque::new(), tree: STAR, n_asked: 0 }
    }

    /// It has everything before `end` as well, which is not asked for before `due`.
    fn extend(&mut self, end: Seq, due: Timestamp) {
        let is_known = |(known_due, known_end): &(Timestamp, Seq)| *known_due <= due && *known_end >= end;
        if end <= self.ripe || self.steps.iter().any(is_known) {
            return;
        }
        self.steps.retain(|(known_due, known_end)| *known_due < due || *known_end > end);
        let at = self.steps.partition_point(|(known_due, _)| *known_due < due);
        self.steps.insert(at, (due, end));
        if self.steps.len() > CLAIM_STEPS_MAX {
            self.steps.remove(CLAIM_STEPS_MAX - 1);
        }
    }

    fn ripen(&mut self, now: Timestamp) {
        while let Some((_, end)) = self.steps.front().copied().filter(|(due, _)| *due <= now) {
            self.ripe = self.ripe.max(end);
            self.steps.pop_front();
        }
    }

    /// Exclusive.
    fn end(&self) -> Seq {
        self.steps.back().map_or(self.ripe, |(_, end)| self.ripe.max(*end))
    }
}

/// A range asked for and not yet answered.
#[derive(Clone, Copy, Debug)]
struct Want {
    link: LinkId,
    range: Range,
    deadline: Timestamp,
    /// The log took something of it.
    progressed: bool,
    /// What of it has come, by bit.
    come: u64,
    tree: TreeIx,
    /// The next one is asked soon, and this one again later.
    is_brief: bool,
}

/// A range to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) link: LinkId,
    pub(crate) request: u32,
    pub(crate) range: Range,
    pub(crate) tree: TreeIx,
}

#[derive(Debug, Default)]
pub(crate) struct Repair {
    claims: BTreeMap<LogId, BTreeMap<LinkId, Claim>>,
    /// The same the other way round: of which logs each claims something.
    claimed_by: BTreeMap<LinkId, BTreeSet<LogId>>,
    wants: BTreeMap<u32, Want>,
    n_requests: u32,
    /// When something came by itself that had been asked for, and how long to wait since, if that was lately.
    hasty: Option<(Timestamp, Duration)>,
    /// What came of late because it was asked for.
    pulled: VecDeque<(LogId, Seq)>,
    /// Nothing changes by itself before this.
    next: Option<Timestamp>,
    /// And nothing is looked at before this.
    rests_until: Timestamp,
}

impl Repair {
    /// Bytes of memory behind it, about.
    pub(crate) fn heap(&self) -> usize {
        let of_claims = self.claims.values().map(heap::map).sum::<usize>();
        let by_link = self.claimed_by.values().map(heap::set).sum::<usize>();
        heap::map(&self.claims) + of_claims + by_link + heap::map(&self.wants) + heap::queue(&self.pulled)
    }

    /// `link` has `from..end` of a log, and said so on a tree; do not ask before `due`.
    pub(crate) fn claim(
        &mut self,
        link: LinkId,
        log: LogId,
        from: Seq,
        end: Seq,
        (due, tree): (Timestamp, TreeIx),
    ) {
        if !self.claims.contains_key(&log) && !self.make_room(link) {
            return;
        }
        self.claimed_by.entry(link).or_default().insert(log);
        let claims = self.claims.entry(log).or_default();
        let claim = claims.entry(link).or_insert_with(|| Claim::new(from));
        if from < claim.from {
            // What comes before was not said to be there when the rest ripened.
            claim.ripe = if claim.ripe == claim.from { from } else { claim.ripe };
            claim.from = from;
        }
        claim.extend(end, due);
        claim.tree = tree;
        self.wake_at(due);
    }

    /// What is to be asked for now. `missing` gives the gaps of a log below a number.
    pub(crate) fn poll(
        &mut self,
        now: Timestamp,
        mut missing: impl FnMut(&LogId, Seq) -> Vec<(Seq, Seq)>,
    ) -> Vec<Ask> {
        let mut asks = Vec::new();
        if self.next_deadline().is_none_or(|next| next > now) {
            return asks;
        }
        self.next = None;
        self.rests_until = if self.claims.len() > CLAIMS_MANY { now + POLL_PAUSE } else { now };
        self.give_up_on_silent(now);
        let mut per_link: BTreeMap<LinkId, usize> = BTreeMap::new();
        for want in self.wants.values() {
            *per_link.entry(want.link).or_default() += 1;
        }
        let mut satisfied = Vec::new();
        let mut wake = None::<Timestamp>;
        for (log, claims) in &mut self.claims {
            let is_busy = |link: &LinkId| per_link.get(link).is_some_and(|load| *load >= WANTS_PER_LINK);
            if claims.keys().all(is_busy) {
                // Goes on when an answer comes or is overdue.
                continue;
            }
            claims.values_mut().for_each(|claim| claim.ripen(now));
            let end = claims.values().map(Claim::end).max().unwrap_or(0);
            let gaps = missing(log, end);
            if gaps.is_empty() {
                satisfied.push(*log);
                continue;
            }
            let steps = claims.values().filter_map(|claim| claim.steps.front());
            wake = steps.map(|(due, _)| *due).chain(wake).min();
            let asked: BTreeSet<(Seq, Seq)> = self
                .wants
                .values()
                .filter(|want| want.range.log == *log)
                .map(|want| (want.range.from, want.range.to))
                .collect();
            for range in pieces(*log, &claimed_gaps(&gaps, claims), &asked) {
                let load = |link: &LinkId| per_link.get(link).copied().unwrap_or(0);
                // One that is busy is not waited for: it may be a liar with thousands of logs.
                let able = claims.iter().filter(|(link, claim)| {
                    claim.from <= range.from && range.from < claim.ripe && load(link) < WANTS_PER_LINK
                });
                let chosen = able.min_by_key(|(link, claim)| (claim.n_asked, load(link)));
                let Some((link, claim)) = chosen else {
                    // Goes on when an answer comes or is overdue.
                    continue;
                };
                *per_link.entry(*link).or_default() += 1;
                self.n_requests = self.n_requests.wrapping_add(1);
                let range = Range { to: range.to.min(claim.ripe - 1), ..range };
                let tree = claim.tree;
                let is_brief = tree != STAR && claim.n_asked < limits::WANTS_BRIEF;
                let patience = if is_brief { limits::WANT_PATIENCE_BRIEF } else { limits::WANT_PATIENCE };
                let (link, deadline) = (*link, now + patience);
                let want = Want { link, range, deadline, progressed: false, come: 0, tree, is_brief };
                self.wants.insert(self.n_requests, want);
                asks.push(Ask { link, request: self.n_requests, range, tree });
            }
        }
        for log in satisfied {
            self.remove(&log);
        }
        let overdue = self.wants.values().map(|want| want.deadline).min();
        self.next = [wake, overdue].into_iter().flatten().min();
        asks
    }

    /// An envelope of a range asked for came: its neighbour is at work, if it came for the first time. If it was asked for,
    /// the tree on which it was announced, and whether this is the first copy.
    pub(crate) fn on_progress(
        &mut self,
        now: Timestamp,
        link: LinkId,
        log: &LogId,
        seq: Seq,
    ) -> Option<(TreeIx, bool)> {
        let is_asked = |want: &&mut Want| {
            want.link == link && want.range.log == *log && (want.range.from..=want.range.to).contains(&seq)
        };
        let want = self.wants.values_mut().find(is_asked)?;
        let bit = 1 << ((seq - want.range.from) % limits::FETCH_RANGE_MAX);
        let (tree, is_first) = (want.tree, want.come & bit == 0);
        want.come |= bit;
        // It answers in order: what else it was asked for waits there for this.
        for want in self.wants.values_mut().filter(|want| is_first && want.link == link) {
            want.deadline = now + limits::WANT_PATIENCE;
        }
        Some((tree, is_first))
    }

    /// How long what was announced may take to come by itself. Where it takes longer than that, because the network or a
    /// processor on the way is busy, asking for it makes all busier: the time doubles with each that was asked for in
    /// vain, and shrinks again.
    pub(crate) fn delay(&self, now: Timestamp) -> Duration {
        let Some((at, delay)) = self.hasty else { return limits::REPAIR_DELAY };
        let halvings = (now - at).as_secs() / limits::REPAIR_EASES.as_secs();
        let shift = u32::try_from(halvings.min(16)).unwrap_or(16);
        (delay / (1 << shift)).max(limits::REPAIR_DELAY)
    }

    /// Something came twice. What was asked for in one go counts once.
    fn on_hasty(&mut self, now: Timestamp) {
        let delay = self.delay(now);
        if self.hasty.is_none_or(|(at, _)| now - at >= delay) {
            self.hasty = Some((now, (delay * 2).min(limits::REPAIR_DELAY_MAX)));
        }
    }

    /// Something new came because it was asked for.
    pub(crate) fn on_pulled(&mut self, log: LogId, seq: Seq) {
        if self.pulled.len() >= PULLED_MAX {
            self.pulled.pop_front();
        }
        self.pulled.push_back((log, seq));
    }

    /// Something came by itself, new or not: was it asked for?
    pub(crate) fn on_pushed(&mut self, now: Timestamp, log: &LogId, seq: Seq) {
        let covers = |want: &Want| want.range.log == *log && (want.range.from..=want.range.to).contains(&seq);
        let was_pulled = self.pulled.iter().position(|pulled| *pulled == (*log, seq));
        if was_pulled.and_then(|at| self.pulled.remove(at)).is_some() || self.wants.values().any(covers) {
            self.on_hasty(now);
        }
    }

    /// Whether a neighbour said that it has this, as long as it is missing here.
    pub(crate) fn is_claimed(&self, link: LinkId, log: &LogId, seq: Seq) -> bool {
        let claim = self.claims.get(log).and_then(|claims| claims.get(&link));
        claim.is_some_and(|claim| claim.from <= seq && seq < claim.end())
    }

    /// The log took `first..=last`, from whomever. What was merely sent for a range helps nobody: a fork, or an
    /// envelope too far ahead, comes again as often as it is asked for.
    pub(crate) fn on_placed(&mut self, log: &LogId, first: Seq, last: Seq) {
        for want in self.wants.values_mut().filter(|want| want.range.log == *log) {
            want.progressed |= want.range.from <= last && first <= want.range.to;
        }
    }

    /// A neighbour has sent all it will for a request. If the log has taken nothing of it, the neighbour is not
    /// asked for this log again until it claims anew.
    pub(crate) fn on_served(&mut self, now: Timestamp, link: LinkId, request: u32) {
        let Some(want) = self.wants.get(&request).copied().filter(|want| want.link == link) else {
            return;
        };
        self.wants.remove(&request);
        if !want.progressed {
            self.disclaim(link, &want.range.log);
        }
        self.wake_at(now);
    }

    pub(crate) fn link_down(&mut self, now: Timestamp, link: LinkId) {
        let n_wants = self.wants.len();
        self.wants.retain(|_, want| want.link != link);
        let claimed = self.claimed_by.get(&link).cloned().unwrap_or_default();
        for log in &claimed {
            self.disclaim(link, log);
        }
        if self.wants.len() < n_wants || !claimed.is_empty() {
            self.wake_at(now);
        }
    }

    /// Nothing of this log is wanted any more.
    pub(crate) fn forget(&mut self, log: &LogId) {
        self.remove(log);
        self.wants.retain(|_, want| want.range.log != *log);
    }

    /// Logs of which somebody claims more than is here.
    pub(crate) fn n_logs(&self) -> usize {
        self.claims.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.next.map(|next| next.max(self.rests_until))
    }

    /// What is known to be there elsewhere of every log that is longer there.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = (LogId, Seq, Seq)> + '_ {
        self.claims.iter().filter_map(|(log, claims)| {
            let from = claims.values().map(|claim| claim.from).min()?;
            let end = claims.values().map(Claim::end).max()?;
            Some((*log, from, end))
        })
    }

    /// The first number of a log that a neighbour said it has.
    pub(crate) fn first_claimed(&self, log: &LogId) -> Option<Seq> {
        self.claims.get(log)?.values().map(|claim| claim.from).min()
    }

    fn give_up_on_silent(&mut self, now: Timestamp) {
        let late: Vec<(u32, Want)> = self
            .wants
            .iter()
            .filter(|(_, want)| want.deadline <= now)
            .map(|(request, want)| (*request, *want))
            .collect();
        for (request, want) in late {
            self.wants.remove(&request);
            if !want.is_brief {
                self.disclaim(want.link, &want.range.log);
            } else if let Some(claims) = self.claims.get_mut(&want.range.log)
                && let Some(claim) = claims.get_mut(&want.link)
            {
                claim.n_asked += 1;
            }
        }
    }

    fn disclaim(&mut self, link: LinkId, log: &LogId) {
        if let Some(claims) = self.claims.get_mut(log) {
            claims.remove(&link);
            if claims.is_empty() {
                self.claims.remove(log);
            }
        }
        self.unlist(link, log);
    }

    fn remove(&mut self, log: &LogId) {
        for link in self.claims.remove(log).unwrap_or_default().into_keys() {
            self.unlist(link, log);
        }
    }

    fn unlist(&mut self, link: LinkId, log: &LogId) {
        if let Some(logs) = self.claimed_by.get_mut(&link) {
            logs.remove(log);
            if logs.is_empty() {
                self.claimed_by.remove(&link);
            }
        }
    }

    /// Room for one more log that a neighbour claims, at the cost of those who claim more: who makes up thousands does
    /// not close repair to the others. What has to go is claimed again after the next digest.
    fn make_room(&mut self, link: LinkId) -> bool {
        while self.claims.len() >= limits::AUTHORS_MAX {
            let n_own = self.claimed_by.get(&link).map_or(0, BTreeSet::len);
            let most = self.claimed_by.iter().max_by_key(|(_, logs)| logs.len());
            let Some((most, log)) = most
                .filter(|(_, logs)| logs.len() > n_own + 1)
                .and_then(|(most, logs)| Some((*most, *logs.last()?)))
            else {
                return false;
            };
            self.disclaim(most, &log);
        }
        true
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// What of the gaps somebody claims to have, ripe or not: nothing before the first claim, and no range that begins
/// where nobody has anything.
fn claimed_gaps(gaps: &[(Seq, Seq)], claims: &BTreeMap<LinkId, Claim>) -> Vec<(Seq, Seq)> {
    let mut cut = Vec::new();
    for &(mut from, to) in gaps {
        while from <= to {
            let covers = |claim: &&Claim| claim.from <= from && from < claim.ripe;
            let covered_to = claims.values().filter(covers).map(|claim| claim.ripe - 1).max();
            if let Some(last) = covered_to {
                cut.push((from, last.min(to)));
                from = last + 1;
                continue;
            }
            let later = claims.values().map(|claim| claim.from).filter(|first| *first > from);
            match later.min() {
                Some(first) => from = first,
                None => break,
            }
        }
    }
    cut
}

/// The gaps, cut into ranges of [`limits::FETCH_RANGE_MAX`], without what has been asked for.
fn pieces(log: LogId, gaps: &[(Seq, Seq)], asked: &BTreeSet<(Seq, Seq)>) -> Vec<Range> {
    /// More than one neighbour will be asked for at a time.
    const PIECES_MAX: usize = 16;
    let mut pieces = Vec::new();
    for &(mut from, to) in gaps {
        while from <= to && pieces.len() < PIECES_MAX {
            if let Some((_, asked_to)) = asked.iter().find(|(first, last)| *first <= from && from <= *last) {
                from = asked_to + 1;
                continue;
            }
            let stop = asked.iter().map(|(first, _)| *first).filter(|first| *first > from).min();
            let end =
                to.min(from + limits::FETCH_RANGE_MAX - 1).min(stop.map_or(Seq::MAX, |first| first - 1));
            pieces.push(Range { log, from, to: end });
            from = end + 1;
        }
    }
    pieces
}

#[cfg(test)]
mod tests;
