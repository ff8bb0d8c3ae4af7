//! Every bound on what a peer, an application or time can grow, with the reason for its size.
//!
//! A limit is checked before anything is allocated. What happens at a limit is said where it is enforced.

use core::time::Duration;

pub use self::overlay::*;

mod overlay;

// Envelopes and messages.

/// Messages in one envelope. At 256 the signature costs 0.2 us a message; 1024 leaves room for one burst.
pub const MESSAGES_PER_ENVELOPE_MAX: usize = 1024;
/// Messages at which a batch is sealed without waiting.
pub const BATCH_MESSAGES: usize = 256;
/// Bytes of message bodies at which a batch is sealed without waiting.
pub const BATCH_BYTES: usize = 48 * 1024;
/// How long a message may wait for others to share its envelope.
pub const BATCH_DELAY: Duration = Duration::from_millis(2);
/// Content of one message. Larger content will be chunked one day; today it is refused.
pub const CONTENT_MAX: usize = 48 * 1024;
/// Ciphertext of one envelope, tag included: one message of the largest size with everything around it, padded.
pub const CIPHERTEXT_MAX: usize = 61_000;
/// Bytes of a subject: a path of a few words.
pub const SUBJECT_MAX: usize = 255;
/// Bytes of a content type, as RFC 6838 allows for type and subtype together.
pub const CONTENT_TYPE_MAX: usize = 127;
/// Headers of a message.
pub const HEADERS_MAX: usize = 16;
/// Bytes of a header's name.
pub const HEADER_NAME_MAX: usize = 64;
/// Bytes of a header's value.
pub const HEADER_VALUE_MAX: usize = 1024;
/// Headers of a message together, as they are encoded. With this the largest message still fits an envelope.
pub const HEADERS_BYTES_MAX: usize = 8 * 1024;
/// Causal parents named by a message.
pub const PARENTS_MAX: usize = 8;
/// One encoded message: every field at its limit.
pub const BODY_MAX: usize = 1 + 8 + 4 // type, clock, four counts and lengths
    + PARENTS_MAX * 34
    + SUBJECT_MAX
    + CONTENT_TYPE_MAX
    + HEADERS_BYTES_MAX
    + CONTENT_MAX;
/// Messages of one envelope, each with its length of four bytes, before padding: what can be padded (to a
/// multiple of 2048 here) and still leaves room for the tag below [`CIPHERTEXT_MAX`].
pub const PAYLOAD_MAX: usize = 59_392;
/// How far past the highest known number an author may jump. More is a broken or hostile author.
pub const SEQ_JUMP_MAX: u64 = 1 << 20;

// Frames and links.

/// One frame between two peers: the largest envelope with its header, and room for a page of a clock.
pub const FRAME_MAX: usize = 64 * 1024;
/// Logs that a stream of a link remembers, so that the next envelope's header need not say what it has in common
/// with the last: some 90 bytes each at either end. More authors than this, all talking through one link by turns,
/// cost some 70 bytes more for each envelope. As many again of which announcements were made: 48 bytes each.
pub const ELIDED_LOGS_MAX: usize = 128;
/// Groups and epochs that a stream remembers for the same: 80 bytes each.
pub const ELIDED_SCOPES_MAX: usize = 64;
/// With so many links that were greeted or dialled a node dials nobody. A mesh has [`MESH_MAX`]; the rest is room while
/// nobody has noticed. There may be more: dials under way come on top, and who dials is let in.
pub const LINKS_MAX: usize = 64;
/// Connections at once, with those that say nothing or come only to be told where to go: two round trips each.
pub const CONNECTIONS_MAX: usize = 256;
/// Known peers to which no link stands.
pub const KNOWN_PEERS_MAX: usize = 1024;
/// Groups on one node.
pub const GROUPS_MAX: usize = 256;
/// Subscriptions of a peer that match none of our groups, kept in case we join one.
pub const UNMATCHED_SUBSCRIPTIONS_MAX: usize = GROUPS_MAX;
/// Bytes of live payload (own and forward) that may wait for one link, here and at the host. With
/// [`BULK_QUEUE_MAX`] a neighbour that does not read costs 512 KiB. What finds no room is announced instead.
pub const LINK_QUEUE_MAX: usize = 384 * 1024;
/// Bytes of live payload waiting for one link beyond which a publisher has to wait: one envelope below the end.
pub const LINK_QUEUE_HIGH: usize = LINK_QUEUE_MAX - FRAME_MAX;
/// Bytes of live payload waiting for one link below which it may go on.
pub const LINK_QUEUE_LOW: usize = LINK_QUEUE_HIGH / 2;
/// Bytes of live payload that the host has and has not written. The rest waits in the engine, which can take it back;
/// enough for a gigabit a second while the host looks away for two milliseconds.
pub const LINK_WINDOW: usize = 256 * 1024;
/// Bytes of talk queued for one link beyond which it is closed: a neighbour that asks and does not listen. The
/// longest honest burst is the clock of a group with [`AUTHORS_MAX`] authors, some 200 KB.
pub const CONTROL_QUEUE_MAX: usize = 1024 * 1024;
/// Bytes of history that may wait for one link. Further answers wait as requests.
pub const BULK_QUEUE_MAX: usize = 128 * 1024;
/// The same of what the host has and has not written.
pub const BULK_WINDOW: usize = 64 * 1024 + 32 * 1024;
/// Bytes of answers queued for one link beyond which it is closed: envelopes are within [`BULK_QUEUE_MAX`], so the
/// rest is the ends of thousands of answers.
pub const ANSWER_QUEUE_MAX: usize = 2 * BULK_QUEUE_MAX;
/// Bytes of live payload that a receiver has not taken in yet, on one link: 8 ms of a gigabit, and more than a round
/// trip's worth of what a fast node sends on a LAN.
pub const CREDIT_LIVE: u64 = 1024 * 1024;
/// The same of history.
pub const CREDIT_BULK: u64 = 1024 * 1024;
/// An envelope of our own that has waited for a link for so long is announced instead.
pub const OWN_DEADLINE: Duration = Duration::from_secs(5);
/// An envelope passed on that has waited for so long is announced instead.
pub const FORWARD_DEADLINE: Duration = Duration::from_secs(1);
/// So much waiting for a link is a queue, whose age counts; what there is less of is on its way, and heard of or not.
pub const SLOW_FROM: usize = 64 * 1024;
/// How long a neighbour may take nothing of what waits for it, or leave a question unanswered while it is sent payload,
/// before it is slow: no publisher waits for it, it gets announcements. A round trip comes on top.
pub const SLOW_AFTER: Duration = Duration::from_millis(250);
/// It is asked once so long nothing was heard of it...
pub const ASK_AFTER: Duration = Duration::from_millis(100);
/// ... since so much was sent to it: less is not worth a question.
pub const ASK_FROM: usize = 16 * 1024;
/// Whoever asks is told at once that it may send more, if it is so much more: of a neighbour with a thin line a quarter
/// of the window may take seconds to come.
pub const CREDIT_ASKED: u64 = 16 * 1024;
/// How old the queue of one that moves may get while most others have none: publishers are held to some 400 KB/s by
/// then, for the sake of one.
pub const FAR_BEHIND: Duration = Duration::from_secs(1);
/// A node that looks at the clock so much later than it meant to has stood still itself: that time does not count
/// against its neighbours.
pub const STOOD_STILL: Duration = Duration::from_millis(50);
/// How long before it is blocked: what waits for it is dropped, the application is told.
pub const BLOCKED_AFTER: Duration = Duration::from_secs(2);
/// How long before the link is closed.
pub const CLOSED_AFTER: Duration = Duration::from_secs(10);
/// How long one that was slow twice and has caught up still counts as slow; doubles with each time.
pub const SLOW_CALM: Duration = Duration::from_secs(1);
/// A peer that was closed for being slow is not dialled for so long; doubles with each time.
pub const SLOW_BACKOFF: Duration = Duration::from_secs(30);
/// The longest such pause.
pub const SLOW_BACKOFF_MAX: Duration = Duration::from_secs(960);
/// Peers remembered for having been closed for being slow. The one whose pause ends first makes room.
pub const SLOW_PEERS_MAX: usize = 256;
/// How long the link that loses against another to the same peer is still listened to: what was under way on it
/// arrives, and the other has time to take over.
pub const RETIRE: Duration = Duration::from_secs(1);
/// Links that are given up over which a group still sends to those below on its trees.
pub const PARTING_MAX: usize = 8;
/// How long a link may take to say HELLO.
pub const HELLO_PATIENCE: Duration = Duration::from_secs(5);

// Conduct.

/// Blame at which a neighbour is cut off: 5 forged frames, 15 that cannot be read, 100 too many.
pub const BLAME_MAX: u32 = 100;
/// Blame that is forgotten a second.
pub const BLAME_FADES: u32 = 1;
/// How long a peer is shut out the first time; twice as long each time.
pub const BAN_MIN: Duration = Duration::from_secs(30);
/// How long it is shut out at most.
pub const BAN_MAX: Duration = Duration::from_secs(3600);
/// After so long without cause a peer that was shut out is as good as any.
pub const BAN_REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Peers of whom something is held against.
pub const OFFENDERS_MAX: usize = 1024;
/// Talk that a neighbour may come with at once, in small frames (some microseconds each): what it has to say of 256
/// groups when a link comes up, several times over.
pub const TALK_BURST: u32 = 16 * 1024;
/// And a second, later: announcements each 20 ms in a hundred busy groups; for this node some 3 % of a core.
pub const TALK_RATE: u32 = 8 * 1024;
/// Envelopes of which nothing came that a neighbour may send at once: what is under way when a tree changes.
pub const WASTE_BURST: u32 = 8 * 1024;
/// And a second, later.
pub const WASTE_RATE: u32 = 1024;

// Logs.

/// Envelopes have numbers below this, and frames name none above: more than anybody will issue, and far from where
/// arithmetic ends.
pub const SEQ_MAX: u64 = 1 << 48;
/// Authors known in a group. The one that was silent longest, and of whom nothing is stored, makes room.
pub const AUTHORS_MAX: usize = 4096;
/// Of these, kept for neighbours who speak for themselves: an identity costs nothing to make, a link to it does.
pub const AUTHORS_RESERVED: usize = AUTHORS_MAX / 4;
/// And for members on the list, who have said that they are there: what everybody passes on of that has a measure.
pub const AUTHORS_LISTED: usize = AUTHORS_MAX / 4;
/// Separate received ranges above a log's frontier; more gaps than this wait for range fetch.
pub const RANGES_MAX: usize = 256;
/// Envelopes held back because one before them is missing, per log.
pub const HELD_MAX: usize = 256;
/// Bytes held back over all logs of a group.
pub const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Recent envelopes kept in memory to answer WANT without the store, per group, in bytes.
pub const RECENT_BYTES_MAX: usize = 1024 * 1024;
/// How long they stay: longer than a repair takes, and than an own payload waits for a slow link. What is kept can
/// be had from the store afterwards; what is live is not worth asking for.
pub const RECENT_AGE_MAX: Duration = Duration::from_secs(3);
/// Numbers reserved in the store before they are used.
pub const SEQ_BLOCK: u64 = 1024;
/// What the store could not write is written again after this.
pub const STORE_RETRY: Duration = Duration::from_secs(1);
/// How long an identity that is older than its store waits for peers who know its log before it publishes.
pub const OWN_LOG_PATIENCE: Duration = Duration::from_secs(3);
/// Drafts waiting in a lane that cannot be sealed yet (nobody there, or links full).
pub const DRAFTS_MAX: usize = 1024;
/// Bytes of such drafts.
pub const DRAFT_BYTES_MAX: usize = 1024 * 1024;

// Repair.

/// Announcements wait this long for others to share a packet.
pub const ANNOUNCE_DELAY: Duration = Duration::from_millis(20);
/// And no neighbour is told more often than this, but for what rides along with an envelope: a lone message is told
/// after [`ANNOUNCE_DELAY`], and those of a busy group together. The packet around an announcement costs fifteen times
/// as much as the announcement.
pub const ANNOUNCE_PAUSE: Duration = Duration::from_millis(1000);
/// Who asked for an envelope that others did not bring is told without that pause for so long.
pub const ANNOUNCE_HURRIED: Duration = Duration::from_secs(10);
/// On a tree the neighbour that is nearer to the root announces; the other one only if it has heard nothing for this
/// long, so that one announcement crosses a link and not two. Most of what it costs is the packet around it.
pub const ANNOUNCE_LATE: Duration = Duration::from_millis(150);
/// The same after the neighbour announced something, and gathers what comes next.
pub const ANNOUNCE_GATHERED: Duration = Duration::from_millis(1150);
/// Announcements that wait so; more are told as others are.
pub const LATE_MAX: usize = 1024;
/// Of the members that get an author's envelopes from the author itself, so many are told of each envelope all the
/// same, by everybody: whom the author did not reach learns of it from about so many others.
pub const ANNOUNCE_FANOUT: usize = 2;
/// "Stored" is said at once by who was silent, and again after this long at the earliest.
pub const STORED_DELAY: Duration = Duration::from_millis(50);
/// Ranges in one announcement frame.
pub const ANNOUNCE_RANGES_MAX: usize = 256;
/// How long after an announcement the payload may take before it is asked for. Chosen by measurement (60 ms
/// after an immediate announcement; 20 ms more because ours are gathered).
pub const REPAIR_DELAY: Duration = Duration::from_millis(80);
/// The same at most, where what was asked for comes by itself all the same: on a machine or a network that is busy.
pub const REPAIR_DELAY_MAX: Duration = Duration::from_secs(2);
/// It halves in so much time without such a thing.
pub const REPAIR_EASES: Duration = Duration::from_secs(5);
/// How long a WANT may stay unanswered before the next holder is asked.
pub const WANT_PATIENCE: Duration = Duration::from_millis(500);
/// The same for what was announced on a tree, for the first requests to each holder: the next one may be quicker.
pub const WANT_PATIENCE_BRIEF: Duration = Duration::from_millis(130);
/// How often a holder is asked so briefly.
pub const WANTS_BRIEF: u32 = 3;
/// Logs of a group that are known to be longer elsewhere, remembered for `status`.
pub const GAPS_MAX: usize = 256;
/// Of these, told in `status`: the oldest.
pub const GAPS_TOLD_MAX: usize = 16;
/// A gap this old is not on its way: whoever claims that there is more does not give it, nor does anybody else.
pub const STALE_AFTER: Duration = Duration::from_secs(10);
/// Envelopes asked for by one range.
pub const FETCH_RANGE_MAX: u64 = 64;
/// Ranges being served to one neighbour at once; more are refused with an empty answer.
pub const SERVING_MAX: usize = 8;
/// Bytes of envelopes one range answer carries at most.
pub const FETCH_BYTES_MAX: usize = 256 * 1024;
/// How long a live gap is waited for before delivery goes on without it.
pub const LIVE_GAP_PATIENCE: Duration = Duration::from_millis(300);
/// First pause between two digests on a link; doubles while they are equal.
pub const DIGEST_MIN: Duration = Duration::from_secs(1);
/// Longest pause between two digests on a link.
pub const DIGEST_MAX: Duration = Duration::from_secs(30);
/// In a partial mesh a digest goes out within this after something new came, to one neighbour.
pub const DIGEST_PARTIAL: Duration = Duration::from_secs(5);
/// A digest waits there until nothing new came for so long ...
pub const DIGEST_QUIET: Duration = Duration::from_millis(500);
/// ... so often at most.
pub const DIGEST_WAITS: u32 = 20;
/// Logs that grew within this are told apart when roots differ.
pub const RECENTLY: Duration = Duration::from_secs(2);
/// What a neighbour has of them, and we lack, is asked for after this: it is on its way, or announcements bring it.
pub const RECENT_DELAY: Duration = Duration::from_millis(600);
/// Logs in one clock frame: 32 + 1 + 9 + 9 + 8 bytes each stay inside [`FRAME_MAX`].
pub const CLOCK_ENTRIES_MAX: usize = 1024;

// Forest.

/// Trees of one group. The first ones stay: nobody can push them out, and a tree whose root is hostile is a tree.
pub const TREES_MAX: usize = 256;
/// Rounds of one hash chain. Checking the last of them by the anchor costs less than a signature.
pub const CHAIN_MAX: usize = 256;
/// Fewest roots wanted in a group that has trees. Eight are within 1.6 times the optimum at 10,000 nodes.
pub const ROOTS_MIN: usize = 8;
/// With fewer known members than this all are known; with more there may be many more.
pub const COUNTED_MAX: usize = 60;
/// Fewest roots wanted then: three quarters of them come forward, and a bit more, which at 1,000 nodes is within 1.5 times.
pub const ROOTS_LARGE: usize = 28;
/// Most roots wanted; authors may be more. Each costs some 4 bytes a second and node.
pub const ROOTS_MAX: usize = 100;
/// Roots wanted in a group in which members come and go and nobody talks.
pub const NEWS_ROOTS: usize = 4;
/// News of members within [`AUTHOR_RECENT`] that are worth a tree: from everybody to everybody each costs seven copies
/// more, some 800 bytes, and the few trees some 20 bytes a second.
pub const NEWS_BUSY: u32 = 8;
/// A root begins its first round after this: the message that made it one goes first. A round costs as much as a message
/// to everybody, and where many nodes share two cores that message was 20 ms late for 7.
pub const FIRST_ROUND: Duration = Duration::from_millis(25);
/// A root begins its second round after this; the pause then doubles with each ...
pub const ADVERT_MIN: Duration = Duration::from_secs(30);
/// ... to this. What changes meanwhile is told as it changes: a round only makes good what that has spoilt.
pub const ADVERT_MAX: Duration = Duration::from_secs(120);
/// A root that is asked begins a round before that, but not sooner after the last one.
pub const ADVERT_PAUSE: Duration = Duration::from_secs(5);
/// A round of a root is heard each half of that, not more often: each is passed on over every link.
pub const ROUND_EVERY: Duration = Duration::from_millis(2500);
/// Of one root so many at once: rounds that were held up come together.
pub const ROUNDS_BURST: u32 = 4;
/// A tree is borrowed for so long after its root's last round: half as long again as between two.
pub const TREE_FRESH: Duration = Duration::from_secs(180);
/// A tree is forgotten so long after its root's last round: later than anybody borrows it.
pub const TREE_EXPIRES: Duration = Duration::from_secs(300);
/// Who was left for another parent still sends what comes until that has heard of it, for as much longer as its own way
/// is, and so much for what is not known of ways: so nothing is missed. By measurement: with 100 ms for all, half a percent
/// more copies where nodes come and go.
pub const FADE_MARGIN: Duration = Duration::from_millis(15);
/// The most of it beside the difference of round trips.
pub const FADE_LONGER_MAX: Duration = Duration::from_millis(100);
/// Whatever it says, who was left sends it no longer.
pub const FADE_MAX: Duration = Duration::from_secs(1);
/// After the first news of a round a parent is chosen when the others had time to come. By measurement.
pub const SETTLE: Duration = Duration::from_millis(60);
/// What a neighbour tells of trees so soon after its link came up it may have known for long.
pub const LINK_NEW: Duration = Duration::from_secs(1);
/// What changed within a round is told again at most this often.
pub const READVERT_PAUSE: Duration = Duration::from_millis(500);
/// Better ways within a round that are told at once; more of them wait for [`READVERT_PAUSE`].
pub const READVERTS_AT_ONCE: u8 = 4;
/// A node without a parent asks for a round so often at first, then half as often each time.
pub const ORPHAN_PAUSE: Duration = Duration::from_secs(1);
/// When it has asked so often, some seconds after the first time, it tells its neighbours that it has no way.
pub const ASKED_IN_VAIN: u32 = 3;
/// Whether parents lead round is asked so long after one was taken whose way may lead over us, then half as often each time.
pub const LOOP_PROBE_AFTER: Duration = Duration::from_millis(500);
/// The longest pause between two such questions.
pub const LOOP_PROBE_MAX: Duration = Duration::from_secs(8);
/// How often such a question is passed on: beyond the depth of any tree.
pub const LOOP_PROBE_TTL: u8 = 64;
/// In each tree so many such questions of others are passed on...
pub const LOOP_PROBES: u8 = 4;
/// ...in this time.
pub const LOOP_PROBES_EVERY: Duration = Duration::from_secs(1);
/// How often a request for a round is passed on.
pub const SEQ_REQ_TTL: u8 = 32;
/// An author that publishes again within this begins a tree of its own.
pub const AUTHOR_RECENT: Duration = Duration::from_secs(60);
/// The same where as many trees are known as are wanted and the root of one is near: an own tree is hardly faster then,
/// and where all talk a little trees for all would cost more than they bring.
pub const AUTHOR_BUSY: Duration = Duration::from_secs(2);
/// The same where no root is near: a tree costs a node some 6 bytes a second, and saves each message of its author a third
/// of its time.
pub const AUTHOR_BUSY_FAR: Duration = Duration::from_secs(30);
/// A root is near that is no farther than this one way, in 100 us.
pub const ROOT_NEAR: u16 = 50;
/// Where volunteers have seen to it that there are trees an author waits so long after any other new one: each costs
/// about as much as a message to everybody.
pub const TREE_PAUSE: Duration = Duration::from_secs(3);
/// The same where no root is near.
pub const TREE_PAUSE_FAR: Duration = Duration::from_secs(1);
/// Without a message for so long a group lets its trees go, and an author its own.
pub const FOREST_IDLE: Duration = Duration::from_secs(300);
/// A larger envelope is not sent to everybody by everybody when nobody knows a tree, but announced.
pub const FLOOD_BYTES_MAX: usize = 4096;
/// Volunteers wait for up to this long, few of them little.
pub const VOLUNTEER_MAX: Duration = Duration::from_secs(10);
/// Unknown anchors of a neighbour that are checked at once: a new link of a large group.
pub const ANCHORS_BURST: u32 = 256;
/// And afterwards one in so much time.
pub const ANCHOR_EVERY: Duration = Duration::from_millis(500);
/// A parent loses so much for each envelope that others had and it did not bring, and gains one for each it did.
pub const PARENT_MISS: u8 = 6;
/// With so much lost it is left alone in that tree: two envelopes on end, or more than a seventh of many.
pub const PARENT_MISSES_MAX: u8 = 12;
/// Who misses so many in a row, and has brought nothing on any tree in between, is left alone in all of them.
pub const MISSES_IN_A_ROW: u8 = 2;
/// Misses within this count as one: who is itself below a neighbour that keeps envelopes back needs time to find out.
pub const MISS_EVERY: Duration = Duration::from_millis(250);
/// Who sends an own envelope to a parent that has not brought anything of late sends it to so many others as well.
pub const HELPERS: usize = 2;
/// Misses that wait for the answer of whoever was asked instead; the oldest is forgotten.
pub const MISSES_MAX: usize = 64;
/// Neighbours that are remembered to be left alone in all trees; the one whose time is over first is forgotten.
pub const SHUNNED_MAX: usize = 64;
/// For so long at first; twice as long each time.
pub const SHUN_MIN: Duration = Duration::from_secs(60);
/// And no longer than this.
pub const SHUN_MAX: Duration = Duration::from_secs(600);

// Presence.

/// Who dialled a link asks for a beat when for this long nothing went one of the two ways.
pub const BEAT: Duration = Duration::from_secs(1);
/// The same on a link whose answers have been prompt: with one packet lost twice (0.6 s) still no silence that counts.
pub const BEAT_STEADY: Duration = Duration::from_secs(2);
/// The same on a link that only a group needs, once it is steady: others watch whoever is at its end.
pub const BEAT_QUIET: Duration = Duration::from_secs(8);
/// So many prompt answers in a row make a link steady. Where every fifth packet is lost one link in a hundred is.
pub const BEAT_STEADY_AFTER: u32 = 10;
/// An answer that took longer was not prompt: less than the least time after which a packet is sent again.
pub const PROMPT_ANSWER: Duration = Duration::from_millis(150);
/// Silence after which a neighbour is asked whether it is there.
pub const EVASIVE_AFTER: Duration = Duration::from_millis(2500);
/// Silence after which an observer casts its vote.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(4);
/// The same where many packets are lost. The silent link is given up as early as elsewhere, and dialled anew.
pub const SUSPECT_AFTER_BAD: Duration = Duration::from_secs(8);
/// Silence after which it does so after a connection that broke and cannot be made again.
pub const SUSPECT_AFTER_RESET: Duration = Duration::from_millis(1500);
/// All of what a silence is borne for; measurements take less.
pub const PATIENCE: u16 = 1000;
/// Neighbours whose silence of [`EVASIVE_AFTER`] came to an end make bad weather, if there are so many ...
pub const STALLS_BAD: usize = 4;
/// ... within so long.
pub const STALLS_WINDOW: Duration = Duration::from_secs(60);
/// Of such silences those are counted that end so long after the last one.
pub const STALL_PAUSE: Duration = Duration::from_millis(500);
/// So many are kept in mind.
pub const STALLS_KEPT: usize = 16;
/// As bad a sign are members that were voted against and answered, so many within [`STALLS_WINDOW`] ...
pub const VAIN_BAD: usize = 8;
/// ... or, in a large group, one in so many.
pub const VAIN_SHARE: usize = 64;
/// The highest incarnation: far from where arithmetic ends, and beyond microseconds since 1970 for long.
pub const INCARNATION_MAX: u64 = 1 << 62;
/// A vote against this node that is further ahead of its incarnation is ignored: nobody can use them up for it.
pub const INCARNATION_JUMP_MAX: u64 = 1 << 20;
/// A node answers votes against itself at most this often: each answer goes to everybody.
pub const REFUTE_PAUSE: Duration = Duration::from_millis(500);
/// Votes that make a node gone, if there are so many other observers.
pub const VOTES: usize = 3;
/// A lone observer waits this long at most, and less the more confirm (Lifeguard, section IV-B).
pub const SUSPICION_MAX: Duration = Duration::from_secs(30);
/// A lone observer waits at least this long.
pub const SUSPICION_MIN: Duration = Duration::from_secs(6);
/// Local health is a number from 0 to this; time-outs are multiplied by one more than it.
pub const HEALTH_MAX: u32 = 8;
/// So long before such a time-out an observer says its vote once more, and the suspect can still answer.
pub const LAST_CALL: Duration = Duration::from_secs(5);
/// From this health on an observer does not vote.
pub const HEALTH_NO_VOTE: u32 = 4;
/// So long after a node became suspect its votes are counted: by then all that fell silent with it have been noticed, and
/// where only its link was stuck it was heard over a new one. Two nodes that lose a tenth of their packets took each other
/// for gone once in five hours without it.
pub const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// The same where many packets are lost: the answer of one that is not dead takes as long as all else.
pub const SETTLE_AFTER_BAD: Duration = Duration::from_secs(2);
/// Neighbours that fell silent within this of each other fell silent together. Beats of healthy links lie up to
/// [`BEAT_STEADY`] apart, and when the first of them is judged all others have been silent for [`EVASIVE_AFTER`].
pub const PARTITION_WINDOW: Duration = Duration::from_millis(2500);
/// One in so many of the neighbours falling silent together is a partition ...
pub const PARTITION_SHARE: usize = 4;
/// ... if there are at least so many of them: two machines may share a plug ...
pub const PARTITION_MIN: usize = 3;
/// ... and so many always are one: five machines do not die by themselves within a second or two.
pub const PARTITION_MAX: usize = 5;
/// Where many packets are lost half of the neighbours are one, or so many times as many accused.
pub const CUT_BAD: usize = 4;
/// Who was lost in a partition is gone only after this: all who could vote are on one side of the cut, so that many
/// votes say no more than one, and one waits [`SUSPICION_MAX`]. Three times that bridges a switch that starts again.
pub const PARTITION_HOLD: Duration = Duration::from_secs(90);
/// So long after a member seemed to be cut off, who voted against it says so again: if the cut was mended and nobody met
/// it since, it hears of the vote only so.
pub const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Who has stood still for so long, a laptop that slept, forgets the members that it is not linked to and asks anew: what
/// became of them meanwhile others may have forgotten again.
pub const SLEPT: Duration = Duration::from_secs(60);
/// Nodes of which a node that passes rumours on remembers what was said; the oldest makes room.
pub const RUMOURS_MAX: usize = 1024;
/// Rumours are counted for so long ...
pub const RUMOURS_WINDOW: Duration = Duration::from_secs(10);
/// ... and of one observer so many are passed on: one against each of its links,
pub const RUMOURS_OF_ONE: u32 = 64;
/// ... of so many observers; what more of them say is not passed on,
pub const RUMOURS_OF_MAX: usize = 8192;
/// ... and from one neighbour so many: a network of hundreds that is cut in two.
pub const RUMOURS_FROM_ONE: u32 = 1024;
/// Votes of nodes that never were neighbours are answered this often, as everybody passes the answer on.
pub const REFUTE_STRANGERS_PAUSE: Duration = Duration::from_secs(10);
/// Members of a group that are known, those that are no longer there included: some 170 bytes each. In a larger group
/// the count is what is known, and more are not taken in.
pub const MEMBERS_MAX: usize = 16_384;
/// Members told in `status`; the count is of all.
pub const MEMBERS_TOLD_MAX: usize = 2000;
/// Facts about members in one frame: some 9 KB.
pub const FACTS_MAX: usize = 64;
/// What a signature that has to be checked costs who sent it, in small frames.
pub const SIGNATURE_TOLL: u32 = 8;
/// A newcomer says that it is there after so long: more of its links stand by then.
pub const WORD_DELAY: Duration = Duration::from_millis(300);
/// News that are not urgent wait this long for others to share a frame, at each node.
pub const NEWS_DELAY: Duration = Duration::from_millis(100);
/// A member says again that it is there so often ...
pub const WORD_EVERY: Duration = Duration::from_secs(1800);
/// ... or, in a large group, so long for each member: 27 bytes a second and node, however many they are.
pub const WORD_EVERY_MEMBER: Duration = Duration::from_secs(4);
/// After so many of these times without its word it is gone. Others find that out in seconds; this is for one whose
/// neighbours died with it.
pub const WORD_EXPIRES: u32 = 3;
/// How often that is looked for.
pub const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Words of one member are passed on so often ...
pub const WORDS_OF_ONE: u8 = 8;
/// ... within so long: who comes and goes more quickly is found out when lists are compared.
pub const WORDS_WINDOW: Duration = Duration::from_secs(30);
/// In a group of so many votes and their answers go from everybody to everybody, which no loss of packets holds up for
/// long: a death costs each node some 8 KB. In a larger one there are too many deaths for that, and trees have to do.
pub const VOTES_FLOOD_MAX: usize = 64;
/// The same where many packets are lost: along a tree each hop holds it up.
pub const VOTES_FLOOD_BAD: usize = 512;
/// So long after the last vote that was needed a member is gone: its own word, on the same ways, had time to come.
pub const REFUTE_WAIT: Duration = Duration::from_secs(1);
/// The same where many packets are lost.
pub const REFUTE_WAIT_BAD: Duration = Duration::from_secs(2);
/// Who voted against a member in vain is not heard against it again for so long: until the last call of one who finds
/// itself alone.
pub const VOTE_AGAIN: Duration = Duration::from_secs(25);
/// Of so many who voted against one member that is remembered.
pub const VOTERS_IN_VAIN_MAX: usize = 16;
/// One in so many members voted against together is a cut network, if it is at least [`PARTITION_MAX`].
pub const PARTITION_MEMBERS_SHARE: usize = 32;
/// Who has learnt of a member, or lost one, tells its neighbours its digest, one after the other, so long apart: what was
/// missed somewhere is noticed within some four seconds, for 74 bytes a second at most.
pub const MEMBERS_TOLD_EVERY: Duration = Duration::from_millis(500);
/// Neighbours that know different members compare lists after so long, as the difference may be on its way.
pub const SUMS_DELAY: Duration = Duration::from_millis(1000);
/// And again after so long at the earliest.
pub const SUMS_PAUSE: Duration = Duration::from_secs(4);
/// A page of members that has not come after so long is asked for elsewhere.
pub const PAGE_PATIENCE: Duration = Duration::from_secs(5);
/// Pages follow each other at least so far apart: their signatures are checked at nobody's cost but this node's, a tenth of a
/// second in each.
pub const PAGE_PAUSE: Duration = Duration::from_millis(20);
/// A timer that fires this much late says that this node is starved.
pub const LATE_TIMER: Duration = Duration::from_millis(200);
/// Nodes remembered, linked ones aside; the gone so that old news of them is known to be old.
pub const GONE_MAX: usize = 1024;

const _: () = {
    assert!(CONTENT_MAX < CIPHERTEXT_MAX);
    assert!(4 + BODY_MAX <= PAYLOAD_MAX);
    assert!(PAYLOAD_MAX + 16 <= CIPHERTEXT_MAX);
    assert!(BATCH_BYTES + BATCH_MESSAGES * 4 <= PAYLOAD_MAX);
    assert!(SUBJECT_MAX <= 255 && CONTENT_TYPE_MAX <= 255 && HEADER_NAME_MAX <= 255);
    assert!(CIPHERTEXT_MAX + 320 < FRAME_MAX);
    assert!(BATCH_MESSAGES <= MESSAGES_PER_ENVELOPE_MAX);
    assert!(CLOCK_ENTRIES_MAX * 60 < FRAME_MAX);
    assert!(LINK_QUEUE_LOW < LINK_QUEUE_HIGH);
    // Whatever is bounded in bytes has room for one of the largest, or it would never move.
    assert!(CIPHERTEXT_MAX + 320 <= FETCH_BYTES_MAX && CIPHERTEXT_MAX + 320 <= RECENT_BYTES_MAX);
    assert!(FRAME_MAX <= LINK_QUEUE_LOW && FRAME_MAX <= CONTROL_QUEUE_MAX && FRAME_MAX <= BULK_QUEUE_MAX);
    assert!(BODY_MAX <= DRAFT_BYTES_MAX && CIPHERTEXT_MAX <= HELD_BYTES_MAX);
    assert!(BATCH_MESSAGES <= DRAFTS_MAX);
    assert!(LINKS_MAX <= KNOWN_PEERS_MAX && DIALS_MAX <= KNOWN_PEERS_MAX);
    // A neighbour that beats is not evasive, one is evasive before it is suspect, and a vote waits for its time.
    assert!(
        BEAT.as_millis() < EVASIVE_AFTER.as_millis() && EVASIVE_AFTER.as_millis() < SUSPECT_AFTER.as_millis()
    );
    assert!(VOTE_AGAIN.as_secs() + LAST_CALL.as_secs() <= SUSPICION_MAX.as_secs());
    assert!(LAST_CALL.as_secs() < SUSPICION_MIN.as_secs());
    assert!(SUSPICION_MIN.as_millis() < SUSPICION_MAX.as_millis() && HEALTH_NO_VOTE <= HEALTH_MAX);
    // What is announced late, or on its way, is not asked for yet.
    assert!(ANNOUNCE_DELAY.as_millis() < REPAIR_DELAY.as_millis());
    assert!(ANNOUNCE_DELAY.as_millis() < ANNOUNCE_LATE.as_millis());
    assert!(ANNOUNCE_DELAY.as_millis() + ANNOUNCE_PAUSE.as_millis() < ANNOUNCE_GATHERED.as_millis());
    assert!(
        REPAIR_DELAY.as_millis() < WANT_PATIENCE.as_millis() && DIGEST_MIN.as_secs() < DIGEST_MAX.as_secs()
    );
    assert!(LINK_WINDOW >= FRAME_MAX && BULK_WINDOW >= FRAME_MAX);
    assert!(BULK_QUEUE_MAX >= 2 * FRAME_MAX);
    // A quarter of a window is gathered and half of it may be held back: the rest has to take the largest frame.
    assert!(CREDIT_LIVE / 4 >= FRAME_MAX as u64 && CREDIT_BULK / 4 >= FRAME_MAX as u64);
    assert!(SEQ_BLOCK < SEQ_JUMP_MAX);
    assert!(PARTITION_WINDOW.as_millis() > BEAT_STEADY.as_millis());
    assert!(BEAT_STEADY.as_millis() < EVASIVE_AFTER.as_millis());
    assert!(PARTITION_HOLD.as_secs() == 3 * SUSPICION_MAX.as_secs());
    let judged = SUSPECT_AFTER.as_millis() + SETTLE_AFTER.as_millis();
    assert!(PARTITION_WINDOW.as_millis() == judged - EVASIVE_AFTER.as_millis());
    assert!(PARTITION_MIN <= PARTITION_MAX);
    assert!(MESH_LINKS_MIN < MESH_AGAIN && MESH_AGAIN < MESH_MAX && MESH_MAX < LINKS_MAX);
    assert!(RANDOM_LINKS_MAX + NEAR_LINKS_MAX + DIALED_LINKS_MIN < PARTIAL_LINKS_MAX);
    assert!(PARTIAL_LINKS_MAX < PARTIAL_LINKS_OF_MANY && PARTIAL_LINKS_OF_MANY < LINKS_MAX);
    assert!(LINKS_MAX < CONNECTIONS_MAX);
};
