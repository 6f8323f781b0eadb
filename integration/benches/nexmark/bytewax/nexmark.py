"""Nexmark's queries on Bytewax: one file, told query after query on standard input. See ../../../src/bench/peer.rs.

What changes is told of once, at the end: that is the least work there is to do. Operators that need to know that
nothing more comes for a window of all keys do so at the end as well, as there is no progress between keys.
"""

import resource
import sys
import time
from collections import defaultdict
from importlib.metadata import version

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.operators import StatefulLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main, run_main

PERSON, AUCTION, BID = "0", "1", "2"


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


class Keeps(StatefulLogic):
    """A state, what a tuple does to it, and what is told at the end."""

    def __init__(self, state, on, end):
        self.state, self.on, self.end = state, on, end

    def on_item(self, value):
        return self.on(self.state, value), False

    def on_eof(self):
        return self.end(self.state), True

    def snapshot(self):
        return self.state


def fields(line):
    return line.rstrip("\n").split("|")


def bid(of):
    """Makes something of bids: auction, bidder, price, time, channel, url, extra."""

    def each(line):
        f = fields(line)
        if f[0] != BID:
            return None
        return of(int(f[2]), int(f[3]), int(f[4]), int(f[1]), f[8], f[9], f[10])

    return each


def stateless(of):
    return lambda lines: op.filter_map("bids", lines, bid(of))


def keyed(of, new, on, end):
    def build(lines):
        pairs = op.filter_map("pairs", lines, of)
        return op.key_rm("rows", op.stateful("keeps", pairs, lambda _: Keeps(new(), on, end)))

    return build


def nothing(*_):
    return ()


# One bid at a time.


def q14(auction, bidder, price, at, channel, url, extra):
    euros = price * 908
    if not 1_000_000_000 < euros < 50_000_000_000:
        return None
    hour = at // 3_600_000 % 24
    when = "dayTime" if 8 <= hour <= 18 else "nightTime" if hour <= 6 or hour >= 20 else "otherTime"
    return (auction, bidder, decimal(euros), when, at, extra, extra.count("c"))


def decimal(thousandths):
    return f"{thousandths // 1000}.{thousandths % 1000:03}"


CHANNELS = {"apple": "0", "google": "1", "facebook": "2", "baidu": "3"}


def q21(auction, bidder, price, at, channel, url, extra):
    number = CHANNELS.get(channel.lower())
    if number is None:
        found = [part[11:] for part in url.split("&") if part.startswith("channel_id=")]
        if not found:
            return None
        number = found[0]
    return (auction, bidder, price, channel, number)


# Keyed.


def q3_of(line):
    f = fields(line)
    if f[0] == AUCTION and f[4] == "10":
        return f[3], f[2]
    if f[0] == PERSON and f[12] in ("OR", "ID", "CA"):
        return f[2], (f[8], f[11], f[12])
    return None


def q3_on(state, value):
    if isinstance(value, tuple):
        state["person"] = value
        return [(*value, auction) for auction in state["waiting"]]
    if state["person"]:
        return [(*state["person"], value)]
    state["waiting"].append(value)
    return ()


def auctions_and(of):
    """Bids and auctions by auction: what `of` says of a bid, and the fields of an auction."""

    def each(line):
        f = fields(line)
        if f[0] == BID:
            return f[2], of(f)
        if f[0] == AUCTION:
            return f[2], f
        return None

    return each


def q9_on(state, value):
    if isinstance(value, list):
        state["auction"] = value
    else:
        state["bids"].append(value)
        # Once the auction is known, the best is enough.
        if len(state["bids"]) < 64 or state["auction"] is None:
            return ()
        best(state)
    return ()


def best(state):
    opened, expires = int(state["auction"][1]), int(state["auction"][7])
    good = [b for b in state["bids"] if opened <= b[1] <= expires]
    state["bids"] = [max(good, key=lambda b: (b[0], -b[1]))] if good else []


def q9_end(state):
    a = state["auction"]
    if a is None:
        return ()
    best(state)
    _, at, id, seller, category, initial, reserve, expires, item, description, extra = a[:11]
    auction = (id, item, description, initial, reserve, at, expires, seller, category, extra)
    return [(*auction, id, b[2], b[0], b[1], b[3]) for b in state["bids"]]


def q4(lines):
    finals = keyed(
        auctions_and(lambda f: (int(f[4]), int(f[1]), f[3], "")),
        lambda: {"auction": None, "bids": []},
        q9_on,
        lambda state: [(row[8], row[12]) for row in q9_end(state)],
    )(lines)
    sums = op.stateful("average", finals, lambda _: Keeps([0, 0], average_on, lambda s: [s[0] // s[1]]))
    return sums


def average_on(state, price):
    state[0] += price
    state[1] += 1
    return ()


def q5_of(auction, bidder, price, at, *_):
    return str(auction), at


def q5_on(state, at):
    state[at // 2000] += 1
    return ()


def q5_end(slices):
    windows = defaultdict(int)
    for number, count in slices.items():
        for window in range(number - 4, number + 1):
            windows[window] += count
    return list(windows.items())


def q5_most(state, value):
    auction, count = value
    if count > state[0]:
        state[:] = [count, []]
    if count == state[0]:
        state[1].append(auction)
    return ()


def q5(lines):
    bids = op.filter_map("pairs", lines, bid(q5_of))
    counts = op.stateful("counts", bids, lambda _: Keeps(defaultdict(int), q5_on, q5_end))
    windows = op.map("windows", counts, lambda c: (str(c[1][0]), (c[0], c[1][1])))
    most = op.stateful("most", windows, lambda _: Keeps([0, []], q5_most, q5_told))
    return op.key_rm("rows", most)


def q5_told(state):
    return [(auction, state[0]) for auction in state[1]]


def q7_of(line):
    f = fields(line)
    if f[0] != BID:
        return ()
    at = int(f[1])
    value = (int(f[4]), f[2], f[3], at, f[10])
    windows = [(str(at // 10_000), (True, value))]
    if at % 10_000 == 0:
        windows.append((str(at // 10_000 - 1), (False, value)))
    return windows


def q7_on(state, value):
    counts, b = value
    if counts and b[0] > state["most"]:
        state["most"], state["bids"] = b[0], []
    if counts and b[0] == state["most"]:
        state["bids"].append(b)
    if not counts:
        state["at_end"].append(b)
    return ()


def q7_end(state):
    bids = state["bids"] + [b for b in state["at_end"] if b[0] == state["most"]]
    return [(auction, price, bidder, at, extra) for price, auction, bidder, at, extra in bids]


def q7(lines):
    pairs = op.flat_map("pairs", lines, q7_of)
    new = lambda _: Keeps({"most": 0, "bids": [], "at_end": []}, q7_on, q7_end)
    return op.key_rm("rows", op.stateful("keeps", pairs, new))


def q8_of(line):
    f = fields(line)
    if f[0] == PERSON:
        return f[2] + " " + str(int(f[1]) // 10_000), f[8]
    if f[0] == AUCTION:
        return f[3] + " " + str(int(f[1]) // 10_000), None
    return None


def q8_on(state, name):
    if name is None:
        state[1] = True
    else:
        state[0] = name
    return ()


def q8(lines):
    pairs = op.filter_map("pairs", lines, q8_of)
    told = lambda state: [state[0]] if state[0] is not None and state[1] else []
    both = op.stateful("keeps", pairs, lambda _: Keeps([None, False], q8_on, told))

    def row(pair):
        person, window = pair[0].split(" ")
        return person, pair[1], int(window) * 10_000

    return op.map("rows", both, row)


def q11_on(state, value):
    bidder, at = value
    if state and at - state[2] <= 10_000:
        state[2] = at
        state[3] += 1
        return ()
    told = q11_end(state)
    state[:] = [bidder, at, at, 1]
    return told


def q11_end(state):
    return [(state[0], state[3], state[1], state[2] + 10_000)] if state else []


def rank(price):
    return 1 if price < 10_000 else 2 if price < 1_000_000 else 3


def day(at):
    return time.strftime("%Y-%m-%d", time.gmtime(at // 1000))


def new_counts():
    return [None, "", [0] * 4, [set() for _ in range(4)], [set() for _ in range(4)]]


def counts_on(state, value):
    key, minute, auction, bidder, of = value
    state[0] = key
    state[1] = max(state[1], minute)
    for r in (0, of):
        state[2][r] += 1
        state[3][r].add(bidder)
        state[4][r].add(auction)
    return ()


def counts_end(state):
    distinct = [len(s) for s in state[3]] + [len(s) for s in state[4]]
    minute = [state[1]] if state[1] else []
    return [(*state[0], *minute, *state[2], *distinct)]


def q15_of(auction, bidder, price, at, *_):
    return str(at // 86_400_000), ((day(at),), "", auction, bidder, rank(price))


def q16_of(auction, bidder, price, at, channel, *_):
    minutes = at // 60_000 % 1440
    minute = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"{channel} {at // 86_400_000}", ((channel, day(at)), minute, auction, bidder, rank(price))


def q17_of(auction, bidder, price, at, *_):
    return f"{auction} {at // 86_400_000}", (auction, at, price)


def q17_on(state, value):
    auction, at, price = value
    if not state:
        state[:] = [auction, day(at), [0] * 4, price, price, 0]
    state[2][0] += 1
    state[2][rank(price)] += 1
    state[3] = min(state[3], price)
    state[4] = max(state[4], price)
    state[5] += price
    return ()


def q17_end(state):
    auction, date, counts, least, most, sum = state
    return [(auction, date, *counts, least, most, sum // counts[0], sum)]


def q18_of(auction, bidder, price, at, channel, url, extra):
    return f"{bidder} {auction}", (auction, bidder, price, channel, url, at, extra)


def q18_on(state, row):
    if not state or row[5] >= state[0][5]:
        state[:] = [row]
    return ()


def q19_of(auction, bidder, price, at, channel, url, extra):
    return str(auction), (auction, bidder, price, channel, url, at, extra)


def q19_on(state, row):
    if len(state) < 10 or row[2] > state[-1][2]:
        state.append(row)
        state.sort(key=lambda row: (-row[2], row[5]))
        del state[10:]
    return ()


def q19_end(state):
    return [(*row, n + 1) for n, row in enumerate(state)]


def q20_row(b, a):
    _, at, id, seller, category, initial, reserve, expires, item, description, extra = a[:11]
    return (*b, item, description, initial, reserve, at, expires, seller, category, extra)


def q20_on(state, value):
    if isinstance(value, list):
        state["auction"] = value
        waiting, state["waiting"] = state["waiting"], []
        return [q20_row(b, value) for b in waiting] if value[4] == "10" else ()
    if state["auction"] is None:
        state["waiting"].append(value)
        return ()
    return [q20_row(value, state["auction"])] if state["auction"][4] == "10" else ()


QUERIES = {
    "q0": stateless(lambda auction, bidder, price, at, channel, url, extra: (auction, bidder, price, at, extra)),
    "q1": stateless(
        lambda auction, bidder, price, at, channel, url, extra: (auction, bidder, decimal(price * 908), at, extra)
    ),
    "q2": stateless(lambda auction, bidder, price, *_: (auction, price) if auction % 123 == 0 else None),
    "q3": keyed(q3_of, lambda: {"person": None, "waiting": []}, q3_on, nothing),
    "q4": q4,
    "q5": q5,
    "q7": q7,
    "q8": q8,
    "q9": keyed(
        auctions_and(lambda f: (int(f[4]), int(f[1]), f[3], f[10])),
        lambda: {"auction": None, "bids": []},
        q9_on,
        q9_end,
    ),
    "q11": keyed(bid(lambda auction, bidder, price, at, *_: (str(bidder), (bidder, at))), list, q11_on, q11_end),
    "q14": stateless(q14),
    "q15": keyed(bid(q15_of), new_counts, counts_on, counts_end),
    "q16": keyed(bid(q16_of), new_counts, counts_on, counts_end),
    "q17": keyed(bid(q17_of), list, q17_on, q17_end),
    "q18": keyed(bid(q18_of), list, q18_on, lambda state: state),
    "q19": keyed(bid(q19_of), list, q19_on, q19_end),
    "q20": keyed(
        auctions_and(lambda f: (f[2], f[3], f[4], f[8], f[9], f[1], f[10])),
        lambda: {"auction": None, "waiting": []},
        q20_on,
        nothing,
    ),
    "q21": stateless(q21),
    "q22": stateless(
        lambda auction, bidder, price, at, channel, url, extra: (auction, bidder, price, channel, *url.split("/")[3:6])
    ),
}


def run(path, query, workers, rows):
    flow = Dataflow("nexmark")
    lines = op.input("lines", flow, File(path))
    op.output("out", QUERIES[query](lines), Sink(rows))
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
        words = line.split()
        try:
            if words[0] == "check":
                rows = []
                run(path, words[1], workers, rows.extend)
                with open(words[2], "w", encoding="utf-8") as out:
                    out.writelines("|".join(map(str, row)) + "\n" for row in rows)
                print("done", file=says, flush=True)
            else:
                count = [0]

                def drop(items, count=count):
                    count[0] += len(items)

                wall, used = time.monotonic(), cpu()
                run(path, words[1], workers, drop)
                print("done", time.monotonic() - wall, cpu() - used, count[0], file=says, flush=True)
        except Exception as why:
            print("failed", repr(why).replace("\n", " "), file=says, flush=True)


main()
