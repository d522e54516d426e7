// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/pickle_machine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

constexpr std::size_t kMaxTensorDimensions = 64;

struct TorchType {
  std::string_view storage, dtype;
  ElementType type;
};

constexpr std::array kTorchTypes{
    TorchType{"torch DoubleStorage", "torch float64", ElementType::kF64},
    TorchType{"torch FloatStorage", "torch float32", ElementType::kF32},
    TorchType{"torch HalfStorage", "torch float16", ElementType::kF16},
    TorchType{"torch BFloat16Storage", "torch bfloat16", ElementType::kBF16},
    TorchType{"torch LongStorage", "torch int64", ElementType::kI64},
    TorchType{"torch IntStorage", "torch int32", ElementType::kI32},
    TorchType{"torch ShortStorage", "torch int16", ElementType::kI16},
    TorchType{"torch CharStorage", "torch int8", ElementType::kI8},
    TorchType{"torch ByteStorage", "torch uint8", ElementType::kU8},
    TorchType{"torch BoolStorage", "torch bool", ElementType::kBool},
};

std::optional<ElementType> find_torch_type(std::string_view TorchType::* column, std::string_view global) {
  for (const auto& row : kTorchTypes) {
    if (row.*column == global) return row.type;
  }
  return std::nullopt;
}

}  // namespace

std::optional<ElementType> find_storage_type(std::string_view global) {
  return find_torch_type(&TorchType::storage, global);
}
std::optional<ElementType> find_dtype(std::string_view global) { return find_torch_type(&TorchType::dtype, global); }

void PickleMachine::run_to_stop() {
  while (!stopped_) {
    const auto opcode = static_cast<unsigned char>(take(1)[0]);
    if (!step_scalar(opcode) && !step_memo(opcode) && !step_container(opcode) && !step_frame(opcode) &&
        !step_more(opcode)) {
      fail(fmt::format("instruction 0x{:02x} is not one of those that are read here", opcode));
    }
  }
}

void PickleMachine::fail(std::string_view message) const {
  throw DataError(where_, fmt::format("pickle, byte {}: {}", at_, message));
}

// --- bytes ---
std::string_view PickleMachine::take(uint64_t count) {
  if (count > pickle_.size() - at_) fail("truncated");
  const auto bytes = pickle_.substr(at_, count);
  at_ += count;
  return bytes;
}

uint64_t PickleMachine::number(int bytes) {
  uint64_t value = 0;
  int shift = 0;
  for (const char c : take(static_cast<uint64_t>(bytes))) {
    value |= static_cast<uint64_t>(static_cast<unsigned char>(c)) << shift;
    shift += 8;
  }
  return value;
}

std::string_view PickleMachine::line() {
  const auto end = pickle_.find('\n', at_);
  if (end == std::string_view::npos) fail("a line without end");
  const auto text = take(end - at_);
  take(1);
  return text;
}

// --- values ---
void PickleMachine::push(PickleValue value) {
  if (arena_.size() >= max_values_) fail(fmt::format("more than {} values", max_values_));
  arena_.push_back(std::move(value));
  stack_.push_back(static_cast<uint32_t>(arena_.size() - 1));
}

void PickleMachine::push_checked(PickleValue value) {
  check(value);
  push(std::move(value));
}

void PickleMachine::push_string(uint64_t bytes) {
  push_checked({.kind = PickleKind::kString, .text = std::string(take(bytes))});
}

void PickleMachine::push_long(uint64_t bytes) {
  if (bytes > 8) {  // torch's magic number is one
    take(bytes);
    return push_checked({});
  }
  const int count = static_cast<int>(bytes);
  uint64_t bits = number(count);
  const bool negative = count > 0 && ((bits >> (8 * count - 1)) & 1);
  if (negative && count < 8) bits |= ~uint64_t{0} << (8 * count);
  push({.kind = PickleKind::kInt, .integer = static_cast<int64_t>(bits)});
}

uint32_t PickleMachine::top() const {
  if (stack_.empty()) fail("the stack is empty");
  if (value(stack_.back()).kind == PickleKind::kMark) fail("a mark where a value was expected");
  return stack_.back();
}

uint32_t PickleMachine::pop() {
  const uint32_t index = top();
  stack_.pop_back();
  return index;
}

std::vector<uint32_t> PickleMachine::pop_values(std::size_t count) {
  std::vector<uint32_t> items(count);
  for (std::size_t i = count; i-- > 0;) items[i] = pop();
  return items;
}

std::vector<uint32_t> PickleMachine::pop_to_mark() {
  const auto mark = std::find_if(stack_.rbegin(), stack_.rend(),
                                 [&](uint32_t index) { return value(index).kind == PickleKind::kMark; });
  if (mark == stack_.rend()) fail("no mark on the stack");
  std::vector<uint32_t> items(mark.base(), stack_.end());
  stack_.erase(mark.base() - 1, stack_.end());
  return items;
}

void PickleMachine::append(uint32_t container, const std::vector<uint32_t>& items) {
  total_items_ += items.size();
  if (total_items_ > max_values_) fail(fmt::format("more than {} items", max_values_));
  auto& into = arena_[container].items;
  into.insert(into.end(), items.begin(), items.end());
}

int64_t PickleMachine::count(uint32_t index, std::string_view what) const {
  if (value(index).kind != PickleKind::kInt) fail(fmt::format("{} was expected", what));
  if (value(index).integer < 0) fail(fmt::format("{} is negative", what));
  return value(index).integer;
}

std::vector<int64_t> PickleMachine::counts(uint32_t index, std::string_view what) const {
  const auto& items = value(index).items;
  if (items.size() > kMaxTensorDimensions)
    fail(fmt::format("{} has more than {} dimensions", what, kMaxTensorDimensions));
  std::vector<int64_t> numbers;
  for (const uint32_t item : items) numbers.push_back(count(item, what));
  return numbers;
}

// --- instructions ---
bool PickleMachine::step_scalar(unsigned char opcode) {
  switch (opcode) {
    case 'N': push({.kind = PickleKind::kNone}); return true;
    case 0x88: push({.kind = PickleKind::kBool, .integer = 1}); return true;
    case 0x89: push({.kind = PickleKind::kBool, .integer = 0}); return true;
    case 'K': push({.kind = PickleKind::kInt, .integer = static_cast<int64_t>(number(1))}); return true;
    case 'M': push({.kind = PickleKind::kInt, .integer = static_cast<int64_t>(number(2))}); return true;
    case 'J': push({.kind = PickleKind::kInt, .integer = static_cast<int32_t>(number(4))}); return true;
    case 0x8a: push_long(number(1)); return true;
    case 'X': push_string(number(4)); return true;
    case 0x8c: push_string(number(1)); return true;
    default: return false;
  }
}

bool PickleMachine::step_memo(unsigned char opcode) {
  switch (opcode) {
    case 'q': memo_[number(1)] = top(); return true;
    case 'r': memo_[number(4)] = top(); return true;
    case 0x94: memo_.insert_or_assign(memo_.size(), top()); return true;
    case 'h': recall(number(1)); return true;
    case 'j': recall(number(4)); return true;
    default: return false;
  }
}

void PickleMachine::recall(uint64_t slot) {
  const auto found = memo_.find(slot);
  if (found == memo_.end()) fail(fmt::format("memo slot {} is empty", slot));
  stack_.push_back(found->second);
}

bool PickleMachine::step_container(unsigned char opcode) {
  switch (opcode) {
    case '(': push({.kind = PickleKind::kMark}); return true;
    case ')': push({.kind = PickleKind::kTuple}); return true;
    case '}': push({.kind = PickleKind::kDict}); return true;
    case 't': push({.kind = PickleKind::kTuple, .items = pop_to_mark()}); return true;
    case 0x85: push({.kind = PickleKind::kTuple, .items = pop_values(1)}); return true;
    case 0x86: push({.kind = PickleKind::kTuple, .items = pop_values(2)}); return true;
    case 0x87: push({.kind = PickleKind::kTuple, .items = pop_values(3)}); return true;
    default: return false;
  }
}

// The frame of the program, and names of classes and functions.
bool PickleMachine::step_frame(unsigned char opcode) {
  switch (opcode) {
    case 0x80: {
      const auto version = number(1);
      if (version < 2 || version > 5) fail(fmt::format("protocol {}; 2 to 5 are known", version));
      return true;
    }
    case 0x95: number(8); return true;  // frame length: a hint for buffering
    case '.': stopped_ = true; return true;
    case 'c': {
      const auto module = line();
      push_checked({.kind = PickleKind::kGlobal, .text = fmt::format("{} {}", module, line())});
      return true;
    }
    case 0x93: {
      const auto names = pop_values(2);
      for (const uint32_t name : names) {
        if (value(name).kind != PickleKind::kString) fail("the name of a module or of something in it was expected");
      }
      push_checked(
          {.kind = PickleKind::kGlobal, .text = fmt::format("{} {}", value(names[0]).text, value(names[1]).text)});
      return true;
    }
    default: return false;
  }
}

}  // namespace vorta::engine
