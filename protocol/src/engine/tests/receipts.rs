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
