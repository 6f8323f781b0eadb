//! Requests, and what is answered.

use std::sync::{Arc, PoisonError, RwLockReadGuard};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use egret::replica::shown::{Component, Held, Range};
use egret::replica::{Follower, ReplicaError, Shown};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::budget::{Budget, Share};
use crate::{caps, encoding};

/// What answers are made from.
#[derive(Clone)]
struct Source {
    follower: Arc<Follower>,
    /// Memory for answers that are not small.
    answers: Budget,
    /// Places for bodies of requests.
    bodies: Arc<Semaphore>,
}

pub(crate) fn router(follower: &Arc<Follower>, answers_bytes_max: usize) -> Router {
    let answers = Budget::new(answers_bytes_max);
    let bodies = Arc::new(Semaphore::new(caps::BODIES_MAX));
    let source = Source { follower: Arc::clone(follower), answers, bodies };
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/state", get(components))
        .route("/v1/state/{component}", get(scan).post(batch))
        .route("/v1/state/{component}/{key}", get(one))
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(well_encoded))
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
        said(self.status, body.to_string())
    }
}

fn wrong(why: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad-request", why)
}

fn busy(what: &str) -> Refusal {
    let why = format!("too many {what} are under way: ask again later");
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", why)
}

/// Lets no request through in which something else would be read than what was written.
async fn well_encoded(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let parts = [("path", uri.path()), ("query", uri.query().unwrap_or_default())];
    let checked = parts.into_iter().try_for_each(|(part, text)| encoding::check(part, text));
    match checked {
        Ok(()) => next.run(request).await,
        Err(why) => wrong(why).into_response(),
    }
}

/// What is in a path.
fn words<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Refusal> {
    // The way itself is right, so it is what stands in it: bytes that are no text.
    path.map(|Path(words)| words).map_err(|why| wrong(why.body_text()))
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

fn said(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

impl Source {
    fn shown(&self) -> RwLockReadGuard<'_, Shown> {
        self.follower.shown().read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an answer is of.
    fn of(&self, shown: &Shown) -> Value {
        json!({ "topology": shown.topology(), "epoch": shown.epoch(), "age_ms": self.age_ms() })
    }

    /// A small answer, with what it is of.
    fn answer(&self, shown: &Shown, mut found: Value) -> Response {
        if let (Value::Object(fields), Value::Object(of)) = (&mut found, self.of(shown)) {
            fields.extend(of);
        }
        said(StatusCode::OK, found.to_string())
    }

    /// Waits for the room that so many bytes of an answer take.
    async fn room(&self, bytes: usize) -> Result<Share, Refusal> {
        self.answers.reserve(bytes).await.ok_or_else(|| busy("large answers"))
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

    /// A place for a body on its way in.
    async fn place(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let place = timeout(caps::ANSWER_WAIT, self.bodies.acquire()).await;
        place.map_err(|_| busy("requests"))?.map_err(|_| busy("requests"))
    }
}

/// An answer of many keys in the making, as the JSON it will be.
struct Entries {
    out: String,
    n: usize,
}

impl Entries {
    fn new(component: &str) -> Entries {
        let out = format!("{{\"component\":{},\"entries\":[", Value::from(component));
        Entries { out, n: 0 }
    }

    /// Adds an entry if there is room for it; there always is for the first.
    fn add(&mut self, entry: &Value) -> bool {
        let before = self.out.len();
        if self.n > 0 {
            self.out.push(',');
        }
        self.out.push_str(&entry.to_string());
        if self.out.len() > caps::ANSWER_BYTES && self.n > 0 {
            self.out.truncate(before);
            return false;
        }
        self.n += 1;
        true
    }

    /// The answer, with all else there is to say.
    fn end(mut self, share: Share, rest: Value) -> Result<Response, Refusal> {
        let rest = rest.to_string();
        self.out.push_str("],");
        self.out.push_str(&rest[1..]);
        let mut bytes = self.out.into_bytes();
        bytes.shrink_to_fit();
        let body = share.hold(bytes).ok_or_else(|| busy("large answers"))?;
        Ok(said(StatusCode::OK, body))
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
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Refusal> {
    let (component, key) = words(path)?;
    let bytes = {
        let shown = source.shown();
        source.check(&shown)?;
        let found = shown.component(&component)?;
        let bytes = found.key_of_word(&key)?;
        found.table.get(&bytes).map_or(0, Held::len)
    };
    let share = match bytes {
        0..=caps::SMALL_STATE_BYTES => None,
        more => Some(source.room(caps::json_bytes(more).max(more)).await?),
    };
    let shown = source.shown();
    let found = shown.component(&component)?;
    let bytes = found.key_of_word(&key)?;
    let key = found.key_json(&bytes);
    let Some(held) = found.table.get(&bytes) else {
        let why = format!("`{component}` keeps nothing for this key");
        let refusal = Refusal::new(StatusCode::NOT_FOUND, "no-state", why);
        return Err(refusal.with("key", key).with("epoch", shown.epoch()));
    };
    let value = found.state_json(held);
    let mut answer = json!({ "component": component, "key": key, "value": value });
    if let (Value::Object(fields), Value::Object(of)) = (&mut answer, source.of(&shown)) {
        fields.extend(of);
    }
    let body = answer.to_string();
    let share = match share {
        None if body.len() <= caps::SMALL_ANSWER_BYTES => return Ok(said(StatusCode::OK, body)),
        // It grew, or its key is long.
        None => source.answers.reserve_now(body.len()),
        some => some,
    };
    let held = share.and_then(|share| share.hold(body.into_bytes()));
    Ok(said(StatusCode::OK, held.ok_or_else(|| busy("large answers"))?))
}

/// Many keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    keys: Vec<Value>,
}

async fn batch(
    State(source): State<Source>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let component = words(path)?;
    let place = source.place().await?;
    let body = body_of(request).await?;
    let Batch { keys } = serde_json::from_slice(&body)
        .map_err(|why| wrong(format!("the body is not {{\"keys\": [..]}}: {why}")))?;
    drop(body);
    if keys.len() > caps::BATCH_KEYS_MAX {
        let (n, max) = (keys.len(), caps::BATCH_KEYS_MAX);
        return Err(wrong(format!("{n} keys are over the limit of {max}: ask more often")));
    }
    let share = source.room(caps::ANSWER_BYTES + caps::ANSWER_FRAME_BYTES).await?;
    drop(place);
    let shown = source.shown();
    source.check(&shown)?;
    let found = shown.component(&component)?;
    let mut entries = Entries::new(&component);
    for (n, key) in keys.iter().enumerate() {
        let held = found.table.get(&found.key_bytes(key)?);
        // What is not there is `null`, and `found` says that it is not.
        let value = held.map_or(Value::Null, |held| found.state_json(held));
        if !entries.add(&json!({ "key": key, "found": held.is_some(), "value": value })) {
            let max = caps::ANSWER_BYTES;
            return Err(wrong(format!(
                "the states of the first {n} keys are all that fits into an answer of {max} bytes: ask for fewer"
            )));
        }
    }
    entries.end(share, source.of(&shown))
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
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<ScanQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let component = words(path)?;
    let Query(ScanQuery { prefix, from, limit }) = query.map_err(|why| wrong(why.body_text()))?;
    let limit = limit.unwrap_or(caps::SCAN_KEYS);
    if !(1..=caps::SCAN_KEYS_MAX).contains(&limit) {
        return Err(wrong(format!("limit is 1 to {}", caps::SCAN_KEYS_MAX)));
    }
    let share = source.room(caps::ANSWER_BYTES + caps::ANSWER_FRAME_BYTES).await?;
    let shown = source.shown();
    source.check(&shown)?;
    let range = Range { from, prefix, limit, bytes: usize::MAX };
    let mut entries = Entries::new(&component);
    let next = shown.scan_each(&component, &range, |found| {
        entries.add(&json!({ "key": found.key(), "value": found.value() }))
    })?;
    let mut rest = source.of(&shown);
    if let Value::Object(rest) = &mut rest {
        rest.insert("next".to_owned(), Value::from(next));
    }
    entries.end(share, rest)
}

async fn nothing_here() -> Refusal {
    let why = "there is /v1/state, /v1/state/COMPONENT, /v1/state/COMPONENT/KEY and /v1/health";
    Refusal::new(StatusCode::NOT_FOUND, "no-such-path", why)
}

async fn no_such_method() -> Refusal {
    let why = "everything is GET, and a batch of keys POST to /v1/state/COMPONENT";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", why)
}
