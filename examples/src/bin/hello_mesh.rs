//! The smallest program that embeds a node: joins a group, says hello, prints what others say.
//!
//! Run it on two machines of one LAN, or in two terminals: `cargo run -p djembe-examples --bin hello_mesh -- NAME`.

use djembe::{Node, NodeError, SubscribeOptions};

#[tokio::main]
async fn main() -> Result<(), NodeError> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "somebody".to_owned());
    let node = djembe_examples::for_tests(Node::builder().in_memory()).spawn().await?;
    let group = node.join("lobby").await?;
    let mut messages =
        group.subscribe_with(SubscribeOptions { skip_own: true, ..SubscribeOptions::default() }).await?;
    let receipt = group.publish(format!("hello from {name}")).await?;
    let message = messages.next().await.expect("the node runs");
    println!("{} says: {}", message.author().short(), String::from_utf8_lossy(message.body()));
    let stored_by = receipt.stored_by(1).await?;
    println!("our hello is with {} other(s)", stored_by.len());
    node.shutdown().await
}
