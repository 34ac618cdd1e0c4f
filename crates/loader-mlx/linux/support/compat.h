// Included before every source of mlx-c 0.7, so that it compiles on Linux. It changes none of them.
#pragma once

// mlx-c declares its accessors of half types on Arm only, and mlx-rs calls them everywhere: name MLX's own half types, and say that they
// are there.
#if !defined(__aarch64__)
#include "mlx/types/half_types.h"
using mlx::core::bfloat16_t;
using mlx::core::float16_t;
#define HAS_FLOAT16
#define HAS_BFLOAT16
#endif

// GCC 12 has no <format>. mlx-c uses it for messages, and always as plain "{}".
#if __has_include(<format>)
#include <format>
#else
#include <sstream>
#include <string>
#include <string_view>

namespace std {
template <class... Values>
inline string format(string_view pattern, const Values&... values) {
  ostringstream text;
  size_t at = 0;
  auto append = [&](const auto& value) {
    const size_t hole = pattern.find("{}", at);
    text << pattern.substr(at, hole - at) << value;
    at = hole + 2;
  };
  (append(values), ...);
  text << pattern.substr(at);
  return text.str();
}
} // namespace std
#endif
