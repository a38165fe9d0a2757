use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream as Tcp};

use rdcq_env::Env;
use rdcq_transport::Bandwidth;
use rdcq_wire::{Identity, Role};

use super::*;

/// No answer of these tests takes as long, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the tests give a slow client.
const SHORT: Duration = Duration::from_millis(300);

async fn start(bounds: Bounds) -> Admin {
    let identity = Identity::from_spiffe("spiffe://test/h1/tracker/agent").unwrap();
    let bandwidth = Bandwidth::unlimited(&Env::system());
    let insight = |role| Insight::new(&Env::system(), &identity, role, Arc::new(Vec::new), &bandwidth);
    let insights = vec![insight(Role::Tracker), insight(Role::Agent)];
    let bound = BoundAdmin::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    bound.serve_within(bounds, identity.herd.clone(), insights, bandwidth)
}

/// A client that is done with a thread of its own, as any other process's would be.
async fn client<T: Send + 'static>(admin: &Admin, talk: impl FnOnce(Tcp) -> T + Send + 'static) -> T {
    let addr = admin.addr();
    let task = tokio::task::spawn_blocking(move || talk(connect(addr)));
    task.await.unwrap()
}

fn connect(addr: SocketAddr) -> Tcp {
    let tcp = Tcp::connect(addr).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

/// Sends bytes and reads until the other side closes. Bytes that it no longer wants are its own affair.
fn exchange(mut tcp: Tcp, bytes: &[u8]) -> String {
    let _ = tcp.write_all(bytes);
    let mut answer = Vec::new();
    match tcp.read_to_end(&mut answer) {
        Ok(_) => {}
        // Who is refused in mid-sentence sees a reset.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no answer and no end: {error}"),
    }
    String::from_utf8(answer).unwrap()
}

async fn ask(admin: &Admin, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    client(admin, move |tcp| exchange(tcp, request.as_bytes())).await
}

#[track_caller]
fn check(answer: &str, status: u16, body: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains("\r\ncontent-length: "), "{answer}");
    assert!(answer.split_once("\r\n\r\n").unwrap().1.contains(body), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_pages_are_there_and_no_others() {
    let admin = start(BOUNDS).await;
    check(&ask(&admin, "GET", "/livez").await, 200, "alive");
    check(&ask(&admin, "GET", "/readyz?verbose").await, 200, "ready");
    let metrics = ask(&admin, "GET", "/metrics").await;
    check(&metrics, 200, "\nrdcq_handshakes_total{role=\"tracker\",plane=\"control\"} 0\n");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{metrics}");
    let version = ask(&admin, "GET", "/version").await;
    let wanted = format!(
        "{{\"version\":\"{VERSION}\",\"herd\":\"test\",\"roles\":[{{\"node\":\"h1\",\"role\":\"tracker\"}},{{\"node\":\"h1\",\"role\":\"agent\"}}]}}"
    );
    check(&version, 200, &wanted);
    for path in ["/", "/metrics/", "//metrics", "/../etc/passwd", "/debug"] {
        check(&ask(&admin, "GET", path).await, 404, "/livez");
    }
    admin.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_no_body_and_what_would_change_something_is_refused() {
    let admin = start(BOUNDS).await;
    let head = ask(&admin, "HEAD", "/livez").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PRI"] {
        let refused = ask(&admin, method, "/metrics").await;
        check(&refused, 405, "only GET");
        assert!(refused.contains("allow: GET, HEAD\r\n"), "{refused}");
    }
    admin.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_drains_is_alive_and_not_ready_and_one_that_stopped_is_gone() {
    let admin = start(BOUNDS).await;
    admin.drain();
    check(&ask(&admin, "GET", "/readyz").await, 503, "draining");
    check(&ask(&admin, "GET", "/livez").await, 200, "alive");
    let held = connect(admin.addr());
    let addr = admin.addr();
    admin.stop();
    let gone = tokio::task::spawn_blocking(move || {
        assert_eq!(exchange(held, b""), "");
        // The listener is closed by a task of its own, soon after.
        let end = std::time::Instant::now() + PATIENCE;
        while Tcp::connect(addr).is_ok() {
            assert!(std::time::Instant::now() < end, "it still listens");
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    gone.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_at_the_deadline_and_hold_nobody_up_for_longer() {
    let admin = start(Bounds { connections: 2, deadline: SHORT }).await;
    let addr = admin.addr();
    let slow = tokio::task::spawn_blocking(move || {
        let mut held: Vec<_> = (0..2).map(|_| connect(addr)).collect();
        held.iter_mut().for_each(|tcp| tcp.write_all(b"GET /livez HT").unwrap());
        held
    });
    let held = slow.await.unwrap();
    let begin = tokio::time::Instant::now();
    // All the room is taken: this one waits for the deadline of the others, and is served then.
    check(&ask(&admin, "GET", "/livez").await, 200, "alive");
    assert!(begin.elapsed() >= SHORT / 2, "there was room for a third: {:?}", begin.elapsed());
    let cut_off = tokio::task::spawn_blocking(|| held.into_iter().map(|tcp| exchange(tcp, b"")).collect());
    let cut_off: Vec<String> = cut_off.await.unwrap();
    assert_eq!(cut_off, ["", ""]);
    admin.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_drips_byte_by_byte_is_cut_off_as_well() {
    let admin = start(Bounds { connections: 1, deadline: SHORT }).await;
    let sent = client(&admin, |mut tcp| {
        let request = b"GET /livez HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
        for (sent, byte) in request.enumerate() {
            if tcp.write_all(&[*byte]).is_err() {
                return sent;
            }
            std::thread::sleep(SHORT / 30);
        }
        unreachable!("the request never ends");
    });
    assert!(timeout(PATIENCE, sent).await.unwrap() > 0);
    check(&ask(&admin, "GET", "/livez").await, 200, "alive");
    admin.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_costs_only_its_own_connection() {
    let admin = start(BOUNDS).await;
    let many = "X: y\r\n".repeat(MAX_HEADERS + 1);
    let long = "x".repeat(4 * MAX_BUFFER);
    let requests = [
        ("nothing", Vec::new(), None),
        ("zeros", vec![0; 100_000], Some("400")),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100), Some("400")),
        ("no version", b"GET /livez\r\n\r\n".to_vec(), Some("400")),
        ("many headers", format!("GET / HTTP/1.1\r\n{many}\r\n").into_bytes(), Some("431")),
        ("a long header", format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n").into_bytes(), Some("431")),
        ("a long path", format!("GET /{long} HTTP/1.1\r\n\r\n").into_bytes(), Some("431")),
        (
            "two lengths",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_vec(),
            Some("400"),
        ),
    ];
    for (what, bytes, status) in requests {
        let answer = client(&admin, move |tcp| {
            let half = tcp.try_clone().unwrap();
            let answer = if bytes.is_empty() {
                half.shutdown(Shutdown::Write).unwrap();
                exchange(tcp, b"")
            } else {
                exchange(tcp, &bytes)
            };
            drop(half);
            answer
        });
        let answer = answer.await;
        // A reset may overtake the words that came before it.
        if let (Some(status), false) = (status, answer.is_empty()) {
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
        }
        assert!(!answer.starts_with("HTTP/1.1 2"), "{what}: {answer}");
        check(&ask(&admin, "GET", "/livez").await, 200, "alive");
    }
    admin.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_request_on_the_same_connection_is_not_answered() {
    let admin = start(BOUNDS).await;
    let twice = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    let answer = client(&admin, move |tcp| exchange(tcp, twice.as_bytes())).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    admin.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named() {
    let admin = start(BOUNDS).await;
    let error = BoundAdmin::bind(admin.addr()).await.err().unwrap().to_string();
    assert!(error.contains(&admin.addr().to_string()) && error.contains("another process"), "{error}");
    admin.stop();
}
