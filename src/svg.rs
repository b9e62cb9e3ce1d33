//! What drawings share: the frame of an SVG file, colours, ticks.

/// Blue, orange, green, purple, amber and sky blue of Okabe and Ito (2008): told apart with any colour vision.
pub const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
/// Axes and their words.
pub const GREY: &str = "#444444";

/// A whole file of this size, in pixels, on white.
#[must_use]
pub fn document(width: f64, height: f64, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         {content}</svg>\n"
    )
}

/// Text as XML takes it.
#[must_use]
pub fn escape(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

/// 1, 2 or 5 times a power of ten, so that a span has about five ticks.
#[must_use]
pub fn tick_step(span: f64) -> f64 {
    let rough = (span / 5.0).max(f64::MIN_POSITIVE);
    let power = 10.0_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= rough * 0.999).unwrap_or(10.0);
    factor * power
}

/// A tick's value, with as many digits as the ticks need.
#[must_use]
pub fn tick_label(value: f64, step: f64) -> String {
    if step < 1e-3 {
        return if value == 0.0 { "0".into() } else { format!("{value:.0e}") };
    }
    let digits = [(1.0, 0), (0.1, 1), (0.01, 2)].into_iter().find(|(s, _)| step >= s * 0.999).map_or(3, |(_, d)| d);
    format!("{value:.digits$}")
}

/// Three significant digits, and no exponent.
#[must_use]
pub fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        m if m >= 100.0 => 0,
        m if m >= 10.0 => 1,
        m if m >= 1.0 => 2,
        m if m >= 0.1 => 3,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        for (span, step) in [(1.0, 0.2), (5e-4, 1e-4), (149.0, 50.0), (0.3, 0.1), (9.0, 2.0)] {
            assert!((tick_step(span) / step - 1.0).abs() < 1e-9, "{span}: {}", tick_step(span));
        }
        assert_eq!(tick_label(0.4, 0.2), "0.4");
        assert_eq!(tick_label(5e-4, 1e-4), "5e-4");
        assert_eq!(tick_label(150.0, 50.0), "150");
    }

    #[test]
    fn numbers_keep_three_digits() {
        let found = [12_345.6, 123.4, 12.34, 1.234, 0.1234, 0.012_34].map(three_digits);
        assert_eq!(found, ["12346", "123", "12.3", "1.23", "0.123", "0.0123"]);
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("a<b> & \"c\"\n"), "a&lt;b&gt; &amp; &quot;c&quot;");
        assert!(document(2.0, 1.0, "").contains("viewBox=\"0 0 2 1\""));
    }
}
