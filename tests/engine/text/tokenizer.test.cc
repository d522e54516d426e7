// SPDX-License-Identifier: Apache-2.0
#include "engine/text/tokenizer.h"

#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "tests/support/catch.h"

using namespace vorta::engine;
namespace fs = std::filesystem;

namespace {

const fs::path kGolden = fs::path(VORTA_SOURCE_DIR) / "tests/golden/text";

std::string error_for(const nlohmann::json& tokenizer) {
  std::string name = (fs::temp_directory_path() / "vorta-text-XXXXXX").string();
  const fs::path dir = mkdtemp(name.data());
  std::ofstream(dir / "tokenizer.json") << tokenizer.dump();
  std::string message;
  try {
    load_tokenizer(dir);
  } catch (const vorta::DataError& error) {
    message = error.what();
  }
  fs::remove_all(dir);
  return message;
}

}  // namespace

TEST_CASE("ids equal those of transformers and tokenizers", "[text][tokenizer][golden]") {
  constexpr int64_t kMaxTokens = 64;  // as the fixture's script
  for (const char* folder : {"fast", "spiece", "word_level", "word_split"}) {
    const auto tokenizer = load_tokenizer(kGolden / folder);
    const auto pairs = vorta::read_json_file(kGolden / folder / "ids.json");
    CHECK(pairs.size() > 300);
    for (const auto& pair : pairs) {
      INFO(folder << " " << pair[0].dump(-1, ' ', true));
      CHECK(tokenizer->encode(pair[0].get<std::string>(), kMaxTokens) == pair[1].get<std::vector<int64_t>>());
    }
  }
}

TEST_CASE("a long text keeps its eos and an empty one has nothing else", "[text][tokenizer]") {
  const auto tokenizer = load_tokenizer(kGolden / "fast");
  const auto ids = tokenizer->encode("a red circle and a blue star", 3);
  REQUIRE(ids.size() == 3);
  CHECK(ids.back() == 1);
  CHECK(tokenizer->encode("", 512) == std::vector<int64_t>{1});
  CHECK(tokenizer->encode("a b c", 1) == std::vector<int64_t>{1});
  CHECK_THROWS_AS(tokenizer->encode("a", 0), vorta::ConfigError);
  CHECK_THROWS_AS(tokenizer->encode("\xff", 8), vorta::ConfigError);
  CHECK(tokenizer->vocab_size() == 400);
  CHECK(tokenizer->pad_id() == 0);
}

TEST_CASE("what tokenizer.json asks and we do not know is refused by name", "[text][tokenizer]") {
  const auto good = vorta::read_json_file(kGolden / "fast/tokenizer.json");
  const auto with = [&](const char* pointer, const nlohmann::json& value) {
    auto changed = good;
    changed[nlohmann::json::json_pointer(pointer)] = value;
    return error_for(changed);
  };
  CHECK(error_for(good).empty());
  const auto contains = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  CHECK(contains(with("/model/type", "WordPiece"), "WordPiece"));
  CHECK(contains(with("/model/new_option", 1), "new_option"));
  CHECK(contains(with("/normalizer", {{"type", "Nmt"}}), "Nmt"));
  CHECK(contains(with("/pre_tokenizer", {{"type", "Punctuation"}}), "Punctuation"));
  CHECK(contains(with("/post_processor", {{"type", "Pooling"}}), "Pooling"));
  CHECK(contains(with("/extra", 1), "extra"));
  CHECK(contains(with("/version", "2.0"), "2.0"));
  CHECK(contains(with("/model/unk_id", 100000), "outside the vocabulary"));
  CHECK(contains(with("/model/vocab/5", "x"), "piece 5"));
  CHECK(contains(with("/added_tokens/0/id", 17), "in the vocabulary"));
  CHECK(contains(with("/normalizer/normalizers/0/precompiled_charsmap", "AAAA"), "too short"));
  CHECK(contains(with("/normalizer/normalizers/2/pattern/Regex", "(a"), "regular expression"));
}

TEST_CASE("a folder without a tokenizer says what was looked for", "[text][tokenizer]") {
  CHECK_THROWS_WITH(load_tokenizer(kGolden), Catch::Contains("tokenizer.json or spiece.model"));
}
