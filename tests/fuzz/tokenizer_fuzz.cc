// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: before the first NUL a tokenizer.json (it begins with "{") or CLIP's merges.txt, behind it a text.
// Either is refused with DataError, or every text gives ids of its vocabulary, the same ones when asked again, and ids
// give text that is UTF-8.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/utf8.h"
#include "engine/text/clip_tokenizer.h"
#include "engine/text/fast_tokenizer.h"

namespace {

using namespace vorta::engine;

void require(bool condition) {
  if (!condition) std::abort();
}

void check(const TokenCoder& coder, int64_t vocab_size, std::string_view text) {
  const auto ids = coder.text_ids(text);
  for (int64_t id : ids) require(id >= 0 && id < vocab_size);
  require(coder.text_ids(text) == ids);
  require(vorta::is_utf8(coder.text_of(ids)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto end = std::min(bytes.find('\0'), bytes.size());
  const std::string_view file = bytes.substr(0, end);
  const std::string_view text = bytes.substr(std::min(end + 1, bytes.size()));
  try {
    if (file.starts_with('{')) {
      const FastTokenizer tokenizer(vorta::parse_json(file, "tokenizer.json"), "tokenizer.json");
      check(tokenizer, tokenizer.vocab_size(), text);
      constexpr int64_t kMaxTokens = 16;
      require(tokenizer.encode(text, kMaxTokens).size() <= kMaxTokens);
    } else {
      auto vocabulary = make_clip_vocabulary(file, "merges.txt");
      const int64_t vocab_size = vocabulary.tokens.size();
      const ClipTokenizer tokenizer(std::move(vocabulary), "<|endoftext|>", "merges.txt");
      check(tokenizer, vocab_size, text);
    }
  } catch (const vorta::DataError&) {
  } catch (const vorta::ConfigError&) {
  }
  return 0;
}
