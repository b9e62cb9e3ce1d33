"""Makes small.hdf5 and small_latest.hdf5: tile files of the unusual kinds that readers must take. Needs h5py and numpy."""

import h5py
import numpy as np

CHANNELS = {"optical": 6, "dem": 2, "thermal": 1}


def values(height, width, channels, dtype):
    """(7 row + 3 col + channel) / 256: exact in float32."""
    row, col, channel = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    return ((7 * row + 3 * col + channel) / 256).astype(dtype)


def labels(height, width, dtype):
    """Glacier where row + col is divisible by 3, nothing known where it leaves 2."""
    rest = np.add.outer(np.arange(height), np.arange(width)) % 3
    return np.stack([rest == 1, rest == 0], axis=-1).astype(dtype)


def tile(file, name, height, width, features, attributes, dtype="f8", outlines=True, **storage):
    group = file.create_group(name)
    group.attrs.update(attributes)
    for feature in features:
        data = values(height, width, CHANNELS[feature], dtype)
        if feature == "optical" and name == "AAA1-0-0":
            data[3, 4, 0] = np.nan
            data[5, 6, 1] = np.inf
        group.create_dataset(feature, data=data, **storage)
    if outlines:
        group.create_dataset("outlines", data=labels(height, width, dtype), **storage)


def make(path, **options):
    with h5py.File(path, "w", **options) as file:
        place = {"epsg": 4326, "xmin": 10.0, "xmax": 10.2, "ymin": 60.0, "ymax": 60.1}
        shape = {"original_height": 10, "original_width": 20, "padding_height": 5, "padding_width": 2}
        # Float32, compressed, in chunks that do not divide the tile; integer attributes.
        tile(file, "AAA1-0-0", 20, 24, ["optical", "dem"], {"region": "AAA", "subregion": "AAA1", **place, **shape},
             dtype="f4", chunks=(8, 7, 1), compression="gzip", shuffle=True)
        # Big-endian float64, contiguous; strings of fixed length; no place, no subregion.
        tile(file, "AAA2-1-0", 32, 16, ["optical", "dem", "thermal"], {"region": np.bytes_("AAA")}, dtype=">f8")
        # No labels.
        tile(file, "BBB-2-3", 16, 16, ["optical", "dem"], {"region": "BBB", "subregion": "BBB"}, outlines=False)
        # Another coordinate system; one chunk with checksum.
        tile(file, "CCC-4-4", 16, 16, ["dem"], {"region": "CCC", "subregion": "CCC", **place, "epsg": 32633},
             chunks=(16, 16, 2), fletcher32=True)


make("small.hdf5")
make("small_latest.hdf5", libver="latest")
