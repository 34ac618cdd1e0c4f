// Reads packed codes: one little-endian bit stream, with code i at bits [i * BITS, (i + 1) * BITS) of 32-bit words.

#pragma once

#include "float.cuh"

/// The codes of one thread. The first one starts at bit 0.
struct Window {
    u32 low, high;
};

/// Loads the `unit`-th run of `COUNT` codes of `BITS` bits. Reads no word that holds none of these codes.
template <u32 BITS, u32 COUNT> __device__ __forceinline__ Window load_codes(const u32 *words, u64 unit) {
    constexpr u32 WIDTH = BITS * COUNT;
    static_assert(WIDTH <= 64 && WIDTH % 4 == 0, "a window is two words");
    if constexpr (WIDTH == 64) {
        const uint2 both = __ldg(reinterpret_cast<const uint2 *>(words) + unit);
        return {both.x, both.y};
    } else if constexpr (WIDTH == 32) {
        return {__ldg(words + unit), 0};
    } else {
        const u64 at = unit * WIDTH;
        const u64 word = at >> 5;
        const u32 offset = static_cast<u32>(at) & 31;
        const u32 low = __ldg(words + word);
        if constexpr (32 % WIDTH == 0) {
            return {low >> offset, 0};
        } else {
            const u32 high = offset + WIDTH > 32 ? __ldg(words + word + 1) : 0;
            return {__funnelshift_r(low, high, offset), high >> offset};
        }
    }
}

/// Returns code `index` with the bits above it. A constant `index` leaves a single shift.
template <u32 BITS> __device__ __forceinline__ u32 code_and_above(const Window &window, u32 index) {
    const u32 at = index * BITS;
    if (at >= 32) return window.high >> (at - 32);
    if (at + BITS <= 32) return window.low >> at;
    return __funnelshift_r(window.low, window.high, at);
}

/// Converts an unsigned code of at most 8 bits to f32: the code goes into the low mantissa bits of 2^23, which is then
/// subtracted, exactly.
template <u32 BITS> __device__ __forceinline__ float integer(u32 code_and_above) {
    const u32 code = code_and_above & ((1u << BITS) - 1);
    return __fadd_rn(float_of(0x4B000000 | code), -8388608.0f);
}

/// Converts the codes `index` and `index + 1` to a pair of `T` in the same way, with 2^10, or with 2^7 for bf16, whose
/// codes have at most 6 bits.
template <u32 BITS, class T> __device__ __forceinline__ u32 integer_pair(const Window &window, u32 index) {
    static_assert(SAME<T, f16> || (SAME<T, bf16> && BITS < 8), "the mantissa has to hold a code");
    constexpr u32 MASK = (1u << BITS) - 1;
    const u32 low = code_and_above<BITS>(window, index) & MASK;
    const u32 high = code_and_above<BITS>(window, index + 1) << 16 & MASK << 16;
    return SAME<T, f16> ? add_pairs<T>(0x64006400 | low | high, 0xE400E400) : add_pairs<T>(0x43004300 | low | high, 0xC300C300);
}

/// Converts an E2M1 code of four bits. Exponent and mantissa go to their places in an f32. Multiplying by 2^126
/// corrects the bias exactly, for the subnormal 0.5 too.
__device__ __forceinline__ float e2m1(u32 code_and_above) {
    const u32 magnitude = (code_and_above << 22) & 0x01C00000, sign = (code_and_above << 28) & 0x80000000;
    return __fmul_rn(float_of(sign | magnitude), 0x1p126f);
}

/// Converts an E4M3 code of eight bits in the same way, with 2^120. All ones below the sign are NaN.
__device__ __forceinline__ float e4m3(u32 code_and_above) {
    const u32 magnitude = (code_and_above << 20) & 0x07F00000, sign = (code_and_above << 24) & 0x80000000;
    const float value = __fmul_rn(float_of(sign | magnitude), 0x1p120f);
    return magnitude == 0x07F00000 ? float_of(0x7FFFFFFF) : value;
}

/// Converts an E8M0 code to 2^(code - 127). Code 0 is the subnormal 2^-127, and 255 is infinity, as in MLX.
__device__ __forceinline__ float e8m0(u32 code) { return float_of(code == 0 ? 0x00400000 : code << 23); }
