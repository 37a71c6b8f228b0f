//! Servers of models, in the test's own process.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Response;
use hyper::body::Frame;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A server that is gone when this is dropped, with all its connections.
pub struct Upstream {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Answers as these routes do.
    pub async fn of(routes: Router) -> Self {
        Self::start(move |stream| {
            let service = TowerToHyperService::new(routes.clone());
            async move {
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    /// Answers each request with these very bytes, and then hangs up or falls silent.
    pub async fn saying(bytes: &'static str, hangs_up: bool) -> Self {
        Self::start(move |mut stream| async move {
            let mut read = [0; 4096];
            let _ = stream.read(&mut read).await; // a short request comes in one piece
            let _ = stream.write_all(bytes.as_bytes()).await;
            if !hangs_up {
                std::future::pending().await
            }
        })
        .await
    }

    async fn start<T: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> T + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, mut tasks) = (Arc::clone(&connections), JoinSet::new());
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                open.spawn(serve(stream));
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    /// The table of a node's file that names it as the model's.
    pub fn backend(&self, model: &str) -> String {
        format!("[backends.{model}]\nurl = \"http://{}/{model}/infer\"\n", self.address)
    }

    /// How many connections it has taken.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A body that comes piece by piece, as they are sent.
pub struct Pieces(mpsc::Receiver<Bytes>);

/// A body, and where its pieces are put in.
pub fn pieces() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Body::new(Pieces(receiver)))
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A connection on which the caller says himself how far an answer is read. It ends with the first part.
pub async fn connect(to: SocketAddr) -> (JoinSet<()>, SendRequest<Body>) {
    let stream = TcpStream::connect(to).await.expect("it listens");
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a fresh connection");
    let mut task = JoinSet::new();
    task.spawn(async move {
        let _ = connection.await; // an error shows in the answer
    });
    (task, sender)
}

/// Answers with what it was asked.
pub async fn echo(request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut answer = Response::builder().status(201).header("x-uri", head.uri.to_string());
    for (name, value) in &head.headers {
        answer = answer.header(format!("x-got-{name}"), value);
    }
    let answer = answer.header("x-method", head.method.as_str()).header("set-cookie", "a=1");
    answer.header("set-cookie", "b=2").body(body).expect("the parts are valid")
}
