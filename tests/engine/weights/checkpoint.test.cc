// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>

#include <string>

#include "engine/base/error.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/object_pickle.h"
#include "tests/support/catch.h"

using namespace vorta;
using namespace vorta::engine;

namespace {

const std::string kFolder = std::string(VORTA_SOURCE_DIR) + "/tests/golden/checkpoints/";

at::Tensor counted(int64_t from, at::IntArrayRef shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return at::arange(from, from + count, at::kFloat).reshape(shape);
}

void check_state(const TensorMap& tensors, const std::string& prefix) {
  CHECK(tensors.at(prefix + "layers.0.weight").equal(counted(0, {2, 3})));
  CHECK(tensors.at(prefix + "layers.0.steps").equal(at::tensor({100, 101}, at::kLong)));
  CHECK(tensors.at(prefix + "scale").equal(counted(200, {4}).to(at::kHalf)));
}

}  // namespace

TEST_CASE("a state dict is read from every container of PyTorch", "[weights][checkpoint]") {
  const TensorMap plain = read_checkpoint(kFolder + "plain.pth");
  CHECK(plain.size() == 3);
  check_state(plain, "");
  const TensorMap script = read_checkpoint(kFolder + "script.pt");  // TorchScript, whose code is compressed
  CHECK(script.size() == 3);
  check_state(script, "");
}

TEST_CASE("dicts in dicts give dotted names, and what is no tensor is left out", "[weights][checkpoint]") {
  for (const char* name : {"wrapped.pth", "before_zip.pth"}) {
    INFO(name);
    const TensorMap tensors = read_checkpoint(kFolder + name);
    CHECK(tensors.size() == 5);
    check_state(tensors, "model.module.");
    CHECK(tensors.at("optimizer.state.0.step").item<float>() == 9.0f);
    CHECK(tensors.at("view").equal(counted(300, {3, 4}).t()));
  }
}

TEST_CASE("what is no checkpoint, or only a part of one, is refused", "[weights][checkpoint]") {
  CHECK_THROWS_WITH(read_checkpoint(kFolder + "not_a_checkpoint.pth"),
                    Catch::Matchers::Contains("convert_checkpoint.py"));
  CHECK_THROWS_WITH(read_checkpoint(kFolder + "cut.pth"), Catch::Matchers::Contains("ends in storage"));
  CHECK_THROWS_AS(read_checkpoint(kFolder + "nothing.pth"), DataError);
}

TEST_CASE("a pickle is never run, whatever it calls", "[weights][checkpoint]") {
  // PROTO 2, os.system, ("true",), REDUCE, STOP: an object that is nothing.
  const std::string call(
      "\x80\x02"
      "cos\nsystem\nX\x04\0\0\0true\x85R.",
      25);
  CHECK(parse_object_pickle(call, "test").tensors.empty());
  for (const std::string_view broken :
       {std::string_view("\x80\x02"),
        std::string_view("\x80\x02)."
                         "x",
                         3),
        std::string_view("."), std::string_view("\x80\x09."), std::string_view("\x80\x02h\x05.", 5)}) {
    CHECK_THROWS_AS(parse_object_pickle(broken, "test"), DataError);
  }
}

TEST_CASE("a small pickle that stands for much memory or time is refused", "[weights][checkpoint]") {
  // Forty dicts, each of which holds the one before it twice: 2^40 names.
  std::string doubled("\x80\x02}q\0", 5);
  for (char slot = 1; slot < 40; ++slot) {
    const char before[] = {'h', static_cast<char>(slot - 1)};
    doubled +=
        "}(U\x01"
        "a" +
        std::string(before, 2) +
        "U\x01"
        "b" +
        std::string(before, 2) + "uq" + slot;
  }
  CHECK_THROWS_WITH(parse_object_pickle(doubled + ".", "test"), Catch::Matchers::Contains("name more than"));
  // A dict of 1,000 items, given to 10,000 objects as their attributes.
  std::string copied("\x80\x02}q\0(", 6);
  for (int i = 0; i < 1000; ++i) copied += "K\x01K\x02";
  copied += 'u';
  for (int i = 0; i < 10'000; ++i) copied += std::string("ca\nb\n)Rh\0b", 10);
  CHECK_THROWS_WITH(parse_object_pickle(copied + ".", "test"), Catch::Matchers::Contains("more than 8000000 items"));
}
