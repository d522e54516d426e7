// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::engine {

/// SentencePiece's compiled normalisation rules: a double-array trie (darts-clone) from byte strings to offsets in a
/// blob of zero-terminated replacements. Applied as Hugging Face's tokenizers apply it: a grapheme of less than six
/// bytes as a whole first, then character by character.
class PrecompiledCharsmap {
 public:
  /// `bytes`: trie size (uint32, little-endian), trie, replacements. @throws DataError when the sizes disagree.
  PrecompiledCharsmap(std::string_view bytes, std::string_view where);
  std::string apply(std::string_view text) const;

 private:
  /// The replacement of the shortest prefix of `key` in the trie; false when none is.
  bool replace(std::string_view key, std::string& out) const;

  std::vector<uint32_t> trie_;
  std::string replacements_;
};

}  // namespace vorta::engine
