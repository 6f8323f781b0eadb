//! The tasks behind the way to a bookie: one that connects, writes and reads, one that watches
//! deadlines.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use egret_schemas::bookie::{BookieReply, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::race::{First, first};
use super::super::wire::{FrameReader, FrameWriter};
use super::connect::{Connected, connect, not_let_in, unreachable};
use super::table::Table;
use crate::message::Unknown;
use crate::rpc::frame::Limits;
use crate::{caps, clock};

const LIMITS: Limits =
    Limits { header_bytes_max: caps::HELLO_BYTES_MAX, payload_bytes_max: caps::ENTRY_BYTES_MAX };

/// Connects when something is to be sent, and converses until the connection is lost.
pub(super) async fn drive(table: Arc<Table>) {
    let (first_pause, longest) = caps::CONNECT_BACKOFF_MS;
    let mut pause_ms = first_pause;
    while let Some(wanted) = table.is_wanted() {
        if !wanted {
            table.news.notified().await;
            continue;
        }
        let (why, answered) = match connect(&table.config).await {
            Err(why) => (why, false),
            Ok(connected) => {
                table.connected();
                converse(&table, connected).await
            }
        };
        // Who answered is there: a lost connection is no reason to stay away.
        pause_ms = if answered { first_pause } else { pause_ms };
        let pause = Duration::from_millis(pause_ms);
        pause_ms = (pause_ms * 2).min(longest);
        tracing::debug!(to = %table.config.address, %why, "no connection");
        table.lose(&why, pause);
        sleep(pause).await;
    }
}

/// Until the connection is lost: why, and whether anything was answered.
async fn converse(table: &Arc<Table>, connected: Connected) -> (Unknown, bool) {
    let Connected { mut frames, mut out } = connected;
    let mut answered = false;
    let lost = {
        let both = first(read(table, &mut frames, &mut answered), write(table, &mut out));
        first(both, table.is_broken()).await
    };
    let why = match lost {
        First::Left(First::Left(why) | First::Right(why)) => why,
        First::Right(()) => unreachable(&table.config, "it went silent"),
    };
    (why, answered)
}

async fn read<R: AsyncRead + Unpin>(
    table: &Arc<Table>,
    frames: &mut FrameReader<R>,
    answered: &mut bool,
) -> Unknown {
    let told = |error: &dyn std::fmt::Display| unreachable(&table.config, &error.to_string());
    loop {
        let front = match frames.next(LIMITS).await {
            Ok(Some(front)) => front,
            Ok(None) => return unreachable(&table.config, "it closed the connection"),
            Err(error) => return told(&error),
        };
        let payload = match frames.payload(&front).await {
            Ok(payload) => payload,
            Err(error) => return told(&error),
        };
        match BookieReply::decode(&front.header) {
            Ok(BookieReply::TurnedAway(turned)) if turned.reason == Reason::Closing => {
                return Unknown::Closing;
            }
            Ok(BookieReply::TurnedAway(turned)) => {
                return not_let_in(&table.config, &turned.to_string());
            }
            Ok(head) => {
                *answered = true;
                table.bring(front.correlation, head, payload);
            }
            Err(error) => return told(&error),
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(table: &Arc<Table>, out: &mut FrameWriter<W>) -> Unknown {
    let mut requests = VecDeque::new();
    while table.take(&mut requests).is_some() {
        if requests.is_empty() {
            table.news.notified().await;
            continue;
        }
        for sent in requests.drain(..) {
            // Its time was over before it was its turn.
            if !table.waits_for(sent.correlation) {
                continue;
            }
            let header = sent.request.encode();
            if let Err(error) = out.add(sent.correlation, &header, &sent.payload).await {
                return unreachable(&table.config, &error.to_string());
            }
        }
        if let Err(error) = out.flush().await {
            return unreachable(&table.config, &error.to_string());
        }
    }
    Unknown::Closing
}

/// Answers what has waited long enough, until the table is closed.
pub(super) async fn watch_deadlines(table: Arc<Table>) {
    while let Some(next) = table.expire(clock::now()) {
        let sleeping = async {
            match next {
                Some(next) => sleep_until(Instant::from_std(next)).await,
                None => pending().await,
            }
        };
        first(sleeping, table.nearer.notified()).await;
    }
}
