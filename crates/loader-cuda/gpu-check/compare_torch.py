"""Compares the kernels' results with PyTorch's own arithmetic, to the bit: `compare_torch.py KIT DEMO WORK`.

DEMO is a checkpoint. It is imported in each scheme, and `decode_model` loads it and decodes it on the device. This
program decodes the codes again on the device, with one operation of PyTorch per rounding.
"""

import os
import pathlib
import subprocess
import sys

import torch

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "U32": torch.int32, "U8": torch.uint8}
E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6], device="cuda:0")


def read(directory):
    """Returns tensors by name: scheme, group size and arrays by part."""
    found = {}
    for line in (directory / "arrays.tsv").read_text().splitlines():
        name, scheme, group, part, dtype, dims, file = line.split("\t")
        shape = [int(dim) for dim in dims.split(",") if dim]
        data = bytearray((directory / file).read_bytes())
        array = torch.frombuffer(data, dtype=TYPES[dtype]).reshape(shape).to("cuda:0")
        found.setdefault(name, (scheme, int(group), {}))[2][part] = array
    return found


def codes(weight, bits):
    """Returns the codes of each row. A row is a stream of bits, with the lowest bit of each word first."""
    stream = weight.contiguous().view(torch.uint8).reshape(*weight.shape[:-1], -1, 1)
    places = torch.arange(8, device=stream.device, dtype=torch.uint8)
    stream = ((stream >> places) & 1).reshape(*weight.shape[:-1], -1, bits).to(torch.int32)
    return (stream << torch.arange(bits, device=stream.device, dtype=torch.int32)).sum(-1)


def decode(scheme, group, parts, target):
    spread = lambda array: array.repeat_interleave(group, dim=-1)
    scale = parts["Scale"]
    if scheme.startswith("int"):
        # Computes in the type of the scales, or in F32 where F32 is requested, with one rounding for the product and
        # one for the sum.
        kind = torch.float32 if target == torch.float32 else scale.dtype
        values = codes(parts["Weight"], int(scheme[3:])).to(kind)
        return (values * spread(scale.to(kind)) + spread(parts["Bias"].to(kind))).to(target)
    if scheme == "mxfp8":
        values = codes(parts["Weight"], 8).to(torch.uint8).view(torch.float8_e4m3fn).float()
    else:
        nibbles = codes(parts["Weight"], 4)
        values = torch.where(nibbles >= 8, -1.0, 1.0) * E2M1[nibbles & 7]
    if scheme == "nvfp4":
        factor = scale.view(torch.float8_e4m3fn).float()
        if "GlobalScale" in parts:
            factor = factor * parts["GlobalScale"]
    else:
        factor = torch.exp2(scale.to(torch.float32) - 127).to(target).float()
    return (values * spread(factor)).to(target)


def main():
    kit, demo, work = (pathlib.Path(path) for path in sys.argv[1:])
    store, bad = work / "torch-store", 0
    environment = dict(os.environ, LONGSHORE_STORE=str(store))
    for scheme in ["int2", "int3", "int4", "int4-g32", "int5", "int6", "int8", "nvfp4", "mxfp4", "mxfp8"]:
        name, out = f"demo:{scheme}", work / f"torch-{scheme}"
        command = [kit / "longshore", "import", demo, name, "--quantize", scheme, "--policy", "uniform", "-q"]
        subprocess.run(command, env=environment, check=True)
        subprocess.run([kit / "decode_model", store, name, out], check=True)
        tensors = read(out)
        assert tensors, scheme
        for tensor, (kind, group, parts) in tensors.items():
            for part, target in (("F32", torch.float32), ("BF16", torch.bfloat16)):
                expected, found = decode(kind, group, parts, target), parts[part]
                bits = torch.int32 if target == torch.float32 else torch.int16
                if not torch.equal(expected.view(bits), found.view(bits)):
                    bad += 1
                    print(f"{scheme} {tensor} {part} differs in {(expected.view(bits) != found.view(bits)).sum().item()} values")
        print(f"{scheme}: {len(tensors)} tensors")
    sys.exit(bad > 0)


main()
