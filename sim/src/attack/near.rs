//! A black hole: next to every root, as it says, and on the way to none.
//!
//! Rounds of a root cannot be made up, so it waits for each to come and says a better distance than anybody.

use djembe_protocol::wire::frame::{Frame, UNREACHABLE};

use super::censor::censored;
use super::{Attacker, Scene};
use crate::host::Wish;

pub(super) struct Near;

impl Attacker for Near {
    fn wish(&mut self, _scene: &mut Scene<'_>, wish: Wish) -> Option<Wish> {
        match wish {
            Wish::Send(link, class, Frame::Adverts(mut adverts)) => {
                for advert in adverts.trees.iter_mut().filter(|advert| advert.dist != UNREACHABLE) {
                    advert.dist = 1;
                }
                Some(Wish::Send(link, class, adverts.into()))
            }
            wish => censored(wish),
        }
    }
}
