//! Products of whole matrices: checks, inputs, and the tasks that they become.

use super::{
    MatmulError, Weights,
    fast::Form,
    level::Level,
    task::{self, Output, Prepared, Task},
};

/// Error that a product may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Inputs as they are: within 1e-5 (L2, relative) of a product in `f64` with the decoded weights.
    Exact,
    /// Inputs rounded to integers, group by group, where weights are integers: to 8 bits under weights of at most 6
    /// bits, to 14 bits under weights of 8 bits. Other weights, floats, mxfp8 and some blocks of ggml, are multiplied
    /// exactly.
    Fast,
}

/// One of the products that share an input.
#[derive(Debug)]
pub struct Product<'a> {
    /// The weights, `[out, in]`.
    pub weights: Weights<'a>,
    /// The output, `[rows, out]`.
    pub y: &'a mut [f32],
}

/// Rows of an input that an expert is picked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertRows<'a> {
    /// Index of the expert.
    pub expert: usize,
    /// Rows of the input, in the order of the output.
    pub rows: &'a [usize],
}

/// Computes y = x Wᵀ with weights as they are stored.
///
/// A multiplier is a small value and keeps nothing between calls. Its threads are those that the caller has
/// [installed](super::Threads::install), else those of the current rayon pool if the feature `rayon` is on; otherwise the
/// caller does all the work. A number of the output has the same bits at any
/// number of threads, of input rows and of output rows, and with every set of instructions.
#[derive(Clone, Copy, Debug)]
pub struct Multiplier {
    precision: Precision,
    level: Level,
}

impl Multiplier {
    /// Creates a multiplier with the fastest instructions of this machine.
    #[must_use]
    pub fn new(precision: Precision) -> Self {
        Self { precision, level: Level::detect() }
    }

    /// Returns this multiplier with the instructions of another level. All levels give the same numbers.
    #[doc(hidden)]
    #[must_use]
    pub const fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Error that a product may have.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        self.precision
    }

    /// Computes `y`, `[rows, out]`, from `x`, `[rows, in]`, and `weights`, `[out, in]`.
    ///
    /// # Errors
    ///
    /// [`MatmulError::InputLength`] and [`MatmulError::OutputLength`] where `x` or `y` has another length. Nothing has
    /// been written then.
    pub fn multiply(&self, weights: Weights<'_>, rows: usize, x: &[f32], y: &mut [f32]) -> Result<(), MatmulError> {
        self.multiply_all(rows, x, &mut [Product { weights, y }])
    }

    /// Computes several products that share an input of `[rows, in]`, on all threads at once, and rounds the input only
    /// once.
    ///
    /// # Errors
    ///
    /// Those of [`multiply`](Self::multiply). Nothing has been written then.
    pub fn multiply_all(&self, rows: usize, x: &[f32], products: &mut [Product<'_>]) -> Result<(), MatmulError> {
        for Product { weights, y } in &*products {
            check_input(rows, weights.columns(), x)?;
            check_output(rows, weights.rows(), y)?;
        }
        let mut inputs: Vec<Prepared<'_>> = Vec::new();
        for Product { weights, .. } in &*products {
            let form = self.form(weights);
            if weights.columns() > 0 && !inputs.iter().any(|input| input.form() == form) {
                inputs.push(Prepared::new(self.level, form, x, weights.columns()));
            }
        }
        let mut tasks = Vec::with_capacity(products.len());
        for Product { weights, y } in products {
            match inputs.iter().find(|input| input.form() == self.form(weights)) {
                Some(input) => tasks.extend(task(*weights, input, y)),
                // There is nothing to sum.
                None => y.fill(0.0),
            }
        }
        task::run(self.level, tasks);
        Ok(())
    }

    /// Computes products with experts whose weights are stacked, `[experts × out, in]`, each with the rows of `x`,
    /// `[rows, in]`, that it is picked for. `y` has a row of `out` numbers for each of these rows, in the order of
    /// `picks`.
    ///
    /// # Errors
    ///
    /// Those of [`multiply`](Self::multiply); [`MatmulError::Experts`] where the weights are not a stack of `experts`,
    /// [`MatmulError::Expert`] and [`MatmulError::Row`] where an expert or a row does not exist. Nothing has been
    /// written then.
    pub fn multiply_experts(
        &self,
        weights: Weights<'_>,
        experts: usize,
        (rows, x): (usize, &[f32]),
        picks: &[ExpertRows<'_>],
        y: &mut [f32],
    ) -> Result<(), MatmulError> {
        let columns = weights.columns();
        check_input(rows, columns, x)?;
        if experts == 0 || !weights.rows().is_multiple_of(experts) {
            return Err(MatmulError::Experts { rows: weights.rows(), experts });
        }
        let out = weights.rows() / experts;
        let mut picked = 0usize;
        for pick in picks {
            if pick.expert >= experts {
                return Err(MatmulError::Expert { experts, found: pick.expert });
            }
            if let Some(&found) = pick.rows.iter().find(|&&row| row >= rows) {
                return Err(MatmulError::Row { what: "the input", rows, found });
            }
            picked = picked.saturating_add(pick.rows.len());
        }
        check_output(picked, out, y)?;
        if columns == 0 {
            y.fill(0.0);
            return Ok(());
        }
        let form = self.form(&weights);
        let gathered: Vec<Vec<f32>> = picks
            .iter()
            .map(|pick| pick.rows.iter().flat_map(|row| &x[row * columns..][..columns]).copied().collect())
            .collect();
        let inputs: Vec<_> = gathered.iter().map(|x| Prepared::new(self.level, form, x, columns)).collect();
        let (mut tasks, mut rest) = (Vec::with_capacity(picks.len()), y);
        for (pick, input) in picks.iter().zip(&inputs) {
            let y = rest.split_off_mut(..pick.rows.len() * out).expect("the length has been checked");
            tasks.extend(task(weights.cut(pick.expert * out..(pick.expert + 1) * out), input, y));
        }
        task::run(self.level, tasks);
        Ok(())
    }

    /// The form of weights whose inputs are rounded, or `None` where the product is exact.
    fn form(self, weights: &Weights<'_>) -> Option<Form> {
        match self.precision {
            Precision::Exact => None,
            Precision::Fast => Form::of(weights.stored),
        }
    }
}

/// The task of a whole product, or none where the output is empty.
fn task<'a>(weights: Weights<'a>, input: &'a Prepared<'a>, y: &'a mut [f32]) -> Option<Task<'a>> {
    (!y.is_empty()).then(|| Task { weights, input, y: Output::new(y, weights.rows()) })
}

fn check_input(rows: usize, columns: usize, x: &[f32]) -> Result<(), MatmulError> {
    let expected = rows.checked_mul(columns).ok_or(MatmulError::TooLarge { rows, columns })?;
    if x.len() == expected { Ok(()) } else { Err(MatmulError::InputLength { rows, columns, expected, found: x.len() }) }
}

fn check_output(rows: usize, columns: usize, y: &[f32]) -> Result<(), MatmulError> {
    let expected = rows.checked_mul(columns).ok_or(MatmulError::TooLarge { rows, columns })?;
    if y.len() == expected {
        Ok(())
    } else {
        Err(MatmulError::OutputLength { rows, columns, expected, found: y.len() })
    }
}
