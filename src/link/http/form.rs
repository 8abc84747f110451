//! The setup as a form without a script, for browsers in which the setup page cannot run.
//!
//! It gives up the sealed session: code, password and token travel in clear, protected by the encryption of the access point
//! only. So it is there in the access point only, and only if that is encrypted. The code counts as a guess. The form carries a random
//! text that another site cannot know.

mod language;
#[rustfmt::skip]
mod texts;

use std::fmt::Write as _;
use std::time::Duration;

use http_body_util::Full;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use zeroize::Zeroizing;

use super::Reply;
use super::names::NetworkNames;
use super::schema::ProvisionRequest;
use crate::daemon::View;
use provisioning_core::domain::{Network, State, printable};
use provisioning_core::fault::Fault;

pub(super) use language::Language;

/// A page of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// What the owner fills in.
    Form,
    /// How the attempt is going.
    Outcome,
}

/// The pages and their paths.
pub(super) const PAGES: [(&str, Page); 2] = [("/form", Page::Form), (OUTCOME, Page::Outcome)];
const OUTCOME: &str = "/form/outcome";

/// Networks that are listed; the list has the strongest first.
const LISTED: usize = 60;
/// The content type of a form.
const ENCODED: &[u8] = b"application/x-www-form-urlencoded";

/// What the owner has sent.
pub(super) struct Filled {
    /// The text that the form carries.
    pub(super) mark: Zeroizing<String>,
    /// The pairing code, without spaces.
    pub(super) code: Zeroizing<String>,
    /// The name was typed, so the network may be hidden.
    pub(super) hidden: bool,
    /// The rest.
    pub(super) request: ProvisionRequest,
}

/// What the form shows of an earlier try; secrets are not among it.
#[derive(Default)]
pub(super) struct Kept {
    network: String,
    other: String,
    center: String,
    node: String,
    household: String,
    room: String,
}

/// Why there is no attempt yet.
pub(super) enum Problem {
    /// A value is wrong, or the node refuses.
    Fault(Fault),
    /// Too many wrong codes; how long none is compared.
    Locked(Duration),
    /// The node does not answer in time.
    Late,
}

impl Filled {
    /// Parses a form; none if the body is not one.
    pub(super) fn read(kind: Option<&HeaderValue>, body: &[u8]) -> Option<(Self, Kept)> {
        let kind = kind?.as_bytes().split(|byte| *byte == b';').next()?;
        if !kind.trim_ascii().eq_ignore_ascii_case(ENCODED) {
            return None;
        }
        let secret = |name| value(body, name);
        let plain = |name| std::mem::take(&mut *value(body, name));
        let trimmed = |name| plain(name).trim().to_owned();
        let kept = Kept {
            network: plain("network"),
            other: plain("other"),
            center: trimmed("center"),
            node: trimmed("node"),
            household: trimmed("household"),
            room: trimmed("room"),
        };
        let hidden = !kept.other.is_empty();
        let request = ProvisionRequest {
            wifi_ssid: if hidden { kept.other.clone() } else { kept.network.clone() },
            wifi_password: secret("password"),
            room: kept.room.clone(),
            command_center_url: kept.center.clone(),
            config_service_url: None,
            household_id: kept.household.clone(),
            node_id: kept.node.clone(),
            provisioning_token: Zeroizing::new(secret("token").trim().to_owned()),
        };
        let code = Zeroizing::new(secret("code").chars().filter(char::is_ascii_digit).collect());
        Some((Self { mark: secret("mark"), code, hidden, request }, kept))
    }
}

/// The first value of a name in a form (WHATWG URL, 5.1); empty if there is none, or if it is not UTF-8.
fn value(body: &[u8], name: &str) -> Zeroizing<String> {
    let pairs = body.split(|byte| *byte == b'&').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    });
    let found = pairs.into_iter().find(|(given, _)| *given == name.as_bytes());
    found.map_or_else(Zeroizing::default, |(_, encoded)| decoded(encoded))
}

fn decoded(encoded: &[u8]) -> Zeroizing<String> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(encoded.len()));
    let mut rest = encoded;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        rest = if escaped.is_some() { &after[2..] } else { after };
        bytes.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
    }
    Zeroizing::new(std::str::from_utf8(&bytes).unwrap_or_default().to_owned())
}

/// The form, with what is wrong and what was entered.
pub(super) fn form(view: &View, language: Language, mark: &str, problem: Option<&Problem>, kept: &Kept) -> Reply {
    let (texts, name) = (language.texts(), view.identity.name());
    let mut html = head(&name, language, None);
    add(
        &mut html,
        format_args!(
            "<h1>{}</h1>\n<div class=\"notice\"><p>{}</p>\n<p><a href=\"/\">{}</a></p></div>\n",
            texts.page_title, texts.clear, texts.encrypted
        ),
    );
    if let Some(problem) = problem {
        add(&mut html, format_args!("<p class=\"notice bad\" role=\"alert\">{}</p>\n", text(&problem.words(language))));
    }
    add(
        &mut html,
        format_args!(
            "<form method=\"post\" action=\"/form\"><input type=\"hidden\" name=\"mark\" value=\"{mark}\">\n\
             <label for=\"network\">{}</label>\n<select id=\"network\" name=\"network\" dir=\"auto\">\n",
            texts.network
        ),
    );
    options(&mut html, &view.networks, &kept.network);
    html.push_str("</select>\n");
    for field in fields(language) {
        field.write(&mut html, kept);
    }
    add(
        &mut html,
        format_args!(
            "<p class=\"notice\">{}</p>\n<button class=\"main\">{}</button>\n</form>\n",
            with_name(texts.leaving, &name),
            texts.connect
        ),
    );
    let status = if problem.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    reply(status, html)
}

/// How the attempt is going.
pub(super) fn outcome(view: &View, language: Language) -> Reply {
    let (texts, name, status) = (language.texts(), view.identity.name(), &view.status);
    let is_running = matches!(status.state(), State::Connecting | State::Registering);
    let mut html = head(&name, language, is_running.then_some(5));
    let (title, words) = match (&status.failure, status.state()) {
        (Some(failure), _) => (texts.failed, language.fault(failure.fault)),
        (None, State::Provisioned | State::Online) => (texts.ready, texts.ready_text),
        (None, State::Connecting) => (texts.running, texts.joining),
        (None, State::Registering) => (texts.running, texts.registering),
        (None, _) => (texts.page_title, texts.idle),
    };
    let mood = if status.failure.is_some() { "notice bad" } else { "notice" };
    add(&mut html, format_args!("<h1>{title}</h1>\n<p class=\"{mood}\" role=\"status\">{}</p>\n", text(words)));
    if is_running {
        add(
            &mut html,
            format_args!(
                "<progress max=\"100\" value=\"{}\" aria-label=\"{}\"></progress>\n<p>{}</p>\n",
                status.progress(),
                texts.running,
                with_name(texts.waiting, &name)
            ),
        );
    } else if status.state() != State::Provisioned {
        let link = if status.failure.is_some() { texts.again } else { texts.form };
        add(&mut html, format_args!("<p><a href=\"/form\">{link}</a></p>\n"));
    } else if let Some(next) = &view.next_url {
        let next = text(next.as_str());
        add(&mut html, format_args!("<p>{} <a href=\"{next}\" dir=\"ltr\" rel=\"noreferrer\">{next}</a></p>\n", texts.go));
    }
    reply(StatusCode::OK, html)
}

/// Leads the browser to the outcome, so that a reload sends nothing again.
pub(super) fn begun() -> Reply {
    let mut reply = reply(StatusCode::SEE_OTHER, String::new());
    reply.headers_mut().insert(LOCATION, HeaderValue::from_static(OUTCOME));
    reply
}

/// The form is not here: not in the access point, not encrypted, or sent by another site.
pub(super) fn refused(view: &View, language: Language) -> Reply {
    let texts = language.texts();
    let mut html = head(&view.identity.name(), language, None);
    add(
        &mut html,
        format_args!("<h1>{}</h1>\n<p>{}</p>\n<p><a href=\"/form\">{}</a></p>\n", texts.refused, texts.refused_text, texts.form),
    );
    reply(StatusCode::FORBIDDEN, html)
}

impl Problem {
    fn words(&self, language: Language) -> String {
        match self {
            Self::Fault(fault) => language.fault(*fault).to_owned(),
            Self::Locked(left) => {
                let minutes = left.as_secs().div_ceil(60).max(1).to_string();
                format!("{} {}", language.fault(Fault::Locked), language.texts().minutes_left.replace("{0}", &minutes))
            }
            Self::Late => language.texts().late.to_owned(),
        }
    }
}

/// A text with the device's name, which is written from left to right.
fn with_name(words: &str, name: &str) -> String {
    words.replace("{0}", &format!("<bdi>{}</bdi>", text(name)))
}

/// A field of the form, without the list of networks.
struct Field {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    attributes: &'static str,
    kept: fn(&Kept) -> &str,
}

const fn nothing(_: &Kept) -> &'static str {
    ""
}

/// The fields in a language.
fn fields(language: Language) -> [Field; 8] {
    let texts = language.texts();
    let field = |name, label, hint, attributes, kept| Field { name, label, hint, attributes, kept };
    let code = "dir=\"ltr\" inputmode=\"numeric\" required";
    let center = "dir=\"ltr\" type=\"url\" required placeholder=\"https://\"";
    [
        field("other", texts.other, texts.other_hint, "dir=\"auto\"", |kept| &kept.other),
        field("password", texts.password, texts.password_hint, "dir=\"ltr\" type=\"password\"", nothing),
        field("code", texts.code, texts.code_hint, code, nothing),
        field("center", texts.center, "", center, |kept| &kept.center),
        field("node", texts.node, texts.node_hint, "dir=\"ltr\" required", |kept| &kept.node),
        field("token", texts.token, texts.node_hint, "dir=\"ltr\" required", nothing),
        field("household", texts.household, "", "dir=\"auto\"", |kept| &kept.household),
        field("room", texts.room, "", "dir=\"auto\"", |kept| &kept.room),
    ]
}

impl Field {
    fn write(&self, html: &mut String, kept: &Kept) {
        let Self { name, label, hint, attributes, .. } = self;
        let value = text((self.kept)(kept)).to_string();
        add(
            html,
            format_args!(
                "<label for=\"{name}\">{label}</label>\n<input id=\"{name}\" name=\"{name}\" value=\"{value}\" autocomplete=\"off\" \
                 autocapitalize=\"off\" spellcheck=\"false\" aria-describedby=\"{name}-hint\" {attributes}>\n\
                 <p class=\"hint\" id=\"{name}-hint\">{hint}</p>\n"
            ),
        );
    }
}

fn options(html: &mut String, networks: &[Network], chosen: &str) {
    let mut shown: Vec<_> = NetworkNames::new(networks).shown().collect();
    shown.sort_by_key(|(_, network)| std::cmp::Reverse(network.signal));
    for (name, _) in shown.iter().take(LISTED) {
        let selected = if name == chosen { " selected" } else { "" };
        add(html, format_args!("<option value=\"{}\"{selected}>{}</option>\n", text(name), text(&printable(name))));
    }
}

/// A text in HTML, also in an attribute's value.
fn text(text: &str) -> impl std::fmt::Display {
    text.chars().fold(String::new(), |mut escaped, letter| {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(letter),
        }
        escaped
    })
}

/// The beginning of a page, which reloads after so many seconds.
fn head(name: &str, language: Language, reload: Option<u32>) -> String {
    let name = text(name);
    let (tag, direction, title) = (language.tag(), language.direction(), language.texts().page_title);
    let reload = reload.map(|seconds| format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n")).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"{tag}\" dir=\"{direction}\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         {reload}<title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/page.css\">\n\
         <header><p id=\"device\" dir=\"ltr\">{name}</p></header>\n<main>\n"
    )
}

fn add(html: &mut String, what: std::fmt::Arguments<'_>) {
    html.write_fmt(what).expect("writing to a string does not fail");
}

fn reply(status: StatusCode, html: String) -> Reply {
    const HEADERS: [(HeaderName, &str); 6] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (CACHE_CONTROL, "no-store"),
        (VARY, "accept-language"),
        // Without any referrer, browsers would not name the origin of the form either.
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let mut reply = Response::new(Full::new(Bytes::from(html)));
    *reply.status_mut() = status;
    for (name, value) in HEADERS {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_as_browsers_encode_them() {
        let body = b"a=1+%2B+caf%C3%A9&b=%&c=%4&d=%zz&e=%ff&f=&password=x%26y%3Dz&password=other";
        let value = |name| value(body, name).to_string();
        assert_eq!([value("a"), value("b"), value("c"), value("d")], ["1 + caf\u{e9}", "%", "%4", "%zz"]);
        assert_eq!([value("e"), value("f"), value("missing"), value("password")], ["", "", "", "x&y=z"]);
    }

    #[test]
    fn texts_stay_texts() {
        assert_eq!(text("<b a=\"'&'\">").to_string(), "&lt;b a=&quot;'&amp;'&quot;&gt;");
        assert_eq!(printable("a\u{202e}b\u{0}"), "a\\u{202e}b\\u{0}");
    }
}
