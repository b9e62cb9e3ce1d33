//! Lists of scenes to be mapped: CSV or JSON.
//!
//! A CSV has a header and one scene a row; a JSON is an array of objects with the same names, or an object whose `scenes` is that array. Columns
//! that are not needed may be absent or empty:
//!
//! | column | what |
//! |---|---|
//! | `id` | the scene's name, needed and unique: letters, digits, `.`, `_`, `-`; the folder of its results, unless `output` says otherwise |
//! | `optical` | one file with six bands, or six files: separated by `;` in a CSV, an array in a JSON |
//! | `elevation`, `slope` | one file each |
//! | `co_pol_sar`, `cross_pol_sar`, `in_sar` | one or two files |
//! | `thermal` | one file |
//! | `region` | a region of the model |
//! | `date` | when the scene was taken, as 2020-08-16; carried into the results and into prepared tiles |
//! | `sensor` | what took it, such as `Landsat 8`; carried into prepared tiles |
//! | `output` | the folder of the results, relative to the output folder |
//!
//! Files are relative to the manifest.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::evaluate::change::Day;
use crate::infer::scene::SceneFiles;

/// The largest manifest that is read: a million scenes.
const LARGEST_BYTES: u64 = 1 << 30;

/// A scene of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestScene {
    /// Its name.
    pub id: String,
    /// Its rasters.
    pub files: SceneFiles,
    /// The region of the model that it lies in.
    pub region: Option<String>,
    /// When it was taken, as YYYY-MM-DD.
    pub date: Option<String>,
    /// What took it.
    pub sensor: Option<String>,
    /// Where its results go, relative to the output folder.
    pub output: PathBuf,
}

/// One part of a list: scene number `part` (from 1), and every `of`-th after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub part: usize,
    /// Number of parts.
    pub of: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((part, of)) if (1..=of).contains(&part) => Ok(Self { part, of }),
            _ => Err("expected PART/PARTS, as in 2/5: the second of five parts".into()),
        }
    }
}

impl Shard {
    /// The items of this part, in their order.
    pub fn take<T>(self, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        all.into_iter().skip(self.part - 1).step_by(self.of)
    }
}

/// A row as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Row {
    id: String,
    #[serde(deserialize_with = "one_or_many")]
    optical: Vec<String>,
    elevation: Option<String>,
    slope: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    co_pol_sar: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    cross_pol_sar: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    in_sar: Vec<String>,
    thermal: Option<String>,
    region: Option<String>,
    date: Option<String>,
    sensor: Option<String>,
    output: Option<String>,
}

/// The columns, as they are called in both formats.
const COLUMNS: [&str; 12] = [
    "id",
    "optical",
    "elevation",
    "slope",
    "co_pol_sar",
    "cross_pol_sar",
    "in_sar",
    "thermal",
    "region",
    "date",
    "sensor",
    "output",
];

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    None(()),
    One(String),
    Many(Vec<String>),
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<String>, D::Error> {
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::None(()) => Vec::new(),
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenes {
    scenes: Vec<Row>,
}

/// Reads a manifest. At least one scene is in it.
///
/// # Errors
/// The file cannot be read, is neither CSV nor JSON, or a scene has no usable id, the id or output of another one, an unknown column or a
/// date that is none.
pub fn read_manifest(path: &Path) -> Result<Vec<ManifestScene>> {
    let fail = |e| Error::io("read", path, e);
    let metadata = fs::metadata(path).map_err(fail)?;
    if !metadata.is_file() || metadata.len() > LARGEST_BYTES {
        let found = if metadata.is_file() { "more than 1 GiB" } else { "a folder, device or pipe" };
        return Err(Error::bad_file(path, found, "a list of scenes as CSV or JSON", "give the path of one file"));
    }
    let bytes = fs::read(path).map_err(fail)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let folder = path.parent().unwrap_or(Path::new(""));
    let scenes = parse(bytes, folder).map_err(|found| {
        let remedy = "see `glavitu predict --help` for its columns";
        Error::bad_file(path, found, "a list of scenes as CSV or JSON", remedy)
    })?;
    Ok(scenes)
}

fn parse(bytes: &[u8], folder: &Path) -> std::result::Result<Vec<ManifestScene>, String> {
    let rows = match bytes.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(bytes).map_err(|e| e.to_string())?,
        Some(b'{') => serde_json::from_slice::<Scenes>(bytes).map_err(|e| e.to_string())?.scenes,
        _ => csv_rows(bytes)?,
    };
    if rows.is_empty() {
        return Err("no scenes".into());
    }
    let (mut ids, mut outputs) = (HashSet::new(), HashSet::new());
    let mut scenes = Vec::with_capacity(rows.len());
    for (number, row) in rows.into_iter().enumerate() {
        let scene = scene(row, folder).map_err(|found| format!("{found} in scene {}", number + 1))?;
        if !ids.insert(scene.id.clone()) {
            return Err(format!("the id {} again in scene {}", scene.id, number + 1));
        }
        if !outputs.insert(scene.output.clone()) {
            return Err(format!("the output {} again in scene {}", scene.output.display(), number + 1));
        }
        scenes.push(scene);
    }
    Ok(scenes)
}

fn csv_rows(bytes: &[u8]) -> std::result::Result<Vec<Row>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers().map_err(|e| e.to_string())?.clone();
    if let Some(strange) = header.iter().find(|name| !COLUMNS.contains(name)) {
        let shown: String = strange.chars().take(40).collect();
        return Err(if strange.contains(';') {
            format!(
                "semicolons in the header '{shown}' (columns are separated by commas, files of one cell by semicolons)"
            )
        } else {
            format!("a column '{shown}'")
        });
    }
    if !header.iter().any(|name| name == "id") {
        return Err("no column 'id'".into());
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let mut row = Row::default();
        for (name, cell) in header.iter().zip(&record) {
            let many = || cell.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
            let one = || Some(cell.to_owned()).filter(|cell| !cell.is_empty());
            match name {
                "id" => cell.clone_into(&mut row.id),
                "optical" => row.optical = many(),
                "elevation" => row.elevation = one(),
                "slope" => row.slope = one(),
                "co_pol_sar" => row.co_pol_sar = many(),
                "cross_pol_sar" => row.cross_pol_sar = many(),
                "in_sar" => row.in_sar = many(),
                "thermal" => row.thermal = one(),
                "region" => row.region = one(),
                "date" => row.date = one(),
                "sensor" => row.sensor = one(),
                _ => row.output = one(),
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

fn scene(row: Row, folder: &Path) -> std::result::Result<ManifestScene, String> {
    let id = row.id;
    let is_usual = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.is_empty() || id.len() > 128 || id.starts_with(['.', '-']) || !id.chars().all(is_usual) {
        let shown: String = id.chars().take(40).collect();
        return Err(format!("the id '{shown}' instead of letters, digits, '.', '_' and '-'"));
    }
    if let Some(date) = row.date.as_deref().filter(|date| !is_date(date)) {
        return Err(format!("the date '{}' instead of a day as YYYY-MM-DD", date.chars().take(40).collect::<String>()));
    }
    let place = |path: String| folder.join(path);
    let places = |paths: Vec<String>| paths.into_iter().map(place).collect();
    Ok(ManifestScene {
        files: SceneFiles {
            optical: places(row.optical),
            elevation: row.elevation.map(place),
            slope: row.slope.map(place),
            co_pol_sar: places(row.co_pol_sar),
            cross_pol_sar: places(row.cross_pol_sar),
            in_sar: places(row.in_sar),
            thermal: row.thermal.map(place).into_iter().collect(),
        },
        region: row.region,
        date: row.date,
        sensor: row.sensor.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
        output: row.output.map_or_else(|| PathBuf::from(&id), PathBuf::from),
        id,
    })
}

/// A day of the calendar as YYYY-MM-DD (ISO 8601), without blanks around it.
pub(crate) fn is_date(text: &str) -> bool {
    text.len() == 10 && Day::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> std::result::Result<Vec<ManifestScene>, String> {
        parse(text.as_bytes(), Path::new("data"))
    }

    #[test]
    fn the_same_from_csv_and_json() {
        let csv = "id, optical, elevation, date, region, sensor\n\
                   a, B2.tif;B3.tif ;B4.tif;B5.tif;B6.tif;B7.tif, dem.tif, 2020-08-16, HMA, Landsat 8\n\
                   \"b\",\"my, scene.tif\", /dem.tif,,,\n";
        let json = r#"{"scenes": [
            {"id": "a", "optical": ["B2.tif", "B3.tif", "B4.tif", "B5.tif", "B6.tif", "B7.tif"], "elevation": "dem.tif",
             "date": "2020-08-16", "region": "HMA", "sensor": "Landsat 8"},
            {"id": "b", "optical": "my, scene.tif", "elevation": "/dem.tif", "in_sar": null, "output": "b"}]}"#;
        let scenes = read(csv).expect("two scenes");
        assert_eq!(scenes, read(json).expect("two scenes"));
        assert_eq!(scenes[0].files.optical[1], Path::new("data/B3.tif"));
        assert_eq!(scenes[1].files.elevation.as_deref(), Some(Path::new("/dem.tif")));
        assert_eq!((scenes[0].sensor.as_deref(), scenes[1].sensor.as_deref()), (Some("Landsat 8"), None));
        assert_eq!((scenes[1].output.as_path(), scenes[1].date.as_ref()), (Path::new("b"), None));
    }

    #[test]
    fn refuses() {
        for (text, part) in [
            ("", "no column 'id'"),
            ("id\n", "no scenes"),
            ("[]", "no scenes"),
            ("optical\na.tif\n", "no column 'id'"),
            ("id,colour\na,red\n", "a column 'colour'"),
            ("id;optical;elevation\na;a.tif;b.tif\n", "'id;optical;elevation' (columns are separated by commas"),
            ("id,optical\na\n", "record"),
            ("id\na\na\n", "the id a again in scene 2"),
            ("id,output\na,x\nb,x\n", "the output x again"),
            ("id\n../a\n", "the id '../a'"),
            ("id\n.a\n", "the id"),
            ("id,date\na,2020-13-01\n", "the date '2020-13-01'"),
            ("id,date\na,16 Aug 2020\n", "YYYY-MM-DD in scene 1"),
            ("id,date\na,2020-02-31\n", "the date '2020-02-31' instead of a day"),
            ("id,date\na,2021-02-29\n", "the date '2021-02-29'"),
            (r#"[{"id": "a", "date": "2020-02-28 "}]"#, "the date '2020-02-28 '"),
            (r#"[{"id": "a", "colour": "red"}]"#, "colour"),
            (r#"[{"id": 5}]"#, "string"),
            ("{", "EOF"),
        ] {
            let found = read(text).expect_err(text);
            assert!(found.contains(part), "{text}: {found}");
        }
        assert!(read_manifest(Path::new(env!("CARGO_MANIFEST_DIR"))).is_err());
    }

    #[test]
    fn parts() {
        let all = || 0..12;
        let shard: Shard = "2/5".parse().expect("a part");
        assert_eq!(shard.take(all()).collect::<Vec<_>>(), [1, 6, 11]);
        let mut united: Vec<_> = (1..=5).flat_map(|part| Shard { part, of: 5 }.take(all())).collect();
        united.sort_unstable();
        assert_eq!(united, all().collect::<Vec<_>>());
        for bad in ["", "0/5", "6/5", "1", "1/0", "a/b", "-1/5"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn anything_is_a_list_or_refused(text in ".{0,200}", json: bool) {
            let text = if json { format!("[{{\"id\": {text}}}]") } else { format!("id,optical\n{text}") };
            if let Ok(scenes) = read(&text) {
                prop_assert!(scenes.iter().all(|scene| !scene.id.contains(['/', '\\'])));
            }
        }
    }
}
