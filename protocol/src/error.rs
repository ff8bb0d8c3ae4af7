//! What can be wrong with bytes, envelopes and commands: one variant per cause.

/// Bytes that are not what they should be. Nothing was kept of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than the layout needs, or than a length field promises.
    #[error("truncated")]
    Truncated,
    /// Bytes left over after the last field.
    #[error("trailing bytes")]
    Trailing,
    /// A length or count beyond its limit.
    #[error("{0} is over its limit")]
    TooLarge(&'static str),
    /// Not this protocol.
    #[error("wrong magic")]
    Magic,
    /// A version this node does not speak.
    #[error("version {0} is not spoken here")]
    Version(u8),
    /// A frame kind that may not be skipped.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A field with a value that the layout forbids.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// Another encoding of the same value exists and is the right one.
    #[error("not canonical")]
    NotCanonical,
}

/// Why a frame was refused before the engine saw it. The neighbour that sent it is at fault: an honest one
/// checks before it forwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// It could not be read.
    #[error("unreadable: {0}")]
    Decode(#[from] DecodeError),
    /// The header cannot be made whole from what went before on its stream, so nothing after it can be either.
    #[error("elided header: {0}")]
    Elided(DecodeError),
    /// The ciphertext is not the one that was signed.
    #[error("ciphertext hash differs")]
    CiphertextHash,
    /// The signature is not the author's, or its key is weak.
    #[error("bad signature")]
    Signature,
}

impl Reject {
    /// A word for counters and `status`.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Decode(DecodeError::Version(_)) => "version",
            Self::Decode(DecodeError::TooLarge(_)) => "oversized",
            Self::Decode(DecodeError::Truncated) => "truncated",
            Self::Decode(_) => "unreadable",
            Self::Elided(_) => "elided-header",
            Self::CiphertextHash => "ciphertext-hash",
            Self::Signature => "signature",
        }
    }
}

/// Why a well-signed envelope could not be opened with a group's keys. Nothing of it is delivered or forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is of another group.
    #[error("topic tag differs")]
    Topic,
    /// It is sealed under an epoch this node has no key of.
    #[error("unknown epoch")]
    Epoch,
    /// A header field is set that means nothing in this kind of group.
    #[error("{0} must be zero here")]
    NotZero(&'static str),
    /// The cipher says no: another key, or changed on the way.
    #[error("cannot be decrypted")]
    Cipher,
    /// The messages are not the ones whose root was signed.
    #[error("message root differs")]
    Root,
    /// A message inside is malformed.
    #[error("payload: {0}")]
    Payload(#[from] DecodeError),
}

/// Why a draft cannot become a message. Nothing was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DraftError {
    /// Content larger than [`crate::limits::CONTENT_MAX`].
    #[error("content of {0} bytes is over the limit of {limit} bytes", limit = crate::limits::CONTENT_MAX)]
    ContentTooLarge(usize),
    /// A subject that is too long, empty between two slashes, or has a control character or a wildcard in it.
    #[error("subject must be a slash-separated path of at most {limit} bytes without + # or control characters", limit = crate::limits::SUBJECT_MAX)]
    Subject,
    /// A content type that is too long or not printable ASCII.
    #[error("content type must be printable ASCII of at most {limit} bytes", limit = crate::limits::CONTENT_TYPE_MAX)]
    ContentType,
    /// Too many headers, or one that is too long, doubled or not printable, or too many bytes of them together.
    #[error("headers must be at most {limit}, named once each, and together at most {bytes} bytes",
        limit = crate::limits::HEADERS_MAX, bytes = crate::limits::HEADERS_BYTES_MAX)]
    Headers,
    /// Too many parents.
    #[error("at most {limit} parents", limit = crate::limits::PARENTS_MAX)]
    Parents,
}
