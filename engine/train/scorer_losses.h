// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/scorers/scorer_networks.h"
#include "engine/train/scorer_batch.h"
#include "engine/train/train_loop.h"

namespace vorta::engine {

/// The sum of all scorers' losses on a batch, each also by name. What is random follows from `seed`.
MicroBatch scorer_losses(const ScorerNetworks& networks, const ScorerBatch& batch, at::ScalarType dtype, uint64_t seed);

/// Sums over the clips of one held-out batch of what the networks get right; divided by "clips" at the end.
NamedValues scorer_figures(const ScorerNetworks& networks, const ScorerBatch& batch, at::ScalarType dtype,
                           uint64_t seed);

}  // namespace vorta::engine
