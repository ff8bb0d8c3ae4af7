//! What waits for a link stays bounded and in order, whatever is pushed, written and granted.

use bytes::Bytes;
use proptest::prelude::*;

use super::ladder::{Ladder, Queue, Step};
use super::outflow::{Flow, Outflow, Pushed};
use crate::io::Pace;
use crate::limits;
use crate::time::{Duration, Timestamp};
use crate::wire::frame::{Class, Frame, STAR, Served};

fn data(number: usize, len: usize) -> Frame {
    let mut envelope = vec![0; len.max(8)];
    envelope[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Frame::Data { group: 1, tree: STAR, envelope: Bytes::from(envelope) }
}

fn number(frame: &Frame) -> Option<u64> {
    match frame {
        Frame::Data { envelope, .. } => envelope.first_chunk::<8>().map(|number| u64::from_le_bytes(*number)),
        _ => None,
    }
}

fn end_of_answer() -> Frame {
    Served { request: 1, group: 1, count: 0, floor: 0, upto: 0 }.into()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(millis)
}

fn push(outflow: &mut Outflow, now: Timestamp, class: Class, frame: Frame) -> Pushed {
    let len = frame.encoded_len();
    outflow.push(now, class, len, frame)
}

/// One that takes nothing since then, or has taken everything.
fn queue(stalled_since: Option<Timestamp>) -> Queue {
    Queue {
        stalled_since,
        slow_at: stalled_since.map(|since| since + limits::SLOW_AFTER),
        is_far_behind: false,
        is_drained: stalled_since.is_none(),
        is_full: stalled_since.is_some(),
    }
}

#[derive(Clone, Debug)]
enum Act {
    Push(Class, usize),
    End(Class),
    Write(Class, usize),
    Grant(Flow, u64),
    Pass(u64),
    Block,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let class = prop_oneof![Just(Class::Own), Just(Class::Forward), Just(Class::Bulk)];
    let act = prop_oneof![
        6 => (class.clone(), 8usize..60_000).prop_map(|(class, len)| Act::Push(class, len)),
        1 => class.clone().prop_map(Act::End),
        4 => (class, 1usize..200_000).prop_map(|(class, bytes)| Act::Write(class, bytes)),
        1 => (prop_oneof![Just(Flow::Live), Just(Flow::Bulk)], 1u64..500_000)
            .prop_map(|(flow, bytes)| Act::Grant(flow, bytes)),
        3 => (0u64..1500).prop_map(Act::Pass),
        1 => Just(Act::Block),
    ];
    prop::collection::vec(act, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// No more waits than may, no more goes than the host and the receiver take, each class goes in its order, and what
    /// was taken in either goes or is given back.
    #[test]
    fn bounds_and_order_hold_whatever_happens(acts in acts()) {
        let mut outflow = Outflow::new();
        let (mut now, mut pushed) = (Timestamp::ZERO, 0);
        let mut granted = [limits::CREDIT_LIVE, limits::CREDIT_BULK];
        let mut gone = [0u64; 2];
        let mut unwritten = [0usize; 4];
        let mut last = [None::<u64>; 4];
        let (mut taken, mut left, mut dropped_history) = (0usize, 0usize, 0usize);
        let mut ends = 0usize;
        for act in acts {
            let mut goes = Vec::new();
            match act {
                Act::Push(class, len) => {
                    pushed += 1;
                    match push(&mut outflow, now, class, data(pushed, len)) {
                        Pushed::Goes(frame) => { taken += 1; goes.push((class, frame)); }
                        Pushed::Waits => taken += 1,
                        Pushed::Full => {}
                    }
                }
                Act::End(class) => {
                    ends += end_of_answer().encoded_len();
                    match push(&mut outflow, now, class, end_of_answer()) {
                        Pushed::Goes(frame) => goes.push((class, frame)),
                        Pushed::Waits => {}
                        Pushed::Full => prop_assert!(false, "the end of an answer always finds room"),
                    }
                }
                Act::Write(class, bytes) => {
                    let bytes = bytes.min(unwritten[class as usize]);
                    unwritten[class as usize] -= bytes;
                    outflow.on_written(now, class, bytes);
                }
                Act::Grant(flow, bytes) => {
                    granted[flow as usize] += bytes;
                    outflow.grant(now, flow, granted[flow as usize]);
                }
                Act::Pass(millis) => {
                    now = now + Duration::from_millis(millis);
                    left += outflow.take_expired(now, false).len();
                    prop_assert!(outflow.next_expiry().is_none_or(|at| at > now));
                }
                Act::Block => {
                    let before = outflow.n_waiting_of(Class::Bulk);
                    left += outflow.take_expired(now, true).len();
                    dropped_history += before - outflow.n_waiting_of(Class::Bulk);
                    prop_assert_eq!(outflow.n_waiting_of(Class::Own) + outflow.n_waiting_of(Class::Forward), 0);
                }
            }
            goes.extend(std::iter::from_fn(|| outflow.pop()));
            for (class, frame) in goes {
                let len = frame.encoded_len();
                unwritten[class as usize] += len;
                gone[Flow::of(class).expect("payload") as usize] += len as u64;
                if let Some(number) = number(&frame) {
                    left += 1;
                    prop_assert!(last[class as usize] < Some(number), "in order");
                    last[class as usize] = Some(number);
                }
            }
            prop_assert!(outflow.pending(Flow::Live) <= limits::LINK_QUEUE_MAX + ends);
            prop_assert!(outflow.pending(Flow::Bulk) <= limits::BULK_QUEUE_MAX + ends);
            prop_assert!(unwritten[Class::Own as usize] + unwritten[Class::Forward as usize] <= limits::LINK_WINDOW);
            prop_assert!(unwritten[Class::Bulk as usize] <= limits::BULK_WINDOW);
            prop_assert!(gone[0] <= granted[0] && gone[1] <= granted[1]);
        }
        // Now everything is written and granted: whatever still waits goes.
        for flow in [Flow::Live, Flow::Bulk] {
            outflow.grant(now, flow, u64::MAX);
        }
        loop {
            for class in Class::ALL {
                outflow.on_written(now, class, std::mem::take(&mut unwritten[class as usize]));
            }
            let Some((class, frame)) = outflow.pop() else { break };
            unwritten[class as usize] += frame.encoded_len();
            left += usize::from(number(&frame).is_some());
        }
        prop_assert_eq!(taken, left + dropped_history);
        prop_assert_eq!(outflow.queued(), 0);
        outflow.on_heard(now);
        prop_assert!(outflow.is_drained(now) && outflow.behind_since().is_none());
    }

    /// The ladder is climbed a step at a time and in time: slow not before 250 ms, blocked not before 2 s, closed not
    /// before 10 s, and whoever catches up is prompt again, after a pause that grows.
    #[test]
    fn the_ladder_is_climbed_in_order(steps in prop::collection::vec((1u64..400, 0u8..30), 1..400)) {
        let mut ladder = Ladder::default();
        let (mut now, mut since) = (Timestamp::ZERO, None::<Timestamp>);
        let mut pace = Pace::Prompt;
        for (millis, act) in steps {
            now = now + Duration::from_millis(millis);
            match act {
                0 => since = None,
                1 => since = since.or(Some(now)),
                // It takes a little.
                2 => since = since.map(|_| now),
                _ => {}
            }
            while let Some(step) = ladder.look(now, &queue(since)) {
                let waited = since.map_or(Duration::ZERO, |since| now - since);
                let next = match step {
                    Step::To(next) => next,
                    Step::Close => Pace::Closed,
                };
                match (pace, next) {
                    (Pace::Prompt, Pace::Slow) => prop_assert!(waited >= limits::SLOW_AFTER),
                    (Pace::Slow, Pace::Blocked) => prop_assert!(waited >= limits::BLOCKED_AFTER),
                    (Pace::Blocked, Pace::Closed) => prop_assert!(waited >= limits::CLOSED_AFTER),
                    (Pace::Slow, Pace::Prompt) | (Pace::Blocked, Pace::Slow) => {}
                    (from, to) => prop_assert!(false, "from {from:?} to {to:?}"),
                }
                pace = next;
                if pace == Pace::Closed {
                    return Ok(());
                }
                prop_assert_eq!(ladder.pace(), pace);
            }
            prop_assert!(ladder.next_deadline(&queue(since)).is_none_or(|at| at > now), "a deadline that helps nobody");
        }
        // In the end everybody catches up.
        for _ in 0..4 {
            now = now + limits::SLOW_CALM * 64;
            while ladder.look(now, &queue(None)).is_some() {}
        }
        prop_assert_eq!(ladder.pace(), Pace::Prompt);
    }
}

#[test]
fn room_is_bounded_from_both_sides() {
    for (class, max) in [(Class::Own, limits::LINK_QUEUE_MAX), (Class::Bulk, limits::BULK_QUEUE_MAX)] {
        let head = data(0, 8).encoded_len() - 8;
        let mut outflow = Outflow::new();
        for number in 0..4 {
            let frame = data(number, max / 4 - head);
            assert!(!matches!(push(&mut outflow, at(0), class, frame), Pushed::Full), "{class:?} {number}");
        }
        assert!(matches!(push(&mut outflow, at(0), class, data(9, 8)), Pushed::Full));
        outflow.on_written(at(0), class, 8 + head - 1);
        assert!(matches!(push(&mut outflow, at(0), class, data(9, 8)), Pushed::Full));
        outflow.on_written(at(0), class, 1);
        assert!(matches!(push(&mut outflow, at(0), class, data(9, 8)), Pushed::Waits));
    }
}

/// Goal: what is passed on gets a tenth, however much the node itself has to say.
#[test]
fn forwards_are_not_starved() {
    let mut outflow = Outflow::new();
    let mut written = [0; 2];
    let fill = |outflow: &mut Outflow| {
        while !matches!(push(outflow, at(0), Class::Forward, data(1, 1000)), Pushed::Full)
            && outflow.n_waiting_of(Class::Forward) < 20
        {}
        while !matches!(push(outflow, at(0), Class::Own, data(1, 1000)), Pushed::Full) {}
    };
    fill(&mut outflow);
    for _ in 0..3000 {
        let Some((class, frame)) = outflow.pop() else {
            outflow.on_written(at(0), Class::Own, 5000);
            outflow.on_written(at(0), Class::Forward, 5000);
            fill(&mut outflow);
            continue;
        };
        written[usize::from(class == Class::Forward)] += frame.encoded_len();
    }
    let share = written[1] as f64 / (written[0] + written[1]) as f64;
    assert!((0.09..0.15).contains(&share), "{share}");
}

/// Goal: an envelope waits so long and no longer. Own ones for five seconds, others for one; the ends of answers stay.
#[test]
fn what_waits_expires_by_class() {
    let mut outflow = Outflow::new();
    // The host takes nothing more.
    while matches!(push(&mut outflow, at(0), Class::Own, data(0, 50_000)), Pushed::Goes(_)) {}
    outflow.take_expired(at(0), true);
    push(&mut outflow, at(10), Class::Own, data(1, 20_000));
    push(&mut outflow, at(10), Class::Forward, data(2, 20_000));
    push(&mut outflow, at(10), Class::Forward, end_of_answer());
    assert_eq!(outflow.next_expiry(), Some(at(10) + limits::FORWARD_DEADLINE));
    assert!(outflow.take_expired(at(1009), false).is_empty());
    assert_eq!(outflow.take_expired(at(1010), false), [data(2, 20_000)]);
    assert_eq!(outflow.next_expiry(), Some(at(10) + limits::OWN_DEADLINE));
    assert_eq!(outflow.take_expired(at(5010), false), [data(1, 20_000)]);
    assert_eq!(outflow.next_expiry(), None);
    outflow.on_written(at(5010), Class::Own, usize::MAX);
    assert_eq!(outflow.pop(), Some((Class::Forward, end_of_answer())));
}

/// Talk between a link's two ends, a millisecond at a time.
struct Talk {
    outflow: Outflow,
    now: u64,
    /// When it was asked whether anybody is there.
    asked: Vec<u64>,
}

impl Talk {
    fn new() -> Self {
        Self { outflow: Outflow::new(), now: 0, asked: Vec::new() }
    }

    /// Sends so many bytes each millisecond for a while; the host writes as many as it has. When it became slow, if it did.
    fn send(
        &mut self,
        millis: u64,
        bytes: usize,
        mut then: impl FnMut(&mut Outflow, Timestamp),
    ) -> Option<u64> {
        for _ in 0..millis {
            self.now += 1;
            let now = at(self.now);
            push(&mut self.outflow, now, Class::Own, data(1, bytes));
            then(&mut self.outflow, now);
            while self.outflow.pop().is_some() {}
            if self.outflow.ask_at().is_some_and(|at| at <= now) {
                self.outflow.on_asked(now);
                self.asked.push(self.now);
            }
            if self.outflow.slow_at(Duration::from_millis(1)).is_some_and(|at| at <= now) {
                return Some(self.now);
            }
        }
        None
    }
}

/// Goal: one that is sent a little and takes nothing is asked, and slow, before anything waits for it here; and one of
/// whom anything is heard is not.
#[test]
fn silence_is_slowness_and_a_word_is_not() {
    let written = |outflow: &mut Outflow, now| outflow.on_written(now, Class::Own, usize::MAX);
    let mut talk = Talk::new();
    assert_eq!(talk.send(1000, 100, written), Some(402), "a question, a quarter of a second, a round trip");
    assert_eq!(talk.asked, [151]);
    assert_eq!(talk.outflow.queued(), 0);
    let mut talk = Talk::new();
    let answered = |outflow: &mut Outflow, now: Timestamp| {
        written(outflow, now);
        if now.as_micros().is_multiple_of(200_000) {
            outflow.on_heard(now);
        }
    };
    assert_eq!(talk.send(5000, 100, answered), None);
    assert_eq!(talk.asked.len(), 25, "asked once for each silence");
    let mut quiet = Talk::new();
    push(&mut quiet.outflow, at(0), Class::Own, data(1, limits::ASK_FROM - 100));
    assert_eq!((quiet.outflow.ask_at(), quiet.outflow.stalled_since()), (None, None), "not worth a question");
}

/// Goal: without credit a word is no sign of life, and a byte more of credit is. Method: a reader that talks, and whose
/// streams with payload stand still.
#[test]
fn words_are_no_credit() {
    for takes in [false, true] {
        let mut talk = Talk::new();
        let mut granted = limits::CREDIT_LIVE;
        let slow = talk.send(5000, 1000, |outflow, now| {
            outflow.on_written(now, Class::Own, usize::MAX);
            outflow.on_heard(now);
            granted += u64::from(takes);
            outflow.grant(now, Flow::Live, granted);
        });
        assert_eq!(slow.is_none(), takes, "{slow:?}");
        assert!(
            slow.is_none_or(|slow| (750..1100).contains(&slow)),
            "from three quarters of the window on: {slow:?}"
        );
    }
}

/// Goal: bytes that sockets swallow are no sign of life either. Method: a queue that is written all the time, to one that
/// says nothing, and to one that does.
#[test]
fn written_is_not_taken() {
    for speaks in [false, true] {
        let mut talk = Talk::new();
        let mut granted = limits::CREDIT_LIVE;
        for _ in 0..20 {
            push(&mut talk.outflow, at(0), Class::Own, data(1, 5000));
        }
        let slow = talk.send(2000, 100, |outflow, now| {
            outflow.on_written(now, Class::Own, 100);
            if speaks && now.as_micros().is_multiple_of(300_000) {
                outflow.on_heard(now);
                granted += 100;
                outflow.grant(now, Flow::Live, granted);
            }
        });
        assert_eq!(slow.is_none(), speaks, "{slow:?}");
        assert!(slow.is_none_or(|slow| (500..700).contains(&slow)), "{slow:?}");
    }
}

/// Goal: what counts against nobody is the time that this node stood still itself.
#[test]
fn a_node_that_stood_still_forgives() {
    let mut outflow = Outflow::new();
    push(&mut outflow, at(0), Class::Own, data(1, 70_000));
    outflow.on_asked(at(150));
    assert_eq!(outflow.slow_at(Duration::ZERO), Some(at(250)));
    outflow.forgive(at(1200), Duration::from_millis(950));
    assert_eq!(outflow.slow_at(Duration::ZERO), Some(at(1200)));
    assert_eq!(outflow.behind_since(), Some(at(950)));
    outflow.forgive(at(1300), Duration::from_secs(100));
    assert_eq!(outflow.slow_at(Duration::ZERO), Some(at(1550)), "it does not lie in the future");
}

/// Goal: whoever takes anything is prompt, however old what waits for it, unless the others take what it does not.
#[test]
fn a_link_that_moves_is_slow_only_by_comparison() {
    let mut ladder = Ladder::default();
    for millis in (0..10_000).step_by(100) {
        assert_eq!(ladder.look(at(millis), &Queue { is_drained: false, is_full: true, ..queue(None) }), None);
    }
    let far_behind = Queue { is_far_behind: true, is_drained: false, is_full: true, ..queue(None) };
    assert_eq!(ladder.look(at(10_000), &far_behind), Some(Step::To(Pace::Slow)));
    for millis in (10_000..30_000).step_by(100) {
        assert_eq!(ladder.look(at(millis), &far_behind), None, "it moves, so nobody closes it");
    }
    assert_eq!(ladder.look(at(30_000), &queue(None)), Some(Step::To(Pace::Prompt)));
}

/// Goal: a queue that moves is not old. Method: a link with 100 ms of queue that is written all the time.
#[test]
fn a_link_that_moves_is_not_behind() {
    let mut outflow = Outflow::new();
    outflow.grant(at(0), Flow::Live, u64::MAX);
    for millis in 0..5000 {
        if outflow.pending(Flow::Live) < 100_000 {
            push(&mut outflow, at(millis), Class::Own, data(1, 1000));
            push(&mut outflow, at(millis), Class::Own, data(1, 1000));
        }
        outflow.on_written(at(millis), Class::Own, 1000);
        while outflow.pop().is_some() {}
        let age = outflow.behind_since().map_or(0, |since| (at(millis) - since).as_millis());
        assert!(age < 250, "{age} ms");
    }
}

/// Goal: the first spell is forgiven at once, later ones take longer and longer, and all is forgotten after a while.
#[test]
fn whoever_lags_again_and_again_waits_longer() {
    let mut ladder = Ladder::default();
    let mut now = 0;
    for calm in [0, 1, 2, 4] {
        now += 1000;
        let behind = Some(at(now));
        assert_eq!(ladder.next_deadline(&queue(behind)), Some(at(now) + limits::SLOW_AFTER));
        now += 250;
        assert_eq!(ladder.look(at(now), &queue(behind)), Some(Step::To(Pace::Slow)));
        now += 100;
        if calm == 0 {
            assert_eq!(ladder.look(at(now), &queue(None)), Some(Step::To(Pace::Prompt)));
            continue;
        }
        assert_eq!(ladder.look(at(now), &queue(None)), None);
        assert_eq!(ladder.next_deadline(&queue(None)), Some(at(now + calm * 1000)));
        now += calm * 1000;
        assert_eq!(ladder.look(at(now), &queue(None)), Some(Step::To(Pace::Prompt)));
    }
    now += 31_000;
    assert_eq!(ladder.look(at(now), &queue(Some(at(now - 250)))), Some(Step::To(Pace::Slow)));
    assert_eq!(ladder.look(at(now), &queue(None)), Some(Step::To(Pace::Prompt)));
}

/// Goal: whoever stands still while it is still counted as slow for former spells is blocked until it moves or is closed,
/// and asks for no look meanwhile. The end of that time was asked for again and again.
#[test]
fn one_that_is_blocked_before_it_is_calm_is_left_alone() {
    // Far away, so that it need not be slow already.
    let still = Queue { slow_at: Some(at(60_000)), ..queue(Some(at(100))) };
    let mut ladder = Ladder::begin_slow(at(0), 5);
    let calm_at = ladder.next_deadline(&still).expect("it is in quarantine");
    assert_eq!(ladder.look(at(2100), &still), Some(Step::To(Pace::Blocked)));
    for now in [at(2100), calm_at, calm_at + Duration::from_millis(500)] {
        assert_eq!(ladder.look(now, &still), None);
        assert_eq!(ladder.next_deadline(&still), Some(at(100) + limits::CLOSED_AFTER));
    }
    assert_eq!(ladder.look(at(10_100), &still), Some(Step::Close));
}
