//! The way between a function and the endpoint, with a real OTLP client over TLS at its one end.
//!
//! The function is a client on a runtime of its own, on the test's thread: whenever the test does
//! something else, nothing of it runs, as when its process is stopped. One test stops a real process:
//! this very program, started once more.
#![expect(clippy::unwrap_used, reason = "a panic is how tests fail")]

#[expect(dead_code, reason = "other tests need all of it")]
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::future::poll_fn;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::{Pin, pin};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use harness::cloud::network::{Conditions, Network};
use harness::collect::Listener;
use mock_coralogix::{
    ApiKeys, Carried, Endpoint as Coralogix, EndpointConfig, Observer, Received, Refusal, TlsIdentity, Transport,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, poll};
use support::states;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;
use verifier::event::{Cut, Export, OpenExchanges};
use verifier::{EventKind, Peer};
use world::{Environment, Function, KEY, NOTHING, PADDING, Tap, World, send};

/// The latencies that everything is tried with.
const LATENCIES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(5)];

const ONE_EXPORT: OpenExchanges = OpenExchanges { exports: 1, connections: 0 };

/// What the process under test is to do; set, this program is that process.
const ROLE: &str = "NETWORK_TEST_ROLE";
const AUTHORITY: &str = "NETWORK_TEST_AUTHORITY";
const CA_PEM: &str = "NETWORK_TEST_CA_PEM";

impl World {
    /// The names of the spans that were recorded so far.
    fn recorded(&mut self) -> Vec<String> {
        self.events.seen().iter().filter_map(export).flat_map(names).collect()
    }

    fn has_recorded(&mut self, name: &str) -> bool {
        self.recorded().iter().any(|recorded| recorded == name)
    }

    /// An export was recorded before the drain was over, or was not sent whole and cannot be.
    fn assert_settled(&mut self, name: &str) {
        if !self.has_recorded(name) {
            thread::sleep(Duration::from_millis(20));
            assert!(!self.has_recorded(name), "{name} was recorded after the drain");
        }
    }

    /// Waits until an export is recorded.
    fn until_recorded(&mut self, name: &str) {
        let is_it = |event: &EventKind| export(event).is_some_and(|export| names(export).contains(&name.to_owned()));
        self.runtime.block_on(self.events.until(1, is_it));
    }
}

fn export(event: &EventKind) -> Option<&Export> {
    match event {
        EventKind::ExportAnswered(export) => Some(export),
        _ => None,
    }
}

fn names(export: &Export) -> Vec<String> {
    export.payload.resources().flat_map(|resource| resource.spans()).map(|span| span.name.to_owned()).collect()
}

impl Function {
    /// Exports a span until it is accepted, as exporters do that try again.
    fn export_until_accepted(&self, name: &str) {
        let accepted = (0..5).any(|_| self.export(name).is_ok());
        assert!(accepted, "{name} was not accepted in five attempts");
    }

    /// Begins to export a span; whatever becomes of it, it is only while the function is awake.
    fn begin(&self, name: &str) -> JoinHandle<Result<(), Status>> {
        self.runtime.spawn(send(self.client.clone(), name.to_owned()))
    }

    /// Exports a span and goes on as soon as it is written.
    fn export_unawaited(&self, name: &str) -> JoinHandle<Result<(), Status>> {
        let before = self.tap.written();
        self.tap.read.store(0, Ordering::SeqCst);
        let export = self.begin(name);
        self.awake(async {
            self.tap.until_written(before + PADDING).await;
            // The end of the request is a frame of its own.
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
        });
        export
    }
}

impl Tap {
    fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    async fn until_written(&self, count: usize) {
        while self.written() < count {
            self.wrote.notified().await;
        }
    }

    /// Whether something has come for the function since it began its last export, be it read or not.
    fn may_be_answered(&self) -> bool {
        let sockets = self.sockets.lock().unwrap();
        let has_read = self.read.load(Ordering::SeqCst) > 0;
        has_read || sockets.iter().any(|socket| socket.peek(&mut [0]).is_ok())
    }

    /// The port of the first connection's end.
    fn port(&self) -> u16 {
        self.sockets.lock().unwrap()[0].local_addr().unwrap().port()
    }
}

#[test]
fn awaited_export_is_never_open() {
    for latency in LATENCIES {
        let world = World::new();
        thread::scope(|scope| {
            for thread in 0..4 {
                let environment = world.environment(latency);
                let world = &world;
                scope.spawn(move || {
                    for export in 0..250 {
                        environment.function.export(&format!("{thread}-{export}")).unwrap();
                        assert_eq!(world.freeze(&environment).exports, 0, "{latency:?}, export {export} of {thread}");
                    }
                });
            }
        });
    }
}

/// Brings an environment into a state in which an export is not answered, twenty times for each latency,
/// and looks what a freeze finds. What the function has been given by the moment of the mark may have been
/// the answer: such an attempt says nothing and is made again.
fn assert_always_open(bring: impl Fn(&mut World, &Environment, &str)) {
    for latency in LATENCIES {
        let mut world = World::new();
        let environment = world.environment(latency);
        environment.function.export("first").unwrap();
        world.freeze(&environment);
        let mut conclusive = 0;
        for attempt in 0..1_000 {
            let name = format!("{latency:?}-{attempt}");
            bring(&mut world, &environment, &name);
            environment.network().mark();
            let answered = environment.function.tap.may_be_answered();
            let open = world.drain(environment.network());
            world.assert_settled(&name);
            if !answered {
                assert_eq!(open, ONE_EXPORT, "{name}");
                conclusive += 1;
            }
            if conclusive == 20 {
                break;
            }
            // It reads what it was answered.
            environment.function.export("awaited").unwrap();
            assert_eq!(world.freeze(&environment), NOTHING, "after {name}");
        }
        // Without latency, a machine may always answer before anybody can look.
        assert!(conclusive == 20 || latency.is_zero(), "only {conclusive} conclusive attempts");
    }
}

#[test]
fn export_that_is_written_and_not_awaited_is_open_every_time() {
    assert_always_open(|_, environment, name| drop(environment.function.export_unawaited(name)));
}

#[test]
fn export_whose_answer_is_on_its_way_back_is_open_every_time() {
    assert_always_open(|world, environment, name| {
        drop(environment.function.export_unawaited(name));
        world.until_recorded(name);
    });
}

#[test]
fn export_that_begins_after_the_mark_is_open_even_by_a_new_connection() {
    let world = World::new();
    let environment = world.environment(Duration::ZERO);
    environment.network().mark();
    environment.function.export("first").unwrap();
    environment.function.export("second").unwrap();
    assert_eq!(world.drain(environment.network()).exports, 2);
    assert_eq!(world.freeze(&environment), NOTHING);
}

#[test]
fn connection_that_is_being_set_up_is_told() {
    for latency in LATENCIES {
        let world = World::new();
        let environment = world.environment(latency);
        let export = environment.function.begin("first");
        environment.function.awake(environment.function.tap.until_written(1));
        assert_eq!(world.freeze(&environment), OpenExchanges { exports: 0, connections: 1 });
        environment.function.awake(export).unwrap().unwrap();
        assert_eq!(world.freeze(&environment), NOTHING);
    }
}

#[test]
fn connection_that_is_cut_while_it_is_set_up_is_nobodys_failure() {
    for cut in Cut::ALL {
        let mut world = World::new();
        let environment = world.environment(Duration::ZERO);
        let export = environment.function.begin("first");
        environment.function.awake(environment.function.tap.until_written(1));
        world.freeze(&environment);
        environment.network().cut(cut);
        if cut != Cut::BlackHole {
            environment.function.awake(export).unwrap().unwrap_err();
        }
        drop(environment);
        world.wait("the end", world.collector.close());
        assert_eq!(world.events.seen(), [], "{cut:?}");
    }
}

#[test]
fn export_that_the_function_has_given_up_is_not_open() {
    let world = World::new();
    let environment = world.environment(Duration::from_millis(100));
    let (function, tap) = (&environment.function, &environment.function.tap);
    function.export("first").unwrap();
    let gives_up = |attempt: usize| {
        let export = function.export_unawaited(&format!("given up {attempt}"));
        let before = tap.written();
        function.awake(async {
            export.abort();
            // Only what is not answered can be given up.
            let told = tokio::time::timeout(Duration::from_secs(1), tap.until_written(before + 1)).await;
            for _ in 0..16 {
                tokio::task::yield_now().await;
            }
            told.is_ok()
        })
    };
    assert!((0..20).any(gives_up), "it was answered each time");
    assert_eq!(world.freeze(&environment).exports, 0);
}

/// Something that is answered when the test says so.
struct Slow(Mutex<mpsc::Receiver<()>>);

impl Observer for Slow {
    fn export(&self, _: Received, _: Export) {
        tokio::task::block_in_place(|| self.0.lock().unwrap().recv().ok());
    }

    fn refused(&self, _: Received, _: &Peer, refusal: Refusal) {
        panic!("{refusal}");
    }
}

#[test]
fn export_that_the_endpoint_holds_back_is_open_and_not_waited_for() {
    let world = World::new();
    let (answer, held) = mpsc::channel();
    let identity = TlsIdentity::generate().unwrap();
    let keys = ApiKeys::only([KEY]);
    let endpoint = Coralogix::new(EndpointConfig::tls(keys, Arc::new(Slow(Mutex::new(held))), identity.clone()));
    let listener = world.wait("bind", TcpListener::bind("127.0.0.1:0")).unwrap();
    let function = Function::new(listener.local_addr().unwrap(), identity.ca_pem());
    let network = Network::default();
    network.attach(&listener).unwrap();
    let serving = mock_coralogix::serve_over(network.clone(), listener, endpoint, Peer::Anyone, std::future::pending());
    world.runtime.spawn(serving);

    answer.send(()).unwrap();
    function.export("first").unwrap();
    let export = function.export_unawaited("held");
    network.mark();
    assert_eq!(world.drain(&network), ONE_EXPORT);
    answer.send(()).unwrap();
    function.awake(export).unwrap().unwrap();
    network.mark();
    assert_eq!(world.drain(&network), NOTHING);
}

/// What is left of a function's connection after a cut, and whether its next export arrives.
fn assert_recovers_from(cut: Cut) {
    for latency in LATENCIES {
        let mut world = World::new();
        let environment = world.environment(latency);
        environment.function.export("first").unwrap();
        assert_eq!(world.freeze(&environment).exports, 0);
        environment.network().cut(cut);
        environment.function.export_until_accepted("second");
        assert!(world.has_recorded("second"));
        assert!(environment.function.tap.connections() > 1, "it connected again");
        assert_eq!(world.freeze(&environment).exports, 0);
        let refused = world.events.seen().iter().any(|event| matches!(event, EventKind::ExportRefused { .. }));
        assert!(!refused, "a cut is nobody's failure");
    }
}

#[test]
fn function_recovers_from_a_connection_that_is_closed() {
    assert_recovers_from(Cut::Fin);
}

#[test]
fn function_recovers_from_a_connection_that_is_reset() {
    assert_recovers_from(Cut::Reset);
}

#[test]
fn function_recovers_from_a_connection_that_is_half_closed() {
    assert_recovers_from(Cut::HalfClose);
}

#[test]
fn what_goes_into_a_black_hole_never_arrives_and_is_not_waited_for() {
    let mut world = World::new();
    let environment = world.environment(LATENCIES[1]);
    let function = &environment.function;
    function.export("first").unwrap();
    assert_eq!(world.freeze(&environment), NOTHING);
    environment.network().cut(Cut::BlackHole);

    drop(function.export_unawaited("lost"));
    let waited = function.awake(async {
        let export = send(function.client.clone(), "lost as well".to_owned());
        tokio::time::timeout(Duration::from_millis(200), export).await
    });
    assert!(waited.is_err(), "{waited:?}");
    assert_eq!(function.tap.connections(), 1, "nobody tells the function that its connection is dead");
    assert_eq!(world.freeze(&environment), NOTHING);
    assert_eq!(world.recorded(), ["first"]);

    let other = Function::new(environment.listener.address(), &world.ca_pem);
    other.export("by another connection").unwrap();
    assert!(world.has_recorded("by another connection"));
}

#[test]
fn nothing_is_left_of_a_listener_that_is_dropped() {
    let mut world = World::new();
    let environment = world.environment(Duration::ZERO);
    environment.function.export("first").unwrap();
    environment.network().cut(Cut::BlackHole);
    let other = Function::new(environment.listener.address(), &world.ca_pem);
    other.export("second").unwrap();
    let (network, address) = (environment.network().clone(), environment.listener.address());
    assert_eq!(network.connections(), 2);

    drop(environment.listener);
    world.wait("the end", world.collector.close());
    assert_eq!(network.connections(), 0);
    StdListener::bind(address).unwrap();
    let mut socket = environment.function.tap.sockets.lock().unwrap().remove(0);
    socket.set_nonblocking(false).unwrap();
    let ended = io::copy(&mut socket, &mut io::sink());
    assert!(ended.is_ok() || ended.unwrap_err().kind() == io::ErrorKind::ConnectionReset, "it was closed at last");
    assert_eq!(world.recorded(), ["first", "second"]);
}

/// A network and both ends of a connection that goes by it.
async fn connected(latency: Duration) -> (Network, TcpStream, <Network as Transport>::Stream) {
    let network = Network::new(Conditions { latency });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let function = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let Carried { stream, carrier, .. } = poll_fn(|cx| network.poll_accept(cx, &listener)).await.unwrap();
    tokio::spawn(carrier.unwrap());
    (network, function, stream)
}

#[tokio::test(start_paused = true)]
async fn bytes_take_the_latency_in_each_direction() {
    let latency = Duration::from_secs(3600);
    let (_network, mut function, mut endpoint) = connected(latency).await;
    let sent = Instant::now();
    function.write_all(b"there").await.unwrap();
    endpoint.read_exact(&mut [0; 5]).await.unwrap();
    assert!(sent.elapsed() >= latency);
    endpoint.write_all(b"back").await.unwrap();
    endpoint.flush().await.unwrap();
    function.read_exact(&mut [0; 4]).await.unwrap();
    assert!(sent.elapsed() >= 2 * latency);
    drop(endpoint);
    assert_eq!(function.read(&mut [0]).await.unwrap(), 0);
    assert!(sent.elapsed() >= 3 * latency, "the end comes as late as bytes do");
}

#[tokio::test]
async fn connection_that_waits_to_be_accepted_is_waited_for() {
    let network = Network::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    network.attach(&listener).unwrap();
    let _function = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    poll(&mut [PollFd::new(&listener, PollFlags::IN)], None).unwrap();

    let mut drained = pin!(network.drained());
    assert!(poll_once(drained.as_mut()).await.is_none(), "somebody waits in the queue");
    drop(poll_fn(|cx| network.poll_accept(cx, &listener)).await.unwrap());
    assert_eq!(drained.await, NOTHING);
}

/// What a future comes to if it need not wait.
async fn poll_once<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(ready) => Poll::Ready(Some(ready)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn sender_waits_for_a_receiver_that_does_not_read_and_loses_nothing() {
    const SENT: usize = 64 << 20;
    let world = World::new();
    let (_network, function, mut endpoint) = world.wait("connect", connected(Duration::ZERO));
    let mut function = function.into_std().unwrap();
    function.set_nonblocking(false).unwrap();
    let byte = |position: usize| (position / 1_000) as u8;
    let written = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let bytes: Vec<u8> = (0..SENT).map(byte).collect();
            for chunk in bytes.chunks(1 << 16) {
                function.write_all(chunk).unwrap();
                written.fetch_add(chunk.len(), Ordering::SeqCst);
            }
            drop(function);
        });
        // It gets no further: that it has stopped is only seen by looking again and again.
        let mut looks = (0, 0);
        while looks.1 < 100 {
            let now = written.load(Ordering::SeqCst);
            looks = if now == looks.0 && now > 0 { (now, looks.1 + 1) } else { (now, 0) };
            thread::sleep(Duration::from_millis(1));
        }
        assert!(written.load(Ordering::SeqCst) < SENT, "nothing made the sender wait");
        let mut read = Vec::new();
        world.wait("the rest", endpoint.read_to_end(&mut read)).unwrap();
        assert_eq!(read.len(), SENT);
        assert!(read.iter().enumerate().all(|(position, read)| *read == byte(position)));
    });
}

/// A real process that is stopped.
struct Process {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(world: &World, listener: &Listener, role: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "freezing_a_real_process_tells_what_is_open", "--nocapture"])
            .env(ROLE, role)
            .env(AUTHORITY, listener.address().to_string())
            .env(CA_PEM, &world.ca_pem)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits until it asks for its next invocation, and tells from which port it has exported what may
    /// not be answered yet.
    fn asks_for_next(&mut self) -> Option<u16> {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the process has ended");
            // The test's own output may precede it.
            if let Some((_, port)) = line.trim().rsplit_once("next from ") {
                return port.parse().ok();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        while states(self.child.id()).iter().any(|state| *state != 'T') {
            thread::yield_now();
        }
    }

    fn go_on(&mut self) {
        self.signal(Signal::SIGCONT);
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Whether a process has unread bytes in its end of a connection (proc_pid_net(5), `tcp`).
fn has_unread(port: u16, endpoint: SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = format!("0100007F:{port:04X} 0100007F:{:04X}", endpoint.port());
    let line = table.lines().find(|line| line.contains(&ends)).unwrap();
    let queues = line.split_whitespace().nth(4).unwrap();
    !queues.ends_with(":00000000")
}

#[test]
fn freezing_a_real_process_tells_what_is_open() {
    if let Ok(role) = std::env::var(ROLE) {
        return be_a_function(&role);
    }
    let mut world = World::new();
    let listener = world.listen(Duration::from_millis(100));
    let mut awaiting = Process::start(&world, &listener, "awaits");
    for invocation in 0..5 {
        awaiting.asks_for_next();
        listener.network().mark();
        awaiting.stop();
        assert_eq!(world.drain(listener.network()), NOTHING, "invocation {invocation}");
        awaiting.go_on();
    }
    drop(awaiting);

    let listener = world.listen(Duration::from_millis(100));
    let mut careless = Process::start(&world, &listener, "does not wait");
    let mut conclusive = 0;
    for invocation in 0..20 {
        let port = careless.asks_for_next();
        listener.network().mark();
        careless.stop();
        let answered = port.is_none_or(|port| has_unread(port, listener.address()));
        let open = world.drain(listener.network());
        world.assert_settled(&format!("invocation {invocation}"));
        // An answer that is there may have come before the mark.
        if !answered {
            assert_eq!(open.exports, 1, "invocation {invocation}");
            conclusive += 1;
        }
        if conclusive == 5 {
            return;
        }
        careless.go_on();
    }
    panic!("only {conclusive} conclusive invocations");
}

/// The function of [`freezing_a_real_process_tells_what_is_open`].
fn be_a_function(role: &str) {
    let address = std::env::var(AUTHORITY).unwrap().parse().unwrap();
    let function = Function::new(address, &std::env::var(CA_PEM).unwrap());
    function.export("first").unwrap();
    let mut going_on = [0];
    for invocation in 0.. {
        let name = format!("invocation {invocation}");
        match role {
            "awaits" => function.export(&name).unwrap(),
            _ => drop(function.export_unawaited(&name)),
        }
        match function.tap.may_be_answered() {
            true => say("next from nowhere"),
            false => say(&format!("next from {}", function.tap.port())),
        }
        if io::stdin().read_exact(&mut going_on).is_err() {
            return;
        }
        // What it did not wait for is over before it does more.
        function.export("in between").unwrap();
    }
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn say(words: &str) {
    println!("\n{words}");
}
