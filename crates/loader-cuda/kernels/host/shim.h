// The parts of CUDA that the kernels need, as plain C++: a thread is an iteration, and arithmetic is the compiler's,
// without fused multiply-adds.

#pragma once

#include <cstring>

#if defined(__FAST_MATH__) || defined(__CUDACC__)
#error "this file needs a host compiler that keeps to IEEE 754; build with -ffp-contract=off"
#endif

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct Index {
    unsigned x, y;
};
inline Index blockIdx, threadIdx;

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

/// Returns the low word of `high:low` shifted right by `shift` mod 32.
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    const unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<unsigned>(both >> (shift & 31));
}

template <class T> inline T __ldg(const T *from) { return *from; }
