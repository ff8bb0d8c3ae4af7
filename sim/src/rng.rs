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
    /// How wrong a clock is.
    Clock = 9,
    /// What breaks, and when.
    Faults = 10,
    /// A whole scenario.
    Scenario = 11,
    /// What an application draws.
    App = 12,
    /// What a baseline draws by lot.
    Baseline = 13,
    /// Who is in which group.
    Groups = 14,
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

    /// A time from an exponential distribution: how long until something that comes at any moment alike.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let lot = (self.below(1 << 52) + 1) as f64 / (1u64 << 52) as f64;
        mean.mul_f64(-ln(lot)).max(Duration::from_micros(1))
    }

    /// A time below `max`.
    pub fn time_below(&mut self, max: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(max.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// The natural logarithm of a number from 0 to 1, with nothing but the four operations, which are the same on all
/// machines: those of libraries differ in the last bit.
fn ln(x: f64) -> f64 {
    let (mut x, mut halvings) = (x, 0.0);
    while x < 0.75 {
        x *= 2.0;
        halvings += 1.0;
    }
    // 2 artanh((x - 1) / (x + 1)), of which |z| <= 1/7: eight terms are good to 1e-15.
    let z = (x - 1.0) / (x + 1.0);
    let square = z * z;
    let (mut power, mut sum) = (z, 0.0);
    for n in 0..8 {
        sum += power / f64::from(2 * n + 1);
        power *= square;
    }
    2.0 * sum - halvings * core::f64::consts::LN_2
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_one() {
        for x in [1.0, 0.9, 0.75, 0.5, 0.3, 1e-3, 1e-9] {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-12, "{x}: {} and {}", ln(x), f64::ln(x));
        }
    }

    #[test]
    fn exponential_times_have_their_mean() {
        let mut rng = Rng::split(1, 0, 0, Purpose::Faults);
        let mean = Duration::from_secs(10);
        let sum: Duration = (0..10_000).map(|_| rng.exponential(mean)).sum();
        assert!((9_700..10_300).contains(&(sum / 10_000).as_millis()), "{:?}", sum / 10_000);
    }
}
