// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/attention/geometry.h"

namespace vorta::engine {

class Router;

/// The branch of every head of every layer at every step. Routing depends on the timestep only (not on the prompt, the
/// latents or the seed), so one table serves a whole checkpoint and schedule.
struct RouteTable {
  int64_t steps = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  std::vector<uint8_t> routes;  // [steps][layers][heads], values of Branch

  Branch at(int64_t step, int64_t layer, int64_t head) const {
    return static_cast<Branch>(routes[static_cast<size_t>((step * layers + layer) * heads + head)]);
  }
  /// Heads of (step, layer) that take `branch`, ascending.
  std::vector<int64_t> heads_of(int64_t step, int64_t layer, Branch branch) const;
  /// Number of (step, layer, head) entries of each branch, indexed by Branch.
  std::array<int64_t, kBranches> counts() const;
  bool operator==(const RouteTable&) const = default;
};

/// Every head of every layer takes `branch`.
RouteTable uniform_routes(int64_t steps, int64_t layers, int64_t heads, Branch branch);

/// The evaluation rule of the published routers. `embeddings`: [steps, M], row i is the model's timestep embedding of
/// step i (VideoDit::timestep_embedding). A head takes its top branch, or dense where the top score is below `tau`,
/// which is first rounded to the scores' dtype. tau > 1: dense everywhere; tau < 1/3 never triggers.
RouteTable make_routes(const Router& router, const at::Tensor& embeddings, double tau);

/// Shares of dense, coreset and sliding heads, 0 or more and not all 0.
using RouteFractions = std::array<double, kBranches>;
/// Every layer of every step gives each branch its share of the heads, rounded so that the whole table keeps the
/// shares; neighbouring heads differ where they can. ConfigError for other shares. For measurements without routers.
RouteTable routes_by_fractions(int64_t steps, int64_t layers, int64_t heads, const RouteFractions& fractions);

/// The file form: JSON {"format": "vorta routes", "layers": n, "heads": n, "steps": [[layer, ...], ...]}, a layer being
/// one letter a head: d dense, c coreset, s sliding tile.
std::string route_file_text(const RouteTable& table);
/// Reads one for a schedule of `steps`: a row for each step, or one row that serves all. DataError naming the file and
/// the JSON pointer when it is not such a table or has other sizes.
RouteTable read_route_file(const std::filesystem::path& file, int64_t steps, int64_t layers, int64_t heads);

/// Empty, or why `tau` has no effect (the top of three softmax scores is at least 1/3).
std::string tau_note(double tau);

}  // namespace vorta::engine
