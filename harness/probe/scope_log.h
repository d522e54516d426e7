// SPDX-License-Identifier: Apache-2.0
// Where in a generation something happened: stage, step, layer, part and branch, from nested scopes.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vorta::harness {

/// Nanoseconds of CLOCK_MONOTONIC_RAW: the one clock of scopes, GPU records and GPU samples. CUPTI's own default is
/// CLOCK_REALTIME, which NTP may step.
int64_t probe_clock_ns();

struct ScopeWork {
  double flops = 0;
  double bytes = 0;
  bool is_known() const { return flops > 0 || bytes > 0; }
};

/// Hears scopes begin and end on the generating thread, properly nested. Names: "stage/denoise" and "step/3" from the
/// pipeline's observer; "vorta::layer/7", "vorta::route/sliding" and parts such as "vorta::self_attention" from the
/// engine's own scopes; "op/..." from operators whose work is known.
class ScopeListener {
 public:
  virtual ~ScopeListener() = default;
  virtual void scope_begin(std::string_view name) = 0;
  virtual void scope_end() = 0;
  /// The innermost open scope is an operator ("op/aten::addmm") that does this work: arithmetic, and bytes of operands
  /// and results once each.
  virtual void scope_work(const ScopeWork& /*work*/) {}
};

/// The names of the scopes around a point. Absent: "" or -1.
struct Place {
  std::string stage;
  int64_t step = -1;
  int64_t layer = -1;
  std::string part;  // "self_attention", "attention", "cross_attention", "ffn"
  std::string route;  // attention branch: "dense", "coreset", "sliding"
  auto operator<=>(const Place&) const = default;
  bool is_nowhere() const { return *this == Place{}; }
};

/// The place inside `outer` that a scope called `name` opens.
Place place_inside(const Place& outer, std::string_view name);

/// Place of a node of a replayed CUDA graph: stage and step come from where the graph was launched, layer, part and
/// route from where the node was captured.
Place place_of_replay(const Place& launched, const Place& captured);

/// One scope that ran. Times of the host by probe_clock_ns().
struct Scope {
  int64_t parent = -1;  // index of the scope around it, or -1
  std::string name;
  Place place;
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  ScopeWork work = {};
};

/// All scopes of one generation, in the order they began. Not thread-safe: scopes belong to one thread.
class ScopeLog {
 public:
  /// @returns the new scope's index.
  int64_t begin(std::string_view name, int64_t now_ns);
  /// Closes the innermost open scope. @throws InternalError when none is open.
  void end(int64_t now_ns);
  /// Work of the innermost open scope. @throws InternalError when none is open.
  void work(const ScopeWork& work);
  /// Index of the innermost open scope, or -1.
  int64_t current() const { return open_.empty() ? -1 : open_.back(); }
  /// Closes what an exception left open and hands the scopes over.
  std::vector<Scope> take(int64_t now_ns);

 private:
  std::vector<Scope> scopes_;
  std::vector<int64_t> open_;
};

}  // namespace vorta::harness
