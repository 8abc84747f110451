//! JSON bodies as the existing server parses them, and its answer 422 to invalid ones.
//!
//! Each element of a 422's `detail` names a fault and its place. The existing server repeats the value in `input`; here it
//! is null, because it could be a password, a key or a token.

use std::fmt;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::Reply;
use provisioning_core::domain::{CreatedAt, is_free_of_controls};

/// The value of a field, as far as requests need it.
#[derive(Default)]
pub(super) enum Value {
    /// The field is missing.
    #[default]
    Missing,
    Null,
    Text(Zeroizing<String>),
    Integer(i64),
    Float(f64),
    Flag(bool),
    /// An array or an object.
    Other,
}

/// The faults of a body that is not a request, in the order of its fields.
#[derive(Debug)]
pub(super) struct Invalid(Vec<Fault>);

/// One element of a 422's `detail`.
#[derive(Debug, Serialize)]
struct Fault {
    #[serde(rename = "type")]
    kind: &'static str,
    loc: Vec<Place>,
    msg: String,
    input: Input,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Place {
    Name(&'static str),
    Offset(usize),
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Input {
    /// Null: the value may be a secret.
    Withheld,
    Object {},
}

#[derive(Debug, Serialize)]
struct Context {
    error: String,
}

/// The fields of a request, taken in order; collects the faults.
pub(super) struct Fields<const N: usize> {
    values: std::array::IntoIter<(&'static str, Value), N>,
    faults: Vec<Fault>,
}

impl<const N: usize> Fields<N> {
    /// Parses a body that should be an object with these fields. Other fields are ignored; of duplicates the last one
    /// counts. `kind` is the content type; a body without one is parsed as JSON.
    pub(super) fn read(kind: Option<&[u8]>, body: &[u8], names: [&'static str; N]) -> Result<Self, Invalid> {
        if body.is_empty() {
            return Err(Invalid::body("missing", "Field required"));
        }
        let not_an_object =
            || Invalid::body("model_attributes_type", "Input should be a valid dictionary or object to extract fields from");
        if !kind.is_none_or(is_json) {
            return Err(not_an_object());
        }
        let text = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let values = deserializer
            .deserialize_any(Object(names))
            .and_then(|values| deserializer.end().map(|()| values))
            .map_err(|error| Invalid::json(&error, text))?;
        let values = values.ok_or_else(not_an_object)?;
        let mut names = names.into_iter();
        let values = values.map(|value| (names.next().expect("there are as many names as values"), value));
        Ok(Self { values: values.into_iter(), faults: Vec::new() })
    }

    /// The next field, a text.
    pub(super) fn text(&mut self) -> Zeroizing<String> {
        self.text_that(|_| true)
    }

    /// The next field, a text without control characters.
    pub(super) fn line(&mut self) -> Zeroizing<String> {
        self.text_that(is_free_of_controls)
    }

    fn text_that(&mut self, is_allowed: fn(&str) -> bool) -> Zeroizing<String> {
        match self.take() {
            (_, Value::Text(text)) if is_allowed(&text) => text,
            (name, Value::Text(_)) => {
                let msg = "Value error, control characters are not allowed";
                self.faults.push(Fault::at("value_error", vec![Place::Name("body"), Place::Name(name)], msg.into()));
                Zeroizing::default()
            }
            (name, value) => {
                self.invalid(name, &value, "string_type", "Input should be a valid string");
                Zeroizing::default()
            }
        }
    }

    /// The next field, a text that may be null or missing.
    pub(super) fn optional_text(&mut self) -> Option<Zeroizing<String>> {
        match self.take() {
            (_, Value::Text(text)) => Some(text),
            (_, Value::Missing | Value::Null) => None,
            (name, value) => {
                self.invalid(name, &value, "string_type", "Input should be a valid string");
                None
            }
        }
    }

    /// The next field, a date.
    pub(super) fn date(&mut self) -> Option<CreatedAt> {
        let (name, value) = self.take();
        let (date, kind, msg) = match &value {
            Value::Text(text) => {
                (CreatedAt::try_from(text.as_str()), "datetime_from_date_parsing", "Input should be a valid datetime or date")
            }
            Value::Integer(number) => (CreatedAt::try_from(*number), "datetime_parsing", "Input should be a valid datetime"),
            Value::Float(number) => (CreatedAt::try_from(*number), "datetime_parsing", "Input should be a valid datetime"),
            Value::Missing | Value::Null | Value::Flag(_) | Value::Other => {
                self.invalid(name, &value, "datetime_type", "Input should be a valid datetime");
                return None;
            }
        };
        if date.is_err() {
            let error = "not a date, or out of range";
            self.faults.push(Fault {
                ctx: Some(Context { error: error.into() }),
                ..Fault::at(kind, vec![Place::Name("body"), Place::Name(name)], format!("{msg}, {error}"))
            });
        }
        date.ok()
    }

    /// Fails if a field had a fault.
    pub(super) fn end(self) -> Result<(), Invalid> {
        if self.faults.is_empty() { Ok(()) } else { Err(Invalid(self.faults)) }
    }

    fn take(&mut self) -> (&'static str, Value) {
        self.values.next().expect("as many fields are taken as were named")
    }

    fn invalid(&mut self, name: &'static str, value: &Value, kind: &'static str, msg: &str) {
        let (kind, msg) = if matches!(value, Value::Missing) { ("missing", "Field required") } else { (kind, msg) };
        self.faults.push(Fault::at(kind, vec![Place::Name("body"), Place::Name(name)], msg.into()));
    }
}

/// Whether a content type is JSON.
fn is_json(kind: &[u8]) -> bool {
    let kind = std::str::from_utf8(kind).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

impl Fault {
    const fn at(kind: &'static str, loc: Vec<Place>, msg: String) -> Self {
        Self { kind, loc, msg, input: Input::Withheld, ctx: None }
    }
}

impl Invalid {
    fn body(kind: &'static str, msg: &str) -> Self {
        Self(vec![Fault::at(kind, vec![Place::Name("body")], msg.into())])
    }

    fn json(error: &serde_json::Error, text: &[u8]) -> Self {
        let offset = if error.is_eof() {
            text.len()
        } else {
            let lines = text.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
            (lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1)).min(text.len())
        };
        // The text before the place describes the error and repeats nothing of the body.
        let error = error.to_string();
        let error = error.split(" at line ").next().unwrap_or_default().to_owned();
        Self(vec![Fault {
            input: Input::Object {},
            ctx: Some(Context { error }),
            ..Fault::at("json_invalid", vec![Place::Name("body"), Place::Offset(offset)], "JSON decode error".into())
        }])
    }
}

/// The body of the answer 422.
#[derive(Serialize)]
struct Detail {
    detail: Vec<Fault>,
}

impl From<Invalid> for Bytes {
    fn from(Invalid(detail): Invalid) -> Self {
        encode(&Detail { detail })
    }
}

impl From<Invalid> for Reply {
    fn from(Invalid(detail): Invalid) -> Self {
        json(StatusCode::UNPROCESSABLE_ENTITY, &Detail { detail })
    }
}

/// An error response in the format of the existing server.
pub(super) fn problem(status: StatusCode, detail: &str) -> Reply {
    #[derive(Serialize)]
    struct Body<'a> {
        detail: &'a str,
    }
    json(status, &Body { detail })
}

/// The values of an object's fields of these names; none if the body is not one JSON object. Other fields are ignored; of
/// duplicates the last one counts.
pub(super) fn object<const N: usize>(body: &[u8], names: [&'static str; N]) -> Option<[Value; N]> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let values = deserializer.deserialize_any(Object(names)).ok()?;
    deserializer.end().ok()?;
    values
}

/// A JSON body.
pub(super) fn encode(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("the answers are structs of texts and numbers, which JSON can hold").into()
}

/// A JSON response.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Reply {
    let mut reply = Response::new(Full::new(encode(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Takes an object's fields of these names; any other value is skipped and gives `None`.
struct Object<const N: usize>([&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Object<N> {
    type Value = Option<[Value; N]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [const { Value::Missing }; N];
        while let Some(index) = map.next_key_seed(Name(&self.0))? {
            match index {
                Some(index) => values[index] = map.next_value_seed(Any)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Some(values))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// The index of a field's name in this list.
struct Name<'a>(&'a [&'static str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| *known == name))
    }
}

/// Any value.
struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    #[allow(clippy::cast_precision_loss, reason = "a number beyond 64 bits is never a date, so its last digits do not matter")]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}
