//! One connection: requests in, answers out, both in one task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use egret_schemas::bookie::{
    Ask, BookieReply, BookieRequest, Reason, Refusal as RefusalHead, Role, TurnedAway,
    Unknown as UnknownHead,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::super::convert;
use super::super::race::{First, first};
use super::super::role::Method;
use super::super::wire::{FrameReader, FrameWriter, Front, WireError};
use super::Shared;
use super::accept::drained;
use super::line::{Admitted, Line};
use crate::rpc::frame::Limits;
use crate::{caps, clock};

const AFTER_HELLO: Limits =
    Limits { header_bytes_max: caps::HELLO_BYTES_MAX, payload_bytes_max: caps::ENTRY_BYTES_MAX };

/// How often to look for requests that have waited too long.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long somebody who broke the rules is given to hear so.
const LAST_WORD_WAIT: Duration = Duration::from_secs(1);

/// How reading ended.
enum Ended {
    /// The client closed its side: it wants no answers.
    Gone,
    /// The bookie is going away.
    Draining,
    /// The client broke the rules.
    Broke(TurnedAway),
}

/// Ends the line however the task ends.
struct End(Arc<Line>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Serves a client that said hello, until either side is done.
pub(super) async fn converse<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    mut frames: FrameReader<R>,
    mut out: FrameWriter<W>,
    role: Role,
    shared: &Arc<Shared>,
) -> Result<(), WireError> {
    let line = Arc::new(Line::new(Arc::clone(shared)));
    let _end = End(Arc::clone(&line));
    let ended = {
        let mut writing = std::pin::pin!(write(&line, &mut out));
        match first(read(&line, &mut frames, role, shared), writing.as_mut()).await {
            First::Left(Ok(ended)) => {
                match ended {
                    Ended::Gone => {}
                    Ended::Draining => {
                        line.finish();
                        writing.await?;
                    }
                    Ended::Broke(ref turned) => {
                        line.say(0, BookieReply::TurnedAway(turned.clone()));
                        line.finish();
                        // What is under way may take longer than anybody waits for here.
                        let _ = timeout(LAST_WORD_WAIT, writing).await;
                    }
                }
                ended
            }
            First::Left(Err(error)) | First::Right(Err(error)) => return Err(error),
            First::Right(Ok(())) => return Ok(()),
        }
    };
    if matches!(ended, Ended::Draining) {
        // Said after every answer: whatever else was asked was not carried out.
        let message = "the bookie is going away".to_owned();
        let goodbye = TurnedAway { reason: Reason::Closing, message, incarnation: None };
        out.add(0, &BookieReply::TurnedAway(goodbye).encode(), &[]).await?;
        out.flush().await?;
    }
    if !matches!(ended, Ended::Gone) {
        out.shutdown().await?;
        // Until the client has read it: closing with unread requests would take it back.
        let _ = timeout(LAST_WORD_WAIT, frames.discard()).await;
    }
    Ok(())
}

async fn read<R: AsyncRead + Unpin>(
    line: &Arc<Line>,
    frames: &mut FrameReader<R>,
    role: Role,
    shared: &Arc<Shared>,
) -> Result<Ended, WireError> {
    let mut draining = shared.draining.subscribe();
    loop {
        let coming = async {
            line.room().await;
            frames.next(AFTER_HELLO).await
        };
        let front = match first(drained(&mut draining), coming).await {
            First::Left(()) => return Ok(Ended::Draining),
            First::Right(front) => front?,
        };
        let Some(front) = front else { return Ok(Ended::Gone) };
        if let Err(turned) = take(line, frames, role, shared, &front).await? {
            return Ok(Ended::Broke(turned));
        }
    }
}

/// Takes one request; `Err` inside is why the client is turned away.
async fn take<R: AsyncRead + Unpin>(
    line: &Arc<Line>,
    frames: &mut FrameReader<R>,
    role: Role,
    shared: &Arc<Shared>,
    front: &Front,
) -> Result<Result<(), TurnedAway>, WireError> {
    let broke = |message: String| {
        Ok(Err(TurnedAway { reason: Reason::BadRequest, message, incarnation: None }))
    };
    let request = match BookieRequest::decode(&front.header) {
        Ok(request) => request,
        Err(error) => return broke(error.to_string()),
    };
    let Some(method) = Method::of(&request.ask) else {
        return broke("hello was said already".to_owned());
    };
    let correlation = front.correlation;
    if !method.is_allowed(role) {
        frames.skip(front).await?;
        let why = RefusalHead::NotAllowed { role, method: method.to_string() };
        line.say(correlation, BookieReply::Refused(why));
        return Ok(Ok(()));
    }
    let bytes = front.payload_bytes();
    if bytes > 0 && method != Method::Add {
        return broke(format!("a payload of {bytes} bytes behind a request that has none"));
    }
    let ticket = match line.admit(correlation, bytes, clock::now(), request.wait_ms) {
        Admitted::Yes(ticket) => ticket,
        Admitted::Overloaded => {
            frames.skip(front).await?;
            let retry_after_ms = caps::RETRY_AFTER_MS;
            line.say(correlation, BookieReply::Refused(RefusalHead::Overloaded { retry_after_ms }));
            return Ok(Ok(()));
        }
        Admitted::Repeated => {
            return broke(format!("correlation {correlation} is in use, or is none"));
        }
    };
    let payload = frames.payload(front).await?;
    ticket.hand_on();
    let (to, own) = (request.to, shared.own());
    if let Ask::WatchLac { ledger, beyond } = request.ask {
        if to == own {
            shared.watches.watch(line, correlation, ledger, beyond);
        } else {
            let why = UnknownHead::Incarnation { asked: to, own };
            line.answer_with(correlation, BookieReply::Unknown(why), bytes::Bytes::new());
        }
    } else if let Some(message) = convert::request(request.ask, payload) {
        let answered = Arc::clone(line);
        let reply = Box::new(move |reply| answered.answer(correlation, reply));
        shared.bookie.try_send(to, message, reply);
    }
    Ok(Ok(()))
}

async fn write<W: AsyncWrite + Unpin>(
    line: &Arc<Line>,
    out: &mut FrameWriter<W>,
) -> Result<(), WireError> {
    let mut answers = VecDeque::new();
    while line.take(&mut answers).is_some() {
        if answers.is_empty() {
            if line.is_waiting() {
                // Timers are cheap, and one request that hangs must not hang its connection.
                if let First::Right(()) = first(line.news.notified(), sleep(LOOK_EVERY)).await {
                    line.expire(clock::now());
                }
            } else {
                line.news.notified().await;
            }
            continue;
        }
        for answer in answers.drain(..) {
            out.add(answer.correlation, &answer.head.encode(), &answer.payload).await?;
            line.written(answer.payload.len());
        }
        out.flush().await?;
    }
    Ok(())
}
