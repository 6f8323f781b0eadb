//! `egret topology metrics`: what a process of a topology tells of itself, asked for at its address.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::cli::exit::{Done, Exit};
use crate::cli::output::{self, Form};

/// Bytes of an answer: what is more is not from a topology.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// How long the process may take to be reached, and to say anything.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    after_help = "It was started with --metrics, and says on standard error where it is told. Prometheus reads \
http://IP:PORT/metrics."
)]
pub(super) struct Metrics {
    /// Where a process tells them.
    #[arg(value_name = "IP:PORT")]
    address: SocketAddr,
    /// How to answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    output: Form,
}

impl Metrics {
    pub(super) fn run(self) -> Done {
        let metrics = ask(self.address)?;
        match self.output {
            Form::Json => output::json(&metrics)?,
            Form::Table => {
                output::line(&of_process(&metrics))?;
                let head = [
                    "TASK",
                    "IN",
                    "OUT",
                    "ERRORS",
                    "QUEUED",
                    "STATE",
                    "BATCH P50",
                    "P99",
                    "BEHIND",
                ];
                let tasks = metrics["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
                output::table(&head, tasks.iter().map(of_task))?;
            }
        }
        Ok(())
    }
}

/// What is told at an address.
fn ask(address: SocketAddr) -> Result<Value, Exit> {
    let gone = |why: std::io::Error| {
        Exit::Failed(format!(
            "no metrics at {address}: {why}; start the topology with --metrics {address}"
        ))
    };
    let mut stream = TcpStream::connect_timeout(&address, WAIT).map_err(gone)?;
    stream.set_read_timeout(Some(WAIT)).map_err(gone)?;
    let request =
        format!("GET /v1/metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(gone)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(gone)?;
    parse(&answer).ok_or_else(|| {
        Exit::Failed(format!(
            "what is at {address} tells no metrics, or tells others already: ask again"
        ))
    })
}

fn parse(answer: &[u8]) -> Option<Value> {
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let is_it = head.starts_with(b"HTTP/1.1 200 ");
    let metrics: Value = serde_json::from_slice(body).ok().filter(|_| is_it)?;
    metrics.get("tasks").is_some().then_some(metrics)
}

fn number(of: &Value) -> u64 {
    of.as_u64().unwrap_or_default()
}

/// As `of` units, with the next larger one where it is many.
fn scaled(value: u64, step: u64, units: [&str; 4]) -> String {
    let mut rest = value as f64;
    let mut at = 0;
    while rest >= step as f64 && at + 1 < units.len() {
        rest /= step as f64;
        at += 1;
    }
    match at {
        0 => format!("{value} {}", units[0]),
        _ => format!("{rest:.1} {}", units[at]),
    }
}

fn bytes(value: &Value) -> String {
    scaled(number(value), 1024, ["B", "KiB", "MiB", "GiB"])
}

fn of_process(metrics: &Value) -> String {
    let process = &metrics["process"];
    let us = |value: &Value| scaled(number(value), 1000, ["µs", "ms", "s", "ks"]);
    let name = metrics["topology"].as_str().unwrap_or_default();
    let mut said = format!("{name}: generation {}", number(&process["generation"]));
    if process["active"] == Value::Bool(false) {
        said += ", inactive";
    }
    if let Some(since) = process["since_commit_ms"].as_u64() {
        let since = scaled(since, 1000, ["ms", "s", "ks", "Ms"]);
        let (commits, took) = (number(&process["commits"]), &process["commit_us"]);
        let (p50, p99) = (us(&took["p50"]), us(&took["p99"]));
        said += &format!(", {commits} commits in {p50} (p99 {p99}), the last one {since} ago");
    }
    format!(
        "{said}; {} tuples, {} of state",
        number(&process["tuples"]),
        bytes(&process["state_bytes"])
    )
}

fn of_task(task: &Value) -> Vec<String> {
    let ns = |value: &Value| scaled(number(value), 1000, ["ns", "µs", "ms", "s"]);
    let execute = &task["execute_ns"];
    let none = || "-".to_owned();
    vec![
        format!("{}/{}", task["component"].as_str().unwrap_or_default(), number(&task["task"])),
        number(&task["tuples_in"]).to_string(),
        number(&task["tuples_out"]).to_string(),
        number(&task["errors"]).to_string(),
        bytes(&task["queue_bytes"]),
        bytes(&task["state_bytes"]),
        ns(&execute["p50"]),
        ns(&execute["p99"]),
        task["watermark_lag_ms"].as_i64().map_or_else(none, |lag| format!("{lag} ms")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_what_is_none_is_not() {
        let told = br#"{"topology":"words","process":{"generation":2,"active":false,"commits":3,"since_commit_ms":1500,
            "commit_us":{"p50":900,"p99":12000},"tuples":7,"state_bytes":2048},
            "tasks":[{"component":"count","task":1,"tuples_in":7,"execute_ns":{"p50":950,"p99":1500}}]}"#;
        let answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", &told[..]].concat();
        let metrics = parse(&answer).expect("it is one");
        assert_eq!(
            of_process(&metrics),
            "words: generation 2, inactive, 3 commits in 900 µs (p99 12.0 ms), the last one 1.5 s ago; 7 tuples, \
             2.0 KiB of state"
        );
        let task = of_task(&metrics["tasks"][0]);
        assert_eq!(task, ["count/1", "7", "0", "0", "0 B", "0 B", "950 ns", "1.5 µs", "-"]);
        for other in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n\r\n<html>",
            b"HTTP/1.1 404 Not Found\r\n\r\n{\"tasks\":[]}",
        ] {
            assert_eq!(parse(other), None);
        }
    }
}
