// SPDX-License-Identifier: Apache-2.0
#include "engine/base/sha256.h"

#include <fmt/format.h>
#include <immintrin.h>

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
    w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 |
           block[4 * i + 3];
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

// The same with the instructions that processors have for it, four rounds at a time: five times as fast, and weights
// have gigabytes.
__attribute__((target("sha,sse4.1,ssse3"))) void compress_many(std::array<uint32_t, 8>& state, std::string_view blocks,
                                                               const Constants& constants) {
  const auto word = [&](std::size_t i) { return static_cast<int>(state[i]); };
  __m128i abef = _mm_set_epi32(word(0), word(1), word(4), word(5)),
          cdgh = _mm_set_epi32(word(2), word(3), word(6), word(7));
  const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
  for (std::size_t at = 0; at < blocks.size(); at += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];  // the schedule's next sixteen words
    for (std::size_t i = 0; i < 4; ++i) {
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks.data() + at) + i), big_endian);
    }
    for (std::size_t four = 0; four < 16; ++four) {
      const __m128i cube = _mm_loadu_si128(reinterpret_cast<const __m128i*>(constants.cube.data()) + four);
      const __m128i sum = _mm_add_epi32(w[0], cube);
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);  // two rounds on, what was abef is cdgh
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
      const __m128i partial = _mm_add_epi32(_mm_sha256msg1_epu32(w[0], w[1]), _mm_alignr_epi8(w[3], w[2], 4));
      const __m128i next = _mm_sha256msg2_epu32(partial, w[3]);
      w[0] = w[1], w[1] = w[2], w[2] = w[3], w[3] = next;
    }
    abef = _mm_add_epi32(abef, abef_before), cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  alignas(16) std::array<uint32_t, 4> first, second;
  _mm_store_si128(reinterpret_cast<__m128i*>(first.data()), abef);
  _mm_store_si128(reinterpret_cast<__m128i*>(second.data()), cdgh);
  state = {first[3], first[2], second[3], second[2], first[1], first[0], second[1], second[0]};
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  static const Constants constants = make_constants();
  std::array<uint32_t, 8> state = constants.square;
  const auto add_blocks = [&](std::string_view blocks) {
    if (__builtin_cpu_supports("sha")) return compress_many(state, blocks, constants);
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
