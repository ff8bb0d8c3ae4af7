//! How full the tables are that others can fill, beside their bounds.

use super::Engine;
use crate::limits;
use crate::link::Link;

/// Bytes that wait for one link, of all classes.
const QUEUE_MAX: usize = limits::LINK_QUEUE_MAX + limits::ANSWER_QUEUE_MAX + limits::CONTROL_QUEUE_MAX;

/// A table: its name, how many entries it has (or bytes, where the bound is in bytes), and how many it may have.
pub type Tally = (&'static str, usize, usize);

impl Engine {
    /// About how many bytes of memory each part takes, without what is shared with other nodes of one process.
    pub fn memory(&self) -> [(&'static str, usize); 9] {
        let links = self.links.values().map(Link::heap).sum::<usize>();
        let groups = self.groups.values().map(|group| group.heap());
        let [members, trees, logs, repair] = groups.fold([0; 4], |sum, parts| {
            let mut sum = sum;
            sum.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
            sum
        });
        [
            ("engine", size_of::<Self>() + self.groups.heap() + self.neighbourhood.heap()),
            ("links", self.links.heap() + links),
            ("conduct of neighbours", self.conduct.heap()),
            ("known peers", self.overlay.heap()),
            ("presence", self.presence.heap()),
            ("members", members),
            ("trees", trees),
            ("logs", logs),
            ("announcements and repair", repair),
        ]
    }

    /// Every table that a peer can grow, and what waits: for links, and to be sealed.
    pub fn table_sizes(&self) -> Vec<Tally> {
        let linked = self.presence.iter().filter(|(peer, _)| self.overlay.link(peer).is_some()).count();
        let queued = self.links.values().map(Link::queued).max().unwrap_or(0);
        let drafts = self.groups.values().map(|group| group.n_drafts()).max().unwrap_or(0);
        let mut tables = vec![
            ("connections", self.links.len(), 2 * limits::CONNECTIONS_MAX),
            ("linked peers", linked, limits::LINKS_MAX),
            ("queue of a link", queued, QUEUE_MAX),
            ("drafts", drafts, 2 * (limits::DRAFTS_MAX + limits::BATCH_MESSAGES)),
        ];
        tables.extend(self.conduct.table_sizes());
        tables.extend(self.overlay.table_sizes());
        tables.extend(self.presence.table_sizes());
        tables.extend(self.groups.values().flat_map(|group| group.table_sizes(&self.config.bounds)));
        tables
    }
}
