// SPDX-License-Identifier: Apache-2.0
#include "engine/text/tokenizer.h"

#include "engine/base/error.h"
#include "engine/text/fast_tokenizer.h"
#include "engine/text/spiece_tokenizer.h"

namespace vorta::engine {

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& dir) {
  std::error_code code;
  if (std::filesystem::exists(dir / "tokenizer.json", code))
    return std::make_unique<FastTokenizer>(dir / "tokenizer.json");
  if (std::filesystem::exists(dir / "spiece.model", code)) return std::make_unique<SpieceTokenizer>(dir);
  throw DataError(dir.string(), "expected tokenizer.json or spiece.model; found neither");
}

}  // namespace vorta::engine
