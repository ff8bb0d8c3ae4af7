//! What hosts do wrong: on purpose, and as neighbours see it.

use core::time::Duration;

use super::World;
use crate::bug::Bug;
use crate::shard::Repeat;

/// After a fault what has piled up goes first.
const PILE_GRACE: Duration = Duration::from_secs(2);

impl World {
    /// From now on hosts make a mistake.
    pub(crate) fn plant(&mut self, bug: Option<Bug>) {
        self.shards.iter_mut().for_each(|shard| shard.rules.bug = bug);
    }

    /// Neighbours that were told again to stop: whether they did what they should have stopped.
    pub(super) fn judge_repeats(&mut self) {
        let mut repeats: Vec<Repeat> = Vec::new();
        self.shards.iter_mut().for_each(|shard| repeats.append(&mut shard.repeats));
        // Numbers of trees are a group's own, and who is told which group is meant is not known here.
        if self.n_groups() > 1 {
            return;
        }
        repeats.sort_by_key(|repeat| repeat.key);
        for repeat in repeats {
            let Repeat { key, node, neighbour, since, log, seq } = repeat;
            let Some(longest) = self.topology.longest(node, neighbour) else { continue };
            let published = self.ledger.published(&log, seq);
            let disturbed = self.ledger.disturbed_at(node).max(self.ledger.disturbed_at(neighbour));
            if disturbed + PILE_GRACE + longest < since && published.is_some_and(|at| at > since + longest) {
                let text = format!(
                    "told node {neighbour} at {:.3} s to stop, and it sent {} envelope {seq} of {} all the same",
                    since.as_micros() as f64 / 1e6,
                    log.lane.name(),
                    log.author.short(),
                );
                self.ledger.violate(key.at, node, "prune", text);
            }
        }
    }
}
