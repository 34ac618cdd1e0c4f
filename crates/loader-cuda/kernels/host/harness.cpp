// Runs the kernels on the host, for tests that compare them with longshore-quant.
//
// Reads launches from standard input, one after another, and writes the output of each to standard output. All numbers
// are little-endian:
//
//     u32 length of the kernel's name, the name
//     u32 grid x, u32 grid y, u32 threads of a block
//     u64 units, u32 group shift
//     weight, scale, extra, each u64 length and bytes; the length 2^64 - 1 is a null pointer
//     u64 length of the output
//
// Every buffer is a separate allocation of exact length, so that AddressSanitizer detects any access beyond it.

#include "shim.h"

#define KERNELS                                                                                                            \
    AFFINE_ALL(2) AFFINE_ALL(3) AFFINE_ALL(4) AFFINE_ALL(5) AFFINE_ALL(6) AFFINE_ALL(8)                                    \
    BLOCK_ALL(nvfp4, Nvfp4) BLOCK_ALL(mxfp4, Mxfp4) BLOCK_ALL(mxfp8, Mxfp8)
#include "../dequantize.cu"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

using Kernel = void (*)(const u32 *, const void *, const void *, uint4 *, u64, u32);

struct Named {
    const char *name;
    Kernel kernel;
};

#undef KERNEL
#define KERNEL(NAME, SCHEME, O) {#NAME, NAME},
const Named TABLE[] = {KERNELS};

[[noreturn]] void fail(const char *what, const char *which = "") {
    std::fprintf(stderr, "harness: %s%s\n", what, which);
    std::exit(2);
}

/// Reads `length` bytes. Returns false at the end of the input, if the input may end here.
bool read_bytes(void *into, size_t length, bool may_end = false) {
    const size_t found = std::fread(into, 1, length, stdin);
    if (found == 0 && may_end && length > 0) return false;
    if (found != length) fail("the input ends inside of a launch");
    return true;
}

template <class T> T read_number() {
    T value;
    read_bytes(&value, sizeof value);
    return value;
}

struct Buffer {
    void *bytes = nullptr;
    size_t length = 0;

    explicit Buffer(u64 size) : length(size) {
        if (size == ~0ull) return;
        bytes = std::malloc(size);
        if (!bytes) fail("out of memory");
    }
    Buffer(const Buffer &) = delete;
    ~Buffer() { std::free(bytes); }
};

void launch(u32 name_length) {
    if (name_length > 256) fail("a kernel's name is too long");
    std::string name(name_length, ' ');
    read_bytes(name.data(), name_length);
    Kernel kernel = nullptr;
    for (const Named &known : TABLE) {
        if (name == known.name) kernel = known.kernel;
    }
    if (!kernel) fail("there is no kernel ", name.c_str());

    const u32 grid_x = read_number<u32>(), grid_y = read_number<u32>(), threads = read_number<u32>();
    const u64 units = read_number<u64>();
    const u32 group_shift = read_number<u32>();
    const auto read_buffer = [](const Buffer &buffer) {
        if (buffer.bytes) read_bytes(buffer.bytes, buffer.length);
    };
    const Buffer weight(read_number<u64>());
    read_buffer(weight);
    const Buffer scale(read_number<u64>());
    read_buffer(scale);
    const Buffer extra(read_number<u64>());
    read_buffer(extra);
    const Buffer out(read_number<u64>());
    std::memset(out.bytes, 0xA5, out.length);

    for (blockIdx.y = 0; blockIdx.y < grid_y; blockIdx.y++) {
        for (blockIdx.x = 0; blockIdx.x < grid_x; blockIdx.x++) {
            for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) {
                kernel(
                    static_cast<const u32 *>(weight.bytes), scale.bytes, extra.bytes, static_cast<uint4 *>(out.bytes), units,
                    group_shift
                );
            }
        }
    }
    if (std::fwrite(out.bytes, 1, out.length, stdout) != out.length || std::fflush(stdout) != 0) fail("cannot write");
}

} // namespace

int main() {
    for (u32 name_length; read_bytes(&name_length, sizeof name_length, true);) launch(name_length);
}
