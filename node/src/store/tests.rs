//! What any store must do, asked of both.

use bytes::Bytes;
use djembe_protocol::id::{EnvelopeId, GroupId, Lane, LogId, PeerId, Seq};
use djembe_protocol::persist::{Answer, Frontier, GroupRecord, Query, StoreOp, StoredEnvelope};

use super::memory::{BYTES_MAX, Memory};
use super::sqlite::Sqlite;
use super::{SEQ_MAX, Store, StoreError};
use crate::datadir::tests::TempDir;

pub(crate) const OWN: PeerId = PeerId([1; 32]);
pub(crate) const OTHER: PeerId = PeerId([2; 32]);
pub(crate) const GROUP: GroupId = GroupId([3; 32]);
pub(crate) const OTHER_GROUP: GroupId = GroupId([4; 32]);

pub(crate) fn log(author: PeerId, lane: Lane) -> LogId {
    LogId { author, lane }
}

/// An envelope of 100 bytes whose id says where it belongs.
pub(crate) fn envelope(log: LogId, seq: Seq) -> StoredEnvelope {
    let bytes = Bytes::from(vec![seq as u8; 100]);
    StoredEnvelope { group: GROUP, log, seq, skip: (seq % 3) as u32, id: id(log, seq), bytes }
}

pub(crate) fn id(log: LogId, seq: Seq) -> EnvelopeId {
    let mut id = [log.author.0[0] ^ (log.lane as u8) << 6; 32];
    id[..8].copy_from_slice(&seq.to_be_bytes());
    EnvelopeId(id)
}

pub(crate) fn append(log: LogId, seqs: impl IntoIterator<Item = Seq>) -> Vec<StoreOp> {
    seqs.into_iter().map(|seq| StoreOp::Append(envelope(log, seq))).collect()
}

pub(crate) fn frontier(log: LogId, next: Seq, floor: Seq) -> Frontier {
    let head = next.checked_sub(1).map_or(EnvelopeId::NONE, |seq| id(log, seq));
    Frontier { group: GROUP, log, next, head, floor }
}

pub(crate) fn reserve(lane: Lane, upto: Seq) -> StoreOp {
    StoreOp::Reserve { group: GROUP, lane, upto }
}

pub(crate) fn record(store: &mut dyn Store, group: GroupId) -> GroupRecord {
    match store.query(&Query::Group(group)) {
        Answer::Group(record) => record,
        answer => panic!("unexpected {answer:?}"),
    }
}

pub(crate) fn range(
    store: &mut dyn Store,
    log: LogId,
    from: Seq,
    to: Seq,
    bytes_max: usize,
) -> Vec<StoredEnvelope> {
    match store.query(&Query::Range { group: GROUP, log, from, to, bytes_max }) {
        Answer::Range(envelopes) => envelopes,
        answer => panic!("unexpected {answer:?}"),
    }
}

/// The numbers of all that is stored of a log.
pub(crate) fn seqs(store: &mut dyn Store, log: LogId) -> Vec<Seq> {
    range(store, log, 0, u64::MAX, usize::MAX).iter().map(|envelope| envelope.seq).collect()
}

/// Runs each of the tests below on a fresh store of each kind.
macro_rules! behaviour {
    ($($name:ident),* $(,)?) => {
        mod in_memory {
            $(#[test] fn $name() { super::$name(&mut super::Memory::new(super::OWN, super::BYTES_MAX)); })*
        }
        mod in_sqlite {
            $(#[test] fn $name() {
                let temp = super::TempDir::new();
                let store = super::Sqlite::open(&temp.join("node.sqlite"), super::OWN);
                super::$name(&mut store.expect("a new store"));
            })*
        }
    };
}

behaviour!(
    an_empty_store_knows_nothing,
    a_reservation_never_sinks,
    an_envelope_comes_back_as_it_was,
    an_envelope_that_is_there_stays,
    a_range_stops_at_its_ends,
    a_range_stops_at_its_bytes_but_not_before_one_envelope,
    a_frontier_replaces_the_last,
    what_is_above_the_frontier_is_listed_in_order,
    every_log_has_a_frontier,
    own_heads_are_the_last_of_each_lane,
    a_floor_deletes_nothing,
    groups_are_kept_apart,
    several_batches_are_applied_in_order,
    numbers_up_to_the_limit_are_kept,
    a_number_past_the_limit_changes_nothing,
    each_start_has_a_higher_incarnation,
);

fn an_empty_store_knows_nothing(store: &mut dyn Store) {
    assert_eq!(record(store, GROUP), GroupRecord::default());
    assert_eq!(seqs(store, log(OTHER, Lane::Durable)), [0_u64; 0]);
    store.apply(&[]).expect("nothing to do");
    store.apply(&[&[]]).expect("nothing to do");
    assert_eq!(record(store, GROUP), GroupRecord::default());
}

fn a_reservation_never_sinks(store: &mut dyn Store) {
    for upto in [1024, 512, 2048, 0] {
        store.apply(&[&[reserve(Lane::Durable, upto)]]).expect("applied");
    }
    store.apply(&[&[reserve(Lane::Control, 7)]]).expect("applied");
    assert_eq!(record(store, GROUP).reserved, [(Lane::Control, 7), (Lane::Durable, 2048)]);
}

fn an_envelope_comes_back_as_it_was(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Durable);
    let seq = Seq::from(u32::MAX);
    let large = StoredEnvelope { bytes: vec![9; 61_000].into(), skip: u32::MAX, ..envelope(log, seq) };
    let empty = StoredEnvelope { bytes: Bytes::new(), ..envelope(log, 2) };
    let sent = vec![envelope(log, 0), empty, large];
    let ops: Vec<StoreOp> = sent.iter().cloned().map(StoreOp::Append).collect();
    store.apply(&[&ops]).expect("applied");
    assert_eq!(range(store, log, 0, seq, usize::MAX), sent);
}

fn an_envelope_that_is_there_stays(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Durable);
    store.apply(&[&append(log, [5])]).expect("applied");
    let fork = StoredEnvelope { id: EnvelopeId([0xff; 32]), bytes: Bytes::new(), ..envelope(log, 5) };
    store.apply(&[&[StoreOp::Append(fork)]]).expect("applied");
    assert_eq!(range(store, log, 5, 5, usize::MAX), [envelope(log, 5)]);
}

fn a_range_stops_at_its_ends(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Durable);
    // Not in order, and with a gap.
    store.apply(&[&append(log, [7, 1, 2, 3, 4])]).expect("applied");
    let mut found = |from, to| -> Vec<Seq> {
        range(store, log, from, to, usize::MAX).iter().map(|envelope| envelope.seq).collect()
    };
    assert_eq!(found(2, 3), [2, 3]);
    assert_eq!(found(3, u64::MAX), [3, 4, 7]);
    assert_eq!(found(0, 0), [0_u64; 0]);
    assert_eq!(found(5, 6), [0_u64; 0]);
    assert_eq!(found(3, 2), [0_u64; 0]);
    assert_eq!(found(u64::MAX, u64::MAX), [0_u64; 0]);
}

fn a_range_stops_at_its_bytes_but_not_before_one_envelope(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Durable);
    store.apply(&[&append(log, 0..5)]).expect("applied");
    let n_found = [0, 99, 199, 200, 201, 500].map(|bytes_max| range(store, log, 0, 9, bytes_max).len());
    assert_eq!(n_found, [1, 1, 1, 2, 2, 5]);
}

fn a_frontier_replaces_the_last(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Durable);
    for next in [3, 9, 4] {
        store.apply(&[&[StoreOp::Frontier(frontier(log, next, 2))]]).expect("applied");
        assert_eq!(record(store, GROUP).frontiers, [frontier(log, next, 2)]);
    }
}

fn what_is_above_the_frontier_is_listed_in_order(store: &mut dyn Store) {
    let (own, other) = (log(OWN, Lane::Durable), log(OTHER, Lane::Durable));
    store.apply(&[&append(other, [9, 0, 1, 4, 3]), &append(own, [1, 0])]).expect("applied");
    let frontiers = [frontier(own, 2, 0), frontier(other, 2, 0)];
    store.apply(&[&frontiers.map(StoreOp::Frontier)]).expect("applied");
    let above = [3, 4, 9].map(|seq| (other, seq, (seq % 3) as u32, id(other, seq)));
    assert_eq!(record(store, GROUP).above, above);
    assert_eq!(record(store, GROUP).frontiers, frontiers);
}

fn every_log_has_a_frontier(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Control);
    store.apply(&[&append(log, [2])]).expect("applied");
    let found = record(store, GROUP);
    assert_eq!(found.frontiers, [frontier(log, 0, 0)]);
    assert_eq!(found.above, [(log, 2, 2, id(log, 2))]);
    // And the envelopes that follow leave it alone.
    store.apply(&[&[StoreOp::Frontier(frontier(log, 3, 1))], &append(log, [3])]).expect("applied");
    assert_eq!(record(store, GROUP).frontiers, [frontier(log, 3, 1)]);
}

fn own_heads_are_the_last_of_each_lane(store: &mut dyn Store) {
    let [control, durable, _] = Lane::ALL.map(|lane| log(OWN, lane));
    store.apply(&[&append(durable, [0, 8, 3]), &append(control, [1])]).expect("applied");
    store.apply(&[&append(log(OTHER, Lane::Durable), [99])]).expect("applied");
    let heads = [(Lane::Control, 1, id(control, 1)), (Lane::Durable, 8, id(durable, 8))];
    assert_eq!(record(store, GROUP).own_heads, heads);
}

fn a_floor_deletes_nothing(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Durable);
    store.apply(&[&append(log, 0..3), &[StoreOp::Frontier(frontier(log, 3, 2))]]).expect("applied");
    assert_eq!(seqs(store, log), [0, 1, 2]);
}

fn groups_are_kept_apart(store: &mut dyn Store) {
    let log = log(OWN, Lane::Durable);
    store.apply(&[&append(log, [1]), &[reserve(Lane::Durable, 9)]]).expect("applied");
    assert_eq!(record(store, OTHER_GROUP), GroupRecord::default());
    let elsewhere = StoredEnvelope { group: OTHER_GROUP, ..envelope(log, 4) };
    store.apply(&[&[StoreOp::Append(elsewhere)]]).expect("applied");
    assert_eq!(seqs(store, log), [1]);
    assert_eq!(record(store, OTHER_GROUP).own_heads, [(Lane::Durable, 4, id(log, 4))]);
}

fn several_batches_are_applied_in_order(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Durable);
    let set = |next| [StoreOp::Frontier(frontier(log, next, 0))];
    store.apply(&[&set(3), &append(log, [0]), &set(1), &set(2)]).expect("applied");
    assert_eq!(record(store, GROUP).frontiers, [frontier(log, 2, 0)]);
}

fn numbers_up_to_the_limit_are_kept(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Durable);
    let last = Frontier { floor: SEQ_MAX, ..frontier(log, SEQ_MAX, 0) };
    let ops = [reserve(Lane::Durable, SEQ_MAX), StoreOp::Frontier(last)];
    store.apply(&[&append(log, [SEQ_MAX]), &ops]).expect("at the limit");
    let found = record(store, GROUP);
    assert_eq!((found.frontiers, found.reserved), (vec![last], vec![(Lane::Durable, SEQ_MAX)]));
    assert_eq!(seqs(store, log), [SEQ_MAX]);
}

fn a_number_past_the_limit_changes_nothing(store: &mut dyn Store) {
    let log = log(OTHER, Lane::Durable);
    let too_large = [
        reserve(Lane::Durable, SEQ_MAX + 1),
        StoreOp::Append(envelope(log, u64::MAX)),
        StoreOp::Frontier(frontier(log, SEQ_MAX + 1, 0)),
        StoreOp::Frontier(frontier(log, 0, SEQ_MAX + 1)),
    ];
    for op in too_large {
        let error = store.apply(&[&append(log, [1]), &[reserve(Lane::Live, 3), op]]);
        assert!(matches!(error, Err(StoreError::SeqTooLarge(seq)) if seq > SEQ_MAX), "{error:?}");
        assert_eq!(record(store, GROUP), GroupRecord::default());
    }
}

fn each_start_has_a_higher_incarnation(store: &mut dyn Store) {
    assert_eq!([1, 2, 3].map(|_| store.next_incarnation().expect("counted")), [1, 2, 3]);
}

/// The limit from both sides.
#[test]
fn memory_is_full_at_its_limit_and_changes_nothing_past_it() {
    let log = log(OTHER, Lane::Durable);
    let mut store = Memory::new(OWN, 300);
    store.apply(&[&append(log, 0..3)]).expect("300 bytes");
    let error = store.apply(&[&[reserve(Lane::Durable, 1)], &append(log, [3])]);
    assert!(matches!(error, Err(StoreError::Full { .. })), "{error:?}");
    assert_eq!(record(&mut store, GROUP).reserved, []);
    store.apply(&[&[reserve(Lane::Durable, 1)]]).expect("numbers weigh nothing");
    Box::new(store).close().expect("nothing to close");
}
