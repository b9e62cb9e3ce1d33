//! Reports for people: one HTML file that needs nothing else. It opens from disk, asks no network for anything (its content policy forbids it), prints, and
//! works with a keyboard, on a phone, in the dark and, but for switching and sorting, without scripts.
//!
//! - [`Report`]: a page of sections; this module turns them into HTML.
//! - [`map`]: layers over one another; [`picture`]: rasters and polygons as such layers.
//! - [`table`], [`bars`]: numbers to sort and to see; [`provenance`]: how it was made.
//! - [`predicted`], [`evaluated`], [`changed`], [`trained`]: the reports of the commands.

pub mod bars;
pub mod changed;
pub mod evaluated;
pub mod map;
pub mod picture;
pub mod predicted;
pub mod provenance;
pub mod table;
pub mod trained;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::atomic_file::write_atomically;
use crate::error::{Error, Result};
use crate::evaluate::table::fixed;
use crate::report::bars::Bars;
use crate::report::map::MapView;
use crate::report::table::Table;
use crate::svg::escape;

/// The file's name in a folder of results.
pub const REPORT_FILE: &str = "report.html";

/// A page.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What kind of report it is, in two or three words.
    pub kind: String,
    /// What it is about.
    pub title: String,
    /// A line under the title.
    pub lead: String,
    sections: Vec<(String, Vec<Block>)>,
}

/// A number that matters, with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// The number with its unit.
    pub value: String,
    /// More about it; may be empty.
    pub detail: String,
}

/// A part of a section.
#[derive(Debug, Clone)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A paragraph that must not be missed.
    Note(String),
    /// Numbers that matter.
    Figures(Vec<Figure>),
    /// A map.
    Map(Box<MapView>),
    /// A table.
    Table(Table),
    /// Bars.
    Bars(Bars),
    /// A whole SVG file, dark on white, with what it shows in words.
    Drawing {
        /// The file's text.
        svg: String,
        /// What it shows.
        caption: String,
    },
    /// Text as it is, such as a command.
    Code(String),
    /// What a JSON value holds, behind a line that opens it.
    Details {
        /// The line.
        summary: String,
        /// The value.
        value: serde_json::Value,
    },
    /// Lines for who checked it.
    SignOff,
}

impl Figure {
    /// A number without more words.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), detail: detail.into() }
    }
}

impl Report {
    /// An empty page.
    #[must_use]
    pub fn new(kind: impl Into<String>, title: impl Into<String>, lead: impl Into<String>) -> Self {
        Self { kind: kind.into(), title: title.into(), lead: lead.into(), sections: Vec::new() }
    }

    /// Adds a section; one without blocks is left out.
    pub fn section(&mut self, heading: impl Into<String>, blocks: Vec<Block>) {
        if !blocks.is_empty() {
            self.sections.push((heading.into(), blocks));
        }
    }

    /// Adds how it was made: the command of this process, then `more`.
    pub fn how_it_was_made(&mut self, more: Vec<Block>) {
        let words = "The command, from the folder in which it was given:".into();
        let command = [Block::Text(words), Block::Code(provenance::command())];
        self.section("How it was made", command.into_iter().chain(more).collect());
    }

    /// Adds lines for who checked it.
    pub fn sign_off(&mut self) {
        self.section("Sign-off", vec![Block::SignOff]);
    }

    /// Writes the page, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.html();
        write_atomically(path, |temporary| fs::write(temporary, &text).map_err(|e| Error::io("write", path, e)))
    }

    /// The page as text.
    #[must_use]
    pub fn html(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">\n<meta name=\"generator\" content=\"glavitu {version}\">\n\
             <title>{kind}: {title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n\
             <a class=\"skip\" href=\"#content\">To the content</a>\n<header>\n<p class=\"kind\">{kind}</p>\n<h1>{title}</h1>\n\
             <p class=\"lead\">{lead}</p>\n<nav aria-label=\"Sections\"><ul>\n",
            version = env!("CARGO_PKG_VERSION"),
            kind = escape(&self.kind),
            title = escape(&self.title),
            lead = escape(&self.lead),
            css = include_str!("page.css"),
        );
        for (number, (heading, _)) in self.sections.iter().enumerate() {
            let _ = writeln!(page, "<li><a href=\"#section-{number}\">{}</a></li>", escape(heading));
        }
        page.push_str(
            "</ul></nav>\n<div class=\"tools\"><button type=\"button\" id=\"theme\">Theme: automatic</button>\
             <button type=\"button\" id=\"print\">Print</button></div>\n</header>\n<main id=\"content\">\n",
        );
        for (number, (heading, blocks)) in self.sections.iter().enumerate() {
            let _ = writeln!(
                page,
                "<section aria-labelledby=\"section-{number}\">\n<h2 id=\"section-{number}\">{}</h2>",
                escape(heading)
            );
            for (block_number, block) in blocks.iter().enumerate() {
                block.write(&mut page, &format!("{number}-{block_number}"));
            }
            page.push_str("</section>\n");
        }
        let _ = write!(
            page,
            "</main>\n<footer>Made by glavitu {}, {}. This file needs no network and no other file.</footer>\n<script>\n{}</script>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION"),
            provenance::today(),
            include_str!("page.js")
        );
        page
    }
}

impl Block {
    /// `id` tells the block from all others of the page.
    fn write(&self, page: &mut String, id: &str) {
        let _ = match self {
            Self::Text(text) => writeln!(page, "<p>{}</p>", escape(text)),
            Self::Note(text) => writeln!(page, "<p class=\"note\">{}</p>", escape(text)),
            Self::Figures(figures) => {
                page.push_str("<dl class=\"figures\">\n");
                for Figure { name, value, detail } in figures {
                    let detail =
                        if detail.is_empty() { String::new() } else { format!("<small>{}</small>", escape(detail)) };
                    let _ = writeln!(page, "<div><dt>{}</dt><dd>{}{detail}</dd></div>", escape(name), escape(value));
                }
                writeln!(page, "</dl>")
            }
            Self::Map(map) => writeln!(page, "{}", map.html(id)),
            Self::Table(table) => writeln!(page, "{}", table.html(id)),
            Self::Bars(bars) => writeln!(page, "{}", bars.html()),
            Self::Drawing { svg, caption } => writeln!(
                page,
                "<figure><div class=\"drawing\" role=\"img\" aria-label=\"{0}\">{1}</div><figcaption>{0}</figcaption></figure>",
                escape(caption),
                // Inside a page there is only one kind of svg.
                svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1)
            ),
            Self::Code(text) => writeln!(page, "<pre><code>{}</code></pre>", escape_lines(text)),
            Self::Details { summary, value } => {
                writeln!(page, "<details><summary>{}</summary>{}</details>", escape(summary), provenance::tree(value))
            }
            Self::SignOff => writeln!(
                page,
                "<p>What a program has drawn is a proposal. Whoever uses it says here that a person has looked.</p>\n\
                 <div class=\"sign\"><label>Checked by<input type=\"text\" autocomplete=\"name\"></label>\
                 <label>Date<input type=\"text\" inputmode=\"numeric\" placeholder=\"YYYY-MM-DD\"></label>\
                 <label>Changes made and remarks<textarea rows=\"2\"></textarea></label>\
                 <label>Signature<input type=\"text\"></label></div>"
            ),
        };
    }
}

/// As [`escape`], but lines stay lines.
fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// A number with a unit, or a word where there is none.
#[must_use]
pub fn or_undefined(value: Option<f64>, decimals: usize, unit: &str) -> String {
    value.map_or_else(|| "undefined".to_owned(), |value| format!("{}{unit}", fixed(value, decimals)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::{Cell, Column};

    #[test]
    fn nothing_escapes_from_text() {
        let evil = "<script>alert(1)</script>\"&'";
        let mut report = Report::new(evil, evil, evil);
        let table = Table::new(
            evil,
            vec![Column::text(evil), Column::number(evil, 2)],
            vec![vec![Cell::text(evil), Cell::number(1.0)]],
        );
        report.section(
            evil,
            vec![
                Block::Text(evil.into()),
                Block::Note(evil.into()),
                Block::Figures(vec![Figure::new(evil, evil, evil)]),
                Block::Table(table),
                Block::Code(format!("{evil}\n{evil}")),
                Block::Bars(Bars {
                    title: evil.into(),
                    unit: evil.into(),
                    bars: vec![(evil.into(), Some(0.5))],
                    ..Bars::default()
                }),
                Block::Details {
                    summary: evil.into(),
                    value: serde_json::json!({ evil: [evil, 1, null, true, { evil: evil }] }),
                },
                Block::SignOff,
            ],
        );
        report.section("left out", vec![]);
        let page = report.html();
        assert!(!page.contains("alert(1)</script>"), "{page}");
        assert_eq!(page.matches("<script>").count(), 1);
        assert!(!page.contains("left out"));
        // Nothing is fetched.
        for outside in ["http://", "https://", "src=\"//", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        for element in ["section", "table", "dl", "dd", "dt", "figure", "details", "label", "ul"] {
            let open = page.matches(&format!("<{element} ")).count() + page.matches(&format!("<{element}>")).count();
            assert_eq!(open, page.matches(&format!("</{element}>")).count(), "{element}");
        }
    }

    /// Relative luminance of `#rrggbb` (WCAG 2.2).
    fn luminance(colour: &str) -> f64 {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("a colour")) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    }

    #[test]
    fn colours_can_be_read_in_light_and_dark() {
        let css = include_str!("page.css");
        let themes: Vec<&str> = css.split("--paper:").skip(1).take(3).collect();
        assert_eq!(themes.len(), 3);
        for theme in themes {
            let theme = format!("--paper:{}", theme.split('}').next().unwrap_or_default());
            let colour = |name: &str| {
                let from = theme.find(&format!("{name}: #")).expect("a colour of the theme") + name.len() + 2;
                theme[from..from + 7].to_owned()
            };
            for (ink, paper, least) in [
                ("--ink", "--paper", 7.0),
                ("--ink", "--panel", 7.0),
                ("--soft", "--paper", 4.5),
                ("--soft", "--panel", 4.5),
                ("--accent", "--paper", 4.5),
                ("--good", "--paper", 3.0),
                ("--bad", "--paper", 3.0),
                ("--focus", "--paper", 3.0),
            ] {
                let (a, b) = (luminance(&colour(ink)), luminance(&colour(paper)));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= least, "{ink} on {paper}: {contrast:.2}");
            }
        }
    }
}
