//! One session, or one stateless client, with all its calls in flight.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::Method;
use hyper::header::HeaderValue;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::answer::Answer;
use crate::connection::Connection;
use crate::message::{self, Calls, Headers};
use crate::options::Options;
use crate::report::Tally;
use crate::work::Work;

pub(crate) struct Session {
    number: usize,
    options: Arc<Options>,
    headers: Headers,
    calls: Calls,
    next_id: AtomicU64,
    /// A call failed, so no more are started.
    is_down: AtomicBool,
    tally: Mutex<Tally>,
}

impl Session {
    /// Begins the session and opens all its connections.
    pub(crate) async fn begin(
        number: usize,
        options: Arc<Options>,
    ) -> Outcome<(Session, Vec<Connection>)> {
        let mut connections = Vec::with_capacity(options.in_flight);
        for _ in 0..options.in_flight {
            connections.push(Connection::open(&options.url).await?);
        }
        let headers = match (options.stateless, connections.first_mut()) {
            (false, Some(first)) => message::headers_in(initialize(first).await?.as_ref()),
            _ => message::headers_alone(&options.tool)?,
        };
        let session = Session {
            number,
            headers,
            calls: Calls::new(&options),
            next_id: AtomicU64::new(1),
            is_down: AtomicBool::new(false),
            tally: Mutex::new(Tally::new(number)),
            options,
        };
        Ok((session, connections))
    }

    /// Warms up, makes the calls, and ends the session. All sessions wait for each other at `begin`
    /// before and after each part.
    pub(crate) async fn run(
        self,
        mut connections: Vec<Connection>,
        work: &Arc<Work>,
        begin: &Barrier,
    ) -> Outcome<Tally> {
        let session = Arc::new(self);
        begin.wait().await;
        if session.options.warmup > 0 {
            begin.wait().await;
            connections = session.work(connections, work).await?;
            begin.wait().await;
            session.tally().forget_times();
        }
        begin.wait().await;
        connections = session.work(connections, work).await?;
        begin.wait().await;
        session.end(connections).await;
        let mut tally = session.tally();
        Ok(std::mem::replace(&mut *tally, Tally::new(session.number)))
    }

    /// Makes calls until no work is left.
    async fn work(
        self: &Arc<Self>,
        connections: Vec<Connection>,
        work: &Arc<Work>,
    ) -> Outcome<Vec<Connection>> {
        let mut lanes = JoinSet::new();
        for mut connection in connections {
            let (session, work) = (Arc::clone(self), Arc::clone(work));
            lanes.spawn(async move {
                while !session.is_down.load(Ordering::Relaxed) && work.take() {
                    session.call(&mut connection).await;
                }
                connection
            });
        }
        let mut connections = Vec::with_capacity(lanes.len());
        while let Some(connection) = lanes.join_next().await {
            connections.push(connection?);
        }
        Ok(connections)
    }

    async fn call(&self, connection: &mut Connection) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{}-{id}", self.number);
        let body = self.calls.body(id, &tag);
        let sent = Instant::now();
        let sending = connection.send(Method::POST, &self.headers, body);
        let answer = match sending.await {
            Ok(response) => Answer::of(&response, id, &tag),
            Err(error) => Answer::Wrong(format!("for {tag}: {error}")),
        };
        if answer != Answer::Good {
            self.is_down.store(true, Ordering::Relaxed);
        }
        self.tally().record(sent.elapsed(), answer);
    }

    /// Ends the session with a DELETE. If it has failed, first checks whether it answers again.
    async fn end(&self, mut connections: Vec<Connection>) {
        if self.is_down.load(Ordering::Relaxed) {
            let answer = match Connection::open(&self.options.url).await {
                Ok(mut connection) => {
                    let body = self.calls.body(0, "next");
                    let sending = connection.send(Method::POST, &self.headers, body);
                    sending.await.map(|response| response.status.as_u16())
                }
                Err(error) => Err(error),
            };
            self.tally().next_status = Some(answer.unwrap_or(0));
        } else if let (false, Some(connection)) = (self.options.stateless, connections.first_mut())
        {
            let deleting = connection.send(Method::DELETE, &self.headers, "");
            let answer = deleting.await.map(|response| response.status.as_u16());
            self.tally().end_status = Some(answer.unwrap_or(0));
        }
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a session. Returns its name, if the server assigns one.
async fn initialize(connection: &mut Connection) -> Outcome<Option<HeaderValue>> {
    let headers = message::headers();
    let sending = connection.send(Method::POST, &headers, message::initialize());
    let response = sending.await?;
    if !response.status.is_success() {
        let body = String::from_utf8_lossy(&response.body);
        return Err(format!("initialize: {}: {body}", response.status).into());
    }
    let name = response.headers.get(message::SESSION).cloned();
    let headers = message::headers_in(name.as_ref());
    let sending = connection.send(Method::POST, &headers, message::INITIALIZED);
    let response = sending.await?;
    match response.status.is_success() {
        true => Ok(name),
        false => Err(format!("notifications/initialized: {}", response.status).into()),
    }
}
