//! Small programs that embed a djembe node, or run their logic on simulated ones, in `src/bin`; each is built and run by `tests/run.rs`.

/// Lets a test keep an example to itself: another network, and only the loopback interface.
pub fn for_tests(builder: djembe::Builder) -> djembe::Builder {
    match std::env::var("DJEMBE_TEST_NETWORK") {
        Ok(network) => builder.network(network).interface("lo").mdns(false).listen("/ip4/127.0.0.1/tcp/0"),
        Err(_) => builder,
    }
}
