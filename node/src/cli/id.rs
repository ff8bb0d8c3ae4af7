//! `djembe id`: the identity of a data directory, without starting a node.

use serde::Serialize;

use super::exit::{Exit, Failure};
use super::global::Global;
use super::output::Stdout;
use crate::control::Session;
use crate::datadir::DataDir;
use crate::error::NodeError;
use crate::identity::{self, IdentityError};

#[derive(Serialize)]
struct Shown {
    peer_id: String,
    data_dir: String,
    /// Just now, by this command.
    created: bool,
}

pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let path = global.data_dir.clone().map_or_else(DataDir::default_path, Ok).map_err(NodeError::from)?;
    let passphrase = global.key_passphrase()?;
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    // Under the lock, so that two commands do not make two. One that is there is read while a node runs, too.
    let is_new = !path.join("identity").exists();
    let _lock = if is_new {
        match DataDir::open(&path).map_err(NodeError::from) {
            Ok(lock) => Some(lock),
            // Whoever holds it makes one.
            Err(NodeError::AlreadyRunning { .. }) => {
                let session = Session::start(global.builder()?).await?;
                return show(global, &path, session.status().await?.peer_id, false).await;
            }
            Err(error) => return Err(error.into()),
        }
    } else {
        None
    };
    let is_new = is_new && !path.join("identity").exists();
    global.say_exposed();
    match identity::create_or_load(&path, passphrase) {
        Ok(peer) => show(global, &path, peer.to_string(), is_new).await,
        Err(error) => match running(&path, &error).await {
            Some(peer_id) => show(global, &path, peer_id, false).await,
            None => Err(Failure::new(Exit::Data, error.to_string())),
        },
    }
}

/// What a running node says, where the file is under a passphrase that was not given.
async fn running(path: &std::path::Path, error: &IdentityError) -> Option<String> {
    let IdentityError::KeyFile { source: djembe_protocol::crypto::KeyFileError::Locked, .. } = error else {
        return None;
    };
    Session::find(path).await.map(|hello| hello.peer_id)
}

async fn show(
    global: &Global,
    path: &std::path::Path,
    peer_id: String,
    created: bool,
) -> Result<(), Failure> {
    let data_dir = path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string();
    let mut stdout = Stdout::new();
    if created {
        global.say(format_args!("made a new identity in {data_dir}"));
    }
    if global.json {
        stdout.json(&Shown { peer_id, data_dir, created });
    } else {
        stdout.line(peer_id);
    }
    stdout.finish().await
}
