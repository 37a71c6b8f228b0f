use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::tokio_runtime::TokioRuntime;

/// Whoever never ends a request does not keep a place for ever. (Time passes as soon as nobody does anything.)
#[tokio::test(start_paused = true)]
async fn half_a_request_is_cut_off_in_the_end() {
    let runtime = TokioRuntime::new("");
    let listener = runtime.listen("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let address = Listener::local_addr(&listener).expect("it listens");
    let server = tokio::spawn(serve(runtime, listener, Router::new()));
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    stream.write_all(b"POST /predict HTTP/1.1\r\ncontent-le").await.expect("somebody reads");
    // A timer here would be the next to fire while the bytes are still on their way; so a thread guards against a hang.
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if is_over.recv_timeout(Duration::from_secs(60)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            std::process::abort(); // the connection is still there
        }
    });
    let began = tokio::time::Instant::now();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    drop(over);
    let (least, most) = (MAX_CONNECTION_LIFE, MAX_CONNECTION_LIFE + MAX_GOODBYE);
    assert!((least..=most).contains(&began.elapsed()), "it was cut off after {:?}", began.elapsed());
    server.abort();
}
