"""Words counted on Bytewax: one file, told on standard input when to run. See ../../../src/bench/peer.rs.

Counts are told of once, when the file has ended.
"""

import resource
import sys
import time
from importlib.metadata import version

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main, run_main


class Lines(StatelessSourcePartition):
    """Every so many lines of the file, a thousand at once."""

    def __init__(self, path, index, count):
        self.lines = open(path, encoding="utf-8")
        self.index, self.count, self.at = index, count, 0

    def next_batch(self):
        batch = []
        for line in self.lines:
            if self.at % self.count == self.index:
                batch.append(line)
            self.at += 1
            if len(batch) == 1000:
                return batch
        if not batch:
            raise StopIteration()
        return batch


class File(DynamicSource):
    def __init__(self, path):
        self.path = path

    def build(self, _step, index, count):
        return Lines(self.path, index, count)


class Rows(StatelessSinkPartition):
    def __init__(self, rows):
        self.rows = rows

    def write_batch(self, items):
        self.rows(items)


class Sink(DynamicSink):
    def __init__(self, rows):
        self.rows = rows

    def build(self, _step, _index, _count):
        return Rows(self.rows)


def run(path, workers, rows):
    flow = Dataflow("word_count")
    lines = op.input("lines", flow, File(path))
    words = op.flat_map("split", lines, str.split)
    counts = op.count_final("count", words, lambda word: word)
    op.output("out", counts, Sink(rows))
    if workers == 1:
        run_main(flow)
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main():
    path, workers, says = sys.argv[1], int(sys.argv[2]), sys.stdout
    print("ready Bytewax", version("bytewax"), file=says, flush=True)
    for line in sys.stdin:
        told = line.split()
        try:
            rows = []
            if told[0] == "check":
                run(path, workers, rows.extend)
                with open(told[2], "w", encoding="utf-8") as out:
                    out.writelines(f"{word}|{count}\n" for word, count in rows)
                print("done", file=says, flush=True)
            else:
                wall, used = time.monotonic(), cpu()
                run(path, workers, rows.extend)
                print("done", time.monotonic() - wall, cpu() - used, len(rows), file=says, flush=True)
        except Exception as why:
            print("failed", repr(why).replace("\n", " "), file=says, flush=True)


main()
