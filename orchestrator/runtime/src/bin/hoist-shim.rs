//! The shim's entry: one per container start, one per exec.

fn main() {}
