// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/element_scalar.h"

#include <array>

#include "engine/base/error.h"

namespace vorta::engine {
namespace {

struct ScalarTypeRow {
  ElementType element;
  c10::ScalarType scalar;
};

constexpr std::array kScalarTypes{
    ScalarTypeRow{ElementType::kF64, c10::ScalarType::Double},
    ScalarTypeRow{ElementType::kF32, c10::ScalarType::Float},
    ScalarTypeRow{ElementType::kF16, c10::ScalarType::Half},
    ScalarTypeRow{ElementType::kBF16, c10::ScalarType::BFloat16},
    ScalarTypeRow{ElementType::kF8E4M3, c10::ScalarType::Float8_e4m3fn},
    ScalarTypeRow{ElementType::kF8E5M2, c10::ScalarType::Float8_e5m2},
    ScalarTypeRow{ElementType::kI64, c10::ScalarType::Long},
    ScalarTypeRow{ElementType::kI32, c10::ScalarType::Int},
    ScalarTypeRow{ElementType::kI16, c10::ScalarType::Short},
    ScalarTypeRow{ElementType::kI8, c10::ScalarType::Char},
    ScalarTypeRow{ElementType::kU64, c10::ScalarType::UInt64},
    ScalarTypeRow{ElementType::kU32, c10::ScalarType::UInt32},
    ScalarTypeRow{ElementType::kU16, c10::ScalarType::UInt16},
    ScalarTypeRow{ElementType::kU8, c10::ScalarType::Byte},
    ScalarTypeRow{ElementType::kBool, c10::ScalarType::Bool},
};

}  // namespace

c10::ScalarType scalar_type(ElementType element) {
  for (const auto& row : kScalarTypes) {
    if (row.element == element) return row.scalar;
  }
  throw InternalError("scalar_type", "element type without a row");
}

const ElementTypeInfo* find_element_type(c10::ScalarType scalar) {
  for (const auto& row : kScalarTypes) {
    if (row.scalar == scalar) return &element_type_info(row.element);
  }
  return nullptr;
}

}  // namespace vorta::engine
