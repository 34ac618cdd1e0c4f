//! Multiplies by a quantized weight, without decoding it first:
//!
//! ```text
//! cargo run -p longshore-loader-mlx --example multiply -- STORE MODEL [TENSOR]
//! ```

#[cfg(any(target_os = "macos", longshore_mlx))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::io::Write as _;

    use longshore_loader_mlx::{LoadOptions, MlxWeights};
    use longshore_manifest::{Store, weights::plan::Selection};
    use mlx_rs::Array;

    let mut args = std::env::args().skip(1);
    let (Some(store), Some(model)) = (args.next(), args.next()) else {
        return Err("usage: multiply STORE MODEL [TENSOR]".into());
    };
    let tensor = args.next();
    let store = Store::open(store)?;
    let model = store.model(&model.parse()?)?;

    // Only what is needed is opened: a blob that holds nothing of it is never touched.
    let selection = Selection { names: tensor.into_iter().collect(), ..Selection::default() };
    let mut weights = MlxWeights::open(&store, &model, &selection)?;
    let is_matrix = |name: &&str| weights.quantization_of(name).is_some() && !name.contains("experts");
    let name = weights.names().find(is_matrix).ok_or("there is no quantized matrix")?.to_owned();
    weights.load(&LoadOptions::default())?;

    let weight = weights.get(&name)?.quantized().ok_or("it was chosen for being quantized")?;
    let columns = weight.scale.shape()[1] * weight.group_size();
    let x = Array::ones::<f32>(&[1, columns])?;
    let y = weight.matmul(&x)?;
    y.eval()?;

    // The same with the values that the codes stand for.
    let dense = x.matmul(weight.dequantize(Some(longshore_quant::FloatType::F32))?.t())?;
    let worst = dense.subtract(&y)?.abs()?.max(None)?.item_cast::<f32>();
    let mut out = std::io::stdout();
    writeln!(out, "{name}: {} in groups of {}", weight.scheme, weight.group_size())?;
    writeln!(out, "ones [1, {columns}] times it is {:?}, at most {worst} from the dense product", y.shape())?;
    Ok(())
}

#[cfg(not(any(target_os = "macos", longshore_mlx)))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Err("this build has no MLX: run crates/loader-mlx/linux/setup.sh first".into())
}
