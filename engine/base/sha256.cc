// SPDX-License-Identifier: Apache-2.0
#include "engine/base/sha256.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace vorta {
namespace {

struct Constants {
  std::array<uint32_t, 64> cube;   // fractional parts of the cube roots of the first 64 primes
  std::array<uint32_t, 8> square;  // fractional parts of the square roots of the first 8 primes
};

// FIPS 180-4 defines its constants by these roots; long double holds the 32 fractional bits exactly enough.
Constants make_constants() {
  Constants made{};
  std::size_t count = 0;
  for (uint32_t candidate = 2; count < made.cube.size(); ++candidate) {
    bool prime = true;
    for (uint32_t divisor = 2; divisor * divisor <= candidate; ++divisor) prime = prime && candidate % divisor != 0;
    if (!prime) continue;
    const auto fraction = [](long double root) {
      return static_cast<uint32_t>((root - std::floor(root)) * 4294967296.0L);
    };
    made.cube[count] = fraction(std::cbrt(static_cast<long double>(candidate)));
    if (count < made.square.size()) made.square[count] = fraction(std::sqrt(static_cast<long double>(candidate)));
    ++count;
  }
  return made;
}

void compress(std::array<uint32_t, 8>& state, const unsigned char* block, const Constants& constants) {
  std::array<uint32_t, 64> w{};
  for (std::size_t i = 0; i < 16; ++i) {
    w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 | block[4 * i + 3];
  }
  for (std::size_t i = 16; i < 64; ++i) {
    const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (std::size_t i = 0; i < 64; ++i) {
    const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + constants.cube[i] + w[i];
    const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const std::array<uint32_t, 8> add{a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < 8; ++i) state[i] += add[i];
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  static const Constants constants = make_constants();
  std::array<uint32_t, 8> state = constants.square;
  const auto add_blocks = [&](std::string_view blocks) {
    for (std::size_t at = 0; at < blocks.size(); at += 64) {
      compress(state, reinterpret_cast<const unsigned char*>(blocks.data()) + at, constants);
    }
  };
  const std::size_t whole = bytes.size() / 64 * 64;  // weights have gigabytes: only the last block is copied
  add_blocks(bytes.substr(0, whole));
  std::string last(bytes.substr(whole));
  last += '\x80';
  while (last.size() % 64 != 56) last += '\0';
  const uint64_t bits = uint64_t{bytes.size()} * 8;
  for (int shift = 56; shift >= 0; shift -= 8) last += static_cast<char>(bits >> shift & 0xff);
  add_blocks(last);
  std::string hex;
  for (const uint32_t word : state) hex += fmt::format("{:08x}", word);
  return hex;
}

}  // namespace vorta
