//! Synthetic checkpoints with the names and shapes of real ones.

use std::{collections::BTreeMap, fs, io, path::Path};

use longshore_st_format::{Dtype, Shape, fixtures};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

mod llama;
mod moe;

type Tensor = (String, Dtype, Shape);

/// A checkpoint before it is written: its shards, and the text of its `config.json`.
struct Checkpoint {
    shards: Vec<Vec<Tensor>>,
    config: String,
}

/// Writes a BF16 checkpoint with the tensors of a Llama, four layers per file. The number of layers makes the tensors
/// about `bytes` long. The model is as wide as Llama 3 8B where two such layers fit, else half or a quarter as wide.
/// Values are deterministic and roughly Gaussian. Returns the number of bytes of all tensors.
///
/// # Errors
///
/// Any error from writing the files.
pub fn llama(dir: &Path, bytes: u64) -> io::Result<u64> {
    llama::checkpoint(bytes).write(dir)
}

/// Writes a BF16 checkpoint of a Llama of a thousand million parameters: 2,048 wide, 16 layers, 32 heads that share 8 keys, 8,192 inside
/// the feed-forward blocks, a vocabulary of 32,000, the head tied to the embedding. Returns the number of bytes of all tensors.
///
/// # Errors
///
/// Any error from writing the files.
pub fn llama_1b(dir: &Path) -> io::Result<u64> {
    llama::one_billion().write(dir)
}

/// Writes a BF16 checkpoint with the tensors of a Qwen 3 with experts, one layer per file. The number of layers makes
/// the tensors about `bytes` long. The experts are those of the 30B model where two such layers fit, else fewer and
/// narrower ones. Returns the number of bytes of all tensors.
///
/// # Errors
///
/// Any error from writing the files.
pub fn moe(dir: &Path, bytes: u64) -> io::Result<u64> {
    moe::checkpoint(bytes).write(dir)
}

/// Writes a checkpoint of `count` BF16 tensors with `elements` elements each. Each tensor becomes a blob on import.
/// Returns the number of bytes of all tensors.
///
/// # Errors
///
/// Any error from writing the files.
pub fn small_tensors(dir: &Path, count: usize, elements: u64) -> io::Result<u64> {
    fs::create_dir_all(dir)?;
    let tensor = |at| bf16(format!("model.layers.{at}.proj.weight"), &[elements / 64, 64]);
    let tensors: Vec<_> = (0..count).map(tensor).collect();
    fixtures::write_file(dir.join("model.safetensors"), &BTreeMap::new(), &tensors)?;
    fs::write(dir.join("config.json"), "{\"architectures\":[\"LlamaForCausalLM\"]}\n")?;
    Ok(bytes_of(&tensors))
}

impl Checkpoint {
    fn write(&self, dir: &Path) -> io::Result<u64> {
        fs::create_dir_all(dir)?;
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        self.shards.par_iter().enumerate().try_for_each(|(at, tensors)| {
            let path = dir.join(format!("model-{:05}-of-{:05}.safetensors", at + 1, self.shards.len()));
            fixtures::write_file(path, &metadata, tensors)
        })?;
        fs::write(dir.join("config.json"), &self.config)?;
        Ok(self.shards.iter().map(|tensors| bytes_of(tensors)).sum())
    }
}

/// Returns the first of `sizes`, ordered from the largest, of which two layers fit into `bytes`, and the number of
/// layers that fit. Where no size fits, returns the last one, with one layer.
fn fitting<S: Copy>(sizes: &[S], bytes: u64, ends_and_layer: impl Fn(S) -> (u64, u64)) -> (S, u64) {
    let layers = |size| {
        let (ends, layer) = ends_and_layer(size);
        bytes.saturating_sub(ends) / layer
    };
    let last = *sizes.last().expect("there is a smallest size");
    let size = sizes.iter().copied().find(|&size| layers(size) >= 2).unwrap_or(last);
    (size, layers(size).max(1))
}

fn bf16(name: String, dims: &[u64]) -> Tensor {
    (name, Dtype::BF16, Shape::new(dims))
}

fn bytes_of(tensors: &[Tensor]) -> u64 {
    tensors.iter().filter_map(|(_, dtype, shape)| shape.byte_len(*dtype).ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(checkpoint: &Checkpoint) -> u64 {
        checkpoint.shards.iter().map(|tensors| bytes_of(tensors)).sum()
    }

    #[test]
    fn about_as_many_bytes_as_asked() {
        for asked in [200_000_000, 1_000_000_000, 4_000_000_000_u64] {
            for made in [llama::checkpoint(asked), moe::checkpoint(asked)] {
                let found = bytes(&made);
                assert!(found <= asked && found > asked / 2, "asked for {asked}, made {found}");
            }
        }
    }

    #[test]
    fn too_few_bytes_make_one_layer() {
        assert_eq!(llama::checkpoint(0).shards.len(), 2);
        assert_eq!(moe::checkpoint(0).shards.len(), 2);
    }

    #[test]
    fn a_thousand_million_parameters() {
        let parameters = bytes(&llama::one_billion()) / 2;
        assert!((1_030_000_000..1_050_000_000).contains(&parameters), "{parameters}");
    }

    #[test]
    fn the_widest_llama_is_a_llama_3_8b() {
        let made = llama::checkpoint(4_000_000_000);
        let down = made.shards[0].iter().find(|(name, ..)| name == "model.layers.0.mlp.down_proj.weight");
        assert_eq!(down.expect("it is in the first layer").2, Shape::new([4096, 14336]));
    }
}
