// SPDX-License-Identifier: Apache-2.0
// transformers 4.49, models/clip/tokenization_clip.py; github.com/openai/CLIP, clip/simple_tokenizer.py.
#include "engine/text/clip_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/base/utf8.h"
#include "engine/text/byte_level.h"
#include "engine/text/clean_prompt.h"
#include "engine/text/unicode_text.h"

namespace vorta::engine {
namespace {

// U+0345 is no letter, but the lower case of one by its folding: the negated class of Python's regex leaves it out.
constexpr const char* kWords =
    R"((?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{345}]+)";
constexpr std::string_view kMarkers[] = {"<|startoftext|>", "<|endoftext|>"};  // words that BPE leaves whole
constexpr const char* kWordEnd = "</w>";
constexpr std::size_t kMostMerges = 49152 - 256 - 2;  // the published vocabulary's, whatever the file holds

BpeMerges parse_merges(std::string_view text, std::string_view where) {
  while (!text.empty() && is_white_space(last_point(text))) text = strip_right(text);
  BpeMerges merges;
  for (std::size_t line_number = 1; !text.empty() && merges.size() < kMostMerges; ++line_number) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line_number == 1) continue;  // the version
    if (line.ends_with('\r')) line.remove_suffix(1);
    auto merge = parse_merge(line);
    if (!merge) {
      throw DataError(
          where, fmt::format("line {}: expected two symbols and a space between, found \"{}\"", line_number, line));
    }
    merges.push_back(std::move(*merge));
  }
  return merges;
}

BpeOptions options_for(const std::string& unknown) {
  BpeOptions options;
  options.unknown = unknown;
  options.suffix = kWordEnd;
  options.order = MergeOrder::kWholeRank;
  return options;
}

std::string clean(std::string_view text, ClipCleaning cleaning) {
  if (cleaning == ClipCleaning::kOpenAi) return clean_prompt(text);
  return encode_utf8(collapse_white_space(fix_text(*decode_utf8(text))));
}

}  // namespace

ClipVocabulary read_clip_vocabulary(const std::filesystem::path& vocab_json, const std::filesystem::path& merges_txt) {
  const auto json = read_json_file(vocab_json);
  ClipVocabulary result;
  result.tokens = parse_vocabulary(JsonNode(json, vocab_json.string() + "#"));
  constexpr std::size_t kMaxBytes = 64u << 20;
  const std::string merges = read_file(merges_txt, kMaxBytes);
  if (!is_utf8(merges)) throw DataError(merges_txt.string(), "is not valid UTF-8");
  result.merges = parse_merges(merges, merges_txt.string());
  return result;
}

ClipVocabulary make_clip_vocabulary(std::string_view merges_txt, std::string_view where) {
  if (!is_utf8(merges_txt)) throw DataError(where, "is not valid UTF-8");
  ClipVocabulary result;
  result.merges = parse_merges(merges_txt, where);
  const auto add = [&](std::string token) { result.tokens.add(std::move(token), result.tokens.size()); };
  std::vector<std::string> characters;
  std::vector<std::string> stand_ins;  // of bytes that do not stand for themselves
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = bytes_to_characters(std::string(1, static_cast<char>(byte)));
    const bool itself = first_point(character) == static_cast<char32_t>(byte);
    (itself ? characters : stand_ins).push_back(character);
  }
  characters.insert(characters.end(), stand_ins.begin(), stand_ins.end());
  for (const auto& character : characters) add(character);
  for (const auto& character : characters) add(character + kWordEnd);
  for (const auto& [first, second] : result.merges) add(first + second);
  for (std::string_view marker : kMarkers) add(std::string(marker));
  return result;
}

ClipTokenizer::ClipTokenizer(ClipVocabulary vocabulary, const std::string& unknown, const std::string& where,
                             ClipCleaning cleaning)
    : bpe_(std::move(vocabulary.tokens), vocabulary.merges, options_for(unknown), where),
      words_(kWords, where, RegexFlavour::kPython),
      cleaning_(cleaning),
      unknown_(*bpe_.id_of(unknown)),
      distinct_(bpe_.count()) {}

std::optional<int64_t> ClipTokenizer::id_of(std::string_view token) const {
  for (const auto& added : added_) {
    if (added.content == token) return added.id;
  }
  return bpe_.id_of(token);
}

void ClipTokenizer::add_token(AddedToken token) {
  const auto is_same = [&](const AddedToken& known) { return known.content == token.content; };
  if (token.content.empty() || std::any_of(added_.begin(), added_.end(), is_same)) return;
  const auto known = bpe_.id_of(token.content);
  token.id = known ? *known : distinct_++;
  added_.push_back(std::move(token));
}

void ClipTokenizer::append_words(std::string_view text, std::vector<int64_t>& ids) const {
  const std::string lower = lower_case_as_python(clean(text, cleaning_));
  for (const auto& [begin, end] : words_.find_all(lower)) {
    const auto word = std::string_view(lower).substr(begin, end - begin);
    if (std::find(std::begin(kMarkers), std::end(kMarkers), word) != std::end(kMarkers))
      ids.push_back(id_of(word).value_or(unknown_));
    else bpe_.encode(bytes_to_characters(word), ids);
  }
}

std::vector<int64_t> ClipTokenizer::text_ids(std::string_view text) const {
  if (!is_utf8(text)) throw ConfigError("prompt", "is not valid UTF-8");
  std::vector<int64_t> ids;
  for (const auto& part : split_at_tokens(text, added_)) {
    if (part.id) ids.push_back(*part.id);
    else append_words(part.text, ids);
  }
  return ids;
}

std::string ClipTokenizer::text_of(const std::vector<int64_t>& ids) const {
  std::string spelled;
  for (int64_t id : ids) spelled += bpe_.token_of(id);
  return spell_out(spelled, bpe_.suffix());
}

}  // namespace vorta::engine
