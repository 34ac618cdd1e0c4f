//! Importance of the input channels of planned tensors.

use std::collections::HashSet;

use longshore_st_format::Shape;

use crate::{
    plan::{
        factors::Factors,
        planned::{Plan, PlannedTensor},
    },
    statistics::{
        error::ImportanceFileError,
        importance::{ImportanceFile, TensorImportance},
    },
};

impl ImportanceFile {
    /// Checks that the file fits the weights that `plan` quantizes. [`Plan::import`] calls this first; a program that
    /// only shows a plan should call it, too. Returns warnings: weights without statistics, statistics without a weight, and
    /// another model.
    ///
    /// # Errors
    ///
    /// Returns [`ImportanceFileError::Shape`] for the first tensor that does not fit, [`ImportanceFileError::Unused`] if no tensor
    /// belongs to a weight that is quantized, and [`ImportanceFileError::Rotation`] for statistics of other weights.
    pub fn check(&self, plan: &Plan) -> Result<Vec<String>, ImportanceFileError> {
        let of_model = self.check_recorded(plan.weighed())?;
        let tensors = plan.blobs.iter().flat_map(|blob| &blob.tensors);
        let mut quantized = tensors.filter(|tensor| tensor.scheme.is_some()).peekable();
        let Some(example) = quantized.peek().map(|tensor| tensor.name.clone()) else { return Ok(Vec::new()) };
        let (mut used, mut unweighted) = (HashSet::new(), Vec::new());
        for tensor in quantized {
            match self.view(&tensor.name, &tensor.shape) {
                None => unweighted.push(tensor.name.as_str()),
                Some(view) => {
                    self.extents(&tensor.shape, &view)?;
                    used.insert(view.name.to_owned());
                }
            }
        }
        if used.is_empty() {
            return Err(ImportanceFileError::Unused { path: self.path().to_path_buf(), example });
        }
        let mut warnings = Vec::new();
        let path = self.path().display();
        match *unweighted {
            [] => {}
            [only] => warnings.push(format!("{path}: {only:?} has no statistics, and all its channels count alike")),
            [first, ..] => {
                let what = "quantized weights have no statistics, and all their channels count alike";
                warnings.push(format!("{path}: {} {what}: {first:?} first", unweighted.len()));
            }
        }
        let names = self.names();
        let mut others = names.iter().filter(|name| !used.contains(**name)).peekable();
        if let Some(first) = others.peek().copied() {
            warnings.push(match names.len() - used.len() {
                1 => format!("{path}: {first:?} belongs to no quantized weight"),
                count => format!("{path}: {count} tensors belong to no quantized weight: {first:?} first"),
            });
        }
        warnings.extend(of_model);
        Ok(warnings)
    }

    /// The importance of the channels of a planned tensor, if the file has it.
    pub(super) fn of(&self, tensor: &PlannedTensor) -> Result<Option<TensorImportance>, ImportanceFileError> {
        let found = self.of_weight(&tensor.name, &tensor.shape)?;
        Ok(found.map(|found| match &tensor.factors {
            Some(factors) => divided(found, factors, &tensor.shape),
            None => found,
        }))
    }
}

/// Mean squares of inputs that are divided by the factors of the columns.
fn divided(mut squares: TensorImportance, factors: &Factors, shape: &Shape) -> TensorImportance {
    let Some(of_columns) = &factors.columns else { return squares };
    // Experts that share their numbers, and have factors each, get numbers each.
    if of_columns.len() > squares.values.len() {
        let matrices = of_columns.len() / squares.columns;
        squares.values = squares.values.repeat(matrices);
        squares.matrix = shape.elements().unwrap_or(u64::MAX) / matrices as u64;
    }
    for (matrix, row) in (0..).zip(squares.values.chunks_exact_mut(squares.columns)) {
        let factors = factors.of_matrix(matrix, squares.columns).unwrap_or_default();
        row.iter_mut().zip(factors).for_each(|(square, factor)| *square = (*square / (factor * factor)).min(f32::MAX));
    }
    squares
}
