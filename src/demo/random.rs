//! A small seeded generator: the same demo every time, and no dependency.

use crate::model::Uuid;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `bound` − 1; 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() >> 32).unwrap_or(0).checked_rem(bound).unwrap_or(0)
    }

    /// Half to one and a half times `mean`.
    pub(super) fn around(&mut self, mean: u32) -> u32 {
        mean - mean / 2 + self.below(mean / 2 * 2 + 1)
    }

    /// As Kafka prints a random UUID.
    pub(super) fn id(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        Uuid((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).to_string()
    }

    /// As Java prints a random UUID.
    pub(super) fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }
}
