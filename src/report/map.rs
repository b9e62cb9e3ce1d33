//! A map of layers that are switched on and off, seen from near or far.
//!
//! Zooming makes the picture larger inside a frame that scrolls, so that keys, wheels and fingers work as in any page.

use std::fmt::Write as _;

use crate::svg::escape;

/// A map.
#[derive(Debug, Clone, Default)]
pub struct MapView {
    /// Pixels of the scene: columns and rows.
    pub size: (usize, usize),
    /// Side of a pixel in metres, for the scale; `None` if unknown.
    pub pixel_m: Option<f64>,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
    /// Words under the map.
    pub caption: String,
}

/// A layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// What it shows, for who does not see it.
    pub description: String,
    /// Whether it is shown at first.
    pub is_on: bool,
    /// Whether its opacity can be changed.
    pub fades: bool,
    /// What stands beside its name.
    pub key: Key,
    /// What is drawn.
    pub drawing: Drawing,
}

/// A sign beside a layer's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// None.
    None,
    /// A patch of this colour (`#rrggbb`).
    Patch(String),
    /// A line of this colour (`#rrggbb`).
    Line(String),
    /// A ramp through these colours, with the words at its ends.
    Ramp(Vec<String>, String, String),
}

/// What a layer draws.
#[derive(Debug, Clone)]
pub enum Drawing {
    /// A picture as a data URI; `is_crisp` if its pixels must be seen.
    Picture {
        /// The URI.
        uri: String,
        /// Whether enlarged pixels stay squares.
        is_crisp: bool,
    },
    /// An SVG path with its view box (width, height), and its colour.
    Path {
        /// The path's commands.
        data: String,
        /// What the path's coordinates cover.
        extent: (u32, u32),
        /// The colour (`#rrggbb`).
        colour: String,
    },
}

impl MapView {
    /// The map's HTML. `id` tells it from others.
    #[must_use]
    pub fn html(&self, id: &str) -> String {
        let (width, height) = self.size;
        let mut html = String::from("<figure class=\"map\">\n<fieldset class=\"layers\"><legend>Layers</legend>");
        // Writing to a string cannot fail. What lies on top comes first.
        for (number, layer) in self.layers.iter().enumerate().rev() {
            let _ = write!(
                html,
                "<span><label><input type=\"checkbox\" data-layer=\"{id}-{number}\"{}>{} {}</label>",
                if layer.is_on { " checked" } else { "" },
                escape(&layer.name),
                layer.key.html()
            );
            if layer.fades {
                let _ = write!(
                    html,
                    "<input type=\"range\" min=\"0\" max=\"100\" value=\"75\" data-layer=\"{id}-{number}\" aria-label=\"Opacity of {}\">",
                    escape(&layer.name)
                );
            }
            html.push_str("</span>");
        }
        let _ = write!(
            html,
            "</fieldset>\n<div class=\"view\" tabindex=\"0\" role=\"region\" aria-label=\"Map\" aria-describedby=\"map-{id}\">\
             <div class=\"stage\" style=\"aspect-ratio: {} / {}\">\n",
            width.max(1),
            height.max(1)
        );
        for (number, layer) in self.layers.iter().enumerate() {
            html.push_str(&layer.html(&format!("{id}-{number}")));
        }
        if let Some((km, share)) = self.scale() {
            let _ = write!(html, "<div class=\"scale\" style=\"width: {share:.3}%\">{km} km</div>");
        }
        let _ = write!(
            html,
            "</div></div>\n<div class=\"zoom\"><button type=\"button\" data-zoom=\"in\">Closer</button>\
             <button type=\"button\" data-zoom=\"out\">Further</button><button type=\"button\" data-zoom=\"all\">All</button>\
             <output>100 %</output></div>\n<figcaption id=\"map-{id}\">{} <span class=\"screen\">Keys on the map: plus, minus and 0 for the size, arrows to move.</span></figcaption>\n</figure>",
            escape(&self.caption)
        );
        html
    }

    /// The longest round distance (km) within a quarter of the width, and its share of the width in per cent.
    fn scale(&self) -> Option<(f64, f64)> {
        let width_km = self.pixel_m.filter(|m| m.is_finite() && *m > 0.0)? * self.size.0 as f64 / 1000.0;
        let rounds = [1000.0, 500.0, 200.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01];
        let km = rounds.into_iter().find(|km| *km <= width_km / 4.0)?;
        Some((km, 100.0 * km / width_km))
    }
}

impl Layer {
    fn html(&self, id: &str) -> String {
        let words = escape(&self.description);
        match &self.drawing {
            Drawing::Picture { uri, is_crisp } => {
                let crisp = if *is_crisp { " crisp" } else { "" };
                format!("<img class=\"layer{crisp}\" data-layer=\"{id}\" alt=\"{words}\" src=\"{}\">\n", escape(uri))
            }
            Drawing::Path { data, extent: (width, height), colour } => {
                let path = |colour: &str, line: &str| {
                    format!(
                        "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{line}\" stroke-linejoin=\"round\" \
                         vector-effect=\"non-scaling-stroke\"/>",
                        escape(data),
                        escape(colour)
                    )
                };
                format!(
                    "<svg class=\"layer\" data-layer=\"{id}\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" role=\"img\" \
                     aria-label=\"{words}\">{}{}</svg>\n",
                    path("#14101c", "3.4"),
                    path(colour, "1.6")
                )
            }
        }
    }
}

impl Key {
    fn html(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Patch(colour) => format!("<span class=\"swatch\" style=\"background: {}\"></span>", escape(colour)),
            Self::Line(colour) => {
                format!("<span class=\"swatch line\" style=\"background: {}\"></span>", escape(colour))
            }
            Self::Ramp(colours, low, high) => format!(
                "{} <span class=\"ramp\" style=\"background: linear-gradient(to right, {})\"></span> {} ",
                escape(low),
                escape(&colours.join(", ")),
                escape(high)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_drawn_from_below_and_listed_from_above() {
        let layer = |name: &str, drawing| Layer {
            name: name.into(),
            description: format!("{name} of the scene"),
            is_on: name == "ground",
            fades: name == "ground",
            key: Key::Line("#ffe100".into()),
            drawing,
        };
        let ground = Drawing::Picture { uri: "data:image/png;base64,AA==".into(), is_crisp: true };
        let lines = Drawing::Path { data: "M0 0h1".into(), extent: (10, 20), colour: "#ffe100".into() };
        let map = MapView {
            size: (1000, 500),
            pixel_m: Some(30.0),
            layers: vec![layer("ground", ground), layer("outlines", lines)],
            caption: "A scene.".into(),
        };
        let html = map.html("2-0");
        assert!(html.find("ground of the scene") < html.find("outlines of the scene"));
        assert!(html.find("data-layer=\"2-0-1\"") < html.find("data-layer=\"2-0-0\""));
        assert_eq!(html.matches(" checked").count(), 1);
        assert_eq!(html.matches("type=\"range\"").count(), 1);
        // 30 km wide: 5 km are a sixth.
        assert!(html.contains("style=\"width: 16.667%\">5 km"), "{html}");
        assert!(!MapView { pixel_m: None, ..map }.html("x").contains("class=\"scale\""));
    }
}
