//! Well-known text, version 1: enough of it to read what ESRI software writes and to write what a GeoPackage needs.

/// PROJ parameters of an ellipsoid; known ones by name, so that equal definitions are equal texts.
pub(crate) fn ellipsoid_parameters(a: f64, inverse_flattening: f64) -> Option<String> {
    // Sizes outside these bounds are no Earth, and the projections' series would not converge on them.
    if !(6.3e6..6.4e6).contains(&a) || !(inverse_flattening == 0.0 || (200.0..400.0).contains(&inverse_flattening)) {
        return None;
    }
    let near = |wanted_a: f64, wanted: f64| (a - wanted_a).abs() < 1e-3 && (inverse_flattening - wanted).abs() < 1e-6;
    Some(if near(6_378_137.0, 298.257_223_563) {
        "+datum=WGS84".into()
    } else if near(6_378_137.0, 298.257_222_101) {
        "+ellps=GRS80".into()
    } else if inverse_flattening == 0.0 {
        format!("+R={a}")
    } else {
        format!("+a={a} +rf={inverse_flattening}")
    })
}

/// A node of well-known text: `KEYWORD["name", value, CHILD[...], ...]`.
#[derive(Debug, Default)]
struct Node {
    keyword: String,
    texts: Vec<String>,
    numbers: Vec<f64>,
    children: Vec<Node>,
}

impl Node {
    fn child(&self, keyword: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.keyword == keyword)
    }

    fn name(&self) -> &str {
        self.texts.first().map_or("", String::as_str)
    }

    /// A `PARAMETER` by any of its names, ignoring case.
    fn parameter(&self, names: &[&str]) -> Option<f64> {
        let found = self.children.iter().filter(|child| child.keyword == "PARAMETER");
        let mut found = found.filter(|child| names.iter().any(|name| child.name().eq_ignore_ascii_case(name)));
        found.next()?.numbers.first().copied()
    }
}

/// Deeper nesting than this occurs in no CRS, only in attacks on recursive parsers.
const MAX_DEPTH: usize = 16;

/// Parses one node from the start of `text`; gives the rest too.
fn parse_node(text: &str, depth: usize) -> Option<(Node, &str)> {
    if depth > MAX_DEPTH {
        return None;
    }
    let text = text.trim_start();
    let open = text.find(['[', '('])?;
    let keyword = text[..open].trim().to_ascii_uppercase();
    if keyword.is_empty() || !keyword.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let mut node = Node { keyword, ..Node::default() };
    let mut rest = &text[open + 1..];
    loop {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        if matches!(first, ']' | ')') {
            return Some((node, &rest[1..]));
        } else if first == ',' {
            rest = &rest[1..];
        } else if first == '"' {
            let (value, tail) = rest[1..].split_once('"')?;
            node.texts.push(value.to_string());
            rest = tail;
        } else {
            let end = rest.find(['[', '(', ',', ']', ')'])?;
            if matches!(rest.as_bytes()[end], b'[' | b'(') {
                let (child, tail) = parse_node(rest, depth + 1)?;
                node.children.push(child);
                rest = tail;
            } else {
                // Words without quotes (axis directions) are not needed.
                if let Ok(number) = rest[..end].trim().parse::<f64>() {
                    node.numbers.push(number);
                }
                rest = &rest[end..];
            }
        }
    }
}

/// The PROJ definition of a CRS in well-known text, as OGC or ESRI spell it. `None` for methods it does not know.
pub(crate) fn proj_from_wkt(text: &str) -> Option<String> {
    let (root, _) = parse_node(text, 0)?;
    match root.keyword.as_str() {
        "GEOGCS" => Some(format!("+proj=longlat {} +no_defs", datum(&root)?)),
        "PROJCS" => projected(&root),
        _ => None,
    }
}

fn datum(geographic: &Node) -> Option<String> {
    let prime_meridian = geographic.child("PRIMEM").and_then(|node| node.numbers.first()).copied().unwrap_or(0.0);
    if prime_meridian != 0.0 {
        return None;
    }
    let datum = geographic.child("DATUM")?;
    let spheroid = datum.child("SPHEROID")?;
    let plain = datum.name().to_ascii_lowercase().replace([' ', '_'], "");
    match plain.trim_start_matches('d') {
        "northamerican1983" | "northamericandatum1983" => return Some("+datum=NAD83".into()),
        "northamerican1927" | "northamericandatum1927" => return Some("+datum=NAD27".into()),
        _ => {}
    }
    ellipsoid_parameters(*spheroid.numbers.first()?, *spheroid.numbers.get(1)?)
}

fn projected(root: &Node) -> Option<String> {
    let datum = datum(root.child("GEOGCS")?)?;
    let unit = root.child("UNIT").and_then(|unit| unit.numbers.first()).copied().unwrap_or(1.0);
    if !unit.is_finite() || unit <= 0.0 {
        return None;
    }
    let number = |names: &[&str]| root.parameter(names).filter(|value| value.is_finite());
    let or_zero = |names: &[&str]| number(names).unwrap_or(0.0);
    let lat_0 = or_zero(&["latitude_of_origin", "latitude_of_center"]);
    let lon_0 = or_zero(&["central_meridian", "longitude_of_center", "longitude_of_origin"]);
    // Well-known text gives false origins in the CRS's unit, PROJ wants metres.
    let x_0 = or_zero(&["false_easting"]) * unit;
    let y_0 = or_zero(&["false_northing"]) * unit;
    let k = number(&["scale_factor"]).unwrap_or(1.0);
    let lat_1 = number(&["standard_parallel_1"]);
    let lat_2 = number(&["standard_parallel_2"]);
    let origin = format!("+lon_0={lon_0} +x_0={x_0} +y_0={y_0}");
    let method = root.child("PROJECTION")?.name().to_ascii_lowercase();
    let projection = match method.as_str() {
        "transverse_mercator" => format!("+proj=tmerc +lat_0={lat_0} +k={k} {origin}"),
        "albers" | "albers_conic_equal_area" => {
            format!("+proj=aea +lat_1={} +lat_2={} +lat_0={lat_0} {origin}", lat_1?, lat_2?)
        }
        "lambert_conformal_conic_2sp" => {
            format!("+proj=lcc +lat_1={} +lat_2={} +lat_0={lat_0} {origin}", lat_1?, lat_2?)
        }
        "lambert_conformal_conic_1sp" => format!("+proj=lcc +lat_1={lat_0} +lat_0={lat_0} +k_0={k} {origin}"),
        "lambert_conformal_conic" => match (lat_1, lat_2) {
            (Some(lat_1), Some(lat_2)) => format!("+proj=lcc +lat_1={lat_1} +lat_2={lat_2} +lat_0={lat_0} {origin}"),
            (Some(lat_1), None) => format!("+proj=lcc +lat_1={lat_1} +lat_0={lat_0} +k_0={k} {origin}"),
            _ => return None,
        },
        "lambert_azimuthal_equal_area" => format!("+proj=laea +lat_0={lat_0} {origin}"),
        "polar_stereographic" => polar_stereographic(lat_0, k, &origin),
        "stereographic_north_pole" => polar_stereographic(lat_1?.abs(), k, &origin),
        "stereographic_south_pole" => polar_stereographic(-lat_1?.abs(), k, &origin),
        _ => return None,
    };
    let units = if (unit - 1.0).abs() < 1e-12 { "+units=m".into() } else { format!("+to_meter={unit}") };
    Some(format!("{projection} {datum} {units} +no_defs"))
}

fn polar_stereographic(true_scale: f64, k: f64, origin: &str) -> String {
    let pole = if true_scale < 0.0 { -90 } else { 90 };
    format!("+proj=stere +lat_0={pole} +lat_ts={true_scale} +k={k} {origin}")
}

/// Well-known text for a PROJ definition; a local CRS where the definition is empty or of an unknown kind.
pub(crate) fn wkt_from_proj(name: &str, definition: &str) -> String {
    let name = name.replace('"', "'");
    projected_wkt(&name, definition).unwrap_or_else(|| format!("LOCAL_CS[\"{name}\",UNIT[\"metre\",1]]"))
}

fn projected_wkt(name: &str, definition: &str) -> Option<String> {
    let value = |key: &str| {
        let mut pairs = definition.split_whitespace().filter_map(|p| p.strip_prefix('+')?.split_once('='));
        pairs.find(|(k, _)| *k == key).map(|(_, value)| value)
    };
    let number = |key: &str| value(key).and_then(|text| text.parse::<f64>().ok());
    let or_zero = |key: &str| number(key).unwrap_or(0.0);
    let (datum, spheroid, a, inverse_flattening) = match (value("datum"), value("ellps")) {
        (Some("WGS84"), _) | (None, Some("WGS84")) => ("WGS_1984", "WGS 84", 6_378_137.0, 298.257_223_563),
        (Some("NAD83"), _) => ("North_American_Datum_1983", "GRS 1980", 6_378_137.0, 298.257_222_101),
        (Some("NAD27"), _) => ("North_American_Datum_1927", "Clarke 1866", 6_378_206.4, 294.978_698_213_898_2),
        (None, Some("GRS80")) => ("unknown", "GRS 1980", 6_378_137.0, 298.257_222_101),
        (None, Some("intl")) => ("unknown", "International 1924", 6_378_388.0, 297.0),
        (None, Some("bessel")) => ("unknown", "Bessel 1841", 6_377_397.155, 299.152_812_8),
        (None, Some("clrk66")) => ("unknown", "Clarke 1866", 6_378_206.4, 294.978_698_213_898_2),
        (None, Some("krass")) => ("unknown", "Krassowsky 1940", 6_378_245.0, 298.3),
        (None, None) if number("R").is_some() => ("unknown", "sphere", number("R")?, 0.0),
        (None, None) => ("unknown", "unknown", number("a")?, number("rf")?),
        _ => return None,
    };
    let geographic_name = match datum {
        "WGS_1984" => "WGS 84",
        "North_American_Datum_1983" => "NAD83",
        "North_American_Datum_1927" => "NAD27",
        _ => "unknown",
    };
    let geographic = |name: &str| {
        format!(
            "GEOGCS[\"{name}\",DATUM[\"{datum}\",SPHEROID[\"{spheroid}\",{a},{inverse_flattening}]],\
             PRIMEM[\"Greenwich\",0],UNIT[\"degree\",0.0174532925199433]]"
        )
    };
    let method = value("proj")?;
    if method == "longlat" {
        return Some(geographic(name));
    }
    let (unit_name, unit) = match (value("units"), number("to_meter")) {
        (Some("ft"), _) => ("foot", 0.3048),
        (Some("us-ft"), _) => ("US survey foot", 1200.0 / 3937.0),
        (Some("km"), _) => ("kilometre", 1000.0),
        (_, Some(size)) => ("unknown", size),
        _ => ("metre", 1.0),
    };
    let k = number("k").or_else(|| number("k_0")).unwrap_or(1.0);
    let (lat_0, lon_0) = (or_zero("lat_0"), or_zero("lon_0"));
    let (x_0, y_0) = (or_zero("x_0") / unit, or_zero("y_0") / unit);
    let false_origin = vec![("false_easting", x_0), ("false_northing", y_0)];
    let central = ("central_meridian", lon_0);
    let (projection, parameters) = match method {
        "utm" => {
            let zone = number("zone")?;
            let south = definition.split_whitespace().any(|p| p == "+south");
            let meridian = zone * 6.0 - 183.0;
            let northing = if south { 10_000_000.0 } else { 0.0 };
            (
                "Transverse_Mercator",
                vec![
                    ("latitude_of_origin", 0.0),
                    ("central_meridian", meridian),
                    ("scale_factor", 0.9996),
                    ("false_easting", 500_000.0 / unit),
                    ("false_northing", northing / unit),
                ],
            )
        }
        "tmerc" => (
            "Transverse_Mercator",
            [vec![("latitude_of_origin", lat_0), central, ("scale_factor", k)], false_origin].concat(),
        ),
        "aea" => (
            "Albers_Conic_Equal_Area",
            [
                vec![
                    ("standard_parallel_1", number("lat_1")?),
                    ("standard_parallel_2", number("lat_2")?),
                    ("latitude_of_center", lat_0),
                    ("longitude_of_center", lon_0),
                ],
                false_origin,
            ]
            .concat(),
        ),
        "lcc" if number("lat_2").is_some() => (
            "Lambert_Conformal_Conic_2SP",
            [
                vec![
                    ("standard_parallel_1", number("lat_1")?),
                    ("standard_parallel_2", number("lat_2")?),
                    ("latitude_of_origin", lat_0),
                    central,
                ],
                false_origin,
            ]
            .concat(),
        ),
        "lcc" => (
            "Lambert_Conformal_Conic_1SP",
            [vec![("latitude_of_origin", lat_0), central, ("scale_factor", k)], false_origin].concat(),
        ),
        "laea" => (
            "Lambert_Azimuthal_Equal_Area",
            [vec![("latitude_of_center", lat_0), ("longitude_of_center", lon_0)], false_origin].concat(),
        ),
        "stere" if lat_0.abs() == 90.0 => {
            let true_scale = number("lat_ts").unwrap_or(lat_0);
            (
                "Polar_Stereographic",
                [vec![("latitude_of_origin", true_scale), central, ("scale_factor", k)], false_origin].concat(),
            )
        }
        _ => return None,
    };
    let parameters: String = parameters.iter().map(|(name, value)| format!("PARAMETER[\"{name}\",{value}],")).collect();
    Some(format!(
        "PROJCS[\"{name}\",{},PROJECTION[\"{projection}\"],{parameters}UNIT[\"{unit_name}\",{unit}]]",
        geographic(geographic_name)
    ))
}

/// ESRI's spelling of a CRS, for `.prj` files, from OGC's. `None` for methods it does not know.
///
/// The difference is in names: `GCS_` and `D_` before those of a geographic CRS and a datum, `Degree` and `Meter`, other names of methods, and no
/// authorities, axes or shifts between datums. Polar stereographic maps have a method for each pole, with the latitude of true scale as a parallel.
pub(crate) fn esri_wkt(text: &str) -> Option<String> {
    let (root, _) = parse_node(text, 0)?;
    let geographic = if root.keyword == "GEOGCS" { &root } else { root.child("GEOGCS")? };
    let datum = geographic.child("DATUM")?;
    let spheroid = datum.child("SPHEROID")?;
    let (a, inverse_flattening) = (spheroid.numbers.first()?, spheroid.numbers.get(1)?);
    let plain = |name: &str| name.replace([' ', '/', '-'], "_").replace("___", "_");
    let datum_name = match plain(datum.name().trim_start_matches("D_")).as_str() {
        "North_American_Datum_1983" => "North_American_1983".to_owned(),
        "North_American_Datum_1927" => "North_American_1927".to_owned(),
        "European_Terrestrial_Reference_System_1989" => "ETRS_1989".to_owned(),
        other => other.to_owned(),
    };
    let spheroid_name = match spheroid.name() {
        "WGS 84" => "WGS_1984".to_owned(),
        other => plain(other),
    };
    let geographic_name = match geographic.name() {
        "WGS 84" => "GCS_WGS_1984".to_owned(),
        "NAD83" => "GCS_North_American_1983".to_owned(),
        "NAD27" => "GCS_North_American_1927".to_owned(),
        "ETRS89" => "GCS_ETRS_1989".to_owned(),
        other => format!("GCS_{}", plain(other.trim_start_matches("GCS_"))),
    };
    let prime = geographic.child("PRIMEM").and_then(|node| node.numbers.first()).copied().unwrap_or(0.0);
    if prime != 0.0 {
        return None;
    }
    let number = |value: f64| format!("{value:?}");
    let base = format!(
        r#"GEOGCS["{geographic_name}",DATUM["D_{datum_name}",SPHEROID["{spheroid_name}",{},{}]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]"#,
        number(*a),
        number(*inverse_flattening),
    );
    if root.keyword == "GEOGCS" {
        return Some(base);
    }
    let origin = root.parameter(&["latitude_of_origin"]).unwrap_or(0.0);
    let method = root.child("PROJECTION")?.name().to_ascii_lowercase();
    let projection = match method.as_str() {
        "transverse_mercator" => "Transverse_Mercator",
        "albers" | "albers_conic_equal_area" => "Albers",
        "lambert_conformal_conic" | "lambert_conformal_conic_1sp" | "lambert_conformal_conic_2sp" => {
            "Lambert_Conformal_Conic"
        }
        "lambert_azimuthal_equal_area" => "Lambert_Azimuthal_Equal_Area",
        "stereographic_north_pole" => "Stereographic_North_Pole",
        "stereographic_south_pole" => "Stereographic_South_Pole",
        "polar_stereographic" if origin < 0.0 => "Stereographic_South_Pole",
        "polar_stereographic" => "Stereographic_North_Pole",
        _ => return None,
    };
    let is_polar = method == "polar_stereographic";
    let mut parameters = String::new();
    for node in root.children.iter().filter(|node| node.keyword == "PARAMETER") {
        let value = number(*node.numbers.first()?);
        let name = match node.name().to_ascii_lowercase().as_str() {
            "false_easting" => "False_Easting",
            "false_northing" => "False_Northing",
            "central_meridian" | "longitude_of_origin" => "Central_Meridian",
            "longitude_of_center" if projection != "Transverse_Mercator" => "Central_Meridian",
            "latitude_of_origin" if is_polar => "Standard_Parallel_1",
            "latitude_of_origin" | "latitude_of_center" => "Latitude_Of_Origin",
            "standard_parallel_1" => "Standard_Parallel_1",
            "standard_parallel_2" => "Standard_Parallel_2",
            // ESRI's polar methods with a standard parallel have no scale.
            "scale_factor" if is_polar && value == "1.0" => continue,
            "scale_factor" if is_polar => return None,
            "scale_factor" => "Scale_Factor",
            _ => return None,
        };
        parameters += &format!(r#"PARAMETER["{name}",{value}],"#);
        // With one standard parallel ESRI wants it named.
        if method == "lambert_conformal_conic_1sp" && name == "Latitude_Of_Origin" {
            parameters += &format!(r#"PARAMETER["Standard_Parallel_1",{value}],"#);
        }
    }
    let unit = root.child("UNIT").and_then(|unit| unit.numbers.first()).copied().unwrap_or(1.0);
    let unit_name = if unit == 1.0 {
        "Meter"
    } else if unit == 0.3048 {
        "Foot"
    } else if (unit - 1200.0 / 3937.0).abs() < 1e-12 {
        "Foot_US"
    } else {
        "Unknown"
    };
    let name = match root.name().strip_prefix("WGS 84 / ") {
        Some(rest) => format!("WGS_1984_{}", plain(rest).replace("zone", "Zone")),
        None => plain(root.name()),
    };
    Some(format!(
        r#"PROJCS["{name}",{base},PROJECTION["{projection}"],{parameters}UNIT["{unit_name}",{}]]"#,
        number(unit)
    ))
}

/// The EPSG code of the whole text: its `AUTHORITY`, or its `ID` in well-known text 2.
pub(crate) fn epsg_of(text: &str) -> Option<u32> {
    let (root, _) = parse_node(text, 0)?;
    let authority = root.child("AUTHORITY").or_else(|| root.child("ID"))?;
    if !authority.name().eq_ignore_ascii_case("EPSG") {
        return None;
    }
    match (authority.texts.get(1), authority.numbers.first()) {
        (Some(code), _) => code.parse().ok(),
        (None, Some(code)) => code.to_string().parse().ok(),
        (None, None) => None,
    }
}

/// The PROJ definition that GDAL, and our own GeoPackages, put beside a method without a name in well-known text.
///
/// Ellipsoids of free size are left alone: they can be no Earth, and the text comes from anywhere.
pub(crate) fn proj_extension(text: &str) -> Option<String> {
    let (root, _) = parse_node(text, 0)?;
    let extension = root.child("EXTENSION").filter(|node| node.name() == "PROJ4")?;
    let definition = extension.texts.get(1).filter(|text| text.len() < 1000)?;
    let has = |key: &str| definition.split_whitespace().any(|parameter| parameter.starts_with(key));
    let is_earth = (has("+datum=") || has("+ellps=")) && !["+a=", "+b=", "+R=", "+rf=", "+f="].into_iter().any(has);
    (has("+proj=") && is_earth).then(|| definition.clone())
}

/// The quoted name at the start of well-known text.
pub(crate) fn name_of(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esri_albers() {
        let text = r#"PROJCS["USA_Contiguous_Albers",GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137.0,298.257222101]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Albers"],PARAMETER["False_Easting",0.0],PARAMETER["central_meridian",-96.0],PARAMETER["Standard_Parallel_1",29.5],PARAMETER["Standard_Parallel_2",45.5],PARAMETER["latitude_of_origin",23.0],UNIT["Meter",1.0],VERTCS["NAVD_1988",UNIT["Foot",0.3048]]]"#;
        assert_eq!(
            proj_from_wkt(text).as_deref(),
            Some("+proj=aea +lat_1=29.5 +lat_2=45.5 +lat_0=23 +lon_0=-96 +x_0=0 +y_0=0 +datum=NAD83 +units=m +no_defs")
        );
        for cut in 0..text.len() {
            assert_eq!(proj_from_wkt(&text[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn written_text_reads_back_as_the_same_definition() {
        for definition in [
            "+proj=stere +lat_0=90 +lat_ts=70 +k=1 +lon_0=-45 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs",
            "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=m +no_defs",
            "+proj=lcc +lat_1=49 +lat_2=77 +lat_0=63.390675 +lon_0=-91.5 +x_0=6200000 +y_0=3000000 +datum=NAD83 +units=m +no_defs",
            "+proj=longlat +datum=WGS84 +no_defs",
        ] {
            assert_eq!(proj_from_wkt(&wkt_from_proj("test", definition)).as_deref(), Some(definition));
        }
        assert!(wkt_from_proj("here", "").starts_with("LOCAL_CS[\"here\""));
    }

    #[test]
    fn codes_and_extensions() {
        assert_eq!(
            epsg_of(r#"GEOGCS["WGS 84",DATUM["x",AUTHORITY["EPSG","6326"]],AUTHORITY["EPSG","4326"]]"#),
            Some(4326)
        );
        assert_eq!(epsg_of(r#"PROJCRS["UTM",BASEGEOGCRS["WGS 84"],ID["EPSG",32611]]"#), Some(32611));
        assert_eq!(epsg_of(r#"GEOGCS["WGS 84",DATUM["x",AUTHORITY["EPSG","6326"]]]"#), None);
        assert_eq!(epsg_of(r#"GEOGCS["mine",AUTHORITY["ESRI","104000"]]"#), None);
        let custom = |proj: &str| format!(r#"PROJCS["mine",PROJECTION["custom_proj4"],EXTENSION["PROJ4","{proj}"]]"#);
        let definition = "+proj=cea +lat_ts=30 +datum=WGS84 +units=m";
        assert_eq!(proj_extension(&custom(definition)).as_deref(), Some(definition));
        assert_eq!(proj_extension(&custom("+proj=cea +a=1 +b=1")), None);
    }

    #[test]
    fn esri_spelling() {
        let utm = crate::raster::Crs::from_epsg(32611).expect("a registered code").wkt();
        let text = esri_wkt(&utm).expect("a known method");
        assert!(
            text.starts_with(r#"PROJCS["WGS_1984_UTM_Zone_11N",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984""#),
            "{text}"
        );
        assert!(text.ends_with(r#"UNIT["Meter",1.0]]"#) && !text.contains("AUTHORITY"), "{text}");
        for code in [32611, 32733, 3413, 3031, 4326, 25832, 3035, 2056, 3338, 3978, 27700, 26911] {
            let crs = crate::raster::Crs::from_epsg(code).expect("a registered code");
            // Swiss and other oblique methods have no counterpart here.
            let Some(text) = esri_wkt(&crs.wkt()) else {
                assert_eq!(code, 2056);
                continue;
            };
            let back = crate::raster::Crs::from_wkt(&text);
            let middle = if crs.geographic { (10.0, 50.0) } else { crs_middle(code) };
            let (a, b) = (crs.longitude_latitude(middle.0, middle.1), back.longitude_latitude(middle.0, middle.1));
            let (a, b) = (a.expect("on the map"), b.expect("on the map"));
            // Old datums lose their shift; it is below a thousandth of a degree times a few.
            assert!((a.0 - b.0).abs() < 3e-3 && (a.1 - b.1).abs() < 3e-3, "{code}: {a:?} {b:?} {text}");
        }
        assert_eq!(esri_wkt("LOCAL_CS[\"here\",UNIT[\"metre\",1]]"), None);
    }

    /// A point of a projected CRS's country.
    fn crs_middle(code: u32) -> (f64, f64) {
        match code {
            3413 => (3e5, -1.2e6),
            3031 => (-1e5, 2e5),
            3035 => (4_321_000.0, 3_210_000.0),
            3338 | 3978 => (1e5, 9e5),
            27700 => (400_000.0, 200_000.0),
            _ => (480_000.0, 5_780_000.0),
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert_eq!(proj_from_wkt(&"A[".repeat(100_000)), None);
    }
}
