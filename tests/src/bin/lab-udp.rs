//! Sends or receives datagrams on a host of a test laboratory: a netcat that knows broadcast and multicast.
//!
//! - `lab-udp send SOURCE TARGET TEXT...` sends one datagram for each text, from the local address SOURCE.
//! - `lab-udp receive LOCAL COUNT SECONDS [GROUP INTERFACE]` says `ready`, then a line `SENDER TEXT` for each
//!   datagram, and ends after COUNT of them or when SECONDS have passed. INTERFACE is an address for an IPv4
//!   group, an index for an IPv6 group.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["send", source, target, ref texts @ ..] => send(source.parse()?, target.parse()?, texts),
        ["receive", local, count, seconds, ref group @ ..] => {
            let socket = UdpSocket::bind(local.parse::<SocketAddr>()?)?;
            match *group {
                [group, interface] => join(&socket, group.parse()?, interface)?,
                [] => {}
                _ => return Err("a group needs an interface".into()),
            }
            receive(&socket, count.parse()?, Duration::from_secs(seconds.parse()?))
        }
        _ => Err("usage: lab-udp send|receive ...".into()),
    }
}

fn send(source: SocketAddr, target: SocketAddr, texts: &[&str]) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind(source)?;
    socket.set_broadcast(true)?;
    for text in texts {
        socket.send_to(text.as_bytes(), target)?;
    }
    Ok(())
}

fn join(socket: &UdpSocket, group: IpAddr, interface: &str) -> Result<(), Box<dyn Error>> {
    match group {
        IpAddr::V4(group) => socket.join_multicast_v4(&group, &interface.parse()?)?,
        IpAddr::V6(group) => socket.join_multicast_v6(&group, interface.parse()?)?,
    }
    Ok(())
}

fn receive(socket: &UdpSocket, count: usize, patience: Duration) -> Result<(), Box<dyn Error>> {
    println!("ready");
    let end = Instant::now() + patience;
    let mut buffer = [0; 2048];
    for _ in 0..count {
        let left = end.saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match socket.recv_from(&mut buffer) {
            Ok((n, sender)) => println!("{} {}", sender.ip(), String::from_utf8_lossy(&buffer[..n])),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
