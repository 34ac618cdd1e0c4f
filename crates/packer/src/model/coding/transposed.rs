//! Recognition of AWQ and GPTQ weights: integers of a transposed matrix.

use longshore_model::QuantizationMethod;
use longshore_quant::layout::Packing;
use longshore_st_format::Dtype;

use super::{
    error::ORIGINAL,
    files::{Found, Recognised, affine},
    fp8::MAX_ROW,
    kind::Coding,
};
use crate::{source::form::Form, tensor::SourceParts};

const AWQ: &str = "an AWQ weight";
const GPTQ: &str = "a GPTQ weight";

/// Recognises `qweight`, `qzeros` and `scales` of AWQ or GPTQ.
pub(super) fn recognise(found: &Found<'_, '_>, module: &str) -> Recognised {
    let quantization = found.files.quantization;
    let method = quantization.map(|quantization| &quantization.method);
    let order = found.files.find(&format!("{module}.g_idx"));
    let scales = found.need(&format!("{module}.scales"), Form::Qweight.label())?;
    let zeros = found.need(&format!("{module}.qzeros"), Form::Qweight.label())?;
    let ([rows, columns], [groups, outputs]) = (found.tensor.shape.dims(), found.files.tensors[scales].shape.dims())
    else {
        return Err(found.problem(Form::Qweight.label(), "expected a matrix with a matrix of scales".into()));
    };
    let (rows, columns, groups, outputs) = (*rows, *columns, *groups, *outputs);
    // AWQ packs integers into words along the outputs, GPTQ along the inputs.
    let is_awq = columns != outputs;
    let name = if is_awq { AWQ } else { GPTQ };
    if matches!((method, is_awq), (Some(QuantizationMethod::Awq), false) | (Some(QuantizationMethod::Gptq), true)) {
        return Err(found.problem(name, "config.json names the other one of AWQ and GPTQ".into()));
    }
    let layout = quantization.and_then(|quantization| quantization.format.as_deref());
    let known: &[&str] = if is_awq { &["gemm"] } else { &["gptq", "gptq_v2"] };
    if let Some(layout) = layout.filter(|layout| !known.contains(layout)) {
        let reason = format!("its layout is {layout:?}, only {} is read", known.join(" or "));
        return found.refused(name, Some(reason), ORIGINAL);
    }
    found.is_described(name, module)?;
    let bits = found.said(module).and_then(|said| said.bits).unwrap_or(4);
    if bits != 4 && (is_awq || !matches!(bits, 2 | 8)) {
        return found.refused(name, Some(format!("its codes have {bits} bits")), ORIGINAL);
    }
    if quantization.is_some_and(|quantization| quantization.desc_act == Some(true)) && !is_awq {
        let reason = "its inputs are in the order of their activations (desc_act), which no affine scheme can hold";
        return found.refused(GPTQ, Some(reason.into()), ORIGINAL);
    }
    let inputs = if is_awq { rows } else { found.columns(GPTQ, rows, 32, u64::from(bits))? };
    if inputs > MAX_ROW {
        return found.refused(name, Some(format!("its rows are longer than {MAX_ROW} elements")), ORIGINAL);
    }
    let per_word = u64::from(32 / bits);
    if !outputs.is_multiple_of(per_word) || outputs == 0 || is_awq && columns != outputs / per_word {
        return Err(found.problem(name, format!("its scales are for {outputs} outputs, which do not fit its shape")));
    }
    let scheme = affine(found, name, module, bits, [inputs, groups])?;
    found.expect(zeros, &[Dtype::I32], &[groups, outputs / per_word])?;
    found.expect(found.at, &[Dtype::I32], &[rows, columns])?;
    let scale = &found.files.tensors[scales];
    found.expect(scales, &[Dtype::F32, Dtype::F16, Dtype::BF16], &[groups, outputs])?;
    if let Some(order) = order {
        found.expect(order, &[Dtype::I32], &[inputs])?;
    } else if !is_awq {
        // The words of AWQ, and the order of GPTQ, tell the number of inputs on their own.
        found.agrees(GPTQ, module, scheme, [inputs, groups])?;
    }
    let is_v2 = layout == Some("gptq_v2");
    let packing = match (is_awq, is_v2) {
        (true, _) => Packing::Awq,
        (false, false) => Packing::Gptq,
        (false, true) => Packing::GptqV2,
    };
    // Biases are products of zeros and scales. They are exact in F32, and in the type of the scales only if every zero
    // is the middle of the range.
    let is_symmetric = found.said(module).is_some_and(|said| said.symmetric == Some(true));
    let dtype = if is_symmetric { scale.dtype } else { Dtype::F32 };
    let parts = SourceParts { scales: Some(scales), zeros: Some(zeros), group_index: order, ..SourceParts::default() };
    let coding = Coding::Transposed { scheme, packing };
    Ok(Some(found.tensor(format!("{module}.weight"), dtype, &[outputs], inputs, coding, parts)))
}
