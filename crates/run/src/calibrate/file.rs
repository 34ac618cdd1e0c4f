//! The file of statistics: see the command line's documentation of files that verbs pass to each other.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use longshore_manifest::st_format::{Dtype, Layout, Shape};
use serde_json::json;

use super::{
    collect::{Layers, Squares},
    error::CalibrateError,
};

/// A file of statistics that is being written. It gets its name once it is whole.
#[derive(Debug)]
pub(super) struct Statistics<'l> {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    layout: Layout,
    layers: &'l Layers,
    is_whole: bool,
}

impl<'l> Statistics<'l> {
    /// Creates the file, and writes the mean squares.
    pub(super) fn create(
        path: &Path,
        squares: &Squares,
        layers: &'l Layers,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, CalibrateError> {
        let fail = |source: io::Error| CalibrateError::Write { path: path.to_owned(), source };
        let means =
            squares.weights.iter().map(|(name, sums)| (name.clone(), Dtype::F32, shape(sums.experts, &[sums.columns])));
        let products = layers
            .inputs
            .iter()
            .map(|input| (hessian(&input.name), Dtype::F32, shape(input.experts, &[input.columns, input.columns])));
        let layout = Layout::new(&documents(squares, layers, metadata), means.chain(products));
        let layout = layout.map_err(|error| fail(io::Error::other(error)))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = File::create(&temporary).map_err(fail)?;
        let mut made = Self { path: path.to_owned(), temporary, file, layout, layers, is_whole: false };
        let written =
            made.file.write_all(made.layout.header()).and_then(|()| made.file.set_len(made.layout.file_len()));
        written.map_err(fail)?;
        for (name, sums) in &squares.weights {
            let means = sums.squares.chunks_exact(sums.columns).zip(&sums.rows);
            let means = means.flat_map(|(sums, rows)| sums.iter().map(|sum| (sum / (*rows).max(1) as f64) as f32));
            let means: Vec<f32> = means.collect();
            made.write(name, &means)?;
        }
        Ok(made)
    }

    /// Writes the mean products of some inputs.
    pub(super) fn write_hessians(&mut self, hessians: &[(usize, Vec<f32>)]) -> Result<(), CalibrateError> {
        for (at, values) in hessians {
            self.write(&hessian(&self.layers.inputs[*at].name), values)?;
        }
        Ok(())
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), CalibrateError> {
        let renamed = self.file.sync_all().and_then(|()| std::fs::rename(&self.temporary, &self.path));
        renamed.map_err(|source| CalibrateError::Write { path: self.path.clone(), source })?;
        self.is_whole = true;
        Ok(())
    }

    fn write(&mut self, name: &str, values: &[f32]) -> Result<(), CalibrateError> {
        let start = self.layout.get(name).expect("the layout has all arrays").range.start;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let written = self.file.seek(SeekFrom::Start(start)).and_then(|_| self.file.write_all(&bytes));
        written.map_err(|source| CalibrateError::Write { path: self.path.clone(), source })
    }
}

impl Drop for Statistics<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            // Nothing can be done about a file that cannot be removed.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

fn hessian(name: &str) -> String {
    format!("hessian/{name}")
}

/// The metadata: what the caller states, rows seen, and the arrays of products.
fn documents(squares: &Squares, layers: &Layers, stated: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let rows: BTreeMap<&str, _> = squares
        .weights
        .iter()
        .map(|(name, sums)| {
            (name.as_str(), if sums.experts.is_some() { json!(sums.rows) } else { json!(sums.rows[0]) })
        })
        .collect();
    let mut all = stated.clone();
    all.insert("rows".to_owned(), json!(rows).to_string());
    if !layers.is_empty() {
        let arrays: BTreeMap<&str, String> =
            layers.of_weight.iter().map(|(name, at)| (name.as_str(), hessian(&layers.inputs[*at].name))).collect();
        all.insert("hessians".to_owned(), json!(arrays).to_string());
    }
    all
}

/// Shape of the statistics of a weight whose input has `columns` channels.
fn shape(experts: Option<usize>, extents: &[usize]) -> Shape {
    Shape::from(experts.into_iter().chain(extents.iter().copied()).map(|extent| extent as u64).collect::<Vec<u64>>())
}
