//! The first words on a connection between worker processes.
//!
//! ```text
//! who connects   "EGMH" | version u16 | kind u8 | 0 u8 | rank u32 | to u32 | count u32 | generation u32
//!                | process u64 | build u64 | plan u64 | secret 32
//! who accepts    "EGMA" | version u16 | verdict u8 | 0 u8 | count u32 | build u64 | plan u64 | secret 32
//! ```
//! Little-endian. Each side shows its own half of the secret, the accepting one only to somebody who showed
//! the other half: so neither a stranger who connects nor one who took the port over learns anything. Where
//! certificates were shown before a word was said, the secret is zeros.

use std::fmt;
use std::io::{self, Read, Write};

use egret_schemas::Generation;
use egret_schemas::bytes::{Reader, Writer as _};

const HELLO: &[u8; 4] = b"EGMH";
const ANSWER: &[u8; 4] = b"EGMA";
const VERSION: u16 = 2;
const HALF: usize = 32;

/// Bytes of a hello, and of the answer to it.
pub(crate) const HELLO_BYTES: usize = 4 + 2 + 1 + 1 + 4 * 4 + 3 * 8 + HALF;
const ANSWER_BYTES: usize = 4 + 2 + 1 + 1 + 4 + 2 * 8 + HALF;

/// What proves that a process belongs to a run: made by the first one, known to those it started.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 2 * HALF]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Of those who know each other by certificates.
    pub(crate) const NONE: Secret = Secret([0; 2 * HALF]);

    /// A new one, of the system's randomness.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn random() -> io::Result<Secret> {
        let mut bytes = [0; 2 * HALF];
        let mut filled = 0;
        while filled < bytes.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut bytes[filled..], flags)?;
        }
        Ok(Secret(bytes))
    }

    /// As a line of text, for a pipe to a process that is started.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads it back.
    pub fn from_hex(text: &str) -> Option<Secret> {
        let mut bytes = [0; 2 * HALF];
        if text.len() != 2 * bytes.len() || !text.is_ascii() {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Secret(bytes))
    }

    fn connects(&self) -> &[u8] {
        &self.0[..HALF]
    }

    fn accepts(&self) -> &[u8] {
        &self.0[HALF..]
    }
}

/// Compares in a time that says nothing about where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A member and the leader, for as long as both live.
    Control,
    /// Batches of one generation.
    Data,
    /// What a process is done with, in one generation.
    Credit,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Control => 0,
            Kind::Data => 1,
            Kind::Credit => 2,
        }
    }

    fn of(code: u8) -> Option<Kind> {
        [Kind::Control, Kind::Data, Kind::Credit].into_iter().find(|kind| kind.code() == code)
    }
}

/// Who connects, to whom and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) kind: Kind,
    pub(crate) rank: u32,
    pub(crate) to: u32,
    /// How many processes there are, as it was told.
    pub(crate) count: u32,
    /// 0 on a control connection.
    pub(crate) generation: Generation,
    /// Which of those that may have been placed at the rank it is.
    pub(crate) process: u64,
    /// The binary: batches between processes are understood by the very same one only.
    pub(crate) build: u64,
    /// The topology's graph and name.
    pub(crate) plan: u64,
}

/// What became of a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Welcome,
    /// Of another version of these words.
    Version,
    /// The secret is not this run's.
    Stranger,
    /// Another binary.
    Build,
    /// Another topology, or another graph of it.
    Plan,
    /// Meant for another process.
    Elsewhere,
    /// It counts another number of processes.
    Count,
    /// Its certificate is nobody's who may be a worker here.
    Certificate,
    /// Another process has its place, and is well.
    Taken,
}

impl Verdict {
    const ALL: [Verdict; 9] = [
        Verdict::Welcome,
        Verdict::Version,
        Verdict::Stranger,
        Verdict::Build,
        Verdict::Plan,
        Verdict::Elsewhere,
        Verdict::Count,
        Verdict::Certificate,
        Verdict::Taken,
    ];

    fn code(self) -> u8 {
        (0..)
            .zip(Verdict::ALL)
            .find(|(_, verdict)| *verdict == self)
            .map_or(u8::MAX, |(code, _)| code)
    }

    fn of(code: u8) -> Option<Verdict> {
        Verdict::ALL.get(usize::from(code)).copied()
    }
}

/// What the accepting side knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) rank: u32,
    pub(crate) count: u32,
    pub(crate) build: u64,
    pub(crate) plan: u64,
}

/// A hello that was refused: what both sides said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) verdict: Verdict,
    /// Who connected: rank, count, build, plan. Zeros where it could not be read.
    said: Expected,
    /// Who was asked; its rank is not told.
    asked: Expected,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refused { verdict, said, asked } = self;
        let rank = said.rank;
        match verdict {
            Verdict::Welcome => f.write_str("it is welcome"),
            Verdict::Version => {
                f.write_str("it speaks another version: run the same binary in every process")
            }
            Verdict::Stranger => f.write_str("it does not know the secret of this run"),
            Verdict::Build => write!(
                f,
                "process {rank} is build {:016x}, and the process it came to is build {:016x}: run the same \
                 binary in every process",
                said.build, asked.build
            ),
            Verdict::Plan => write!(
                f,
                "process {rank} runs plan {:016x}, and the process it came to runs plan {:016x}: start every \
                 process with the same topology and the same arguments",
                said.plan, asked.plan
            ),
            Verdict::Elsewhere => f.write_str("it looks for another process"),
            Verdict::Count => write!(
                f,
                "process {rank} was told of {} processes, and the process it came to of {}: start every process \
                 with the same number, and ranks below it",
                said.count, asked.count
            ),
            Verdict::Certificate => f.write_str(
                "its certificate is not of role `worker` in this cluster: have one issued with `egret init cert \
                 --role worker`",
            ),
            Verdict::Taken => write!(
                f,
                "another process is rank {rank}, and is well: give each process a rank of its own"
            ),
        }
    }
}

/// Says hello; `Err` inside says why it was refused.
pub(crate) fn say(
    stream: &mut (impl Read + Write),
    hello: Hello,
    secret: &Secret,
) -> io::Result<Result<(), Refused>> {
    stream.write_all(&encode(hello, secret))?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer)?;
    let strange = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    if &answer[..4] != ANSWER {
        return Err(strange("what listens there is no worker process"));
    }
    let mut reader = Reader::new(&answer[8..]);
    let mut told = || {
        let (count, build) = (reader.u32("count")?, reader.u64("build")?);
        let plan = reader.u64("plan")?;
        Ok::<_, egret_schemas::bytes::DecodeError>(Expected { rank: hello.to, count, build, plan })
    };
    let asked = told().map_err(|_| strange("its answer is none"))?;
    match Verdict::of(answer[6]) {
        Some(Verdict::Welcome) if same(&answer[ANSWER_BYTES - HALF..], secret.accepts()) => {
            Ok(Ok(()))
        }
        Some(Verdict::Welcome) => {
            Err(strange("what listens there does not know the secret of this run"))
        }
        verdict => {
            let verdict = verdict.unwrap_or(Verdict::Version);
            Ok(Err(Refused { verdict, said: hello.said(), asked }))
        }
    }
}

/// Hears a hello and answers it; `admit` judges what the words alone do not say.
pub(crate) fn hear(
    stream: &mut (impl Read + Write),
    expected: Expected,
    secret: &Secret,
    admit: impl FnOnce(&Hello) -> Result<(), Verdict>,
) -> io::Result<Result<Hello, Refused>> {
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes)?;
    let heard = judge(&bytes, expected, secret).and_then(|hello| {
        let refused = |verdict| Refused { verdict, said: hello.said(), asked: expected };
        admit(&hello).map(|()| hello).map_err(refused)
    });
    let verdict = heard.as_ref().err().map_or(Verdict::Welcome, |refused| refused.verdict);
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    answer.extend_from_slice(ANSWER);
    answer.put_u16(VERSION);
    answer.put_u8(verdict.code());
    answer.put_u8(0);
    if verdict != Verdict::Stranger {
        answer.put_u32(expected.count);
        answer.put_u64(expected.build);
        answer.put_u64(expected.plan);
    }
    if verdict == Verdict::Welcome {
        answer.extend_from_slice(secret.accepts());
    }
    answer.resize(ANSWER_BYTES, 0);
    stream.write_all(&answer)?;
    Ok(heard)
}

impl Hello {
    fn said(&self) -> Expected {
        let Hello { rank, count, build, plan, .. } = *self;
        Expected { rank, count, build, plan }
    }
}

fn encode(hello: Hello, secret: &Secret) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HELLO_BYTES);
    bytes.extend_from_slice(HELLO);
    bytes.put_u16(VERSION);
    bytes.put_u8(hello.kind.code());
    bytes.put_u8(0);
    bytes.put_u32(hello.rank);
    bytes.put_u32(hello.to);
    bytes.put_u32(hello.count);
    bytes.put_u32(hello.generation.0);
    bytes.put_u64(hello.process);
    bytes.put_u64(hello.build);
    bytes.put_u64(hello.plan);
    bytes.extend_from_slice(secret.connects());
    bytes
}

fn judge(bytes: &[u8], expected: Expected, secret: &Secret) -> Result<Hello, Refused> {
    let nobody = Expected { rank: 0, count: 0, build: 0, plan: 0 };
    let unread = |verdict| Refused { verdict, said: nobody, asked: expected };
    // The secret first: a stranger learns nothing else.
    let shown = bytes.get(HELLO_BYTES - HALF..).unwrap_or_default();
    if !bytes.starts_with(HELLO) || !same(shown, secret.connects()) {
        return Err(unread(Verdict::Stranger));
    }
    let mut reader = Reader::new(&bytes[HELLO.len()..]);
    let mut fields = || {
        let (version, kind) = (reader.u16("version")?, reader.u8("kind")?);
        reader.u8("zero")?;
        let (rank, to) = (reader.u32("rank")?, reader.u32("to")?);
        let count = reader.u32("count")?;
        let generation = Generation(reader.u32("generation")?);
        let process = reader.u64("process")?;
        let (build, plan) = (reader.u64("build")?, reader.u64("plan")?);
        // Of another version nothing else may be believed.
        let kind = Kind::of(kind).filter(|_| version == VERSION);
        Ok::<_, egret_schemas::bytes::DecodeError>(kind.map(|kind| Hello {
            kind,
            rank,
            to,
            count,
            generation,
            process,
            build,
            plan,
        }))
    };
    let hello = fields().ok().flatten().ok_or_else(|| unread(Verdict::Version))?;
    let verdict = if hello.build != expected.build {
        Verdict::Build
    } else if hello.plan != expected.plan {
        Verdict::Plan
    } else if hello.count != expected.count || hello.rank >= hello.count {
        Verdict::Count
    } else if hello.to != expected.rank || hello.rank == expected.rank {
        Verdict::Elsewhere
    } else {
        return Ok(hello);
    };
    Err(Refused { verdict, said: hello.said(), asked: expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::net::UnixStream;

    const EXPECTED: Expected = Expected { rank: 0, count: 3, build: 7, plan: 9 };

    fn hello() -> Hello {
        let Expected { count, build, plan, .. } = EXPECTED;
        let generation = Generation(3);
        Hello { kind: Kind::Data, rank: 2, to: 0, count, generation, process: 1, build, plan }
    }

    /// Both sides of one connection.
    fn meet(
        said: Hello,
        (mine, theirs): (&Secret, &Secret),
    ) -> (io::Result<Result<(), Verdict>>, Result<Hello, Verdict>) {
        meet_where(said, (mine, theirs), Ok(()))
    }

    fn meet_where(
        said: Hello,
        (mine, theirs): (&Secret, &Secret),
        admits: Result<(), Verdict>,
    ) -> (io::Result<Result<(), Verdict>>, Result<Hello, Verdict>) {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let hears = scope.spawn(move || hear(&mut b, EXPECTED, theirs, |_| admits).unwrap());
            let says = say(&mut a, said, mine);
            let heard = hears.join().unwrap();
            if let (Ok(Err(told)), Err(heard)) = (&says, &heard)
                && heard.verdict != Verdict::Stranger
            {
                assert_eq!(told.to_string(), heard.to_string(), "both sides say the same");
            }
            let verdict = |refused: Refused| refused.verdict;
            (says.map(|said| said.map_err(verdict)), heard.map_err(verdict))
        })
    }

    #[test]
    fn who_belongs_to_the_run_is_let_in_and_others_are_told_why_not() {
        let (ours, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        let (said, heard) = meet(hello(), (&ours, &ours));
        assert_eq!((said.unwrap(), heard), (Ok(()), Ok(hello())));
        let cases = [
            (hello(), &other, Verdict::Stranger),
            (Hello { build: 8, ..hello() }, &ours, Verdict::Build),
            (Hello { plan: 8, ..hello() }, &ours, Verdict::Plan),
            (Hello { to: 1, ..hello() }, &ours, Verdict::Elsewhere),
            (Hello { rank: 0, ..hello() }, &ours, Verdict::Elsewhere),
            (Hello { count: 4, ..hello() }, &ours, Verdict::Count),
            (Hello { rank: 3, ..hello() }, &ours, Verdict::Count),
        ];
        for (said, secret, verdict) in cases {
            let (told, heard) = meet(said, (secret, &ours));
            assert_eq!((told.unwrap(), heard), (Err(verdict), Err(verdict)));
        }
        for verdict in [Verdict::Taken, Verdict::Certificate] {
            let (told, heard) = meet_where(hello(), (&ours, &ours), Err(verdict));
            assert_eq!((told.unwrap(), heard), (Err(verdict), Err(verdict)));
        }
    }

    #[test]
    fn who_is_refused_for_another_build_is_told_both() {
        let said = Hello { build: 0xab, ..hello() }.said();
        let refused = Refused { verdict: Verdict::Build, said, asked: EXPECTED };
        assert_eq!(
            refused.to_string(),
            "process 2 is build 00000000000000ab, and the process it came to is build 0000000000000007: run the \
             same binary in every process"
        );
    }

    #[test]
    fn who_listens_in_place_of_the_run_is_found_out() {
        let ours = Secret::random().unwrap();
        let half = Secret({
            let mut bytes = ours.0;
            bytes[HALF..].fill(0);
            bytes
        });
        // It knows what a member shows, having been shown it, and not what the leader shows.
        let (said, _) = meet(hello(), (&ours, &half));
        assert!(said.unwrap_err().to_string().contains("does not know the secret"));
    }

    #[test]
    fn a_secret_comes_back_from_its_line() {
        let secret = Secret::random().unwrap();
        assert_eq!(Secret::from_hex(&secret.to_hex()), Some(secret.clone()));
        assert_ne!(secret, Secret::random().unwrap());
        for wrong in ["", "zz", &"é".repeat(64), &secret.to_hex()[1..]] {
            assert_eq!(Secret::from_hex(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn bytes_nobody_wrote_are_a_strangers(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let judged = judge(&bytes, EXPECTED, &Secret([1; 64])).map_err(|refused| refused.verdict);
            prop_assert_eq!(judged, Err(Verdict::Stranger));
        }

        #[test]
        fn a_member_may_say_anything_else(mut bytes in proptest::collection::vec(any::<u8>(), HELLO_BYTES)) {
            let secret = Secret([1; 64]);
            bytes[..4].copy_from_slice(HELLO);
            bytes[HELLO_BYTES - HALF..].copy_from_slice(secret.connects());
            let judged = judge(&bytes, EXPECTED, &secret).map_err(|refused| refused.verdict);
            prop_assert!(judged != Err(Verdict::Stranger));
        }
    }
}
