//! The beats of one link: a sign of life both ways, and the round trip.
//!
//! The side that dialled asks, and the other answers at once. An answer takes the acknowledgement of the question
//! with it, so a link at rest costs three packets for each question, where two sides that beat by clocks of their own
//! pay four for each second.

use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::Beat;

#[derive(Debug)]
pub(super) struct Pulse {
    /// This side asks.
    asks: bool,
    last_heard: Timestamp,
    /// When this side last asked, and whether the answer is still to come.
    asked: (Timestamp, bool),
    /// The number of our last beat, and when it left.
    ours: (u8, Timestamp),
    /// The number of theirs, and when it came.
    theirs: Option<(u8, Timestamp)>,
    rtt: Option<Duration>,
    /// How many answers in a row came promptly.
    n_prompt: u32,
    /// The link may beat slowly when it is steady.
    is_quiet: bool,
    /// The pause that was said with the last question.
    said: Duration,
}

impl Pulse {
    pub(super) fn new(now: Timestamp, asks: bool) -> Self {
        Self {
            asks,
            last_heard: now,
            asked: (now, false),
            ours: (0, now),
            theirs: None,
            rtt: None,
            n_prompt: 0,
            is_quiet: false,
            said: limits::BEAT,
        }
    }

    /// Whether others watch whoever is at the other end.
    pub(super) fn set_quiet(&mut self, is_quiet: bool) {
        self.is_quiet = is_quiet;
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Anything came.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.last_heard = now;
    }

    /// When to ask, if nothing else goes both ways before. `last_sent` is when anything was sent.
    pub(super) fn next_deadline(&self, last_sent: Timestamp) -> Option<Timestamp> {
        let idle_since = last_sent.min(self.last_heard).max(self.asked.0);
        self.asks.then(|| idle_since + self.pause().min(self.said.max(limits::BEAT_STEADY)))
    }

    /// Longer where answers have been prompt for a while: on a link that loses packets a late answer must not look
    /// like silence.
    fn pause(&self) -> Duration {
        match (self.n_prompt >= limits::BEAT_STEADY_AFTER, self.is_quiet) {
            (true, true) => limits::BEAT_QUIET,
            (true, false) => limits::BEAT_STEADY,
            (false, _) => limits::BEAT,
        }
    }

    /// The next beat, which says when the one after it comes if it asks for an answer.
    pub(super) fn beat(&mut self, now: Timestamp, ask: bool) -> Beat {
        let n = self.ours.0 % u8::MAX + 1;
        self.ours = (n, now);
        if ask {
            if self.asked.1 {
                self.n_prompt = 0;
            }
            self.asked = (now, true);
            self.said = self.pause();
        }
        let ask = if ask { u8::try_from(self.said.as_secs()).unwrap_or(u8::MAX) } else { 0 };
        let (echo, held) = self.theirs.map_or((0, 0), |(n, at)| (n, (now - at).as_micros()));
        Beat { n, echo, held: u32::try_from(held).unwrap_or(u32::MAX), ask }
    }

    pub(super) fn on_beat(&mut self, now: Timestamp, beat: &Beat) {
        self.theirs = Some((beat.n, now));
        let (n, sent) = self.ours;
        if beat.echo == 0 || beat.echo != n {
            return;
        }
        let took = now - sent;
        let rtt = took.saturating_sub(Duration::from_micros(beat.held.into()));
        self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
        if std::mem::take(&mut self.asked.1) {
            let is_prompt = took <= limits::PROMPT_ANSWER;
            self.n_prompt = if is_prompt { self.n_prompt.saturating_add(1) } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ends of a link that is at rest, and how long a beat takes from one to the other.
    struct Rest {
        now: Timestamp,
        ends: [Pulse; 2],
        last_sent: [Timestamp; 2],
        n_beats: u32,
    }

    impl Rest {
        fn new() -> Self {
            let now = Timestamp::from_micros(1_000_000);
            let ends = [Pulse::new(now, true), Pulse::new(now, false)];
            Self { now, ends, last_sent: [now; 2], n_beats: 0 }
        }

        /// The next question and its answer, each on its way for so long. Returns when the question was asked.
        fn exchange(&mut self, way: Duration) -> Timestamp {
            let asked = self.ends[0].next_deadline(self.last_sent[0]).expect("one side asks");
            self.now = self.now.max(asked);
            for from in 0..2 {
                let beat = self.ends[from].beat(self.now, from == 0);
                self.last_sent[from] = self.now;
                self.n_beats += 1;
                self.now = self.now + way;
                self.ends[1 - from].heard(self.now);
                self.ends[1 - from].on_beat(self.now, &beat);
            }
            asked
        }
    }

    /// Goal: one side asks, each second at first and each other second once ten answers were prompt; one that was
    /// not begins anew.
    #[test]
    fn a_steady_link_beats_more_slowly() {
        let mut rest = Rest::new();
        assert_eq!(rest.ends[1].next_deadline(rest.now), None, "who was dialled does not ask");
        let prompt = Duration::from_micros(500);
        let mut gaps = Vec::new();
        let mut last = rest.now;
        for n in 0..40 {
            let way = if n == 20 { limits::PROMPT_ANSWER } else { prompt };
            let asked = rest.exchange(way);
            gaps.push((asked - last).as_secs());
            last = asked;
        }
        assert_eq!(gaps[..10], [1; 10]);
        assert_eq!(gaps[10..21], [2; 11]);
        assert_eq!(gaps[21..31], [1; 10]);
        assert_eq!(gaps[31..], [2; 9]);
    }

    /// Goal: a quiet link beats each eight seconds once it is steady, not before it has said so, and each second again
    /// when an answer took long.
    #[test]
    fn a_quiet_link_says_how_slowly_it_beats() {
        let mut rest = Rest::new();
        rest.ends[0].set_quiet(true);
        let (mut gaps, mut said) = (Vec::new(), Vec::new());
        let mut last = rest.now;
        for n in 0..16 {
            let prompt = Duration::from_micros(500);
            let asked = rest.exchange(if n == 13 { limits::PROMPT_ANSWER } else { prompt });
            gaps.push((asked - last).as_secs());
            said.push(rest.ends[0].said.as_secs());
            last = asked;
        }
        assert_eq!(gaps, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 8, 8, 8, 1, 1]);
        assert_eq!(said, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 8, 8, 8, 8, 1, 1]);
    }

    #[test]
    fn both_sides_learn_the_round_trip() {
        let mut rest = Rest::new();
        for _ in 0..300 {
            rest.exchange(Duration::from_millis(7));
        }
        for end in &rest.ends {
            assert_eq!(end.rtt(), Some(Duration::from_millis(14)));
        }
    }

    /// An echo of what was never sent, or of an older beat, measures nothing.
    #[test]
    fn a_foreign_echo_measures_nothing() {
        let now = Timestamp::from_micros(5_000_000);
        let mut pulse = Pulse::new(now, true);
        pulse.on_beat(now, &Beat { n: 9, echo: 0, held: 0, ask: 0 });
        pulse.on_beat(now, &Beat { n: 9, echo: 1, held: 0, ask: 0 });
        assert_eq!(pulse.rtt(), None);
        let beat = pulse.beat(now, true);
        assert_eq!((beat.n, beat.echo), (1, 9));
        pulse.on_beat(now, &Beat { n: 9, echo: 200, held: u32::MAX, ask: 0 });
        assert_eq!(pulse.rtt(), None);
        pulse.on_beat(now, &Beat { n: 9, echo: 1, held: u32::MAX, ask: 0 });
        assert_eq!(pulse.rtt(), Some(Duration::ZERO));
    }

    /// Questions that nothing answers are asked again, at the shorter pause.
    #[test]
    fn an_unanswered_question_is_asked_again() {
        let mut rest = Rest::new();
        for _ in 0..20 {
            rest.exchange(Duration::from_millis(1));
        }
        let asker = &mut rest.ends[0];
        let mut last_sent = rest.last_sent[0];
        let mut gaps = Vec::new();
        for _ in 0..3 {
            let at = asker.next_deadline(last_sent).expect("it asks");
            gaps.push((at - last_sent).as_secs());
            asker.beat(at, true);
            last_sent = at;
        }
        assert_eq!(gaps, [2, 2, 1]);
    }
}
