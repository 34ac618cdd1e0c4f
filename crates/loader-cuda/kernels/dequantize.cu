// Dequantize kernels: they decode packed codes with scales and biases to floats.
//
// A thread writes 16 bytes at a time, called a unit: 8 elements of 16 bits or 4 of 32. Neighbouring threads write
// neighbouring units, so every store of a warp is 512 bytes in a row, and each byte of codes and output moves once. A
// unit lies in one group, because groups are multiples of 8 elements. A thread has STEPS units, a block's width apart,
// and loads for all of them before it decodes any.
//
// The source includes no header of CUDA. It computes with intrinsics and instructions that are never fused with others.
// The macro KERNELS, which the build defines, selects the kernels: `AFFINE_ALL(4)`, or `BLOCK_ALL(nvfp4, Nvfp4)`.

#include "schemes.cuh"

/// Threads per block, and units per thread. `src/dequantize/launch.rs` has the same numbers.
constexpr u32 BLOCK = 256;
constexpr u32 STEPS = 2;

/// Decodes one matrix per block row of the grid: `units` units of output, whose groups are 2^`group_shift` units each.
/// `extra` points to the biases, or to the global scales, one per matrix, or is null.
template <class Scheme, class O>
__device__ __forceinline__ void dequantize(
    const u32 *weight, const void *scale, const void *extra, uint4 *out, u64 units, u32 group_shift
) {
    constexpr u32 COUNT = 16 / O::SIZE;
    const u64 matrix = blockIdx.y;
    const u64 first = static_cast<u64>(blockIdx.x) * (BLOCK * STEPS) + threadIdx.x;
    const u64 before = matrix * units;
    const float global = Scheme::global_scale(extra, matrix);

    Window windows[STEPS];
    typename Scheme::Group groups[STEPS];
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        const u64 unit = first + step * BLOCK;
        if (unit < units) {
            windows[step] = load_codes<Scheme::BITS, COUNT>(weight, before + unit);
            groups[step] = Scheme::template group<O>(scale, extra, (before + unit) >> group_shift, global);
        }
    }
#pragma unroll
    for (u32 step = 0; step < STEPS; step++) {
        const u64 unit = first + step * BLOCK;
        if (unit < units) {
            u32 words[4];
#pragma unroll
            for (u32 i = 0; i < COUNT; i += 2) {
                if constexpr (SAME<O, f32>) {
                    float one, two;
                    Scheme::decode(windows[step], i, groups[step], one, two);
                    words[i] = bits_of(one);
                    words[i + 1] = bits_of(two);
                } else {
                    words[i / 2] = Scheme::template decode_pair<O>(windows[step], i, groups[step]);
                }
            }
            out[before + unit] = make_uint4(words[0], words[1], words[2], words[3]);
        }
    }
}

#define KERNEL(NAME, SCHEME, O)                                                                                            \
    extern "C" __global__ void __launch_bounds__(BLOCK) NAME(                                                              \
        const u32 *__restrict__ weight, const void *__restrict__ scale, const void *__restrict__ extra,                    \
        uint4 *__restrict__ out, u64 units, u32 group_shift                                                                \
    ) {                                                                                                                    \
        dequantize<SCHEME, O>(weight, scale, extra, out, units, group_shift);                                              \
    }

/// Kernels from scales and biases of type `S` to `O`. The parentheses of WHOLE keep a comma from ending a macro's
/// argument.
#define AFFINE(BITS, S, O) KERNEL(dequantize_int##BITS##_##S##_to_##O, WHOLE(Affine<BITS, S>), O)
#define WHOLE(...) __VA_ARGS__
#define AFFINE_FROM(BITS, S) AFFINE(BITS, S, f32) AFFINE(BITS, S, f16) AFFINE(BITS, S, bf16)
#define AFFINE_ALL(BITS) AFFINE_FROM(BITS, f32) AFFINE_FROM(BITS, f16) AFFINE_FROM(BITS, bf16)
#define BLOCK_ALL(NAME, CODEC)                                                                                             \
    KERNEL(dequantize_##NAME##_to_f32, Block<CODEC>, f32)                                                                  \
    KERNEL(dequantize_##NAME##_to_f16, Block<CODEC>, f16)                                                                  \
    KERNEL(dequantize_##NAME##_to_bf16, Block<CODEC>, bf16)

KERNELS
