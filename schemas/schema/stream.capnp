@0xc70870b68fd7e163;

# How a process works with a data directory that another process holds.
#
# A data directory has one holder: the process whose bookie, metadata and writers live in it. The
# holder listens on the Unix socket `egret.sock` inside the directory. Whoever else wants something
# of its streams (the shell, mostly) attaches there, instead of opening the files:
#
#   1. The client connects and sends `hello`: the version it speaks, and the incarnation of the
#      directory if it knows one. The holder answers `hello` with its own, its process id and its
#      limits, or `failed` with `version` or `incarnation` and closes.
#   2. The client sends requests. Each carries a correlation number, and each gets exactly one reply
#      with the same number. Replies come in the order of the requests.
#   3. `read` with `waitMs` is answered as soon as there is something to read in any of its
#      partitions, and with no batches when the time is over; a client follows a stream by asking
#      again from `next`.
#   4. Either side closes when it wants. A holder that goes away in order says so: `failed` with
#      `closing` and correlation 0 means that no request without a reply was carried out. When it just
#      goes, such a request may or may not have been.
#
# A message is a frame, little-endian:
#
#    0         2         3         4              8             12
#   +---------+---------+---------+--------------+--------------+
#   | magic   | version | flags   | header_words | payload_len  |
#   | u16     | u8      | u8      | u32          | u32          |
#   +---------+---------+---------+--------------+--------------+
#   | correlation u64             | header_crc   | payload_crc  |
#   +-----------------------------+--------------+--------------+ 28
#   | header: one segment of Cap'n Proto, a Request or a Reply  |
#   +-----------------------------------------------------------+
#   | payload: records, raw                                     |
#   +-----------------------------------------------------------+
#
# `header_crc` is CRC32C over the 20 bytes before it and the header, `payload_crc` over the payload.
# Before its hello a client may send a header of 16 KiB and no payload.
#
# Records never pass through Cap'n Proto. In the payload they stand one behind the other; each is
#
#   flags u8 (1 key, 2 event time, 4 sequence) · [key_len var · key] · value_len var · value
#            · [event_time_ms i64] · [sequence var]
#
# where `var` is an unsigned LEB128 number. The header says how many there are.
#
# Ordinals are for ever. What is no longer used stays, and says so.

using Lower = import "below.capnp";

struct Request {
  union {
    hello @0 :Hello;
    createStream @1 :CreateStream;
    listStreams @2 :ListStreams;
    describeStream @3 :StreamName;
    append @4 :Append;
    read @5 :Read;
    truncate @6 :Truncate;
    deleteStream @7 :StreamName;
    yield @8 :Void;
    # Who needs the directory itself asks whoever holds it only for a command. `done`: it lets go as
    # soon as what is under way is answered. `failed` with `refused`: it stays.
    below @9 :Lower.Below;
    # What lies below the streams: for commands that look after topologies.
  }
}

struct Reply {
  union {
    failed @0 :Failure;
    hello @1 :Welcome;
    done @2 :Void;
    # Truncated, deleted, about to let go.
    stream @3 :StreamInfo;
    # Created.
    streams @4 :Streams;
    description @5 :StreamDescription;
    appended @6 :Appended;
    batches @7 :Batches;
    values @8 :Lower.Values;
    written @9 :Lower.Written;
    entry @10 :Void;
    # Its bytes are the payload.
    end @11 :Lower.End;
  }
}

struct Hello {
  version @0 :UInt16;
  incarnationLow @1 :UInt64;
  incarnationHigh @2 :UInt64;
  # Both zero: whichever directory this is.
}

struct Welcome {
  version @0 :UInt16;
  incarnationLow @1 :UInt64;
  incarnationHigh @2 :UInt64;
  pid @3 :UInt32;
  payloadBytesMax @4 :UInt32;
  # The largest payload the holder takes, and sends.
}

struct StreamName {
  name @0 :Text;
  force @1 :Bool;
  # To delete it although a topology uses it, which then cannot go on.
}

struct CreateStream {
  name @0 :Text;
  partitions @1 :UInt32;
  format @2 :Text;
  # "bytes", "utf8", "json", "postcard:<schema>".
  segmentBytesMax @3 :UInt64;
  # 0: the holder's default.
  retentionMs @4 :UInt64;
  # What was appended longer ago is forgotten; 0: nothing is.
  retentionBytes @5 :UInt64;
  # The oldest beyond so many bytes of each partition is forgotten; 0: nothing is.
}

struct ListStreams {
  after @0 :Text;
  # Names behind this one, in the order of their bytes.
  limit @1 :UInt32;
}

struct Streams {
  streams @0 :List(StreamInfo);
  more @1 :Bool;
  # Ask again after the last name.
}

struct StreamInfo {
  name @0 :Text;
  partitions @1 :UInt32;
  format @2 :Text;
  segmentBytesMax @3 :UInt64;
  owner @4 :Text;
  # The topology that alone may write it; empty when anybody may.
  retentionMs @5 :UInt64;
  retentionBytes @6 :UInt64;
  # As created with.
}

struct StreamDescription {
  info @0 :StreamInfo;
  partitions @1 :List(PartitionDescription);
  users @2 :List(StreamUser);
}

struct StreamUser {
  # A component of a topology that uses a stream.
  topology @0 :Text;
  component @1 :Text;
  writes @2 :Bool;
  # It writes the stream and keeps state that belongs to it. Otherwise it reads it.
  needed @3 :List(Needed);
  # What a reader may yet read again.
}

struct Needed {
  partition @0 :UInt32;
  from @1 :Position;
  # This and everything after it.
}

struct PartitionDescription {
  partition @0 :UInt32;
  segments @1 :UInt32;
  entries @2 :UInt64;
  records @3 :UInt64;
  first @4 :Position;
  # The first position not truncated.
  end @5 :Position;
  # Behind the last position readers may see.
  term @6 :UInt64;
  owner @7 :Text;
  # The task that writes it; empty when nobody or anybody does.
}

struct Position {
  segment @0 :UInt64;
  entry @1 :UInt64;
  slot @2 :UInt32;
}

struct Append {
  stream @0 :Text;
  route :union {
    byKey @1 :Void;
    # Each record to the partition of its key; records without one spread evenly.
    partition @2 :UInt32;
    # All to this one.
  }
  records @3 :UInt32;
  # How many stand in the payload.
  producer @4 :Data;
  # Not empty: records whose sequence is not above the producer's last are skipped.
  note @5 :Data;
  # Kept with the append for the producer.
}

struct Appended {
  parts @0 :List(AppendedPart);
  # What is durable. On `failure` the rest is not, or may be: see its outcome.
  failure @1 :Failure;
  # Null when all of it is durable.
}

struct AppendedPart {
  partition @0 :UInt32;
  first @1 :Position;
  records @2 :UInt32;
  duplicates @3 :UInt32;
}

struct Read {
  stream @0 :Text;
  from @1 :List(Place);
  # One for each partition to read.
  bytesMax @2 :UInt32;
  # Whole batches up to about this many bytes, but at least one when there is one.
  waitMs @3 :UInt32;
  # How long to wait for the first batch of any of them.
}

struct Place {
  partition @0 :UInt32;
  union {
    earliest @1 :Void;
    latest @2 :Void;
    at @3 :Position;
    last @4 :UInt32;
    # This many records before the end, or as many as there are.
    since @5 :UInt64;
    # The first that was appended at this time or later, in milliseconds since 1970.
  }
}

struct Batches {
  batches @0 :List(BatchInfo);
  next @1 :List(Next);
  # As many as places were asked for, in their order.
}

struct BatchInfo {
  partition @0 :UInt32;
  first @1 :Position;
  # Of its first record; the others follow slot by slot.
  records @2 :UInt32;
  epoch @3 :UInt64;
  # 0 when no topology wrote it.
  firstNumber @4 :UInt64;
  # The number of its first record in the partition, dense.
}

struct Next {
  partition @0 :UInt32;
  next @1 :Position;
  # Where to read on.
  end @2 :Position;
  # Behind the last position readers may see, as it was when this was answered. Behind every position there
  # can be when that is not known, because bookies are away: who reads on without waiting is told why.
}

struct Truncate {
  stream @0 :Text;
  partition @1 :UInt32;
  before @2 :Position;
  force @3 :Bool;
  # Although a topology needs what is before it, which then cannot go on.
}

struct Failure {
  code @0 :Code;
  message @1 :Text;
  # What was wrong.
  hint @2 :Text;
  # What to do about it; may be empty.
  outcome @3 :Outcome;
  position @4 :Position;
  # `truncated`: the first position there is. Otherwise null.
  retryAfterMs @5 :UInt32;
  # `overloaded`: when to try again.
}

enum Outcome {
  definite @0;
  # Nothing was done.
  unknown @1;
  # It may have been done.
}

enum Code {
  internal @0;
  # Told by the message alone.
  badRequest @1;
  # It does not decode, or is out of order.
  version @2;
  # The two speak different versions.
  incarnation @3;
  # This is another directory than the client knew.
  noStream @4;
  noPartition @5;
  exists @6;
  badName @7;
  refused @8;
  # Not allowed: another format, a stream of a topology.
  truncated @9;
  tooLarge @10;
  overloaded @11;
  diskFull @12;
  damaged @13;
  # The medium returned something else than was written.
  fenced @14;
  # A newer owner took the partition over.
  closing @15;
  # The holder is going away.
}
