//! Every decoder of this package as a plain function of bytes, for fuzzing; see `egret_log::fuzzing`.

use std::str;

use egret_log::fuzzing::{Sample, Target};
use egret_log_cluster::{ClusterFile, MetadataUrl};
use egret_schemas::{Epoch, Position};

use super::bookie::config::BookieFile;
use super::stream::append::separator;
use super::stream::since::since;
use super::stream::text::{Standing, put_json, put_line, take_json, take_line};

/// Every target of this package.
pub fn targets() -> Vec<Target> {
    vec![
        Target { name: "bookie_file", run: bookie_file, samples: bookie_file_samples },
        Target { name: "cluster_file", run: cluster_file, samples: cluster_file_samples },
        Target { name: "metadata_url", run: metadata_url, samples: metadata_url_samples },
        Target { name: "times_and_separators", run: arguments, samples: argument_samples },
        Target { name: "record_lines", run: record_lines, samples: record_line_samples },
    ]
}

fn bookie_file(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let Ok(file) = BookieFile::parse(text) else { return false };
    // Numbers TOML cannot hold are refused here, with their reason.
    let Ok(printed) = file.print() else { return true };
    let again = BookieFile::parse(&printed).expect("what is printed is read");
    assert_eq!(again.print().as_ref().ok(), Some(&printed), "a file comes back");
    let pace = file.repair.config().pace;
    assert!(pace.bytes_per_second > 0, "{printed}: nothing would ever be copied");
    true
}

fn texts<const N: usize>(samples: [(&'static str, &str); N]) -> Vec<Sample> {
    samples.map(|(name, text)| (name, text.as_bytes().to_vec())).to_vec()
}

fn bookie_file_samples() -> Vec<Sample> {
    let least = "id = 1\ncluster = \"blue\"\ndirectory = \"b1\"\nlisten = \"127.0.0.1:0\"\n\
                 metadata = \"redb:meta/cluster.redb\"\n";
    let printed = BookieFile::parse(least).ok().and_then(|file| file.print().ok());
    let printed = printed.expect("the least file is a file");
    let tls = "\n[tls]\ncert = \"b1.pem\"\nkey = \"b1.key\"\nca = \"ca.pem\"\n";
    texts([("least", least), ("all", &format!("{printed}{tls}"))])
}

fn cluster_file(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| text.parse::<ClusterFile>().is_ok())
}

fn cluster_file_samples() -> Vec<Sample> {
    let least = "cluster = \"blue\"\nmetadata = \"etcd://127.0.0.1:2379/blue\"\n";
    let more = "role = \"admin\"\ntls = { cert = \"me.pem\", key = \"me.key\", ca = \"ca.pem\" }\n\
                copies = { write = 3, ack = 2, fewer_allowed = true }\n";
    texts([("least", least), ("all", &format!("{least}{more}"))])
}

fn metadata_url(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| text.parse::<MetadataUrl>().is_ok())
}

fn metadata_url_samples() -> Vec<Sample> {
    texts([
        ("redb", "redb:meta/cluster.redb"),
        ("etcd", "etcd://a:2379,b:2379/blue?ca=ca.pem&cert=me.pem&key=me.key"),
    ])
}

fn arguments(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let time = since(text);
    if let Ok(time) = time {
        let _ = (time.ms(0), time.ms(u64::MAX));
    }
    let spelled = separator(text);
    let empty = spelled.as_ref().is_ok_and(|spelled| spelled.0.is_empty());
    assert!(!empty, "`{text}` separates nothing");
    time.is_ok() || spelled.is_ok()
}

fn argument_samples() -> Vec<Sample> {
    texts([("ago", "90s"), ("at", "1764113000000"), ("separator", "=\\t\\\\>")])
}

/// A line of standard input, as text and as JSON, and what would be written of it.
fn record_lines(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let cut = take_line(line, Some(b"=>"));
    if let Ok(taken) = &cut {
        let mut out = Vec::new();
        put_line(&mut out, taken.as_ref(), Some(b"=>"));
        assert_eq!(out.strip_suffix(b"\n"), Some(line), "a line comes back");
    }
    let Ok(taken) = take_json(line) else { return cut.is_ok() };
    let at = Standing { partition: 0, position: Position::START, number: 0, epoch: Epoch(0) };
    let mut out = Vec::new();
    put_json(&mut out, taken.as_ref(), at);
    let again = take_json(out.trim_ascii_end());
    assert_eq!(again.as_ref(), Ok(&taken), "a record comes back");
    true
}

fn record_line_samples() -> Vec<Sample> {
    texts([
        ("line", "key=>value"),
        ("text", "{\"key\":\"k\",\"value\":\"two herons\",\"event_time_ms\":-5,\"sequence\":300}"),
        ("base64", "{\"partition\":2,\"key_base64\":\"/wA=\",\"value_base64\":\"/wA=\"}"),
    ])
}
