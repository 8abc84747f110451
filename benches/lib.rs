//! The benchmarks are a separate package, so that other builds do not compile their dependencies.
