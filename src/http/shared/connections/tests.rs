//! Connections that do nothing do not keep others out, and requests in progress are answered.

use std::pin::pin;

use axum::extract::Request as Asked;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const LIMITS: ConnectionLimits = ConnectionLimits {
    count: 4,
    head_time: Duration::from_secs(60),
    head_bytes: 16 * 1024,
    headers: 20,
    unread_time: SECOND,
};

/// A listener that serves `router`. Its wait for a connection is cancelled and restarted every
/// millisecond, as in a loop with other events.
struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Served {
    async fn new(router: Router, limits: ConnectionLimits) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut connections = Connections::new(listener, limits);
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sleep(Duration::from_millis(1)) => {}
                    arrival = connections.next() => connections.serve(arrival, router.clone()),
                }
            }
        });
        Served { address, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `text` on a new connection, which stays open.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Returns true if a client that connects now is answered soon.
    async fn answers(&self) -> bool {
        let asked = async {
            let mut stream = self
                .send("GET /quick HTTP/1.1\r\nconnection: close\r\n\r\n")
                .await;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer.ends_with("quick")
        };
        timeout(5 * SECOND, asked).await.unwrap_or(false)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router() -> Router {
    let echo = post(async |body: String| body);
    let large = get(async || vec![b'x'; 64 * 1024 * 1024]);
    Router::new()
        .route("/quick", get(async || "quick"))
        .route("/echo", echo)
        .route("/large", large)
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = timeout(SECOND / 10, stream.read(&mut [0; 1024])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn half_open_connections_do_not_keep_others_out() {
    let served = Served::new(router(), LIMITS).await;
    for text in [
        "",
        "GET /quick HTTP/1.1\r\nhost: x\r\n",
        "POST /echo HTTP/1.1\r\ncontent-length: 9\r\n\r\nhalf",
        "POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "POST /echo HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
    ] {
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(served.send(text).await);
        }
        assert!(served.answers().await, "{text}");
    }
}

#[tokio::test]
async fn idle_connections_do_not_keep_others_out() {
    let served = Served::new(router(), LIMITS).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = served.send("GET /quick HTTP/1.1\r\n\r\n").await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        held.push(stream);
    }
    assert!(served.answers().await);
}

#[tokio::test]
async fn unread_answers_do_not_keep_others_out() {
    let served = Served::new(router(), LIMITS).await;
    let mut held = Vec::new();
    for _ in 0..LIMITS.count {
        held.push(served.send("GET /large HTTP/1.1\r\n\r\n").await);
    }
    for _ in 0..3 {
        assert!(served.answers().await);
    }
}

#[tokio::test]
async fn a_client_that_reads_a_large_answer_gets_all_of_it() {
    let served = Served::new(router(), LIMITS).await;
    let mut reading = served
        .send("GET /large HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await;
    let read = tokio::spawn(async move {
        let (mut chunk, mut all) = (vec![0; 1024 * 1024], 0);
        while let count @ 1.. = reading.read(&mut chunk).await.unwrap() {
            all += count;
        }
        all
    });
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(served.send("GET").await);
    }
    assert!(read.await.unwrap() > 64 * 1024 * 1024);
}

/// A router that answers `/wait` when the test says so.
fn waiting() -> (Router, mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let (asked, waits) = mpsc::unbounded_channel();
    let wait = move |_body: String| {
        let asked = asked.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            asked.send(answer).unwrap();
            answered.await.unwrap();
            "waited"
        }
    };
    (router().route("/wait", post(wait)), waits)
}

const WAIT: &str = "POST /wait HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn new_connections_do_not_close_one_whose_request_is_being_answered() {
    let (router, mut waits) = waiting();
    let served = Served::new(router, LIMITS).await;
    let mut busy = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..LIMITS.count {
        busy.push(served.send(WAIT).await);
        answers.push(waits.recv().await.unwrap());
    }
    let mut newcomer = pin!(served.answers());
    assert!(timeout(SECOND / 2, &mut newcomer).await.is_err());
    answers.pop().unwrap().send(()).unwrap();
    assert!(newcomer.await, "one connection is idle now");
    let mut last = busy.pop().unwrap();
    let mut answer = [0; 12];
    last.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    for (mut stream, answer) in busy.into_iter().zip(answers) {
        assert!(!is_closed(&mut stream).await);
        answer.send(()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_slot() {
    let (router, mut waits) = waiting();
    let served = Served::new(router, LIMITS).await;
    let mut busy = Vec::new();
    for _ in 0..LIMITS.count {
        busy.push(served.send(WAIT).await);
        waits.recv().await.unwrap();
    }
    drop(busy.pop());
    assert!(served.answers().await);
}

// A page of another site can make a browser send a POST that is refused before its body is read.
#[tokio::test]
async fn a_body_that_is_not_read_does_not_make_its_connection_busy() {
    let served = Served::new(router(), LIMITS).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let text = "POST /nothing HTTP/1.1\r\ncontent-length: 1000000\r\n\r\nhalf";
        let mut stream = served.send(text).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 404");
        held.push(stream);
    }
    assert!(served.answers().await);
}

#[tokio::test]
async fn a_flood_of_connections_does_not_crowd_out_a_client_with_a_request() {
    let limits = ConnectionLimits {
        count: 64,
        ..LIMITS
    };
    let served = Served::new(router(), limits).await;
    let address = served.address;
    let flood = tokio::spawn(async move {
        let mut held = std::collections::VecDeque::new();
        loop {
            held.push_back(TcpStream::connect(address).await.unwrap());
            if held.len() > 500 {
                held.pop_front();
            }
        }
    });
    sleep(SECOND / 2).await;
    for _ in 0..20 {
        assert!(served.answers().await);
    }
    flood.abort();
}

#[tokio::test]
async fn a_request_carries_its_clients_address() {
    let peer = get(async |request: Asked| {
        let PeerAddr(address) = request.extensions().get().unwrap();
        address.to_string()
    });
    let served = Served::new(Router::new().route("/peer", peer), LIMITS).await;
    let mut stream = served
        .send("GET /peer HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n127.0.0.1"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_accept_we_pause_unless_only_the_client_has_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connections = Connections::new(listener, LIMITS);
    for (kind, pause) in [
        (io::ErrorKind::ConnectionAborted, Duration::ZERO),
        (io::ErrorKind::Other, ACCEPT_PAUSE),
    ] {
        let start = Instant::now();
        connections.recover(&kind.into()).await;
        assert_eq!(start.elapsed(), pause, "{kind}");
    }
    let start = Instant::now();
    connections.recover(&io::Error::from(Errno::MFILE)).await;
    assert_eq!(start.elapsed(), ACCEPT_PAUSE, "no connection can be closed");
}

#[test]
fn connections_leave_descriptors_for_everything_else() {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap();
    assert_eq!(within_descriptors(4, usize::MAX), limit / 4);
    assert_eq!(within_descriptors(4, 10), 10.min(limit / 4));
}
