// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/tensor_pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "engine/base/utf8.h"
#include "engine/weights/pickle_machine.h"

namespace vorta::engine {
namespace {

constexpr std::size_t kMaxTensorValues = 4'000'000;  // a router has a few thousand
constexpr std::size_t kMaxGlobalName = 512;

constexpr std::string_view kUntypedStorage = "torch.storage UntypedStorage";
constexpr std::string_view kOrderedDict = "collections OrderedDict";
constexpr std::string_view kRebuildTensor2 = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kRebuildTensor3 = "torch._utils _rebuild_tensor_v3";
constexpr std::string_view kRebuildParameter = "torch._utils _rebuild_parameter";

// Only types that we write, too.
std::optional<ElementType> only_picklable(std::optional<ElementType> type) {
  return type && is_picklable(*type) ? type : std::nullopt;
}

bool is_known_global(std::string_view global) {
  constexpr std::array kOthers{kUntypedStorage, kOrderedDict, kRebuildTensor2, kRebuildTensor3, kRebuildParameter};
  return only_picklable(find_storage_type(global)) || only_picklable(find_dtype(global)) ||
         std::find(kOthers.begin(), kOthers.end(), global) != kOthers.end();
}

// Takes what a file of plain tensors needs and refuses the rest.
class TensorPickleReader : public PickleMachine {
 public:
  TensorPickleReader(std::string_view pickle, std::string_view where)
      : PickleMachine(pickle, where, kMaxTensorValues) {}

  std::vector<PickledTensor> run() {
    run_to_stop();
    if (stack_size() != 1) fail("STOP with more than one value on the stack");
    return tensors_of(pop());
  }

 private:
  void check(const PickleValue& scalar) const override {
    if (scalar.kind == PickleKind::kOther) fail("an integer of more than 64 bits");
    if (scalar.kind == PickleKind::kString && !is_utf8(scalar.text)) fail("a string that is not UTF-8");
    if (scalar.kind == PickleKind::kGlobal && !is_known_global(scalar.text)) {
      const auto name = std::string_view(scalar.text).substr(0, kMaxGlobalName);
      const auto space = name.find(' ');
      fail(
          fmt::format("it wants \"{}\" from the Python module \"{}\"; only tensors and containers are read, save the "
                      "file as a plain dict of tensors",
                      space == name.npos ? "" : name.substr(space + 1), name.substr(0, space)));
    }
  }

  bool step_more(unsigned char opcode) override {
    switch (opcode) {
      case 's': set_items(pop_values(2)); return true;
      case 'u': set_items(pop_to_mark()); return true;
      case 'Q': push_storage(pop()); return true;
      case 'R': {
        const uint32_t arguments = pop();
        construct(pop(), arguments);
        return true;
      }
      case 'b': discard_module_metadata(); return true;
      default: return false;
    }
  }

  const PickleValue& expect(uint32_t index, PickleKind kind, std::string_view what) const {
    if (value(index).kind != kind) fail(fmt::format("{} was expected", what));
    return value(index);
  }

  std::vector<int64_t> tuple_of_counts(uint32_t index, std::string_view what) const {
    expect(index, PickleKind::kTuple, what);
    return counts(index, what);
  }

  void set_items(const std::vector<uint32_t>& items) {
    if (items.size() % 2 != 0) fail("a key without a value");
    expect(top(), PickleKind::kDict, "a dict");
    append(top(), items);
  }

  // ("storage", class, key, device, element count)
  void push_storage(uint32_t id) {
    const auto& items = expect(id, PickleKind::kTuple, "a persistent id tuple").items;
    if (items.size() != 5 || expect(items[0], PickleKind::kString, "\"storage\"").text != "storage") {
      fail("a persistent id that is no storage");
    }
    const auto& storage_class = expect(items[1], PickleKind::kGlobal, "a storage class").text;
    const auto type = only_picklable(find_storage_type(storage_class));
    if (!type && storage_class != kUntypedStorage) fail(fmt::format("\"{}\" is no storage class", storage_class));
    expect(items[3], PickleKind::kString, "a device");
    push({.kind = PickleKind::kStorage,
          .integer = count(items[4], "a storage's element count"),
          .text = expect(items[2], PickleKind::kString, "a storage key").text,
          .type = type});
  }

  void construct(uint32_t callee, uint32_t arguments) {
    const auto& global = expect(callee, PickleKind::kGlobal, "a constructor").text;
    const auto& items = expect(arguments, PickleKind::kTuple, "a tuple of arguments").items;
    if (global == kOrderedDict) {
      if (!items.empty()) fail("OrderedDict with arguments");
      push({.kind = PickleKind::kDict});
    } else if (global == kRebuildTensor2 || global == kRebuildTensor3) {
      push({.kind = PickleKind::kTensor, .tensor = rebuild_tensor(items, global == kRebuildTensor3)});
    } else if (global == kRebuildParameter) {
      if (items.size() != 3) fail("_rebuild_parameter takes three arguments");
      push({.kind = PickleKind::kTensor,
            .tensor = expect(items[0], PickleKind::kTensor, "a parameter's tensor").tensor});
    } else {
      fail(fmt::format("\"{}\" is no constructor", global));
    }
  }

  // (storage, offset, sizes, strides, requires_grad, hooks) and in v3 also (dtype)
  PickledTensor rebuild_tensor(const std::vector<uint32_t>& items, bool with_dtype) const {
    const std::size_t wanted = with_dtype ? 7 : 6;
    if (items.size() < wanted || items.size() > wanted + 1) fail("a tensor with the wrong number of arguments");
    const PickleValue& storage = expect(items[0], PickleKind::kStorage, "a storage");
    PickledTensor tensor{.type = tensor_type(storage, with_dtype ? std::optional(items[6]) : std::nullopt),
                         .storage_key = storage.text,
                         .storage_elements = storage.integer,
                         .offset = count(items[1], "a storage offset"),
                         .sizes = tuple_of_counts(items[2], "a size tuple"),
                         .strides = tuple_of_counts(items[3], "a stride tuple")};
    if (tensor.sizes.size() != tensor.strides.size()) fail("sizes and strides differ in length");
    if (!storage.type) {
      const int64_t bytes = element_type_info(tensor.type).bytes;  // an untyped storage counts bytes
      if (tensor.storage_elements % bytes != 0) fail("an untyped storage with a fraction of an element");
      tensor.storage_elements /= bytes;
    }
    return tensor;
  }

  ElementType tensor_type(const PickleValue& storage, std::optional<uint32_t> dtype) const {
    if (!dtype) {
      if (!storage.type) fail("a tensor over an untyped storage names no dtype");
      return *storage.type;
    }
    const auto& global = expect(*dtype, PickleKind::kGlobal, "a dtype").text;
    const auto type = only_picklable(find_dtype(global));
    if (!type) fail(fmt::format("\"{}\" is no known dtype", global));
    if (storage.type && *storage.type != *type) fail("a tensor's dtype differs from its storage's");
    return *type;
  }

  // Module.state_dict() hangs version numbers on its OrderedDict as an attribute; they mean nothing to us.
  void discard_module_metadata() {
    const auto& state = expect(pop(), PickleKind::kDict, "an attribute dict").items;
    expect(top(), PickleKind::kDict, "a dict");
    for (std::size_t i = 0; i < state.size(); i += 2) {
      if (expect(state[i], PickleKind::kString, "an attribute name").text != "_metadata")
        fail("an attribute of a dict");
    }
  }

  std::vector<PickledTensor> tensors_of(uint32_t root) const {
    const auto& items = expect(root, PickleKind::kDict, "a dict of tensors").items;
    std::vector<PickledTensor> tensors;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      const auto& name = expect(items[i], PickleKind::kString, "a string as key").text;
      if (value(items[i + 1]).kind != PickleKind::kTensor)
        fail(fmt::format("a tensor was expected under \"{}\"", name));
      tensors.push_back(*value(items[i + 1]).tensor);
      tensors.back().name = name;
    }
    return tensors;
  }
};

}  // namespace

std::vector<PickledTensor> parse_tensor_pickle(std::string_view pickle, std::string_view where) {
  return TensorPickleReader(pickle, where).run();
}

}  // namespace vorta::engine
