// SPDX-License-Identifier: Apache-2.0
#include "metrics/embedded/label_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/base/error.h"
#include "engine/base/json_io.h"

namespace vorta::metrics {
namespace {

using PromptWords = std::vector<std::string>;

// Lower case, split at everything that is no letter or digit.
PromptWords words_of(std::string_view text) {
  PromptWords words;
  std::string word;
  for (const char c : std::string(text) + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    } else if (!word.empty()) {
      words.push_back(std::exchange(word, ""));
    }
  }
  return words;
}

std::optional<size_t> place_of(const PromptWords& words, const PromptWords& phrase) {
  const auto found = std::search(words.begin(), words.end(), phrase.begin(), phrase.end());
  if (found == words.end() || phrase.empty()) return std::nullopt;
  return static_cast<size_t>(found - words.begin());
}

std::string with_article(const std::string& words) {
  return (std::string_view("aeiou").find(words.front()) == std::string_view::npos ? "a " : "an ") + words;
}

struct RelationWords {
  std::string_view words;
  std::string_view relation;  // VBench's
};
constexpr std::array kRelations{RelationWords{"left of", "on the left of"},
                                RelationWords{"right of", "on the right of"}, RelationWords{"above", "on the top of"},
                                RelationWords{"below", "on the bottom of"}};

}  // namespace

LabelSet::LabelSet(const std::filesystem::path& file) {
  const nlohmann::json json = read_json_file(file);
  const auto labels = [&](const char* kind) {
    Labels set;
    for (const auto& label : json.at(kind)) {
      for (const auto& phrase : label.at("words")) {
        set.phrases.emplace_back(words_of(phrase.get_ref<const std::string&>()), set.names.size());
      }
      set.names.push_back(label.at("name"));
    }
    // The longest phrase decides: "bounces up and down" is no "moves up".
    std::stable_sort(set.phrases.begin(), set.phrases.end(),
                     [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    return set;
  };
  try {
    shapes_ = labels("shapes");
    colors_ = labels("colors");
    motions_ = labels("motions");
    backgrounds_ = labels("backgrounds");
    styles_ = json.at("styles").get<std::vector<std::string>>();
    words_ = json.at("words").get<int64_t>();
    version_ = json.at("version").get<std::string>();
  } catch (const nlohmann::json::exception& error) {
    throw DataError(file.string(), fmt::format("expected the label set of the embedded scorers: {}", error.what()));
  }
}

std::optional<size_t> LabelSet::label_in(const Labels& labels, const PromptWords& words) {
  for (const auto& [phrase, index] : labels.phrases) {
    if (place_of(words, phrase)) return index;
  }
  return std::nullopt;
}

std::vector<LabelSet::Object> LabelSet::objects_in(const PromptWords& words) const {
  std::vector<Object> objects;
  std::string color;
  for (size_t i = 0; i < words.size(); ++i) {
    if (const auto found = label_in(colors_, {words[i]})) color = colors_.names[*found];
    const auto shape = label_in(shapes_, {words[i]});
    if (shape) objects.push_back({shapes_.names[*shape], std::exchange(color, ""), i});
  }
  return objects;
}

std::string LabelSet::style_in(const PromptWords& words) const {
  std::string style;
  for (const std::string& word : styles_) {
    if (std::find(words.begin(), words.end(), word) != words.end()) style += (style.empty() ? "" : " ") + word;
  }
  return style.empty() ? "plain" : style;
}

std::string LabelSet::temporal_in(const PromptWords& words) const {
  std::string text;
  for (const auto& [phrase, index] : motions_.phrases) {
    if (!place_of(words, phrase)) continue;
    for (const std::string& word : phrase) text += (text.empty() ? "" : " ") + word;
    break;
  }
  const auto pans = std::find(words.begin(), words.end(), "pans");
  if (text.empty() || pans == words.end() || pans + 1 == words.end()) return text;
  return text + " , the camera pans " + *(pans + 1);
}

std::optional<Question> LabelSet::question(std::string_view dimension, std::string_view prompt) const {
  const PromptWords words = words_of(prompt);
  PromptWords told = words;  // without the background: "under the stars" is no object
  for (const auto& [phrase, index] : backgrounds_.phrases) {
    const std::optional<size_t> place = place_of(told, phrase);
    if (!place) continue;
    const auto first = told.begin() + static_cast<std::ptrdiff_t>(*place);
    told.erase(first, first + static_cast<std::ptrdiff_t>(phrase.size()));
    break;
  }
  const std::vector<Object> objects = objects_in(told);
  Question question{std::string(prompt), {}};
  const auto name = [](const Object& object) { return object.color + " " + object.shape; };
  const bool one = objects.size() == 1, two = objects.size() == 2;
  if (dimension == "object_class") {
    if (!one) return std::nullopt;
    question.auxiliary["object"] = objects[0].shape;
  } else if (dimension == "color") {
    if (!one || objects[0].color.empty()) return std::nullopt;
    question.auxiliary["color"] = objects[0].color;
    question.prompt = with_article(name(objects[0]));
  } else if (dimension == "multiple_objects") {
    if (!two || objects[0].color.empty() || objects[1].color.empty()) return std::nullopt;
    question.auxiliary["object"] = name(objects[0]) + " and " + name(objects[1]);
  } else if (dimension == "spatial_relationship") {
    if (!two || objects[0].color.empty() || objects[1].color.empty()) return std::nullopt;
    const PromptWords middle(told.begin() + static_cast<std::ptrdiff_t>(objects[0].place) + 1,
                             told.begin() + static_cast<std::ptrdiff_t>(objects[1].place));
    const auto found = std::find_if(kRelations.begin(), kRelations.end(), [&](const auto& one_of) {
      return place_of(middle, words_of(one_of.words)).has_value();
    });
    if (found == kRelations.end()) return std::nullopt;
    question.auxiliary = {
        {"object_a", name(objects[0])}, {"object_b", name(objects[1])}, {"relationship", std::string(found->relation)}};
  } else if (dimension == "scene") {
    const auto background = label_in(backgrounds_, words);
    if (!background) return std::nullopt;
    question.auxiliary["scene"] = backgrounds_.names[*background];
  } else if (dimension == "human_action") {
    const auto motion = label_in(motions_, words);
    if (!motion) return std::nullopt;
    question.auxiliary["human_action"] = motions_.names[*motion];
  } else if (dimension == "appearance_style") {
    if (objects.empty()) return std::nullopt;
    question.auxiliary["appearance_style"] = style_in(words);
  } else if (dimension == "temporal_style") {
    question.prompt = temporal_in(words);
    if (question.prompt.empty()) return std::nullopt;
  } else if (dimension == "overall_consistency" && objects.empty()) {
    return std::nullopt;
  }
  return question;
}

}  // namespace vorta::metrics
