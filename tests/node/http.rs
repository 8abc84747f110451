//! The HTTP link over real sockets, with the real machine behind it and a scripted world behind that.

pub(crate) mod bounds;
mod form;
pub(crate) mod json;
mod k2;
mod page;
mod portal;
mod schema;
pub(crate) mod sealed;
pub(crate) mod support;
