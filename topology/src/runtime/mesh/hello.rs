//! The first words on a connection between worker processes.
//!
//! ```text
//! who connects   "EGMH" | version u16 | kind u8 | 0 u8 | rank u32 | to u32 | generation u32 | build u64 | plan u64 | secret 32
//! who accepts    "EGMA" | version u16 | verdict u8 | 0 u8 | secret 32
//! ```
//! Little-endian. Each side shows its own half of the secret, the accepting one only to somebody who showed
//! the other half: so neither a stranger who connects nor one who took the port over learns anything.

use std::fmt;
use std::io::{self, Read, Write};

use egret_schemas::Generation;
use egret_schemas::bytes::{Reader, Writer as _};

const HELLO: &[u8; 4] = b"EGMH";
const ANSWER: &[u8; 4] = b"EGMA";
const VERSION: u16 = 1;
const HALF: usize = 32;

/// Bytes of a hello, and of the answer to it.
pub(crate) const HELLO_BYTES: usize = 4 + 2 + 1 + 1 + 4 + 4 + 4 + 8 + 8 + HALF;
const ANSWER_BYTES: usize = 4 + 2 + 1 + 1 + HALF;

/// What proves that a process belongs to a run: made by the first one, known to those it started.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 2 * HALF]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
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
    /// 0 on a control connection.
    pub(crate) generation: Generation,
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
}

impl Verdict {
    const ALL: [Verdict; 6] = [
        Verdict::Welcome,
        Verdict::Version,
        Verdict::Stranger,
        Verdict::Build,
        Verdict::Plan,
        Verdict::Elsewhere,
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

    /// For people: why it was not let in.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Verdict::Welcome => "it is welcome",
            Verdict::Version => "it speaks another version: run the same binary in every process",
            Verdict::Stranger => "it does not know the secret of this run",
            Verdict::Build => "it is another binary: run the same one in every process",
            Verdict::Plan => "it runs another topology, or another graph of this one",
            Verdict::Elsewhere => "it looks for another process",
        }
    }
}

/// What the accepting side knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) rank: u32,
    pub(crate) build: u64,
    pub(crate) plan: u64,
}

/// Says hello; `Err` inside says why it was refused.
pub(crate) fn say(
    stream: &mut (impl Read + Write),
    hello: Hello,
    secret: &Secret,
) -> io::Result<Result<(), Verdict>> {
    stream.write_all(&encode(hello, secret))?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer)?;
    let strange = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    if &answer[..4] != ANSWER {
        return Err(strange("what listens there is no worker process"));
    }
    match Verdict::of(answer[6]) {
        Some(Verdict::Welcome) if same(&answer[8..], secret.accepts()) => Ok(Ok(())),
        Some(Verdict::Welcome) => {
            Err(strange("what listens there does not know the secret of this run"))
        }
        Some(refusal) => Ok(Err(refusal)),
        None => Ok(Err(Verdict::Version)),
    }
}

/// Hears a hello and answers it.
pub(crate) fn hear(
    stream: &mut (impl Read + Write),
    expected: Expected,
    secret: &Secret,
) -> io::Result<Result<Hello, Verdict>> {
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes)?;
    let heard = judge(&bytes, expected, secret);
    let verdict = heard.err().unwrap_or(Verdict::Welcome);
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    answer.extend_from_slice(ANSWER);
    answer.put_u16(VERSION);
    answer.put_u8(verdict.code());
    answer.put_u8(0);
    match verdict {
        Verdict::Welcome => answer.extend_from_slice(secret.accepts()),
        _ => answer.resize(ANSWER_BYTES, 0),
    }
    stream.write_all(&answer)?;
    Ok(heard)
}

fn encode(hello: Hello, secret: &Secret) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HELLO_BYTES);
    bytes.extend_from_slice(HELLO);
    bytes.put_u16(VERSION);
    bytes.put_u8(hello.kind.code());
    bytes.put_u8(0);
    bytes.put_u32(hello.rank);
    bytes.put_u32(hello.to);
    bytes.put_u32(hello.generation.0);
    bytes.put_u64(hello.build);
    bytes.put_u64(hello.plan);
    bytes.extend_from_slice(secret.connects());
    bytes
}

fn judge(bytes: &[u8], expected: Expected, secret: &Secret) -> Result<Hello, Verdict> {
    // The secret first: a stranger learns nothing else.
    let shown = bytes.get(HELLO_BYTES - HALF..).unwrap_or_default();
    if !bytes.starts_with(HELLO) || !same(shown, secret.connects()) {
        return Err(Verdict::Stranger);
    }
    let mut reader = Reader::new(&bytes[HELLO.len()..]);
    let mut fields = || {
        let (version, kind) = (reader.u16("version")?, reader.u8("kind")?);
        reader.u8("zero")?;
        let (rank, to) = (reader.u32("rank")?, reader.u32("to")?);
        let generation = Generation(reader.u32("generation")?);
        let (build, plan) = (reader.u64("build")?, reader.u64("plan")?);
        Ok::<_, egret_schemas::bytes::DecodeError>((
            version, kind, rank, to, generation, build, plan,
        ))
    };
    let (version, kind, rank, to, generation, build, plan) =
        fields().map_err(|_| Verdict::Version)?;
    let kind = Kind::of(kind).filter(|_| version == VERSION).ok_or(Verdict::Version)?;
    if build != expected.build {
        return Err(Verdict::Build);
    }
    if plan != expected.plan {
        return Err(Verdict::Plan);
    }
    if to != expected.rank || rank == expected.rank {
        return Err(Verdict::Elsewhere);
    }
    Ok(Hello { kind, rank, to, generation, build, plan })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::net::UnixStream;

    const EXPECTED: Expected = Expected { rank: 0, build: 7, plan: 9 };

    fn hello() -> Hello {
        let (build, plan, generation) = (EXPECTED.build, EXPECTED.plan, Generation(3));
        Hello { kind: Kind::Data, rank: 2, to: 0, generation, build, plan }
    }

    /// Both sides of one connection.
    fn meet(
        said: Hello,
        (mine, theirs): (&Secret, &Secret),
    ) -> (io::Result<Result<(), Verdict>>, Result<Hello, Verdict>) {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let hears = scope.spawn(move || hear(&mut b, EXPECTED, theirs).unwrap());
            let says = say(&mut a, said, mine);
            (says, hears.join().unwrap())
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
        ];
        for (said, secret, verdict) in cases {
            let (told, heard) = meet(said, (secret, &ours));
            assert_eq!((told.unwrap(), heard), (Err(verdict), Err(verdict)));
        }
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
            prop_assert_eq!(judge(&bytes, EXPECTED, &Secret([1; 64])), Err(Verdict::Stranger));
        }

        #[test]
        fn a_member_may_say_anything_else(mut bytes in proptest::collection::vec(any::<u8>(), HELLO_BYTES)) {
            let secret = Secret([1; 64]);
            bytes[..4].copy_from_slice(HELLO);
            bytes[HELLO_BYTES - HALF..].copy_from_slice(secret.connects());
            prop_assert!(judge(&bytes, EXPECTED, &secret) != Err(Verdict::Stranger));
        }
    }
}
