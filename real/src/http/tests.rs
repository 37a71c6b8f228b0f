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
    let began = tokio::time::Instant::now();
    let mut answer = Vec::new();
    let most = MAX_CONNECTION_LIFE + MAX_GOODBYE + Duration::from_secs(1);
    let end = tokio::time::timeout(most, stream.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "the connection is still there after {:?}", began.elapsed());
    assert!(began.elapsed() >= MAX_CONNECTION_LIFE, "it was cut off after {:?}", began.elapsed());
    server.abort();
}
