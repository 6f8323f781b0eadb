@0xb33da625036c18d2;

# What lies below the streams of a data directory: its metadata, and the entries of its ledgers. A process
# that is attached asks for it to look after topologies; see `stream.capnp`.

struct Written {
  revision @0 :UInt64;
  # 0: something compared did not hold, and nothing was written.
}

struct End {
  after @0 :UInt64;
  # Behind the last entry that may be read.
}

struct Below {
  union {
    get @0 :Text;
    # A key of the metadata: answered by `values`, with one or none.
    list @1 :ListKeys;
    # Keys of the metadata: answered by `values`.
    write @2 :Write;
    # What a topology's record is changed by: keys under `/topology/` and `/users/`, no others. Answered by
    # `written`.
    read @3 :EntryAddress;
    # An entry, whether readers may see it or not: answered by `entry`.
    end @4 :UInt64;
    # How far a ledger may be read: answered by `end`.
  }
}

struct ListKeys {
  prefix @0 :Text;
  after @1 :Text;
  # Keys behind this one, in the order of their bytes.
}

struct EntryAddress {
  ledger @0 :UInt64;
  entry @1 :UInt64;
}

struct Write {
  compare @0 :List(Compare);
  puts @1 :List(Put);
  # All or nothing. Their values stand in the payload, one behind the other.
}

struct Compare {
  key @0 :Text;
  revision @1 :UInt64;
  # When it was last written; 0: it is not there.
}

struct Put {
  key @0 :Text;
  bytes @1 :UInt32;
}

struct Values {
  values @0 :List(Value);
  # They stand in the payload, one behind the other.
  more @1 :Bool;
  # Ask again after the last key.
  revision @2 :UInt64;
  # Of the store, at that moment.
}

struct Value {
  key @0 :Text;
  revision @1 :UInt64;
  bytes @2 :UInt32;
}
