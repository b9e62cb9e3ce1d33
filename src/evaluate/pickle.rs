//! Reads Python pickles as plain data.
//!
//! A pickle is a program for a small stack machine, and Python runs whatever function it names. This machine calls
//! nothing: a call is recorded as a [`Node::Object`] with the name of what would have been called, and any name that is
//! not on the caller's list ends the reading. Opcodes: <https://docs.python.org/3/library/pickletools.html>.
//!
//! Values live in one table and refer to each other by index, so that shared and cyclic values cost nothing extra and
//! no reading recurses. Every opcode adds at most one entry: memory is bounded by the length of the file.

use std::collections::HashMap;

/// Index of a value.
pub(crate) type Id = usize;

/// A value. Kinds that no calibrator needs are left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A function or class: module and name.
    Global(String, String),
    /// What a call or an instantiation would have made.
    Object {
        callable: Id,
        arguments: Id,
        state: Option<Id>,
    },
}

/// Why a pickle was not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It names a function or class that is not allowed.
    Global(String),
    /// It is no pickle, cut short, or uses an opcode that is not supported.
    Damaged(String),
}

/// All values of a pickle, and which is the outermost.
#[derive(Debug)]
pub(crate) struct Pickle {
    nodes: Vec<Node>,
    pub(crate) root: Id,
}

impl Pickle {
    pub(crate) fn node(&self, id: Id) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::None)
    }

    /// Module and name of what an object would have been made by.
    pub(crate) fn maker(&self, id: Id) -> Option<(&str, &str)> {
        match self.node(id) {
            Node::Object { callable, .. } => match self.node(*callable) {
                Node::Global(module, name) => Some((module, name)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Reads a pickle of protocol 2 to 5. `allowed` lists the modules and names that may occur.
pub(crate) fn read(bytes: &[u8], allowed: &[(&str, &str)]) -> Result<Pickle, Refusal> {
    let mut machine =
        Machine { bytes, allowed, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        let opcode = machine.byte()?;
        if opcode == b'.' {
            if !machine.marks.is_empty() {
                return damaged("an unfinished collection");
            }
            let root = machine.pop()?;
            return Ok(Pickle { nodes: machine.nodes, root });
        }
        machine.step(opcode)?;
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    allowed: &'a [(&'a str, &'a str)],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

type Step<T = ()> = Result<T, Refusal>;

fn damaged<T>(reason: impl Into<String>) -> Step<T> {
    Err(Refusal::Damaged(reason.into()))
}

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Step {
        match opcode {
            // Protocol and frame headers say nothing that matters here.
            0x80 => self.take(1).map(|_| ()),
            0x95 => self.take(8).map(|_| ()),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_mark().map(|_| ()),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()))
            }
            b'K' => {
                let value = self.byte()?;
                self.push(Node::Int(value.into()))
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Node::Int(value.into()))
            }
            0x8a => self.long(),
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.push(Node::Float(value))
            }
            b'X' | 0x8c | 0x8d => {
                let bytes = self.counted(opcode)?;
                match std::str::from_utf8(bytes) {
                    Ok(text) => self.push(Node::Text(text.to_owned())),
                    Err(_) => damaged("text that is not UTF-8"),
                }
            }
            b'B' | b'C' | 0x8e | 0x96 | b'T' | b'U' => {
                let bytes = self.counted(opcode)?.to_vec();
                self.push(Node::Bytes(bytes))
            }
            b')' | 0x85..=0x87 | b't' | b']' | b'l' | b'a' | b'e' | b'}' | b'd' | b's' | b'u' => {
                self.collection(opcode)
            }
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(opcode),
            b'c' | 0x93 | b'i' | b'R' | 0x81 | 0x92 | b'b' => self.object(opcode),
            other => damaged(format!("opcode 0x{other:02x}, which calibrators do not use")),
        }
    }

    fn collection(&mut self, opcode: u8) -> Step {
        match opcode {
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x85..=opcode {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items))
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items))
            }
            b']' => self.push(Node::List(Vec::new())),
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Node::List(items))
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Node::Dict(pairs(&items)?))
            }
            b'a' | b'e' => {
                let items = if opcode == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
                match self.top_node()? {
                    Node::List(list) => list.extend(items),
                    _ => return damaged("items for something that is no list"),
                }
                Ok(())
            }
            _ => {
                let items = if opcode == b's' {
                    let value = self.pop()?;
                    vec![self.pop()?, value]
                } else {
                    self.pop_mark()?
                };
                let items = pairs(&items)?;
                match self.top_node()? {
                    Node::Dict(dict) => dict.extend(items),
                    _ => return damaged("items for something that is no dictionary"),
                }
                Ok(())
            }
        }
    }

    fn memory(&mut self, opcode: u8) -> Step {
        let index = match opcode {
            b'q' | b'h' => usize::from(self.byte()?),
            b'r' | b'j' => u32::from_le_bytes(self.array()?) as usize,
            _ => self.memo.len(),
        };
        if matches!(opcode, b'h' | b'j') {
            let Some(&id) = self.memo.get(&index) else { return damaged("a reference to nothing") };
            self.stack.push(id);
        } else {
            let id = self.top()?;
            self.memo.insert(index, id);
        }
        Ok(())
    }

    /// Names, calls and instances: recorded, never carried out.
    fn object(&mut self, opcode: u8) -> Step {
        match opcode {
            b'c' | b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.nodes.get(module).cloned(), self.nodes.get(name).cloned()) {
                    (Some(Node::Text(module)), Some(Node::Text(name))) => self.global(module, name),
                    _ => damaged("a name that is no text"),
                }
            }
            b'b' => {
                let given = self.pop()?;
                match self.top_node()? {
                    Node::Object { state, .. } => *state = Some(given),
                    _ => return damaged("a state for something that is no object"),
                }
                Ok(())
            }
            _ => {
                if opcode == 0x92 {
                    // Keyword arguments; nothing that is read here needs them.
                    self.pop()?;
                }
                let arguments = self.pop()?;
                let callable = self.pop()?;
                self.push(Node::Object { callable, arguments, state: None })
            }
        }
    }

    fn global(&mut self, module: String, name: String) -> Step {
        if !self.allowed.contains(&(module.as_str(), name.as_str())) {
            let full: String = format!("{module}.{name}").chars().take(100).collect();
            return Err(Refusal::Global(full.escape_default().to_string()));
        }
        self.push(Node::Global(module, name))
    }

    /// An integer of up to eight bytes in two's complement, least byte first.
    fn long(&mut self) -> Step {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length)?;
        if length > 8 {
            return damaged("an integer of more than 64 bits");
        }
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut padded = [fill; 8];
        padded[..length].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(padded)))
    }

    fn push(&mut self, node: Node) -> Step {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Step<Id> {
        // What lies below a mark belongs to an unfinished collection.
        if self.marks.last().is_some_and(|&mark| self.stack.len() <= mark) {
            return damaged("an empty stack");
        }
        self.stack.pop().map_or_else(|| damaged("an empty stack"), Ok)
    }

    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => damaged("the end of a collection that never began"),
        }
    }

    fn top(&self) -> Step<Id> {
        self.stack.last().copied().map_or_else(|| damaged("an empty stack"), Ok)
    }

    fn top_node(&mut self) -> Step<&mut Node> {
        let id = self.top()?;
        self.nodes.get_mut(id).map_or_else(|| damaged("an empty stack"), Ok)
    }

    fn byte(&mut self) -> Step<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        match self.bytes.split_first_chunk() {
            Some((first, rest)) => {
                self.bytes = rest;
                Ok(*first)
            }
            None => damaged("an end in the middle"),
        }
    }

    fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        match self.bytes.split_at_checked(length) {
            Some((first, rest)) => {
                self.bytes = rest;
                Ok(first)
            }
            None => damaged("an end in the middle"),
        }
    }

    /// Bytes after their count, whose width depends on the opcode.
    fn counted(&mut self, opcode: u8) -> Step<&'a [u8]> {
        let length = match opcode {
            b'C' | b'U' | 0x8c => usize::from(self.byte()?),
            b'B' | b'T' | b'X' => u32::from_le_bytes(self.array()?) as usize,
            _ => usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX),
        };
        self.take(length)
    }

    fn line(&mut self) -> Step<String> {
        match self.bytes.iter().position(|&b| b == b'\n') {
            Some(end) => {
                let text = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
                self.bytes = &self.bytes[end + 1..];
                Ok(text)
            }
            None => damaged("an end in the middle"),
        }
    }
}

fn pairs(items: &[Id]) -> Step<Vec<(Id, Id)>> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() { Ok(pairs.iter().map(|&[k, v]| (k, v)).collect()) } else { damaged("a key without a value") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values() {
        // pickle.dumps({"a": (1, -2, 1.5, None, True), "b": [b"x"]}, 2), with protocol-3 bytes.
        let bytes = b"\x80\x03}(X\x01\0\0\0a(K\x01J\xfe\xff\xff\xffG\x3f\xf8\0\0\0\0\0\0N\x88tX\x01\0\0\0b]C\x01xau.";
        let pickle = read(bytes, &[]).expect("reads");
        let Node::Dict(items) = pickle.node(pickle.root) else { panic!("no dictionary") };
        let Node::Tuple(tuple) = pickle.node(items[0].1) else { panic!("no tuple") };
        assert_eq!(*pickle.node(tuple[1]), Node::Int(-2));
        assert_eq!(*pickle.node(tuple[2]), Node::Float(1.5));
        let Node::List(list) = pickle.node(items[1].1) else { panic!("no list") };
        assert_eq!(*pickle.node(list[0]), Node::Bytes(vec![b'x']));
    }

    #[test]
    fn broken_streams_are_refused() {
        let streams: [&[u8]; 9] = [
            b"",
            b".",
            b"t.",
            b"(.",
            b"K",
            b"h\x05.",
            b"B\xff\xff\xff\xffx",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
            b"}(K\x01u.",
        ];
        for bytes in streams {
            assert!(matches!(read(bytes, &[]), Err(Refusal::Damaged(_))), "{bytes:?}");
        }
    }
}
