//! The file of statistics: see the command line's documentation of files that verbs pass to each other.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use longshore_manifest::st_format::{Dtype, Layout, Shape};
use serde_json::json;

use super::{
    collect::{Layers, Squares},
    error::CalibrateError,
};

/// A file that is being written. It gets its name once it is whole, and is removed otherwise.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    is_whole: bool,
}

impl Output {
    /// Creates the file.
    pub(super) fn create(path: &Path) -> Result<Self, CalibrateError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = File::create(&temporary);
        let file = file.map_err(|source| CalibrateError::Write { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), temporary, file, is_whole: false })
    }

    fn write(&mut self, start: u64, values: impl Iterator<Item = f32>) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(start))?;
        let mut file = BufWriter::with_capacity(1 << 16, &self.file);
        for value in values {
            file.write_all(&value.to_le_bytes())?;
        }
        file.flush()
    }
}

/// A file of statistics that is being written.
#[derive(Debug)]
pub(super) struct Statistics<'l> {
    output: Output,
    layout: Layout,
    layers: &'l Layers,
}

impl<'l> Statistics<'l> {
    /// Writes the mean squares.
    pub(super) fn begin(
        mut output: Output,
        squares: &Squares,
        layers: &'l Layers,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, CalibrateError> {
        let path = output.path.clone();
        let fail = |source: io::Error| CalibrateError::Write { path: path.clone(), source };
        let means =
            squares.weights.iter().map(|(name, sums)| (name.clone(), Dtype::F32, shape(sums.experts, &[sums.columns])));
        let products = layers
            .inputs
            .iter()
            .map(|input| (hessian(&input.name), Dtype::F32, shape(input.experts, &[input.columns, input.columns])));
        let layout = Layout::new(&documents(squares, layers, metadata), means.chain(products));
        let layout = layout.map_err(|error| fail(io::Error::other(error)))?;
        let written = output.file.write_all(layout.header()).and_then(|()| output.file.set_len(layout.file_len()));
        written.map_err(fail)?;
        let mut made = Self { output, layout, layers };
        for (name, sums) in &squares.weights {
            let means = sums.squares.chunks_exact(sums.columns).zip(&sums.rows);
            let means = means.flat_map(|(sums, rows)| sums.iter().map(|sum| (sum / (*rows).max(1) as f64) as f32));
            made.write(name, means)?;
        }
        Ok(made)
    }

    /// Writes the mean products of some inputs.
    pub(super) fn write_hessians(&mut self, hessians: &[(usize, Vec<f32>)]) -> Result<(), CalibrateError> {
        for (at, values) in hessians {
            self.write(&hessian(&self.layers.inputs[*at].name), values.iter().copied())?;
        }
        Ok(())
    }

    /// Gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), CalibrateError> {
        let output = &mut self.output;
        let renamed = output.file.sync_all().and_then(|()| std::fs::rename(&output.temporary, &output.path));
        renamed.map_err(|source| CalibrateError::Write { path: output.path.clone(), source })?;
        output.is_whole = true;
        Ok(())
    }

    fn write(&mut self, name: &str, values: impl Iterator<Item = f32>) -> Result<(), CalibrateError> {
        let start = self.layout.get(name).expect("the layout has all arrays").range.start;
        let written = self.output.write(start, values);
        written.map_err(|source| CalibrateError::Write { path: self.output.path.clone(), source })
    }
}

impl Drop for Output {
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
