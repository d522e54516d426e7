// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "engine/base/json_io.h"
#include "engine/text/text_config.h"
#include "engine/text/umt5.h"

namespace vorta::engine {
Umt5Config parse_umt5_config(const nlohmann::json& config, std::string_view where) {
  ObjectReader reader(config, where);
  expect_word(reader, "model_type", "umt5");
  expect_word(reader, "feed_forward_proj", "gated-gelu");
  expect_word(reader, "dense_act_fn", "gelu_new");
  Umt5Config result;
  result.vocab_size = read_size(reader, "vocab_size", 250112);  // absent keys take transformers' UMT5Config defaults
  result.d_model = read_size(reader, "d_model", 512);
  result.d_kv = read_size(reader, "d_kv", 64);
  result.d_ff = read_size(reader, "d_ff", 1024);
  result.num_layers = read_size(reader, "num_layers", 8);
  result.num_heads = read_size(reader, "num_heads", 6);
  result.relative_attention_num_buckets = read_size(reader, "relative_attention_num_buckets", 32);
  result.relative_attention_max_distance = read_size(reader, "relative_attention_max_distance", 128);
  result.layer_norm_epsilon = reader.number("layer_norm_epsilon", 1e-6);
  if (!(result.layer_norm_epsilon > 0)) reader.fail("layer_norm_epsilon", "expected a positive number");
  const int64_t buckets = result.relative_attention_num_buckets;
  if (buckets % 4 != 0)
    reader.fail("relative_attention_num_buckets", fmt::format("expected a multiple of 4, found {}", buckets));
  if (result.relative_attention_max_distance <= buckets / 4) {
    reader.fail("relative_attention_max_distance", fmt::format("expected more than {}", buckets / 4));
  }
  return result;
}

nlohmann::json umt5_config_json(const Umt5Config& config) {
  return {{"architectures", {"UMT5EncoderModel"}},
          {"model_type", "umt5"},
          {"feed_forward_proj", "gated-gelu"},
          {"dense_act_fn", "gelu_new"},
          {"is_gated_act", true},
          {"is_encoder_decoder", true},
          {"use_cache", false},
          {"tie_word_embeddings", false},
          {"scalable_attention", true},
          {"dropout_rate", 0.0},
          {"pad_token_id", 0},
          {"eos_token_id", 1},
          {"decoder_start_token_id", 0},
          {"vocab_size", config.vocab_size},
          {"d_model", config.d_model},
          {"d_kv", config.d_kv},
          {"d_ff", config.d_ff},
          {"num_layers", config.num_layers},
          {"num_heads", config.num_heads},
          {"relative_attention_num_buckets", config.relative_attention_num_buckets},
          {"relative_attention_max_distance", config.relative_attention_max_distance},
          {"layer_norm_epsilon", config.layer_norm_epsilon}};
}

}  // namespace vorta::engine
