//! Opens all that a node has, and puts it together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use djembe_protocol::crypto::{Domain, Identity};
use djembe_protocol::engine::{Config, Engine};
use djembe_protocol::id::{Incarnation, PeerId};
use djembe_protocol::limits::{self, CONNECTIONS_MAX};
use djembe_protocol::wire::beacon::NetworkTag;
use tokio::sync::mpsc;

use super::{Driver, INBOUND_CONTROL, INBOUND_DATA, OsSecrets, PublishRequest, Request};
use crate::builder::Builder;
use crate::check;
use crate::datadir::DataDir;
use crate::discovery::{self, Discovery, Given};
use crate::error::NodeError;
use crate::event::Listeners;
use crate::identity;
use crate::store::worker::Worker;
use crate::store::{Store, memory, sqlite};
use crate::transport::{Transport, TransportConfig, is_loopback};

/// The loopback interface's name.
const LOOPBACK: &str = if cfg!(any(target_os = "linux", target_os = "android")) { "lo" } else { "lo0" };

impl Driver {
    /// Opens everything. Sockets, store and discovery are ready when this returns.
    pub(crate) async fn start(
        builder: Builder,
        requests: mpsc::Receiver<Request>,
        publish: mpsc::UnboundedReceiver<PublishRequest>,
        events: Arc<Listeners>,
    ) -> Result<Self, NodeError> {
        let Kept { data_dir, keys, is_restored } = Kept::open(&builder)?;
        let me = keys.peer_id();
        let database = data_dir.as_ref().map(DataDir::database);
        // The disk and the sockets do not wait for each other.
        let opening = tokio::task::spawn_blocking(move || open_store(database, me));

        let discovery = open_discovery(&builder, data_dir.as_ref(), &keys)?;
        let (control_out, control) = mpsc::channel(INBOUND_CONTROL);
        let (data_out, data) = mpsc::channel(INBOUND_DATA);
        let inbound = [control_out, data_out.clone(), data_out.clone(), data_out];
        let (check, effort) = check::checker();
        let transport = Transport::new(transport_config(&builder, &keys)?, check, inbound)
            .map_err(|error| NodeError::Listen(format!("{error}; choose another with --listen")))?;

        let (store, n_starts) = opening.await.map_err(|error| NodeError::Store(error.to_string()))??;
        let store = Worker::spawn(store).map_err(|error| NodeError::Store(error.to_string()))?;
        let config = Config {
            network: NetworkTag::of(&builder.network).0,
            incarnation: Incarnation::of_run(n_starts),
            seed: getrandom::u64().map_err(|error| NodeError::Entropy(error.to_string()))?,
            bounds: builder.bounds,
            patience: limits::PATIENCE,
        };
        let engine = Engine::new(config, keys, Box::new(OsSecrets));
        Ok(Self {
            me,
            network: builder.network,
            engine: if is_restored { engine.restored() } else { engine },
            transport,
            effort,
            store,
            discovery,
            requests,
            publish,
            control,
            data,
            events,
            groups: BTreeMap::new(),
            stirred: BTreeSet::new(),
            links: BTreeMap::new(),
            found_by: BTreeMap::new(),
            listening: Vec::new(),
            jobs: VecDeque::new(),
            store_error: None,
            started: Instant::now(),
            wall_told: None,
            ending: false,
            _socket: None,
            data_dir,
        })
    }
}

/// What a node has from before, or will have next time.
struct Kept {
    /// None if everything is kept in memory.
    data_dir: Option<DataDir>,
    keys: Identity,
    /// The identity is older than the store.
    is_restored: bool,
}

impl Kept {
    fn open(builder: &Builder) -> Result<Self, NodeError> {
        if builder.in_memory {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| NodeError::Entropy(error.to_string()))?;
            return Ok(Self { data_dir: None, keys: Identity::from_seed(seed), is_restored: false });
        }
        let path = builder.data_dir.clone().map_or_else(DataDir::default_path, Ok)?;
        let data_dir = DataDir::open(path)?;
        // A key without the store that was made with it: from a backup, or the disk was lost.
        let is_restored = data_dir.identity().exists() && !data_dir.database().exists();
        let passphrase = builder.key_passphrase.as_ref().map(|text| text.as_str());
        let keys = identity::load(&data_dir.identity(), passphrase)?;
        Ok(Self { data_dir: Some(data_dir), keys: keys.identity, is_restored })
    }
}

fn transport_config(builder: &Builder, keys: &Identity) -> Result<TransportConfig, NodeError> {
    let mut listen = Vec::with_capacity(builder.listen.len());
    for address in &builder.listen {
        listen.push(address.parse().map_err(|_| {
            NodeError::Address(format!(
                "\"{address}\" is not a multiaddress; write for instance /ip4/0.0.0.0/tcp/4001"
            ))
        })?);
    }
    Ok(TransportConfig {
        secret_key: keys.seed(),
        listen,
        mdns: (builder.discovery && builder.mdns).then(|| discovery::mdns::config(false)),
        links_max: u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX),
    })
}

fn open_discovery(
    builder: &Builder,
    data_dir: Option<&DataDir>,
    keys: &Identity,
) -> Result<Discovery, NodeError> {
    let given = builder.peers.iter().map(|address| address.parse::<Given>());
    let given: Result<Vec<Given>, _> = given.collect();
    let mut options = if builder.discovery {
        discovery::Options::new(builder.network.as_str())
    } else {
        discovery::Options::only_given(builder.network.as_str())
    };
    options.beacon &= builder.beacon;
    options.mdns &= builder.mdns;
    options.given = given.map_err(|error| NodeError::Address(error.to_string()))?;
    options.cache = data_dir.map(DataDir::peers).filter(|_| builder.discovery);
    options.interfaces = builder.interfaces.clone();
    let is_local = |address: &String| address.parse().is_ok_and(|address| is_loopback(&address));
    if options.interfaces.is_empty() && !builder.listen.is_empty() && builder.listen.iter().all(is_local) {
        // Nobody else could dial this node.
        options.interfaces.push(LOOPBACK.to_owned());
    }
    if let Some(port) = builder.beacon_port {
        options.beacon_port = port;
    }
    let signer = Identity::from_seed(*keys.seed());
    let sign: discovery::Sign = Box::new(move |bytes| signer.sign(Domain::Beacon, bytes));
    Discovery::new(keys.peer_id(), sign, options).map_err(|error| NodeError::Discovery(error.to_string()))
}

/// The store of a node, and the number of this start.
fn open_store(database: Option<PathBuf>, me: PeerId) -> Result<(Box<dyn Store>, u64), NodeError> {
    let mut store: Box<dyn Store> = match database {
        Some(path) => Box::new(sqlite::Sqlite::open(&path, me)?),
        None => Box::new(memory::Memory::new(me, memory::BYTES_MAX)),
    };
    let incarnation = store.next_incarnation()?;
    Ok((store, incarnation))
}
