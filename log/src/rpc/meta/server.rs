//! The holder's side: hello, then one request after the other, then goodbye.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use egret_schemas::Incarnation;
use egret_schemas::metadata::{
    METADATA_VERSION, MetaReason, MetaReply, MetaRequest, MetaTurnedAway, MetaWelcome,
};

use super::teller::{Teller, bad};
use crate::caps;
use crate::metadata::MetaStore;
use crate::rpc::connection::{Connection, ConnectionError};
use crate::rpc::frame::Limits;
use crate::rpc::server::{NoPlace, Speak};
use crate::rpc::socket::META_SOCKET_NAME;
use crate::rpc::{Bell, ServeError, Server};

const BEFORE_HELLO: Limits =
    Limits { header_bytes_max: caps::HELLO_BYTES_MAX, payload_bytes_max: 0 };
const AFTER_HELLO: Limits =
    Limits { header_bytes_max: caps::META_HEADER_BYTES_MAX, payload_bytes_max: 0 };

/// Serves a metadata store on its socket in `dir`, replacing a stale one. The caller holds the directory's
/// lock; `life` is this holding of it, `incarnation` its bookie.
pub(crate) fn serve(
    dir: &Path,
    store: Arc<dyn MetaStore>,
    life: Incarnation,
    incarnation: Incarnation,
) -> Result<Server, ServeError> {
    Server::speaking(dir, Box::new(Shared { store, life, incarnation }))
}

/// A metadata store, and the life of its holder.
#[derive(Debug)]
struct Shared {
    store: Arc<dyn MetaStore>,
    life: Incarnation,
    incarnation: Incarnation,
}

impl Speak for Shared {
    fn socket(&self) -> &'static str {
        META_SOCKET_NAME
    }

    fn connections_max(&self) -> usize {
        caps::META_CONNECTIONS_MAX
    }

    fn turn_away(&self, why: NoPlace) -> Vec<u8> {
        let turned = match why {
            NoPlace::Closing => going_away(),
            NoPlace::Full(open) => {
                turned(MetaReason::Overloaded, format!("{open} connections are open already"))
            }
            NoPlace::Files(error) => {
                turned(MetaReason::Overloaded, format!("the holder is short of files: {error}"))
            }
        };
        MetaReply::TurnedAway(turned).encode()
    }

    fn converse(
        &self,
        connection: &mut Connection,
        bell: &Arc<Bell>,
    ) -> Result<(), ConnectionError> {
        let wait = Duration::from_millis(caps::FRAME_WAIT_MS);
        let Some(frame) = connection.receive(BEFORE_HELLO, Some(wait))? else { return Ok(()) };
        let answer = self.greet(&frame.header);
        connection.send(frame.correlation, &answer.encode(), &[])?;
        if matches!(answer, MetaReply::TurnedAway(_)) {
            return Ok(());
        }
        let mut teller = Teller::new(&*self.store);
        while let Some(frame) = connection.receive(AFTER_HELLO, None)? {
            let answer = match MetaRequest::decode(&frame.header) {
                Ok(request) => {
                    // Nothing is sent before the answer: what can be received is the other side's end.
                    let over =
                        || bell.is_closed() || connection.is_ready(Duration::ZERO).unwrap_or(true);
                    teller.answer(request, &over)
                }
                Err(error) => bad(error.to_string()),
            };
            connection.send(frame.correlation, &answer.encode(), &[])?;
            if matches!(answer, MetaReply::TurnedAway(_)) {
                return Ok(());
            }
            if bell.is_closed() {
                break;
            }
        }
        if bell.is_closed() {
            // Said after every answer: whatever else was asked was not carried out.
            connection.send(0, &MetaReply::TurnedAway(going_away()).encode(), &[])?;
        }
        Ok(())
    }
}

impl Shared {
    fn greet(&self, header: &[u8]) -> MetaReply {
        match MetaRequest::decode(header) {
            Ok(MetaRequest::Hello { version, .. }) if version != METADATA_VERSION => {
                let message =
                    format!("the holder speaks version {METADATA_VERSION}, you speak {version}");
                MetaReply::TurnedAway(turned(MetaReason::Version, message))
            }
            Ok(MetaRequest::Hello { life: Some(meant), .. }) if meant != self.life => {
                let message = "the directory is held by another process now".to_owned();
                MetaReply::TurnedAway(turned(MetaReason::Life, message))
            }
            Ok(MetaRequest::Hello { .. }) => MetaReply::Welcome(MetaWelcome {
                version: METADATA_VERSION,
                life: self.life,
                incarnation: self.incarnation,
                pid: std::process::id(),
            }),
            Ok(_) => bad("hello was not said yet".to_owned()),
            Err(error) => bad(error.to_string()),
        }
    }
}

fn turned(reason: MetaReason, message: String) -> MetaTurnedAway {
    MetaTurnedAway { reason, message, version: METADATA_VERSION }
}

fn going_away() -> MetaTurnedAway {
    turned(MetaReason::Closing, "the holder of this directory is going away".to_owned())
}
