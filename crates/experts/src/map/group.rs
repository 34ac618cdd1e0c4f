//! Grouping of a table's tensors by layer and expert.

use std::collections::BTreeMap;

use longshore_manifest::document::{Arrangement, BlobEntry, TensorEntry, TensorTable};
use longshore_model::experts::{ExpertName, ExpertNaming};

use super::{error::ExpertMapError, name};

/// Place of a tensor in a table: the number of its blob, and its own in the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    blob: usize,
    tensor: usize,
}

/// Experts of one layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// Name of the group. Where ggml's names stand beside a checkpoint's, it is the checkpoint's.
    pub(super) group: String,
    pub(super) experts: u32,
    pub(super) projections: Vec<Projection>,
}

/// Tensors of one projection, a bias or another companion of all experts of a layer.
#[derive(Debug, Clone)]
pub(super) enum Projection {
    /// One tensor `[experts, …]`.
    Stack(Place),
    /// A tensor for each expert, in order.
    Each(Vec<Place>),
}

/// The tensors of a table, those of experts by layer.
pub(super) struct Tensors {
    pub(super) layers: BTreeMap<u32, Layer>,
    pub(super) others: Vec<Place>,
}

impl Place {
    pub(super) fn blob(self, table: &TensorTable) -> &BlobEntry {
        &table.blobs[self.blob]
    }

    pub(super) fn tensor(self, table: &TensorTable) -> &TensorEntry {
        &table.blobs[self.blob].tensors[self.tensor]
    }
}

/// A group in the making.
#[derive(Default)]
struct Group {
    stacks: Vec<Place>,
    /// Tensors of a stack's name that are no stacks by their shape: biases and scales, if the number of experts fits.
    vectors: Vec<Place>,
    singles: BTreeMap<String, Vec<(u32, Place)>>,
}

/// Groups the tensors of a component.
pub(super) fn group(table: &TensorTable, component: Option<&str>) -> Result<Tensors, ExpertMapError> {
    let naming = table.facts.expert_naming();
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let mut others = Vec::new();
    for (blob, entry) in table.blobs.iter().enumerate().filter(|(_, entry)| entry.component.as_deref() == component) {
        for (at, tensor) in entry.tensors.iter().enumerate() {
            let place = Place { blob, tensor: at };
            if let Some(group) = stacked_by_import(naming, tensor) {
                groups.entry(group.to_owned()).or_default().stacks.push(place);
                continue;
            }
            match name::parse(naming, &tensor.name) {
                ExpertName::Single { group, index, rest } => {
                    let index = index.parse().map_err(|_| too_large(tensor))?;
                    let singles = &mut groups.entry(group.to_owned()).or_default().singles;
                    singles.entry(rest.to_owned()).or_default().push((index, place));
                }
                ExpertName::Fused { group } if tensor.shape.rank() >= 3 => {
                    groups.entry(group.to_owned()).or_default().stacks.push(place);
                }
                ExpertName::Fused { group } if is_vector(tensor) => {
                    groups.entry(group.to_owned()).or_default().vectors.push(place);
                }
                _ => others.push(place),
            }
        }
    }
    let mut layers: BTreeMap<u32, Layer> = BTreeMap::new();
    for (name, group, number) in numbered(table, groups)? {
        add(table, &mut layers, &mut others, (name, number), group)?;
    }
    others.sort_unstable_by_key(|place| (place.blob, place.tensor));
    Ok(Tensors { layers, others })
}

/// Returns the group of a stack that an import made of tensors of single experts.
fn stacked_by_import(naming: ExpertNaming, tensor: &TensorEntry) -> Option<&str> {
    if tensor.arrangement != Arrangement::Stack {
        return None;
    }
    let ExpertName::Single { rest, .. } = naming(tensor.sources.first()?) else { return None };
    tensor.name.strip_suffix(rest)?.strip_suffix('.')
}

/// Whether a tensor of a group may be a bias or a scale for each expert.
fn is_vector(tensor: &TensorEntry) -> bool {
    let last = tensor.name.rsplit('.').next().unwrap_or_default();
    (1..3).contains(&tensor.shape.rank()) && (last.contains("bias") || last.contains("scale"))
}

/// Gives each group the number of its layer. Those of a draft head come after the decoder's.
fn numbered(table: &TensorTable, groups: BTreeMap<String, Group>) -> Result<Vec<(String, Group, u32)>, ExpertMapError> {
    let is_draft = |name: &str| name.split('.').any(|segment| segment == "mtp");
    let mut numbers = Vec::with_capacity(groups.len());
    for (group, found) in &groups {
        let first = found.stacks.iter().chain(&found.vectors).chain(found.singles.values().flatten().map(|(_, at)| at));
        let tensor = first.copied().next().expect("a group has a tensor").tensor(table);
        let number = name::layer(group).map_or(Ok(0_u32), |(_, number)| number.parse());
        numbers.push(number.map_err(|_| too_large(tensor))?);
    }
    let decoder = groups.keys().zip(&numbers).filter(|(name, _)| !is_draft(name)).map(|(_, number)| number + 1).max();
    let layers = table.facts.layers.and_then(|layers| u32::try_from(layers).ok()).or(decoder).unwrap_or(0);
    let all = groups.into_iter().zip(numbers).map(|((name, group), number)| {
        let number = if is_draft(&name) { number.saturating_add(layers) } else { number };
        (name, group, number)
    });
    Ok(all.collect())
}

/// Adds a group to its layer.
fn add(
    table: &TensorTable,
    layers: &mut BTreeMap<u32, Layer>,
    others: &mut Vec<Place>,
    (name, number): (String, u32),
    group: Group,
) -> Result<(), ExpertMapError> {
    let mut found: Vec<(&str, u64, Projection)> = Vec::new();
    for place in group.stacks {
        let tensor = place.tensor(table);
        let experts = tensor.shape.dims().first().copied().unwrap_or(0);
        if experts > 0 && tensor.expert_parts(0).is_none() {
            let (tensor, shape) = (tensor.name.clone(), tensor.shape.to_string());
            return Err(ExpertMapError::Uneven { tensor, shape });
        }
        found.push((&tensor.name, experts, Projection::Stack(place)));
    }
    for (projection, mut singles) in group.singles {
        singles.sort_by_key(|(index, _)| *index);
        let each = in_order(table, (number, &name, &projection), &singles)?;
        let first = each[0].tensor(table);
        found.push((&first.name, each.len() as u64, Projection::Each(each)));
    }
    let Some(&(first, experts, _)) = found.first() else {
        others.extend(group.vectors);
        return Ok(());
    };
    for place in group.vectors {
        let tensor = place.tensor(table);
        if tensor.shape.dims().first() == Some(&experts) && tensor.expert_parts(0).is_some() {
            found.push((&tensor.name, experts, Projection::Stack(place)));
        } else {
            others.push(place);
        }
    }
    let count = |(tensor, found, (first, expected)): (&str, u64, (&str, u64))| {
        let (tensor, first) = (tensor.to_owned(), first.to_owned());
        ExpertMapError::Count { layer: number, tensor, found, first, expected }
    };
    if let Some((odd, found, _)) = found.iter().find(|(_, found, _)| *found != experts) {
        return Err(count((odd, *found, (first, experts))));
    }
    let experts_count = u32::try_from(experts).map_err(|_| ExpertMapError::TooLarge { tensor: first.to_owned() })?;
    let projections = found.iter().map(|(.., projection)| projection.clone());
    match layers.get_mut(&number) {
        None => {
            layers.insert(number, Layer { group: name, experts: experts_count, projections: projections.collect() });
        }
        // A GGUF file's stack that joins no other keeps ggml's name beside those of a checkpoint.
        Some(layer) if layer.group.starts_with(name::BLOCK) != name.starts_with(name::BLOCK) => {
            if layer.experts != experts_count {
                let other = layer.projections[0].first().tensor(table);
                return Err(count((first, experts, (&other.name, u64::from(layer.experts)))));
            }
            if layer.group.starts_with(name::BLOCK) {
                layer.group = name;
            }
            layer.projections.extend(projections);
        }
        Some(layer) => {
            return Err(ExpertMapError::Ambiguous { layer: number, first: layer.group.clone(), second: name });
        }
    }
    Ok(())
}

impl Projection {
    pub(super) fn first(&self) -> Place {
        match self {
            Self::Stack(place) => *place,
            Self::Each(places) => places[0],
        }
    }
}

/// Checks that sorted experts are numbered from 0 without a gap.
fn in_order(
    table: &TensorTable,
    (layer, group, projection): (u32, &str, &str),
    singles: &[(u32, Place)],
) -> Result<Vec<Place>, ExpertMapError> {
    for (expected, &(found, place)) in (0..).zip(singles) {
        if found > expected {
            let (group, projection) = (group.to_owned(), projection.to_owned());
            return Err(ExpertMapError::Missing { layer, group, projection, expert: expected, found });
        }
        if found < expected {
            let before = singles[expected as usize - 1].1;
            let [first, second] = [before, place].map(|place| place.tensor(table).name.clone());
            return Err(ExpertMapError::Duplicate { layer, first, second });
        }
    }
    Ok(singles.iter().map(|(_, place)| *place).collect())
}

fn too_large(tensor: &TensorEntry) -> ExpertMapError {
    ExpertMapError::TooLarge { tensor: tensor.name.clone() }
}
