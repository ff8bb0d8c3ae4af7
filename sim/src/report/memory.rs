//! Where the memory of a simulation goes: what each part of its nodes takes, about, when it ends.

use std::collections::BTreeMap;

use djembe_protocol::engine::Engine;

use crate::world::World;

/// Bytes a node, by part; what its engine has, and what the simulator has for it.
pub fn memory(world: &World) -> BTreeMap<String, u64> {
    let mut parts: BTreeMap<String, usize> = BTreeMap::new();
    let mut add = |part: &str, bytes: usize| *parts.entry(part.to_owned()).or_default() += bytes;
    for node in 0..world.n_nodes() {
        let host = world.host(node);
        for (part, bytes) in host.engine.iter().flat_map(Engine::memory) {
            add(part, bytes);
        }
        host.memory().into_iter().for_each(|(part, bytes)| add(part, bytes));
    }
    for (part, bytes) in world.memory() {
        add(part, bytes);
    }
    let n = world.n_nodes().max(1);
    parts.into_iter().map(|(part, bytes)| (part, (bytes / n) as u64)).collect()
}
