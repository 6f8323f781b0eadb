@0xd32d6fd128d46158;

# How a bookie is spoken to: by clients that write and read ledgers, and by other bookies that mend.
#
# A bookie listens on one TCP address. Off the host every connection is TLS 1.3 with certificates on
# both sides; only on a loopback address may it be plain.
#
#   1. The client connects and sends `hello`: the version it speaks, its cluster, which incarnation of
#      which bookie it means (an address is no identity), what it is, and a number for its process. The
#      bookie answers `welcome` with its own, its features and its limits, or `turnedAway` and closes.
#      What a client may do is decided by the role in its certificate; where there is none, by the role
#      it says.
#   2. The client sends requests, as many as the limits allow, without waiting. Each carries a
#      correlation number of its own, above zero, and each gets exactly one reply with the same number,
#      in any order: an add is answered when it is durable, a read when the entry was found.
#   3. Each request says which incarnation it is for and how long the client will wait. After that the
#      bookie may answer `unknown` with `deadline`; what was asked may still be done.
#   4. `refused` is definite: nothing was done. `overloaded` is a normal reply of this kind: the client
#      comes again after the time it names. `unknown` proves nothing.
#   5. `watchLac` is a long poll: answered when readers may see beyond what the client knows, when the
#      ledger was fenced or deleted, or when `waitMs` are over; a client asks again.
#   6. A bookie that ends in order answers what it accepted, then sends `turnedAway` with `closing` and
#      correlation 0: no request without a reply was carried out. When it just goes, such a request may
#      or may not have been.
#
# Frames are those of stream.capnp. The payload is an entry's bytes, raw: behind `add`, and behind the
# replies `entry` and `entries`. Before its hello a client may send a header of 16 KiB and no payload.
#
# An entry number that may be absent is a number and a flag beside it, so that every number is one.
#
# Ordinals are for ever. What is no longer used stays, and says so.

struct Request {
  toLow @0 :UInt64;
  toHigh @1 :UInt64;
  # The incarnation it is for.
  waitMs @2 :UInt32;
  # How long the client will wait for the reply.
  union {
    hello @3 :Hello;
    create @4 :Create;
    add @5 :Add;
    read @6 :Read;
    fence @7 :Fence;
    writeLac @8 :WriteLac;
    readLac @9 :Ledger;
    delete @10 :Ledger;
    watchLac @11 :WatchLac;
    readRange @12 :ReadRange;
    clearLimbo @13 :ClearLimbo;
    limboBound @14 :Ledger;
    # The lowest ledger that had not been created when the bookie lost something.
  }
}

struct Reply {
  union {
    turnedAway @0 :TurnedAway;
    welcome @1 :Welcome;
    done @2 :Void;
    # Done and durable; a `writeLac`: taken note of.
    entry @3 :Entry;
    noEntry @4 :NoEntry;
    fenced @5 :Ends;
    lac @6 :Ends;
    watched @7 :Void;
    # There may be something new, or the time is over.
    refused @8 :Refusal;
    unknown @9 :Unknown;
    entries @10 :Entries;
  }
}

struct Hello {
  version @0 :UInt16;
  cluster @1 :Text;
  incarnationLow @2 :UInt64;
  incarnationHigh @3 :UInt64;
  # Whom it means; both zero: whoever answers.
  role @4 :Role;
  process @5 :UInt64;
  # For logs: which process of many this is.
  features @6 :UInt64;
  # A bit for each optional thing it understands; none has a meaning yet.
}

struct Welcome {
  version @0 :UInt16;
  cluster @1 :Text;
  incarnationLow @2 :UInt64;
  incarnationHigh @3 :UInt64;
  bookie @4 :UInt64;
  role @5 :Role;
  # What the client is to it.
  features @6 :UInt64;
  payloadBytesMax @7 :UInt32;
  # The largest entry it takes, and sends.
  requestsMax @8 :UInt32;
  # Requests of this connection without a reply; one more is refused with `overloaded`.
  requestBytesMax @9 :UInt64;
  # Bytes of such requests.
}

enum Role {
  client @0;
  # Writes and reads ledgers.
  bookie @1;
  # Copies entries to mend.
  admin @2;
  # Looks, fences and deletes.
  worker @3;
  # As a client, and takes a place among the worker processes of a topology.
}

struct TurnedAway {
  reason @0 :Reason;
  message @1 :Text;
  # What was wrong and what to do.
  incarnationLow @2 :UInt64;
  incarnationHigh @3 :UInt64;
  # Who says so; both zero when that is nobody's business.
}

enum Reason {
  badRequest @0;
  # It does not decode, or is out of order.
  version @1;
  # The two speak different versions.
  cluster @2;
  # It is a bookie of another cluster.
  incarnation @3;
  # It is another incarnation than was meant.
  role @4;
  # The certificate says another role than the hello, or another cluster.
  overloaded @5;
  # Too many connections.
  closing @6;
  # The bookie is going away.
}

struct Create {
  ledger @0 :UInt64;
  term @1 :UInt64;
  transactional @2 :Bool;
  replicated @3 :Bool;
  # Whether other bookies have copies.
}

struct Add {
  ledger @0 :UInt64;
  entry @1 :UInt64;
  term @2 :UInt64;
  lac @3 :UInt64;
  hasLac @4 :Bool;
  crc @5 :UInt32;
  # CRC32C over ledger, entry and payload.
  copy @6 :Bool;
  # Sent by a recovery or a repair.
}

struct Read {
  ledger @0 :UInt64;
  entry @1 :UInt64;
  fence @2 :UInt64;
  hasFence @3 :Bool;
  # The term to raise first.
}

struct ReadRange {
  ledger @0 :UInt64;
  from @1 :UInt64;
  entriesMax @2 :UInt32;
  bytesMax @3 :UInt32;
}

struct ClearLimbo {
  ledger @0 :UInt64;
  term @1 :UInt64;
}

struct Fence {
  ledger @0 :UInt64;
  term @1 :UInt64;
}

struct WriteLac {
  ledger @0 :UInt64;
  term @1 :UInt64;
  lac @2 :UInt64;
}

struct Ledger {
  ledger @0 :UInt64;
}

struct WatchLac {
  ledger @0 :UInt64;
  beyond @1 :UInt64;
  hasBeyond @2 :Bool;
  # What the client knows already.
}

struct Entry {
  entry @0 :UInt64;
  term @1 :UInt64;
  crc @2 :UInt32;
  lac @3 :UInt64;
  hasLac @4 :Bool;
}

struct Entries {
  first @0 :UInt64;
  # The number of the first; the others follow it.
  lac @1 :UInt64;
  hasLac @2 :Bool;
  terms @3 :List(UInt64);
  crcs @4 :List(UInt32);
  lengths @5 :List(UInt32);
  # Of each entry, in order. The payload is their bytes, one behind the other.
}

struct NoEntry {
  lac @0 :UInt64;
  hasLac @1 :Bool;
}

struct Ends {
  lac @0 :UInt64;
  hasLac @1 :Bool;
  last @2 :UInt64;
  hasLast @3 :Bool;
  # The highest entry stored.
}

struct Refusal {
  union {
    staleTerm @0 :UInt64;
    # The term the bookie holds.
    noLedger @1 :Void;
    deleted @2 :Void;
    exists @3 :Void;
    conflict @4 :Void;
    badCrc @5 :Void;
    tooLarge @6 :TooLarge;
    diskFull @7 :DiskFull;
    readOnly @8 :Void;
    overloaded @9 :UInt32;
    # Milliseconds until it is worth trying again.
    notAllowed @10 :NotAllowed;
  }
}

struct TooLarge {
  bytes @0 :UInt64;
  max @1 :UInt64;
}

struct DiskFull {
  directory @0 :Text;
  free @1 :UInt64;
}

struct NotAllowed {
  role @0 :Role;
  method @1 :Text;
}

struct Unknown {
  union {
    poisoned @0 :Text;
    # The first failure.
    damaged @1 :Damaged;
    incarnation @2 :WrongIncarnation;
    limbo @3 :Void;
    unreachable @4 :Unreachable;
    closing @5 :Void;
    deadline @6 :UInt64;
    # Milliseconds.
  }
}

struct Damaged {
  file @0 :Text;
  offset @1 :UInt64;
  what @2 :Text;
}

struct WrongIncarnation {
  askedLow @0 :UInt64;
  askedHigh @1 :UInt64;
  ownLow @2 :UInt64;
  ownHigh @3 :UInt64;
}

struct Unreachable {
  to @0 :Text;
  why @1 :Text;
}
