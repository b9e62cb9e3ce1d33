//! GeoTIFF keys (OGC 19-008r4): the three tags verbatim, look-ups in them, and the PROJ definition they amount to.

use crate::raster::wkt;

/// The three GeoTIFF key tags, verbatim (OGC 19-008r4, section 7).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GeoKeys {
    /// GeoKeyDirectoryTag (34735).
    pub directory: Vec<u16>,
    /// GeoDoubleParamsTag (34736).
    pub doubles: Vec<f64>,
    /// GeoAsciiParamsTag (34737).
    pub ascii: String,
}

/// Key numbers and the values that mean "see the other keys".
pub(crate) mod key {
    pub(crate) const MODEL_TYPE: u16 = 1024;
    pub(crate) const RASTER_TYPE: u16 = 1025;
    pub(crate) const CITATION: u16 = 1026;
    pub(crate) const GEOGRAPHIC_TYPE: u16 = 2048;
    pub(crate) const GEOGRAPHIC_CITATION: u16 = 2049;
    pub(crate) const DATUM: u16 = 2050;
    pub(crate) const ANGULAR_UNITS: u16 = 2054;
    pub(crate) const ELLIPSOID: u16 = 2056;
    pub(crate) const SEMI_MAJOR_AXIS: u16 = 2057;
    pub(crate) const SEMI_MINOR_AXIS: u16 = 2058;
    pub(crate) const INVERSE_FLATTENING: u16 = 2059;
    pub(crate) const PROJECTED_TYPE: u16 = 3072;
    pub(crate) const PROJECTED_CITATION: u16 = 3073;
    pub(crate) const PROJECTION: u16 = 3074;
    pub(crate) const TRANSFORMATION: u16 = 3075;
    pub(crate) const LINEAR_UNITS: u16 = 3076;
    pub(crate) const LINEAR_UNIT_SIZE: u16 = 3077;
    pub(crate) const USER_DEFINED: u16 = 32767;
}

/// What [`GeoKeys::directory`] says about where a key's value lies.
const IN_DOUBLES: u16 = 34736;
const IN_ASCII: u16 = 34737;

impl GeoKeys {
    /// The directory's entry for a key: tag of the values (0: in place), count, value or offset.
    fn entry(&self, key: u16) -> Option<(u16, usize, u16)> {
        let entries = self.directory.get(4..)?;
        let entry = entries.chunks_exact(4).find(|entry| entry[0] == key)?;
        Some((entry[1], usize::from(entry[2]), entry[3]))
    }

    /// A key whose value is a code.
    #[must_use]
    pub fn code(&self, key: u16) -> Option<u16> {
        self.entry(key).filter(|(place, ..)| *place == 0).map(|(_, _, value)| value)
    }

    /// A code other than 0 (undefined) and 32767 (user-defined).
    #[must_use]
    pub fn registered(&self, key: u16) -> Option<u16> {
        self.code(key).filter(|code| !matches!(*code, 0 | key::USER_DEFINED))
    }

    /// A key whose value is a finite number.
    #[must_use]
    pub fn number(&self, key: u16) -> Option<f64> {
        let (place, count, offset) = self.entry(key)?;
        if place != IN_DOUBLES || count == 0 {
            return None;
        }
        self.doubles.get(usize::from(offset)).copied().filter(|value| value.is_finite())
    }

    /// A key whose value is a text, without the bar that ends it.
    #[must_use]
    pub fn text(&self, key: u16) -> Option<&str> {
        let (place, count, offset) = self.entry(key)?;
        if place != IN_ASCII {
            return None;
        }
        let start = usize::from(offset);
        let end = start.saturating_add(count).min(self.ascii.len());
        let text = self.ascii.get(start..end)?;
        Some(text.trim_end_matches(['|', '\0']).trim()).filter(|text| !text.is_empty())
    }

    /// Whether tie points mark pixel centres (`RasterPixelIsPoint`) instead of corners.
    #[must_use]
    pub fn pixel_is_point(&self) -> bool {
        self.code(key::RASTER_TYPE) == Some(2)
    }

    /// Keys for a registered CRS: model type, raster type (area), citation and code.
    #[must_use]
    pub fn for_epsg(code: u16, geographic: bool, name: &str) -> Self {
        let (model, type_key) = if geographic { (2, key::GEOGRAPHIC_TYPE) } else { (1, key::PROJECTED_TYPE) };
        let ascii = format!("{}|", name.replace('|', " "));
        let length = u16::try_from(ascii.len()).unwrap_or(u16::MAX);
        let mut directory = vec![1, 1, 0, 4, key::MODEL_TYPE, 0, 1, model, key::RASTER_TYPE, 0, 1, 1];
        directory.extend([key::CITATION, IN_ASCII, length, 0, type_key, 0, 1, code]);
        Self { directory, doubles: Vec::new(), ascii }
    }

    /// The well-known text that ESRI software hides in a citation.
    pub(crate) fn esri_wkt(&self) -> Option<&str> {
        [key::PROJECTED_CITATION, key::CITATION, key::GEOGRAPHIC_CITATION].iter().find_map(|key| {
            let text = self.text(*key)?;
            let marker = "ESRI PE String = ";
            text.find(marker).map(|start| text[start + marker.len()..].trim())
        })
    }

    /// The best name in the citations.
    pub(crate) fn name(&self) -> Option<String> {
        let text = [key::PROJECTED_CITATION, key::CITATION, key::GEOGRAPHIC_CITATION]
            .iter()
            .filter_map(|key| self.text(*key))
            .find(|text| !text.contains("ESRI PE String"))
            .or_else(|| self.text(key::CITATION))?;
        // `PCS Name = ...|Datum = ...` is GDAL's way to put several names into one text.
        let first = text.split('|').next().unwrap_or(text);
        Some(first.rsplit(" = ").next().unwrap_or(first).trim().to_string()).filter(|name| !name.is_empty())
    }

    /// PROJ definition of a CRS that has no registered code. `None` where the keys do not tell enough.
    pub(crate) fn projected_definition(&self) -> Option<String> {
        if let Some(definition) = self.esri_wkt().and_then(wkt::proj_from_wkt) {
            return Some(definition);
        }
        let datum = self.datum_definition()?;
        let units = self.units_definition()?;
        if let Some((zone, south)) = self.utm_zone() {
            let south = if south { " +south" } else { "" };
            return Some(format!("+proj=utm +zone={zone}{south} {datum} {units} +no_defs"));
        }
        // Angles of the projection in anything but degrees are too rare to support and too dangerous to guess.
        if !matches!(self.code(key::ANGULAR_UNITS), None | Some(9102 | 9122)) {
            return None;
        }
        let projection = self.projection_definition()?;
        Some(format!("{projection} {datum} {units} +no_defs"))
    }

    /// PROJ definition of a geographic CRS that has no registered code.
    pub(crate) fn geographic_definition(&self) -> Option<String> {
        if !matches!(self.code(key::ANGULAR_UNITS), None | Some(9102 | 9122)) {
            return None;
        }
        Some(format!("+proj=longlat {} +no_defs", self.datum_definition()?))
    }

    /// The UTM zone: from the projection's code (16001-16060 north, 16101-16160 south), else from a citation.
    fn utm_zone(&self) -> Option<(u32, bool)> {
        match self.registered(key::PROJECTION) {
            Some(code @ 16001..=16060) => return Some((u32::from(code) - 16000, false)),
            Some(code @ 16101..=16160) => return Some((u32::from(code) - 16100, true)),
            Some(_) => return None,
            None => {}
        }
        // With the projection's parameters there, they are the definition and the name is only a name.
        if self.registered(key::TRANSFORMATION).is_some() {
            return None;
        }
        [key::PROJECTED_CITATION, key::CITATION].iter().find_map(|key| utm_zone_in(self.text(*key)?))
    }

    /// Datum or ellipsoid, as PROJ parameters.
    fn datum_definition(&self) -> Option<String> {
        // Datum codes of the old GeoTIFF tables are those of their geographic CRS plus 2000.
        let datum = self.registered(key::DATUM).filter(|code| (6200..6800).contains(code)).map(|code| code - 2000);
        for code in [self.registered(key::GEOGRAPHIC_TYPE), datum].into_iter().flatten() {
            if let Some(definition) = crs_definitions::from_code(code).map(|def| def.proj4)
                && definition.contains("+proj=longlat")
            {
                let parameters = definition.split_whitespace();
                return Some(
                    parameters.filter(|p| !matches!(*p, "+proj=longlat" | "+no_defs")).collect::<Vec<_>>().join(" "),
                );
            }
        }
        match self.registered(key::ELLIPSOID) {
            Some(7030) => return Some("+datum=WGS84".into()),
            Some(7019) => return Some("+ellps=GRS80".into()),
            Some(7004) => return Some("+ellps=bessel".into()),
            Some(7008) => return Some("+ellps=clrk66".into()),
            Some(7022) => return Some("+ellps=intl".into()),
            Some(7024) => return Some("+ellps=krass".into()),
            _ => {}
        }
        let a = self.number(key::SEMI_MAJOR_AXIS)?;
        let inverse_flattening = self.number(key::INVERSE_FLATTENING).or_else(|| {
            let b = self.number(key::SEMI_MINOR_AXIS)?;
            Some(if a > b { a / (a - b) } else { 0.0 })
        })?;
        wkt::ellipsoid_parameters(a, inverse_flattening)
    }

    fn units_definition(&self) -> Option<String> {
        Some(match self.code(key::LINEAR_UNITS) {
            None | Some(9001) => "+units=m".into(),
            Some(9002) => "+units=ft".into(),
            Some(9003) => "+units=us-ft".into(),
            Some(9036) => "+units=km".into(),
            Some(_) => {
                let size = self.number(key::LINEAR_UNIT_SIZE).filter(|size| *size > 0.0)?;
                format!("+to_meter={size}")
            }
        })
    }

    /// Method and parameters from ProjCoordTransGeoKey and the keys after it (GeoTIFF 1.0, section 6.3.3.3).
    fn projection_definition(&self) -> Option<String> {
        let number = |keys: &[u16]| keys.iter().find_map(|key| self.number(*key));
        let or_zero = |keys: &[u16]| number(keys).unwrap_or(0.0);
        let (lat_1, lat_2) = (number(&[3078]), number(&[3079]));
        let lon_0 = or_zero(&[3080, 3084, 3088, 3095]);
        let lat_0 = or_zero(&[3081, 3085, 3089]);
        let x_0 = or_zero(&[3082, 3086, 3090]);
        let y_0 = or_zero(&[3083, 3087, 3091]);
        let k_0 = number(&[3092, 3093]).unwrap_or(1.0);
        let origin = format!("+lon_0={lon_0} +x_0={x_0} +y_0={y_0}");
        Some(match self.registered(key::TRANSFORMATION)? {
            1 => format!("+proj=tmerc +lat_0={lat_0} +k={k_0} {origin}"),
            7 => format!("+proj=merc +k={k_0} {origin}"),
            8 => format!("+proj=lcc +lat_1={} +lat_2={} +lat_0={lat_0} {origin}", lat_1?, lat_2?),
            9 => format!("+proj=lcc +lat_1={lat_0} +lat_0={lat_0} +k_0={k_0} {origin}"),
            10 => format!("+proj=laea +lat_0={lat_0} {origin}"),
            11 => format!("+proj=aea +lat_1={} +lat_2={} +lat_0={lat_0} {origin}", lat_1?, lat_2?),
            // The latitude in the keys is that of true scale; the pole is the one on its side.
            15 => {
                let pole = if lat_0 < 0.0 { -90 } else { 90 };
                format!("+proj=stere +lat_0={pole} +lat_ts={lat_0} +k={k_0} {origin}")
            }
            _ => return None,
        })
    }
}

/// A UTM zone named in a text: `UTM Zone 11, Northern Hemisphere` or `... / UTM zone 11N`.
fn utm_zone_in(text: &str) -> Option<(u32, bool)> {
    let lower = text.to_ascii_lowercase();
    let start = lower.find("utm zone")? + "utm zone".len();
    let rest = lower[start..].trim_start();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let zone: u32 = digits.parse().ok().filter(|zone| (1..=60).contains(zone))?;
    let after = &rest[digits.len()..];
    if after.starts_with('n') || after.contains("northern") {
        Some((zone, false))
    } else if after.starts_with('s') || after.contains("southern") {
        Some((zone, true))
    } else {
        None
    }
}
