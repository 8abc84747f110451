//! An HTML writer that escapes all values: only texts of this program are written unchanged.

/// A document that is being written.
#[derive(Debug, Default)]
pub(crate) struct Html(String);

impl Html {
    /// Markup of this program.
    pub(crate) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// A value, in a text or in an attribute between quotes.
    pub(crate) fn value(&mut self, value: &str) -> &mut Self {
        for character in value.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Not allowed in HTML, and some rearrange the text around them.
                control if control.is_control() || is_direction(control) => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
        self
    }

    /// The document.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Characters that change the direction of writing: with them a name could read as another.
const fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_become_markup() {
        let mut html = Html::default();
        html.markup("<p title=\"").value("\"><script>alert('&')</script>\u{202e}\u{0}").markup("\">");
        let expected = "<p title=\"&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;\u{fffd}\u{fffd}\">";
        assert_eq!(html.finish(), expected);
    }
}
