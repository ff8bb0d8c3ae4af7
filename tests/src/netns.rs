//! Hosts on a network, on one machine: each host is a network namespace, each switch a bridge in a namespace of
//! its own, each cable a veth pair.
//!
//! Hosts have addresses 10.77.SWITCH.HOST/24, a broadcast address, a route for multicast, IPv6 link-local
//! addresses, and no default route, like machines on a table with a switch and no router. Nothing of it touches
//! the machine's own network. Names begin with the test's process id; what a dead run left behind is removed by
//! the next one.
//!
//! A host that is plugged into nothing can be given to an emulated network (`emulation.rs`) in place of a switch.
//!
//! Needs root, iproute2, nftables and tcpdump: see [`crate::skip_or_require`].

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PREFIX: &str = "djembe-test-";

/// Returns from the test, saying why, when namespaces (or whatever else is named) cannot be had here; panics instead
/// when `DJEMBE_REQUIRE_NETNS=1`, so that a run that must have them cannot pass without.
#[macro_export]
macro_rules! skip_or_require {
    () => {
        $crate::skip_or_require!($crate::netns::available())
    };
    ($available:expr) => {
        if let Err(reason) = $available {
            assert!(
                std::env::var_os("DJEMBE_REQUIRE_NETNS").is_none_or(|value| value != "1"),
                "DJEMBE_REQUIRE_NETNS=1, but {reason}"
            );
            eprintln!("skipped: {reason}");
            return;
        }
    };
}

/// Whether a [`Lab`] can be built here, or why not.
pub fn available() -> Result<(), String> {
    with_tools(&[("ip", "iproute2"), ("nft", "nftables"), ("tcpdump", "tcpdump")])
}

/// Whether namespaces can be had here, and these tools of these packages, or why not.
pub(crate) fn with_tools(tools: &[(&str, &str)]) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("network namespaces need root".to_owned());
    }
    for &(tool, package) in tools {
        Command::new(tool)
            .arg(if tool == "ip" { "-V" } else { "--version" })
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("`{tool}` cannot be run (package {package}): {error}"))?;
    }
    let probe = format!("{PREFIX}{}-probe{}", std::process::id(), unique());
    try_run(Command::new("ip").args(["netns", "add", &probe]))?;
    try_run(Command::new("ip").args(["netns", "delete", &probe]))
}

/// Hosts and switches. All of it goes when this is dropped, processes included.
#[derive(Debug)]
pub struct Lab {
    /// What its namespaces' names begin with.
    name: String,
    n_bridges: u8,
    hosts: Vec<Host>,
    /// Cables that exist, plugged in or not.
    cables: BTreeSet<(u8, Bridge)>,
}

/// A switch of a [`Lab`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bridge(u8);

/// A cable between two switches of one network.
#[derive(Debug)]
pub struct Trunk {
    /// Where both switches are.
    namespace: String,
}

/// A host of a [`Lab`]: a handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
    index: u8,
}

impl Bridge {
    /// The switch that every host of a new [`Lab`] is plugged into.
    pub const FIRST: Self = Self(0);

    /// The broadcast address of its subnet.
    pub const fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.0, 255)
    }
}

impl Lab {
    /// `n_hosts` hosts on one switch.
    pub fn new(n_hosts: u8) -> Self {
        let mut lab = Self::apart(n_hosts);
        let bridge = lab.bridge();
        for host in lab.hosts.clone() {
            lab.plug(&host, bridge);
        }
        lab
    }

    /// `n_hosts` hosts that have a loopback and nothing else.
    pub fn apart(n_hosts: u8) -> Self {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep_dead_runs);
        assert!(n_hosts < 250, "a /24 has no room for more");
        let mut lab = Self {
            name: format!("{PREFIX}{}-{}", std::process::id(), unique()),
            n_bridges: 0,
            hosts: Vec::new(),
            cables: BTreeSet::new(),
        };
        for index in 0..n_hosts {
            let host = Host { namespace: format!("{}-host{index}", lab.name), index };
            run(Command::new("ip").args(["netns", "add", &host.namespace]));
            // From here on the drop of `lab` removes it.
            lab.hosts.push(host.clone());
            host.set_up();
        }
        lab
    }

    /// One of the hosts, counted from 0.
    pub fn host(&self, index: usize) -> Host {
        self.hosts[index].clone()
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Another switch, connected to nothing.
    pub fn bridge(&mut self) -> Bridge {
        let bridge = Bridge(self.n_bridges);
        let namespace = self.bridge_namespace(bridge);
        run(Command::new("ip").args(["netns", "add", &namespace]));
        self.n_bridges += 1;
        // A switch that floods multicast: without a querier on the net, snooping would only add chance.
        ip(&namespace, &["link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]);
        ip(&namespace, &["link", "set", "br0", "up"]);
        bridge
    }

    /// Plugs a host into a switch, as interface `eth` and the switch's number: for the first time, or again after
    /// [`Lab::unplug`].
    pub fn plug(&mut self, host: &Host, bridge: Bridge) {
        let switch = self.bridge_namespace(bridge);
        let port = host.port();
        let interface = host.interface(bridge);
        if self.cables.insert((host.index, bridge)) {
            self.lay_cable(host, bridge);
        } else {
            ip(&switch, &["link", "set", &port, "up"]);
        }
        // The kernel takes a moment from "up" to carrying packets, and drops what is sent in between.
        wait_for(&host.namespace, &interface, "state UP");
        wait_for(&switch, &port, "state forwarding");
    }

    fn lay_cable(&self, host: &Host, bridge: Bridge) {
        let (switch, port, interface) = (self.bridge_namespace(bridge), host.port(), host.interface(bridge));
        let ns = &host.namespace;
        ip(ns, &["link", "add", &interface, "type", "veth", "peer", "name", &port, "netns", &switch]);
        ip(&switch, &["link", "set", &port, "master", "br0"]);
        ip(&switch, &["link", "set", &port, "up"]);
        host.address_interface(bridge);
    }

    /// Pulls the cable between a host and a switch out of the switch: the host keeps its interface and address.
    pub fn unplug_from(&self, host: &Host, bridge: Bridge) {
        ip(&self.bridge_namespace(bridge), &["link", "set", &host.port(), "down"]);
    }

    /// Pulls all cables of a host.
    pub fn unplug(&self, host: &Host) {
        for &(index, bridge) in &self.cables {
            if index == host.index {
                self.unplug_from(host, bridge);
            }
        }
    }

    /// Moves these hosts from the first switch to one of their own beside it, joined to the first by one cable: the
    /// same network, with the same addresses, that can be cut in two. For once in a lab.
    pub fn split(&self, hosts: &[Host]) -> Trunk {
        let namespace = self.bridge_namespace(Bridge::FIRST);
        ip(&namespace, &["link", "add", "br1", "type", "bridge", "mcast_snooping", "0"]);
        ip(&namespace, &["link", "set", "br1", "up"]);
        ip(&namespace, &["link", "add", "trunk0", "type", "veth", "peer", "name", "trunk1"]);
        for (port, bridge) in [("trunk0", "br0"), ("trunk1", "br1")] {
            ip(&namespace, &["link", "set", port, "master", bridge]);
        }
        let trunk = Trunk { namespace };
        trunk.mend();
        for host in hosts {
            ip(&trunk.namespace, &["link", "set", &host.port(), "master", "br1"]);
            wait_for(&trunk.namespace, &host.port(), "state forwarding");
        }
        trunk
    }

    /// Records every packet that crosses the first switch, until the [`Capture`] is stopped or dropped.
    pub fn capture(&self, path: &Path) -> Capture {
        self.capture_on(Bridge::FIRST, path)
    }

    /// Records every packet that crosses a switch.
    pub fn capture_on(&self, bridge: Bridge, path: &Path) -> Capture {
        let mut tcpdump = in_namespace(&self.bridge_namespace(bridge), "tcpdump")
            .args(["--immediate-mode", "-U", "-n", "-Z", "root", "-i", "br0", "-w"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("tcpdump: {error}"));
        let mut talk = BufReader::new(tcpdump.stderr.take().expect("stderr is piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            let n = talk.read_line(&mut line).expect("tcpdump talks UTF-8");
            assert!(n > 0, "tcpdump ended before it listened");
        }
        Capture { tcpdump, path: path.to_owned(), talk: Box::new(talk) }
    }

    fn bridge_namespace(&self, bridge: Bridge) -> String {
        format!("{}-switch{}", self.name, bridge.0)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let switches = (0..self.n_bridges).map(|bridge| self.bridge_namespace(Bridge(bridge)));
        for namespace in self.hosts.iter().map(|host| host.namespace.clone()).chain(switches) {
            remove(&namespace);
        }
    }
}

impl Trunk {
    /// Pulls the cable out at both ends.
    pub fn cut(&self) {
        for port in ["trunk0", "trunk1"] {
            ip(&self.namespace, &["link", "set", port, "down"]);
        }
    }

    /// Plugs it in again.
    pub fn mend(&self) {
        for port in ["trunk0", "trunk1"] {
            ip(&self.namespace, &["link", "set", port, "up"]);
        }
        for port in ["trunk0", "trunk1"] {
            wait_for(&self.namespace, port, "state forwarding");
        }
    }
}

impl Host {
    /// Its address on the first switch.
    pub fn address(&self) -> Ipv4Addr {
        self.address_on(Bridge::FIRST)
    }

    /// Its address on a switch.
    pub const fn address_on(&self, bridge: Bridge) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, bridge.0, self.index + 1)
    }

    /// Its number in its lab, from 0.
    pub fn index(&self) -> usize {
        self.index.into()
    }

    /// Its interface to a switch.
    pub fn interface(&self, bridge: Bridge) -> String {
        format!("eth{}", bridge.0)
    }

    /// A program to be run on this host. The child's process id is the program's own.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        in_namespace(&self.namespace, program)
    }

    /// Runs `ip` with these arguments on this host.
    pub fn ip(&self, args: &[&str]) {
        ip(&self.namespace, args);
    }

    /// Loses this share of the packets that arrive here, loopback excepted. Replaces an earlier share.
    pub fn loss(&self, percent: u8) {
        match percent {
            0 => self.firewall(""),
            1..100 => self.firewall(&format!("iifname != \"lo\" numgen random mod 100 < {percent} drop")),
            100 => self.firewall("iifname != \"lo\" drop"),
            _ => panic!("a share of packets in percent, not {percent}"),
        }
    }

    /// Replaces the rules for arriving packets by these, in the words of nftables; none lets everything pass.
    pub fn firewall(&self, rules: &str) {
        // Declared and deleted first, so that it need not exist: one transaction.
        let script = format!(
            "table inet djembe\ndelete table inet djembe\ntable inet djembe {{\nchain arriving {{\n\
             type filter hook input priority 0; policy accept;\n{rules}\n}}\n}}\n"
        );
        let mut nft = self
            .command("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("nft: {error}"));
        nft.stdin.take().expect("stdin is piped").write_all(script.as_bytes()).expect("nft reads its rules");
        let output = nft.wait_with_output().expect("nft was started");
        assert!(output.status.success(), "nft: {}\n{script}", String::from_utf8_lossy(&output.stderr));
    }

    /// Takes away the route for multicast: what is left is a host that knows its subnets and nothing else.
    pub fn forget_multicast_route(&self, bridge: Bridge) {
        self.ip(&["route", "delete", "224.0.0.0/4", "dev", &self.interface(bridge)]);
    }

    /// Gives its interface to a switch its addresses and its route for multicast.
    pub(crate) fn address_interface(&self, bridge: Bridge) {
        let (interface, address) = (self.interface(bridge), format!("{}/24", self.address_on(bridge)));
        let broadcast = bridge.broadcast().to_string();
        let metric = (100 + u32::from(bridge.0)).to_string();
        self.ip(&["address", "add", &address, "broadcast", &broadcast, "dev", &interface]);
        self.ip(&["link", "set", &interface, "up"]);
        self.ip(&["route", "add", "224.0.0.0/4", "dev", &interface, "metric", &metric]);
    }

    /// A UDP socket on this host, for the test itself.
    #[cfg(target_os = "linux")]
    pub fn bind_udp(&self, port: u16) -> std::io::Result<std::net::UdpSocket> {
        let bind = || {
            self.enter()?;
            std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
        };
        // A thread stays where it has moved, so it is one that ends. The socket is of that host wherever it is used.
        std::thread::scope(|scope| scope.spawn(bind).join().expect("it returns its errors"))
    }

    /// Moves the calling thread, and what it opens from now on, onto this host.
    #[cfg(target_os = "linux")]
    pub(crate) fn enter(&self) -> std::io::Result<()> {
        let namespace = fs::File::open(Path::new("/run/netns").join(&self.namespace))?;
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        Ok(rustix::thread::move_into_link_name_space(namespace.as_fd(), kind)?)
    }

    /// Waits until an interface is up and something is at the other end of its cable.
    #[cfg(target_os = "linux")]
    pub(crate) fn wait_until_up(&self, interface: &str) {
        wait_for(&self.namespace, interface, "LOWER_UP");
    }

    fn set_up(&self) {
        // Link-local addresses are usable at once; otherwise each waits two seconds to see whether it is unique.
        for scope in ["all", "default"] {
            let knob = format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad");
            // A kernel without IPv6 has no such knob, and no need of it.
            let _ =
                self.command("sh").args(["-c", &format!("echo 0 >{knob}")]).stderr(Stdio::null()).status();
        }
        self.ip(&["link", "set", "lo", "up"]);
    }

    /// The name of its port on a switch.
    fn port(&self) -> String {
        format!("host{}", self.index)
    }
}

/// A running recording.
pub struct Capture {
    tcpdump: Child,
    path: PathBuf,
    /// Kept open: a tcpdump that cannot say its closing words would die of it.
    talk: Box<dyn Read + Send>,
}

impl Capture {
    /// Ends the recording and returns the file, complete.
    pub fn stop(mut self) -> PathBuf {
        self.finish();
        self.path.clone()
    }

    fn finish(&mut self) {
        if matches!(self.tcpdump.try_wait(), Ok(None)) {
            signal(self.tcpdump.id(), Signal::INT);
            let _ = self.talk.read_to_end(&mut Vec::new());
            let _ = self.tcpdump.wait();
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Removes the namespaces of runs whose process is no more, and what still runs in them.
pub fn sweep_dead_runs() {
    // Nothing there yet on a machine that never had a namespace.
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}

/// Ends what runs in a namespace, then the namespace; interfaces and bridges go with it. Says nothing: it runs
/// while a failed test unwinds, and the next run sweeps up what it could not remove.
fn remove(namespace: &str) {
    if let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() {
        for pid in String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.parse().ok()) {
            signal(pid, Signal::KILL);
        }
    }
    let _ = try_run(Command::new("ip").args(["netns", "delete", namespace]));
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

fn in_namespace(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

fn ip(namespace: &str, args: &[&str]) {
    run(Command::new("ip").args(["-n", namespace]).args(args));
}

/// Waits until the details of an interface contain `state`.
fn wait_for(namespace: &str, interface: &str, state: &str) {
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        let output = Command::new("ip").args(["-n", namespace, "-d", "link", "show", interface]).output();
        let details = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        if details.as_ref().is_ok_and(|details| details.contains(state)) {
            return;
        }
        assert!(Instant::now() < give_up, "{namespace}: {interface} is not in {state}: {details:?}");
        sleep(Duration::from_millis(5));
    }
}

fn run(command: &mut Command) {
    if let Err(reason) = try_run(command) {
        panic!("{reason}");
    }
}

fn try_run(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
