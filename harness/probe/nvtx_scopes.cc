// SPDX-License-Identifier: Apache-2.0
#include "harness/probe/nvtx_scopes.h"

#include <nvtx3/nvToolsExt.h>

namespace vorta::harness {
namespace {

nvtxDomainHandle_t domain() {
  static const nvtxDomainHandle_t handle = ::nvtxDomainCreateA("vorta-bench");
  return handle;
}

// One colour a level, so that a timeline can be read from afar.
uint32_t colour(std::string_view scope) {
  if (scope.starts_with("stage/")) return 0xff4c78a8;
  if (scope.starts_with("step/")) return 0xff72b7b2;
  if (scope.starts_with("vorta::layer/")) return 0xff54a24b;
  if (scope.starts_with("vorta::route/")) return 0xffe45756;
  return 0xfff58518;
}

}  // namespace

std::string nvtx_title(std::string_view scope) {
  if (scope.starts_with("vorta::")) scope.remove_prefix(7);
  if (scope.starts_with("stage/")) return std::string(scope.substr(6));
  if (scope.starts_with("route/")) return std::string(scope.substr(6)) + " heads";
  std::string title(scope);
  if (const size_t slash = title.find('/'); slash != std::string::npos) title[slash] = ' ';
  return title;
}

void NvtxScopes::scope_begin(std::string_view name) {
  const std::string title = nvtx_title(name);
  nvtxEventAttributes_t range{};
  range.version = NVTX_VERSION;
  range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  range.colorType = NVTX_COLOR_ARGB;
  range.color = colour(name);
  range.messageType = NVTX_MESSAGE_TYPE_ASCII;
  range.message.ascii = title.c_str();
  ::nvtxDomainRangePushEx(domain(), &range);
}

void NvtxScopes::scope_end() { ::nvtxDomainRangePop(domain()); }

}  // namespace vorta::harness
