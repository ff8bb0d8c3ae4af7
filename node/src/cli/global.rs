//! Options that every command takes, before or after its name.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ArgAction;
use zeroize::Zeroizing;

use super::exit::{Exit, Failure};
use crate::builder::Builder;
use crate::datadir::DataDir;
use crate::identity;

/// The options of every command.
#[derive(clap::Args, Clone, Default, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Where identity and history are kept [env: DJEMBE_DATA_DIR]
    /// [default: $XDG_DATA_HOME/djembe or ~/.local/share/djembe]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Listen on this address, such as /ip4/0.0.0.0/tcp/4001 (repeatable) [default: free ports everywhere]
    #[arg(long, global = true, value_name = "MULTIADDR")]
    pub listen: Vec<String>,
    /// Dial this address, such as /ip4/192.0.2.1/tcp/4001 (repeatable)
    #[arg(long, global = true, value_name = "MULTIADDR")]
    pub peer: Vec<String>,
    /// Nodes of different networks do not see each other [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    pub network: Option<String>,
    /// Look for nobody: dial given peers only
    #[arg(long, global = true)]
    pub no_discovery: bool,
    /// Send no UDP beacons and hear none
    #[arg(long, global = true)]
    pub no_beacon: bool,
    /// Send beacons on this interface only, such as eth0 (repeatable) [default: all]
    #[arg(long, global = true, value_name = "NAME")]
    pub interface: Vec<String>,
    /// Do without mDNS
    #[arg(long, global = true)]
    pub no_mdns: bool,
    /// UDP port of the beacons, the same on all nodes of a LAN [default: 24365]
    #[arg(long, global = true, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub beacon_port: Option<u16>,
    /// File that holds the passphrase of the identity
    #[arg(long, global = true, value_name = "FILE")]
    pub key_passphrase_file: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Log what the node does to standard error; more with -vv and -vvv
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Global {
    /// Settings of a node as these options want it.
    ///
    /// # Errors
    /// If the passphrase file cannot be read.
    pub fn builder(&self) -> Result<Builder, Failure> {
        let mut builder = Builder::default();
        if let Some(path) = &self.data_dir {
            builder = builder.data_dir(path);
        }
        if let Some(network) = &self.network {
            builder = builder.network(network);
        }
        for address in &self.listen {
            address.parse::<libp2p::Multiaddr>().map_err(|error| {
                let message = format!(
                    "--listen {address} is no multiaddress ({error}): write it as /ip4/0.0.0.0/tcp/4001"
                );
                Failure::new(Exit::Usage, message)
            })?;
        }
        builder = self.listen.iter().fold(builder, Builder::listen);
        builder = self.interface.iter().fold(builder, Builder::interface);
        builder = self.peer.iter().fold(builder, Builder::peer);
        if let Some(port) = self.beacon_port {
            builder = builder.beacon_port(port);
        }
        if let Some(passphrase) = self.key_passphrase()? {
            builder = builder.key_passphrase(passphrase.as_str());
        }
        Ok(builder.discovery(!self.no_discovery).beacon(!self.no_beacon).mdns(!self.no_mdns))
    }

    /// With what the environment adds; an empty variable is none.
    pub(super) fn with_environment(mut self) -> Self {
        let from_environment = || std::env::var_os("DJEMBE_DATA_DIR").filter(|dir| !dir.is_empty());
        self.data_dir = self.data_dir.or_else(|| from_environment().map(PathBuf::from));
        self
    }

    /// Warns of an identity that others can read.
    pub(super) fn say_exposed(&self) {
        let path = self.data_dir.clone().map_or_else(DataDir::default_path, Ok);
        if let Some(text) = path.ok().and_then(|path| identity::exposed(&path)) {
            self.say(format_args!("warning: {text}"));
        }
    }

    /// Options given that a running node has settled for itself.
    pub(super) fn given_of_running(&self) -> Vec<&'static str> {
        let given = [
            ("--listen", !self.listen.is_empty()),
            ("--peer", !self.peer.is_empty()),
            ("--interface", !self.interface.is_empty()),
            ("--beacon-port", self.beacon_port.is_some()),
            ("--no-discovery", self.no_discovery),
            ("--no-beacon", self.no_beacon),
            ("--no-mdns", self.no_mdns),
        ];
        given.into_iter().filter_map(|(name, is_given)| is_given.then_some(name)).collect()
    }

    /// Options given that are about a node.
    pub(super) fn given_of_node(&self) -> Vec<&'static str> {
        let mut given = self.given_of_running();
        given.extend(self.data_dir.is_some().then_some("--data-dir"));
        given.extend(self.network.is_some().then_some("--network"));
        given.extend(self.key_passphrase_file.is_some().then_some("--key-passphrase-file"));
        given
    }

    /// The passphrase of the identity, if a file with one was named.
    pub(super) fn key_passphrase(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        self.key_passphrase_file.as_deref().map(passphrase).transpose()
    }

    /// Tells a person something, on standard error, unless told to be quiet.
    pub fn say(&self, what: impl fmt::Display) {
        if !self.quiet {
            // Without a reader there is nobody to tell.
            let _ = writeln!(io::stderr(), "{what}");
        }
    }
}

/// The passphrase in a file: its text without the line break at its end.
pub(super) fn passphrase(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let wrong = |why: &str| {
        Failure::new(Exit::Usage, format!("cannot read a passphrase from {}: {why}", path.display()))
    };
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| wrong(&format!("{error}; name a readable file of text")))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        Err(wrong("it is empty; write one into it"))
    } else {
        Ok(Zeroizing::new(text.to_owned()))
    }
}
