//! `djembe-sim`: runs scenarios in the simulator.

fn main() {}
