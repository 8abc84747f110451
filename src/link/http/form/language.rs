//! The languages of the form.

use hyper::HeaderMap;
use hyper::header::ACCEPT_LANGUAGE;
use provisioning_core::fault::Fault;

use super::texts::{TEXTS, Texts, translated};

/// A language of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Language {
    English,
    German,
    Arabic,
}

impl Language {
    const ALL: [Self; 3] = [Self::English, Self::German, Self::Arabic];

    /// The language that a browser prefers among those of the form (RFC 9110, 12.5.4); English if it names none of them.
    pub(in super::super) fn preferred(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT_LANGUAGE).into_iter().filter_map(|value| value.to_str().ok());
        let mut best = (0, Self::English);
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let primary = parts.next().and_then(|tag| tag.split('-').next()).unwrap_or_default();
            let weight = parts.find_map(|part| weight(part.strip_prefix("q=")?)).unwrap_or(1000);
            let known = Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary));
            if let Some(language) = known.filter(|_| weight > best.0) {
                best = (weight, language);
            }
        }
        best.1
    }

    /// Its language tag.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::Arabic => "ar",
        }
    }

    /// Its direction in HTML.
    pub(super) const fn direction(self) -> &'static str {
        match self {
            Self::English | Self::German => "ltr",
            Self::Arabic => "rtl",
        }
    }

    pub(super) fn texts(self) -> &'static Texts {
        &TEXTS[self as usize]
    }

    /// One sentence for the owner.
    pub(super) const fn fault(self, fault: Fault) -> &'static str {
        let [german, arabic] = translated(fault);
        match self {
            Self::English => fault.text(),
            Self::German => german,
            Self::Arabic => arabic,
        }
    }
}

/// A weight in thousandths; none if it is invalid.
fn weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !matches!(whole, "0" | "1") {
        return None;
    }
    let thousandths = format!("{whole}{fraction:0<3}").parse().ok()?;
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn preferred(text: &'static str) -> Language {
        Language::preferred(&HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static(text))]))
    }

    #[test]
    fn the_language_with_the_greatest_weight_is_used_and_english_by_default() {
        for (accepted, language) in [
            ("de-AT,de;q=0.9,en;q=0.8", Language::German),
            ("en;q=0.7, AR-eg ;q=0.75, de;q=0.70", Language::Arabic),
            ("fr, it;q=0.9, de;q=0.1", Language::German),
            ("de;q=0, ar;q=0.001", Language::Arabic),
            ("de;q=0", Language::English),
            ("fr", Language::English),
            ("", Language::English),
            ("*", Language::English),
            ("deutsch, ;q=, ;;, de;q=9", Language::German),
        ] {
            assert_eq!(preferred(accepted), language, "{accepted}");
        }
        assert_eq!(Language::preferred(&HeaderMap::new()), Language::English);
    }
}
