//! A group as an application uses it.

use std::sync::Arc;

use bytes::Bytes;
use djembe_protocol::error::DraftError;
use djembe_protocol::id::{GroupId, Lane};
use djembe_protocol::message::Draft;
use tokio::sync::mpsc;

use crate::driver::{PublishRequest, Request};
use crate::error::NodeError;
use crate::node::Handle;
use crate::receipt::{LaneShared, Receipt};
use crate::subscription::{self, SubscribeOptions, Subscription};

/// What publishers and the driver share of a group.
#[derive(Debug)]
pub(crate) struct GroupShared {
    pub(crate) id: GroupId,
    pub(crate) name: Arc<str>,
    pub(crate) durable: Arc<LaneShared>,
    pub(crate) live: Arc<LaneShared>,
}

impl GroupShared {
    pub(crate) fn lane(&self, lane: Lane) -> &Arc<LaneShared> {
        match lane {
            Lane::Live => &self.live,
            Lane::Durable | Lane::Control => &self.durable,
        }
    }
}

/// A group this node is in. Cheap to clone; the node stays in the group until [`Group::leave`].
#[derive(Clone, Debug)]
pub struct Group {
    pub(crate) handle: Handle,
    pub(crate) shared: Arc<GroupShared>,
}

/// A message to publish. `"text".into()` makes a plain one.
#[derive(Clone, Debug)]
pub struct Publish {
    draft: Draft,
    lane: Lane,
    ttl_secs: u32,
}

impl Publish {
    /// A message of these bytes, durable, without subject.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let draft = Draft { content: body.into(), ..Draft::default() };
        Self { draft, lane: Lane::Durable, ttl_secs: 0 }
    }

    /// A slash-separated path such as `temp/kitchen`.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.draft.subject = subject.into();
        self
    }

    /// A media type such as `text/plain`.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.draft.content_type = content_type.into();
        self
    }

    /// What publishing would find wrong with it.
    ///
    /// # Errors
    /// [`DraftError`], the first thing found wrong.
    pub fn check(&self) -> Result<(), DraftError> {
        self.draft.check()
    }

    /// A name and a value that travel beside the body, encrypted like it.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.draft.headers.push((name.into(), value.into()));
        self.draft.headers.sort();
        self
    }

    /// Best effort: for who is there now, kept nowhere.
    #[must_use]
    pub fn live(mut self) -> Self {
        self.lane = Lane::Live;
        self
    }

    /// Seconds after which nobody needs it; 0 for ever.
    #[must_use]
    pub fn ttl_secs(mut self, secs: u32) -> Self {
        self.ttl_secs = secs;
        self
    }
}

impl<T: Into<Bytes>> From<T> for Publish {
    fn from(body: T) -> Self {
        Self::new(body)
    }
}

impl Group {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its id: a secret of its members.
    pub fn id(&self) -> GroupId {
        self.shared.id
    }

    /// Publishes. Returns once the message is queued, waiting while the links are full. With nobody there a
    /// durable message is kept for whoever comes. Cancel-safe: dropped, it has published or it has not.
    ///
    /// # Errors
    /// [`NodeError::Draft`] for a message beyond the limits, [`NodeError::Left`] if the node has left the group
    /// since (this handle stays out when it joins again), [`NodeError::Ended`] if the node has ended.
    pub async fn publish(&self, message: impl Into<Publish>) -> Result<Receipt, NodeError> {
        let message = message.into();
        message.draft.check()?;
        let lane = self.shared.lane(message.lane);
        let weight = LaneShared::weight(message.draft.content.len());
        let room = lane.room.acquire_many(u32::from(weight)).await.map_err(|_| self.gone())?;
        // Given back when the message has left.
        room.forget();
        self.hand_on(message, weight)
    }

    /// As [`Group::publish`], but [`NodeError::Busy`] instead of waiting.
    ///
    /// # Errors
    /// As [`Group::publish`].
    pub fn try_publish(&self, message: impl Into<Publish>) -> Result<Receipt, NodeError> {
        let message = message.into();
        message.draft.check()?;
        let lane = self.shared.lane(message.lane);
        let weight = LaneShared::weight(message.draft.content.len());
        let room = lane.room.try_acquire_many(u32::from(weight)).map_err(|error| match error {
            tokio::sync::TryAcquireError::NoPermits => NodeError::Busy,
            tokio::sync::TryAcquireError::Closed => self.gone(),
        })?;
        room.forget();
        self.hand_on(message, weight)
    }

    fn hand_on(&self, message: Publish, weight: u8) -> Result<Receipt, NodeError> {
        let Publish { draft, lane, ttl_secs } = message;
        let shared = self.shared.lane(lane);
        let ticket = shared.issue(weight, |ticket| {
            let request = PublishRequest { group: self.shared.id, lane, ttl_secs, draft, ticket };
            self.handle.publish.send(request).is_ok()
        });
        let ticket = ticket.ok_or_else(|| self.gone())?;
        Ok(Receipt { lane: shared.clone(), ticket })
    }

    /// Why nothing is taken any more.
    fn gone(&self) -> NodeError {
        match self.handle.requests.is_closed() {
            true => NodeError::Ended(None),
            false => NodeError::Left,
        }
    }

    /// All messages from now on; the first subscription, made within a second of joining, from the joining on, so
    /// that it has what was missed while this node was away.
    ///
    /// # Errors
    /// [`NodeError::Ended`] if the node has ended.
    pub async fn subscribe(&self) -> Result<Subscription, NodeError> {
        self.subscribe_with(SubscribeOptions::default()).await
    }

    /// Some messages from now on.
    ///
    /// # Errors
    /// [`NodeError::Ended`] if the node has ended.
    pub async fn subscribe_with(&self, options: SubscribeOptions) -> Result<Subscription, NodeError> {
        let (sender, receiver) = mpsc::channel(subscription::QUEUE);
        self.handle.ask(|reply| Request::Subscribe { group: self.shared.clone(), sender, reply }).await?;
        let group = self.shared.name.clone();
        Ok(Subscription { receiver, current: None, group, me: self.handle.me, options })
    }

    /// Leaves, unless the node has left since. Its log stays on the disk.
    ///
    /// # Errors
    /// [`NodeError::Ended`] if the node has ended.
    pub async fn leave(self) -> Result<(), NodeError> {
        self.handle.ask(|reply| Request::Leave { group: self.shared, reply }).await
    }
}
