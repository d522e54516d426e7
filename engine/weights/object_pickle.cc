// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/object_pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <unordered_map>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

constexpr std::size_t kMaxObjectValues = 8'000'000;  // an optimiser's state in a training checkpoint has some
constexpr std::size_t kMaxTensors = 200'000;
constexpr int kMaxDepth = 64;

enum class ObjectKind { kOther, kInt, kString, kList, kDict, kGlobal, kObject, kStorage, kTensor, kMark };

// Containers hold indices into one arena. A list is a list, tuple or set; an object is the result of a call.
struct ObjectValue {
  ObjectKind kind = ObjectKind::kOther;
  int64_t integer = 0;                // int; a storage's element count
  std::string text = {};              // string; "module name" of a global; a storage's key
  std::vector<uint32_t> items = {};   // list; dict as key, value, key, value; an object's attributes likewise
  std::optional<ElementType> type = {};  // of a storage; none when untyped
  std::optional<PickledTensor> tensor = {};
};

struct TypeName {
  std::string_view global;
  ElementType type;
};

constexpr std::array kTypeNames{
    TypeName{"torch DoubleStorage", ElementType::kF64}, TypeName{"torch FloatStorage", ElementType::kF32},
    TypeName{"torch HalfStorage", ElementType::kF16},   TypeName{"torch BFloat16Storage", ElementType::kBF16},
    TypeName{"torch LongStorage", ElementType::kI64},   TypeName{"torch IntStorage", ElementType::kI32},
    TypeName{"torch ShortStorage", ElementType::kI16},  TypeName{"torch CharStorage", ElementType::kI8},
    TypeName{"torch ByteStorage", ElementType::kU8},    TypeName{"torch BoolStorage", ElementType::kBool},
    TypeName{"torch float64", ElementType::kF64},       TypeName{"torch float32", ElementType::kF32},
    TypeName{"torch float16", ElementType::kF16},       TypeName{"torch bfloat16", ElementType::kBF16},
    TypeName{"torch int64", ElementType::kI64},         TypeName{"torch int32", ElementType::kI32},
    TypeName{"torch int16", ElementType::kI16},         TypeName{"torch int8", ElementType::kI8},
    TypeName{"torch uint8", ElementType::kU8},          TypeName{"torch bool", ElementType::kBool},
};

std::optional<ElementType> find_type(std::string_view global) {
  for (const auto& row : kTypeNames) {
    if (row.global == global) return row.type;
  }
  return std::nullopt;
}

class ObjectUnpickler {
 public:
  ObjectUnpickler(std::string_view pickle, std::string_view where) : pickle_(pickle), where_(where) {}

  ObjectPickle run() {
    while (!stopped_) step();
    const uint32_t root = pop();
    ObjectPickle out;
    out.bytes = at_;
    collect(root, "", 0, out.tensors);
    if (value(root).kind == ObjectKind::kList) {
      for (const uint32_t item : value(root).items) {
        if (value(item).kind == ObjectKind::kString) out.strings.push_back(value(item).text);
      }
    }
    return out;
  }

 private:
  [[noreturn]] void fail(std::string_view message) const {
    throw DataError(where_, fmt::format("pickle, byte {}: {}", at_, message));
  }

  std::string_view take(uint64_t count) {
    if (count > pickle_.size() - at_) fail("truncated");
    const auto bytes = pickle_.substr(at_, count);
    at_ += count;
    return bytes;
  }

  uint64_t number(int bytes) {
    uint64_t value = 0;
    int shift = 0;
    for (const char c : take(static_cast<std::size_t>(bytes))) {
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

  const ObjectValue& value(uint32_t index) const { return arena_[index]; }

  void push(ObjectValue value) {
    if (arena_.size() >= kMaxObjectValues) fail(fmt::format("more than {} values", kMaxObjectValues));
    arena_.push_back(std::move(value));
    stack_.push_back(static_cast<uint32_t>(arena_.size() - 1));
  }

  uint32_t pop() {
    if (stack_.empty() || value(stack_.back()).kind == ObjectKind::kMark) fail("a value was expected on the stack");
    const uint32_t top = stack_.back();
    stack_.pop_back();
    return top;
  }

  uint32_t top() const {
    if (stack_.empty() || value(stack_.back()).kind == ObjectKind::kMark) fail("a value was expected on the stack");
    return stack_.back();
  }

  std::vector<uint32_t> pop_to_mark() {
    const auto mark = std::find_if(stack_.rbegin(), stack_.rend(),
                                   [&](uint32_t index) { return value(index).kind == ObjectKind::kMark; });
    if (mark == stack_.rend()) fail("no mark on the stack");
    std::vector<uint32_t> items(mark.base(), stack_.end());
    stack_.erase(mark.base() - 1, stack_.end());
    return items;
  }

  std::vector<uint32_t> pop_values(std::size_t count) {
    std::vector<uint32_t> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }

  void step() {
    const auto opcode = static_cast<unsigned char>(take(1)[0]);
    if (!step_scalar(opcode) && !step_memo(opcode) && !step_container(opcode) && !step_object(opcode)) {
      fail(fmt::format("instruction 0x{:02x} is not known", opcode));
    }
  }

  bool step_scalar(unsigned char opcode) {
    switch (opcode) {
      case 'N': push({}); return true;
      case 0x88: case 0x89: push({}); return true;  // True, False
      case 'G': take(8); push({}); return true;
      case 'K': push_int(static_cast<int64_t>(number(1))); return true;
      case 'M': push_int(static_cast<int64_t>(number(2))); return true;
      case 'J': push_int(static_cast<int32_t>(number(4))); return true;
      case 0x8a: push_long(number(1)); return true;
      case 0x8b: push_long(number(4)); return true;
      case 'U': case 0x8c: push_string(number(1)); return true;
      case 'T': case 'X': push_string(number(4)); return true;
      case 0x8d: push_string(number(8)); return true;
      case 'C': take(number(1)); push({}); return true;  // bytes
      case 'B': take(number(4)); push({}); return true;
      case 0x8e: take(number(8)); push({}); return true;
      default: return false;
    }
  }

  void push_int(int64_t integer) { push({.kind = ObjectKind::kInt, .integer = integer}); }

  void push_long(uint64_t bytes) {
    if (bytes > 8) {  // torch's magic number is one
      take(bytes);
      return push({});
    }
    const int count = static_cast<int>(bytes);
    uint64_t bits = number(count);
    const bool negative = count > 0 && ((bits >> (8 * count - 1)) & 1);
    if (negative && count < 8) bits |= ~uint64_t{0} << (8 * count);
    push_int(static_cast<int64_t>(bits));
  }

  void push_string(uint64_t bytes) { push({.kind = ObjectKind::kString, .text = std::string(take(bytes))}); }

  bool step_memo(unsigned char opcode) {
    switch (opcode) {
      case 'q': memo_[number(1)] = top(); return true;
      case 'r': memo_[number(4)] = top(); return true;
      case 0x94: memo_.emplace(memo_.size(), top()); return true;
      case 'h': recall(number(1)); return true;
      case 'j': recall(number(4)); return true;
      case '0': pop(); return true;
      case '1': pop_to_mark(); return true;
      case '2': stack_.push_back(top()); return true;
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
      case '(': push({.kind = ObjectKind::kMark}); return true;
      case ')': case ']': case 0x8f: push({.kind = ObjectKind::kList}); return true;
      case '}': push({.kind = ObjectKind::kDict}); return true;
      case 't': case 'l': case 0x91: push({.kind = ObjectKind::kList, .items = pop_to_mark()}); return true;
      case 0x85: push({.kind = ObjectKind::kList, .items = pop_values(1)}); return true;
      case 0x86: push({.kind = ObjectKind::kList, .items = pop_values(2)}); return true;
      case 0x87: push({.kind = ObjectKind::kList, .items = pop_values(3)}); return true;
      case 'a': append(pop_values(1)); return true;
      case 'e': case 0x90: append(pop_to_mark()); return true;
      case 's': append(pop_values(2)); return true;
      case 'u': append(pop_to_mark()); return true;
      default: return false;
    }
  }

  // The items of lists, dicts and of objects that are dicts or lists by inheritance.
  void append(const std::vector<uint32_t>& items) {
    total_items_ += items.size();
    if (total_items_ > kMaxObjectValues) fail(fmt::format("more than {} items", kMaxObjectValues));
    auto& into = arena_[top()].items;
    into.insert(into.end(), items.begin(), items.end());
  }

  bool step_object(unsigned char opcode) {
    switch (opcode) {
      case 0x80: check_protocol(number(1)); return true;
      case 0x95: number(8); return true;  // frame length
      case '.': stopped_ = true; return true;
      case 'c': {
        const auto module = line();
        push({.kind = ObjectKind::kGlobal, .text = fmt::format("{} {}", module, line())});
        return true;
      }
      case 0x93: {
        const auto names = pop_values(2);
        push({.kind = ObjectKind::kGlobal, .text = fmt::format("{} {}", value(names[0]).text, value(names[1]).text)});
        return true;
      }
      case 'Q': push_storage(pop()); return true;
      case 'R': case 0x81: {  // a call; object.__new__
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
        ObjectValue& object = arena_[top()];
        if (object.kind == ObjectKind::kObject && value(state).kind == ObjectKind::kDict) object.items = value(state).items;
        return true;
      }
      default: return false;
    }
  }

  void check_protocol(uint64_t version) const {
    if (version < 2 || version > 5) fail(fmt::format("protocol {}; 2 to 5 are known", version));
  }

  // ("storage", class, key, device, element count), and in the old format a sixth: a view, always None since 2017
  void push_storage(uint32_t id) {
    const auto& items = value(id).items;
    if (items.size() < 5 || value(items[0]).text != "storage" || value(items[1]).kind != ObjectKind::kGlobal) {
      fail("a persistent id that is no storage");
    }
    push({.kind = ObjectKind::kStorage,
          .integer = value(items[4]).integer,
          .text = value(items[2]).text,
          .type = find_type(value(items[1]).text)});
  }

  void push_result(uint32_t callee, uint32_t arguments) {
    const std::string_view global = value(callee).text;
    const auto& items = value(arguments).items;
    if (global.starts_with("torch._utils _rebuild_tensor")) return push_tensor(items);
    const bool has_tensor = !items.empty() && value(items[0]).kind == ObjectKind::kTensor;
    if (global.starts_with("torch._utils _rebuild_parameter") && has_tensor) {
      stack_.push_back(items[0]);
      return;
    }
    if (global == "collections OrderedDict") return push_dict(items);
    push({.kind = ObjectKind::kObject});
  }

  // OrderedDict(), or OrderedDict([[key, value], ...]) of Python 2
  void push_dict(const std::vector<uint32_t>& arguments) {
    ObjectValue dict{.kind = ObjectKind::kDict};
    if (!arguments.empty()) {
      for (const uint32_t pair : value(arguments[0]).items) {
        const auto& two = value(pair).items;
        if (two.size() == 2) dict.items.insert(dict.items.end(), two.begin(), two.end());
      }
    }
    push(std::move(dict));
  }

  std::vector<int64_t> integers(uint32_t index) const {
    std::vector<int64_t> numbers;
    for (const uint32_t item : value(index).items) {
      if (value(item).kind != ObjectKind::kInt || value(item).integer < 0) fail("a size or stride that is no count");
      numbers.push_back(value(item).integer);
    }
    if (numbers.size() > kMaxDepth) fail("a tensor of too many dimensions");
    return numbers;
  }

  // (storage, offset, sizes, strides, ...); v3 names the dtype of an untyped storage seventh
  void push_tensor(const std::vector<uint32_t>& items) {
    if (items.size() < 4 || value(items[0]).kind != ObjectKind::kStorage) fail("a tensor without storage");
    const ObjectValue& storage = value(items[0]);
    auto type = storage.type;
    if (!type && items.size() > 6) type = find_type(value(items[6]).text);
    if (!type) return push({});  // quantised and complex tensors: no weights of ours
    PickledTensor tensor{.type = *type,
                         .storage_key = storage.text,
                         .storage_elements = storage.integer,
                         .offset = value(items[1]).integer,
                         .sizes = integers(items[2]),
                         .strides = integers(items[3])};
    if (tensor.sizes.size() != tensor.strides.size() || tensor.offset < 0) fail("a tensor with a wrong view");
    if (!storage.type) tensor.storage_elements /= element_type_info(*type).bytes;
    push({.kind = ObjectKind::kTensor, .tensor = std::move(tensor)});
  }

  void collect(uint32_t index, const std::string& name, int depth, std::vector<PickledTensor>& out) const {
    if (depth > kMaxDepth) fail("dicts nested too deeply");
    const ObjectValue& found = value(index);
    if (found.kind == ObjectKind::kTensor) {
      if (out.size() >= kMaxTensors) fail(fmt::format("more than {} tensors", kMaxTensors));
      out.push_back(*found.tensor);
      out.back().name = name;
    } else if (found.kind == ObjectKind::kDict || found.kind == ObjectKind::kObject) {
      for (std::size_t i = 0; i + 1 < found.items.size(); i += 2) {
        const ObjectValue& key = value(found.items[i]);
        if (key.kind != ObjectKind::kString && key.kind != ObjectKind::kInt) continue;
        const std::string last = key.kind == ObjectKind::kString ? key.text : std::to_string(key.integer);
        collect(found.items[i + 1], name.empty() ? last : name + "." + last, depth + 1, out);
      }
    }
  }

  std::string_view pickle_;
  std::string_view where_;
  std::size_t at_ = 0;
  bool stopped_ = false;
  std::size_t total_items_ = 0;
  std::deque<ObjectValue> arena_;
  std::vector<uint32_t> stack_;
  std::unordered_map<uint64_t, uint32_t> memo_;
};

}  // namespace

ObjectPickle parse_object_pickle(std::string_view pickle, std::string_view where) {
  return ObjectUnpickler(pickle, where).run();
}

}  // namespace vorta::engine
