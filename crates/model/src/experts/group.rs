//! Grouping of a checkpoint's expert tensors by layer and projection.

use std::collections::BTreeMap;

use longshore_st_format::Shape;

use super::{
    error::ExpertError,
    name::{ExpertName, ExpertNaming, is_bias},
};

/// Tensors of a checkpoint, with those of experts separate from all others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grouping {
    /// Indices of the tensors that belong to no group, in byte order of their names.
    pub plain: Vec<usize>,
    /// Groups by name. The projections of each group are in byte order of their names.
    pub groups: BTreeMap<String, Vec<Projection>>,
}

/// One projection of all experts of a layer: a matrix `[out, in]`, or a bias, for each expert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// Name of the projection: that of the fused tensor, or `<group>.<rest>` for tensors of single experts.
    pub name: String,
    /// Shape of the stacked projection, `[experts, …]`.
    pub shape: Shape,
    /// Indices of the tensors that hold the projection: the fused tensor, or one tensor per expert in order.
    pub tensors: Vec<usize>,
    /// Whether the checkpoint itself stores all experts in one tensor.
    pub is_fused: bool,
    /// Whether the projection is a weight matrix for each expert, rather than a bias or another vector.
    pub is_matrix: bool,
}

impl Projection {
    /// Returns the number of experts.
    #[must_use]
    pub fn experts(&self) -> u64 {
        self.shape.dims().first().copied().unwrap_or_default()
    }
}

/// Groups tensors by their names and shapes. The names are unique; the order of the tensors does not matter.
///
/// ```
/// use longshore_model::{experts::group, st_format::Shape};
///
/// let matrix = Shape::new([6, 4]);
/// let names = ["mlp.experts.0.up.weight", "mlp.experts.1.up.weight", "mlp.gate.weight"];
/// let grouping = group(names.map(|name| (name, &matrix)))?;
/// assert_eq!(grouping.plain, [2]);
/// assert_eq!(grouping.groups["mlp.experts"][0].shape.dims(), [2, 6, 4]);
/// # Ok::<(), longshore_model::experts::ExpertError>(())
/// ```
///
/// # Errors
///
/// [`ExpertError`] if an expert is missing or present twice, or if experts of one layer differ in shape or number.
pub fn group<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a Shape)>) -> Result<Grouping, ExpertError> {
    group_by(|name| ExpertName::parse(name), tensors)
}

/// Groups tensors like [`group`], with names that `naming` parses.
///
/// # Errors
///
/// The errors of [`group`].
pub fn group_by<'a>(
    naming: ExpertNaming,
    tensors: impl IntoIterator<Item = (&'a str, &'a Shape)>,
) -> Result<Grouping, ExpertError> {
    let tensors: Vec<_> = tensors.into_iter().collect();
    let mut grouping = Grouping::default();
    let mut singles: BTreeMap<(&str, &str), Vec<(u64, usize)>> = BTreeMap::new();
    let mut fused_biases = Vec::new();
    for (at, &(name, shape)) in tensors.iter().enumerate() {
        match naming(name) {
            ExpertName::Single { group, index, rest } => {
                let index = index.parse().map_err(|_| ExpertError::Index { tensor: name.to_owned() })?;
                singles.entry((group, rest)).or_default().push((index, at));
            }
            ExpertName::Fused { group } if shape.rank() == 3 => {
                grouping.groups.entry(group.to_owned()).or_default().push(fused(at, name, shape));
            }
            ExpertName::Fused { group } if shape.rank() == 2 && is_bias(name) => fused_biases.push((group, at)),
            ExpertName::Fused { .. } | ExpertName::Other => grouping.plain.push(at),
        }
    }
    for ((group, rest), experts) in singles {
        let projection = stacked(&tensors, group, rest, experts)?;
        grouping.groups.entry(group.to_owned()).or_default().push(projection);
    }
    // A bias belongs to a group only if the group has a weight to which the bias could be added.
    for (group, at) in fused_biases {
        let (name, shape) = tensors[at];
        match grouping.groups.get_mut(group) {
            Some(projections) => projections.push(fused(at, name, shape)),
            None => grouping.plain.push(at),
        }
    }
    grouping.plain.sort_unstable_by(|a, b| tensors[*a].0.cmp(tensors[*b].0));
    for projections in grouping.groups.values_mut() {
        projections.sort_by(|a, b| a.name.cmp(&b.name));
        same_count(projections)?;
    }
    Ok(grouping)
}

fn fused(at: usize, name: &str, shape: &Shape) -> Projection {
    let is_matrix = shape.rank() == 3 && !is_bias(name);
    Projection { name: name.to_owned(), shape: shape.clone(), tensors: vec![at], is_fused: true, is_matrix }
}

/// Builds a projection of which each expert has its own tensor. `experts` pairs each expert's index with its tensor.
fn stacked(
    tensors: &[(&str, &Shape)],
    group: &str,
    rest: &str,
    mut experts: Vec<(u64, usize)>,
) -> Result<Projection, ExpertError> {
    experts.sort_unstable();
    let (first, shape) = tensors[experts[0].1];
    for (expected, &(index, at)) in (0..).zip(&experts) {
        let (name, found) = tensors[at];
        if index < expected {
            let (_, before) = experts[usize::try_from(index).expect("it is below a length")];
            return Err(ExpertError::Duplicate { first: tensors[before].0.to_owned(), second: name.to_owned() });
        }
        if index > expected {
            return Err(ExpertError::Missing { missing: format!("{group}.{expected}.{rest}"), found: name.to_owned() });
        }
        if found != shape {
            let (found, expected) = (found.clone(), shape.clone());
            return Err(ExpertError::Shape { tensor: name.to_owned(), found, first: first.to_owned(), expected });
        }
    }
    let dims: Vec<u64> = std::iter::once(experts.len() as u64).chain(shape.dims().iter().copied()).collect();
    Ok(Projection {
        name: format!("{group}.{rest}"),
        shape: Shape::from(dims),
        tensors: experts.into_iter().map(|(_, at)| at).collect(),
        is_fused: false,
        is_matrix: shape.rank() >= 2 && !is_bias(rest),
    })
}

/// Refuses a group whose projections have different numbers of experts.
fn same_count(projections: &[Projection]) -> Result<(), ExpertError> {
    let Some((first, others)) = projections.split_first() else { return Ok(()) };
    match others.iter().find(|projection| projection.experts() != first.experts()) {
        None => Ok(()),
        Some(odd) => Err(ExpertError::Count {
            tensor: odd.name.clone(),
            found: odd.experts(),
            first: first.name.clone(),
            expected: first.experts(),
        }),
    }
}

#[cfg(test)]
mod tests;
