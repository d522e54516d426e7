// SPDX-License-Identifier: Apache-2.0
#include "engine/text/post_processor.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

namespace vorta::engine {
namespace {

// A template item is {"SpecialToken": {"id", "type_id"}} or {"Sequence": {"id", "type_id"}}.
void append_special(const JsonNode& token, const JsonNode& specials, std::vector<int64_t>& ids) {
  const auto definition = specials.at(token.string("id"));
  definition.only({"id", "ids", "tokens"});
  for (const auto& id : definition.at("ids").items()) ids.push_back(id.integer());
}

TokenFrame parse_template_frame(const JsonNode& node) {
  node.only({"type", "single", "pair", "special_tokens"});
  TokenFrame frame;
  bool seen_text = false;
  for (const auto& item : node.at("single").items()) {
    item.only({"SpecialToken", "Sequence"});
    if (const auto special = item.find("SpecialToken")) {
      append_special(*special, node.at("special_tokens"), seen_text ? frame.after : frame.before);
      continue;
    }
    if (seen_text || item.at("Sequence").string("id") != "A") item.fail("expected the text \"A\" once");
    seen_text = true;
  }
  if (!seen_text) node.at("single").fail("the text \"A\" is missing");
  return frame;
}

int64_t parse_framing_token(const JsonNode& node) {  // ["token", id]
  const auto items = node.items();
  if (items.size() != 2) node.fail("expected a token and its id");
  return items[1].integer();
}

TokenFrame parse_bert_frame(const JsonNode& node) {
  node.only({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
  return {{parse_framing_token(node.at("cls"))}, {parse_framing_token(node.at("sep"))}};
}

TokenFrame parse_byte_level_frame(const JsonNode& node) {  // concerns offsets alone
  node.only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  return {};
}

TokenFrame parse_sequence_frame(const JsonNode& node) {
  node.only({"type", "processors"});
  TokenFrame frame;
  for (const auto& item : node.at("processors").items()) {
    const TokenFrame outer = parse_post_processor(item);
    frame.before.insert(frame.before.begin(), outer.before.begin(), outer.before.end());
    frame.after.insert(frame.after.end(), outer.after.begin(), outer.after.end());
  }
  return frame;
}

struct PostProcessorRow {
  std::string_view type;
  TokenFrame (*parse)(const JsonNode&);
};

constexpr std::array kPostProcessors{
    PostProcessorRow{"BertProcessing", parse_bert_frame},         PostProcessorRow{"ByteLevel", parse_byte_level_frame},
    PostProcessorRow{"RobertaProcessing", parse_bert_frame},      PostProcessorRow{"Sequence", parse_sequence_frame},
    PostProcessorRow{"TemplateProcessing", parse_template_frame},
};

}  // namespace

TokenFrame parse_post_processor(const JsonNode& node) {
  const std::string type = node.string("type");
  for (const auto& row : kPostProcessors) {
    if (row.type == type) return row.parse(node);
  }
  node.fail(fmt::format("post_processor \"{}\" is not understood", type));
}

}  // namespace vorta::engine
