//! Tests of the loader. Those that need MLX run where the build has it: on macOS, and on Linux after `linux/setup.sh`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[cfg(any(target_os = "macos", longshore_mlx))]
mod arrays;
#[cfg(any(target_os = "macos", longshore_mlx))]
mod casts;
mod directories;
#[cfg(any(target_os = "macos", longshore_mlx))]
mod experts;
#[cfg(any(target_os = "macos", longshore_mlx))]
mod foreign;
mod gguf;
#[cfg(any(target_os = "macos", longshore_mlx))]
mod lifetimes;
mod open;
#[cfg(any(target_os = "macos", longshore_mlx))]
mod peer;
#[cfg(any(target_os = "macos", longshore_mlx))]
mod products;
mod refused;
#[cfg(any(target_os = "macos", longshore_mlx))]
mod shares;
mod support;

/// Where a variable says that MLX is there, a build without it is an error rather than a reason to skip.
#[test]
fn mlx_is_there_where_it_is_said_to_be() {
    let is_built = cfg!(any(target_os = "macos", longshore_mlx));
    let is_expected = std::env::var_os("LONGSHORE_TEST_MLX").is_some_and(|value| value == "1");
    assert!(is_built || !is_expected, "LONGSHORE_TEST_MLX is set, and this build has no MLX: run linux/setup.sh");
}
