//! From bytes of a peer to a frame whose signatures are good, without any state.

use bytes::Bytes;

use super::{Alert, Frame, Gone, GroupIx, TreeIx};
use crate::crypto::{self, CheckedEnvelope};
use crate::error::{DecodeError, Reject};
use crate::id::EnvelopeId;
use crate::wire::compress::Expanded;
use crate::wire::envelope::{Envelope, Header};

/// A frame whose signatures are good. Only [`check`] makes one.
#[derive(Clone, Debug)]
pub struct CheckedFrame(pub(crate) Checked);

/// What a [`CheckedFrame`] holds.
#[derive(Clone, Debug)]
pub(crate) enum Checked {
    /// An envelope seen for the first time.
    Data { group: GroupIx, tree: TreeIx, envelope: Box<CheckedEnvelope> },
    /// An envelope whose id was verified before. Its bytes were not: whoever needs them checks them again.
    Seen { group: GroupIx, tree: TreeIx, envelope: Box<Envelope> },
    /// Anything else; signatures in it are good.
    Talk(Box<Frame>),
    /// A kind that this version does not know and may skip.
    Skipped,
}

impl CheckedFrame {
    /// The sender's number of the group whose envelope it carries.
    pub(crate) fn group(&self) -> Option<GroupIx> {
        match &self.0 {
            Checked::Data { group, .. } | Checked::Seen { group, .. } => Some(*group),
            Checked::Talk(_) | Checked::Skipped => None,
        }
    }

    /// The header of the envelope it carries, and the sender's number of the tree it travels on.
    pub fn header(&self) -> Option<(&Header, TreeIx)> {
        match &self.0 {
            Checked::Data { tree, envelope, .. } => Some((envelope.header(), *tree)),
            Checked::Seen { tree, envelope, .. } => Some((envelope.header(), *tree)),
            Checked::Talk(_) | Checked::Skipped => None,
        }
    }

    /// The frame, if it carries no envelope.
    pub fn talk(&self) -> Option<&Frame> {
        match &self.0 {
            Checked::Talk(frame) => Some(frame),
            Checked::Data { .. } | Checked::Seen { .. } | Checked::Skipped => None,
        }
    }

    /// The id of the envelope that was verified here for the first time: the host marks it seen.
    pub fn verified(&self) -> Option<EnvelopeId> {
        match &self.0 {
            Checked::Data { envelope, .. } => Some(envelope.id()),
            _ => None,
        }
    }
}

/// How many signatures are checked, at most, to find out whether the talk in these bytes is good. An envelope's is
/// not among them: it may have been seen before.
pub fn talk_signatures(bytes: &[u8]) -> usize {
    /// Kinds of [`Alert`], [`Alive`] and [`Gone`].
    const SIGNED: [u8; 3] = [6, 7, 8];
    match bytes {
        [kind, ..] if SIGNED[..2].contains(kind) => 1,
        // The list's length, which fits a byte as long as the list is short enough to be looked at.
        [kind, n, ..] if *kind == SIGNED[2] => usize::from(*n).min(Gone::ALERTS_MAX),
        _ => 0,
    }
}

/// Decodes kind and body, looks an envelope's id up among those `seen` (verified before), and checks whatever
/// signature is left to check. Pure; the node runs it on worker threads.
///
/// An id is to be marked as seen only after this returned `Ok`: a copy with a bad signature must not make the
/// good one look like a duplicate.
pub fn check(
    frame: impl Into<Expanded>,
    seen: impl FnOnce(&EnvelopeId) -> bool,
) -> Result<CheckedFrame, Reject> {
    check_with(frame, seen, crypto::check)
}

/// The same with another way to check an envelope: the simulator's remembers the verdict on every envelope, so
/// that a thousand nodes check one signature once.
pub fn check_with(
    frame: impl Into<Expanded>,
    seen: impl FnOnce(&EnvelopeId) -> bool,
    verify: impl FnOnce(Envelope) -> Result<CheckedEnvelope, Reject>,
) -> Result<CheckedFrame, Reject> {
    let (bytes, known) = frame.into().into_parts();
    let Some(frame) = Frame::decode(bytes)? else {
        return Ok(CheckedFrame(Checked::Skipped));
    };
    let parse = |envelope| Envelope::parse_known(envelope, known);
    check_decoded(frame, parse, seen, verify)
}

/// The same of a frame that was never bytes: a simulator of a million nodes hands it over as it is.
///
/// # Errors
/// Those of [`check`], but for what cannot be decoded.
pub fn check_frame(frame: Frame, seen: impl FnOnce(&EnvelopeId) -> bool) -> Result<CheckedFrame, Reject> {
    frame.check_counts()?;
    check_decoded(frame, Envelope::parse, seen, crypto::check)
}

fn check_decoded(
    frame: Frame,
    parse: impl FnOnce(Bytes) -> Result<Envelope, DecodeError>,
    seen: impl FnOnce(&EnvelopeId) -> bool,
    verify: impl FnOnce(Envelope) -> Result<CheckedEnvelope, Reject>,
) -> Result<CheckedFrame, Reject> {
    Ok(CheckedFrame(match frame {
        Frame::Data { group, tree, envelope } => {
            let envelope = parse(envelope)?;
            let id = envelope.id();
            if seen(&id) {
                Checked::Seen { group, tree, envelope: Box::new(envelope) }
            } else {
                Checked::Data { group, tree, envelope: Box::new(verify(envelope)?) }
            }
        }
        Frame::Alert(alert) => {
            alert.check()?;
            Checked::Talk(Box::new(alert.into()))
        }
        Frame::Alive(alive) => {
            alive.check()?;
            Checked::Talk(Box::new(alive.into()))
        }
        Frame::Gone(gone) => {
            gone.alerts.iter().try_for_each(Alert::check)?;
            Checked::Talk(Box::new(gone.into()))
        }
        talk => Checked::Talk(Box::new(talk)),
    }))
}
