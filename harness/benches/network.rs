//! What the way to the endpoint costs: `cargo bench -p harness --bench network`.
//!
//! The CPU time of exports by bare sockets and by the network that stands between, and the time of a freeze
//! that finds nothing open. Both ends are in this process.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

#[expect(dead_code, reason = "tests need all of it")]
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/network/world.rs"]
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::cloud::network::Network;
use mock_coralogix::{ApiKeys, Direct, Endpoint, EndpointConfig, Observer, Received, Refusal, TlsIdentity, Transport};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use tokio::net::TcpListener;
use verifier::event::Export;
use verifier::{EventKind, Peer};
use world::{Function, KEY, NOTHING, World};

/// Exports of a round.
const EXPORTS: u32 = 2_000;
/// Rounds of each kind, which take turns.
const ROUNDS: u32 = 5;
/// Freezes.
const FREEZES: u32 = 1_000;

fn main() {
    cpu_time_of_exports();
    time_of_a_freeze();
}

fn cpu_time_of_exports() {
    let mut spent = [Duration::ZERO; 2];
    for _ in 0..ROUNDS {
        spent[0] += exports(Direct);
        spent[1] += exports(Network::default());
    }
    let [without, with] = spent.map(|spent| spent / (ROUNDS * EXPORTS));
    let ratio = with.as_secs_f64() / without.as_secs_f64();
    println!("CPU time of an export: {without:?} without a network, {with:?} with it: {ratio:.2}");
}

/// The CPU time of exports by one connection, one after another.
fn exports(transport: impl Transport) -> Duration {
    let world = World::new();
    let identity = TlsIdentity::generate().unwrap();
    let config = EndpointConfig::tls(ApiKeys::only([KEY]), Arc::new(Deaf), identity.clone());
    let listener = world.wait("bind", TcpListener::bind("127.0.0.1:0")).unwrap();
    let function = Function::new(listener.local_addr().unwrap(), identity.ca_pem());
    let (endpoint, never) = (Endpoint::new(config), std::future::pending());
    world.runtime.spawn(mock_coralogix::serve_over(transport, listener, endpoint, Peer::Anyone, never));
    function.export("first").unwrap();
    let before = cpu_time();
    (0..EXPORTS).for_each(|_| function.export("measured").unwrap());
    let spent = cpu_time() - before;
    assert_eq!(function.tap.connections(), 1, "setting up another would have been measured");
    spent
}

fn time_of_a_freeze() {
    let mut world = World::new();
    let environment = world.environment(Duration::ZERO);
    environment.function.export("first").unwrap();
    world.freeze(&environment);
    let start = Instant::now();
    (0..FREEZES).for_each(|_| assert_eq!(world.freeze(&environment), NOTHING));
    println!("mark and drain of a freeze: {:?}", start.elapsed() / FREEZES);
    assert!(matches!(world.events.seen(), [EventKind::ExportAnswered(_)]), "there was a connection to look at");
}

/// An observer that keeps nothing.
struct Deaf;

impl Observer for Deaf {
    fn export(&self, _: Received, _: Export) {}
    fn refused(&self, _: Received, _: &Peer, _: Refusal) {}
}

/// The CPU time of this process.
fn cpu_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let of = |time: TimeVal| {
        let microseconds = u32::try_from(time.tv_usec()).unwrap();
        Duration::new(time.tv_sec().unsigned_abs(), microseconds * 1_000)
    };
    of(usage.user_time()) + of(usage.system_time())
}
