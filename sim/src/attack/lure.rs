//! A root that swallows what it is given: its engine speaks just often enough to be root, of which nobody hears
//! anything but the tree; and of all other trees it says that it is next to the root.

use core::time::Duration;

use super::near::Near;
use super::{Attacker, Deed, Scene};
use crate::host::Wish;

/// Often enough to be an author that goes on.
const SPEAKS_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Lure;

impl Attacker for Lure {
    fn pause(&self) -> Duration {
        SPEAKS_EVERY
    }

    fn act(&mut self, scene: &mut Scene<'_>) {
        scene.deeds.push(Deed::Publish(8));
    }

    fn wish(&mut self, scene: &mut Scene<'_>, wish: Wish) -> Option<Wish> {
        Near.wish(scene, wish)
    }
}
