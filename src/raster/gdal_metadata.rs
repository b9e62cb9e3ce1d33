//! GDAL's private TIFF tags: the metadata document (42112) and the nodata text (42113).
//!
//! The document is a flat list of `<Item name=".." sample=".." role="..">value</Item>`. A full XML parser would be a large guest
//! for it; this reader takes items one after the other and skips whatever it does not understand.
//!
//! GDAL escapes values twice: once on its own and once more as XML. Names and roles are escaped once.

/// One `<Item>` of the document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Item {
    /// Attribute `name`.
    pub(crate) name: String,
    /// Attribute `sample`: the band, from 0.
    pub(crate) sample: Option<usize>,
    /// Attribute `role`: `scale`, `offset`, `description` and others.
    pub(crate) role: String,
    /// The text.
    pub(crate) value: String,
}

/// Reads the items of a metadata document. Broken documents give the items before the break.
pub(crate) fn parse(document: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find("<Item") {
        rest = &rest[start + "<Item".len()..];
        let Some(end) = end_of_tag(rest) else { break };
        let attributes = &rest[..end];
        rest = &rest[end + 1..];
        let mut item = Item::default();
        for (name, value) in attribute_pairs(attributes) {
            match name {
                "name" => item.name = value,
                "sample" => item.sample = value.trim().parse().ok(),
                "role" => item.role = value,
                _ => {}
            }
        }
        if !attributes.trim_end().ends_with('/') {
            let Some(close) = rest.find("</Item>") else { break };
            item.value = unescape(&unescape(&rest[..close]));
            rest = &rest[close + "</Item>".len()..];
        }
        items.push(item);
    }
    items
}

/// The position of the `>` that ends a tag, not counting those inside quotes.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (position, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(position),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

fn attribute_pairs(text: &str) -> Vec<(&str, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let Some(quote) = after.chars().next().filter(|c| matches!(c, '"' | '\'')) else { break };
        let Some((value, tail)) = after[1..].split_once(quote) else { break };
        pairs.push((name.trim(), unescape(value)));
        rest = tail;
    }
    pairs
}

/// Builds a metadata document.
pub(crate) fn format(items: &[Item]) -> String {
    let mut document = String::from("<GDALMetadata>\n");
    for item in items {
        document.push_str(&format!("  <Item name=\"{}\"", escape(&item.name)));
        if let Some(sample) = item.sample {
            document.push_str(&format!(" sample=\"{sample}\""));
        }
        if !item.role.is_empty() {
            document.push_str(&format!(" role=\"{}\"", escape(&item.role)));
        }
        document.push_str(&format!(">{}</Item>\n", escape(&escape(&item.value))));
    }
    document.push_str("</GDALMetadata>\n");
    document
}

/// Escapes the five characters XML reserves; control characters, which XML 1.0 cannot hold, become spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest.find(';').map(|end| &rest[1..end]);
        let decoded = entity.and_then(|entity| match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => {
                let number = entity.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)
            }
        });
        match (decoded, entity) {
            (Some(c), Some(entity)) => {
                out.push(c);
                rest = &rest[entity.len() + 2..];
            }
            _ => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Reads the nodata text. `None` if it is not a number in any of the spellings writers use.
pub(crate) fn parse_nodata(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    let lower = text.to_ascii_lowercase();
    // C libraries of Windows print NaN in their own ways.
    if matches!(
        lower.as_str(),
        "nan" | "-nan" | "1.#qnan" | "-1.#qnan" | "1.#ind" | "-1.#ind" | "nan(ind)" | "-nan(ind)"
    ) {
        return Some(f64::NAN);
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_as_written() {
        let items = [
            Item { name: "SCALE".into(), sample: Some(2), role: "scale".into(), value: "0.0001".into() },
            Item { name: "a<b & \"c\">'d'".into(), sample: None, role: String::new(), value: "x > y &amp; z".into() },
        ];
        assert_eq!(parse(&format(&items)), items);
    }

    #[test]
    fn values_are_escaped_twice_as_gdal_does() {
        let item = Item { name: "MODEL".into(), value: "a & <b>".into(), ..Item::default() };
        let document = format(&[item]);
        assert!(document.contains("<Item name=\"MODEL\">a &amp;amp; &amp;lt;b&amp;gt;</Item>"), "{document}");
        // Writers that escape once are understood, too.
        assert_eq!(parse("<Item name=\"A\">a &amp; &lt;b&gt;</Item>")[0].value, "a & <b>");
    }

    #[test]
    fn broken_documents_do_not_panic() {
        let document = "<Item name=\"A\" sample='1'>v</Item><Item name=\"é&#x41;&#66;&bad;\"/><Item name=\"B";
        let items = parse(document);
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].sample, Some(1));
        assert_eq!(items[1].name, "éAB&bad;");
        for cut in 0..document.len() {
            if document.is_char_boundary(cut) {
                parse(&document[..cut]);
            }
        }
    }

    #[test]
    fn nodata_spellings() {
        assert_eq!(parse_nodata("-9999 \0"), Some(-9999.0));
        assert_eq!(parse_nodata("-3.4028234663852886e+38"), Some(f64::from(f32::MIN)));
        assert!(parse_nodata("nan").is_some_and(f64::is_nan));
        assert!(parse_nodata("-1.#IND").is_some_and(f64::is_nan));
        assert_eq!(parse_nodata("none"), None);
    }
}
