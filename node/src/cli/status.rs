//! `djembe status`: one screen, the verdict first.

use std::collections::BTreeSet;

use super::exit::Failure;
use super::global::Global;
use super::output::{Stdout, harmless};
use super::peers::{burden, first_look, lags};
use super::waiting::{count, linked, short};
use crate::control::Session;
use crate::status::Status;

/// From here on timers come so late that others may take the node for gone.
const STARVED: u32 = 4;

pub(super) async fn run(session: &Session, global: &Global) -> Result<(), Failure> {
    let status = first_look(session, global).await?;
    let mut stdout = Stdout::new();
    if global.json {
        stdout.json(&status);
    } else {
        stdout.line(screen(&status));
    }
    stdout.finish().await
}

/// One plain sentence: how it is, and what to do if it is not well.
fn verdict(status: &Status) -> String {
    let linked = linked(status);
    let members: BTreeSet<&String> = status.groups.iter().flat_map(|group| &group.members).collect();
    // A long list is not told whole.
    let largest = status.groups.iter().map(|group| group.member_count).max().unwrap_or(0);
    let members = members.len().max(largest);
    let queued: usize = status.groups.iter().map(|group| group.queued).sum();
    let missing: u64 = status.groups.iter().map(|group| group.missing).sum();
    let queue = match (queued, missing) {
        (0, 0) => "nothing queued".to_owned(),
        (0, missing) => {
            format!("fetching {}", count(usize::try_from(missing).unwrap_or(usize::MAX), "envelope"))
        }
        (queued, _) => format!("{} queued", count(queued, "message")),
    };
    if status.health >= STARVED {
        return format!(
            "Starved: timers are late ({} of 8); give this machine less to do, or others will take it for gone",
            status.health
        );
    }
    if linked == 0 {
        let who = if status.was_linked { "everybody has left" } else { "nobody is connected" };
        // What earlier runs left in the log may have been taken or not: nobody is here to say.
        let queue = if queued > 0 { format!(", {queue}") } else { String::new() };
        let advice = status.advice.first().map_or("name one peer with --peer", String::as_str);
        return format!("Alone: {who}{queue}; try: {advice}");
    }
    if status.groups.is_empty() {
        return format!("Connected: {}, in no group; join one with djembe up GROUP", count(linked, "node"));
    }
    if members == 0 {
        return format!(
            "Connected: {}, but nobody is in your groups, {queue}; check the group's name and passphrase on both sides",
            count(linked, "node")
        );
    }
    format!("Connected: {} online, {queue}", count(members, "member"))
}

/// `12 other members`, and how many of them are neighbours if not all are.
fn online(group: &crate::GroupInfo) -> String {
    let more = if group.is_sample { " or more" } else { "" };
    let members = format!("{}{more}", count(group.member_count, "other member"));
    if group.linked < group.member_count { format!("{members} ({} linked)", group.linked) } else { members }
}

fn gap_line(gap: &crate::GapInfo) -> String {
    let verdict = if gap.stale { ", but nobody gives it" } else { "" };
    format!(
        "    {} of {} missing for {} s: {} says there is more{verdict}",
        count(usize::try_from(gap.missing).unwrap_or(usize::MAX), "envelope"),
        short(&gap.author),
        gap.seconds,
        short(&gap.claimed_by),
    )
}

fn screen(status: &Status) -> String {
    let mut lines = vec![
        verdict(status),
        String::new(),
        format!("identity  {}", status.peer_id),
        format!("network   {}", harmless(&status.network)),
        format!("up        {} s", status.uptime_secs),
    ];
    for (n, address) in status.listen.iter().enumerate() {
        lines.push(format!("{:<10}{address}", if n == 0 { "listens" } else { "" }));
    }
    lines.push(String::new());
    lines.push(format!("{} known", count(status.peers.len(), "peer")));
    for peer in &status.peers {
        let rtt = peer.rtt_ms.map_or_else(String::new, |ms| format!("{ms:.1} ms"));
        let state = if lags(&peer.pace) { &peer.pace } else { &peer.state };
        let burden = burden(peer.queued_bytes, peer.blame);
        let line = format!("  {:<8}  {:<7}  {:<8}  {}{burden}", short(&peer.peer_id), state, rtt, peer.path);
        lines.push(line.trim_end().to_owned());
    }
    lines.push(String::new());
    lines.push(count(status.groups.len(), "group"));
    for group in &status.groups {
        lines.push(format!(
            "  {}: {} online, {} missing, {} queued",
            harmless(&group.name),
            online(group),
            count(usize::try_from(group.missing).unwrap_or(usize::MAX), "envelope"),
            count(group.queued, "message"),
        ));
        lines.extend(group.gaps.iter().map(gap_line));
        if group.trees > 0 {
            let of = if group.is_root { ", this node is root of one" } else { "" };
            lines.push(format!("    along {}{of}", count(group.trees, "tree")));
        }
    }
    let counted: Vec<String> =
        status.counters.iter().filter(|(_, n)| **n > 0).map(|(cause, n)| format!("  {cause} {n}")).collect();
    if !counted.is_empty() {
        lines.push(String::new());
        lines.push("counted".to_owned());
        lines.extend(counted);
    }
    lines.join("\n")
}
