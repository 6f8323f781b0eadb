//! Numbers as text that Prometheus reads (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use super::{ProcessMetrics, Quantiles, Snapshot, TaskMetrics};

/// Lines of one metric, under its head.
#[derive(Default)]
struct Family {
    kind: &'static str,
    help: &'static str,
    lines: String,
}

/// By name, so that each has its lines together and all are in order.
#[derive(Default)]
struct Families(BTreeMap<String, Family>);

impl Families {
    fn line(
        &mut self,
        (name, kind, help): (&str, &'static str, &'static str),
        labels: &str,
        suffix: &str,
        value: impl Display,
    ) {
        let family = self.0.entry(name.to_owned()).or_default();
        (family.kind, family.help) = (kind, help);
        put(&mut family.lines, format_args!("{name}{suffix}{{{labels}}} {value}\n"));
    }

    fn summary(&mut self, name: &str, help: &'static str, labels: &str, values: &Quantiles) {
        let head = (name, "summary", help);
        let Quantiles { count, mean, p50, p90, p99, p999, .. } = *values;
        for (quantile, value) in [("0.5", p50), ("0.9", p90), ("0.99", p99), ("0.999", p999)] {
            self.line(head, &format!("{labels},quantile=\"{quantile}\""), "", value);
        }
        self.line(head, labels, "_sum", mean * count as f64);
        self.line(head, labels, "_count", count);
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a string does not fail");
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(super) fn text(snapshot: &Snapshot, topology: &str) -> String {
    let mut all = Families::default();
    let topology = escaped(topology);
    process_lines(&mut all, &snapshot.process, &format!("topology=\"{topology}\""));
    for metrics in &snapshot.tasks {
        let TaskMetrics { component, task, .. } = metrics;
        let component = escaped(component);
        let labels = format!("topology=\"{topology}\",component=\"{component}\",task=\"{task}\"");
        task_lines(&mut all, metrics, &labels);
    }
    let mut text = String::new();
    for (name, Family { kind, help, lines }) in all.0 {
        put(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}"));
    }
    text
}

fn process_lines(all: &mut Families, metrics: &ProcessMetrics, labels: &str) {
    let counters = [
        ("egret_spout_tuples_total", "Tuples that spouts emitted.", metrics.tuples),
        ("egret_spout_bytes_total", "Bytes that spouts emitted.", metrics.bytes),
        ("egret_commits_total", "Commits made.", metrics.commits),
        ("egret_late_tuples_total", "Tuples too late for every window.", metrics.late_tuples),
    ];
    for (name, help, value) in counters {
        all.line((name, "counter", help), labels, "", value);
    }
    let mut gauges = vec![
        ("egret_generation", "The generation that runs.", metrics.generation),
        ("egret_active", "Whether spouts read their sources.", u64::from(metrics.active)),
        ("egret_peak_bytes", "The most bytes between components at once.", metrics.peak_bytes),
    ];
    let since = metrics.since_commit_ms;
    let help = "How long ago the last commit was made.";
    gauges.extend(since.map(|ms| ("egret_since_commit_ms", help, ms)));
    for (name, help, value) in gauges {
        all.line((name, "gauge", help), labels, "", value);
    }
    let help = "From a commit's last tuple to its acknowledgement.";
    all.summary("egret_commit_us", help, labels, &metrics.commit_us);
}

fn task_lines(all: &mut Families, metrics: &TaskMetrics, labels: &str) {
    let counters = [
        ("egret_tuples_in_total", "Tuples taken.", metrics.tuples_in),
        ("egret_tuples_out_total", "Tuples emitted.", metrics.tuples_out),
        ("egret_errors_total", "Calls that failed.", metrics.errors),
        ("egret_dead_letters_total", "Tuples that became dead letters.", metrics.dead_letters),
    ];
    for (name, help, value) in counters {
        all.line((name, "counter", help), labels, "", value);
    }
    let help = "Bytes that arrived and were not worked on yet.";
    all.line(("egret_queue_bytes", "gauge", help), labels, "", metrics.queue_bytes);
    let help = "Bytes of memory the state took at the last commit.";
    all.line(("egret_state_bytes", "gauge", help), labels, "", metrics.state_bytes);
    if let Some(lag) = metrics.watermark_lag_ms {
        let help = "How far the watermark is behind the clock.";
        all.line(("egret_watermark_lag_ms", "gauge", help), labels, "", lag);
    }
    let help = "How long a batch was worked on.";
    all.summary("egret_execute_ns", help, labels, &metrics.execute_ns);
    for (name, value) in &metrics.counters {
        let name = format!("egret_user_{name}_total");
        all.line((&name, "counter", "Counted by the component."), labels, "", value);
    }
    for (name, value) in &metrics.gauges {
        let name = format!("egret_user_{name}");
        all.line((&name, "gauge", "Set by the component."), labels, "", value);
    }
    for (name, values) in &metrics.histograms {
        let name = format!("egret_user_{name}");
        all.summary(&name, "Measured by the component.", labels, values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_its_lines_under_one_head() {
        let task = |task, lag| TaskMetrics {
            component: "co\"unt".to_owned(),
            task,
            tuples_in: 7,
            watermark_lag_ms: lag,
            counters: [("lines".to_owned(), 3)].into(),
            ..TaskMetrics::default()
        };
        let process = ProcessMetrics { commits: 9, ..ProcessMetrics::default() };
        let snapshot = Snapshot { process, tasks: vec![task(0, None), task(1, Some(20))] };
        let text = snapshot.prometheus("t");
        let wanted = "# HELP egret_tuples_in_total Tuples taken.\n\
                      # TYPE egret_tuples_in_total counter\n\
                      egret_tuples_in_total{topology=\"t\",component=\"co\\\"unt\",task=\"0\"} 7\n\
                      egret_tuples_in_total{topology=\"t\",component=\"co\\\"unt\",task=\"1\"} 7\n";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("egret_user_lines_total{"), "{text}");
        let lag = "egret_watermark_lag_ms{topology=\"t\",component=\"co\\\"unt\",task=\"1\"} 20\n";
        assert_eq!(text.matches("egret_watermark_lag_ms{").count(), 1);
        assert!(text.contains(lag), "{text}");
        assert_eq!(text.matches("# TYPE egret_execute_ns summary\n").count(), 1);
        assert_eq!(text.matches("quantile=").count(), 12);
        assert!(text.contains(
            "# TYPE egret_commits_total counter\negret_commits_total{topology=\"t\"} 9\n"
        ));
        assert!(!text.contains("egret_since_commit_ms"), "there was none");
    }
}
