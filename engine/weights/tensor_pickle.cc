// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/tensor_pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <unordered_map>

#include "engine/base/error.h"
#include "engine/base/utf8.h"

namespace vorta::engine {
namespace {

constexpr std::size_t kMaxValues = 4'000'000;  // bounds memory; a router has a few thousand
constexpr std::size_t kMaxName = 512;

enum class Kind { kNone, kBool, kInt, kString, kTuple, kDict, kGlobal, kStorage, kTensor, kMark };

// A value on the pickle's stack. Containers hold indices into one arena, so cycles and deep nesting cost nothing.
struct Value {
  Kind kind = Kind::kNone;
  int64_t integer = 0;                   // bool, int, and a storage's element count
  std::string text = {};                 // string, "module name" of a global, a storage's key
  std::vector<uint32_t> items = {};      // tuple; dict as key, value, key, value
  std::optional<ElementType> type = {};  // of a storage; none when untyped
  std::optional<PickledTensor> tensor = {};
};

struct StorageClass {
  std::string_view global;
  ElementType type;
};

constexpr std::array kStorageClasses{
    StorageClass{"torch DoubleStorage", ElementType::kF64}, StorageClass{"torch FloatStorage", ElementType::kF32},
    StorageClass{"torch HalfStorage", ElementType::kF16},   StorageClass{"torch BFloat16Storage", ElementType::kBF16},
    StorageClass{"torch LongStorage", ElementType::kI64},
};
constexpr std::array kDtypes{
    StorageClass{"torch float64", ElementType::kF64}, StorageClass{"torch float32", ElementType::kF32},
    StorageClass{"torch float16", ElementType::kF16}, StorageClass{"torch bfloat16", ElementType::kBF16},
    StorageClass{"torch int64", ElementType::kI64},
};
constexpr std::string_view kUntypedStorage = "torch.storage UntypedStorage";
constexpr std::string_view kOrderedDict = "collections OrderedDict";
constexpr std::string_view kRebuildTensor2 = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kRebuildTensor3 = "torch._utils _rebuild_tensor_v3";
constexpr std::string_view kRebuildParameter = "torch._utils _rebuild_parameter";

template <std::size_t size>
std::optional<ElementType> find_type(const std::array<StorageClass, size>& table, std::string_view global) {
  for (const auto& row : table) {
    if (row.global == global) return row.type;
  }
  return std::nullopt;
}

bool is_known_global(std::string_view global) {
  constexpr std::array kOthers{kUntypedStorage, kOrderedDict, kRebuildTensor2, kRebuildTensor3, kRebuildParameter};
  return find_type(kStorageClasses, global) || find_type(kDtypes, global) ||
         std::find(kOthers.begin(), kOthers.end(), global) != kOthers.end();
}

class Unpickler {
 public:
  Unpickler(std::string_view pickle, std::string_view where) : pickle_(pickle), where_(where) {}

  std::vector<PickledTensor> run() {
    while (!stopped_) step();
    if (stack_.size() != 1) fail("STOP with more than one value on the stack");
    return tensors_of(pop());
  }

 private:
  [[noreturn]] void fail(std::string_view message) const {
    throw DataError(where_, fmt::format("pickle, byte {}: {}", at_, message));
  }

  // --- bytes ---
  std::string_view take(std::size_t count) {
    if (count > pickle_.size() - at_) fail("truncated");
    const auto bytes = pickle_.substr(at_, count);
    at_ += count;
    return bytes;
  }

  uint64_t number(int bytes) {
    uint64_t value = 0;
    int shift = 0;
    for (char c : take(static_cast<std::size_t>(bytes))) {
      value |= static_cast<uint64_t>(static_cast<unsigned char>(c)) << shift;
      shift += 8;
    }
    return value;
  }

  std::string_view line() {
    const auto end = pickle_.find('\n', at_);
    if (end == std::string_view::npos) fail("a line without end");
    const auto text = take(end - at_);
    take(1);
    return text;
  }

  // --- values ---
  const Value& value(uint32_t index) const { return arena_[index]; }

  void push(Value value) {
    if (arena_.size() >= kMaxValues) fail(fmt::format("more than {} values", kMaxValues));
    arena_.push_back(std::move(value));
    stack_.push_back(static_cast<uint32_t>(arena_.size() - 1));
  }

  uint32_t pop() {
    if (stack_.empty()) fail("the stack is empty");
    const uint32_t top = stack_.back();
    stack_.pop_back();
    if (value(top).kind == Kind::kMark) fail("a mark where a value was expected");
    return top;
  }

  uint32_t top() {
    const uint32_t index = pop();
    stack_.push_back(index);
    return index;
  }

  // The values above the last mark, which goes too.
  std::vector<uint32_t> pop_to_mark() {
    const auto mark = std::find_if(stack_.rbegin(), stack_.rend(),
                                   [&](uint32_t index) { return value(index).kind == Kind::kMark; });
    if (mark == stack_.rend()) fail("no mark on the stack");
    std::vector<uint32_t> items(mark.base(), stack_.end());
    stack_.erase(mark.base() - 1, stack_.end());
    return items;
  }

  const Value& expect(uint32_t index, Kind kind, std::string_view what) const {
    if (value(index).kind != kind) fail(fmt::format("{} was expected", what));
    return value(index);
  }

  int64_t integer(uint32_t index, std::string_view what) const {
    const int64_t number = expect(index, Kind::kInt, what).integer;
    if (number < 0) fail(fmt::format("{} is negative", what));
    return number;
  }

  std::vector<int64_t> integers(uint32_t index, std::string_view what) const {
    constexpr std::size_t kMaxDimensions = 64;
    std::vector<int64_t> numbers;
    const auto& items = expect(index, Kind::kTuple, what).items;
    if (items.size() > kMaxDimensions) fail(fmt::format("{} has more than {} dimensions", what, kMaxDimensions));
    for (uint32_t item : items) numbers.push_back(integer(item, what));
    return numbers;
  }

  // --- instructions ---
  void step() {
    const auto opcode = static_cast<unsigned char>(take(1)[0]);
    if (!step_scalar(opcode) && !step_memo(opcode) && !step_container(opcode) && !step_object(opcode)) {
      fail(fmt::format("instruction 0x{:02x} is not one that a file of plain tensors needs", opcode));
    }
  }

  bool step_scalar(unsigned char opcode) {
    switch (opcode) {
      case 'N': push({.kind = Kind::kNone}); return true;
      case 0x88: push({.kind = Kind::kBool, .integer = 1}); return true;
      case 0x89: push({.kind = Kind::kBool, .integer = 0}); return true;
      case 'K': push({.kind = Kind::kInt, .integer = static_cast<int64_t>(number(1))}); return true;
      case 'M': push({.kind = Kind::kInt, .integer = static_cast<int64_t>(number(2))}); return true;
      case 'J': push({.kind = Kind::kInt, .integer = static_cast<int32_t>(number(4))}); return true;
      case 0x8a: push_long(static_cast<int>(number(1))); return true;
      case 'X': push_string(number(4)); return true;
      case 0x8c: push_string(number(1)); return true;
      default: return false;
    }
  }

  void push_long(int bytes) {
    if (bytes > 8) fail("an integer of more than 64 bits");
    uint64_t bits = number(bytes);
    const bool negative = bytes > 0 && ((bits >> (8 * bytes - 1)) & 1);
    if (negative && bytes < 8) bits |= ~uint64_t{0} << (8 * bytes);
    push({.kind = Kind::kInt, .integer = static_cast<int64_t>(bits)});
  }

  void push_string(uint64_t bytes) {
    const auto text = take(bytes);
    if (!is_utf8(text)) fail("a string that is not UTF-8");
    push({.kind = Kind::kString, .text = std::string(text)});
  }

  bool step_memo(unsigned char opcode) {
    switch (opcode) {
      case 'q': memo_[number(1)] = top(); return true;
      case 'r': memo_[number(4)] = top(); return true;
      case 0x94: memo_[memo_.size()] = top(); return true;
      case 'h': recall(number(1)); return true;
      case 'j': recall(number(4)); return true;
      default: return false;
    }
  }

  void recall(uint64_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end()) fail(fmt::format("memo slot {} is empty", slot));
    stack_.push_back(found->second);
  }

  bool step_container(unsigned char opcode) {
    switch (opcode) {
      case '(': push({.kind = Kind::kMark}); return true;
      case ')': push({.kind = Kind::kTuple}); return true;
      case '}': push({.kind = Kind::kDict}); return true;
      case 't': push({.kind = Kind::kTuple, .items = pop_to_mark()}); return true;
      case 0x85: push_tuple(1); return true;
      case 0x86: push_tuple(2); return true;
      case 0x87: push_tuple(3); return true;
      case 's': {
        const uint32_t item = pop();
        const uint32_t key = pop();
        set_items({key, item});
        return true;
      }
      case 'u': set_items(pop_to_mark()); return true;
      default: return false;
    }
  }

  void push_tuple(std::size_t count) {
    std::vector<uint32_t> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push({.kind = Kind::kTuple, .items = std::move(items)});
  }

  void set_items(const std::vector<uint32_t>& items) {
    if (items.size() % 2 != 0) fail("a key without a value");
    const uint32_t dict = top();
    expect(dict, Kind::kDict, "a dict");
    auto& into = arena_[dict].items;
    into.insert(into.end(), items.begin(), items.end());
    total_items_ += items.size();
    if (total_items_ > kMaxValues) fail(fmt::format("more than {} dict items", kMaxValues));
  }

  bool step_object(unsigned char opcode) {
    switch (opcode) {
      case 0x80: check_protocol(number(1)); return true;
      case 0x95: number(8); return true;  // frame length: a hint for buffering
      case '.': stopped_ = true; return true;
      case 'c': {
        const auto module = line();
        push_global(module, line());
        return true;
      }
      case 0x93: {
        const uint32_t name = pop();
        const uint32_t module = pop();
        push_global(expect(module, Kind::kString, "a module name").text, expect(name, Kind::kString, "a name").text);
        return true;
      }
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

  void check_protocol(uint64_t version) const {
    if (version < 2 || version > 5) fail(fmt::format("protocol {}; 2 to 5 are known", version));
  }

  void push_global(std::string_view module, std::string_view name) {
    std::string global = fmt::format("{} {}", module.substr(0, kMaxName), name.substr(0, kMaxName));
    if (!is_known_global(global)) {
      fail(fmt::format("it wants \"{}\" from the Python module \"{}\"; only tensors and containers are read, save the "
                       "file as a plain dict of tensors",
                       name.substr(0, kMaxName), module.substr(0, kMaxName)));
    }
    push({.kind = Kind::kGlobal, .text = std::move(global)});
  }

  // ("storage", class, key, device, element count)
  void push_storage(uint32_t id) {
    const auto& items = expect(id, Kind::kTuple, "a persistent id tuple").items;
    if (items.size() != 5 || expect(items[0], Kind::kString, "\"storage\"").text != "storage") {
      fail("a persistent id that is no storage");
    }
    const auto& storage_class = expect(items[1], Kind::kGlobal, "a storage class").text;
    const auto type = find_type(kStorageClasses, storage_class);
    if (!type && storage_class != kUntypedStorage) fail(fmt::format("\"{}\" is no storage class", storage_class));
    expect(items[3], Kind::kString, "a device");
    push({.kind = Kind::kStorage,
          .integer = integer(items[4], "a storage's element count"),
          .text = expect(items[2], Kind::kString, "a storage key").text,
          .type = type});
  }

  void construct(uint32_t callee, uint32_t arguments) {
    const auto& global = expect(callee, Kind::kGlobal, "a constructor").text;
    const auto& items = expect(arguments, Kind::kTuple, "a tuple of arguments").items;
    if (global == kOrderedDict) {
      if (!items.empty()) fail("OrderedDict with arguments");
      push({.kind = Kind::kDict});
    } else if (global == kRebuildTensor2 || global == kRebuildTensor3) {
      push({.kind = Kind::kTensor, .tensor = rebuild_tensor(items, global == kRebuildTensor3)});
    } else if (global == kRebuildParameter) {
      if (items.size() != 3) fail("_rebuild_parameter takes three arguments");
      push({.kind = Kind::kTensor, .tensor = expect(items[0], Kind::kTensor, "a parameter's tensor").tensor});
    } else {
      fail(fmt::format("\"{}\" is no constructor", global));
    }
  }

  // (storage, offset, sizes, strides, requires_grad, hooks) and in v3 also (dtype)
  PickledTensor rebuild_tensor(const std::vector<uint32_t>& items, bool with_dtype) const {
    const std::size_t count = with_dtype ? 7 : 6;
    if (items.size() < count || items.size() > count + 1) fail("a tensor with the wrong number of arguments");
    const Value& storage = expect(items[0], Kind::kStorage, "a storage");
    PickledTensor tensor{.type = tensor_type(storage, with_dtype ? std::optional(items[6]) : std::nullopt),
                         .storage_key = storage.text,
                         .storage_elements = storage.integer,
                         .offset = integer(items[1], "a storage offset"),
                         .sizes = integers(items[2], "a size tuple"),
                         .strides = integers(items[3], "a stride tuple")};
    if (tensor.sizes.size() != tensor.strides.size()) fail("sizes and strides differ in length");
    if (!storage.type) {
      const int64_t bytes = element_type_info(tensor.type).bytes;  // an untyped storage counts bytes
      if (tensor.storage_elements % bytes != 0) fail("an untyped storage with a fraction of an element");
      tensor.storage_elements /= bytes;
    }
    return tensor;
  }

  ElementType tensor_type(const Value& storage, std::optional<uint32_t> dtype) const {
    if (!dtype) {
      if (!storage.type) fail("a tensor over an untyped storage names no dtype");
      return *storage.type;
    }
    const auto& global = expect(*dtype, Kind::kGlobal, "a dtype").text;
    const auto type = find_type(kDtypes, global);
    if (!type) fail(fmt::format("\"{}\" is no known dtype", global));
    if (storage.type && *storage.type != *type) fail("a tensor's dtype differs from its storage's");
    return *type;
  }

  // Module.state_dict() hangs version numbers on its OrderedDict as an attribute; they mean nothing to us.
  void discard_module_metadata() {
    const auto& state = expect(pop(), Kind::kDict, "an attribute dict").items;
    expect(top(), Kind::kDict, "a dict");
    for (std::size_t i = 0; i < state.size(); i += 2) {
      if (expect(state[i], Kind::kString, "an attribute name").text != "_metadata") fail("an attribute of a dict");
    }
  }

  std::vector<PickledTensor> tensors_of(uint32_t root) const {
    const auto& items = expect(root, Kind::kDict, "a dict of tensors").items;
    std::vector<PickledTensor> tensors;
    for (std::size_t i = 0; i < items.size(); i += 2) {
      const auto& name = expect(items[i], Kind::kString, "a string as key").text;
      if (value(items[i + 1]).kind != Kind::kTensor) fail(fmt::format("a tensor was expected under \"{}\"", name));
      tensors.push_back(*value(items[i + 1]).tensor);
      tensors.back().name = name;
    }
    return tensors;
  }

  std::string_view pickle_;
  std::string_view where_;
  std::size_t at_ = 0;
  bool stopped_ = false;
  std::size_t total_items_ = 0;
  std::deque<Value> arena_;
  std::vector<uint32_t> stack_;
  std::unordered_map<uint64_t, uint32_t> memo_;
};

}  // namespace

std::vector<PickledTensor> parse_tensor_pickle(std::string_view pickle, std::string_view where) {
  return Unpickler(pickle, where).run();
}

}  // namespace vorta::engine
