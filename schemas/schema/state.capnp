@0xdfff19a409487be2;

# How a program of another kind reads the state of a topology: Cap'n Proto RPC, two parties, level 1. The
# bootstrap capability is a `State`.
#
# Keys are given in words and shown as JSON, and so are states, in the format that the topology's own
# types have: see `egret state --help`. All of one answer is of one commit, which it names.
#
# Ordinals are for ever. What is no longer used stays, and says so.

interface State {
  components @0 () -> (answer :Answer);
  # What there is.

  get @1 (component :Text, keys :List(Text)) -> (answer :Answer);
  # The states of some keys, in the order in which they are asked for.

  scan @2 (component :Text, prefix :Text, from :Text, limit :UInt32) -> (answer :Answer);
  # Keys and states in the order of the keys' encodings. `prefix` and `from` may be left out; `limit` 0 is the
  # server's own.
}

struct Answer {
  topology @0 :Text;
  generation @1 :UInt32;
  commit @2 :UInt32;
  # The commit it is of. It goes back when the topology does, to a commit that has a name.
  writtenBy @7 :UInt32;
  # The generation that made it the topology's last commit, or found it so: that never goes back. Between two answers
  # of the same, the commit does not either.
  ageMs @3 :UInt64;
  # For how long it has not been known to be of the newest commit.
  union {
    failure @4 :Failure;
    components @5 :List(Component);
    entries @6 :Entries;
  }
}

struct Failure {
  code @0 :Text;
  # For programs: `no-component`, `bad-key`, `bad-request`, `nothing-held`, ...
  error @1 :Text;
  # For people.
}

struct Component {
  name @0 :Text;
  tasks @1 :UInt32;
  keys @2 :UInt64;
  bytes @3 :UInt64;
  format @4 :Text;
  # Empty when it is not known.
}

struct Entries {
  entries @0 :List(Entry);
  next @1 :Text;
  # Where a scan goes on, as `from` takes it; left out at its end.
}

struct Entry {
  key @0 :Text;
  found @1 :Bool;
  value @2 :Text;
}
