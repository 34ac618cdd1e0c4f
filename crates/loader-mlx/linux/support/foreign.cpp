// Arrays over memory that MLX has not allocated, for its CPU backend. Compiled behind mlx-c's sources, whose helpers it uses.
//
// MLX's own constructor for such memory asks its allocator to make a buffer of it, and copies where that answers none, as the CPU's
// does. There a buffer is the address of its length, with the data behind the length. So a length that is allocated by itself, and
// the distance from its end to the data as the array's offset, are a buffer of any memory. That is how this release of MLX works,
// and nothing that it promises: what it is built on is tried out first, and where that fails MLX's constructor is called, which copies.

namespace {

bool is_length_before_data() {
  namespace allocator = mlx::core::allocator;
  if (mlx::core::is_available(mlx::core::Device::gpu)) {
    return false; // Another allocator, whose buffers are something else.
  }
  allocator::Buffer theirs = allocator::malloc(1000);
  const auto* length = static_cast<const size_t*>(theirs.ptr());
  bool is_so = theirs.raw_ptr() == length + 1 && *length >= 1000 && *length == allocator::allocator().size(theirs);
  allocator::free(theirs);
  size_t own = 12345;
  allocator::Buffer ours(&own);
  return is_so && ours.raw_ptr() == &own + 1 && allocator::allocator().size(ours) == own;
}

} // namespace

// Whether the next function makes arrays without a copy.
extern "C" bool longshore_takes_foreign_memory() {
  static const bool takes = is_length_before_data();
  return takes;
}

// As mlx_array_new_data_managed_payload, and without a copy where this MLX allows it: then the payload is dropped with the last array that has the
// memory.
extern "C" mlx_array longshore_array_of_foreign_memory(
    void* data, const int* shape, int dim, mlx_dtype dtype, void* payload, void (*dtor)(void*)) {
  if (!longshore_takes_foreign_memory()) {
    return mlx_array_new_data_managed_payload(data, shape, dim, dtype, payload, dtor);
  }
  try {
    namespace core = mlx::core;
    auto length = std::make_unique<size_t>(0);
    core::allocator::Buffer buffer(length.get());
    core::array array(buffer, core::Shape(shape, shape + dim), mlx_dtype_to_cpp(dtype), [](core::allocator::Buffer) {});
    // MLX lets an operation write its result into the memory of an array that is as long and that nobody else has.
    *length = array.nbytes();
    const auto offset = int64_t(uintptr_t(data)) - int64_t(uintptr_t(buffer.raw_ptr()));
    array.set_data(buffer, array.size(), array.strides(), array.flags(), offset,
        [length = length.get(), payload, dtor](core::allocator::Buffer) {
          delete length;
          dtor(payload);
        });
    length.release();
    return mlx_array_new_(std::move(array));
  } catch (std::exception& error) {
    mlx_error("%s", error.what());
    return mlx_array_new_();
  }
}
