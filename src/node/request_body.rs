//! A request's body, read to its end before the answer goes out, within bounds.
//!
//! A handler that refuses a request leaves its body unread. Answering and closing then makes the client's system throw the
//! answer away: it sees a broken connection instead of a 413. So what a handler left is read and dropped first.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;

/// The most bytes read and dropped.
const DROPPED_BYTES_MAX: usize = 64 << 20;

/// How long a body that nobody wants is waited for, in all.
const DROPPED_FOR_MAX: Duration = Duration::from_secs(10);

/// And how long for its next piece: a client that has sent its headers only may be waiting for the answer.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A body that a handler reads while somebody else keeps hold of what it leaves.
struct Shared<B> {
    /// Locked for each piece, by the handler first and by [`Rest`] when that is done.
    inner: Arc<Mutex<Inner<B>>>,
}

struct Inner<B> {
    body: B,
    /// Whether anybody has asked for it: a client that waits to be told to send it is told by that.
    asked: bool,
}

/// What a handler may leave of a body.
pub struct Rest<B> {
    inner: Arc<Mutex<Inner<B>>>,
    waits_to_be_told: bool,
}

/// The body for a handler, and what it may leave.
pub fn shared<B>(headers: &HeaderMap, body: B) -> (Body, Rest<B>)
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<axum::BoxError>,
{
    let inner = Arc::new(Mutex::new(Inner { body, asked: false }));
    let waits_to_be_told = headers.contains_key(header::EXPECT);
    (Body::new(Shared { inner: Arc::clone(&inner) }), Rest { inner, waits_to_be_told })
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Shared<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut inner = self.inner.lock();
        inner.asked = true;
        Pin::new(&mut inner.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.lock().body.size_hint()
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> Rest<B> {
    /// Reads and drops what was left; the answer says that the connection ends when not all of it could be.
    pub async fn dropped<T>(self, mut response: Response<T>) -> Response<T> {
        if self.inner.lock().body.is_end_stream() {
            return response;
        }
        let untold = self.waits_to_be_told && !self.inner.lock().asked;
        let ended = !untold && tokio::time::timeout(DROPPED_FOR_MAX, self.read()).await.unwrap_or(false);
        if !ended {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// True when the end was reached.
    async fn read(&self) -> bool {
        let mut bytes = 0;
        while bytes <= DROPPED_BYTES_MAX {
            let next = std::future::poll_fn(|cx| Pin::new(&mut self.inner.lock().body).poll_frame(cx));
            match tokio::time::timeout(PAUSE_MAX, next).await {
                Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
                Ok(None) => return true,
                // Broken off, or nothing comes.
                Ok(Some(Err(_))) | Err(_) => return false,
            }
        }
        false
    }
}
