//! Bytes as they travel: fixed layouts that are parsed once into types which cannot hold anything else.

pub mod beacon;
pub mod envelope;
