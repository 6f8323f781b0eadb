//! A stream whose other side has to take something every so often, and all of it within a time.
//!
//! One that is read *one at a time* is not read while a write waits: who takes no answers gets no more of its
//! requests looked at, so that what waits for it stays bounded. Requests that were read already wait at its
//! [gate](Gate).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use egret_log::clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

use crate::caps;

/// How long the other side may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    /// To take anything.
    some: Duration,
    /// To take everything.
    all: Duration,
}

/// As the caps have it.
pub(crate) const WAITS: Waits = Waits { some: caps::READER_WAIT, all: caps::TAKEN_WAIT };

/// Open while everything that was written has been taken.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    shut: AtomicBool,
    opened: Notify,
}

impl Gate {
    /// Waits until it is open.
    pub(crate) async fn pass(&self) {
        loop {
            // Before looking: an opening between the two is not missed.
            let opened = self.opened.notified();
            if !self.shut.load(Ordering::Acquire) {
                return;
            }
            opened.await;
        }
    }

    fn set(&self, shut: bool) {
        if self.shut.swap(shut, Ordering::AcqRel) && !shut {
            self.opened.notify_waiters();
        }
    }
}

/// Fails a write that nobody takes for long.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    waits: Waits,
    /// When to give up; armed while a write waits.
    until: Pin<Box<Sleep>>,
    waiting: bool,
    /// When to give up whatever is taken; armed from when a write waits to when everything is taken.
    until_all: Pin<Box<Sleep>>,
    behind: bool,
    gate: Arc<Gate>,
    one_at_a_time: bool,
    /// Who wants to read meanwhile.
    reader: Option<Waker>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, waits: Waits) -> Patient<S> {
        Patient {
            stream,
            waits,
            until: Box::pin(sleep(waits.some)),
            waiting: false,
            until_all: Box::pin(sleep(waits.all)),
            behind: false,
            gate: Arc::default(),
            one_at_a_time: false,
            reader: None,
        }
    }

    /// One that is not read while a write waits.
    pub(crate) fn one_at_a_time(stream: S, waits: Waits) -> Patient<S> {
        Patient { one_at_a_time: true, ..Patient::new(stream, waits) }
    }

    /// Where to wait until everything is taken.
    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// What the stream said of a write, unless it has said nothing for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, said: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if said.is_ready() {
            self.waiting = false;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
            return said;
        }
        let now = clock::now();
        if !self.waiting {
            self.waiting = true;
            self.until.as_mut().reset(Instant::from_std(now + self.waits.some));
        }
        if !self.behind {
            self.behind = true;
            self.gate.set(true);
            self.until_all.as_mut().reset(Instant::from_std(now + self.waits.all));
        }
        if self.until_all.as_mut().poll(cx).is_pending() {
            ready!(self.until.as_mut().poll(cx));
        }
        let why = "the client takes no answer, or takes it too slowly";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    /// Everything that was written is taken.
    fn caught_up(&mut self) {
        self.behind = false;
        self.gate.set(false);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.one_at_a_time && this.waiting {
            this.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let said = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.judge(cx, said)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let said = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.judge(cx, said)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        let said = this.judge(cx, flushed);
        if let Poll::Ready(Ok(())) = said {
            this.caught_up();
        }
        said
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let said = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.judge(cx, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};

    fn run(what: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime is made").block_on(what);
    }

    const LONG: Waits = Waits { some: Duration::from_secs(60), all: Duration::from_secs(60) };

    /// It was kept for as long as it took a byte in half a minute.
    #[test]
    fn who_takes_a_byte_now_and_then_is_let_go_of_and_who_takes_all_begins_anew() {
        run(async {
            let (ours, mut theirs) = duplex(16);
            let waits = Waits { all: Duration::from_millis(100), ..LONG };
            let mut patient = Patient::new(ours, waits);
            let mut taken = [0; 1];
            for _ in 0..3 {
                let (written, ()) = tokio::join!(
                    async {
                        patient.write_all(&[0; 32]).await?;
                        patient.flush().await
                    },
                    async {
                        for _ in 0..32 {
                            theirs.read_exact(&mut taken).await.expect("it is written");
                        }
                        sleep(Duration::from_millis(60)).await;
                    }
                );
                written.expect("all of it was taken in time, each time");
            }
            let slowly = async {
                loop {
                    theirs.read_exact(&mut taken).await.expect("there is more");
                    sleep(Duration::from_millis(1)).await;
                }
            };
            let error = tokio::select! {
                written = patient.write_all(&[0; 1 << 20]) => written.expect_err("it takes too long"),
                () = slowly => unreachable!("it never ends"),
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn the_gate_is_shut_from_when_a_write_waits_to_when_all_is_taken() {
        run(async {
            let (ours, mut theirs) = duplex(16);
            let mut patient = Patient::new(ours, LONG);
            let gate = patient.gate();
            gate.pass().await;
            let mut answer = Box::pin(async {
                patient.write_all(&[0; 48]).await?;
                patient.flush().await
            });
            assert!(waits_now(&mut answer));
            let mut pass = Box::pin(gate.pass());
            assert!(waits_now(&mut pass), "an answer waits");
            let mut taken = [0; 16];
            theirs.read_exact(&mut taken).await.expect("some of it is there");
            assert!(waits_now(&mut answer) && waits_now(&mut pass), "some of it waits yet");
            theirs.read_exact(&mut taken).await.expect("more of it is there");
            answer.await.expect("the rest has room");
            pass.await;
        });
    }

    #[test]
    fn a_write_that_nobody_takes_fails_and_one_that_is_taken_does_not() {
        run(async {
            let (ours, mut theirs) = duplex(16);
            let waits = Waits { some: Duration::from_millis(20), ..LONG };
            let mut patient = Patient::new(ours, waits);
            let error = patient.write_all(&[0; 64]).await.expect_err("nobody takes it");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            let mut space = [0; 16];
            theirs.read_exact(&mut space).await.expect("what fitted is there");
            patient.write_all(&[1; 16]).await.expect("there is room again");
        });
    }

    #[test]
    fn no_request_is_read_while_an_answer_waits_unless_it_may_be() {
        run(async {
            for one_at_a_time in [true, false] {
                let (ours, mut theirs) = duplex(16);
                let patient = Patient { one_at_a_time, ..Patient::new(ours, LONG) };
                let (mut reader, mut writer) = split(patient);
                theirs.write_all(b"request").await.expect("there is room");
                let mut answer = Box::pin(writer.write_all(&[0; 32]));
                assert!(waits_now(&mut answer), "an answer of twice the room waits");
                let mut space = [0; 7];
                let mut read = Box::pin(reader.read_exact(&mut space));
                assert_eq!(waits_now(&mut read), one_at_a_time);
                if one_at_a_time {
                    let mut taken = [0; 32];
                    theirs.read_exact(&mut taken[..16]).await.expect("half of it is there");
                    answer.await.expect("the rest has room");
                    read.await.expect("the request is read then");
                }
            }
        });
    }

    /// Whether it waits.
    fn waits_now<F: Future + Unpin>(future: &mut F) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(future).poll(&mut cx).is_pending()
    }
}
