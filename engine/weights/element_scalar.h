// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/ScalarType.h>

#include "engine/weights/safetensors_header.h"

namespace vorta::engine {

/// The ATen dtype of an element type, and back; nullptr when the file formats have no name for it.
c10::ScalarType scalar_type(ElementType element);
const ElementTypeInfo* find_element_type(c10::ScalarType scalar);

}  // namespace vorta::engine
