//! A control connection: messages both ways, a beat when there is nothing else to say, and an end when the
//! other side goes away or says nothing for too long.

use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::link::Link;
use super::message;

/// Beats in the time after which silence counts as an end.
const BEATS: u32 = 5;

/// The writing side of a control connection, and the threads that read it and beat.
pub(crate) struct Line {
    link: Link,
    /// Held while a message is written, so that none lies within another.
    writing: Mutex<()>,
    closed: Mutex<bool>,
    closing: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What a line does by itself.
pub(crate) struct Habits<I, O, B, H, G> {
    /// How long the other side may say nothing.
    pub(crate) silence: Duration,
    /// What to say when there is nothing else.
    pub(crate) beat: B,
    /// Takes what the other side says.
    pub(crate) hear: H,
    /// Called once, when the line has ended, with why.
    pub(crate) gone: G,
    pub(crate) of: std::marker::PhantomData<fn(I) -> O>,
}

impl Line {
    pub(crate) fn open<I, O, B, H, G>(
        link: Link,
        habits: Habits<I, O, B, H, G>,
    ) -> io::Result<Arc<Line>>
    where
        I: DeserializeOwned + 'static,
        O: Serialize + 'static,
        B: Fn() -> O + Send + 'static,
        H: FnMut(&Arc<Line>, I) + Send + 'static,
        G: FnOnce(String) + Send + 'static,
    {
        let Habits { silence, beat, mut hear, gone, .. } = habits;
        link.set(Some(silence), Some(silence))?;
        let mut from = link.try_clone()?;
        let line = Arc::new(Line {
            link,
            writing: Mutex::default(),
            closed: Mutex::new(false),
            closing: Condvar::new(),
            threads: Mutex::default(),
        });
        let beating = Arc::clone(&line);
        let beats = thread::Builder::new().name("egret:beat".into()).spawn(move || {
            while !beating.is_closed_after(silence / BEATS) {
                beating.send(&beat());
            }
        })?;
        let reading = Arc::clone(&line);
        let reads = thread::Builder::new().name("egret:line".into()).spawn(move || {
            let why = loop {
                match message::read::<I>(&mut from) {
                    Ok(message) => hear(&reading, message),
                    Err(why) => break said(&why, silence),
                }
            };
            reading.close();
            gone(why);
        })?;
        line.threads.lock().expect("no panic while held").extend([beats, reads]);
        Ok(line)
    }

    /// Says something; when it cannot be said the line ends, and its reader says why.
    pub(crate) fn send(&self, message: &impl Serialize) {
        let writing = self.writing.lock().expect("no panic while held");
        if message::write(&mut &self.link, message).is_err() {
            self.link.shutdown(Shutdown::Both).unwrap_or_default();
        }
        drop(writing);
    }

    /// Ends it.
    pub(crate) fn close(&self) {
        *self.closed.lock().expect("no panic while held") = true;
        self.closing.notify_all();
        // No message is waited for: the socket may be shut down while one is being written.
        self.link.shutdown(Shutdown::Both).unwrap_or_default();
    }

    /// Joins its threads; not for those to call.
    pub(crate) fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().expect("no panic while held"));
        for thread in threads {
            drop(thread.join());
        }
    }

    /// Whether it is over, after waiting so long for that.
    pub(crate) fn is_closed_after(&self, wait: Duration) -> bool {
        let closed = self.closed.lock().expect("no panic while held");
        let waited = self.closing.wait_timeout_while(closed, wait, |closed| !*closed);
        *waited.expect("no panic while held").0
    }
}

fn said(why: &io::Error, silence: Duration) -> String {
    match why.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => "it ended".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("it said nothing for {silence:?}")
        }
        _ => why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;

    const SILENCE: Duration = Duration::from_millis(500);

    /// One that a busy machine does not fall into.
    const LONG: Duration = Duration::from_secs(5);

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (a, listener.accept().unwrap().0)
    }

    /// A line that says 7 when there is nothing else, what it hears, and why it ended.
    fn line(
        stream: TcpStream,
        silence: Duration,
    ) -> (Arc<Line>, mpsc::Receiver<u64>, mpsc::Receiver<String>) {
        let (heard, hears) = mpsc::sync_channel(1000);
        let (why, gone) = mpsc::sync_channel(1);
        let habits = Habits {
            silence,
            beat: || 7u64,
            hear: move |_: &Arc<Line>, message: u64| heard.send(message).unwrap_or_default(),
            gone: move |text| why.send(text).unwrap(),
            of: std::marker::PhantomData,
        };
        (Line::open(Link::Plain(stream), habits).unwrap(), hears, gone)
    }

    #[test]
    fn both_hear_each_other_and_beats_keep_a_quiet_line() {
        let (a, b) = pair();
        let ((a, _, a_gone), (b, heard, b_gone)) = (line(a, LONG), line(b, LONG));
        a.send(&1u64);
        let wait = Duration::from_secs(30);
        let first: Vec<u64> = (0..20).map(|_| heard.recv_timeout(wait).unwrap()).collect();
        assert_eq!(first.iter().filter(|message| **message == 1).count(), 1);
        assert!(
            first.iter().filter(|message| **message == 7).count() >= 19,
            "four times the silence"
        );
        a.close();
        assert_eq!(b_gone.recv_timeout(wait).unwrap(), "it ended");
        a_gone.recv_timeout(wait).unwrap();
        a.join();
        b.join();
    }

    /// It once was not shut down then, and the other side found out by its silence.
    #[test]
    fn a_line_that_is_closed_while_a_message_is_written_ends_for_the_other_side() {
        let (a, b) = pair();
        let ((a, _, a_gone), (b, _, b_gone)) = (line(a, LONG), line(b, LONG));
        let writing = a.writing.lock().unwrap();
        a.close();
        let wait = Duration::from_secs(30);
        assert_eq!(b_gone.recv_timeout(wait).unwrap(), "it ended");
        drop(writing);
        a_gone.recv_timeout(wait).unwrap();
        a.join();
        b.join();
    }

    #[test]
    fn who_says_nothing_is_given_up_within_the_time() {
        let (a, b) = pair();
        let (a, _, gone) = line(a, SILENCE);
        let began = egret_log::clock::now();
        assert_eq!(
            gone.recv_timeout(Duration::from_secs(30)).unwrap(),
            "it said nothing for 500ms"
        );
        assert!(egret_log::clock::now().duration_since(began) >= SILENCE);
        a.join();
        drop(b);
    }

    #[test]
    fn who_says_what_nobody_understands_is_given_up() {
        let (a, mut b) = pair();
        let (a, _, gone) = line(a, SILENCE);
        b.write_all(&[0xff; 100]).unwrap();
        let why = gone.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(why, "a message of 4294967295 bytes");
        a.join();
    }
}
