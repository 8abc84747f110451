//! The session: known answers of an independent implementation, and every known attack by its name.

mod catalogue;
mod documentation;
mod espressif;
mod framing;
mod known_answers;
mod offline_search;
mod points;
mod records;
mod support;
mod wire;
