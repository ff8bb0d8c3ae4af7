//! `djembe`: the node as a command.

fn main() {}
