//! Executes instructions as the PTX manual defines them.

use half::{bf16, f16};
use longshore_loader_cuda::dequantize::{Arguments, Launch};

use super::{
    memory::Memory,
    parse::{Instruction, Operand, Program, Special},
};

/// Runs every thread of a launch.
pub(super) fn launch(program: &Program, launch: &Launch, memory: &mut Memory) {
    let [blocks_x, blocks_y] = launch.grid;
    for block_y in 0..blocks_y {
        for block_x in 0..blocks_x {
            for thread_x in 0..launch.block {
                let special = [block_x, block_y, thread_x].map(u64::from);
                let registers = vec![0xDEAD_BEEF; program.registers];
                Thread { registers, special, arguments: &launch.arguments, memory }.run(program);
            }
        }
    }
}

struct Thread<'a> {
    /// Registers. Narrow ones use the low bits, with zeros above.
    registers: Vec<u64>,
    special: [u64; 3],
    arguments: &'a Arguments,
    memory: &'a mut Memory,
}

impl Thread<'_> {
    fn run(&mut self, program: &Program) {
        let mut at = 0;
        while let Some(instruction) = program.instructions.get(at) {
            at += 1;
            if instruction.guard.is_some_and(|(predicate, value)| (self.registers[predicate] != 0) != value) {
                continue;
            }
            match instruction.operation.as_str() {
                "ret" => return,
                "bra" => {
                    let [Operand::Label(to)] = instruction.operands[..] else { panic!("{instruction:?}") };
                    at = to;
                }
                operation if operation.starts_with("ld.global.nc.") => self.load(instruction),
                operation if operation.starts_with("st.global.") => self.store(instruction),
                _ => {
                    let [Operand::Register(to), ref from @ ..] = instruction.operands[..] else {
                        panic!("{instruction:?}")
                    };
                    self.registers[to] = self.compute(&instruction.operation, from);
                }
            }
        }
        panic!("a kernel ends with ret");
    }

    fn value(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Register(register) => self.registers[register],
            Operand::Immediate(value) => value,
            Operand::Special(Special::BlockX) => self.special[0],
            Operand::Special(Special::BlockY) => self.special[1],
            Operand::Special(Special::ThreadX) => self.special[2],
            Operand::Parameter(number) => {
                let Arguments { weight, scale, extra, output, units, group_shift, .. } = *self.arguments;
                [weight, scale, extra, output, units, group_shift.into()][number]
            }
            Operand::Address(register, offset) => self.registers[register].wrapping_add(offset),
            Operand::Label(_) => panic!("a label is no value"),
        }
    }

    fn load(&mut self, Instruction { operation, operands, .. }: &Instruction) {
        let [ref to @ .., from] = operands[..] else { panic!("a load has an address") };
        let from = self.value(from);
        let loaded = match operation.as_str() {
            "ld.global.nc.u8" => vec![u64::from(self.memory.load::<1>(from)[0])],
            "ld.global.nc.u16" => vec![u64::from(u16::from_le_bytes(self.memory.load(from)))],
            "ld.global.nc.u32" => vec![u64::from(u32::from_le_bytes(self.memory.load(from)))],
            "ld.global.nc.v2.u32" => {
                let both = u64::from_le_bytes(self.memory.load(from));
                vec![low(both).into(), both >> 32]
            }
            other => panic!("{other} is not known"),
        };
        assert_eq!(to.len(), loaded.len());
        for (to, value) in to.iter().zip(loaded) {
            let Operand::Register(to) = *to else { panic!("a load fills registers") };
            self.registers[to] = value;
        }
    }

    fn store(&mut self, Instruction { operation, operands, .. }: &Instruction) {
        assert!(["st.global.v4.u32", "st.global.v4.f32"].contains(&operation.as_str()), "{operation} is not known");
        let [to, words @ ..] = operands.as_slice() else { panic!("a store has an address") };
        let bytes: Vec<u8> = words.iter().flat_map(|word| low(self.value(*word)).to_le_bytes()).collect();
        let to = self.value(*to);
        self.memory.store(to, <[u8; 16]>::try_from(bytes).expect("a vector has four words"));
    }

    /// Computes the result of an operation on registers, immediates and parameters.
    fn compute(&self, operation: &str, from: &[Operand]) -> u64 {
        let get = |index: usize| self.value(from[index]);
        let word = |index: usize| low(get(index));
        let float = |index: usize| f32::from_bits(word(index));
        let half_float = |index: usize, half: usize| f16::from_bits(halves(word(index))[half]).to_f32();
        match operation {
            "mov.u32" | "mov.b32" | "mov.f32" | "ld.param.u32" | "cvt.u32.u64" | "cvt.u64.u32" => word(0).into(),
            "ld.param.u64" | "cvta.to.global.u64" => get(0),
            "cvt.u16.u32" | "cvt.u32.u16" => get(0) & 0xFFFF,
            "add.s32" => word(0).wrapping_add(word(1)).into(),
            "add.s64" => get(0).wrapping_add(get(1)),
            "mul.lo.s32" => word(0).wrapping_mul(word(1)).into(),
            "mul.lo.s64" => get(0).wrapping_mul(get(1)),
            "mul.wide.u32" => u64::from(word(0)) * u64::from(word(1)),
            "and.b32" => (word(0) & word(1)).into(),
            "and.b64" => get(0) & get(1),
            "or.b32" => (word(0) | word(1)).into(),
            // A shift by more than the width gives zero.
            "shl.b32" => word(0).checked_shl(word(1)).unwrap_or(0).into(),
            "shr.u32" => word(0).checked_shr(word(1)).unwrap_or(0).into(),
            "shl.b64" => get(0).checked_shl(word(1)).unwrap_or(0),
            "shr.u64" => get(0).checked_shr(word(1)).unwrap_or(0),
            "shf.r.wrap.b32" => low((u64::from(word(1)) << 32 | u64::from(word(0))) >> (word(2) & 31)).into(),
            "setp.eq.s32" => (word(0) == word(1)).into(),
            "setp.lt.u32" => (word(0) < word(1)).into(),
            "setp.eq.s64" => (get(0) == get(1)).into(),
            "setp.ge.u64" => (get(0) >= get(1)).into(),
            "selp.b32" | "selp.f32" => u64::from(if get(2) != 0 { word(0) } else { word(1) }),
            "add.rn.f32" => canonical(float(0) + float(1)).into(),
            "mul.rn.f32" => canonical(float(0) * float(1)).into(),
            "cvt.f32.f16" => canonical(f16::from_bits(halves(word(0))[0]).to_f32()).into(),
            // The first operand goes to the upper half.
            "cvt.rn.bf16x2.f32" => pair([1, 0].map(|index| to_bf16(float(index)))),
            "cvt.rn.f16x2.f32" => pair([1, 0].map(|index| to_f16(float(index)))),
            // In f32 a product of two is exact, and a sum rounded twice equals a sum rounded once.
            "add.rn.f16x2" => pair([0, 1].map(|half| to_f16(half_float(0, half) + half_float(1, half)))),
            "mul.rn.f16x2" => pair([0, 1].map(|half| to_f16(half_float(0, half) * half_float(1, half)))),
            "fma.rn.bf16x2" => pair([0, 1].map(|half| {
                let [a, b, c] = [0, 1, 2].map(|index| bf16::from_bits(halves(word(index))[half]).to_f32());
                assert!(b.to_bits() == 1f32.to_bits() || c.to_bits() == (-0f32).to_bits(), "it rounds once");
                to_bf16(a * b + c)
            })),
            other => panic!("{other} is not known"),
        }
    }
}

/// Returns the bits of an arithmetic result, with a single NaN.
fn canonical(value: f32) -> u32 {
    if value.is_nan() { 0x7FFF_FFFF } else { value.to_bits() }
}

fn to_bf16(value: f32) -> u16 {
    if value.is_nan() { 0x7FFF } else { bf16::from_f32(value).to_bits() }
}

fn to_f16(value: f32) -> u16 {
    if value.is_nan() { 0x7FFF } else { f16::from_f32(value).to_bits() }
}

fn low(value: u64) -> u32 {
    u32::try_from(value & 0xFFFF_FFFF).expect("it has 32 bits")
}

fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}

fn pair([low, high]: [u16; 2]) -> u64 {
    u64::from(low) | u64::from(high) << 16
}
