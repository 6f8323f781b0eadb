//! A stream whose other side has to take something, every so often.
//!
//! One that is read *one at a time* is not read while a write waits: who takes no answers gets no more of its
//! requests looked at, so that what waits for it stays bounded.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use egret_log::clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Fails a write that nobody takes for long.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    stream: S,
    wait: Duration,
    /// When to give up; armed while a write waits.
    until: Pin<Box<Sleep>>,
    waits: bool,
    one_at_a_time: bool,
    /// Who wants to read meanwhile.
    reader: Option<Waker>,
}

impl<S> Patient<S> {
    pub(crate) fn new(stream: S, wait: Duration) -> Patient<S> {
        let until = Box::pin(sleep(wait));
        Patient { stream, wait, until, waits: false, one_at_a_time: false, reader: None }
    }

    /// One that is not read while a write waits.
    pub(crate) fn one_at_a_time(stream: S, wait: Duration) -> Patient<S> {
        Patient { one_at_a_time: true, ..Patient::new(stream, wait) }
    }

    /// What the stream said of a write, unless it has said nothing for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, said: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if said.is_ready() {
            self.waits = false;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
            return said;
        }
        if !self.waits {
            self.waits = true;
            self.until.as_mut().reset(Instant::from_std(clock::now() + self.wait));
        }
        ready!(self.until.as_mut().poll(cx));
        let why = "the client takes no answer";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.one_at_a_time && this.waits {
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
        let said = Pin::new(&mut this.stream).poll_flush(cx);
        this.judge(cx, said)
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

    #[test]
    fn a_write_that_nobody_takes_fails_and_one_that_is_taken_does_not() {
        run(async {
            let (ours, mut theirs) = duplex(16);
            let mut patient = Patient::new(ours, Duration::from_millis(20));
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
                let patient =
                    Patient { one_at_a_time, ..Patient::new(ours, Duration::from_secs(60)) };
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
