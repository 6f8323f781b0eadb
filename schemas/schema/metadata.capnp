@0xe1b6f0a4c97d2538;

# How a process works with the metadata of a data directory that another process holds.
#
# A holder that shares its directory whole listens on three Unix sockets inside it. `egret.sock` takes
# requests about streams (stream.capnp). The other two make a whole log in another process: `meta.sock`,
# which is this conversation, and `bookie.sock`, which is that of bookie.capnp over a Unix socket.
#
#   1. The client connects and sends `hello`: the version it speaks, and the life it means if it is
#      attached already. A life is one holding of the directory: leases and fences of one mean nothing in
#      the next, so whoever is attached to one is never led on to another. The holder answers `welcome`
#      with its own life, which is also the cluster's name on `bookie.sock`, or `turnedAway` and closes.
#   2. The client sends one request and waits for its reply, which has the same correlation. It opens
#      another connection to ask more at once; the holder carries out one after the other on each.
#   3. A list comes in pages of one listing: `page` with `more` is followed by `more`, until there are no
#      more. Any other request forgets the rest of it.
#   4. `watch` turns the connection into a watch, and `done` says that it began; from then on only `next`
#      is asked. It is a long poll: answered as soon as there are events, and with none when the time is
#      over. Events come in the order of their revisions. An answer that is cut for its size says so with
#      `more`, and the next poll is answered at once: until then there may be events left of the last
#      revision. Between two polls the holder keeps nothing for a watch: one that falls behind is told
#      `compacted`, as by any store. A client whose connection broke watches anew from the last revision it
#      saw, and leaves out as many events of it as it has.
#   5. `failed` says what the store said, outcome and all. A connection that breaks behind a request leaves
#      unknown whether it was carried out. A holder that goes away in order says so: `turnedAway` with
#      `closing` and correlation 0 means that no request without a reply was carried out.
#
# Frames are those of stream.capnp, without a payload. A header has at most 4 MiB, before the hello 16 KiB.
#
# Ordinals are for ever. What is no longer used stays, and says so.

struct Request {
  union {
    hello @0 :Hello;
    get @1 :Text;
    # The value of a key.
    list @2 :Text;
    # Everything under a prefix, at one revision.
    more @3 :Void;
    txn @4 :Txn;
    grant @5 :UInt64;
    # A lease that lives for so many milliseconds.
    keepAlive @6 :UInt64;
    revoke @7 :UInt64;
    watch @8 :Watch;
    next @9 :UInt32;
    # Events, waited for so many milliseconds.
  }
}

struct Reply {
  union {
    turnedAway @0 :TurnedAway;
    welcome @1 :Welcome;
    value @2 :Value;
    noValue @3 :Void;
    page @4 :Page;
    committed @5 :UInt64;
    # The revision of a transaction.
    conflict @6 :Void;
    lease @7 :UInt64;
    # Granted.
    alive @8 :UInt64;
    # For so many milliseconds more.
    done @9 :Void;
    events @10 :Events;
    compacted @11 :UInt64;
    # The watch has ended; the oldest revision from which one may begin.
    failed @12 :Failure;
  }
}

struct Hello {
  version @0 :UInt16;
  lifeLow @1 :UInt64;
  lifeHigh @2 :UInt64;
  # Both zero: whichever it is.
}

struct Welcome {
  version @0 :UInt16;
  lifeLow @1 :UInt64;
  lifeHigh @2 :UInt64;
  incarnationLow @3 :UInt64;
  incarnationHigh @4 :UInt64;
  # Of the directory's bookie.
  pid @5 :UInt32;
}

struct TurnedAway {
  reason @0 :Reason;
  message @1 :Text;
  # What was wrong and what to do.
  version @2 :UInt16;
  # What the holder speaks.
}

enum Reason {
  badRequest @0;
  # It does not decode, or is out of order.
  version @1;
  # The two speak different versions.
  life @2;
  # The life that was meant is over.
  overloaded @3;
  # Too many connections.
  closing @4;
  # The holder is going away.
}

struct Value {
  value @0 :Data;
  revision @1 :UInt64;
}

struct Page {
  entries @0 :List(Entry);
  revision @1 :UInt64;
  # Of the whole listing.
  more @2 :Bool;
}

struct Entry {
  key @0 :Text;
  value @1 :Data;
  revision @2 :UInt64;
}

struct Txn {
  compare @0 :List(Compare);
  ops @1 :List(Op);
}

struct Compare {
  key @0 :Text;
  union {
    absent @1 :Void;
    revision @2 :UInt64;
  }
}

struct Op {
  key @0 :Text;
  union {
    put @1 :Data;
    putLeased @2 :Leased;
    delete @3 :Void;
  }
}

struct Leased {
  value @0 :Data;
  lease @1 :UInt64;
}

struct Watch {
  prefix @0 :Text;
  from @1 :UInt64;
}

struct Events {
  events @0 :List(Event);
  more @1 :Bool;
  # There may be more of the last revision.
}

struct Event {
  key @0 :Text;
  revision @1 :UInt64;
  union {
    put @2 :Data;
    delete @3 :Void;
  }
}

struct Failure {
  subject @0 :Text;
  # The file, the key, or what was asked for: as the kind says.
  why @1 :Text;
  at @2 :UInt64;
  # Where in the file, its version, what is taken, the lease, how long was waited: as the kind says.
  kind @3 :Kind;
  known @4 :UInt16;
  # The version known to the holder.
  record @5 :Text;
  # Which record of the file.
}

enum Kind {
  damaged @0;
  record @1;
  version @2;
  io @3;
  poisoned @4;
  closed @5;
  twiceInTxn @6;
  tooLarge @7;
  noLease @8;
  refused @9;
  unreachable @10;
  timeout @11;
  gone @12;
}
