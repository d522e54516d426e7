// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/object_pickle.h"

#include <fmt/format.h>

#include <optional>

#include "engine/weights/pickle_machine.h"

namespace vorta::engine {
namespace {

constexpr std::size_t kMaxObjectValues = 8'000'000;  // an optimiser's state in a training checkpoint has some
constexpr std::size_t kMaxTensors = 200'000;
constexpr std::size_t kMaxNamed = 2'000'000;  // places in dicts: one dict may stand in many
constexpr int kMaxNesting = 64;

// Takes any instruction; an object is the result of a call.
class ObjectPickleReader : public PickleMachine {
 public:
  ObjectPickleReader(std::string_view pickle, std::string_view where)
      : PickleMachine(pickle, where, kMaxObjectValues) {}

  ObjectPickle run() {
    run_to_stop();
    const uint32_t root = pop();
    ObjectPickle out;
    out.bytes = position();
    collect(root, "", 0, out.tensors);
    if (value(root).kind == PickleKind::kList) {
      for (const uint32_t item : value(root).items) {
        if (value(item).kind == PickleKind::kString) out.strings.push_back(value(item).text);
      }
    }
    return out;
  }

 private:
  bool step_more(unsigned char opcode) override {
    return step_other_scalar(opcode) || step_stack(opcode) || step_items(opcode) || step_object(opcode);
  }

  bool step_other_scalar(unsigned char opcode) {
    switch (opcode) {
      case 'G':
        take(8);
        push({});
        return true;
      case 0x8b: push_long(number(4)); return true;
      case 'U': push_string(number(1)); return true;
      case 'T': push_string(number(4)); return true;
      case 0x8d: push_string(number(8)); return true;
      case 'C':
        take(number(1));
        push({});
        return true;  // bytes
      case 'B':
        take(number(4));
        push({});
        return true;
      case 0x8e:
        take(number(8));
        push({});
        return true;
      default: return false;
    }
  }

  bool step_stack(unsigned char opcode) {
    switch (opcode) {
      case '0': pop(); return true;
      case '1': pop_to_mark(); return true;
      case '2': push_index(top()); return true;
      default: return false;
    }
  }

  // The items of lists, sets, dicts and of objects that are dicts or lists by inheritance.
  bool step_items(unsigned char opcode) {
    switch (opcode) {
      case ']':
      case 0x8f: push({.kind = PickleKind::kList}); return true;
      case 'l':
      case 0x91: push({.kind = PickleKind::kList, .items = pop_to_mark()}); return true;
      case 'a': append_to_top(pop_values(1)); return true;
      case 's': append_to_top(pop_values(2)); return true;
      case 'e':
      case 'u':
      case 0x90: append_to_top(pop_to_mark()); return true;
      default: return false;
    }
  }

  void append_to_top(const std::vector<uint32_t>& items) { append(top(), items); }

  bool step_object(unsigned char opcode) {
    switch (opcode) {
      case 'Q': push_storage(pop()); return true;
      case 'R':
      case 0x81: {  // a call; object.__new__
        const auto call = pop_values(2);
        push_result(call[0], call[1]);
        return true;
      }
      case 0x92: {
        const auto call = pop_values(3);
        push_result(call[0], call[1]);
        return true;
      }
      case 'b': {
        const uint32_t state = pop();
        if (value(top()).kind == PickleKind::kObject && value(state).kind == PickleKind::kDict) {
          value(top()).items.clear();
          append(top(), value(state).items);
        }
        return true;
      }
      default: return false;
    }
  }

  // ("storage", class, key, device, element count), and in the old format a sixth: a view, always None since 2017
  void push_storage(uint32_t id) {
    const auto& items = value(id).items;
    if (items.size() < 5 || value(items[0]).text != "storage" || value(items[1]).kind != PickleKind::kGlobal) {
      fail("a persistent id that is no storage");
    }
    push({.kind = PickleKind::kStorage,
          .integer = value(items[4]).integer,
          .text = value(items[2]).text,
          .type = find_storage_type(value(items[1]).text)});
  }

  void push_result(uint32_t callee, uint32_t arguments) {
    const std::string_view global = value(callee).text;
    const auto& items = value(arguments).items;
    if (global.starts_with("torch._utils _rebuild_tensor")) return push_tensor(items);
    const bool has_tensor = !items.empty() && value(items[0]).kind == PickleKind::kTensor;
    if (global.starts_with("torch._utils _rebuild_parameter") && has_tensor) {
      push_index(items[0]);
      return;
    }
    if (global == "collections OrderedDict") return push_dict(items);
    push({.kind = PickleKind::kObject});
  }

  // OrderedDict(), or OrderedDict([[key, value], ...]) of Python 2
  void push_dict(const std::vector<uint32_t>& arguments) {
    push({.kind = PickleKind::kDict});
    if (arguments.empty()) return;
    for (const uint32_t pair : value(arguments[0]).items) {
      if (value(pair).items.size() == 2) append(top(), value(pair).items);
    }
  }

  // (storage, offset, sizes, strides, ...); v3 names the dtype of an untyped storage seventh
  void push_tensor(const std::vector<uint32_t>& items) {
    if (items.size() < 4 || value(items[0]).kind != PickleKind::kStorage) fail("a tensor without storage");
    const PickleValue& storage = value(items[0]);
    auto type = storage.type;
    if (!type && items.size() > 6) type = find_dtype(value(items[6]).text);
    if (!type) return push({});  // quantised and complex tensors: no weights of ours
    PickledTensor tensor{.type = *type,
                         .storage_key = storage.text,
                         .storage_elements = storage.integer,
                         .offset = value(items[1]).integer,
                         .sizes = counts(items[2], "a size"),
                         .strides = counts(items[3], "a stride")};
    if (tensor.sizes.size() != tensor.strides.size() || tensor.offset < 0) fail("a tensor with a wrong view");
    if (!storage.type) tensor.storage_elements /= element_type_info(*type).bytes;
    push({.kind = PickleKind::kTensor, .tensor = std::move(tensor)});
  }

  void collect(uint32_t index, const std::string& name, int depth, std::vector<PickledTensor>& out) {
    if (depth > kMaxNesting) fail("dicts nested too deeply");
    if (++named_ > kMaxNamed) fail(fmt::format("dicts that name more than {} values", kMaxNamed));
    const PickleValue& found = value(index);
    if (found.kind == PickleKind::kTensor) {
      if (out.size() >= kMaxTensors) fail(fmt::format("more than {} tensors", kMaxTensors));
      out.push_back(*found.tensor);
      out.back().name = name;
    } else if (found.kind == PickleKind::kDict || found.kind == PickleKind::kObject) {
      for (std::size_t i = 0; i + 1 < found.items.size(); i += 2) {
        const PickleValue& key = value(found.items[i]);
        if (key.kind != PickleKind::kString && key.kind != PickleKind::kInt) continue;
        const std::string last = key.kind == PickleKind::kString ? key.text : std::to_string(key.integer);
        collect(found.items[i + 1], name.empty() ? last : name + "." + last, depth + 1, out);
      }
    }
  }

  std::size_t named_ = 0;
};

}  // namespace

ObjectPickle parse_object_pickle(std::string_view pickle, std::string_view where) {
  return ObjectPickleReader(pickle, where).run();
}

}  // namespace vorta::engine
