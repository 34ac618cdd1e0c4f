// The three float types: f32 in arithmetic, 16 or 32 bits in memory.
//
// Widening is exact. Narrowing rounds to nearest, ties to even, keeps subnormal numbers, and turns a NaN into a NaN. On
// the device, narrowing is one instruction for two elements, `cvt.rn` of the PTX ISA, which is defined to do exactly
// that. Arithmetic on pairs of 16-bit elements is defined in the same way: each instruction rounds its exact result
// once. The functions in `model` do the same in integer arithmetic. The host build computes with them, so its tests
// prove everything except these instructions.

#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

/// Types of scales, biases and outputs. `SIZE` is in bytes.
struct f32 {
    static constexpr u32 SIZE = 4;
};
struct f16 {
    static constexpr u32 SIZE = 2;
};
struct bf16 {
    static constexpr u32 SIZE = 2;
};

template <class A, class B> constexpr bool SAME = false;
template <class A> constexpr bool SAME<A, A> = true;

__device__ __forceinline__ float float_of(u32 bits) { return __uint_as_float(bits); }
__device__ __forceinline__ u32 bits_of(float value) { return __float_as_uint(value); }

#ifndef __CUDA_ARCH__
namespace model {

inline u32 narrow_bf16(float value) {
    const u32 bits = bits_of(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return (bits >> 16 & 0x8000) | 0x7FC0;
    // Adds half a unit less one, and one more where the kept part is odd. The carry does the rounding.
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
}

inline u32 narrow_f16(float value) {
    const u32 bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) return sign | 0x7E00;
    if (magnitude >= 0x477FF000) return sign | 0x7C00; // 65520 and more
    if (magnitude >= 0x38800000) {                     // 2^-14, the least normal number
        return sign | (magnitude - (112u << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    }
    // The result counts units of 2^-24. The bits that are shifted out, as a fraction of 2^shift, decide the rounding.
    const u32 exponent = magnitude >> 23;
    if (exponent < 102) return sign; // below 2^-25
    const u32 shift = 126 - exponent, mantissa = (magnitude & 0x7FFFFF) | 0x800000;
    const u32 kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
    return sign | (kept + (rest > half || (rest == half && (kept & 1))));
}

inline float widen_f16(u32 half) {
    const u32 sign = (half & 0x8000) << 16, magnitude = half & 0x7FFF;
    if (magnitude >= 0x7C00) return float_of(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
    if (magnitude >= 0x400) return float_of(sign | ((magnitude << 13) + (112u << 23)));
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return float_of(sign | bits_of(value));
}

} // namespace model
#endif

/// Narrows two values to 16-bit elements. The first is in the low half of the result.
template <class T> __device__ __forceinline__ u32 narrow(float first, float second);

template <> __device__ __forceinline__ u32 narrow<bf16>(float first, float second) {
#ifdef __CUDA_ARCH__
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
#else
    return model::narrow_bf16(first) | model::narrow_bf16(second) << 16;
#endif
}

template <> __device__ __forceinline__ u32 narrow<f16>(float first, float second) {
#ifdef __CUDA_ARCH__
    u32 pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
#else
    return model::narrow_f16(first) | model::narrow_f16(second) << 16;
#endif
}

/// Widens the 16-bit element in the low half of a word. For bf16 the high half must be zero.
template <class T> __device__ __forceinline__ float widen(u32 half);

template <> __device__ __forceinline__ float widen<bf16>(u32 half) { return float_of(half << 16); }

template <> __device__ __forceinline__ float widen<f16>(u32 half) {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<u16>(half)));
    return value;
#else
    return model::widen_f16(half & 0xFFFF);
#endif
}

/// Adds two pairs of 16-bit elements; each sum is rounded once. bf16 has only the fused form, with a factor of one.
template <class T> __device__ __forceinline__ u32 add_pairs(u32 a, u32 b);

/// Multiplies two pairs of 16-bit elements; each product is rounded once. bf16 uses the fused form with a term of -0,
/// which changes no product, not even the sign of a zero.
template <class T> __device__ __forceinline__ u32 multiply_pairs(u32 a, u32 b);

#ifdef __CUDA_ARCH__

template <> __device__ __forceinline__ u32 add_pairs<bf16>(u32 a, u32 b) {
    u32 pair;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(0x3F803F80), "r"(b));
    return pair;
}

template <> __device__ __forceinline__ u32 add_pairs<f16>(u32 a, u32 b) {
    u32 pair;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}

template <> __device__ __forceinline__ u32 multiply_pairs<bf16>(u32 a, u32 b) {
    u32 pair;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(b), "r"(0x80008000));
    return pair;
}

template <> __device__ __forceinline__ u32 multiply_pairs<f16>(u32 a, u32 b) {
    u32 pair;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}

#else

// In f32 a product is exact. Rounding a sum twice equals rounding it once, because 24 bits are at least twice the 11 of
// f16, plus two.
template <class T> inline u32 add_pairs(u32 a, u32 b) {
    return narrow<T>(widen<T>(a & 0xFFFF) + widen<T>(b & 0xFFFF), widen<T>(a >> 16) + widen<T>(b >> 16));
}

template <class T> inline u32 multiply_pairs(u32 a, u32 b) {
    return narrow<T>(widen<T>(a & 0xFFFF) * widen<T>(b & 0xFFFF), widen<T>(a >> 16) * widen<T>(b >> 16));
}

#endif

/// Rounds two values to `T`, as storing and loading them would.
template <class T> __device__ __forceinline__ void round_pair(float &first, float &second) {
    if constexpr (!SAME<T, f32>) {
        const u32 pair = narrow<T>(first, second);
        if constexpr (SAME<T, bf16>) {
            first = float_of(pair << 16);
            second = float_of(pair & 0xFFFF0000);
        } else {
            first = widen<T>(pair & 0xFFFF);
            second = widen<T>(pair >> 16);
        }
    }
}

/// Loads element `index` of an array of `T`.
template <class T> __device__ __forceinline__ float load_float(const void *array, u64 index) {
    if constexpr (SAME<T, f32>) {
        return float_of(__ldg(static_cast<const u32 *>(array) + index));
    } else {
        return widen<T>(__ldg(static_cast<const u16 *>(array) + index));
    }
}
