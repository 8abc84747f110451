//! The benchmarks are a package of their own, so that no other build compiles what only they need.
