// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/weights/tensor_pickle.h"

namespace vorta::engine {

enum class PickleKind {
  kOther,
  kNone,
  kBool,
  kInt,
  kString,
  kTuple,
  kList,
  kDict,
  kGlobal,
  kObject,
  kStorage,
  kTensor,
  kMark
};

/// A value on the pickle's stack. Containers hold indices into one arena, so cycles and deep nesting cost nothing.
struct PickleValue {
  PickleKind kind = PickleKind::kOther;
  int64_t integer = 0;                   // bool, int, and a storage's element count
  std::string text = {};                 // string, "module name" of a global, a storage's key
  std::vector<uint32_t> items =
      {};      // tuple, list or set; dict as key, value, key, value; an object's attributes likewise
  std::optional<ElementType> type = {};  // of a storage; none when untyped
  std::optional<PickledTensor> tensor = {};
};

/// The bytes, stack and memo of a pickle (protocol 2 to 5) and the instructions that every reader of ours takes. A
/// reader adds its own instructions and says what it allows; nothing is ever looked up or called. Errors are DataError.
class PickleMachine {
 public:
  virtual ~PickleMachine() = default;

 protected:
  /// The views must outlive the machine. `max_values` bounds memory.
  PickleMachine(std::string_view pickle, std::string_view where, std::size_t max_values)
      : pickle_(pickle), where_(where), max_values_(max_values) {}

  /// An instruction that is not among the shared ones; false when the reader does not know it either.
  virtual bool step_more(unsigned char opcode) = 0;
  /// Throws when the reader does not want such a scalar or global. An integer of more than 64 bits is kOther.
  virtual void check(const PickleValue&) const {}

  /// Runs to STOP.
  void run_to_stop();
  std::size_t position() const { return at_; }
  std::size_t stack_size() const { return stack_.size(); }
  [[noreturn]] void fail(std::string_view message) const;

  std::string_view take(uint64_t count);
  uint64_t number(int bytes);  // little-endian, 1 to 8 bytes

  const PickleValue& value(uint32_t index) const { return arena_[index]; }
  PickleValue& value(uint32_t index) { return arena_[index]; }
  void push(PickleValue value);
  void push_index(uint32_t index) { stack_.push_back(index); }
  void push_string(uint64_t bytes);
  void push_long(uint64_t bytes);
  uint32_t pop();
  uint32_t top() const;
  std::vector<uint32_t> pop_values(std::size_t count);
  std::vector<uint32_t> pop_to_mark();  // the values above the last mark, which goes too
  void append(uint32_t container, const std::vector<uint32_t>& items);

  /// An integer of at least 0.
  int64_t count(uint32_t index, std::string_view what) const;
  /// The items of a container, at most as many as a tensor has dimensions.
  std::vector<int64_t> counts(uint32_t index, std::string_view what) const;

 private:
  bool step_scalar(unsigned char opcode);
  bool step_memo(unsigned char opcode);
  bool step_container(unsigned char opcode);
  bool step_frame(unsigned char opcode);
  std::string_view line();
  void push_checked(PickleValue value);
  void recall(uint64_t slot);

  std::string_view pickle_;
  std::string_view where_;
  std::size_t max_values_;
  std::size_t at_ = 0;
  std::size_t total_items_ = 0;
  bool stopped_ = false;
  std::deque<PickleValue> arena_;
  std::vector<uint32_t> stack_;
  std::unordered_map<uint64_t, uint32_t> memo_;
};

/// The element type of a storage class ("torch FloatStorage") or dtype ("torch float32"), by the pickle's name of it.
std::optional<ElementType> find_storage_type(std::string_view global);
std::optional<ElementType> find_dtype(std::string_view global);

}  // namespace vorta::engine
