//! "Stored" reaches the author, whatever becomes of the links.

use super::*;

/// Goal: of two links to an author, one of which is about to end, the one that stays is told. It was told on the older one,
/// and where packets were lost the link had ended before what was said on it arrived: the publisher never learned of it.
#[test]
fn stored_is_said_on_the_link_that_stays() {
    let mut bench = Bench::new();
    let old = bench.member();
    let new = bench.member();
    let is_retiring = |link| bench.engine.links.get(link).is_some_and(Link::is_retiring);
    assert!(is_retiring(&old) && !is_retiring(&new));
    bench.say(new, envelope(&bench.hostile, Lane::Durable, 0));
    assert_eq!(bench.told_stored, [new]);
}

/// Goal: what was said on a link that ends is said again where another stands: nobody knows how much of it arrived.
#[test]
fn stored_is_said_again_when_one_of_two_links_ends() {
    let mut bench = Bench::new();
    let old = bench.member();
    let new = bench.member();
    bench.say(old, envelope(&bench.hostile, Lane::Durable, 0));
    assert_eq!(bench.told_stored, [new]);
    bench.input(Input::LinkDown { link: new, cause: LinkEnd::Reset });
    assert_eq!(bench.told_stored, [new, old]);
    // And on a link that comes later, as to anybody who is met.
    bench.input(Input::LinkDown { link: old, cause: LinkEnd::Reset });
    assert_eq!(bench.told_stored, [new, old]);
    let later = bench.member();
    assert_eq!(bench.told_stored, [new, old, later]);
}

/// Goal: a node that ends says it on every link. Of two that were dialled at once the author may have closed the one that
/// seemed to stay, and there was no later to say it again in: the publisher waited for a reader that had ended.
#[test]
fn stored_is_said_on_every_link_at_the_end() {
    let mut bench = Bench::new();
    let old = bench.member();
    let new = bench.member();
    bench.say(new, envelope(&bench.hostile, Lane::Durable, 0));
    bench.told_stored.clear();
    bench.input(Input::Command(Command::Shutdown));
    assert_eq!(bench.told_stored, [old, new]);
}

/// Goal: a node that has stored what others passed on does not end before it has met an author who is there: the author is
/// told by nobody else. Method: a neighbour passes on what a third has said, and says that it is linked with that one.
#[test]
fn an_author_who_is_there_is_waited_for_at_the_end() {
    let mut bench = Bench::new();
    let link = bench.member();
    let author = Identity::from_seed([3; 32]);
    bench.say(link, envelope(&author, Lane::Durable, 0));
    assert!(bench.engine.is_flushed(), "nobody says that it is there");
    bench.say(link, crate::wire::frame::Peers { peers: vec![(author.peer_id(), Vec::new())] });
    assert!(!bench.engine.is_flushed());
    bench.told_stored.clear();
    bench.hostile = author;
    bench.record = PeerRecord::new(&bench.hostile, 1, Vec::new(), Vec::new());
    let met = bench.member();
    assert_eq!((bench.told_stored.as_slice(), bench.engine.is_flushed()), ([met].as_slice(), true));
}
