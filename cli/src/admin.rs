//! The listener for people and scrapers: `/livez`, `/readyz`, `/metrics` and `/version` over HTTP.
//!
//! Whoever reaches its address may read, so by default that is this host alone. It answers `GET` and `HEAD`, one request
//! a connection; time, headers and connections are bounded, so that nobody who connects can hold up or bloat a node.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rdcq_runtime::{Insight, Reading, metrics};
use rdcq_transport::{Bandwidth, Direction};
use rdcq_wire::HerdId;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Most headers of a request; a browser sends twenty.
const MAX_HEADERS: usize = 64;
/// Most bytes of a request's head, and of an answer that waits for its reader. hyper takes no less than 8 KiB.
const MAX_BUFFER: usize = 16 * 1024;
/// How long is waited when the system gives no connection, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const LIVE: &str = "/livez";
const READY: &str = "/readyz";
const METRICS: &str = "/metrics";
const VERSIONS: &str = "/version";
const PATHS: [&str; 4] = [LIVE, READY, METRICS, VERSIONS];

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What callers may use.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Connections at a time; the next ones wait in the system's queue, which is bounded as well.
    connections: usize,
    /// How long a connection may last, from its first byte to the last of the answer.
    deadline: Duration,
}

/// A few scrapers and people. Who asks over loopback or a site's network is done in milliseconds.
const BOUNDS: Bounds = Bounds { connections: 32, deadline: Duration::from_secs(10) };

/// An address that is taken and on which nothing is answered yet: who connects waits.
pub(crate) struct BoundAdmin {
    listener: TcpListener,
    addr: SocketAddr,
}

impl BoundAdmin {
    /// Takes the address. Port 0 asks for any free one.
    pub(crate) async fn bind(listen: SocketAddr) -> Result<Self, AdminError> {
        let failed = |source| AdminError { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        if !addr.ip().is_loopback() {
            tracing::warn!(%addr, "whoever reaches the admin listener may read metrics and the names of peers; \
                 127.0.0.1 keeps it to this host");
        }
        Ok(Self { listener, addr })
    }

    /// Begins to answer, for roles that run.
    pub(crate) fn serve(self, herd: HerdId, insights: Vec<Insight>, bandwidth: Bandwidth) -> Admin {
        self.serve_within(BOUNDS, herd, insights, bandwidth)
    }

    fn serve_within(
        self,
        bounds: Bounds,
        herd: HerdId,
        insights: Vec<Insight>,
        bandwidth: Bandwidth,
    ) -> Admin {
        let (draining, turn) = (AtomicBool::new(false), Arc::new(Semaphore::new(1)));
        let pages = Arc::new(Pages { herd, insights, bandwidth, draining, turn });
        let accepting = tokio::spawn(accept(self.listener, bounds, Arc::clone(&pages)));
        tracing::info!(addr = %self.addr, "the admin listener answers");
        Admin { addr: self.addr, pages, accepting }
    }
}

/// The listener, answering; dropping the handle does not stop it.
pub(crate) struct Admin {
    addr: SocketAddr,
    pages: Arc<Pages>,
    accepting: JoinHandle<()>,
}

impl Admin {
    /// Where it answers.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From here on the process is not ready: whoever balances load should look elsewhere.
    pub(crate) fn drain(&self) {
        self.pages.draining.store(true, Ordering::Relaxed);
    }

    /// Closes the listener and its connections.
    pub(crate) fn stop(self) {
        self.accepting.abort();
    }
}

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("the admin listener cannot listen on {listen}: {source}; is another process using it?")]
pub struct AdminError {
    /// The address that was asked for.
    pub listen: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Accepts until it is aborted, and its connections with it.
async fn accept(listener: TcpListener, bounds: Bounds, pages: Arc<Pages>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= bounds.connections {
            // Bounded by the deadline.
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, remote)) => {
                let attended = attend(stream, remote, bounds.deadline, Arc::clone(&pages));
                connections.spawn(attended);
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener got no connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request and its answer.
async fn attend(stream: TcpStream, remote: SocketAddr, deadline: Duration, pages: Arc<Pages>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let pages = Arc::clone(&pages);
        async move { Ok::<_, Infallible>(pages.answer(request.method(), request.uri().path()).await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_headers(MAX_HEADERS).max_buf_size(MAX_BUFFER);
    match timeout(deadline, http.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%remote, %error, "an admin request failed"),
        Err(_) => tracing::debug!(%remote, ?deadline, "an admin request was not done in time"),
    }
}

/// What there is to read.
struct Pages {
    herd: HerdId,
    insights: Vec<Insight>,
    bandwidth: Bandwidth,
    draining: AtomicBool,
    /// Whose turn it is to add up.
    turn: Arc<Semaphore>,
}

impl Pages {
    async fn answer(self: Arc<Self>, method: &Method, path: &str) -> Response<String> {
        if !PATHS.contains(&path) {
            return text(StatusCode::NOT_FOUND, &format!("there are {}\n", PATHS.join(", ")));
        }
        if method != Method::GET && method != Method::HEAD {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            READY => self.readiness(),
            METRICS => self.metrics().await,
            VERSIONS => self.version(),
            _ => text(StatusCode::OK, "alive\n"),
        }
    }

    fn readiness(&self) -> Response<String> {
        match self.draining.load(Ordering::Relaxed) {
            true => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            false => text(StatusCode::OK, "ready\n"),
        }
    }

    /// Adding up ten thousand connections takes milliseconds, so it is done where it holds nobody up; one at a time, also
    /// when callers ask and go away again.
    async fn metrics(self: Arc<Self>) -> Response<String> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let rendered = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let readings: Vec<Reading> = self.insights.iter().map(Insight::read).collect();
            let bandwidth = Direction::ALL.map(|direction| (direction, self.bandwidth.stats(direction)));
            metrics::render(&metrics::Build { version: VERSION, herd: &self.herd }, &readings, &bandwidth)
        });
        match rendered.await {
            Ok(metrics) => response(StatusCode::OK, metrics::CONTENT_TYPE, metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("cannot add up: {error}\n")),
        }
    }

    fn version(&self) -> Response<String> {
        let roles = self.insights.iter().map(|insight| RunningRole {
            node: insight.identity().node.as_str(),
            role: insight.role().name(),
        });
        let version = Version { version: VERSION, herd: self.herd.as_str(), roles: roles.collect() };
        match serde_json::to_string(&version) {
            Ok(json) => response(StatusCode::OK, JSON, json + "\n"),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("cannot write JSON: {error}\n")),
        }
    }
}

#[derive(Serialize)]
struct Version<'a> {
    version: &'a str,
    herd: &'a str,
    roles: Vec<RunningRole<'a>>,
}

#[derive(Serialize)]
struct RunningRole<'a> {
    node: &'a str,
    role: &'static str,
}

fn text(status: StatusCode, text: &str) -> Response<String> {
    response(status, TEXT, text.to_owned())
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
