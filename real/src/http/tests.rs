//! Who keeps his place, and who does not. Time passes as soon as nobody does anything.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use hyper::body::{Body as Parts, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep};

use super::patience::{BODY_TIMEOUT, HEAD_TIMEOUT, IDLE_TIMEOUT, TAKE_TIMEOUT};
use super::server::{MAX_CONNECTIONS, MAX_HEAD_BYTES};
use super::*;
use crate::transport::memory::{Memory, PIPE_BYTES, at};

/// An answer that comes in parts of a kilobyte.
struct Stream(usize);

impl Parts for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
        self.0 = left;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; 1024])))))
    }
}

async fn take_a_while(Path(seconds): Path<u64>) -> &'static str {
    sleep(Duration::from_secs(seconds)).await;
    "at last"
}

/// A server, in a world of its own.
async fn start() -> Memory {
    let memory = Memory::new();
    let listener = memory.listen(at(80)).await.expect("nobody else listens");
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/length", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/stream/{parts}", get(|Path(parts): Path<usize>| async move { Body::new(Stream(parts)) }))
        .route("/after/{seconds}", get(take_a_while));
    memory.spawn(serve(memory.clone(), listener, router));
    memory
}

async fn connect(memory: &Memory) -> DuplexStream {
    memory.connect(at(80)).await.expect("it listens")
}

async fn connected(memory: &Memory, says: &str) -> DuplexStream {
    let mut stream = connect(memory).await;
    stream.write_all(says.as_bytes()).await.expect("it is open");
    stream
}

/// How long it lasts until the connection ends, and what came.
async fn end_of(stream: &mut DuplexStream) -> (Duration, String) {
    let (began, mut all) = (Instant::now(), Vec::new());
    let _ = stream.read_to_end(&mut all).await;
    (began.elapsed(), String::from_utf8(all).expect("text"))
}

/// Reads until this has come.
async fn read_to(stream: &mut DuplexStream, end: &str) {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        all.push(stream.read_u8().await.expect("there is more"));
    }
}

async fn ask(memory: &Memory, path: &str) -> Response<Bytes> {
    let asked = Request::get(path).body(Bytes::new()).expect("a request");
    request(memory, at(80), asked, Duration::from_secs(3600)).await.expect("an answer")
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// To the millisecond, which is how exact tokio's clock is.
fn is_about(took: Duration, expected: Duration) -> bool {
    took >= expected && took - expected < Duration::from_millis(5)
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_and_who_does_not_end_a_head_is_not_waited_for() {
    let memory = start().await;
    let (took, answer) = end_of(&mut connect(&memory).await).await;
    assert!(is_about(took, HEAD_TIMEOUT) && answer.is_empty(), "{took:?} {answer}");
    // A byte now and then is no head.
    let mut slow = connect(&memory).await;
    let began = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nx: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy" {
        if slow.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    let took = began.elapsed();
    assert!((HEAD_TIMEOUT..HEAD_TIMEOUT + Duration::from_secs(2)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_the_next_request_but_not_for_long() {
    let memory = start().await;
    let mut stream = connected(&memory, GET).await;
    read_to(&mut stream, "hello").await;
    sleep(IDLE_TIMEOUT - Duration::from_secs(1)).await;
    stream.write_all(GET.as_bytes()).await.expect("it is still open");
    read_to(&mut stream, "hello").await;
    // From the first byte of the next head on, it has to come.
    sleep(Duration::from_secs(20)).await;
    stream.write_all(b"GET").await.expect("it is still open");
    let (took, _) = end_of(&mut stream).await;
    assert!(is_about(took, HEAD_TIMEOUT), "{took:?}");
    let mut stream = connected(&memory, GET).await;
    read_to(&mut stream, "hello").await;
    let (took, _) = end_of(&mut stream).await;
    assert!(is_about(took, IDLE_TIMEOUT), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_may_come_slowly_but_it_has_to_come() {
    const HEAD: &str = "POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n";
    let memory = start().await;
    let mut slow = connected(&memory, HEAD).await;
    for _ in 0..20 {
        sleep(BODY_TIMEOUT - Duration::from_secs(1)).await;
        slow.write_all(b"x").await.expect("it is waited for");
    }
    read_to(&mut slow, "\r\n\r\n20").await;
    let mut stalls = connected(&memory, HEAD).await;
    stalls.write_all(b"half of it").await.expect("it is open");
    let (took, answer) = end_of(&mut stalls).await;
    assert!(is_about(took, BODY_TIMEOUT) && answer.is_empty(), "{took:?} {answer}");
}

#[tokio::test(start_paused = true)]
async fn a_head_without_end_is_refused() {
    let memory = start().await;
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(MAX_HEAD_BYTES));
    let target = "y".repeat(MAX_HEAD_BYTES);
    for (target, headers) in [("", many), ("", long), (&target, String::new())] {
        let head = format!("GET /{target} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        let mut stream = connect(&memory).await;
        let _ = stream.write_all(head.as_bytes()).await; // it may have read enough
        let (_, answer) = end_of(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let headers: String = (0..99).map(|n| format!("x-{n}: {}\r\n", "y".repeat(600))).collect();
    let mut stream = connected(&memory, &format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await;
    read_to(&mut stream, "hello").await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_as_long_as_it_likes() {
    let memory = start().await;
    let began = Instant::now();
    assert_eq!(ask(&memory, "/after/3000").await.body(), "at last");
    assert!(is_about(began.elapsed(), Duration::from_secs(3000)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_cut_off_while_bytes_move() {
    const PARTS: usize = 1000;
    let memory = start().await;
    let mut stream =
        connected(&memory, &format!("GET /stream/{PARTS} HTTP/1.1\r\nconnection: close\r\n\r\n")).await;
    let (began, mut all, mut room) = (Instant::now(), Vec::new(), vec![0; PIPE_BYTES]);
    loop {
        sleep(TAKE_TIMEOUT - Duration::from_secs(1)).await;
        match stream.read(&mut room).await.expect("it is open") {
            0 => break,
            read => all.extend_from_slice(&room[..read]),
        }
    }
    let body = all.iter().filter(|&&byte| byte == b'x').count();
    assert_eq!((body, all.ends_with(b"\r\n0\r\n\r\n")), (PARTS * 1024, true));
    assert!(began.elapsed() > Duration::from_secs(20_000), "{:?}", began.elapsed());
    // Whoever takes nothing at all is cut off.
    let mut stream = connected(&memory, &format!("GET /stream/{PARTS} HTTP/1.1\r\n\r\n")).await;
    sleep(TAKE_TIMEOUT + Duration::from_secs(1)).await;
    let (took, answer) = end_of(&mut stream).await;
    assert_eq!((took, answer.len()), (Duration::ZERO, PIPE_BYTES));
}

#[tokio::test(start_paused = true)]
async fn whoever_only_holds_connections_does_not_close_the_door() {
    let memory = start().await;
    let began = Instant::now();
    let mut kept = connected(&memory, GET).await;
    read_to(&mut kept, "hello").await;
    let mut busy = connected(&memory, "GET /after/100 HTTP/1.1\r\n\r\n").await;
    let mut strangers = Vec::new();
    for n in 0..2 * MAX_CONNECTIONS + 7 {
        strangers.push(connected(&memory, ["", "GET / HTTP/1.1\r\ncontent-le"][n % 2]).await);
    }
    assert_eq!(ask(&memory, "/").await.body(), "hello");
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody had to wait");
    // The eldest have gone, whoever is answered has not.
    assert_eq!(end_of(&mut kept).await, (Duration::ZERO, String::new()));
    assert_eq!(end_of(&mut strangers[0]).await, (Duration::ZERO, String::new()));
    let youngest = strangers.last_mut().expect("there are many");
    let (took, _) = end_of(youngest).await;
    assert!(is_about(took, HEAD_TIMEOUT), "the last one has a place: {took:?}");
    read_to(&mut busy, "at last").await;
}

/// In the order in which they come, as soon as somebody has been answered.
#[tokio::test(start_paused = true)]
async fn where_all_are_at_work_a_new_one_waits() {
    let memory = start().await;
    let mut busy = Vec::new();
    for n in 0..MAX_CONNECTIONS {
        let seconds = 5 + n;
        busy.push(connected(&memory, &format!("GET /after/{seconds} HTTP/1.1\r\n\r\n")).await);
    }
    sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    assert_eq!(ask(&memory, "/").await.body(), "hello");
    assert!(is_about(began.elapsed(), Duration::from_millis(4500)), "{:?}", began.elapsed());
    for mut stream in busy.into_iter().skip(1) {
        read_to(&mut stream, "at last").await; // nobody was cut off
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_without_end_do_not_close_the_door_for_long() {
    let memory = start().await;
    let mut bodies = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let head = "POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 2000\r\n\r\n";
        bodies.push(connected(&memory, head).await);
    }
    let began = Instant::now();
    tokio::spawn(async move {
        loop {
            sleep(Duration::from_secs(5)).await;
            for body in &mut bodies {
                let _ = body.write_all(b"x").await;
            }
        }
    });
    assert_eq!(ask(&memory, "/").await.body(), "hello");
    assert!(began.elapsed() < Duration::from_secs(62), "{:?}", began.elapsed());
}
