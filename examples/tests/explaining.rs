//! `egret topology explain` of programs that are topologies.
//!
//! It stands without a harness so that this program can be the `egret` command, too: the examples are not the package
//! that builds that.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says that it did not"
)]

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser as _;
use egret_scheduler::cli::Cli;

/// The first argument that makes it the command.
const COMMAND: &str = "as-the-egret-command";
const NAME: &str = "plans_of_topology_programs_are_shown";

fn main() -> ExitCode {
    let mut args = env::args();
    let own = args.next().unwrap();
    let mut rest = args.peekable();
    if rest.peek().is_some_and(|first| first == COMMAND) {
        return Cli::parse_from(rest).run();
    }
    // Nothing else is asked of a test by those who list tests.
    if env::args().any(|arg| arg == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    plans_of_topology_programs_are_shown(&std::fs::canonicalize(own).unwrap());
    println!("test {NAME} ... ok");
    ExitCode::SUCCESS
}

fn plans_of_topology_programs_are_shown(own: &Path) {
    let dir = tempfile::tempdir().unwrap();
    // Cargo builds examples before the tests of their package, beside them.
    let examples = own.parent().unwrap().parent().unwrap().join("examples");
    let explain = |program: &str, more: &[&str]| {
        let mut command = Command::new(own);
        command.args([COMMAND, "topology", "explain"]).arg(examples.join(program)).args(more);
        command.current_dir(&dir).stdin(Stdio::null());
        command.env_remove("EGRET_DATA").env_remove("EGRET_CLUSTER").env_remove("EGRET_PROCESSES");
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let spread = ["--", "--workers", "2", "--processes", "2"];
    for program in ["ad_clicks", "late_data", "packets", "sessions", "trending"] {
        let (code, text, err) = explain(program, &spread);
        assert_eq!(code, 0, "{program}: {err}");
        let head = format!("topology {program} (effectively-once, ");
        assert!(text.starts_with(&head) && text.contains("4 workers in 2 processes"), "{text}");
        let (code, dot, err) = explain(program, &[&["-o", "dot"], &spread[..]].concat());
        assert!(code == 0 && dot.starts_with(&format!("digraph \"{program}\"")), "{dot} {err}");
        let (code, svg, err) = explain(program, &[&["-o", "svg"], &spread[..]].concat());
        assert!(code == 0 && svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg} {err}");
        let (code, json, err) = explain(program, &[&["-o", "json"], &spread[..]].concat());
        assert_eq!(code, 0, "{program}: {err}");
        for said in ["\"processes\": 2", "\"workers\": 4", "\"reach\": \"between-processes\""] {
            assert!(json.contains(said), "{program}: {said}: {json}");
        }
    }
    // What the program itself is called with comes behind, and what it refuses is refused.
    let (code, text, err) = explain("matches", &["--", "error"]);
    assert!(code == 0 && text.starts_with("topology matches ("), "{code} {text} {err}");
    let (code, _, err) = explain("matches", &[]);
    assert!(code == 2 && err.contains("exit status: 2: error: which word?"), "{code} {err}");
    let (code, _, err) = explain("matches", &["--", "--workers", "0"]);
    assert!(code == 2 && err.contains("`") && err.contains("exit status: 2"), "{code} {err}");
    // A file is explained by the program that has its components, or here where all are in the box.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/wired/words.yaml");
    let wired = examples.join("wired");
    let of = ["--program", wired.to_str().unwrap()];
    let (code, text, err) = explain(file, &[&of, &spread[..]].concat());
    assert!(
        code == 0 && text.starts_with("topology wired (") && text.contains("4 workers in 2"),
        "{text} {err}"
    );
    let (code, dot, err) = explain(file, &[&of[..], &["-o", "dot"]].concat());
    assert!(code == 0 && dot.starts_with("digraph \"wired\""), "{dot} {err}");
    let (code, _, err) = explain(file, &["--program", "./none"]);
    assert!(code == 2 && err.contains("there is no program"), "{code} {err}");
    let files = tempfile::tempdir().unwrap();
    let boxed = files.path().join("boxed.yaml");
    let write = |more: &str| {
        let lines = "name: boxed\nspouts: [{id: lines, type: stream, args: {stream: '${from}'}}]\n";
        let out = "sinks: [{id: out, type: stream, inputs: [lines], args: {stream: out}}]\n";
        std::fs::write(&boxed, format!("{lines}{out}{more}")).unwrap();
        boxed.to_str().unwrap().to_owned()
    };
    let path = write("config: {workers: 3}\n");
    let given = ["--", "--property", "from=there"];
    for (form, begins) in
        [("text", "topology boxed ("), ("json", "{"), ("dot", "digraph"), ("svg", "<svg ")]
    {
        let (code, plan, err) = explain(&path, &[&["-o", form], &given[..]].concat());
        assert!(
            code == 0 && plan.starts_with(begins) && plan.contains("there"),
            "{form}: {plan} {err}"
        );
    }
    let (code, text, _) = explain(&path, &given);
    assert!(code == 0 && text.contains("3 workers"), "{text}");
    let (code, _, err) = explain(&path, &[]);
    assert!(
        code == 2 && err.contains("boxed.yaml:2:") && err.contains("`${from}`"),
        "{code} {err}"
    );
    let path = write("bolts: [{id: split, type: split, inputs: [lines]}]\n");
    let (code, _, err) = explain(&path, &given);
    let whose = "boxed.yaml:4:27: `split` is no component in the box";
    assert!(code == 2 && err.contains(whose) && err.contains("--program BINARY"), "{code} {err}");
    let (code, _, err) = explain("packets", &["--program", "x"]);
    assert!(code == 2 && err.contains("no topology file"), "{code} {err}");
    // One that is none knows no such flag; nothing was made by any of them.
    let (code, _, err) = explain("word_count", &["-o", "json"]);
    assert!(code == 2 && err.contains("--explain"), "{code} {err}");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}
