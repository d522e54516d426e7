// SPDX-License-Identifier: Apache-2.0
#include "engine/train/captions.h"

#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/base/json_io.h"
#include "tests/support/catch.h"

namespace vorta::engine {

TEST_CASE("captions vary and use only words of the vocabulary", "[train][captions]") {
  std::set<std::string> wordings;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const Scene scene = random_scene(seed, Split::kTrain);
    const std::string text = caption(scene, seed);
    for (const int64_t token : caption_tokens(text, 48)) CHECK(token != kUnknownToken);
    CHECK(caption_tokens(text, 48).size() <= 32);
    CHECK(text.find("  ") == std::string::npos);
    CHECK(text.find(std::string(to_string(scene.objects[0].color))) != std::string::npos);
    if (seed < 40) wordings.insert(caption(random_scene(1, Split::kTrain), seed));
  }
  CHECK(wordings.size() > 6);
}

TEST_CASE("words outside the vocabulary become unknown, long texts keep their end token", "[train][captions]") {
  CHECK(caption_tokens("a zebra", 8)[1] == kUnknownToken);
  const auto cut = caption_tokens("a red circle spins in the snow", 4);
  CHECK(cut.size() == 4);
  CHECK(cut.back() == kEosToken);
  CHECK(caption_tokens("", 8) == std::vector<int64_t>{kEosToken});
}

TEST_CASE("the tokenizer file lists the vocabulary with the ids of caption_tokens", "[train][captions]") {
  const auto dir = std::filesystem::temp_directory_path() / ("vorta-tokenizer-" + std::to_string(::getpid()));
  write_tokenizer(dir, 32);
  const auto file = read_json_file(dir / "tokenizer.json");
  std::filesystem::remove_all(dir);
  const auto& vocab = file.at("model").at("vocab");
  REQUIRE(static_cast<int64_t>(vocab.size()) == vocabulary_size());
  for (const std::string word : {"red", "star", "falls"}) {
    CHECK(vocab.at(word) == caption_tokens(word, 4)[0]);
  }
}

}  // namespace vorta::engine
