//! Parses PTX text into instructions.

use std::collections::HashMap;

/// Instructions of a kernel.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) instructions: Vec<Instruction>,
    pub(super) registers: usize,
}

#[derive(Debug)]
pub(super) struct Instruction {
    /// A predicate register, and the value of it under which the instruction is executed.
    pub(super) guard: Option<(usize, bool)>,
    pub(super) operation: String,
    /// Operands, with the destination first where there is one. The elements of a vector follow each other.
    pub(super) operands: Vec<Operand>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Operand {
    Register(usize),
    Immediate(u64),
    Special(Special),
    /// Address of the parameter with this number.
    Parameter(usize),
    /// A register and an offset in bytes.
    Address(usize, u64),
    /// Number of an instruction.
    Label(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Special {
    BlockX,
    BlockY,
    ThreadX,
}

#[derive(Default)]
struct Names<'a> {
    registers: HashMap<&'a str, usize>,
    labels: HashMap<&'a str, usize>,
}

/// Parses the kernel `name` of a module.
pub(super) fn entry(ptx: &str, name: &str) -> Program {
    let start = ptx.find(&format!(".entry {name}(")).unwrap_or_else(|| panic!("the module lacks {name}"));
    let text = &ptx[start..];
    let body = &text[text.find("\n{").expect("an entry has a body")..];
    let body = &body[2..body.find("\n}").expect("a body ends")];
    let lines: Vec<&str> =
        body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('.')).collect();

    let mut names = Names::default();
    let mut texts = Vec::new();
    for line in lines {
        if let Some(label) = line.strip_suffix(':') {
            names.labels.insert(label, texts.len());
        } else {
            texts.push(line.strip_suffix(';').unwrap_or_else(|| panic!("expected an instruction, found {line}")));
        }
    }
    let instructions = texts.into_iter().map(|text| names.instruction(text)).collect();
    Program { instructions, registers: names.registers.len() }
}

impl<'a> Names<'a> {
    fn instruction(&mut self, text: &'a str) -> Instruction {
        let (guard, text) = match text.strip_prefix('@') {
            None => (None, text),
            Some(text) => {
                let (predicate, rest) = text.split_once(char::is_whitespace).expect("a guard guards something");
                let (name, value) = predicate.strip_prefix('!').map_or((predicate, true), |name| (name, false));
                (Some((self.register(name), value)), rest.trim_start())
            }
        };
        let (operation, operands) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let operands = operands.split([',', '{', '}']).map(str::trim).filter(|text| !text.is_empty());
        let operands = operands.map(|text| self.operand(text)).collect();
        Instruction { guard, operation: operation.to_owned(), operands }
    }

    fn operand(&mut self, text: &'a str) -> Operand {
        match text {
            "%ctaid.x" => return Operand::Special(Special::BlockX),
            "%ctaid.y" => return Operand::Special(Special::BlockY),
            "%tid.x" => return Operand::Special(Special::ThreadX),
            _ => {}
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').expect("an address is closed");
            let (base, offset) = inner.split_once('+').unwrap_or((inner, "0"));
            return if base.starts_with('%') {
                Operand::Address(self.register(base), offset.parse().expect("an offset is a number"))
            } else {
                let (_, number) = inner.rsplit_once("_param_").expect("an address is a register or a parameter");
                Operand::Parameter(number.parse().expect("parameters are numbered"))
            };
        }
        if text.starts_with('%') {
            Operand::Register(self.register(text))
        } else if text.starts_with('$') {
            Operand::Label(self.labels[text])
        } else if let Some(bits) = text.strip_prefix("0f") {
            Operand::Immediate(u64::from_str_radix(bits, 16).expect("a float is eight digits"))
        } else {
            let value: i64 = text.parse().unwrap_or_else(|_| panic!("expected an operand, found {text}"));
            Operand::Immediate(value.cast_unsigned())
        }
    }

    fn register(&mut self, name: &'a str) -> usize {
        let next = self.registers.len();
        *self.registers.entry(name).or_insert(next)
    }
}
