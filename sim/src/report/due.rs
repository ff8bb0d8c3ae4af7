//! Who should have a message at the end of a run. Whoever asks what is missing asks here.

use core::time::Duration;

use djembe_protocol::time::Timestamp;

use crate::ledger::Sent;
use crate::scenario::Scenario;
use crate::topology::NodeIx;
use crate::world::World;

/// After the last fault what is live may be missed for so long: ways are found anew.
const LIVE_GRACE: Duration = Duration::from_secs(30);

/// A delivery that is expected: of a message that left its author, to another node.
pub(crate) struct Due<'a> {
    /// The message's number.
    pub(crate) number: usize,
    /// The message.
    pub(crate) sent: &'a Sent,
    /// To whom.
    pub(crate) node: NodeIx,
    /// It came.
    pub(crate) is_there: bool,
    /// It has to come, whatever happened.
    is_due: bool,
}

impl Due<'_> {
    /// Whether it did not come and should have.
    pub(crate) fn is_missing(&self) -> bool {
        self.is_due && !self.is_there
    }
}

/// Tells of each delivery that is expected. What is kept is expected, and due, at all members that run at the end. What is
/// live is expected at those of them who were there; due it is where nothing holds it up, since it is given up after a gap
/// of 300 ms. Of a run that was stopped nothing is due: it may still have been on its way.
pub(crate) fn each<'a>(scenario: &Scenario, world: &'a World, mut tell: impl FnMut(Due<'a>)) {
    let up: Vec<NodeIx> = world.honest().filter(|node| world.host(*node).engine.is_some()).collect();
    let is_over = !world.ledger.is_stopped();
    let is_smooth = is_smooth(scenario);
    let calm = Timestamp::ZERO + scenario.faults_end().max(scenario.arrived_at()) + LIVE_GRACE;
    let sealed = world.ledger.messages.iter().enumerate().filter(|(_, sent)| sent.is_sealed);
    for (number, sent) in sealed {
        let is_kept = sent.lane.is_kept();
        let is_due = is_over && (is_kept || is_smooth && sent.at >= calm);
        let group = world.group_of(&sent.group);
        let is_expected = |node: NodeIx| match is_kept {
            true => group.is_some_and(|group| world.is_member(node, group)),
            false => sent.expected.contains(&node),
        };
        for node in up.iter().copied().filter(|node| *node != sent.author && is_expected(*node)) {
            tell(Due { number, sent, node, is_there: sent.delivered.contains(&node), is_due });
        }
    }
}

/// Whether nothing that is live can be late.
fn is_smooth(scenario: &Scenario) -> bool {
    let has_limit = scenario.sites.iter().any(|site| site.up > 0 || site.down > 0);
    scenario.is_lossless() && scenario.bandwidth == 0 && !has_limit && scenario.attackers == 0
}
