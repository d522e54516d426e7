// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/safetensors.h"

#include <ATen/ATen.h>

#include "engine/base/json_io.h"
#include "tests/engine/weights/scratch.h"

using namespace vorta::engine;

namespace {

std::string file_of(const std::string& header, std::size_t data_bytes, uint64_t announced = UINT64_MAX) {
  if (announced == UINT64_MAX) announced = header.size();
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>((announced >> (8 * i)) & 0xff);
  return bytes + header + std::string(data_bytes, '\0');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

}  // namespace

TEST_CASE("every dtype written by the safetensors package is read", "[weights][safetensors][golden]") {
  const auto file = read_safetensors(golden("dtypes.safetensors"));
  CHECK(file.metadata.at("format") == "pt");
  CHECK(file.tensors.size() == 12);
  for (const auto& [name, dtype] : std::map<std::string, c10::ScalarType>{{"f64", at::kDouble},
                                                                          {"f32", at::kFloat},
                                                                          {"f16", at::kHalf},
                                                                          {"bf16", at::kBFloat16},
                                                                          {"i64", at::kLong},
                                                                          {"i32", at::kInt},
                                                                          {"i16", at::kShort},
                                                                          {"i8", at::kChar},
                                                                          {"u8", at::kByte}}) {
    INFO(name);
    CHECK(file.tensors.at(name).scalar_type() == dtype);
    CHECK(at::equal(file.tensors.at(name), at::arange(6).view({2, 3}).to(dtype)));
  }
  CHECK(at::equal(file.tensors.at("bool"), at::arange(2) == 0));
  CHECK(file.tensors.at("scalar").dim() == 0);
  CHECK(file.tensors.at("empty").sizes() == at::IntArrayRef({0, 4}));
}

TEST_CASE("what is written is read back bit for bit, and twice the same bytes", "[weights][safetensors]") {
  const Scratch scratch;
  TensorMap tensors{{"a", at::randn({3, 4}).to(at::kBFloat16)},
                    {"b.c", at::randn({5}).to(at::kDouble)},
                    {"d", at::randn({2, 3}).t()},
                    {"e", at::empty({0})},
                    {"\u00fc", at::arange(7)}};
  write_safetensors(scratch.dir / "x.safetensors", tensors, {{"key", "value \"quoted\""}});
  write_safetensors(scratch.dir / "y.safetensors", tensors, {{"key", "value \"quoted\""}});
  const auto read = read_safetensors(scratch.dir / "x.safetensors");
  REQUIRE(read.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) CHECK(at::equal(read.tensors.at(name), tensor));
  CHECK(read.metadata.at("key") == "value \"quoted\"");
  CHECK(vorta::read_file(scratch.dir / "x.safetensors") == vorta::read_file(scratch.dir / "y.safetensors"));
}

TEST_CASE("writing to a tensor leaves the file alone, and the tensor outlives the reader", "[weights][safetensors]") {
  const Scratch scratch;
  const auto path = scratch.dir / "x.safetensors";
  write_safetensors(path, {{"a", at::zeros({4})}});
  auto tensor = read_safetensors(path).tensors.at("a");
  tensor.add_(1);
  CHECK(at::equal(tensor, at::ones({4})));
  CHECK(at::equal(read_safetensors(path).tensors.at("a"), at::zeros({4})));
}

TEST_CASE("data that is not aligned is still read right", "[weights][safetensors]") {
  const Scratch scratch;
  auto bytes = file_of("{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("b", "F64", "[1]", "[1,9]") + "}", 9);
  const double value = 0.1;
  std::copy_n(reinterpret_cast<const char*>(&value), 8, bytes.end() - 8);
  CHECK(read_safetensors(scratch.write("x", bytes)).tensors.at("b").item<double>() == value);
}

TEST_CASE("dishonest files are refused with the reason", "[weights][safetensors]") {
  const Scratch scratch;
  struct Case {
    std::string bytes, reason;
  };
  const std::vector<Case> cases{
      {"", "empty"},
      {"abc", "3 bytes"},
      {file_of("{}", 0, 3), "truncated"},
      {file_of("{}", 0, 100'000'001), "allowed"},
      {file_of("{}", 0, UINT64_MAX - 1), "allowed"},
      {file_of("[]", 0), "no JSON object"},
      {file_of("{\"a\":}", 0), "parse error"},
      {file_of("{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("a", "U8", "[1]", "[0,1]") + "}", 1),
       "duplicate key"},
      {file_of("{" + entry("a", "F12", "[1]", "[0,4]") + "}", 4), "F12"},
      {file_of("{" + entry("a", "F32", "[2]", "[0,4]") + "}", 4), "need 8 bytes"},
      {file_of("{" + entry("a", "F32", "[-1]", "[0,4]") + "}", 4), "natural numbers"},
      {file_of("{" + entry("a", "F32", "[1.5]", "[0,4]") + "}", 4), "natural numbers"},
      {file_of("{" + entry("a", "F32", "[4294967296,4294967296,4]", "[0,4]") + "}", 4), "64-bit"},
      {file_of("{" + entry("a", "F32", "[0,9223372036854775807,9223372036854775807]", "[0,0]") + "}", 0), "64-bit"},
      {file_of("{" + entry("a", "F32", "[18446744073709551615]", "[0,4]") + "}", 4), "out of range"},
      {file_of("{" + entry("a", "F32", "[1]", "[4,0]") + "}", 4), "data_offsets"},
      {file_of("{" + entry("a", "F32", "[1]", "[0,4,8]") + "}", 4), "two numbers"},
      {file_of("{" + entry("a", "F32", "[1]", "[0,4]") + "}", 3), "end after"},
      {file_of("{" + entry("a", "F32", "[1]", "[0,4]") + "}", 5), "cover 4 bytes"},
      {file_of("{" + entry("a", "F32", "[1]", "[4,8]") + "}", 8), "gap"},
      {file_of("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[2,6]") + "}", 6), "overlap"},
      {file_of("{" + entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[0,4]") + "}", 4), "overlap"},
      {file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4), "unknown key"},
      {file_of("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4), "data_offsets is missing"},
      {file_of("{\"__metadata__\":{\"a\":1}}", 0), "__metadata__"},
      {file_of("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}", 0), "nested"},
      {file_of("{\"\xff\":1}", 0), "UTF-8"},
  };
  for (const auto& item : cases) {
    INFO(item.reason);
    const auto path = scratch.write("bad.safetensors", item.bytes);
    const auto message = data_error([&] { read_safetensors(path); });
    INFO(message);
    CHECK(mentions(message, item.reason));
    CHECK(mentions(message, path.string()));
  }
}

TEST_CASE("every truncation of a good file is refused", "[weights][safetensors]") {
  const Scratch scratch;
  const auto bytes = vorta::read_file(golden("dtypes.safetensors"));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto path = scratch.write("cut", bytes.substr(0, size));
    CHECK_THROWS_AS(read_safetensors(path), vorta::DataError);
  }
}

TEST_CASE("a boolean byte other than 0 and 1 is refused", "[weights][safetensors]") {
  const Scratch scratch;
  auto bytes = file_of("{" + entry("a", "BOOL", "[1]", "[0,1]") + "}", 1);
  bytes.back() = 2;
  CHECK(mentions(data_error([&] { read_safetensors(scratch.write("x", bytes)); }), "BOOL"));
}

TEST_CASE("a folder, a missing file and an unwritable place are named", "[weights][safetensors]") {
  const Scratch scratch;
  CHECK(mentions(data_error([&] { read_safetensors(scratch.dir); }), "regular file"));
  CHECK(mentions(data_error([&] { read_safetensors(scratch.dir / "none"); }), "No such file"));
  CHECK(mentions(data_error([&] { write_safetensors(scratch.dir / "no/x", {}); }), "cannot be written"));
  CHECK(mentions(data_error([&] { write_safetensors(scratch.dir / "x", {{"c", at::zeros({1}, at::kComplexFloat)}}); }),
                 "dtype"));
  CHECK(std::filesystem::is_empty(scratch.dir));
}

TEST_CASE("a full disk leaves the old file and no temporary", "[weights][safetensors]") {
  if (!std::filesystem::exists("/dev/full")) return;
  const Scratch scratch;
  std::filesystem::create_symlink("/dev/full", scratch.dir / ("x." + std::to_string(getpid()) + ".tmp"));
  scratch.write("x", "old");
  const auto write = [&] { write_safetensors(scratch.dir / "x", {{"a", at::zeros({100})}}); };
  CHECK_THROWS_AS(write(), MachineError);
  std::filesystem::create_symlink("/dev/full", scratch.dir / ("x." + std::to_string(getpid()) + ".tmp"));
  CHECK_THROWS_WITH(write(), Catch::Matchers::Contains("space"));
  CHECK(vorta::read_file(scratch.dir / "x") == "old");
}
