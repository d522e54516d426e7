// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/attention/route_table.h"
#include "engine/base/error.h"
#include "engine/base/json_io.h"

namespace vorta::engine {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "vorta routes";
constexpr std::string_view kLetters = "dcs";  // by Branch
constexpr std::size_t kMostBytes = 64 << 20;

class RouteFile {
 public:
  RouteFile(const std::filesystem::path& file, int64_t layers, int64_t heads)
      : where_(file.string()), root_(read_json_file(file, kMostBytes)), layers_(layers), heads_(heads) {}

  RouteTable read(int64_t steps) {
    if (!root_.is_object() || root_.value("format", json()) != kFormat) {
      fail("", fmt::format("expected an object with \"format\": \"{}\"", kFormat));
    }
    require_size("/layers", layers_);
    require_size("/heads", heads_);
    const json& rows = list("/steps");
    const auto count = static_cast<int64_t>(rows.size());
    if (count != 1 && count != steps)
      fail("/steps", fmt::format("expected {} steps, or 1 for all, found {}", steps, count));
    RouteTable table{steps, layers_, heads_, {}};
    for (int64_t step = 0; step < steps; ++step) add_step(count == 1 ? 0 : step, table);
    return table;
  }

 private:
  [[noreturn]] void fail(const std::string& pointer, const std::string& message) const {
    throw DataError(where_ + "#" + pointer, message);
  }

  void require_size(const std::string& pointer, int64_t size) const {
    const json::json_pointer at(pointer);
    const json found = root_.contains(at) ? root_.at(at) : json();
    if (!found.is_number_integer() || found.get<int64_t>() != size)
      fail(pointer, fmt::format("expected {}, found {}", size, found.dump()));
  }

  const json& list(const std::string& pointer) const {
    const json::json_pointer at(pointer);
    if (!root_.contains(at) || !root_.at(at).is_array()) fail(pointer, "expected a list");
    return root_.at(at);
  }

  void add_step(int64_t row, RouteTable& table) const {
    const std::string pointer = fmt::format("/steps/{}", row);
    const json& layers = list(pointer);
    if (static_cast<int64_t>(layers.size()) != layers_) {
      fail(pointer, fmt::format("expected {} layers, found {}", layers_, layers.size()));
    }
    for (int64_t layer = 0; layer < layers_; ++layer) {
      const json& heads = layers[static_cast<size_t>(layer)];
      const bool fits = heads.is_string() && static_cast<int64_t>(heads.get_ref<const std::string&>().size()) == heads_;
      if (!fits) fail(fmt::format("{}/{}", pointer, layer), fmt::format("expected {} letters", heads_));
      for (const char letter : heads.get_ref<const std::string&>()) {
        const auto branch = kLetters.find(letter);
        if (branch == std::string_view::npos)
          fail(fmt::format("{}/{}", pointer, layer), "expected the letters d, c and s alone");
        table.routes.push_back(static_cast<uint8_t>(branch));
      }
    }
  }

  std::string where_;
  json root_;
  int64_t layers_;
  int64_t heads_;
};

}  // namespace

std::string route_file_text(const RouteTable& table) {
  json steps = json::array();
  for (int64_t step = 0; step < table.steps; ++step) {
    json layers = json::array();
    for (int64_t layer = 0; layer < table.layers; ++layer) {
      std::string heads;
      for (int64_t head = 0; head < table.heads; ++head)
        heads += kLetters[static_cast<size_t>(table.at(step, layer, head))];
      layers.push_back(heads);
    }
    steps.push_back(layers);
  }
  const json root{{"format", kFormat}, {"layers", table.layers}, {"heads", table.heads}, {"steps", steps}};
  return root.dump(1) + "\n";
}

RouteTable read_route_file(const std::filesystem::path& file, int64_t steps, int64_t layers, int64_t heads) {
  return RouteFile(file, layers, heads).read(steps);
}

}  // namespace vorta::engine
