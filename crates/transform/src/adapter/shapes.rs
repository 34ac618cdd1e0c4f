//! The factors of a pair, seen as matrices whose lines run along a weight.

use super::{
    error::AdapterError,
    format::Format,
    read::{Adapter, Pair},
    update::View,
};

/// A pair of plain factors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factors {
    pub(super) rank: u64,
    /// The factor along the inputs, and their number.
    pub(super) inputs: (View, u64),
    /// The factor along the outputs, and their number.
    pub(super) outputs: (View, u64),
}

/// The extents of a pair for all experts of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stacked {
    pub(super) rank: u64,
    pub(super) experts: u64,
    pub(super) inputs: u64,
    pub(super) outputs: u64,
}

impl Adapter {
    fn extents<const N: usize>(&self, at: usize, expected: &'static str) -> Result<[u64; N], AdapterError> {
        let found = &self.tensors[at].shape;
        let extents: Option<[u64; N]> = found.as_slice().try_into().ok();
        extents.filter(|extents| extents.iter().all(|extent| *extent > 0)).ok_or_else(|| AdapterError::Extents {
            tensor: self.name(at),
            found: found.clone(),
            expected,
        })
    }

    fn equal_ranks(&self, pair: &Pair, of_a: u64, of_b: u64) -> Result<(), AdapterError> {
        if of_a == of_b {
            return Ok(());
        }
        Err(AdapterError::Rank { tensor: self.name(pair.b), found: of_b, expected: of_a, by: self.name(pair.a) })
    }

    /// The factors of one matrix.
    pub(super) fn factors(&self, pair: &Pair) -> Result<Factors, AdapterError> {
        let ([a0, a1], [b0, b1]) = match self.format() {
            Format::Mlx => (self.extents(pair.a, "[inputs, rank]")?, self.extents(pair.b, "[rank, outputs]")?),
            Format::Gguf if pair.is_embedding => {
                (self.extents(pair.a, "[vocabulary, rank]")?, self.extents(pair.b, "[width, rank]")?)
            }
            Format::Peft | Format::Gguf => {
                (self.extents(pair.a, "[rank, inputs]")?, self.extents(pair.b, "[outputs, rank]")?)
            }
        };
        let view = |tensor, along, rank| View { tensor, start: 0, along, rank, head: None };
        let (rank, of_b, inputs, outputs) = match self.format() {
            Format::Gguf if pair.is_embedding => (a1, b1, (view(pair.a, a1, 1), a0), (view(pair.b, b1, 1), b0)),
            Format::Peft | Format::Gguf => (a0, b1, (view(pair.a, 1, a1), a1), (view(pair.b, b1, 1), b0)),
            Format::Mlx => (a1, b0, (view(pair.a, a1, 1), a0), (view(pair.b, 1, b1), b1)),
        };
        self.equal_ranks(pair, rank, of_b)?;
        let (view, rows) = outputs;
        let head = pair.alternating.as_ref().map(|heads| heads.rows(self.name(pair.b), rows)).transpose()?;
        Ok(Factors { rank, inputs, outputs: (View { head, ..view }, rows) })
    }

    /// The extents of the factors for a stack of `experts` matrices.
    pub(super) fn stacked(&self, pair: &Pair, experts: u64) -> Result<Stacked, AdapterError> {
        match self.format() {
            Format::Peft => {
                let [lines, inputs] = self.extents(pair.a, "[rank × experts, inputs]")?;
                let [outputs, columns] = self.extents(pair.b, "[outputs, rank × experts]")?;
                self.equal_ranks(pair, lines, columns)?;
                if !lines.is_multiple_of(experts) {
                    let expected = "a multiple of the number of experts, [rank × experts, inputs]";
                    return Err(AdapterError::Extents {
                        tensor: self.name(pair.a),
                        found: self.tensors[pair.a].shape.clone(),
                        expected,
                    });
                }
                Ok(Stacked { rank: lines / experts, experts, inputs, outputs })
            }
            Format::Mlx | Format::Gguf => {
                let [of_a, rank, inputs] = self.extents(pair.a, "[experts, rank, inputs]")?;
                let [of_b, outputs, rank_of_b] = self.extents(pair.b, "[experts, outputs, rank]")?;
                self.equal_ranks(pair, rank, rank_of_b)?;
                if of_a != experts || of_b != experts {
                    let at = if of_a == experts { pair.b } else { pair.a };
                    return Err(AdapterError::Extents {
                        tensor: self.name(at),
                        found: self.tensors[at].shape.clone(),
                        expected: "one matrix for each expert of the base",
                    });
                }
                Ok(Stacked { rank, experts, inputs, outputs })
            }
        }
    }

    /// The factors of one expert. In PEFT the lines of A go by experts, and the columns of B by ranks.
    pub(super) fn of_expert(&self, pair: &Pair, stacked: Stacked, expert: u64) -> Factors {
        let Stacked { rank, experts, inputs, outputs } = stacked;
        let view = |tensor, start, along, rank| View { tensor, start, along, rank, head: None };
        let (a, b) = match self.format() {
            Format::Peft => {
                let a = view(pair.a, expert * rank * inputs, 1, inputs);
                (a, view(pair.b, expert, rank * experts, experts))
            }
            Format::Mlx | Format::Gguf => {
                let a = view(pair.a, expert * rank * inputs, 1, inputs);
                (a, view(pair.b, expert * outputs * rank, rank, 1))
            }
        };
        Factors { rank, inputs: (a, inputs), outputs: (b, outputs) }
    }
}
