//! Reading a request's body: bounded in size and time, and all faults of its shape reported together.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use super::Center;
use crate::base::refusal::Refusal;
use crate::base::secret::SecretText;

/// Twenty times the largest honest body.
pub(super) const LARGEST: usize = 64 * 1024;

/// The longest text in a field, in characters; a room or a host name is far shorter.
const LONGEST: usize = 1024;

/// A type that is read from the fields of a JSON object.
pub(crate) trait FromFields: Sized {
    /// The largest body, in bytes.
    const LARGEST: usize = LARGEST;

    /// Takes its fields, and records a fault for each that is invalid. The result is used only if there is no fault.
    fn from_fields(fields: &mut Fields) -> Self;
}

/// The body of a request, as a `T`.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: FromFields> FromRequest<Arc<Center>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, center: &Arc<Center>) -> Result<Self, Refusal> {
        let reading = Limited::new(request.into_body(), T::LARGEST).collect();
        let body = match tokio::time::timeout(center.config.patience.body, reading).await {
            Err(_) => return Err(Refusal::TooSlow),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge),
            Ok(Err(_)) => return Err(Refusal::Malformed(vec!["body: Could not be read".into()])),
            Ok(Ok(body)) => body.to_bytes(),
        };
        if body.is_empty() {
            return Err(Refusal::Malformed(vec!["body: Field required".into()]));
        }
        parse(&body).map(Self)
    }
}

/// The one variable segment of a path: text that a database can hold.
#[derive(Debug)]
pub(crate) struct Segment(pub(crate) String);

impl FromRequestParts<Arc<Center>> for Segment {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        match Path::<String>::from_request_parts(parts, center).await {
            Ok(Path(text)) if !text.contains('\0') => Ok(Self(text)),
            _ => Err(Refusal::Malformed(vec!["path: Input should be a valid string".into()])),
        }
    }
}

/// Both variable segments of a path: texts that a database can hold.
#[derive(Debug)]
pub(crate) struct Segments(pub(crate) String, pub(crate) String);

impl FromRequestParts<Arc<Center>> for Segments {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        match Path::<(String, String)>::from_request_parts(parts, center).await {
            Ok(Path((first, second))) if !first.contains('\0') && !second.contains('\0') => Ok(Self(first, second)),
            _ => Err(Refusal::Malformed(vec!["path: Input should be a valid string".into()])),
        }
    }
}

/// The query of a request, as a `T`.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Center>> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, center).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(_) => Err(Refusal::Malformed(vec!["query: Could not be understood".into()])),
        }
    }
}

fn parse<T: FromFields>(body: &[u8]) -> Result<T, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => {
            let mut fields = Fields { object, faults: Vec::new() };
            let parsed = T::from_fields(&mut fields);
            if fields.faults.is_empty() { Ok(parsed) } else { Err(Refusal::Malformed(fields.faults)) }
        }
        Ok(_) => Err(Refusal::Malformed(vec!["body: Input should be a valid dictionary".into()])),
        Err(error) => Err(Refusal::Malformed(vec![format!("body -> {}: JSON decode error", error.column())])),
    }
}

/// The fields of an object, and their faults.
#[derive(Debug)]
pub(crate) struct Fields {
    object: Map<String, Value>,
    faults: Vec<String>,
}

impl Fields {
    /// A text that must be there.
    pub(crate) fn text(&mut self, name: &str) -> String {
        match self.object.get(name) {
            None => self.fault(name, "Field required"),
            Some(Value::Null) => self.fault(name, "Input should be a valid string"),
            Some(_) => return self.optional_text(name).unwrap_or_default(),
        }
        String::new()
    }

    /// A text that must be there, of at most `most` characters.
    pub(crate) fn short_text(&mut self, name: &str, most: usize) -> String {
        let text = self.text(name);
        if text.chars().nth(most).is_some() {
            self.fault(name, &format!("String should have at most {most} characters"));
        }
        text
    }

    /// A text that must be there and serve as a name: not empty, of at most 128 characters, none of them a colon, which
    /// separates a name from its key.
    pub(crate) fn id(&mut self, name: &str) -> String {
        let known = self.faults.len();
        let text = self.text(name);
        if self.faults.len() == known {
            self.check_id(name, &text);
        }
        text
    }

    /// Like [`Fields::id`], for a field that may be absent.
    pub(crate) fn optional_id(&mut self, name: &str) -> Option<String> {
        let text = self.optional_text(name)?;
        self.check_id(name, &text);
        Some(text)
    }

    /// A text that may be absent or null.
    pub(crate) fn optional_text(&mut self, name: &str) -> Option<String> {
        match self.object.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => {
                if text.chars().any(char::is_control) {
                    self.fault(name, "String should not contain control characters");
                } else if text.chars().nth(LONGEST).is_some() {
                    self.fault(name, &format!("String should have at most {LONGEST} characters"));
                }
                Some(text)
            }
            Some(_) => {
                self.fault(name, "Input should be a valid string");
                None
            }
        }
    }

    /// A yes or no that may be absent or null.
    pub(crate) fn optional_flag(&mut self, name: &str) -> Option<bool> {
        match self.object.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::Bool(flag)) => Some(flag),
            Some(_) => {
                self.fault(name, "Input should be a valid boolean");
                None
            }
        }
    }

    /// A whole number in a range that may be absent or null.
    pub(crate) fn optional_integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        match self.object.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::Number(number)) if whole(&number).is_some_and(|whole| range.contains(&whole)) => whole(&number),
            Some(_) => {
                let (least, most) = (range.start(), range.end());
                self.fault(name, &format!("Input should be an integer from {least} to {most}"));
                None
            }
        }
    }

    /// A text that must be there and mean something.
    pub(crate) fn parsed<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>, otherwise: &str) -> Option<T> {
        let known = self.faults.len();
        let text = self.text(name);
        if self.faults.len() > known {
            return None;
        }
        let parsed = parse(&text);
        if parsed.is_none() {
            self.fault(name, otherwise);
        }
        parsed
    }

    /// A text that must be there and is not to be shown: of `range` characters, any of them.
    pub(crate) fn secret(&mut self, name: &str, range: RangeInclusive<usize>) -> SecretText {
        match self.object.remove(name) {
            None => self.fault(name, "Field required"),
            Some(Value::String(text)) if range.contains(&text.chars().count()) => return SecretText::new(text),
            Some(Value::String(_)) => {
                let (least, most) = (range.start(), range.end());
                self.fault(name, &format!("String should have from {least} to {most} characters"));
            }
            Some(_) => self.fault(name, "Input should be a valid string"),
        }
        SecretText::new(String::new())
    }

    /// Encrypted bytes as base64, in either alphabet, that must be there; as long as the body allows.
    pub(crate) fn sealed(&mut self, name: &str) -> String {
        match self.object.remove(name) {
            None => self.fault(name, "Field required"),
            Some(Value::String(text)) if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte)) => {
                return text;
            }
            Some(Value::String(_)) => self.fault(name, "String should be base64"),
            Some(_) => self.fault(name, "Input should be a valid string"),
        }
        String::new()
    }

    /// A whole number in a range that must be there.
    pub(crate) fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> i64 {
        if self.object.get(name).is_none_or(Value::is_null) {
            self.fault(name, "Field required");
        }
        self.optional_integer(name, range).unwrap_or_default()
    }

    /// Anything, unchecked.
    pub(crate) fn any(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name)
    }

    fn check_id(&mut self, name: &str, text: &str) {
        if text.is_empty() {
            self.fault(name, "String should have at least 1 character");
        } else if text.chars().nth(128).is_some() {
            self.fault(name, "String should have at most 128 characters");
        } else if text.contains(':') {
            self.fault(name, "String should not contain a colon");
        }
    }

    fn fault(&mut self, name: &str, text: &str) {
        self.faults.push(format!("body -> {name}: {text}"));
    }
}

/// A number without a fraction, however it is written: JSON does not tell 16 from 16.0.
fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let number = number.as_f64()?;
        // Whole numbers of this size are exact.
        #[expect(clippy::cast_possible_truncation, reason = "checked on the same line")]
        (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Pair(String, Option<String>);

    impl FromFields for Pair {
        fn from_fields(fields: &mut Fields) -> Self {
            Self(fields.id("first"), fields.optional_text("second"))
        }
    }

    fn faults(body: &str) -> Vec<String> {
        match parse::<Pair>(body.as_bytes()) {
            Err(Refusal::Malformed(faults)) => faults,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_faults_are_reported_together() {
        let messages = faults(r#"{"second": 7}"#);
        assert_eq!(messages, ["body -> first: Field required", "body -> second: Input should be a valid string"]);
    }

    #[test]
    fn null_is_absent_where_a_field_is_optional_and_wrong_where_it_is_not() {
        assert_eq!(parse::<Pair>(br#"{"first": "a", "second": null}"#).unwrap(), Pair("a".into(), None));
        assert_eq!(faults(r#"{"first": null}"#), ["body -> first: Input should be a valid string"]);
    }

    #[test]
    fn an_id_is_short_and_without_colon_or_control_characters() {
        assert_eq!(faults(r#"{"first": ""}"#), ["body -> first: String should have at least 1 character"]);
        assert_eq!(faults(r#"{"first": "a:b"}"#), ["body -> first: String should not contain a colon"]);
        assert_eq!(faults("{\"first\": \"a\\u0000\"}"), ["body -> first: String should not contain control characters"]);
        let long = format!(r#"{{"first": "{}"}}"#, "é".repeat(129));
        assert_eq!(faults(&long), ["body -> first: String should have at most 128 characters"]);
    }

    #[test]
    fn a_whole_number_may_have_a_zero_fraction() {
        assert_eq!(whole(&serde_json::from_str("16.0").unwrap()), Some(16));
        assert_eq!(whole(&serde_json::from_str("-16").unwrap()), Some(-16));
        assert_eq!(whole(&serde_json::from_str("16.5").unwrap()), None);
        assert_eq!(whole(&serde_json::from_str("1e300").unwrap()), None);
    }

    #[test]
    fn a_body_that_is_not_an_object_is_refused() {
        assert_eq!(faults("[]"), ["body: Input should be a valid dictionary"]);
        assert_eq!(faults("{"), ["body -> 1: JSON decode error"]);
    }
}
