//! Who is doubted by how many, as far as the books tell.

use std::collections::BTreeMap;

use super::{Ledger, Sight};
use crate::meter::{Doubt, Word};
use crate::topology::NodeIx;

impl Ledger {
    /// What a node said in a run that is over counts no more.
    pub(super) fn forget_words_of(&mut self, node: NodeIx) {
        let Sight { presence, went, .. } = &self.sights[node];
        let said = presence.iter().map(|(subject, said)| (*subject, Word::of(said.0)));
        let seen = went.values().flat_map(BTreeMap::keys).map(|subject| (*subject, Some(Word::Gone)));
        said.chain(seen).for_each(|(subject, word)| self.doubts.change(subject, word, None));
    }

    /// How many others doubt at present that a node is there.
    pub(crate) fn doubted(&self, node: NodeIx) -> Doubt {
        self.doubts.of(node)
    }
}
