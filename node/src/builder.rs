//! Settings for a node, checked once, when it is spawned.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use djembe_protocol::bounds::Bounds;
use tokio::sync::mpsc;

use crate::control::WeakNode;
use crate::driver::{self, Driver};
use crate::error::NodeError;
use crate::event::Listeners;
use crate::node::{Handle, Node};

/// How a node is to be. Every setting has a default that works on a LAN.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) in_memory: bool,
    pub(crate) network: String,
    pub(crate) listen: Vec<String>,
    pub(crate) peers: Vec<String>,
    pub(crate) discovery: bool,
    pub(crate) beacon: bool,
    pub(crate) beacon_port: Option<u16>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) mdns: bool,
    pub(crate) key_passphrase: Option<zeroize::Zeroizing<String>>,
    pub(crate) bounds: Bounds,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            data_dir: None,
            in_memory: false,
            network: "default".to_owned(),
            listen: Vec::new(),
            peers: Vec::new(),
            discovery: true,
            beacon: true,
            beacon_port: None,
            interfaces: Vec::new(),
            mdns: true,
            key_passphrase: None,
            bounds: Bounds::default(),
        }
    }
}

impl Builder {
    /// Where identity and history are kept. Default: `$XDG_DATA_HOME/djembe` or `~/.local/share/djembe`.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Keeps nothing on disk: a new identity each time. For tests and throw-away nodes.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Nodes of different networks do not see each other. Default: `default`.
    #[must_use]
    pub fn network(mut self, name: impl Into<String>) -> Self {
        self.network = name.into();
        self
    }

    /// A multiaddress to listen on, such as `/ip4/0.0.0.0/tcp/4001`. May be given several times; default: a
    /// free port on every interface, TCP and QUIC.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// A multiaddress of a peer, such as `/ip4/192.0.2.1/tcp/4001`. May be given several times.
    #[must_use]
    pub fn peer(mut self, address: impl Into<String>) -> Self {
        self.peers.push(address.into());
        self
    }

    /// Whether to look for peers by beacon and mDNS. Given peers are dialled in any case.
    #[must_use]
    pub fn discovery(mut self, yes: bool) -> Self {
        self.discovery = yes;
        self
    }

    /// Whether to use the UDP beacon.
    #[must_use]
    pub fn beacon(mut self, yes: bool) -> Self {
        self.beacon = yes;
        self
    }

    /// The beacon's UDP port; all nodes of a LAN use the same. Default: 24365.
    #[must_use]
    pub fn beacon_port(mut self, port: u16) -> Self {
        self.beacon_port = Some(port);
        self
    }

    /// The name of an interface to send beacons on, such as `eth0`. May be given several times; default: all.
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>) -> Self {
        self.interfaces.push(name.into());
        self
    }

    /// Whether to use mDNS.
    #[must_use]
    pub fn mdns(mut self, yes: bool) -> Self {
        self.mdns = yes;
        self
    }

    /// How much of others the node keeps at most: less than usual on a small device.
    #[must_use]
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The passphrase of the key file.
    #[must_use]
    pub fn key_passphrase(mut self, passphrase: impl Into<String>) -> Self {
        self.key_passphrase = Some(zeroize::Zeroizing::new(passphrase.into()));
        self
    }

    /// Starts the node. Wants a tokio runtime, best one of several threads: signatures are checked on them.
    ///
    /// # Errors
    /// The first thing that stands in the way, with its remedy; nothing runs then.
    pub async fn spawn(self) -> Result<Node, NodeError> {
        let network: Arc<str> = self.network.as_str().into();
        let (requests, requests_in) = mpsc::channel(driver::REQUESTS);
        let (publish, publish_in) = mpsc::unbounded_channel();
        let events = Arc::new(Listeners::default());
        let weak = Arc::downgrade(&events);
        let mut driver = Driver::start(self, requests_in, publish_in, events).await?;
        let handle = Handle { me: driver.peer_id(), requests, publish, events: weak };
        driver.serve(WeakNode::new(&handle, network.clone()));
        let driver = tokio::spawn(Box::new(driver).run());
        Ok(Node { handle, network, driver: Arc::new(Mutex::new(Some(driver))) })
    }
}
