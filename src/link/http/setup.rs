//! The setup page, for an owner without an app: three files, which the repository has built and compressed from `web/`.
//!
//! The page speaks the sealed protocol from the browser. It loads nothing from elsewhere, and the browser enforces that.

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use super::Reply;

/// A file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Document,
    Script,
    Style,
}

/// The files and their paths.
pub(super) const FILES: [(&str, File); 3] = [("/", File::Document), ("/page.js", File::Script), ("/page.css", File::Style)];

impl File {
    /// The answer of the node with that name. Every browser takes gzip, so there is no other form.
    pub(super) fn reply(self, name: &str) -> Reply {
        let (content, kind): (&'static [u8], _) = match self {
            Self::Document => (include_bytes!("../../../web/dist/page/index.html.gz"), "text/html; charset=utf-8"),
            Self::Script => (include_bytes!("../../../web/dist/page/page.js.gz"), "text/javascript; charset=utf-8"),
            Self::Style => (include_bytes!("../../../web/dist/page/page.css.gz"), "text/css; charset=utf-8"),
        };
        let mut reply = Response::new(Full::new(Bytes::from_static(content)));
        for (header, value) in [
            (CONTENT_TYPE, kind),
            (CONTENT_ENCODING, "gzip"),
            // The next node in the access point may have another version.
            (CACHE_CONTROL, "no-cache"),
            (REFERRER_POLICY, "no-referrer"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            reply.headers_mut().insert(header, HeaderValue::from_static(value));
        }
        reply.headers_mut().insert(CONTENT_SECURITY_POLICY, policy(name));
        reply
    }
}

/// What the page may do: load its own files, and connect to the node, also at its name in the owner's network.
fn policy(name: &str) -> HeaderValue {
    let text = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' http://{name}.local:*; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(text).expect("a node's name is letters, digits and hyphens")
}
