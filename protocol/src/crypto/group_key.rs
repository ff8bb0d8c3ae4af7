//! Open groups: one key from network name, group name and perhaps a passphrase; everything else from that key.
//!
//! Whoever knows the three is in. There is no forward secrecy to lose: message keys are derived from the group
//! key by index, and a chain that only goes forward would protect nothing. Names are compared as bytes, without
//! Unicode normalisation.

use blake3::Hash;
use zeroize::Zeroizing;

use super::keys::{EnvelopeKeys, MessageKey, SealKey};
use super::seal::SealError;
use super::stretch::stretch;
use crate::error::OpenError;
use crate::hash::Label;
use crate::id::{EpochId, GroupId, Lane, PeerId, Seq, TopicTag};
use crate::wire::envelope::Header;

/// Bytes of a group's or network's name.
pub const NAME_MAX: usize = 128;

static SALT: Label = Label::new("djembe/v1 open-group-salt");
static OPEN_GROUP: Label = Label::new("djembe/v1 open-group");
static GROUP_ID: Label = Label::new("djembe/v1 group-id");
static TOPIC_SECRET: Label = Label::new("djembe/v1 topic-secret");
static TOPIC: Label = Label::new("djembe/v1 topic");
static OPEN_EPOCH: Label = Label::new("djembe/v1 open-epoch");
static LINK: Label = Label::new("djembe/v1 link");
static EPOCH_ROOT: Label = Label::new("djembe/v1 epoch-root");
static SENDER_CHAIN: Label = Label::new("djembe/v1 sender-chain");
static CONTROL: Label = Label::new("djembe/v1 control");

/// Why there is no key for such a group. Nothing was derived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupKeyError {
    /// The network's name is empty, too long or has control characters.
    #[error("a network's name has 1 to {NAME_MAX} bytes and no control characters")]
    Network,
    /// The group's name is empty, too long or has control characters.
    #[error("a group's name has 1 to {NAME_MAX} bytes and no control characters")]
    Group,
    /// A passphrase of no characters would promise what it does not keep.
    #[error("the passphrase is empty; leave it out for a group that anyone may guess")]
    EmptyPassphrase,
}

/// The keys of an open group. Secrets are wiped when it is dropped, and never shown.
pub struct GroupKey {
    group_id: GroupId,
    topic_tag: TopicTag,
    epoch_id: EpochId,
    topic_secret: Zeroizing<[u8; 32]>,
    link: Zeroizing<[u8; 32]>,
    epoch_root: Zeroizing<[u8; 32]>,
}

impl GroupKey {
    /// Derives the keys of an open group: microseconds without a passphrase, some 200 ms and 64 MiB with one.
    ///
    /// # Errors
    /// [`GroupKeyError`] for a name that is not one, or an empty passphrase.
    pub fn open(network: &str, group: &str, passphrase: Option<&str>) -> Result<Self, GroupKeyError> {
        if !is_name(network) {
            return Err(GroupKeyError::Network);
        }
        if !is_name(group) {
            return Err(GroupKeyError::Group);
        }
        if passphrase == Some("") {
            return Err(GroupKeyError::EmptyPassphrase);
        }
        // lp(network) || lp(group): with the lengths in front, no two pairs of names give the same bytes.
        let (network_len, group_len) = (name_len(network), name_len(group));
        let names: [&[u8]; 4] = [&network_len, network.as_bytes(), &group_len, group.as_bytes()];
        let stretched = match passphrase {
            Some(passphrase) => {
                let mut salt = [0; 16];
                salt.copy_from_slice(&SALT.derive(&names)[..16]);
                stretch(passphrase, &salt)
            }
            None => Zeroizing::new([0; 32]),
        };
        let is_stretched = [u8::from(passphrase.is_some())];
        let [a, b, c, d] = names;
        let group_key = Zeroizing::new(OPEN_GROUP.derive(&[a, b, c, d, &is_stretched, stretched.as_ref()]));
        Ok(Self::from_group_key(&group_key))
    }

    /// Topic secret, link key, epoch root.
    #[cfg(test)]
    pub(super) fn secrets(&self) -> [&[u8; 32]; 3] {
        [&self.topic_secret, &self.link, &self.epoch_root]
    }

    fn from_group_key(group_key: &[u8; 32]) -> Self {
        let group_id = GROUP_ID.derive(&[group_key]);
        let topic_secret = Zeroizing::new(TOPIC_SECRET.derive(&[group_key]));
        let mut topic_tag = [0; 16];
        topic_tag.copy_from_slice(&TOPIC.derive(&[&group_id, topic_secret.as_ref()])[..16]);
        let epoch_id = OPEN_EPOCH.derive(&[group_key]);
        Self {
            group_id: GroupId(group_id),
            topic_tag: TopicTag(topic_tag),
            epoch_id: EpochId(epoch_id),
            topic_secret,
            link: Zeroizing::new(LINK.derive(&[group_key])),
            epoch_root: Zeroizing::new(EPOCH_ROOT.derive(&[group_key, &epoch_id])),
        }
    }

    /// The group, for those who hold its key.
    pub fn group_id(&self) -> GroupId {
        self.group_id
    }

    /// The group, as links and relays see it.
    pub fn topic_tag(&self) -> TopicTag {
        self.topic_tag
    }

    /// The group's one epoch.
    pub fn epoch_id(&self) -> EpochId {
        self.epoch_id
    }

    /// What `me` sends to `you` on a link to show that it knows the group's key. The nonces are those of the
    /// two HELLOs; the transport has already shown who the peers are.
    pub fn link_proof(
        &self,
        me: &PeerId,
        you: &PeerId,
        my_nonce: &[u8; 16],
        your_nonce: &[u8; 16],
    ) -> [u8; 32] {
        *self.proof_of(me, you, my_nonce, your_nonce).as_bytes()
    }

    /// Whether `proof` is what `link_proof` gives on the side of `you`. In constant time.
    #[must_use]
    pub fn check_link_proof(
        &self,
        me: &PeerId,
        you: &PeerId,
        my_nonce: &[u8; 16],
        your_nonce: &[u8; 16],
        proof: &[u8; 32],
    ) -> bool {
        // Comparing two `blake3::Hash` takes constant time; comparing arrays does not.
        self.proof_of(you, me, your_nonce, my_nonce) == Hash::from_bytes(*proof)
    }

    fn proof_of(&self, by: &PeerId, to: &PeerId, by_nonce: &[u8; 16], to_nonce: &[u8; 16]) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.link);
        hasher.update(b"subscribe\0").update(&by.0).update(&to.0).update(by_nonce).update(to_nonce);
        hasher.finalize()
    }

    fn message_key(&self, author: &PeerId, lane: Lane, seq: Seq) -> MessageKey {
        if lane == Lane::Control {
            let material: [&[u8]; 3] = [self.topic_secret.as_ref(), &self.group_id.0, &author.0];
            return MessageKey::new(CONTROL.derive(&material));
        }
        let chain = Zeroizing::new(SENDER_CHAIN.derive(&[self.epoch_root.as_ref(), &author.0]));
        let mut index = *b"open\0_________";
        index[5] = lane as u8;
        index[6..].copy_from_slice(&seq.to_le_bytes());
        MessageKey::new(*blake3::keyed_hash(&chain, &index).as_bytes())
    }

    fn epoch_of(&self, lane: Lane) -> EpochId {
        if lane == Lane::Control { EpochId([0; 32]) } else { self.epoch_id }
    }
}

impl EnvelopeKeys for GroupKey {
    fn topic_tag(&self) -> TopicTag {
        self.topic_tag
    }

    fn seal_key(&self, author: &PeerId, lane: Lane, seq: Seq) -> Result<SealKey, SealError> {
        Ok(SealKey {
            epoch_id: self.epoch_of(lane),
            chain_idx: 0,
            heads_digest: [0; 32],
            key: self.message_key(author, lane, seq),
        })
    }

    fn open_key(&self, header: &Header) -> Result<MessageKey, OpenError> {
        if header.epoch_id != self.epoch_of(header.lane) {
            return Err(OpenError::Epoch);
        }
        if header.chain_idx != 0 {
            return Err(OpenError::NotZero("chain index"));
        }
        if header.heads_digest != [0; 32] {
            return Err(OpenError::NotZero("heads digest"));
        }
        Ok(self.message_key(&header.author, header.lane, header.seq))
    }
}

impl core::fmt::Debug for GroupKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "GroupKey({:?})", self.group_id)
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn name_len(name: &str) -> [u8; 4] {
    u32::try_from(name.len()).expect("a name was found to have at most 128 bytes").to_le_bytes()
}

#[cfg(test)]
mod tests;
