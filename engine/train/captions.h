// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/train/scene.h"

namespace vorta::engine {

/// A caption of `scene` in one of many wordings, chosen by `wording_seed`: object, motion, background, sometimes size,
/// texture, style and camera. Lower case, words of vocabulary() only, commas apart from words.
std::string caption(const Scene& scene, uint64_t wording_seed);

/// The end of such a caption alone: "moves left , the camera pans up".
std::string motion_phrase(const Scene& scene, uint64_t wording_seed);
/// What objects look like beyond shape and colour: words among "outlined", "striped", "dotted", or "plain".
std::string style_phrase(const Scene& scene);

/// Phrases by meaning, in the order of the enumerators, for scorers that read captions: {"shapes": [{"name": "circle",
/// "words": ["circle", "circles"]}, ..], "colors": [..], "motions": [..], "backgrounds": [..], "styles": ["outlined",
/// ..]}.
nlohmann::json caption_phrases();

/// Every word a caption can hold, sorted, and a few synonyms of them.
const std::vector<std::string>& vocabulary();

/// Token ids: <pad> 0, </s> 1, <unk> 2, then the words of vocabulary() in order.
inline constexpr int64_t kPadToken = 0;
inline constexpr int64_t kEosToken = 1;
inline constexpr int64_t kUnknownToken = 2;
int64_t vocabulary_size();
/// The ids of a text's words, then the end token, cut to `max_tokens`; as the written tokenizer would give them.
std::vector<int64_t> caption_tokens(const std::string& text, int64_t max_tokens);

/// Writes tokenizer.json (Hugging Face format: lower case, split at spaces and punctuation, WordLevel) and
/// tokenizer_config.json.
void write_tokenizer(const std::filesystem::path& dir, int64_t max_tokens);

}  // namespace vorta::engine
