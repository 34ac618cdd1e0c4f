// Decodes codes by scheme: value = code * scale + bias, or code * scale, rounded where longshore-quant rounds.

#pragma once

#include "codes.cuh"

/// Integers with a scale and a bias of type `S` per group. For a 16-bit output each step is rounded to `S`, for an f32
/// output to f32. No product is fused with a sum.
template <u32 WIDTH, class S> struct Affine {
    static constexpr u32 BITS = WIDTH;

    /// True where steps are rounded to a 16-bit type that holds every code. Arithmetic is then in that type, on pairs.
    template <class O> static constexpr bool PAIRED = !SAME<O, f32> && (SAME<S, f16> || (SAME<S, bf16> && WIDTH < 8));

    /// Scale and bias of a group: two copies of a 16-bit element, or an f32.
    struct Group {
        u32 scale, bias;
    };

    template <class O>
    __device__ __forceinline__ static Group group(const void *scale, const void *bias, u64 index, float) {
        if constexpr (PAIRED<O>) {
            return {0x10001u * __ldg(static_cast<const u16 *>(scale) + index), 0x10001u * __ldg(static_cast<const u16 *>(bias) + index)};
        } else {
            return {bits_of(load_float<S>(scale, index)), bits_of(load_float<S>(bias, index))};
        }
    }

    /// Decodes the codes `index` and `index + 1` to 16-bit elements.
    template <class O> __device__ __forceinline__ static u32 decode_pair(const Window &window, u32 index, Group group) {
        if constexpr (PAIRED<O>) {
            const u32 pair = add_pairs<S>(multiply_pairs<S>(integer_pair<BITS, S>(window, index), group.scale), group.bias);
            if constexpr (SAME<O, S>) return pair;
            return narrow<O>(widen<S>(pair & 0xFFFF), widen<S>(pair >> 16));
        } else {
            float first, second;
            products(window, index, group, first, second);
            round_pair<S>(first, second);
            first = __fadd_rn(first, float_of(group.bias));
            second = __fadd_rn(second, float_of(group.bias));
            if constexpr (!SAME<O, S>) round_pair<S>(first, second);
            return narrow<O>(first, second);
        }
    }

    /// Decodes the codes `index` and `index + 1` to f32.
    __device__ __forceinline__ static void decode(const Window &window, u32 index, Group group, float &first, float &second) {
        products(window, index, group, first, second);
        first = __fadd_rn(first, float_of(group.bias));
        second = __fadd_rn(second, float_of(group.bias));
    }

    __device__ __forceinline__ static void products(const Window &window, u32 index, Group group, float &first, float &second) {
        first = __fmul_rn(integer<BITS>(code_and_above<BITS>(window, index)), float_of(group.scale));
        second = __fmul_rn(integer<BITS>(code_and_above<BITS>(window, index + 1)), float_of(group.scale));
    }

    /// Affine schemes have no global scale.
    __device__ __forceinline__ static float global_scale(const void *, u64) { return 1.0f; }
};

/// Small floats with a scale of one byte per group.
template <class Codec> struct Block {
    static constexpr u32 BITS = Codec::BITS;
    using Group = float;

    template <class O>
    __device__ __forceinline__ static Group group(const void *scale, const void *, u64 index, float global) {
        return Codec::template scale<O>(__ldg(static_cast<const u8 *>(scale) + index), global);
    }

    template <class O> __device__ __forceinline__ static u32 decode_pair(const Window &window, u32 index, Group scale) {
        float first, second;
        decode(window, index, scale, first, second);
        return narrow<O>(first, second);
    }

    __device__ __forceinline__ static void decode(const Window &window, u32 index, Group scale, float &first, float &second) {
        first = __fmul_rn(Codec::value(code_and_above<BITS>(window, index)), scale);
        second = __fmul_rn(Codec::value(code_and_above<BITS>(window, index + 1)), scale);
    }

    __device__ __forceinline__ static float global_scale(const void *scales, u64 matrix) {
        return Codec::HAS_GLOBAL_SCALE && scales ? load_float<f32>(scales, matrix) : 1.0f;
    }
};

/// E2M1 codes under E4M3 scales, times a global scale. Without one the factor is 1, which changes no scale. All three
/// types can represent every E4M3 number.
struct Nvfp4 {
    static constexpr u32 BITS = 4;
    static constexpr bool HAS_GLOBAL_SCALE = true;
    __device__ __forceinline__ static float value(u32 code) { return e2m1(code); }
    template <class O> __device__ __forceinline__ static float scale(u32 code, float global) {
        return __fmul_rn(e4m3(code), global);
    }
};

/// A power of two, rounded to the output's type. For f16 it overflows above 2^15 and is zero below 2^-24; for the other
/// types it is exact.
template <class O> __device__ __forceinline__ float power_of_two(u32 code) {
    float scale = e8m0(code), same = scale;
    if constexpr (SAME<O, f16>) round_pair<f16>(scale, same);
    return scale;
}

struct Mxfp4 {
    static constexpr u32 BITS = 4;
    static constexpr bool HAS_GLOBAL_SCALE = false;
    __device__ __forceinline__ static float value(u32 code) { return e2m1(code); }
    template <class O> __device__ __forceinline__ static float scale(u32 code, float) { return power_of_two<O>(code); }
};

struct Mxfp8 {
    static constexpr u32 BITS = 8;
    static constexpr bool HAS_GLOBAL_SCALE = false;
    __device__ __forceinline__ static float value(u32 code) { return e4m3(code); }
    template <class O> __device__ __forceinline__ static float scale(u32 code, float) { return power_of_two<O>(code); }
};
