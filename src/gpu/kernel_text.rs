//! The text of a kernel: prelude, shared files and its own file put together, any of them changed by the user, with override constants
//! given their values; and compilers' messages led back to file and line.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::path::PathBuf;

use super::prelude::Form;
use crate::error::{Error, Result};
use crate::graph::Kernel;

/// Files that stand in for built-in ones, by name: `gelu` for `kernels/gelu.wgsl`, `shared/tile` for `kernels/shared/tile.wgsl`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedKernels {
    files: BTreeMap<String, (PathBuf, String)>,
}

impl ChangedKernels {
    /// Adds a file with its text.
    pub fn insert(&mut self, name: impl Into<String>, file: impl Into<PathBuf>, text: impl Into<String>) {
        self.files.insert(name.into(), (file.into(), text.into()));
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The names of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Whether the kernel's own file or one that it shares is changed.
    #[must_use]
    pub fn concern(&self, kernel: &Kernel) -> bool {
        self.files.contains_key(kernel.name)
            || kernel.shared.iter().any(|file| self.files.contains_key(&format!("shared/{}", file.name)))
    }
}

/// A kernel's whole text and the files it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelText {
    /// The WGSL.
    pub text: String,
    kernel: &'static str,
    is_changed: bool,
    /// Where each part begins, and the path of its file.
    parts: Vec<(usize, String)>,
}

/// The whole text of a kernel: prelude, shared files, its own file.
#[must_use]
pub fn assemble(kernel: &'static Kernel, form: Form, changed: &ChangedKernels) -> KernelText {
    let mut whole = KernelText {
        text: form.prelude(),
        kernel: kernel.name,
        is_changed: changed.concern(kernel),
        parts: vec![(0, "prelude".to_owned())],
    };
    let shared = kernel.shared.iter().map(|file| (format!("shared/{}", file.name), file.source));
    for (name, source) in shared.chain([(kernel.name.to_owned(), kernel.source)]) {
        let (path, text) = match changed.files.get(&name) {
            Some((file, text)) => (file.display().to_string(), text.as_str()),
            None => (format!("kernels/{name}.wgsl"), source),
        };
        whole.parts.push((whole.text.len(), path));
        whole.text.push_str(&repeated(text, form.blocks()));
        whole.text.push('\n');
    }
    if let Some((input, output)) = form.in_place {
        whole.text = in_place(&whole.text, input, output).unwrap_or(whole.text);
    }
    whole
}

/// The text of a kernel whose input lies in the memory of its output (see [`Launch::in_place`]): the input has no declaration,
/// and what read it reads the output. Lines stay where they are. `None` where the two are not declared on a line each.
///
/// [`Launch::in_place`]: crate::graph::Launch::in_place
fn in_place(text: &str, input: usize, output: usize) -> Option<String> {
    let declared = |position: usize| {
        let line = text.lines().find(|line| line.starts_with(&format!("@group(0) @binding({position}) ")))?;
        Some((line, line.split_once('>')?.1.split_once(':')?.0.trim()))
    };
    let ((line, from), (_, to)) = (declared(input)?, declared(output)?);
    Some(renamed(&text.replacen(line, "", 1), &format!("{from}["), &format!("{to}[")))
}

impl KernelText {
    /// The text as other tools compile it: every `override` constant as a `const` with the value given here or its default.
    ///
    /// # Errors
    /// [`Error::Kernel`] for an `override` that is not of the form `override NAME: TYPE = VALUE;` on one line.
    pub fn specialised(&self, constants: &[(&'static str, f64)]) -> Result<String> {
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            match line.strip_prefix("override ") {
                None => text.push_str(line),
                Some(rest) => {
                    let constant = constant(rest, constants).ok_or_else(|| {
                        self.error(format!("found '{line}', expected 'override NAME: TYPE = VALUE;' on one line"))
                    })?;
                    text.push_str(&constant);
                }
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// An error of this kernel: the user's where the user changed it.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> Error {
        let (kernel, message) = (self.kernel.to_owned(), message.into());
        if self.is_changed { Error::ChangedKernel { kernel, message } } else { Error::Kernel { kernel, message } }
    }

    /// Parses and validates the text; messages name file, line and column.
    ///
    /// # Errors
    /// The compiler's.
    pub fn compile(&self, capabilities: naga::valid::Capabilities) -> Result<naga::Module> {
        let module = naga::front::wgsl::parse_str(&self.text).map_err(|e| {
            let labels = e.labels().filter_map(|(span, label)| Some((span.to_range()?, label.to_owned()))).collect();
            self.located(e.message(), labels, e.notes().map(str::to_owned).collect())
        })?;
        let mut validator = naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
        validator.validate(&module).map_err(|e| {
            let labels = e.spans().filter_map(|(span, label)| Some((span.to_range()?, label.clone()))).collect();
            let mut causes = Vec::new();
            let mut cause = std::error::Error::source(e.as_inner());
            while let Some(error) = cause {
                causes.push(error.to_string());
                cause = error.source();
            }
            self.located(&e.as_inner().to_string(), labels, causes)
        })?;
        Ok(module)
    }

    /// A message with the lines it is about: the place of the first label in front, each line with a mark under it.
    fn located(&self, message: &str, labels: Vec<(Range<usize>, String)>, notes: Vec<String>) -> Error {
        let mut told = match labels.first() {
            Some((range, _)) => {
                let (path, line, column) = self.place(range.start);
                format!("{path}:{line}:{column}: {message}")
            }
            None => message.to_owned(),
        };
        for (range, label) in labels {
            let start = range.start.min(self.text.len());
            let (path, line, column) = self.place(start);
            let from = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
            let source = self.text[from..].lines().next().unwrap_or("");
            let room = (from + source.len()).saturating_sub(start).max(1);
            let marks = "^".repeat(range.len().clamp(1, room));
            let _ = write!(told, "\n  {path}:{line}\n    {source}\n    {}{marks} {label}", " ".repeat(column - 1));
        }
        for note in notes {
            let _ = write!(told, "\n  {note}");
        }
        self.error(told)
    }

    /// File, line and column of a place in the text, counted from one.
    fn place(&self, at: usize) -> (&str, usize, usize) {
        let at = at.min(self.text.len());
        let part = self.parts.iter().rev().find(|(start, _)| *start <= at);
        let (start, path) = part.map_or((0, "prelude"), |(start, path)| (*start, path.as_str()));
        let before = &self.text[start..at];
        let column = before.rfind('\n').map_or(before, |end| &before[end + 1..]).chars().count() + 1;
        (path, before.matches('\n').count() + 1, column)
    }
}

/// How often lines may be repeated: a kernel of someone else's must not fill the memory.
const MOST_COPIES: usize = 64;

/// The text with its repeated lines written out. They stand between the lines `// each NAME < COUNT` and `// end` and are there COUNT times, with 0u and so on
/// for the word NAME and _0 and so on where names end in _NAME. COUNT is a number up to [`MOST_COPIES`], or BLOCKS. The first copy stands where the lines are,
/// the others follow on the line of the end, so that lines keep their numbers. What has no end, or another count, is a comment as any.
fn repeated(text: &str, blocks: usize) -> String {
    let is_end = |line: &str| line.trim() == "// end";
    let mut result = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let head = line.trim().strip_prefix("// each ").and_then(|rest| rest.split_once(" < "));
        let count = |text: &str| if text == "BLOCKS" { Some(blocks) } else { text.parse().ok() };
        let head = head.and_then(|(name, text)| Some((name, count(text).filter(|count| *count <= MOST_COPIES)?)));
        let Some((name, count)) = head.filter(|_| lines.clone().any(is_end)) else {
            result.push_str(line);
            result.push('\n');
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !is_end(line)).collect();
        result.push('\n');
        for line in &block {
            result.push_str(&numbered(line, name, 0));
            result.push('\n');
        }
        for number in 1..count {
            for line in &block {
                let code = line.split_once("//").map_or(*line, |(code, _)| code);
                result.push_str(&numbered(code.trim(), name, number));
                result.push(' ');
            }
        }
        result.push('\n');
    }
    result
}

/// The line with a number for each word that is the name, or that ends in it after a `_`.
fn numbered(line: &str, name: &str, number: usize) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut result = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        result.push_str(before);
        let ends = !after.chars().next().is_some_and(is_part);
        match before.chars().next_back() {
            Some('_') if ends => result.push_str(&number.to_string()),
            Some(c) if is_part(c) => result.push_str(name),
            _ if ends => result.push_str(&format!("{number}u")),
            _ => result.push_str(name),
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

/// The text with `to` instead of `from`, a name and what follows it, wherever the name is not the end of a longer one.
fn renamed(text: &str, from: &str, to: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = rest.split_at(at);
        let is_end = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
        result.push_str(before);
        result.push_str(if is_end { from } else { to });
        rest = &after[from.len()..];
    }
    result.push_str(rest);
    result
}

/// `NAME: TYPE = DEFAULT; ...` as a constant of the value given for the name, if any.
fn constant(declaration: &str, constants: &[(&'static str, f64)]) -> Option<String> {
    let (declared, rest) = declaration.split_once('=')?;
    let (name, kind) = declared.split_once(':')?;
    let (name, kind) = (name.trim(), kind.trim());
    let (default, comment) = rest.split_once(';')?;
    let value = match constants.iter().find(|(given, _)| *given == name) {
        None => default.trim().to_owned(),
        Some((_, value)) => match kind {
            "bool" => (*value != 0.0).to_string(),
            "u32" => format!("{value}u"),
            "i32" => format!("{value}i"),
            "f32" => format!("{value:?}f"),
            _ => return None,
        },
    };
    Some(format!("const {name}: {kind} = {value};{comment}"))
}

#[cfg(test)]
mod tests {
    use naga::valid::Capabilities;

    use super::{ChangedKernels, Form, assemble};
    use crate::graph::{Kernel, SharedFile};

    static KERNEL: Kernel = Kernel {
        name: "sample",
        source: "override SIZE: u32 = 64u; // threads\n@compute @workgroup_size(SIZE)\nfn main() {}\n",
        shared: &[SharedFile { name: "part", source: "const HALF: f32 = 0.5;\n" }],
    };

    #[test]
    fn constants_take_their_values_and_keep_their_defaults() {
        let text = assemble(&KERNEL, Form::default(), &ChangedKernels::default());
        let default = text.specialised(&[]).expect("plain");
        assert!(default.contains("\nconst SIZE: u32 = 64u; // threads\n"), "{default}");
        let chosen = text.specialised(&[("SIZE", 32.0)]).expect("plain");
        assert!(chosen.contains("\nconst SIZE: u32 = 32u; // threads\n"), "{chosen}");
        naga::front::wgsl::parse_str(&chosen).expect("it compiles");
    }

    #[test]
    fn lines_are_repeated_and_keep_their_numbers() {
        static KERNEL: Kernel = Kernel {
            name: "rows",
            source: "fn f() -> u32 {\n    // each ROW < 3\n    var sum_ROW = 2u * ROW; // ROWS\n    sum_ROW += ARROW + ROW_S;\n    // end\n    \
                     // each BLOCK < BLOCKS\n    sum_BLOCK += 1u;\n    // end\n    return sum_2;\n}\nconst ARROW = 1u;\nconst ROW_S = 2u;\n\
                     @compute @workgroup_size(1)\nfn main() { _ = f(); }\n",
            shared: &[],
        };
        let text = assemble(&KERNEL, Form::default(), &ChangedKernels::default()).text;
        assert!(text.contains("\n    var sum_0 = 2u * 0u; // ROWS\n    sum_0 += ARROW + ROW_S;\n"), "{text}");
        let others = "var sum_1 = 2u * 1u; sum_1 += ARROW + ROW_S; var sum_2 = 2u * 2u; sum_2 += ARROW + ROW_S;";
        assert!(text.contains(&format!("\n{others} \n")), "{text}");
        assert!(text.contains("\n    sum_0 += 1u;\n\n    return"), "one block of single elements: {text}");
        let quads = assemble(&KERNEL, Form { item: 4, ..Form::default() }, &ChangedKernels::default());
        assert!(quads.text.contains("\nsum_1 += 1u; \n    return"), "{}", quads.text);
        quads.compile(Capabilities::empty()).expect("it compiles");

        for odd in ["// each ROW < 65\nROW\n// end\n", "// each ROW < 2\nROW\n", "// each of them < all\nROW\n// end\n"]
        {
            assert_eq!(super::repeated(odd, 2), odd);
        }

        let mut changed = ChangedKernels::default();
        changed.insert("rows", "mine.wgsl", KERNEL.source.replace("return sum_2", "return nothing"));
        let broken = assemble(&KERNEL, Form::default(), &changed).compile(Capabilities::empty());
        let message = broken.expect_err("no such name").to_string();
        assert!(message.contains("mine.wgsl:9:"), "{message}");
    }

    #[test]
    fn in_place_the_output_is_read() {
        static COPY: Kernel = Kernel {
            name: "copy",
            source: "@group(0) @binding(0) var<storage, read> x: array<f32>;\n\
                     @group(0) @binding(1) var<storage, read_write> out: array<f32>;\n\
                     @compute @workgroup_size(1)\nfn main() { let max = vec2<f32>(x[0], 1.0); out[0] = x[1] + max[0] + max.x; }\n",
            shared: &[],
        };
        let apart = assemble(&COPY, Form::default(), &ChangedKernels::default());
        let form = Form { in_place: Some((0, 1)), ..Form::default() };
        let merged = assemble(&COPY, form, &ChangedKernels::default());
        assert!(merged.text.contains("vec2<f32>(out[0], 1.0); out[0] = out[1] + max[0] + max.x;"), "{}", merged.text);
        assert!(!merged.text.contains("binding(0)"), "{}", merged.text);
        assert_eq!(merged.text.lines().count(), apart.text.lines().count());
        merged.compile(Capabilities::empty()).expect("it compiles");
    }

    #[test]
    fn messages_name_the_file_and_the_line_in_it() {
        let mut changed = ChangedKernels::default();
        changed.insert("sample", "mine/sample.wgsl", "@compute @workgroup_size(64)\nfn main() {\n    nonsense();\n}\n");
        let message = assemble(&KERNEL, Form::default(), &changed)
            .compile(Capabilities::empty())
            .expect_err("no such function")
            .to_string();
        assert!(message.contains("mine/sample.wgsl:3:5: "), "{message}");
        assert!(message.contains("    nonsense();\n        ^^^^^^^^"), "{message}");
        changed.insert("shared/part", "mine/shared/part.wgsl", "\nconst HALF: f32 = 0.5u;\n");
        let message = assemble(&KERNEL, Form::default(), &changed)
            .compile(Capabilities::empty())
            .expect_err("a wrong type")
            .to_string();
        assert!(message.contains("mine/shared/part.wgsl:2:"), "{message}");
    }
}
