//! Amounts of memory as people write them: `4GiB`, `500MB`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An amount of memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemorySize(pub u64);

impl MemorySize {
    /// The amount in MiB, as reports print it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    pub fn mebibytes(self) -> f64 {
        self.0 as f64 / f64::from(1 << 20)
    }
}

/// Units by name; names are compared in lower case.
const UNITS: [(&str, u64); 10] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1000),
    ("b", 1),
    ("", 1),
];

impl FromStr for MemorySize {
    type Err = Error;

    /// Reads a number with a unit: B, kB, MB, GB, TB (thousands), KiB, MiB, GiB, TiB (of 1024). Fractions are allowed.
    fn from_str(text: &str) -> Result<Self> {
        let lower = text.trim().to_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = UNITS.iter().find(|(name, _)| *name == &lower[digits.len()..]).map(|(_, bytes)| *bytes);
        let number = digits.trim_end().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
        let bytes = number.zip(unit).map(|(number, unit)| (number * unit as f64).round());
        match bytes.filter(|bytes| *bytes >= 1.0 && *bytes < 9e18) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie in 1..9e18")]
            Some(bytes) => Ok(Self(bytes as u64)),
            None => Err(Error::bad_argument(
                format!("'{text}' for an amount of memory"),
                "a number with a unit, as in 4GiB, 500MB or 1.5GB",
                "correct it",
            )),
        }
    }
}

impl fmt::Display for MemorySize {
    /// With the largest unit of 1024 that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.iter().find(|(_, bits)| self.0 > 0 && self.0.is_multiple_of(1 << bits)) {
            Some((name, bits)) => write!(f, "{}{name}", self.0 >> bits),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl TryFrom<String> for MemorySize {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MemorySize> for String {
    fn from(size: MemorySize) -> Self {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::MemorySize;

    #[test]
    fn amounts_are_read_and_written() {
        for (text, bytes, written) in [
            ("4GiB", 4 << 30, "4GiB"),
            ("1.5 gib", 3 << 29, "1536MiB"),
            ("500MB", 500_000_000, "500000000B"),
            ("2048", 2048, "2KiB"),
            ("7b", 7, "7B"),
        ] {
            let size: MemorySize = text.parse().expect("an amount");
            assert_eq!((size.0, size.to_string().as_str()), (bytes, written), "{text}");
            assert_eq!(size.to_string().parse::<MemorySize>().ok(), Some(size));
        }
        for wrong in ["", "GiB", "-1GiB", "0", "4 XiB", "four", "nan", "inf", "1e30GB", "4GiBs"] {
            assert!(wrong.parse::<MemorySize>().is_err(), "{wrong}");
        }
    }
}
