//! Import of the published calibrators: scikit-learn `KernelRidge` models with the Laplacian kernel, as Python pickles.
//!
//! A pickle can make Python run anything. Nothing of it is run here: it is read as data, and only the few names that such
//! a model needs may occur in it.

use std::path::Path;

use crate::error::{Error, Result};
use crate::evaluate::Calibrator;
use crate::evaluate::pickle::{self, Id, Node, Pickle, Refusal};
use crate::model::arrays::{describe, read_file};
use crate::model::weights::sha256;

/// The largest pickle that is read; published calibrators have 3 KB.
const LARGEST_FILE: u64 = 4 << 20;

/// The classes and functions that occur in such a pickle, under the names of old and new versions.
const ALLOWED: [(&str, &str); 10] = [
    ("sklearn.kernel_ridge", "KernelRidge"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
];

/// Reads a scikit-learn calibrator without running it.
///
/// # Errors
/// The file cannot be read, is no pickle, names anything else than a calibrator does, or holds another model, another
/// kernel or more than one input.
pub fn import_calibrator(path: impl AsRef<Path>) -> Result<Calibrator> {
    let path = path.as_ref();
    import_calibrator_bytes(path, &read_file(path, LARGEST_FILE)?)
}

/// [`import_calibrator`] for a file already in memory. `path` serves for messages and the origin only.
///
/// # Errors
/// As [`import_calibrator`].
pub fn import_calibrator_bytes(path: impl AsRef<Path>, bytes: &[u8]) -> Result<Calibrator> {
    let path = path.as_ref();
    let refuse = |found: String| {
        Error::bad_file(
            path,
            found,
            "a calibrator: a scikit-learn KernelRidge model with the Laplacian kernel and one input",
            "give a published calibrator; nothing in this file was run",
        )
    };
    let pickle = pickle::read(bytes, &ALLOWED).map_err(|refusal| {
        refuse(match refusal {
            Refusal::Global(name) => format!("a pickle that calls for {name}"),
            Refusal::Damaged(reason) => format!("{} with {reason}", describe(bytes)),
        })
    })?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let origin = format!("scikit-learn KernelRidge {name}, SHA-256 {}", sha256(bytes));
    let model = Model::new(&pickle).map_err(refuse)?;
    let (gamma, points, coefficients) = model.read().map_err(refuse)?;
    Calibrator::from_kernel(gamma, points, coefficients, origin).map_err(|e| refuse(e.to_string()))
}

/// The fields of the pickled model. Errors say what was found.
struct Model<'a> {
    pickle: &'a Pickle,
    fields: &'a [(Id, Id)],
}

impl<'a> Model<'a> {
    fn new(pickle: &'a Pickle) -> std::result::Result<Self, String> {
        let root = pickle.root;
        match (pickle.maker(root), pickle.node(root)) {
            (Some((_, "KernelRidge")), Node::Object { state: Some(state), .. }) => match pickle.node(*state) {
                Node::Dict(fields) => Ok(Self { pickle, fields }),
                _ => Err("a KernelRidge model without fields".into()),
            },
            (Some((module, name)), _) => Err(format!("a pickled {module}.{name}, not a calibrator")),
            _ => Err(format!("a pickled {}, not a calibrator", outline(pickle, root))),
        }
    }

    /// Gamma, points and coefficients.
    fn read(&self) -> std::result::Result<(f64, Vec<f64>, Vec<f64>), String> {
        match self.field("kernel")? {
            (_, Node::Text(kernel)) if kernel == "laplacian" => {}
            (_, Node::Text(kernel)) => {
                let kernel: String = kernel.chars().take(40).collect();
                return Err(format!("the kernel '{}'", kernel.escape_default()));
            }
            _ => return Err("a kernel that is no name".into()),
        }
        let (points, inputs) = self.column("X_fit_")?;
        let (coefficients, outputs) = self.column("dual_coef_")?;
        if inputs != 1 || outputs != 1 {
            return Err(format!("{inputs} inputs and {outputs} outputs"));
        }
        let gamma = match self.field("gamma")? {
            // scikit-learn's default is one over the number of inputs.
            (_, Node::None) => 1.0,
            (_, Node::Float(value)) => *value,
            #[expect(clippy::cast_precision_loss, reason = "rounding is as good as scikit-learn's own conversion")]
            (_, Node::Int(value)) => *value as f64,
            (id, Node::Object { .. }) => self.scalar(id).ok_or("a gamma that is no number")?,
            _ => return Err("a gamma that is no number".into()),
        };
        Ok((gamma, points, coefficients))
    }

    fn field(&self, name: &str) -> std::result::Result<(Id, &'a Node), String> {
        let is_it = |id: Id| matches!(self.pickle.node(id), Node::Text(text) if text == name);
        let found = self.fields.iter().rfind(|(key, _)| is_it(*key));
        found.map(|(_, id)| (*id, self.pickle.node(*id))).ok_or_else(|| {
            format!(
                "a KernelRidge model without {name}{}",
                if name.ends_with('_') { " (it was never fitted)" } else { "" }
            )
        })
    }

    /// A numpy array of shape (n,) or (n, m): its values and m.
    fn column(&self, name: &str) -> std::result::Result<(Vec<f64>, usize), String> {
        let (id, _) = self.field(name)?;
        let (values, shape) = self.array(id).ok_or_else(|| format!("{name} that is no numpy array of floats"))?;
        match shape[..] {
            [n] if n == values.len() => Ok((values, 1)),
            [n, m] if n.checked_mul(m) == Some(values.len()) => Ok((values, m)),
            _ => Err(format!("{name} of shape {shape:?} with {} values", values.len())),
        }
    }

    fn tuple(&self, id: Id) -> Option<&'a [Id]> {
        match self.pickle.node(id) {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn array(&self, id: Id) -> Option<(Vec<f64>, Vec<usize>)> {
        let Node::Object { arguments, state, .. } = self.pickle.node(id) else { return None };
        let (data, kind, shape) = match self.pickle.maker(id)?.1 {
            // State: version, shape, dtype, Fortran order, bytes.
            "_reconstruct" => match *self.tuple((*state)?)? {
                [_, shape, kind, _, data] => (data, kind, shape),
                _ => return None,
            },
            // Protocol 5; arguments: bytes, dtype, shape, order.
            "_frombuffer" => match *self.tuple(*arguments)? {
                [data, kind, shape, _] => (data, kind, shape),
                _ => return None,
            },
            _ => return None,
        };
        let axes = self.tuple(shape)?.iter().map(|&axis| match self.pickle.node(axis) {
            Node::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        });
        Some((self.floats(data, kind)?, axes.collect::<Option<_>>()?))
    }

    /// A numpy scalar; arguments: dtype, bytes.
    fn scalar(&self, id: Id) -> Option<f64> {
        let Node::Object { arguments, .. } = self.pickle.node(id) else { return None };
        match (self.pickle.maker(id)?.1, self.tuple(*arguments)?) {
            ("scalar", &[kind, data]) => self.floats(data, kind)?.first().copied(),
            _ => None,
        }
    }

    /// Decodes bytes as the floats of a numpy dtype.
    fn floats(&self, data: Id, kind: Id) -> Option<Vec<f64>> {
        let Node::Object { arguments, state, .. } = self.pickle.node(kind) else { return None };
        if self.pickle.maker(kind)?.1 != "dtype" {
            return None;
        }
        let Node::Text(code) = self.pickle.node(*self.tuple(*arguments)?.first()?) else { return None };
        // State: version, byte order and more.
        let Node::Text(order) = self.pickle.node(*self.tuple((*state)?)?.get(1)?) else { return None };
        let bytes = self.bytes(data)?;
        let (eight, rest8) = bytes.as_chunks::<8>();
        let (four, rest4) = bytes.as_chunks::<4>();
        match (code.as_str(), order.as_str()) {
            ("f8", "<") if rest8.is_empty() => Some(eight.iter().map(|b| f64::from_le_bytes(*b)).collect()),
            ("f8", ">") if rest8.is_empty() => Some(eight.iter().map(|b| f64::from_be_bytes(*b)).collect()),
            ("f4", "<") if rest4.is_empty() => Some(four.iter().map(|b| f32::from_le_bytes(*b).into()).collect()),
            _ => None,
        }
    }

    fn bytes(&self, id: Id) -> Option<Vec<u8>> {
        match self.pickle.node(id) {
            Node::Bytes(bytes) => Some(bytes.clone()),
            // Protocol 2 has no bytes: they are text to be encoded as Latin-1.
            Node::Object { arguments, .. } if self.pickle.maker(id) == Some(("_codecs", "encode")) => {
                match self.pickle.node(*self.tuple(*arguments)?.first()?) {
                    Node::Text(text) => text.chars().map(|c| u8::try_from(c).ok()).collect(),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// What kind of plain value a pickle holds, for messages.
fn outline(pickle: &Pickle, id: Id) -> String {
    let dictionary = |id: Id| match pickle.node(id) {
        Node::Dict(fields) => {
            let keys = fields.iter().take(8).filter_map(|(key, _)| match pickle.node(*key) {
                Node::Text(text) => Some(text.chars().take(40).collect::<String>().escape_default().to_string()),
                _ => None,
            });
            Some(format!("dictionary ({})", keys.collect::<Vec<_>>().join(", ")))
        }
        _ => None,
    };
    match pickle.node(id) {
        Node::Tuple(items) | Node::List(items) => {
            let first = items.first().and_then(|&id| dictionary(id));
            format!("sequence of {}{}", items.len(), first.map(|d| format!(", the first a {d}")).unwrap_or_default())
        }
        _ => dictionary(id).unwrap_or_else(|| "value of another kind".into()),
    }
}
