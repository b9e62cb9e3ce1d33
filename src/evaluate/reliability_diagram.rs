//! A reliability diagram: accuracy against confidence, and how many samples have it.

use std::fmt::Write as _;

use crate::evaluate::reliability::{Bin, Reliability};
use crate::svg::{COLOURS, GREY, document, escape, three_digits};

/// Bins of the diagram.
pub const BINS: usize = 15;

const LEFT: f64 = 66.0;
const TOP: f64 = 44.0;
/// Sides of the upper plot, and the height of the lower one.
const SIDE: f64 = 400.0;
const LOWER: f64 = 110.0;
const GAP: f64 = 34.0;
const RIGHT: f64 = 24.0;
/// A line of the legend.
const LINE: f64 = 20.0;

/// The SVG text of some curves, each with its name: points are bins of equal width, as large as they are full; on the dashed line confidence is the chance
/// of being right. Bars below show the share of samples in every bin.
#[must_use]
pub fn reliability_svg(curves: &[(&str, &Reliability)]) -> String {
    let mut svg = String::new();
    let x = |value: f64| LEFT + value * SIDE;
    let y = |value: f64| TOP + SIDE - value * SIDE;
    let bars = TOP + SIDE + GAP;
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<title>Reliability diagram</title>\n<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\" fill=\"#111111\">\
         How often is the class right?</text>",
        TOP - 16.0
    );
    for tick in 0..=5 {
        let value = f64::from(tick) / 5.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {:.1}h{SIDE}M{:.1} {TOP}v{SIDE}\" stroke=\"#dddddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{GREY}\">{value}</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{GREY}\">{value}</text>",
            y(value),
            x(value),
            LEFT - 8.0,
            y(value) + 4.5,
            x(value),
            bars + LOWER + 18.0
        );
    }
    let (middle, across) = (TOP + SIDE / 2.0, bars + LOWER / 2.0);
    for (at, words) in [(middle, "accuracy"), (across, "share of pixels")] {
        let _ = writeln!(
            svg,
            "<text transform=\"translate(18 {at:.1}) rotate(-90)\" text-anchor=\"middle\" fill=\"{GREY}\">{words}</text>"
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{GREY}\">confidence</text>\
         <path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"{GREY}\" stroke-dasharray=\"5 4\"/>",
        LEFT + SIDE / 2.0,
        bars + LOWER + 38.0,
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    let drawn: Vec<(&str, &str, &Reliability, Vec<Bin>)> = curves
        .iter()
        .zip(COLOURS.iter().cycle())
        .map(|((name, reliability), colour)| (*name, *colour, *reliability, reliability.bins(BINS)))
        .collect();
    let share = |bin: &Bin, of: &Reliability| bin.count / (of.samples().max(1) as f64);
    let shares = drawn.iter().flat_map(|(_, _, of, bins)| bins.iter().map(|bin| share(bin, of)));
    let highest = shares.fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    for (number, (name, colour, of, bins)) in drawn.iter().enumerate() {
        let points: Vec<(f64, f64, f64)> =
            bins.iter().filter_map(|bin| Some((x(bin.confidence?), y(bin.accuracy?), share(bin, of)))).collect();
        let line: Vec<String> = points.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            line.join(" ")
        );
        for (x, y, share) in points {
            let radius = 2.0 + 6.0 * share.sqrt();
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" fill-opacity=\"0.85\"/>"
            );
        }
        let pitch = SIDE / BINS as f64;
        let wide = (pitch - 3.0) / drawn.len() as f64;
        for (place, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.count > 0.0) {
            // What is there is seen, however little.
            let height = (share(bin, of) / highest * LOWER).max(0.75);
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
                LEFT + place as f64 * pitch + 1.5 + number as f64 * wide,
                bars + LOWER - height
            );
        }
        let ece = of.ece(BINS).map_or_else(|| "no samples".to_owned(), |ece| format!("ECE {}", three_digits(ece)));
        // The curves leave the lower right corner to words.
        let at = y(0.0) - 14.0 - LINE * (drawn.len() - 1 - number) as f64;
        let words = escape(&format!("{name}: {ece}"));
        for paint in ["stroke=\"#ffffff\" stroke-width=\"4\"", &format!("fill=\"{colour}\"")] {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{at:.1}\" text-anchor=\"end\" {paint}>{words}</text>",
                x(1.0) - 8.0
            );
        }
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {TOP}v{SIDE}h{SIDE}M{LEFT} {bars}v{LOWER}h{SIDE}\" fill=\"none\" stroke=\"{GREY}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{GREY}\">{:.0} %</text>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{GREY}\">0</text>",
        LEFT - 8.0,
        bars + 9.0,
        100.0 * if highest > f64::MIN_POSITIVE { highest } else { 0.0 },
        LEFT - 8.0,
        bars + LOWER + 4.5
    );
    document(LEFT + SIDE + RIGHT, bars + LOWER + 50.0, &svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_whole() {
        let (mut before, mut after) = (Reliability::new(), Reliability::new());
        for i in 0..3000_u32 {
            let c = f64::from(i % 700) / 1000.0;
            before.add(c * c, i % 11 != 0);
            after.add(0.85 + 0.2 * (c - 0.35), i % 11 != 0);
        }
        let text = reliability_svg(&[("before <raw>", &before), ("after", &after)]);
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
        assert!(text.contains("before &lt;raw&gt;: ECE 0.") && text.contains("after: ECE 0."), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"));
        assert_eq!(text.matches("<text ").count(), text.matches("</text>").count());
        let empty = reliability_svg(&[("nothing", &Reliability::new())]);
        assert!(empty.contains("no samples") && !empty.contains("NaN"));
        // A person can look: GLAVITU_PICTURES=folder.
        if let Some(folder) = std::env::var_os("GLAVITU_PICTURES") {
            let path = std::path::Path::new(&folder).join("reliability.svg");
            std::fs::write(path, text).expect("written");
        }
    }
}
