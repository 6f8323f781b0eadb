//! What is asked is answered, and who asks strangely, slowly or too often costs little.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(600);

fn here(port: u16) -> MetricsAddress {
    MetricsAddress::new(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn server(wait: Duration) -> MetricsServer {
    let progress = Arc::<Progress>::default();
    MetricsServer::start_with(here(0), "words", &progress, wait).unwrap()
}

/// All that comes until the other side ends.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // One that is let go of may be reset.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

fn ask(server: &MetricsServer, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let _ = stream.write_all(request.as_bytes());
    rest(&mut stream)
}

fn get(server: &MetricsServer, path: &str) -> String {
    ask(server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

#[test]
fn numbers_are_told_for_prometheus_and_as_json() {
    let server = server(LONG);
    let text = get(&server, "/metrics");
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4;"),
        "{text}"
    );
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("\negret_commits_total{topology=\"words\"} 0\n"), "{body}");
    let json = get(&server, "/v1/metrics?pretty");
    let (head, body) = json.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: application/json\r\n"), "{head}");
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&json["topology"], &json["process"]["active"]), (&"words".into(), &true.into()));
    let head = ask(&server, "HEAD /metrics HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn what_is_no_request_for_numbers_is_told_so() {
    let server = server(LONG);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 "),
        ("GET /metrics/x HTTP/1.1\r\n\r\n", "404 "),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405 "),
        ("GET /metrics\r\n\r\n", "400 "),
        ("\r\n\r\n", "400 "),
        ("\u{16}\u{3}\u{1} hello\r\n\r\n", "400 "),
    ] {
        let said = ask(&server, request);
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {said}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(HEAD_BYTES_MAX));
    // What it did not read may reset the connection before the answer is taken.
    let said = ask(&server, &long);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
    assert!(get(&server, "/metrics").starts_with("HTTP/1.1 200 "));
}

#[test]
fn who_comes_when_all_places_are_taken_is_let_go_of_and_others_are_served_again_later() {
    let server = server(LONG);
    let mut idle: Vec<TcpStream> =
        (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    // They come in order, so those before are accepted.
    assert_eq!(get(&server, "/metrics"), "");
    drop(idle.pop());
    let end = clock::now() + Duration::from_secs(60);
    while get(&server, "/metrics").is_empty() {
        assert!(clock::now() < end, "the place of one that went is free again");
    }
}

#[test]
fn who_is_slow_is_let_go_of() {
    let server = server(SHORT);
    let mut silent = TcpStream::connect(server.address()).unwrap();
    let mut slow = TcpStream::connect(server.address()).unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost:").unwrap();
    assert_eq!((rest(&mut silent), rest(&mut slow)), (String::new(), String::new()));
}

#[test]
fn the_end_waits_for_nobody() {
    let server = server(LONG);
    let mut silent = TcpStream::connect(server.address()).unwrap();
    drop(server);
    assert_eq!(rest(&mut silent), "");
}

#[test]
fn what_others_could_reach_is_refused_unless_it_is_meant() {
    let progress = Arc::<Progress>::default();
    let open = MetricsAddress::new(SocketAddr::from(([0, 0, 0, 0], 0)));
    let refused = MetricsServer::start(open, "words", &progress).unwrap_err();
    assert!(refused.to_string().contains("or say --metrics-in-the-open"), "{refused}");
    let meant = MetricsAddress { in_the_open: true, ..open };
    let server = MetricsServer::start(meant, "words", &progress).unwrap();
    let taken =
        MetricsServer::start(here(server.address().port()), "words", &progress).unwrap_err();
    assert!(matches!(taken, Error::Metrics { .. }), "{taken}");
}

#[test]
fn processes_of_a_host_listen_one_behind_the_other() {
    let port = |port, rank| here(port).of_rank(rank).map(|at| at.listen.port());
    assert_eq!(
        (port(9100, 0).unwrap(), port(9100, 3).unwrap(), port(0, 3).unwrap()),
        (9100, 9103, 0)
    );
    let none = port(65_534, 2).unwrap_err();
    assert!(
        none.to_string().starts_with("there is no port 65536, 2 behind that of 127.0.0.1:65534")
    );
}
