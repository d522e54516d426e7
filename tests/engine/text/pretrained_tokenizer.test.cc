// SPDX-License-Identifier: Apache-2.0
#include "engine/text/pretrained_tokenizer.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/base/error.h"
#include "engine/base/json_io.h"
#include "engine/text/clip_tokenizer.h"
#include "engine/text/regex.h"
#include "engine/weights/safetensors.h"
#include "tests/support/catch.h"

using namespace vorta::engine;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

const fs::path kTokenizerGolden = fs::path(VORTA_SOURCE_DIR) / "tests/golden/text/hunyuan";

// A copy of a golden tokenizer folder that a test may break.
class TokenizerCopy {
 public:
  explicit TokenizerCopy(const char* folder) {
    std::string name = (fs::temp_directory_path() / "vorta-tokenizer-XXXXXX").string();
    dir = mkdtemp(name.data());
    fs::copy(kTokenizerGolden / folder, dir, fs::copy_options::recursive);
  }
  ~TokenizerCopy() { fs::remove_all(dir); }
  void write(const char* file, const std::string& text) const { std::ofstream(dir / file) << text; }
  void change(const char* file, const std::function<void(json&)>& edit) const {
    auto value = vorta::read_json_file(dir / file);
    edit(value);
    write(file, value.dump());
  }
  std::string error(const char* class_name) const {
    try {
      PretrainedTokenizer(dir, class_name);
    } catch (const vorta::DataError& error) {
      return error.what();
    }
    return {};
  }

  fs::path dir;
};

std::vector<int64_t> tokens_of(const PaddedIds& row) {
  std::vector<int64_t> ids;
  for (std::size_t i = 0; i < row.ids.size(); ++i) {
    if (row.mask[i] == 1) ids.push_back(row.ids[i]);
  }
  return ids;
}

}  // namespace

TEST_CASE("LLaMA's and CLIP's ids equal those of transformers on 1,000 strings", "[text][tokenizer][golden]") {
  constexpr int64_t kMaxTokens = 77;  // as the fixture's script
  struct Case {
    const char* folder;
    const char* class_name;
    const char* golden;
  };
  const auto texts = vorta::read_json_file(kTokenizerGolden / "strings.json").get<std::vector<std::string>>();
  const auto golden = read_safetensors(kTokenizerGolden / "ids.safetensors").tensors;
  REQUIRE(texts.size() == 1000);
  for (const auto& item :
       {Case{"tokenizer", "LlamaTokenizerFast", "tokenizer"}, Case{"tokenizer_2", "CLIPTokenizer", "tokenizer_2"},
        Case{"clip_fast", "CLIPTokenizerFast", "clip_fast"}, Case{"tokenizer_2", "CLIPTokenizerFast", "clip_fast"},
        Case{"plain", "PreTrainedTokenizerFast", "plain"}}) {
    const PretrainedTokenizer tokenizer(kTokenizerGolden / item.folder, item.class_name);
    const auto ids = golden.at(std::string(item.golden) + ".ids").to(at::kLong);
    const auto lengths = golden.at(std::string(item.golden) + ".lengths").to(at::kLong);
    int64_t begin = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const int64_t count = lengths[static_cast<int64_t>(i)].item<int64_t>();
      const auto wanted = ids.slice(0, begin, begin + count);
      begin += count;
      const bool padless = std::string_view(item.folder) == "plain";  // that folder has no pad token
      const auto found = tokens_of(tokenizer.encode(texts[i], padless ? count : kMaxTokens));
      INFO(item.folder << " " << item.class_name << " " << i << " " << json(texts[i]).dump(-1, ' ', true));
      CHECK(found == std::vector<int64_t>(wanted.data_ptr<int64_t>(), wanted.data_ptr<int64_t>() + count));
    }
  }
}

TEST_CASE("padding, truncation and what is cut follow the folder's sides", "[text][tokenizer]") {
  const TokenizerCopy copy("tokenizer_2");
  const PretrainedTokenizer right(copy.dir, "CLIPTokenizer");
  const auto whole = right.encode("one two three", 40);
  const auto count = static_cast<std::size_t>(std::count(whole.mask.begin(), whole.mask.end(), 1));
  REQUIRE(count > 5);
  CHECK(whole.cut.empty());
  CHECK(whole.ids[count] == whole.ids[count - 1]);  // the pad token is the end token
  const auto cut = right.encode("one two three", 5);
  CHECK(cut.ids.size() == 5);
  CHECK(cut.ids.back() == whole.ids[count - 1]);
  CHECK(cut.cut.size() == count - 5);
  CHECK(right.text_of(cut.cut).find("three") != std::string::npos);
  CHECK_THROWS_AS(right.encode("a", 1), vorta::ConfigError);
  CHECK_THROWS_AS(right.encode("\xff", 8), vorta::ConfigError);

  copy.change("tokenizer_config.json", [](json& config) {
    config["padding_side"] = "left";
    config["truncation_side"] = "left";
  });
  const PretrainedTokenizer left(copy.dir, "CLIPTokenizer");
  const auto padded = left.encode("one two three", 40);
  CHECK(padded.mask.front() == 0);
  CHECK(padded.mask.back() == 1);
  CHECK(tokens_of(padded) == tokens_of(whole));
  const auto tail = left.encode("one two three", 5);
  CHECK(tail.ids.front() == whole.ids.front());
  CHECK(tail.ids[3] == whole.ids[count - 2]);
}

TEST_CASE("LlamaTokenizerFast frames texts by its configuration, not by tokenizer.json", "[text][tokenizer]") {
  const TokenizerCopy copy("tokenizer");
  copy.change("tokenizer_config.json", [](json& config) {
    config["add_bos_token"] = false;
    config["add_eos_token"] = true;
    config.erase("padding_side");
  });
  const PretrainedTokenizer tokenizer(copy.dir, "LlamaTokenizerFast");
  const auto row = tokenizer.encode("a cat", 12);
  CHECK(row.mask.front() == 0);  // that class pads on the left
  CHECK(row.ids.back() == tokenizer.coder().id_of("<|end_of_text|>"));
  CHECK(tokens_of(row).front() != tokenizer.coder().id_of("<|begin_of_text|>"));
  // Its unknown token becomes one that is found in texts.
  CHECK(tokens_of(tokenizer.encode("<unk>", 12)).front() == tokenizer.coder().id_of("<unk>"));
}

TEST_CASE("a broken tokenizer folder is refused with the reason", "[text][tokenizer]") {
  const auto contains = [](const std::string& text, const char* part) {
    INFO(text << " | " << part);
    CHECK(text.find(part) != std::string::npos);
  };
  const TokenizerCopy llama("tokenizer");
  contains(llama.error("T5Tokenizer"), "T5Tokenizer are not supported; known are CLIPTokenizer");
  contains(llama.error("CLIPTokenizer"), "vocab.json] is missing");
  const auto with = [&](const char* pointer, const json& value) {
    const TokenizerCopy copy("tokenizer");
    copy.change("tokenizer.json", [&](json& tokenizer) { tokenizer[json::json_pointer(pointer)] = value; });
    return copy.error("LlamaTokenizerFast");
  };
  contains(with("/model/merges/3", "abc"), "merge 3: expected two symbols");
  contains(with("/model/merges/3", {"a", "no such token"}), "is not in the vocabulary");
  contains(with("/model/vocab/zzz", -1), "expected an id");
  contains(with("/model/dropout", 0.1), "random merges");
  contains(with("/model/surprise", 1), "surprise");
  contains(with("/pre_tokenizer/pretokenizers/0/pattern/Regex", "[a&&b]"), "intersection");
  contains(with("/pre_tokenizer/pretokenizers/0/behavior", "Torn"), "Torn");
  contains(with("/post_processor", {{"type", "Sequence"}, {"processors", {{{"type", "X"}}}}}), "\"X\"");
  fs::remove(llama.dir / "tokenizer.json");
  contains(llama.error("LlamaTokenizerFast"), "tokenizer.json] is missing");

  const TokenizerCopy clip("tokenizer_2");
  clip.write("merges.txt", "#version: 0.2\na b\nabc\n");
  contains(clip.error("CLIPTokenizer"), "line 3");
  clip.write("vocab.json", "{}");
  contains(clip.error("CLIPTokenizerFast"), "line 3");
  clip.write("merges.txt", "#version: 0.2\n");
  contains(clip.error("CLIPTokenizer"), "\"<|endoftext|>\" is not in the vocabulary");
  contains(clip.error("CLIPTokenizerFast"), "is not in the vocabulary");

  const TokenizerCopy plain("plain");
  const PretrainedTokenizer padless(plain.dir, "PreTrainedTokenizerFast");
  CHECK_THROWS_WITH(padless.encode("a", 50), Catch::Contains("names no pad_token"));
}

TEST_CASE("OpenAI's vocabulary comes from the merges alone", "[text][tokenizer]") {
  const auto merges = vorta::read_file(kTokenizerGolden / "tokenizer_2/merges.txt");
  const ClipTokenizer made(make_clip_vocabulary(merges, "merges"), "<|endoftext|>", "merges", ClipCleaning::kOpenAi);
  const PretrainedTokenizer loaded(kTokenizerGolden / "tokenizer_2", "CLIPTokenizer");
  for (const char* text : {"A cat's 3 hats!", "\xE7\x8C\xAB <|endoftext|>", "na\xC3\xAFve \xF0\x9F\x98\x80"}) {
    CHECK(made.text_ids(text) == loaded.coder().text_ids(text));
  }
  CHECK(made.text_ids("&amp;amp;") == made.text_ids("&"));  // entities are decoded twice
}

TEST_CASE("the two orders of merges differ where a merge makes a pair of lower rank", "[text][tokenizer]") {
  const auto ids = [](MergeOrder order) {
    Vocabulary vocabulary;
    for (const char* token : {"a", "b", "c", "ab", "abc", "<u>"}) vocabulary.add(token, vocabulary.size());
    BpeOptions options;
    options.unknown = "<u>";
    options.order = order;
    std::vector<int64_t> result;
    // "ab" has rank 1 and makes the pair (ab, ab) of rank 0.
    vocabulary.add("abab", vocabulary.size());
    vocabulary.add("aba", vocabulary.size());
    const Bpe bpe(std::move(vocabulary), {{"ab", "a"}, {"a", "b"}}, options, "test");
    bpe.encode("abab", result);
    return result;
  };
  CHECK(ids(MergeOrder::kWholeRank) == std::vector<int64_t>{3, 3});
  CHECK(ids(MergeOrder::kOneByOne) == std::vector<int64_t>{7, 1});
}

TEST_CASE("Oniguruma's patterns mean the same in PCRE2", "[text][tokenizer]") {
  const auto matches = [](const char* pattern, const char* text) {
    std::string all;
    const std::string whole(text);
    for (const auto& [begin, end] : Regex(pattern, "test").find_all(whole))
      all += whole.substr(begin, end - begin) + "|";
    return all;
  };
  CHECK(matches(R"(\s+)", "a \xE1\xA0\x8E\xC2\x85z") == " |\xC2\x85|");  // U+180E is no space, U+0085 is
  CHECK(matches(R"(\p{L}+)", "a\xF0\xB1\x8D\x90z1") == "a\xF0\xB1\x8D\x90z|");  // a letter of Unicode 15
  CHECK(matches(R"([^\s\p{L}\p{N}]+)", "a!? \xF0\x9F\x98\x80z") == "!?|\xF0\x9F\x98\x80|");
  CHECK(matches(R"(\w+)", "a\xCC\x81_1-\xC2\xBD") == "a\xCC\x81_1|");  // marks, but no fractions
  CHECK(matches(R"(\bcat\b)", "cat concat cat\xCC\x81 cat") == "cat|cat|");
  CHECK(matches(R"((?i:'s)|\u0041|\h{2})", "'S A fF g") == "'S|A|fF|");
  CHECK(matches(R"((?m:a.b))", "a\nb") == "a\nb|");
  CHECK(matches(R"(^b$)", "a\nb\nc") == "b|");
  CHECK(matches(R"(a{,2})", "aaab") == "aa|a||");
  for (const char* unknown :
       {R"([a[b]])", R"([a&&b])", R"([\P{L}])", R"(\y)", R"([)", R"(a{2}+)", R"(\p{)", "[]a]", "\\"}) {
    INFO(unknown);
    CHECK_THROWS_AS(Regex(unknown, "test"), vorta::DataError);
  }
}
