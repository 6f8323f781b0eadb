//! Requests, and what is answered.

use std::sync::{Arc, PoisonError, RwLockReadGuard};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use egret::replica::shown::{Component, Range};
use egret::replica::{Follower, ReplicaError, Shown};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::caps;

/// What answers are made from.
#[derive(Clone)]
struct Source {
    follower: Arc<Follower>,
    /// Places for answers of many keys.
    large: Arc<Semaphore>,
}

pub(crate) fn router(follower: &Arc<Follower>) -> Router {
    let large = Arc::new(Semaphore::new(caps::LARGE_ANSWERS_MAX));
    let source = Source { follower: Arc::clone(follower), large };
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/state", get(components))
        .route("/v1/state/{component}", get(scan).post(batch))
        .route("/v1/state/{component}/{key}", get(one))
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method)
        .with_state(source)
}

/// An answer that is none.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    error: String,
    more: Map<String, Value>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> Refusal {
        Refusal { status, code, error: error.into(), more: Map::new() }
    }

    fn with(mut self, name: &str, value: Value) -> Refusal {
        self.more.insert(name.to_owned(), value);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.error, "code": self.code });
        if let Value::Object(body) = &mut body {
            body.extend(self.more);
        }
        said(self.status, &body)
    }
}

impl From<ReplicaError> for Refusal {
    fn from(error: ReplicaError) -> Refusal {
        let words = error.to_string();
        match error {
            ReplicaError::NoComponent { components, .. } => {
                Refusal::new(StatusCode::NOT_FOUND, "no-component", words)
                    .with("components", Value::from(components))
            }
            ReplicaError::Key(_) => Refusal::new(StatusCode::BAD_REQUEST, "bad-key", words),
            ReplicaError::NothingCommitted { .. } => {
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "nothing-committed", words)
            }
            _ => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", words),
        }
    }
}

fn said(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

impl Source {
    fn shown(&self) -> RwLockReadGuard<'_, Shown> {
        self.follower.shown().read().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer with what it is of.
    fn answer(&self, shown: &Shown, mut found: Value) -> Response {
        if let Value::Object(fields) = &mut found {
            fields.insert("topology".to_owned(), Value::from(shown.topology()));
            fields.insert("epoch".to_owned(), shown.epoch());
            fields.insert("age_ms".to_owned(), self.age_ms());
        }
        said(StatusCode::OK, &found)
    }

    fn age_ms(&self) -> Value {
        let age = self.follower.freshness().age();
        age.map_or(Value::Null, |age| {
            Value::from(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// Why nothing is held yet, if that is so.
    fn check(&self, shown: &Shown) -> Result<(), Refusal> {
        if shown.mark().is_some() {
            return Ok(());
        }
        let why = self.follower.freshness().why();
        let why = why.unwrap_or_else(|| "the newest commit is being read: ask again".to_owned());
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "nothing-held", why))
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let busy = || {
            let why = "too many large answers are being made: ask again later";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", why)
        };
        let place = timeout(caps::ANSWER_WAIT, self.large.acquire()).await;
        place.map_err(|_| busy())?.map_err(|_| busy())
    }
}

async fn health(State(source): State<Source>) -> Response {
    let freshness = source.follower.freshness();
    let shown = source.shown();
    let held = shown.mark().is_some();
    let found = json!({ "held": held, "error": freshness.why() });
    let mut response = source.answer(&shown, found);
    if !held {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

async fn components(State(source): State<Source>) -> Result<Response, Refusal> {
    let shown = source.shown();
    source.check(&shown)?;
    let of = |c: Component<'_>| {
        json!({
            "component": c.name,
            "tasks": shown.view().tasks(c.name),
            "keys": c.table.len(),
            "bytes": c.table.bytes(),
            "schema": c.table.schemas().last().map(|id| format!("{id:016x}")),
            "format": c.schema().map(ToString::to_string),
        })
    };
    let names = shown.view().components().map(|(name, _)| shown.component(name).map(of));
    let components: Vec<Value> = names.collect::<Result<_, _>>()?;
    Ok(source.answer(&shown, json!({ "components": components })))
}

async fn one(
    State(source): State<Source>,
    Path((component, key)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let shown = source.shown();
    source.check(&shown)?;
    let found = shown.component(&component)?;
    let bytes = found.key_of_word(&key)?;
    let key = found.key_json(&bytes);
    let Some(held) = found.table.get(&bytes) else {
        let why = format!("`{component}` keeps nothing for this key");
        let refusal = Refusal::new(StatusCode::NOT_FOUND, "no-state", why);
        return Err(refusal.with("key", key).with("epoch", shown.epoch()));
    };
    let value = found.state_json(held);
    Ok(source.answer(&shown, json!({ "component": component, "key": key, "value": value })))
}

/// Many keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    keys: Vec<Value>,
}

async fn batch(
    State(source): State<Source>,
    Path(component): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let body = body_of(request).await?;
    let wrong = |why: String| Refusal::new(StatusCode::BAD_REQUEST, "bad-request", why);
    let Batch { keys } = serde_json::from_slice(&body)
        .map_err(|why| wrong(format!("the body is not {{\"keys\": [..]}}: {why}")))?;
    if keys.len() > caps::BATCH_KEYS_MAX {
        let (n, max) = (keys.len(), caps::BATCH_KEYS_MAX);
        return Err(wrong(format!("{n} keys are over the limit of {max}: ask more often")));
    }
    let _place = source.place().await?;
    let shown = source.shown();
    source.check(&shown)?;
    let found = shown.component(&component)?;
    let (mut entries, mut bytes) = (Vec::with_capacity(keys.len()), 0);
    for key in &keys {
        let held = found.table.get(&found.key_bytes(key)?);
        bytes += held.map_or(0, egret::replica::shown::Held::len);
        if bytes > caps::ANSWER_BYTES && entries.len() > 1 {
            let (n, max) = (entries.len(), caps::ANSWER_BYTES);
            return Err(wrong(format!(
                "the states of the first {n} keys are all that fits into an answer of {max} bytes: ask for fewer"
            )));
        }
        // What is not there is `null`, and `found` says that it is not.
        let value = held.map_or(Value::Null, |held| found.state_json(held));
        entries.push(json!({ "key": key, "found": held.is_some(), "value": value }));
    }
    Ok(source.answer(&shown, json!({ "component": component, "entries": entries })))
}

async fn body_of(request: Request) -> Result<Bytes, Refusal> {
    let read = to_bytes(request.into_body(), caps::REQUEST_BYTES_MAX);
    let late = |_| {
        let why = "the request took too long to arrive";
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "late", why)
    };
    timeout(caps::REQUEST_WAIT, read).await.map_err(late)?.map_err(|_| {
        let why = format!("a request has at most {} bytes", caps::REQUEST_BYTES_MAX);
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", why)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScanQuery {
    prefix: Option<String>,
    from: Option<String>,
    limit: Option<usize>,
}

async fn scan(
    State(source): State<Source>,
    Path(component): Path<String>,
    query: Result<Query<ScanQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let wrong = |why: String| Refusal::new(StatusCode::BAD_REQUEST, "bad-request", why);
    let Query(ScanQuery { prefix, from, limit }) = query.map_err(|why| wrong(why.body_text()))?;
    let limit = limit.unwrap_or(caps::SCAN_KEYS);
    if !(1..=caps::SCAN_KEYS_MAX).contains(&limit) {
        return Err(wrong(format!("limit is 1 to {}", caps::SCAN_KEYS_MAX)));
    }
    let _place = source.place().await?;
    let shown = source.shown();
    source.check(&shown)?;
    let range = Range { from, prefix, limit, bytes: caps::ANSWER_BYTES };
    let page = shown.scan(&component, &range)?;
    let entry = |(key, value): (Value, Value)| json!({ "key": key, "value": value });
    let entries: Vec<Value> = page.entries.into_iter().map(entry).collect();
    let found = json!({ "component": component, "entries": entries, "next": page.next });
    Ok(source.answer(&shown, found))
}

async fn nothing_here() -> Refusal {
    let why = "there is /v1/state, /v1/state/COMPONENT, /v1/state/COMPONENT/KEY and /v1/health";
    Refusal::new(StatusCode::NOT_FOUND, "no-such-path", why)
}

async fn no_such_method() -> Refusal {
    let why = "everything is GET, and a batch of keys POST to /v1/state/COMPONENT";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", why)
}
