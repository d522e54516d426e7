// SPDX-License-Identifier: Apache-2.0
#include "engine/base/gzip.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <vector>

#include "engine/base/error.h"

namespace vorta {
namespace {

constexpr int kLongestCode = 15;

// A canonical Huffman code: how many codes a length has, and the symbols in the order of their codes.
struct Code {
  std::array<uint16_t, kLongestCode + 1> count{};
  std::vector<uint16_t> symbols;

  explicit Code(const std::vector<uint8_t>& lengths) : symbols(lengths.size()) {
    for (const uint8_t length : lengths) ++count[length];
    count[0] = 0;
    std::array<uint16_t, kLongestCode + 2> next{};
    for (std::size_t l = 1; l <= kLongestCode; ++l) next[l + 1] = static_cast<uint16_t>(next[l] + count[l]);
    for (std::size_t s = 0; s < lengths.size(); ++s) {
      if (lengths[s] != 0) symbols[next[lengths[s]]++] = static_cast<uint16_t>(s);
    }
  }
};

class Inflater {
 public:
  Inflater(std::string_view packed, std::string_view where, std::size_t most)
      : packed_(packed), where_(where), most_(most) {}

  std::string run() {
    for (bool last = false; !last;) {
      last = bits(1) == 1;
      const uint32_t kind = bits(2);
      if (kind == 0) stored();
      if (kind == 1) compressed(fixed_literals(), Code(std::vector<uint8_t>(30, 5)));
      if (kind == 2) dynamic();
      if (kind == 3) fail("unknown kind of block");
    }
    return std::move(out_);
  }
  std::size_t position() const { return at_; }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw DataError(where_, fmt::format("damaged gzip data: {}", what));
  }

  uint32_t byte() {
    if (at_ >= packed_.size()) fail("it ends too early");
    return static_cast<uint8_t>(packed_[at_++]);
  }
  uint32_t bits(int count) {
    while (held_ < count) {
      buffer_ |= byte() << held_;
      held_ += 8;
    }
    const uint32_t value = buffer_ & ((uint32_t{1} << count) - 1);
    buffer_ >>= count;
    held_ -= count;
    return value;
  }
  uint32_t symbol(const Code& code) {
    int32_t value = 0, first = 0, index = 0;
    for (std::size_t length = 1; length <= kLongestCode; ++length) {
      value |= static_cast<int32_t>(bits(1));
      const int32_t count = code.count[length];
      if (value - first < count) return code.symbols[static_cast<std::size_t>(index + value - first)];
      index += count;
      first = (first + count) << 1;
      value <<= 1;
    }
    fail("no such code");
  }
  void put(char c) {
    if (out_.size() >= most_) throw DataError(where_, fmt::format("unpacks to more than {} bytes", most_));
    out_ += c;
  }

  void stored() {
    buffer_ = 0;
    held_ = 0;
    const uint32_t length = byte() | byte_shifted(), check = byte() | byte_shifted();
    if (length != (~check & 0xFFFFU)) fail("the length of a stored block");
    for (uint32_t i = 0; i < length; ++i) put(static_cast<char>(byte()));
  }
  uint32_t byte_shifted() { return byte() << 8; }

  void dynamic() {
    constexpr std::array<uint8_t, 19> kOrder{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    const uint32_t literals = bits(5) + 257, distances = bits(5) + 1, listed = bits(4) + 4;
    std::vector<uint8_t> of_lengths(kOrder.size(), 0);
    for (uint32_t i = 0; i < listed; ++i) of_lengths[kOrder[i]] = static_cast<uint8_t>(bits(3));
    const Code code(of_lengths);
    std::vector<uint8_t> lengths;
    while (lengths.size() < literals + distances) {
      const uint32_t next = symbol(code);
      if (next < 16) {
        lengths.push_back(static_cast<uint8_t>(next));
        continue;
      }
      if (next == 16 && lengths.empty()) fail("a repetition of nothing");
      const uint8_t value = next == 16 ? lengths.back() : uint8_t{0};
      const uint32_t times = next == 16 ? 3 + bits(2) : next == 17 ? 3 + bits(3) : 11 + bits(7);
      lengths.insert(lengths.end(), times, value);
    }
    if (lengths.size() > literals + distances) fail("too many code lengths");
    const auto middle = lengths.begin() + static_cast<std::ptrdiff_t>(literals);
    compressed(Code({lengths.begin(), middle}), Code({middle, lengths.end()}));
  }

  static Code fixed_literals() {
    std::vector<uint8_t> lengths(288, 8);
    for (std::size_t i = 144; i < 256; ++i) lengths[i] = 9;
    for (std::size_t i = 256; i < 280; ++i) lengths[i] = 7;
    return Code(lengths);
  }

  void compressed(const Code& literals, const Code& distances) {
    constexpr uint32_t kEnd = 256, kFirstLength = 257, kLengths = 29, kDistances = 30;
    for (;;) {
      const uint32_t next = symbol(literals);
      if (next == kEnd) return;
      if (next < kEnd) {
        put(static_cast<char>(next));
        continue;
      }
      if (next - kFirstLength >= kLengths) fail("no such length");
      const uint32_t length = length_of(next - kFirstLength);
      const uint32_t which = symbol(distances);
      if (which >= kDistances) fail("no such distance");
      const uint32_t distance = distance_of(which);
      if (distance > out_.size()) fail("a distance to before the beginning");
      for (uint32_t i = 0; i < length; ++i) put(out_[out_.size() - distance]);
    }
  }
  // Lengths 3..258 in groups of four that double their step; the last stands for 258 alone.
  uint32_t length_of(uint32_t index) {
    if (index < 8) return index + 3;
    if (index == 28) return 258;
    const int extra = static_cast<int>(index / 4) - 1;
    return ((4 + index % 4) << extra) + 3 + bits(extra);
  }
  // Distances 1..32768 in groups of two that double their step.
  uint32_t distance_of(uint32_t index) {
    if (index < 4) return index + 1;
    const int extra = static_cast<int>(index / 2) - 1;
    return ((2 + index % 2) << extra) + 1 + bits(extra);
  }

  std::string_view packed_;
  std::string_view where_;
  std::size_t most_;
  std::size_t at_ = 0;
  uint32_t buffer_ = 0;
  int held_ = 0;
  std::string out_;
};

uint32_t crc32(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFU;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
  }
  return ~crc;
}

// The size of the header.
std::size_t header_size(std::string_view packed, std::string_view where) {
  constexpr std::size_t kFixed = 10;
  constexpr uint8_t kCheck = 2, kExtra = 4, kName = 8, kComment = 16;
  if (packed.size() < kFixed || packed.substr(0, 3) != "\x1f\x8b\x08") throw DataError(where, "expected a gzip file");
  const auto flags = static_cast<uint8_t>(packed[3]);
  std::size_t at = kFixed;
  if ((flags & kExtra) != 0 && packed.size() >= at + 2) {
    at += 2 + static_cast<uint8_t>(packed[at]) + (std::size_t{static_cast<uint8_t>(packed[at + 1])} << 8);
  }
  for (const uint8_t text : {kName, kComment}) {
    if ((flags & text) != 0) at = packed.find('\0', at) + 1;
    if (at == 0) break;
  }
  if ((flags & kCheck) != 0) at += 2;
  if (at < kFixed || at > packed.size()) throw DataError(where, "damaged gzip data: the header");
  return at;
}

}  // namespace

std::string gunzip(std::string_view packed, std::string_view where, std::size_t most) {
  Inflater inflater(packed.substr(header_size(packed, where)), where, most);
  std::string out = inflater.run();
  const std::string_view trailer = packed.substr(header_size(packed, where) + inflater.position());
  if (trailer.size() != 8) throw DataError(where, "damaged gzip data: expected one member and its check");
  const auto number = [&](std::size_t at) {
    uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;) value = (value << 8) | static_cast<uint8_t>(trailer[at + i]);
    return value;
  };
  if (number(0) != crc32(out) || number(4) != static_cast<uint32_t>(out.size())) {
    throw DataError(where, "damaged gzip data: the check sum");
  }
  return out;
}

std::string read_gzip_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw DataError(path.string(), "cannot be read");
  return gunzip(std::string{std::istreambuf_iterator<char>(file), {}}, path.string());
}

}  // namespace vorta
