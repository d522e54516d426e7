// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/TensorBody.h>

#include <memory>
#include <string>

#include "engine/text/clip_tokenizer.h"
#include "metrics/core/scorer_weights.h"

namespace vorta::metrics {

/// OpenAI's tokeniser with its published vocabulary: $VBENCH_CACHE_DIR/ViCLIP/bpe_simple_vocab_16e6.txt.gz, else the
/// copy that set-up installs. @throws MachineError when neither is there, DataError when it is damaged.
std::shared_ptr<const engine::ClipTokenizer> load_openai_tokenizer(const ScorerWeights& weights);

/// What becomes of a text that is longer than the network's context.
enum class LongText { kRefuse, kCut };  // clip.tokenize raises; ViCLIP keeps the beginning and puts the end token last
/// Start token, text, end token, zeros -> [1, context] int64. @throws ConfigError for a long text with kRefuse.
at::Tensor clip_tokens(const engine::ClipTokenizer& tokenizer, const std::string& text, int64_t context,
                       LongText long_text);

}  // namespace vorta::metrics
