//! The stream of events (Server-Sent Events, WHATWG HTML, 9.2).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Either;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use jarvis_http::server::Endless;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::Answered;
use super::schema::{DeviceEvent, milliseconds};
use super::{Token, error};
use crate::care::events::{Behind, Event, Events, Reader};

/// Streams at one time.
pub(in crate::link::http) const READERS: usize = 512;
/// From one comment to the next.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// When a client may try again that has found all places taken, seconds.
const RETRY: &str = "30";

/// The header with the id of the last event that a client has got.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The places for readers.
pub(super) struct Readers {
    events: Events,
    places: Arc<Semaphore>,
    token: Option<Token>,
}

impl Readers {
    pub(super) fn new(events: Events, token: Option<Token>) -> Self {
        Self { events, places: Arc::new(Semaphore::new(READERS)), token }
    }

    /// Starts a stream. With `follow=false` in the query, it ends after the events that are kept.
    pub(super) fn answer(&self, head: &Parts) -> Answered {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let mut reply = error(StatusCode::SERVICE_UNAVAILABLE, "too many readers of events");
            reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
            // A place among the connections is needed by others.
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Either::Left(reply);
        };
        let last = head.headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
        let reader = match last {
            Some(id) => self.events.resume(id),
            None => self.events.read(),
        };
        let connected = format!("event: connected\ndata: {{\"ok\":true,\"ts\":{}}}\n\n", milliseconds(self.events.now()));
        let is_live = !head.uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "follow=false"));
        let mut reply = Response::new(EventStream::new(connected, reader, place, is_live, self.token.clone()));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        reply.extensions_mut().insert(Endless);
        Either::Right(reply)
    }
}

/// The body of a stream: frames of text.
///
/// Between events it holds a position in the log, a place and a timer, and no buffer.
pub(in crate::link::http) struct EventStream {
    connected: Option<Bytes>,
    next: Pin<Box<Next>>,
    heartbeat: Pin<Box<Sleep>>,
    /// It goes on after the events that are kept.
    is_live: bool,
    /// The notice was sent to a slow reader.
    is_over: bool,
    _place: OwnedSemaphorePermit,
    /// The token with which the client was admitted.
    token: Option<Token>,
}

type Next = dyn Future<Output = (Reader, Result<Arc<Event>, Behind>)> + Send;

impl EventStream {
    fn new(connected: String, reader: Reader, place: OwnedSemaphorePermit, is_live: bool, token: Option<Token>) -> Self {
        Self {
            connected: Some(connected.into()),
            next: next(reader),
            heartbeat: Box::pin(sleep_until(Instant::now() + HEARTBEAT)),
            is_live,
            is_over: false,
            _place: place,
            token,
        }
    }

    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(connected) = self.connected.take() {
            return Poll::Ready(Some(connected));
        }
        if self.is_over || self.token.as_ref().is_some_and(Token::is_void) {
            return Poll::Ready(None);
        }
        if let Poll::Ready((reader, event)) = self.next.as_mut().poll(context) {
            return Poll::Ready(Some(match event {
                Ok(event) => {
                    self.next = next(reader);
                    frame(&event)
                }
                Err(Behind { missed }) => {
                    self.is_over = true;
                    format!("event: dropped\ndata: {{\"missed\":{missed}}}\n\n").into()
                }
            }));
        }
        if !self.is_live {
            return Poll::Ready(None);
        }
        ready!(self.heartbeat.as_mut().poll(context));
        self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
        Poll::Ready(Some(Bytes::from_static(b": heartbeat\n\n")))
    }
}

/// The next event. The future owns the reader, because it is kept between polls.
fn next(mut reader: Reader) -> Pin<Box<Next>> {
    Box::pin(async move {
        let event = reader.next().await;
        (reader, event)
    })
}

fn frame(event: &Event) -> Bytes {
    // JSON escapes line breaks, so the data is one line.
    let data = serde_json::to_string(&DeviceEvent::from(event)).expect("an event is made of texts and numbers");
    format!("id: {}\nevent: device\ndata: {data}\n\n", event.id).into()
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_text(context).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::care::events::{Kind, Level, News};

    async fn text(stream: &mut EventStream) -> Option<String> {
        let frame = stream.frame().await?.expect("an event stream does not fail");
        Some(String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text"))
    }

    fn stream(readers: &Readers) -> EventStream {
        let head = hyper::Request::new(()).into_parts().0;
        let Either::Right(reply) = readers.answer(&head) else { panic!("there is a place") };
        reply.into_body()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_has_a_comment_every_15_seconds() {
        let events = Events::new(|| UNIX_EPOCH);
        let mut stream = stream(&Readers::new(events.clone(), None));
        assert_eq!(text(&mut stream).await.as_deref(), Some("event: connected\ndata: {\"ok\":true,\"ts\":0}\n\n"));
        let start = Instant::now();
        for beats in 1..=3 {
            assert_eq!(text(&mut stream).await.as_deref(), Some(": heartbeat\n\n"));
            assert_eq!(start.elapsed().as_secs(), 15 * beats);
        }
        events.publish(News::new(Kind::System, Level::Info, "an event"));
        assert!(text(&mut stream).await.is_some_and(|text| text.starts_with("id: 19700101000000-000000\nevent: device\n")));
        assert_eq!(start.elapsed().as_secs(), 45, "an event does not wait for a heartbeat");
    }

    #[tokio::test]
    async fn the_place_of_a_stream_is_free_when_it_is_dropped() {
        let readers = Readers::new(Events::new(|| UNIX_EPOCH), None);
        let streams: Vec<_> = (0..READERS).map(|_| stream(&readers)).collect();
        assert_eq!(readers.places.available_permits(), 0);
        drop(streams);
        assert_eq!(readers.places.available_permits(), READERS);
    }
}
