//! A device that publishes readings, best effort, and a reader that takes only what it wants.
//!
//! `cargo run -p djembe-examples --bin telemetry -- sensor` on the device, `... -- watch 'temp/+'` elsewhere.

use std::time::Duration;

use djembe::{Node, NodeError, Publish, SubscribeOptions};

#[tokio::main]
async fn main() -> Result<(), NodeError> {
    let mut args = std::env::args().skip(1);
    let role = args.next();
    let node = djembe_examples::for_tests(Node::builder().in_memory()).spawn().await?;
    let group = node.join("telemetry").await?;
    match (role.as_deref(), args.next()) {
        (Some("sensor"), n) => {
            let n: u32 = n.and_then(|n| n.parse().ok()).unwrap_or(u32::MAX);
            for reading in 0..n {
                let celsius = 20.0 + f64::from(reading % 10) / 10.0;
                let message = Publish::new(format!("{celsius:.1}")).live().subject("temp/kitchen");
                // Waits until somebody is there, and while the links are full.
                group.publish(message).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        (Some("watch"), pattern) => {
            let pattern = pattern.as_deref().unwrap_or("#").parse().expect("a pattern such as temp/+");
            let options = SubscribeOptions { pattern: Some(pattern), skip_own: true };
            let mut readings = group.subscribe_with(options).await?;
            while let Some(reading) = readings.next().await {
                println!("{} {}", reading.subject(), String::from_utf8_lossy(reading.body()));
            }
        }
        _ => eprintln!("usage: telemetry sensor [COUNT] | telemetry watch [PATTERN]"),
    }
    node.shutdown().await
}
