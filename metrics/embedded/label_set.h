// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vorta::metrics {

/// What a dimension of the embedded profile asks of a video: VBench's auxiliary values, and the text it is compared
/// with.
struct Question {
  std::string prompt;
  std::map<std::string, std::string> auxiliary;
};

/// The names of the embedded model's domain and the words for them, as the file beside the scorers' weights lists them.
/// Reads prompts: "a large dotted red cross moves up on a checkered background" has one object, a motion, a background.
class LabelSet {
 public:
  /// @throws DataError naming the file.
  explicit LabelSet(const std::filesystem::path& file);

  const std::vector<std::string>& shapes() const { return shapes_.names; }
  const std::vector<std::string>& colors() const { return colors_.names; }
  const std::vector<std::string>& motions() const { return motions_.names; }
  const std::vector<std::string>& backgrounds() const { return backgrounds_.names; }
  int64_t words() const { return words_; }
  const std::string& version() const { return version_; }

  /// Nothing when the prompt does not say what `dimension` asks for: two objects for spatial_relationship, one for
  /// color. Dimensions that ask for nothing get the prompt as it is.
  std::optional<Question> question(std::string_view dimension, std::string_view prompt) const;

 private:
  struct Labels {
    std::vector<std::string> names;
    std::vector<std::pair<std::vector<std::string>, size_t>> phrases;  // words, index of the name
  };
  struct Object {
    std::string shape, color;
    size_t place = 0;  // of the shape's word
  };

  std::vector<Object> objects_in(const std::vector<std::string>& words) const;
  static std::optional<size_t> label_in(const Labels& labels, const std::vector<std::string>& words);
  std::string style_in(const std::vector<std::string>& words) const;
  std::string temporal_in(const std::vector<std::string>& words) const;

  Labels shapes_, colors_, motions_, backgrounds_;
  std::vector<std::string> styles_;
  int64_t words_ = 0;
  std::string version_;
};

}  // namespace vorta::metrics
