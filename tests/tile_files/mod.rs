//! Small tile files to train on: bright shapes that are glaciers.

use std::path::Path;

use glavitu::dataset::tile_writer::{TileHeader, TileWriter};

/// Writes one tile of `side` x `side` pixels for each region named; `first` tells files apart.
pub(crate) fn write_tiles(path: &Path, regions: &[&str], side: usize, first: usize) {
    let mut writer = TileWriter::create(path).expect("created");
    for (number, region) in (first..).zip(regions) {
        let header = TileHeader {
            name: format!("{region}-{number}-0"),
            region: (*region).to_owned(),
            subregion: format!("{region}s"),
            height: side,
            width: side,
            original_height: side,
            original_width: side,
            padding_height: 0,
            padding_width: 0,
            xmin: number as f64,
            xmax: number as f64 + 0.1,
            ymin: 46.0,
            ymax: 46.1,
        };
        let (optical, dem, outlines) = arrays(side, number);
        writer.add(&header, &[("optical", 6, &optical), ("dem", 2, &dem), ("outlines", 2, &outlines)]).expect("added");
    }
    writer.finish().expect("finished");
}

fn arrays(side: usize, number: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (mut optical, mut dem, mut outlines) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..side * side {
        let (x, y, n) = ((i % side) as f64 / 32.0, (i / side) as f64 / 32.0, number as f64);
        let is_glacier = (5.0 * x + n).sin() + (4.0 * y - 2.0 * n).cos() > 0.2;
        let rough = 0.02 * (40.0 * x * y + n).sin();
        optical.extend([if is_glacier { 0.45 } else { 0.1 } + rough; 6]);
        dem.extend([0.2 + 0.1 * y, 0.3 - rough]);
        outlines.extend(if i % 97 == 0 {
            [0.0, 0.0]
        } else if is_glacier {
            [0.0, 1.0]
        } else {
            [1.0, 0.0]
        });
    }
    (optical, dem, outlines)
}
