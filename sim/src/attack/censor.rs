//! Forwards nothing, serves nothing, and is a good neighbour in everything else.

use djembe_protocol::wire::frame::Frame;

use super::{Attacker, Scene, is_service};
use crate::host::Wish;

pub(super) struct Censor;

impl Attacker for Censor {
    fn wish(&mut self, _scene: &mut Scene<'_>, wish: Wish) -> Option<Wish> {
        censored(wish)
    }
}

/// Without payload, and without a word of where there is some.
pub(super) fn censored(wish: Wish) -> Option<Wish> {
    match wish {
        Wish::Send(_, _, frame) if is_service(&frame) || matches!(frame, Frame::Stored(_)) => None,
        wish => Some(wish),
    }
}
