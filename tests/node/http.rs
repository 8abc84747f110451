//! The HTTP link over real sockets, with the real machine behind it and a scripted world behind that.

mod bounds;
mod json;
mod k2;
mod sealed;
mod support;
