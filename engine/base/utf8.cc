// SPDX-License-Identifier: Apache-2.0
#include "engine/base/utf8.h"

#include "engine/base/error.h"

namespace vorta {
namespace {

struct Lead {
  int continuation;  // bytes that follow; -1 for a byte that cannot lead
  char32_t bits;
  char32_t smallest;  // below it the form is overlong
};

Lead classify(unsigned char byte) {
  if (byte < 0x80) return {0, byte, 0};
  if (byte >= 0xC2 && byte < 0xE0) return {1, byte & 0x1Fu, 0x80};
  if (byte >= 0xE0 && byte < 0xF0) return {2, byte & 0x0Fu, 0x800};
  if (byte >= 0xF0 && byte < 0xF5) return {3, byte & 0x07u, 0x10000};
  return {-1, 0, 0};
}

bool is_scalar_value(char32_t point) { return point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF); }

}  // namespace

std::optional<std::u32string> decode_utf8(std::string_view bytes) {
  std::u32string points;
  points.reserve(bytes.size());
  for (std::size_t i = 0; i < bytes.size();) {
    const Lead lead = classify(static_cast<unsigned char>(bytes[i]));
    const auto length = static_cast<std::size_t>(lead.continuation) + 1;
    if (lead.continuation < 0 || length > bytes.size() - i) return std::nullopt;
    char32_t point = lead.bits;
    for (std::size_t k = 1; k < length; ++k) {
      const auto byte = static_cast<unsigned char>(bytes[i + k]);
      if ((byte & 0xC0) != 0x80) return std::nullopt;
      point = (point << 6) | (byte & 0x3Fu);
    }
    if (point < lead.smallest || !is_scalar_value(point)) return std::nullopt;
    points.push_back(point);
    i += length;
  }
  return points;
}

bool is_utf8(std::string_view bytes) { return decode_utf8(bytes).has_value(); }

void append_utf8(std::string& bytes, char32_t point) {
  VORTA_CHECK(is_scalar_value(point), "not a Unicode scalar value");
  const auto tail = [&](int shift) { bytes.push_back(static_cast<char>(0x80 | ((point >> shift) & 0x3F))); };
  if (point < 0x80) {
    bytes.push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    bytes.push_back(static_cast<char>(0xC0 | (point >> 6)));
    tail(0);
  } else if (point < 0x10000) {
    bytes.push_back(static_cast<char>(0xE0 | (point >> 12)));
    tail(6);
    tail(0);
  } else {
    bytes.push_back(static_cast<char>(0xF0 | (point >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string encode_utf8(std::u32string_view points) {
  std::string bytes;
  bytes.reserve(points.size());
  for (char32_t point : points) append_utf8(bytes, point);
  return bytes;
}

std::string first_line(std::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

}  // namespace vorta
