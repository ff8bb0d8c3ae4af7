//! What discovery has tried and heard, for `status` and for the message that a node shows when it has found nobody.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Everything discovery can say about itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct DiscoveryReport {
    /// The network's name.
    pub(crate) network: String,
    /// None: switched off.
    pub(crate) beacon: Option<BeaconReport>,
    /// None: switched off.
    pub(crate) mdns: Option<MdnsReport>,
    /// One for each `--peer`.
    pub(crate) given: Vec<GivenReport>,
    /// None: there is no cache.
    pub(crate) cache: Option<CacheReport>,
    /// Peers to which a link stands.
    pub(crate) linked: usize,
    /// A link stood at some time.
    pub(crate) was_linked: bool,
}

/// The UDP beacon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct BeaconReport {
    /// The UDP port.
    pub(crate) port: u16,
    /// Beacons sent; each takes all paths.
    pub(crate) sent: u64,
    /// The present pause between two of them, in milliseconds.
    pub(crate) period_ms: u64,
    /// Peers heard of late.
    pub(crate) heard: usize,
    /// Of these, peers heard only from IPv6 link-local addresses, which cannot be dialled.
    pub(crate) heard_undialable: usize,
    /// Our own beacons that came back: with none, the system or a firewall drops them.
    pub(crate) heard_own: u64,
    /// Datagrams dropped, by cause.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Datagrams from addresses of no interface's network.
    pub(crate) received_elsewhere: u64,
    /// Why an address family, or the list of interfaces, is not to be had.
    pub(crate) errors: Vec<String>,
    /// Where beacons leave and come in.
    pub(crate) interfaces: Vec<InterfaceReport>,
}

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct InterfaceReport {
    /// As the system calls it.
    pub(crate) name: String,
    /// As the system numbers it.
    pub(crate) index: u32,
    /// Whether there is a cable or an access point.
    pub(crate) carrier: bool,
    /// Its addresses.
    pub(crate) addresses: Vec<String>,
    /// To the broadcast address of each network.
    pub(crate) broadcast: Vec<PathReport>,
    /// To the IPv4 group.
    pub(crate) multicast_v4: Vec<PathReport>,
    /// To the IPv6 group.
    pub(crate) multicast_v6: Vec<PathReport>,
    /// Datagrams that came from addresses of this interface's network, except our own.
    pub(crate) received: u64,
}

/// One path on an interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct PathReport {
    /// The source address.
    pub(crate) from: String,
    /// The destination.
    pub(crate) to: String,
    /// Datagrams sent.
    pub(crate) sent: u64,
    /// Datagrams the system refused to send.
    pub(crate) errors: u64,
    /// The last thing that went wrong, if anything did.
    pub(crate) last_error: Option<String>,
}

/// mDNS.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct MdnsReport {
    /// Peers it lists, strangers included.
    pub(crate) listed: usize,
}

/// One peer given by the user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct GivenReport {
    /// As given.
    pub(crate) address: String,
    /// Whether a link to it stands.
    pub(crate) linked: bool,
    /// Why its name cannot be looked up, or why no link came of the last dial.
    pub(crate) error: Option<String>,
}

/// The cache of known peers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct CacheReport {
    /// Addresses in it.
    pub(crate) addresses: usize,
    /// Why it could not be read or written.
    pub(crate) error: Option<String>,
}

/// What was tried, where, and what to try next: a few lines for a person.
impl fmt::Display for DiscoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "network \"{}\", {} linked", self.network, self.linked)?;
        match &self.beacon {
            None => writeln!(f, "beacon: switched off")?,
            Some(beacon) => write!(f, "{beacon}")?,
        }
        match &self.mdns {
            None => writeln!(f, "mDNS: switched off")?,
            Some(mdns) => writeln!(f, "mDNS: lists {}", mdns.listed)?,
        }
        for given in &self.given {
            let state = given.error.as_deref().unwrap_or(if given.linked { "linked" } else { "no link" });
            writeln!(f, "given {}: {state}", given.address)?;
        }
        self.advice().into_iter().try_for_each(|advice| writeln!(f, "try: {advice}"))
    }
}

impl fmt::Display for BeaconReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peers = if self.heard == 1 { "peer" } else { "peers" };
        writeln!(f, "beacon: UDP port {}, {} sent, {} {peers} heard of", self.port, self.sent, self.heard)?;
        self.errors.iter().try_for_each(|error| writeln!(f, "  {error}"))?;
        for interface in &self.interfaces {
            let carrier = if interface.carrier { "" } else { " (no carrier)" };
            let packets = if interface.received == 1 { "packet" } else { "packets" };
            writeln!(f, "  {}{carrier}: {} {packets} from others", interface.name, interface.received)?;
            for path in interface.paths() {
                write!(f, "    {} -> {}: {} sent", path.from, path.to, path.sent)?;
                match &path.last_error {
                    None => writeln!(f)?,
                    Some(error) => writeln!(f, ", {} not: {error}", path.errors)?,
                }
            }
        }
        let refused: Vec<String> =
            self.refused.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        if refused.is_empty() { Ok(()) } else { writeln!(f, "  packets not used: {}", refused.join(", ")) }
    }
}

impl InterfaceReport {
    fn paths(&self) -> impl Iterator<Item = &PathReport> {
        self.broadcast.iter().chain(&self.multicast_v4).chain(&self.multicast_v6)
    }
}

impl DiscoveryReport {
    /// What a person could do about having found nobody, the likeliest first; nothing while a link stands.
    pub(crate) fn advice(&self) -> Vec<String> {
        if self.linked > 0 {
            return Vec::new();
        }
        let no_answer = |given: &GivenReport| {
            let error = given.error.as_deref().unwrap_or("nothing came back so far");
            format!(
                "the given peer {} does not answer ({error}): see that it runs there and that its firewall lets \
                 this port through",
                given.address
            )
        };
        let mut advice: Vec<String> = self.given.iter().map(no_answer).collect();
        if let Some(beacon) = &self.beacon {
            let refused = |cause| beacon.refused.get(cause).copied().unwrap_or(0);
            if refused("other-network") > 0 {
                advice.push(format!(
                    "nodes of another network were heard: start all with the same --network (here \"{}\")",
                    self.network
                ));
            }
            if refused("version") > 0 {
                advice.push("nodes of another version were heard: update the older ones".to_owned());
            }
            if beacon.heard_undialable > 0 {
                advice.push(
                    "nodes are heard only from IPv6 link-local addresses, which cannot be dialled: give both hosts an \
                     IPv4 or a routable IPv6 address"
                        .to_owned(),
                );
            }
            if beacon.heard > beacon.heard_undialable {
                advice.push(
                    "nodes are heard but not reached: let their listening port through the firewall"
                        .to_owned(),
                );
            }
            let is_lan =
                |i: &&InterfaceReport| i.addresses.iter().any(|a| !a.starts_with("127.") && a != "::1");
            if !beacon.interfaces.iter().any(|interface| is_lan(&interface) && interface.carrier) {
                advice.push(
                    "no interface but loopback is in use, so nobody beyond this machine is found: connect it to \
                     a network"
                        .to_owned(),
                );
            }
            let n_received: u64 = beacon.interfaces.iter().map(|interface| interface.received).sum();
            // What let others through once does not keep them out.
            if !self.was_linked && beacon.heard == 0 && n_received + beacon.received_elsewhere == 0 {
                advice.push(format!(
                    "let UDP port {} through the firewalls of both hosts; guest Wi-Fi often keeps its clients apart",
                    beacon.port
                ));
            }
        }
        if self.beacon.is_none() && self.mdns.is_none() && self.given.is_empty() {
            advice.push("discovery is switched off and no peer is given".to_owned());
        }
        if self.was_linked && advice.is_empty() {
            advice.push("wait for the others: whoever left is found again when it is back".to_owned());
        } else if self.given.is_empty() {
            advice.push("name one peer: --peer /ip4/ADDRESS/tcp/PORT".to_owned());
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> DiscoveryReport {
        let path = PathReport {
            from: "10.0.0.1".to_owned(),
            to: "10.0.0.255".to_owned(),
            sent: 2,
            errors: 1,
            last_error: Some("Network is unreachable".to_owned()),
        };
        let interface = InterfaceReport {
            name: "eth0".to_owned(),
            index: 2,
            carrier: true,
            addresses: vec!["10.0.0.1".to_owned()],
            broadcast: vec![path],
            multicast_v4: Vec::new(),
            multicast_v6: Vec::new(),
            received: 3,
        };
        let beacon = BeaconReport {
            port: 24365,
            sent: 3,
            period_ms: 1000,
            heard: 0,
            heard_undialable: 0,
            heard_own: 0,
            refused: BTreeMap::from([("other-network", 3)]),
            received_elsewhere: 0,
            errors: Vec::new(),
            interfaces: vec![interface],
        };
        DiscoveryReport {
            network: "lan".to_owned(),
            beacon: Some(beacon),
            mdns: None,
            given: Vec::new(),
            cache: None,
            linked: 0,
            was_linked: false,
        }
    }

    #[test]
    fn says_what_was_tried_where_and_what_to_try_next() {
        let text = report().to_string();
        for part in [
            "UDP port 24365, 3 sent, 0 peers heard of",
            "eth0: 3 packets from others",
            "10.0.0.1 -> 10.0.0.255: 2 sent, 1 not: Network is unreachable",
            "packets not used: 3 other-network",
            "try: nodes of another network were heard",
            "--peer /ip4/ADDRESS/tcp/PORT",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn gives_no_advice_to_those_who_are_linked() {
        let given = vec![given(Some("Connection refused"))];
        let report = DiscoveryReport { linked: 1, given, ..report() };
        assert_eq!(report.advice(), Vec::<String>::new());
        assert!(!report.to_string().contains("try:"), "{report}");
    }

    fn given(error: Option<&str>) -> GivenReport {
        let address = "/ip4/10.0.0.9/tcp/9".to_owned();
        GivenReport { address, linked: false, error: error.map(str::to_owned) }
    }

    #[test]
    fn a_given_peer_that_does_not_answer_is_named_with_the_reason() {
        let report = DiscoveryReport { given: vec![given(Some("Connection refused"))], ..report() };
        let first = &report.advice()[0];
        assert!(
            first.starts_with("the given peer /ip4/10.0.0.9/tcp/9 does not answer (Connection refused)"),
            "{first}"
        );
        assert!(report.advice().iter().all(|advice| !advice.contains("--peer")), "{report}");
        assert!(report.to_string().contains("given /ip4/10.0.0.9/tcp/9: Connection refused"), "{report}");
    }

    #[test]
    fn firewalls_are_blamed_only_if_nothing_came_through() {
        let blames = |report: &DiscoveryReport| report.advice().iter().any(|text| text.contains("firewall"));
        let mut report = report();
        assert!(!blames(&report), "{report}");
        let beacon = report.beacon.as_mut().expect("switched on");
        beacon.refused.clear();
        beacon.interfaces[0].received = 0;
        assert!(blames(&report), "{report}");
        report.was_linked = true;
        assert!(!blames(&report), "it let somebody through: {report}");
        assert_eq!(report.advice(), ["wait for the others: whoever left is found again when it is back"]);
    }
}
