//! Values of devices and operators in HTML.

use maud::Render;

/// A value, in a text or in an attribute between quotes. Besides markup it cannot contain control characters, nor characters
/// that rearrange the text around them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a>(pub(crate) &'a str);

impl Render for Value<'_> {
    fn render_to(&self, buffer: &mut String) {
        for character in self.0.chars() {
            match character {
                '&' => buffer.push_str("&amp;"),
                '<' => buffer.push_str("&lt;"),
                '>' => buffer.push_str("&gt;"),
                '"' => buffer.push_str("&quot;"),
                '\'' => buffer.push_str("&#39;"),
                control if control.is_control() || is_direction(control) => buffer.push('\u{fffd}'),
                other => buffer.push(other),
            }
        }
    }
}

/// Characters that change the direction of writing: with them a name could read as another.
const fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    #[test]
    fn a_value_cannot_become_markup() {
        let value = Value("\"><script>alert('&')</script>\u{202e}\u{0}");
        let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;\u{fffd}\u{fffd}";
        assert_eq!(html! { p title=(value) { (value) } }.into_string(), format!("<p title=\"{escaped}\">{escaped}</p>"));
    }
}
