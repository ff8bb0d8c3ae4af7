//! What holds a node: faults that last are counted, so that of those that overlap each ends only itself. A node goes on
//! when the last one that holds it has ended.

/// How many faults of each kind hold a node at present.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds {
    /// It was started some time, and is to run.
    pub(crate) is_wanted: bool,
    counts: [u32; 5],
    /// Its disk is so many times as slow.
    disk_slow: Vec<u32>,
}

/// A kind of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    /// It is down.
    Down,
    /// It stands still: what runs then, and what would start.
    Pause,
    /// Its sockets are not read.
    Stall,
    /// It takes no payload.
    Clog,
    /// Its disk takes nothing.
    DiskFails,
}

impl Holds {
    fn count(&mut self, hold: Hold) -> &mut u32 {
        &mut self.counts[hold as usize]
    }

    /// One more.
    pub(crate) fn begin(&mut self, hold: Hold) {
        *self.count(hold) += 1;
    }

    /// One less. True if there is none left of the kind; one that never began changes nothing.
    pub(crate) fn end(&mut self, hold: Hold) -> bool {
        let count = self.count(hold);
        *count = count.saturating_sub(1);
        *count == 0
    }

    /// Whether there is any of a kind.
    pub(crate) fn has(&self, hold: Hold) -> bool {
        self.counts[hold as usize] > 0
    }

    /// Whether nothing keeps it from running.
    pub(crate) fn lets_run(&self) -> bool {
        self.is_wanted && !self.has(Hold::Down) && !self.has(Hold::Pause)
    }

    /// Its disk gets slower.
    pub(crate) fn slow_disk(&mut self, times: u32) {
        self.disk_slow.push(times);
    }

    /// Or is no longer as slow as that.
    pub(crate) fn speed_disk(&mut self, times: u32) {
        if let Some(at) = self.disk_slow.iter().position(|slow| *slow == times) {
            self.disk_slow.swap_remove(at);
        }
    }

    /// So many times as slow as others' it is: as the worst of its troubles.
    pub(crate) fn disk_slowness(&self) -> u32 {
        self.disk_slow.iter().copied().max().unwrap_or(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ends_only_itself() {
        let mut holds = Holds { is_wanted: true, ..Holds::default() };
        holds.begin(Hold::Down);
        holds.begin(Hold::Down);
        assert!(!holds.end(Hold::Down) && !holds.lets_run());
        assert!(holds.end(Hold::Down) && holds.lets_run());
        assert!(holds.end(Hold::Down), "one that never began");
        holds.begin(Hold::Pause);
        assert!(holds.has(Hold::Pause) && !holds.has(Hold::Stall) && !holds.lets_run());
    }

    #[test]
    fn a_disk_is_as_slow_as_the_worst_of_its_troubles() {
        let mut holds = Holds::default();
        holds.slow_disk(3);
        holds.slow_disk(9);
        holds.slow_disk(3);
        assert_eq!(holds.disk_slowness(), 9);
        holds.speed_disk(9);
        holds.speed_disk(3);
        assert_eq!(holds.disk_slowness(), 3);
        holds.speed_disk(3);
        assert_eq!(holds.disk_slowness(), 1);
    }
}
