//! Randomness from one seed, split for every node and purpose, so that a draw more in one place changes no other.

use core::time::Duration;

use djembe_protocol::io::Secrets;
use rand_core::{Rng as _, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What a stream of randomness is for. The numbers are part of what a seed means.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub enum Purpose {
    /// The key of a node.
    Identity = 1,
    /// An engine's choices.
    Choices = 2,
    /// An engine's salts and nonces.
    Secrets = 3,
    /// Latency, jitter and loss of what a node sends.
    Network = 4,
    /// When discovery tells a node about another.
    Discovery = 5,
    /// When a node publishes, and what.
    Workload = 6,
    /// How long a disk takes.
    Disk = 7,
    /// What an attacker does.
    Attack = 8,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(Xoshiro256PlusPlus);

impl Rng {
    /// The stream of a purpose of a node, in its `run`th run.
    pub fn split(seed: u64, node: usize, run: u64, purpose: Purpose) -> Self {
        Self(Xoshiro256PlusPlus::from_seed(split_bytes(seed, node, run, purpose)))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `n`; zero if `n` is.
    pub fn below(&mut self, n: u64) -> u64 {
        // The upper half of a 128-bit product (Lemire): no bias that a simulation could see.
        u64::try_from((u128::from(self.next_u64()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && ((self.next_u64() >> 11) as f64) < p * (1u64 << 53) as f64
    }

    /// A time below `max`.
    pub fn time_below(&mut self, max: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(max.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// 32 bytes that depend on everything named.
pub fn split_bytes(seed: u64, node: usize, run: u64, purpose: Purpose) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("djembe-sim seed split");
    hasher.update(&seed.to_le_bytes());
    hasher.update(&(node as u64).to_le_bytes());
    hasher.update(&run.to_le_bytes());
    hasher.update(&[purpose as u8]);
    *hasher.finalize().as_bytes()
}

/// What the operating system's entropy is to a node: here it comes from the seed too.
#[derive(Debug)]
pub struct SeededSecrets(pub Rng);

impl Secrets for SeededSecrets {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}
