//! The setup page, for an owner without an app, and the page of network care: files that the repository has built and
//! compressed from `web/`.
//!
//! The setup page speaks the sealed protocol from the browser, the other one the API of network care. They load nothing from
//! elsewhere, and the browser enforces that.

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use super::Reply;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The hash of the style in the document of the setup page, as its policy names it.
const STYLE_HASH: &str = include_str!("../../../web/dist/page/style.hash");

/// A file of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    Document,
    Script,
    Style,
    CareDocument,
    CareScript,
    CareStyle,
}

/// The files and their paths.
pub(super) const FILES: [(&str, File); 6] = [
    ("/", File::Document),
    ("/page.js", File::Script),
    ("/page.css", File::Style),
    ("/care", File::CareDocument),
    ("/care.js", File::CareScript),
    ("/care.css", File::CareStyle),
];

impl File {
    /// Whether the file belongs to the page of network care.
    pub(super) const fn is_of_care(self) -> bool {
        matches!(self, Self::CareDocument | Self::CareScript | Self::CareStyle)
    }

    /// The answer of the node with that name. Every browser takes gzip, so there is no other form.
    pub(super) fn reply(self, name: &str) -> Reply {
        let (content, kind): (&'static [u8], _) = match self {
            Self::Document => (include_bytes!("../../../web/dist/page/index.html.gz"), HTML),
            Self::Script => (include_bytes!("../../../web/dist/page/page.js.gz"), SCRIPT),
            Self::Style => (include_bytes!("../../../web/dist/page/page.css.gz"), STYLE),
            Self::CareDocument => (include_bytes!("../../../web/dist/page/care.html.gz"), HTML),
            Self::CareScript => (include_bytes!("../../../web/dist/page/care.js.gz"), SCRIPT),
            Self::CareStyle => (include_bytes!("../../../web/dist/page/care.css.gz"), STYLE),
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
        "default-src 'none'; script-src 'self'; style-src 'self' '{STYLE_HASH}'; img-src data:; connect-src 'self' http://{name}.local:*; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(text).expect("a node's name is letters, digits and hyphens")
}
