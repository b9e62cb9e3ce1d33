//! How QGIS 3 draws outlines: a `.qml` file beside them, which QGIS reads by itself.

use std::path::Path;

use crate::atomic_file::StagedFiles;
use crate::error::Result;

/// A line of the symbol: its colour, width in millimetres, and the pass in which it is drawn.
const LINES: [(&str, &str, u8); 2] = [("25,25,25,200", "0.86", 0), ("255,221,0,255", "0.36", 1)];

/// Stages `NAME.qml` beside the outlines `NAME.*`: a yellow line in a dark casing, without a fill, so that the scene below shows. All casings are
/// drawn before all lines, so neighbours do not cover each other.
///
/// # Errors
/// The file cannot be written.
pub fn write_style(target: &Path, staged: &mut StagedFiles) -> Result<()> {
    staged.stage_bytes(target.with_extension("qml"), style().as_bytes())
}

fn style() -> String {
    let mut layers = String::new();
    for (colour, width, pass) in LINES {
        let properties = [
            ("capstyle", "round"),
            ("joinstyle", "round"),
            ("line_color", colour),
            ("line_style", "solid"),
            ("line_width", width),
            ("line_width_unit", "MM"),
            ("offset", "0"),
            ("offset_unit", "MM"),
            ("ring_filter", "0"),
        ];
        layers += &format!(
            "     <layer class=\"SimpleLine\" enabled=\"1\" locked=\"0\" pass=\"{pass}\">\n      <Option type=\"Map\">\n"
        );
        for (name, value) in properties {
            layers += &format!("       <Option type=\"QString\" name=\"{name}\" value=\"{value}\"/>\n");
        }
        layers += "      </Option>\n";
        // Versions before 3.22 read these.
        for (name, value) in properties {
            layers += &format!("      <prop k=\"{name}\" v=\"{value}\"/>\n");
        }
        layers += "     </layer>\n";
    }
    format!(
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n\
         <qgis version=\"3.22.0\" styleCategories=\"Symbology\">\n \
         <renderer-v2 type=\"singleSymbol\" symbollevels=\"1\" enableorderby=\"0\" forceraster=\"0\">\n  \
         <symbols>\n    <symbol type=\"fill\" name=\"0\" alpha=\"1\" clip_to_extent=\"1\" force_rhr=\"0\">\n{layers}    </symbol>\n  </symbols>\n  \
         <rotation/>\n  <sizescale/>\n </renderer-v2>\n <blendMode>0</blendMode>\n <layerGeometryType>2</layerGeometryType>\n</qgis>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_is_closed() {
        let text = style();
        let mut open = Vec::new();
        for tag in text.split('<').skip(1).filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag)) {
            match tag.strip_prefix('/') {
                _ if tag.starts_with('!') || tag.ends_with('/') => {}
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None => open.push(tag.split(' ').next().expect("a name")),
            }
        }
        assert!(open.is_empty());
        assert_eq!(text.matches("<layer class=\"SimpleLine\"").count(), 2);
        assert!(!text.contains("SimpleFill"));
    }
}
