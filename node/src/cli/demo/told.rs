//! What the nodes have told so far, and what they keep on disk: what the demo's sentences are checked against.

use std::collections::BTreeMap;
use std::path::Path;

use super::node::Report;

/// What one of the nodes has told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) peer: String,
    pub(super) started: u64,
    pub(super) ready: u64,
    pub(super) members: BTreeMap<String, u64>,
    pub(super) gone: BTreeMap<String, u64>,
    pub(super) heard: Vec<Heard>,
    pub(super) stored: BTreeMap<String, (usize, u64)>,
}

#[derive(Debug)]
pub(super) struct Heard {
    pub(super) author: String,
    pub(super) text: String,
    pub(super) at: u64,
}

impl Told {
    pub(super) fn take(&mut self, report: Report) {
        match report {
            Report::Ready { peer, at } => (self.peer, self.ready) = (peer, at),
            Report::Member { peer, at } => {
                self.gone.remove(&peer);
                self.members.insert(peer, at);
            }
            Report::Gone { peer, at } => {
                self.members.remove(&peer);
                self.gone.insert(peer, at);
            }
            Report::Heard { author, text, at } => self.heard.push(Heard { author, text, at }),
            Report::Stored { text, at, by } => {
                self.stored.insert(text, (by, at));
            }
            Report::Status { .. } => {}
        }
    }

    /// What it heard of somebody, in the order in which it heard it.
    pub(super) fn heard_of(&self, author: &str) -> Vec<&str> {
        self.heard.iter().filter(|heard| heard.author == author).map(|heard| heard.text.as_str()).collect()
    }

    pub(super) fn heard_at(&self, text: &str) -> Option<u64> {
        self.heard.iter().find(|heard| heard.text == text).map(|heard| heard.at)
    }
}

/// Looks for words in all files below a directory; how many bytes were searched.
pub(super) fn search(below: &Path, words: &[&str]) -> Result<u64, String> {
    let unreadable = |error: std::io::Error| format!("{} could not be read: {error}", below.display());
    let mut bytes = 0;
    for entry in std::fs::read_dir(below).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            bytes += search(&path, words)?;
        } else if path.is_file() {
            let content = std::fs::read(&path).map_err(unreadable)?;
            bytes += content.len() as u64;
            let has = |word: &&&str| content.windows(word.len()).any(|window| window == word.as_bytes());
            if let Some(word) = words.iter().find(has) {
                return Err(format!("\"{word}\" can be read in {}", path.display()));
            }
        }
    }
    Ok(bytes)
}
