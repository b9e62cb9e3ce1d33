//! `curves.svg`: loss, IoU and learning rate over the epochs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::atomic_file::write_atomically;
use crate::error::{Error, Result};
use crate::svg::{COLOURS, GREY, document, tick_label, tick_step};
use crate::train::log_file::EpochRow;

/// File name of the picture.
pub const CURVES: &str = "curves.svg";

const WIDTH: f64 = 760.0;
/// Height of one panel's plot.
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 38.0;
/// From one panel's top to the next one's.
const PITCH: f64 = HEIGHT + 62.0;

const TRAIN: &str = COLOURS[0];
const VALIDATION: &str = COLOURS[1];

struct Curve<'a> {
    label: &'a str,
    colour: &'a str,
    points: Vec<(f64, f64)>,
}

/// A plot of its own scale.
struct Panel<'a> {
    title: &'a str,
    curves: Vec<Curve<'a>>,
    /// The point to mark, with its words.
    mark: Option<(f64, f64, String)>,
    /// The scale, where it does not follow from the values.
    range: Option<(f64, f64)>,
}

/// Draws the epochs so far.
///
/// # Errors
/// The file cannot be written.
pub fn write_curves(path: &Path, rows: &[EpochRow]) -> Result<()> {
    let text = draw(rows);
    write_atomically(path, |temporary| fs::write(temporary, &text).map_err(|e| Error::io("write", path, e)))
}

/// The picture of the epochs so far, as SVG.
#[must_use]
pub fn draw(rows: &[EpochRow]) -> String {
    let curve = |label, colour, value: &dyn Fn(&EpochRow) -> Option<f64>| Curve {
        label,
        colour,
        points: rows.iter().filter_map(|row| Some((as_f64(row.epoch), value(row)?))).collect(),
    };
    let losses = vec![
        curve("training", TRAIN, &|r| Some(r.train.total)),
        curve("validation", VALIDATION, &|r| Some(r.validation.losses.total)),
    ];
    let ious = vec![curve("training", TRAIN, &|r| r.train_iou), curve("validation", VALIDATION, &|r| r.validation.iou)];
    let rates = vec![curve("", GREY, &|r| Some(r.learning_rate))];
    let extreme = |curve: &Curve<'_>, sign: f64, digits: usize, word: &str| {
        // The first of equal ones, as it is kept.
        let best = curve.points.iter().copied().reduce(|a, b| if sign * b.1 > sign * a.1 { b } else { a });
        best.map(|(x, y)| (x, y, format!("{word} {y:.digits$}, epoch {x}")))
    };
    let (lowest, highest) = (extreme(&losses[1], -1.0, 4, "lowest"), extreme(&ious[1], 1.0, 3, "highest"));
    let panels = [
        Panel { title: "Loss", curves: losses, mark: lowest, range: None },
        Panel { title: "IoU of glacier", curves: ious, mark: highest, range: Some((0.0, 1.0)) },
        Panel { title: "Learning rate at the start of the epoch", curves: rates, mark: None, range: None },
    ];
    let height = TOP + PITCH * 3.0;
    let mut svg = String::new();
    let last = rows.last().map_or(1.0, |row| as_f64(row.epoch)).max(2.0);
    for (number, panel) in panels.iter().enumerate() {
        panel.draw(&mut svg, TOP + PITCH * [0.0, 1.0, 2.0][number], last);
    }
    document(WIDTH, height, &svg)
}

impl Panel<'_> {
    fn draw(&self, svg: &mut String, top: f64, last: f64) {
        let values = || self.curves.iter().flat_map(|c| c.points.iter().map(|p| p.1));
        let highest = values().fold(0.0, f64::max);
        let (low, high) = self.range.unwrap_or((0.0, if highest > 0.0 { highest } else { 1.0 }));
        let step = tick_step(high - low);
        let high = if self.range.is_some() { high } else { (high / step).ceil() * step };
        let plot = WIDTH - LEFT - RIGHT;
        let x = |epoch: f64| LEFT + (epoch - 1.0) / (last - 1.0) * plot;
        let y = |value: f64| top + HEIGHT - (value - low) / (high - low) * HEIGHT;
        // Writing to a string cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\" fill=\"#111111\">{}</text>",
            top - 10.0,
            self.title
        );
        let mut tick = low;
        while tick <= high + step / 2.0 {
            let at = y(tick);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}h{plot}\" stroke=\"#dddddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{GREY}\">{}</text>",
                LEFT - 8.0,
                at + 4.5,
                tick_label(tick, step)
            );
            tick += step;
        }
        let every = tick_step(last - 1.0).max(1.0);
        let mut tick = 1.0;
        while tick <= last {
            let _ = writeln!(
                svg,
                "<path d=\"M{:.1} {:.1}v5\" stroke=\"{GREY}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{GREY}\">{tick}</text>",
                x(tick),
                top + HEIGHT,
                x(tick),
                top + HEIGHT + 19.0
            );
            tick = if tick < every { every } else { tick + every };
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{GREY}\">epoch</text>",
            WIDTH - RIGHT,
            top + HEIGHT + 35.0
        );
        let _ = writeln!(svg, "<path d=\"M{LEFT} {top:.1}v{HEIGHT}h{plot}\" fill=\"none\" stroke=\"{GREY}\"/>");
        let mut legend = WIDTH - RIGHT;
        for curve in self.curves.iter().rev() {
            let points: Vec<String> = curve.points.iter().map(|&(e, v)| format!("{:.1},{:.1}", x(e), y(v))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>",
                points.join(" "),
                curve.colour
            );
            // One point makes no line.
            if let [(e, v)] = curve.points[..] {
                let _ =
                    writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{}\"/>", x(e), y(v), curve.colour);
            }
            if !curve.label.is_empty() {
                let _ = writeln!(
                    svg,
                    "<text x=\"{legend:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{}\">{}</text>",
                    top - 10.0,
                    curve.colour,
                    curve.label
                );
                legend -= 90.0;
            }
        }
        if let Some((e, v, words)) = &self.mark {
            let (cx, cy) = (x(*e), y(*v));
            let (anchor, dx) = if cx > WIDTH / 2.0 { ("end", -6.0) } else { ("start", 6.0) };
            // Inside the panel, above the point where there is room.
            let text = if cy - top > 24.0 { cy - 9.0 } else { cy + 20.0 };
            let _ = writeln!(svg, "<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\" fill=\"{VALIDATION}\"/>");
            // White under the letters, where they cross a line.
            for paint in ["stroke=\"#ffffff\" stroke-width=\"4\"", &format!("fill=\"{VALIDATION}\"")] {
                let x = cx + dx;
                let _ =
                    writeln!(svg, "<text x=\"{x:.1}\" y=\"{text:.1}\" text-anchor=\"{anchor}\" {paint}>{words}</text>");
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 epochs")]
fn as_f64(epoch: u64) -> f64 {
    epoch as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::log_file::{Losses, Validation};

    fn rows(count: u64) -> Vec<EpochRow> {
        (1..=count)
            .map(|epoch| {
                let t = epoch as f64;
                let loss = |factor: f64| Losses { total: factor / t.sqrt(), ..Losses::default() };
                EpochRow {
                    epoch,
                    steps: epoch * 10,
                    learning_rate: crate::train::schedule::Schedule::default().rate(5e-4, (epoch - 1) * 10, 10),
                    train: loss(0.3),
                    train_iou: Some(1.0 - 0.7 / t.sqrt()),
                    validation: Validation {
                        losses: loss(0.35),
                        iou: (epoch > 1).then_some(0.95 - 0.8 / t.sqrt()),
                        ..Validation::default()
                    },
                    training_seconds: 1.0,
                    validation_seconds: 1.0,
                    samples_per_second: 1.0,
                }
            })
            .collect()
    }

    #[test]
    fn pictures_are_whole() {
        for count in [0, 1, 2, 150] {
            let text = draw(&rows(count));
            assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"), "{count}");
            assert!(!text.contains("NaN") && !text.contains("inf"), "{count} epochs: {text}");
            for element in ["text", "svg"] {
                let open = text.matches(&format!("<{element} ")).count();
                assert_eq!(open, text.matches(&format!("</{element}>")).count());
            }
        }
        let text = draw(&rows(150));
        assert!(text.contains("highest 0.885, epoch 150") && text.contains("lowest 0.0286, epoch 150"));
        // A person can look: GLAVITU_PICTURES=folder.
        if let Some(folder) = std::env::var_os("GLAVITU_PICTURES") {
            write_curves(&Path::new(&folder).join(CURVES), &rows(150)).expect("written");
        }
    }
}
