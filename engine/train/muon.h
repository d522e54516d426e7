// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/weights/tensor_map.h"

#include <ATen/core/TensorBody.h>

#include <string>
#include <vector>

namespace vorta::engine {

/// Momentum orthogonalised by Newton-Schulz iterations (Jordan et al. 2024, "Muon"), with the update scaled to the RMS
/// of AdamW's so that both share one learning rate (Liu et al., arXiv 2502.16982, section 2.2).
struct MuonOptions {
  double momentum = 0.95;
  double weight_decay = 0.01;
  int64_t iterations = 5;
};

/// Updates matrices in place.
class Muon {
 public:
  /// Every parameter must be a float matrix that requires a gradient.
  Muon(const TensorMap& parameters, const MuonOptions& options);

  /// One update from the gradients; parameters without one stay as they are.
  void step(double learning_rate);

  /// Momenta as "momentum.NAME". `load` throws DataError naming a missing or misshapen key.
  TensorMap state() const;
  void load(const TensorMap& state, const std::string& source);

 private:
  MuonOptions options_;
  // Matrices of one shape, orthogonalised as one batch.
  struct Group {
    std::vector<std::string> names;
    std::vector<at::Tensor> parameters, momenta;
  };
  std::vector<Group> groups_;
};

/// [.., rows, columns] -> matrices with the same singular vectors and singular values near 1 (0.7 to 1.2), fp32.
at::Tensor orthogonalised(const at::Tensor& matrices, int64_t iterations);

}  // namespace vorta::engine
