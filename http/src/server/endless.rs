//! Responses without an end.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Context;

use hyper::Response;
use hyper::body::{Body, Bytes};
use hyper::http::response::Parts;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf};
use tokio::sync::watch;
use tracing::debug;

/// An extension of a response whose body comes over hours, such as a stream of events.
///
/// Such a response is sent without hyper: its buffers need 16 KiB for each connection, and a stream that mostly waits needs
/// almost nothing. The end of the connection is the end of the body (RFC 9112, 6.3). The connection counts as silent: it is
/// closed to make room for others. It is also closed at once when the server stops.
#[derive(Clone, Copy, Debug)]
pub struct Endless;

/// Sends the response until its end, or until the peer closes the connection, or until the server stops.
pub(super) async fn send<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    response: Response<B>,
    mut stopping: watch::Receiver<bool>,
) where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let (reader, mut writer) = tokio::io::split(stream);
    tokio::select! {
        sent = write(&mut writer, response) => {
            if let Err(error) = sent {
                debug!(%error, "connection ended");
            }
        }
        () = closed(reader) => {}
        // Without its sender the server has ended.
        _either_way = stopping.wait_for(|stopping| *stopping) => {}
    }
}

async fn write<B>(writer: &mut (impl AsyncWrite + Unpin), response: Response<B>) -> io::Result<()>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let (parts, body) = response.into_parts();
    let mut body = pin!(body);
    writer.write_all(&head(&parts)).await?;
    // The body's own error may not be sent to another thread.
    let mut frame = |context: &mut Context<'_>| {
        body.as_mut().poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(io::Error::other)))
    };
    while let Some(frame) = poll_fn(&mut frame).await {
        let Ok(data) = frame?.into_data() else { continue };
        writer.write_all(&data).await?;
        writer.flush().await?;
    }
    writer.shutdown().await
}

fn head(parts: &Parts) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head
}

/// Waits until the peer has closed its side. What it sends is not a request, because this response ends the connection.
async fn closed(mut reader: ReadHalf<impl AsyncRead + AsyncWrite>) {
    let mut ignored = [0; 64];
    while reader.read(&mut ignored).await.is_ok_and(|length| length > 0) {}
}
