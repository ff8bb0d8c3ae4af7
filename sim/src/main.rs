//! `djembe-sim`: the simulator as a command.

fn main() {}
