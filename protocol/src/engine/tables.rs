//! How full the tables are that others can fill, beside their bounds.

use super::Engine;
use crate::limits;

/// A table: its name, how many entries it has (or bytes, where the bound is in bytes), and how many it may have.
pub type Tally = (&'static str, usize, usize);

impl Engine {
    /// Every table that a peer can grow. What grows with the application's own messages alone is not here.
    pub fn table_sizes(&self) -> Vec<Tally> {
        let mut tables = vec![("connections", self.links.len(), 2 * limits::CONNECTIONS_MAX)];
        tables.extend(self.conduct.table_sizes());
        tables.extend(self.overlay.table_sizes());
        tables.extend(self.presence.table_sizes());
        tables.extend(self.groups.values().flat_map(|group| group.table_sizes()));
        tables
    }
}
