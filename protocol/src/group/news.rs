//! Members that are not neighbours: what is heard of them is passed on, along a tree of the forest or, if none is
//! known, from everybody to everybody; and told to the application.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::census::{Census, Ground, Heard, Junk, Worth};
use super::{Ctx, Group};
use crate::conduct::Fault;
use crate::id::{LinkId, PeerId};
use crate::io::{Event, PresenceCause};
use crate::limits;
use crate::time::Timestamp;
use crate::wire::frame::{Alert, Class, FLOOD, Fact, Frame, MembersDigest, News, STAR, Stay, TreeIx};

/// News that wait for others to share a frame, and this node's own words.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    queues: BTreeMap<(LinkId, TreeIx), Vec<Fact>>,
    send_at: Option<Timestamp>,
    /// When this node says that it is there, for the first time or again.
    say_at: Option<Timestamp>,
    has_said: bool,
    /// How many neighbours are still to be told the digest after a change, and when the next one is.
    n_untold: usize,
    tell_at: Option<Timestamp>,
}

impl Outgoing {
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        [self.send_at, self.say_at, self.tell_at].into_iter().flatten().min()
    }

    /// Facts that wait for one link and tree: the most.
    pub(super) fn longest(&self) -> usize {
        self.queues.values().map(Vec::len).max().unwrap_or(0)
    }

    /// A neighbour knows this itself.
    fn forget(&mut self, link: LinkId, fact: &Fact) {
        for (_, queue) in self.queues.range_mut((link, TreeIx::MIN)..=(link, TreeIx::MAX)) {
            queue.retain(|other| other != fact);
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId) {
        self.queues.retain(|(of, _), _| *of != link);
    }
}

impl Group {
    // Who is there.

    /// Whether a peer is in the group, as far as this node knows.
    pub(crate) fn is_member(&self, peer: &PeerId) -> bool {
        self.census.is_here(peer) || self.is_linked(peer)
    }

    /// How many others are in the group, and some of them, neighbours first.
    pub(super) fn count_members(&self, me: PeerId) -> (usize, Vec<PeerId>) {
        let mut told = self.mates();
        let near: std::collections::BTreeSet<PeerId> = told.iter().copied().collect();
        let far = self.census.here().filter(|peer| *peer != me && !near.contains(peer));
        let mut n = near.len();
        for peer in far {
            n += 1;
            if told.len() < limits::MEMBERS_TOLD_MAX {
                told.push(peer);
            }
        }
        (n, told)
    }

    pub(crate) fn members_digest(&self) -> MembersDigest {
        self.census.digest()
    }

    // This node.

    /// Says that it is there, once there is somebody to hear it and not everybody is a neighbour.
    pub(crate) fn say_soon(&mut self, cx: &Ctx<'_>) {
        if cx.is_partial && self.loaded && !self.outgoing.has_said && !self.members.is_empty() {
            self.outgoing.say_at.get_or_insert(cx.now + limits::WORD_DELAY);
        }
    }

    fn say(&mut self, cx: &mut Ctx<'_>, stay: Stay) {
        self.outgoing.has_said = stay == Stay::Here;
        *cx.n_words = cx.n_words.wrapping_add(1);
        let (identity, seq) = (cx.identity, *cx.n_words);
        let fact = self.in_census(cx, |census, ground| census.say(ground, identity, seq, stay));
        self.pass_on(cx, &fact, None);
        self.outgoing.say_at = self.outgoing.has_said.then(|| self.next_word_at(cx));
    }

    /// When this node says that it is there once more if it says so now: not all at once, after they came at once.
    fn next_word_at(&self, cx: &Ctx<'_>) -> Timestamp {
        let share = u32::from(cx.me.0[1]) + 192;
        cx.now + self.census.word_pause() / 256 * share
    }

    #[cfg(test)]
    pub(crate) fn says_again_at(&self) -> Option<Timestamp> {
        self.outgoing.say_at
    }

    /// Says at once that it leaves, if anybody was told that it is there.
    pub(crate) fn say_farewell(&mut self, cx: &mut Ctx<'_>, stay: Stay) {
        if self.outgoing.has_said {
            self.say(cx, stay);
            self.send_news(cx);
        }
    }

    /// Somebody voted against this node: it says again that it is there, in a higher incarnation.
    pub(crate) fn speak_up(&mut self, cx: &mut Ctx<'_>) {
        if self.outgoing.has_said {
            self.say(cx, Stay::Here);
            self.send_news(cx);
        }
    }

    /// This node has stood still for long: what it knows of those whom it does not see may be wrong for as long.
    pub(crate) fn wake(&mut self, cx: &mut Ctx<'_>) {
        let near = self.mates();
        self.in_census(cx, |census, ground| census.forget_far(ground, &near));
    }

    // Votes.

    /// Votes against a member. False if it is none.
    pub(crate) fn accuse(&mut self, cx: &mut Ctx<'_>, alert: &Alert) -> bool {
        if !self.census.is_here(&alert.target) {
            return false;
        }
        let alert = Arc::new(alert.clone());
        if self.in_census(cx, |census, ground| census.accuse(ground, &alert)) {
            self.pass_on(cx, &Fact::Vote(alert), None);
            self.send_news(cx);
        }
        true
    }

    /// Presence has found out that a peer is gone.
    pub(crate) fn peer_gone(&mut self, cx: &mut Ctx<'_>, peer: &PeerId, cause: PresenceCause) {
        let now = cx.now;
        self.in_census(cx, |census, _| census.set_gone(now, peer, cause));
    }

    /// Presence has found out that a peer is there. It may know nothing of it any more when votes are counted.
    pub(crate) fn peer_seen(&mut self, cx: &mut Ctx<'_>, peer: &PeerId) {
        let now = cx.now;
        self.in_census(cx, |census, _| census.seen(now, peer));
    }

    // Talk.

    /// What a neighbour says about members. `Err` if it is to blame for it.
    pub(crate) fn on_members_talk(
        &mut self,
        cx: &mut Ctx<'_>,
        link: LinkId,
        talk: &Frame,
    ) -> Result<(), Fault> {
        match talk {
            Frame::News(news) => self.take_facts(cx, link, &news.facts, Some(news.tree)),
            Frame::Members(members) if self.census.is_page(link) => {
                let taken = self.take_facts(cx, link, &members.facts, None);
                self.in_census(cx, |census, ground| census.on_page(ground, members));
                taken
            }
            Frame::Members(members) => self.take_facts(cx, link, &members.facts, Some(FLOOD)),
            _ => self.in_census(cx, |census, ground| {
                match talk {
                    Frame::MembersAsk(ask) => census.on_ask(ground, link, ask),
                    Frame::MembersSums(sums) => census.on_sums(ground, link, sums),
                    Frame::MembersHave(have) => census.on_have(ground, link, have),
                    Frame::MembersWant(want) => census.on_want(ground, link, want),
                    _ => return Err(Fault::OutOfTurn),
                }
                Ok(())
            }),
        }
    }

    pub(crate) fn on_members_digest(&mut self, cx: &mut Ctx<'_>, link: LinkId, theirs: MembersDigest) {
        self.in_census(cx, |census, ground| census.on_members_digest(ground, link, theirs));
    }

    /// Takes facts in, and passes on what is new unless they are pages of what everybody else knows, which we asked for:
    /// to check these costs their sender nothing.
    fn take_facts(
        &mut self,
        cx: &mut Ctx<'_>,
        link: LinkId,
        facts: &[Fact],
        tree: Option<TreeIx>,
    ) -> Result<(), Fault> {
        let mut answers = Vec::new();
        let mut is_urgent = false;
        let mut toll = 0;
        let mut worths = Vec::with_capacity(facts.len());
        let taken = self.in_census(cx, |census, ground| {
            facts
                .iter()
                .try_for_each(|fact| census.take(ground, fact, &mut toll).map(|worth| worths.push(worth)))
        });
        cx.toll.work += tree.map_or(0, |_| toll);
        for (fact, worth) in facts.iter().zip(worths) {
            match (worth, tree) {
                (Worth::News, Some(tree)) => {
                    is_urgent |= matches!(fact, Fact::Vote(_)) || self.census.was_accused(fact.subject());
                    self.pass_on(cx, fact, Some((link, tree)));
                }
                (Worth::News | Worth::Noted, _) => {}
                (Worth::Old, _) => self.outgoing.forget(link, fact),
                (Worth::Outdated, _) if answers.len() < limits::FACTS_MAX => {
                    answers.extend(self.census.facts_about(fact.subject()));
                }
                (Worth::Outdated, _) => {}
            }
        }
        answers.truncate(limits::FACTS_MAX);
        if !answers.is_empty() {
            self.in_census(cx, |census, ground| census.tell(ground, link, answers));
        }
        let is_full = self.outgoing.send_at.is_some_and(|at| at <= cx.now);
        if is_urgent || is_full {
            self.send_news(cx);
        }
        taken.map_err(|Junk| Fault::Fact)
    }

    // On their way.

    /// Puts a fact on its way, `from` a neighbour by the neighbour's number of the tree.
    fn pass_on(&mut self, cx: &mut Ctx<'_>, fact: &Fact, from: Option<(LinkId, TreeIx)>) {
        self.in_forest(cx, |forest, ground| forest.on_news(ground));
        let along = from.filter(|(_, theirs)| *theirs != FLOOD && *theirs != STAR);
        let along = along.and_then(|(link, theirs)| self.forest.resolve(link, theirs));
        // Votes and their answers are in a hurry, and a tree has a hole here and there where packets are lost.
        // What this node says of itself may be such an answer: of votes against itself it keeps none.
        let about = *fact.subject();
        let is_vote = matches!(fact, Fact::Vote(_));
        let is_hurried = is_vote || about == cx.me || self.census.was_accused(&about);
        let is_weather_bad = cx.presence.is_weather_bad(cx.now);
        let most = if is_weather_bad { limits::VOTES_FLOOD_BAD } else { limits::VOTES_FLOOD_MAX };
        let may_flood = is_hurried && self.census.n_here() <= most && !self.census.is_sample();
        let tree = along.or_else(|| self.forest.choose(cx.now)).filter(|_| !may_flood);
        let mut ways_of_votes = Vec::new();
        match tree {
            Some(tree) if is_vote => self.census.went_along(&about, tree),
            // An answer goes where the votes went: along its own tree it might not come to all who have heard these.
            Some(_) => ways_of_votes.extend(self.census.ways_of_votes(&about)),
            None => {}
        }
        let links: Vec<(LinkId, PeerId)> = self.members.iter().map(|(link, peer)| (*link, *peer)).collect();
        for (link, peer) in links {
            let mut trees = tree.iter().chain(&ways_of_votes).copied();
            let along = trees.find(|tree| self.forest.has(*tree, link));
            let is_on_tree = tree.is_none() || along.is_some();
            // A vote comes to the accused through the group as well: it is answered at once then, though nobody here knows
            // the voter, for everybody in the group waits for the answer.
            let is_back = from.is_some_and(|(from, _)| from == link) || peer == about && !is_vote;
            let Some(state) = cx.links.get(&link).filter(|_| is_on_tree && !is_back) else { continue };
            if state.is_retiring() && self.has_better_link(cx, link, peer) {
                continue;
            }
            let queue = self.outgoing.queues.entry((link, along.unwrap_or(FLOOD))).or_default();
            queue.push(fact.clone());
            let is_full = queue.len() >= limits::FACTS_MAX;
            let at = if is_full { cx.now } else { cx.now + limits::NEWS_DELAY };
            self.outgoing.send_at = Some(self.outgoing.send_at.map_or(at, |due| due.min(at)));
        }
    }

    fn send_news(&mut self, cx: &mut Ctx<'_>) {
        self.outgoing.send_at = None;
        for ((link, tree), facts) in std::mem::take(&mut self.outgoing.queues) {
            for facts in facts.chunks(limits::FACTS_MAX) {
                let news = News { group: self.ix, tree, facts: facts.to_vec() };
                cx.send(link, Class::Control, news);
            }
        }
    }

    /// What is due.
    pub(super) fn tend_members(&mut self, cx: &mut Ctx<'_>) {
        if self.outgoing.say_at.take_if(|at| *at <= cx.now).is_some() {
            self.say(cx, Stay::Here);
        }
        if self.outgoing.send_at.is_some_and(|at| at <= cx.now) {
            self.send_news(cx);
        }
        if self.outgoing.tell_at.take_if(|at| *at <= cx.now).is_some() && cx.is_partial {
            self.tell_next_digest(cx);
            self.outgoing.n_untold = self.outgoing.n_untold.saturating_sub(1);
            let goes_on = self.outgoing.n_untold > 0;
            self.outgoing.tell_at = goes_on.then(|| cx.now + limits::MEMBERS_TOLD_EVERY);
        }
        if self.census.next_deadline().is_some_and(|at| at <= cx.now) {
            self.in_census(cx, |census, ground| census.on_deadline(ground));
        }
    }

    /// Lets the census work, sends what it wants and tells what it found out.
    pub(super) fn in_census<T>(
        &mut self,
        cx: &mut Ctx<'_>,
        f: impl FnOnce(&mut Census, &Ground<'_>) -> T,
    ) -> T {
        let presence = cx.presence;
        let state = |peer: &PeerId| presence.state(peer);
        let ground = Ground {
            now: cx.now,
            me: cx.me,
            tag: self.key.topic_tag(),
            group: self.ix,
            incarnation: presence.incarnation(),
            is_partial: cx.is_partial,
            is_weather_bad: presence.is_weather_bad(cx.now),
            members_max: cx.bounds.members,
            state: &state,
        };
        let before = self.census.digest();
        let result = f(&mut self.census, &ground);
        if self.census.digest().n < before.n {
            // In a smaller group words are expected more often.
            let soonest = self.next_word_at(cx);
            self.outgoing.say_at = self.outgoing.say_at.map(|at| at.min(soonest));
        }
        if self.census.digest() != before {
            // Whoever missed it finds that out.
            self.outgoing.n_untold = self.members.len();
            self.outgoing.tell_at.get_or_insert(cx.now + limits::MEMBERS_TOLD_EVERY);
        }
        for (link, class, frame) in self.census.take_frames() {
            cx.send(link, class, frame);
        }
        for heard in self.census.take_heard() {
            match heard {
                Heard::Joined(peer) | Heard::Left(peer, _) if peer == cx.me => {}
                Heard::Joined(peer) if self.is_linked(&peer) => {}
                Heard::Joined(peer) => cx.event(Event::MemberJoined { group: self.id, peer }),
                Heard::Left(peer, cause) => {
                    self.in_forest(cx, |forest, ground| forest.root_gone(ground, &peer));
                    if !self.is_linked(&peer) {
                        cx.event(Event::MemberLeft { group: self.id, peer, cause });
                    }
                }
                Heard::Repeat(alert) => {
                    self.pass_on(cx, &Fact::Vote(alert), None);
                    self.send_news(cx);
                }
                heard @ (Heard::Vote(_) | Heard::Risen(..) | Heard::Vain(_)) => cx.heard.push(heard),
            }
        }
        result
    }
}
