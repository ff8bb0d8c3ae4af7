//! Which subjects a subscriber wants: MQTT's topic filters (MQTT 5.0, section 4.7).
//!
//! `+` stands for one segment, `#` at the end for any number of them, none included: `a/#` matches `a`. MQTT's
//! exception for topics that begin with `$` is not here, as no subject is special.

use core::fmt;
use core::str::FromStr;

use super::{SUBJECT_MAX, has_control};

/// A checked pattern. The empty one matches the empty subject and no other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectPattern(String);

/// Why a text is no pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Longer than any subject.
    #[error("a pattern has at most {SUBJECT_MAX} bytes")]
    TooLong,
    /// Nothing between two slashes, or before the first, or after the last.
    #[error("a pattern has no empty segment")]
    EmptySegment,
    /// `+` or `#` beside other characters in a segment.
    #[error("+ and # stand alone between slashes")]
    Wildcard,
    /// `#` before the end.
    #[error("# stands only at the end")]
    HashNotLast,
    /// A control character.
    #[error("a pattern has no control characters")]
    Control,
}

impl SubjectPattern {
    /// Every subject: `#`.
    pub fn all() -> Self {
        Self("#".to_owned())
    }

    /// Whether a subject is wanted.
    pub fn matches(&self, subject: &str) -> bool {
        let mut wanted = segments(&self.0);
        let mut present = segments(subject);
        loop {
            match (wanted.next(), present.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    /// The text it was made from.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The segments of a path; the empty path has none.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|_| !path.is_empty())
}

impl FromStr for SubjectPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > SUBJECT_MAX {
            return Err(PatternError::TooLong);
        }
        if has_control(text) {
            return Err(PatternError::Control);
        }
        let mut rest = segments(text).peekable();
        while let Some(segment) = rest.next() {
            match segment {
                "" => return Err(PatternError::EmptySegment),
                "#" if rest.peek().is_some() => return Err(PatternError::HashNotLast),
                "+" | "#" => {}
                _ if segment.contains(['+', '#']) => return Err(PatternError::Wildcard),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, subject: &str) -> bool {
        pattern.parse::<SubjectPattern>().expect("a pattern").matches(subject)
    }

    /// The examples of MQTT 5.0, sections 4.7.1.2 and 4.7.1.3, as far as our subjects can have them.
    #[test]
    fn wildcards_match_as_mqtt_says() {
        for subject in
            ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"]
        {
            assert!(matches("sport/tennis/player1/#", subject));
        }
        assert!(matches("sport/#", "sport"), "# includes the parent");
        assert!(matches("#", "sport/tennis") && matches("#", ""));
        assert!(matches("sport/tennis/+", "sport/tennis/player1"));
        assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
        assert!(!matches("sport/+", "sport"), "+ is exactly one segment");
        assert!(matches("+", "finance") && !matches("+", "finance/eur") && matches("+/+", "finance/eur"));
        assert!(!matches("+", ""), "the empty subject has no segment");
        assert!(matches("+/tennis/#", "sport/tennis") && !matches("+/tennis/#", "sport/golf"));
        assert!(matches("", "") && !matches("", "a") && matches("a/b", "a/b") && !matches("a/b", "a"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_by_cause() {
        let refused = |text: &str| text.parse::<SubjectPattern>().expect_err("no pattern");
        assert_eq!(refused("sport/tennis#"), PatternError::Wildcard);
        assert_eq!(refused("sport+"), PatternError::Wildcard);
        assert_eq!(refused("sport/tennis/#/ranking"), PatternError::HashNotLast);
        assert_eq!(refused("/finance"), PatternError::EmptySegment);
        assert_eq!(refused("a//b"), PatternError::EmptySegment);
        assert_eq!(refused("a/"), PatternError::EmptySegment);
        assert_eq!(refused("a\nb"), PatternError::Control);
        assert_eq!(refused(&"a".repeat(SUBJECT_MAX + 1)), PatternError::TooLong);
        assert!("a".repeat(SUBJECT_MAX).parse::<SubjectPattern>().is_ok());
    }
}
