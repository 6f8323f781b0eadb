//! A cluster off the host: everybody shows a certificate, and is what it says.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use super::{Bookie, egret, run, said, server};

fn configure(dir: &Path, etcd: &str) {
    run(dir, &["init", "--cluster", "blue", "--dir", "certs"]);
    let cert = ["init", "cert", "--dir", "certs", "--role"];
    for args in [
        &["bookie", "--name", "b1", "--host", "127.0.0.1"][..],
        &["client", "--name", "c1"],
        &["admin", "--name", "a1"],
    ] {
        run(dir, &[&cert[..], args].concat());
    }
    let tls = |name: &str| {
        format!(
            "tls = {{ cert = \"certs/{name}.pem\", key = \"certs/{name}.key\", ca = \"certs/ca.pem\" }}\n"
        )
    };
    let metadata = format!("cluster = \"blue\"\nmetadata = \"etcd://{etcd}/blue\"\n");
    let bookie = format!(
        "id = 1\ndirectory = \"b1\"\nlisten = \"127.0.0.1:0\"\njournal_file_bytes = 1048576\n{metadata}{}",
        tls("b1")
    );
    std::fs::write(dir.join("b1.toml"), bookie).expect("a file");
    for name in ["c1", "a1"] {
        let copies = "copies = { write = 1, ack = 1 }\n";
        let file = format!("{metadata}{copies}{}", tls(name));
        std::fs::write(dir.join(format!("{name}.toml")), file).expect("a file");
    }
    std::fs::rename(dir.join("c1.toml"), dir.join("blue.toml")).expect("a file");
}

/// Whoever looked after a ledger with a client's certificate was told that the bookie did not answer, and to
/// accept that its entries are lost.
#[test]
fn everybody_is_what_its_certificate_says() {
    let Some(etcd) = server::etcd() else { return };
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    configure(dir, &etcd.endpoint());
    let _bookie = Bookie::start(dir, 1);
    run(dir, &["stream", "create", "orders"]);
    super::append(dir, 0..10);
    let out = run(dir, &["ledger", "repair", "L1"]);
    assert!(out.contains("B1: ") && out.contains(" 0 missing"), "{out}");
    assert!(!out.contains("did not answer"), "{out}");
    run(dir, &["ledger", "read", "L1", "0"]);

    let mut child = egret(dir, &["stream", "--cluster", "a1.toml", "append", "orders"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("egret starts");
    // It may have been refused before it reads.
    let _ = child.stdin.take().expect("it is piped").write_all(b"x\n");
    let output = child.wait_with_output().expect("it ends");
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{why}");
    assert!(why.contains("role admin may not ask a bookie to create a ledger"), "{why}");
    let (code, why) = said(dir, &["ledger", "--cluster", "a1.toml", "read", "L1", "0"]);
    assert_eq!(code, Some(0), "{why}");
}
