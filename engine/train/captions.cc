// SPDX-License-Identifier: Apache-2.0
#include "engine/train/captions.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string_view>

#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

using Words = std::vector<std::string_view>;

// Each motion's wordings, for one object and for several.
struct MotionWords {
  Words one, many;
};
const std::array<MotionWords, kMotions>& motion_words() {
  static const std::array<MotionWords, kMotions> kWords{{
      {{"stays still", "does not move"}, {"stay still", "do not move"}},
      {{"slides to the left", "moves left"}, {"slide to the left", "move left"}},
      {{"slides to the right", "moves right"}, {"slide to the right", "move right"}},
      {{"moves up", "rises to the top"}, {"move up"}},
      {{"moves down", "sinks to the bottom"}, {"move down"}},
      {{"moves diagonally", "slides across the corner"}, {"move diagonally"}},
      {{"bounces up and down", "bounces"}, {"bounce"}},
      {{"spins", "turns in place"}, {"spin", "turn in place"}},
      {{"orbits the center", "goes round and round"}, {"orbit the center"}},
      {{"falls", "falls faster and faster"}, {"fall"}},
      {{"grows", "gets bigger"}, {"grow"}},
      {{"shrinks", "gets smaller"}, {"shrink"}},
  }};
  return kWords;
}

const std::array<Words, kBackgrounds>& background_words() {
  static const std::array<Words, kBackgrounds> kWords{{
      {"on a plain background", "on a grey wall", ""},
      {"on a gradient background", "on a smooth gradient"},
      {"on a checkered background", "over a checkered floor"},
      {"in the night sky", "at night under the stars"},
      {"in the snow", "while it snows"},
      {"over the sea", "in front of waves"},
  }};
  return kWords;
}

const std::array<Words, 3>& size_words() {
  static const std::array<Words, 3> kWords{{{"small", "little"}, {"medium"}, {"large", "big"}}};
  return kWords;
}

constexpr std::array<std::string_view, 5> kCameraWords{"", "left", "right", "up", "down"};
constexpr std::array<std::string_view, 3> kTextureWords{"", "striped", "dotted"};
constexpr std::array<std::string_view, 4> kCountWords{"", "one", "two", "three"};

std::string_view choose(const Words& words, SceneRandom& random) {
  return words[static_cast<size_t>(random.below(static_cast<int>(words.size())))];
}

std::string plural(ShapeKind shape) {
  const std::string name(to_string(shape));
  return shape == ShapeKind::kCross ? name + "es" : name + "s";
}

// Words joined by single spaces; empty ones are skipped.
std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (!text.empty()) text += ' ';
    text += part;
  }
  return text;
}

// Size, texture, style and colour in front of the shape's name. Texture and style are always told: they can be seen.
std::string adjectives(const Scene& scene, const SceneObject& object, SceneRandom& random) {
  const bool tell_size = random.chance(0.6);
  return join({tell_size ? std::string(choose(size_words()[static_cast<size_t>(object.size)], random)) : "",
               scene.style == Style::kOutlined ? "outlined" : "",
               std::string(kTextureWords[static_cast<size_t>(object.texture)]), std::string(to_string(object.color))});
}

std::string noun_phrase(const Scene& scene, const SceneObject& object, SceneRandom& random) {
  const std::string words = adjectives(scene, object, random) + " " + std::string(to_string(object.shape));
  if (random.chance(0.25)) return words;
  const bool vowel = std::string_view("aeiou").find(words.front()) != std::string_view::npos;
  return (vowel ? "an " : "a ") + words;
}

std::string pair_phrase(const Scene& scene, SceneRandom& random) {
  const bool swapped = random.chance(0.5);
  const SceneObject& first = scene.objects[swapped ? 1 : 0];
  const SceneObject& second = scene.objects[swapped ? 0 : 1];
  std::string relation;
  if (scene.arrangement == Arrangement::kLeftOf) {
    relation = std::string(random.chance(0.5) ? "to the " : "") + (swapped ? "right of" : "left of");
  } else {
    relation = swapped ? "below" : "above";
  }
  const std::string both = random.chance(0.5) ? ", both" : ", they";
  return join({noun_phrase(scene, first, random), relation, noun_phrase(scene, second, random) + " " + both});
}

const Words& motion_wordings(const Scene& scene) {
  const MotionWords& motion = motion_words()[static_cast<size_t>(scene.motion)];
  return scene.count == 1 ? motion.one : motion.many;
}

std::string camera_words(const Scene& scene) {
  if (scene.camera == Camera::kStatic) return "";
  return " , the camera pans " + std::string(kCameraWords[static_cast<size_t>(scene.camera)]);
}

}  // namespace

std::string caption(const Scene& scene, uint64_t wording_seed) {
  SceneRandom random(wording_seed * 0x2545f4914f6cdd1dull + 1);
  std::string subject;
  if (scene.arrangement == Arrangement::kSingle) {
    subject = noun_phrase(scene, scene.objects[0], random);
  } else if (scene.arrangement == Arrangement::kGroup) {
    subject = join({std::string(kCountWords[static_cast<size_t>(scene.count)]),
                    adjectives(scene, scene.objects[0], random), plural(scene.objects[0].shape)});
  } else {
    subject = pair_phrase(scene, random);
  }
  const std::string_view moves = choose(motion_wordings(scene), random);
  const std::string_view behind = choose(background_words()[static_cast<size_t>(scene.background)], random);
  std::string text = join({subject, std::string(moves), std::string(behind)});
  return text + camera_words(scene);
}

std::string motion_phrase(const Scene& scene, uint64_t wording_seed) {
  SceneRandom random(wording_seed * 0x2545f4914f6cdd1dull + 2);
  return std::string(choose(motion_wordings(scene), random)) + camera_words(scene);
}

std::string style_phrase(const Scene& scene) {
  const auto any = [&](Texture texture) {
    return std::any_of(scene.objects.begin(), scene.objects.end(),
                       [&](const auto& object) { return object.texture == texture; });
  };
  const std::string words = join({scene.style == Style::kOutlined ? "outlined" : "",
                                  any(Texture::kStriped) ? "striped" : "", any(Texture::kDotted) ? "dotted" : ""});
  return words.empty() ? "plain" : words;
}

nlohmann::json caption_phrases() {
  using nlohmann::json;
  json phrases{{"styles", {"outlined", "striped", "dotted"}}};
  const auto add = [&](const char* kind, std::string_view name, const std::vector<Words>& wordings) {
    json words = json::array();
    for (const Words& some : wordings) {
      for (const auto phrase : some) {
        if (!phrase.empty()) words.push_back(std::string(phrase));
      }
    }
    phrases[kind].push_back({{"name", std::string(name)}, {"words", words}});
  };
  for (int i = 0; i < kShapeKinds; ++i) {
    const auto shape = static_cast<ShapeKind>(i);
    const std::string many = plural(shape);
    add("shapes", to_string(shape), {{to_string(shape), many}});
  }
  for (int i = 0; i < kColors; ++i) {
    const auto color = to_string(static_cast<Color>(i));
    add("colors", color, {{color}});
  }
  for (int i = 0; i < kMotions; ++i) {
    const MotionWords& words = motion_words()[static_cast<size_t>(i)];
    add("motions", to_string(static_cast<Motion>(i)), {words.one, words.many});
  }
  for (int i = 0; i < kBackgrounds; ++i) {
    add("backgrounds", to_string(static_cast<Background>(i)), {background_words()[static_cast<size_t>(i)]});
  }
  return phrases;
}

const std::vector<std::string>& vocabulary() {
  static const std::vector<std::string> kVocabulary = [] {
    std::set<std::string> words{",",     ".",     "a",    "an",   "the",    "of",   "to",       "and",
                                "above", "below", "both", "they", "camera", "pans", "outlined", "with",
                                "is",    "are",   "it",   "one",  "two",    "three"};
    const auto add = [&](std::string_view phrase) {
      std::istringstream stream{std::string(phrase)};
      for (std::string word; stream >> word;) words.insert(word);
    };
    for (const MotionWords& motion : motion_words()) {
      for (const auto phrase : motion.one) add(phrase);
      for (const auto phrase : motion.many) add(phrase);
    }
    for (const Words& phrases : background_words()) {
      for (const auto phrase : phrases) add(phrase);
    }
    for (const Words& phrases : size_words()) {
      for (const auto phrase : phrases) add(phrase);
    }
    for (const auto word : kCameraWords) add(word);
    for (const auto word : kTextureWords) add(word);
    for (int i = 0; i < kColors; ++i) add(to_string(static_cast<Color>(i)));
    for (int i = 0; i < kShapeKinds; ++i) {
      add(to_string(static_cast<ShapeKind>(i)));
      add(plural(static_cast<ShapeKind>(i)));
    }
    return std::vector<std::string>(words.begin(), words.end());
  }();
  return kVocabulary;
}

int64_t vocabulary_size() { return static_cast<int64_t>(vocabulary().size()) + 3; }

std::vector<int64_t> caption_tokens(const std::string& text, int64_t max_tokens) {
  static const std::map<std::string, int64_t> kIds = [] {
    std::map<std::string, int64_t> ids;
    for (const std::string& word : vocabulary()) ids.emplace(word, static_cast<int64_t>(ids.size()) + 3);
    // std::map keeps its own order, which is the vocabulary's: both are sorted.
    return ids;
  }();
  std::vector<int64_t> tokens;
  std::istringstream stream(text);
  for (std::string word; stream >> word && static_cast<int64_t>(tokens.size()) + 1 < max_tokens;) {
    const auto found = kIds.find(word);
    tokens.push_back(found == kIds.end() ? kUnknownToken : found->second);
  }
  tokens.push_back(kEosToken);
  return tokens;
}

void write_tokenizer(const std::filesystem::path& dir, int64_t max_tokens) {
  using nlohmann::json;
  const auto special = [](int64_t id, const char* text) {
    return json{{"id", id},        {"content", text},     {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  json vocab{{"<pad>", kPadToken}, {"</s>", kEosToken}, {"<unk>", kUnknownToken}};
  int64_t next = 3;
  for (const std::string& word : vocabulary()) vocab[word] = next++;
  const json text_step{{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
      second_step{{"Sequence", {{"id", "B"}, {"type_id", 0}}}};
  const json eos_step{{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}};
  const json eos{{"id", "</s>"}, {"ids", json::array({kEosToken})}, {"tokens", json::array({"</s>"})}};
  const json tokenizer{{"version", "1.0"},
                       {"truncation", nullptr},
                       {"padding", nullptr},
                       {"added_tokens", {special(0, "<pad>"), special(1, "</s>"), special(2, "<unk>")}},
                       {"normalizer", {{"type", "Lowercase"}}},
                       {"pre_tokenizer", {{"type", "Whitespace"}}},
                       {"post_processor",
                        {{"type", "TemplateProcessing"},
                         {"single", json::array({text_step, eos_step})},
                         {"pair", json::array({text_step, eos_step, second_step, eos_step})},
                         {"special_tokens", {{"</s>", eos}}}}},
                       {"decoder", nullptr},
                       {"model", {{"type", "WordLevel"}, {"unk_token", "<unk>"}, {"vocab", vocab}}}};
  const json config{{"tokenizer_class", "T5TokenizerFast"},
                    {"pad_token", "<pad>"},
                    {"eos_token", "</s>"},
                    {"unk_token", "<unk>"},
                    {"extra_ids", 0},
                    {"model_max_length", max_tokens}};
  std::filesystem::create_directories(dir);
  write_file_atomically(dir / "tokenizer.json", tokenizer.dump(1) + "\n");
  write_file_atomically(dir / "tokenizer_config.json", config.dump(1) + "\n");
}

}  // namespace vorta::engine
