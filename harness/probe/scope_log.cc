// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/scope_log.h"

#include <time.h>

#include <charconv>
#include <optional>
#include <utility>

#include "engine/base/error.h"

namespace vorta::harness {
namespace {

constexpr std::string_view kEnginePrefix = "vorta::";

// The rest of `text` after `prefix`, if it starts so.
std::optional<std::string_view> after(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  return text.substr(prefix.size());
}

int64_t number(std::string_view text) {
  int64_t value = -1;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

int64_t probe_clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_RAW, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

Place place_inside(const Place& outer, std::string_view name) {
  Place place = outer;
  if (const auto stage = after(name, "stage/")) place.stage = *stage;
  else if (const auto step = after(name, "step/")) place.step = number(*step);
  else if (const auto engine = after(name, kEnginePrefix)) {
    if (const auto layer = after(*engine, "layer/")) place.layer = number(*layer);
    else if (const auto route = after(*engine, "route/")) place.route = *route;
    else place.part = *engine;
  }
  return place;
}

Place place_of_replay(const Place& launched, const Place& captured) {
  Place place = launched;
  if (captured.layer >= 0) place.layer = captured.layer;
  if (!captured.part.empty()) place.part = captured.part;
  if (!captured.route.empty()) place.route = captured.route;
  return place;
}

int64_t ScopeLog::begin(std::string_view name, int64_t now_ns) {
  const int64_t parent = current();
  const Place outer = parent < 0 ? Place{} : scopes_[static_cast<size_t>(parent)].place;
  scopes_.push_back({.parent = parent,
                     .name = std::string(name),
                     .place = place_inside(outer, name),
                     .begin_ns = now_ns,
                     .end_ns = 0,
                     .work = {}});
  open_.push_back(static_cast<int64_t>(scopes_.size()) - 1);
  return open_.back();
}

void ScopeLog::end(int64_t now_ns) {
  VORTA_CHECK(!open_.empty(), "a scope ends that did not begin");
  scopes_[static_cast<size_t>(open_.back())].end_ns = now_ns;
  open_.pop_back();
}

void ScopeLog::work(const ScopeWork& work) {
  VORTA_CHECK(!open_.empty(), "work without a scope");
  scopes_[static_cast<size_t>(open_.back())].work = work;
}

std::vector<Scope> ScopeLog::take(int64_t now_ns) {
  while (!open_.empty()) end(now_ns);
  return std::exchange(scopes_, {});
}

}  // namespace vorta::harness
