// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything of engine/weights in one include.
#include "engine/weights/placement.h"
#include "engine/weights/router_checkpoint.h"
#include "engine/weights/safetensors.h"
#include "engine/weights/tensor_map.h"
#include "engine/weights/weight_reader.h"
