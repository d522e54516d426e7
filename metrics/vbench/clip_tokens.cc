// SPDX-License-Identifier: Apache-2.0
#include "metrics/vbench/clip_tokens.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <filesystem>

#include "engine/base/error.h"

namespace vorta::metrics {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kStart = "<|startoftext|>";
constexpr std::string_view kEndOfText = "<|endoftext|>";
constexpr std::size_t kMaxBytes = std::size_t{16} << 20;  // the vocabulary has 3 MB

std::string read_gzip(const fs::path& path) {
  const gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw DataError(path.string(), "cannot be opened");
  std::string text;
  std::array<char, 1 << 16> block;
  int count = 0;
  while ((count = gzread(file, block.data(), block.size())) > 0 && text.size() <= kMaxBytes) {
    text.append(block.data(), static_cast<std::size_t>(count));
  }
  const bool whole = count == 0 && gzeof(file) != 0;
  gzclose(file);
  if (!whole) throw DataError(path.string(), "expected a gzip file of at most 16 MB, found a damaged or larger one");
  return text;
}

fs::path find_vocabulary(const ScorerWeights& weights) {
  constexpr const char* kName = "bpe_simple_vocab_16e6.txt.gz";
  const fs::path own = weights.root() / "ViCLIP" / kName;
  const fs::path installed = fs::path(VORTA_PACKAGES) / "open_clip" / kName;
  for (const fs::path& path : {own, installed}) {
    if (fs::is_regular_file(path)) return path;
  }
  throw MachineError(
      own.string(),
      fmt::format("CLIP's vocabulary is missing here and at {} (cmake/requirements-vbench.txt)", installed.string()));
}

}  // namespace

std::shared_ptr<const engine::ClipTokenizer> load_openai_tokenizer(const ScorerWeights& weights) {
  const fs::path path = find_vocabulary(weights);
  return std::make_shared<const engine::ClipTokenizer>(engine::make_clip_vocabulary(read_gzip(path), path.string()),
                                                       std::string(kEndOfText), path.string(),
                                                       engine::ClipCleaning::kOpenAi);
}

at::Tensor clip_tokens(const engine::ClipTokenizer& tokenizer, const std::string& text, int64_t context,
                       LongText long_text) {
  std::vector<int64_t> ids{tokenizer.id_of(kStart).value()};
  const std::vector<int64_t> words = tokenizer.text_ids(text);
  ids.insert(ids.end(), words.begin(), words.end());
  const int64_t end = tokenizer.id_of(kEndOfText).value();
  ids.push_back(end);
  if (static_cast<int64_t>(ids.size()) > context) {
    if (long_text == LongText::kRefuse) {
      throw ConfigError("prompt",
                        fmt::format("expected at most {} tokens, found {} in \"{}\"", context, ids.size(), text));
    }
    ids.resize(static_cast<std::size_t>(context));
    ids.back() = end;
  }
  ids.resize(static_cast<std::size_t>(context), 0);
  return at::tensor(ids, at::kLong).unsqueeze(0);
}

}  // namespace vorta::metrics
