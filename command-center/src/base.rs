//! What all layers share: the time, secrets, refusals, QR codes.

pub(crate) mod clock;
pub(crate) mod qr;
pub(crate) mod refusal;
pub(crate) mod secret;

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
