// SPDX-License-Identifier: Apache-2.0
#include "engine/weights/router_checkpoint.h"

#include <ATen/ATen.h>

#include "engine/base/json_io.h"
#include "engine/weights/zip_archive.h"
#include "tests/engine/weights/scratch.h"

using namespace vorta::engine;

namespace {

void check_router(const TensorMap& router) {
  REQUIRE(router.size() == 7);
  CHECK(at::equal(router.at("blocks.0.router.weight"), at::arange(6).view({2, 3}).to(at::kBFloat16)));
  CHECK(at::equal(router.at("single"), at::arange(3).to(at::kFloat)));
  CHECK(at::equal(router.at("double"), at::arange(2).to(at::kDouble)));
  CHECK(at::equal(router.at("half"), at::arange(4).to(at::kHalf)));
  CHECK(at::equal(router.at("transposed"), at::arange(2, 8).view({2, 3}).t().to(at::kFloat)));
  CHECK(at::equal(router.at("slice"), at::arange(3, 5).to(at::kFloat)));
  CHECK(at::equal(router.at("parameter"), at::ones({2})));
}

// A torch.save archive around any pickle, with one storage of 24 bytes.
std::string archive(std::string_view pickle) {
  ZipWriter zip;
  zip.add("archive/data.pkl", pickle);
  zip.add("archive/data/0", std::string(24, '\0'));
  return zip.finish();
}

// dict {"a": tensor over storage "0" of `elements` floats}, with one-byte numbers.
std::string tensor_pickle(int elements, int offset, std::vector<int> sizes, std::vector<int> strides) {
  const auto number = [](int value) { return std::string("K") + static_cast<char>(value); };
  const auto text = [](const std::string& value) {
    return std::string("X") + static_cast<char>(value.size()) + std::string(3, '\0') + value;
  };
  const auto tuple = [&](const std::vector<int>& values) {
    std::string out = "(";
    for (int value : values) out += number(value);
    return out + "t";
  };
  return "\x80\x02}(" + text("a") + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") +
         "ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(elements) + "tQ" + number(offset) + tuple(sizes) +
         tuple(strides) +
         "\x89"
         "ccollections\nOrderedDict\n)RtRu.";
}

}  // namespace

TEST_CASE("dicts and OrderedDicts of torch.save are read", "[weights][router][golden]") {
  check_router(read_router_checkpoint(golden("dict.pt")));
  check_router(read_router_checkpoint(golden("ordered.pt")));
  check_router(read_router_checkpoint(golden("protocol4.pt")));
  CHECK(read_router_checkpoint(golden("module.pt")).at("weight").sizes() == at::IntArrayRef({2, 2}));
}

TEST_CASE("files that hold something else are refused with a way out", "[weights][router][golden]") {
  struct Case {
    std::string name, reason;
  };
  for (const auto& item : std::vector<Case>{{"legacy.pt", "before PyTorch 1.6"},
                                            {"device.pt", "\"device\" from the Python module \"torch\""},
                                            {"number.pt", "a tensor was expected under \"a\""},
                                            {"expanded.pt", "share memory"},
                                            {"dtypes.safetensors", "not a torch.save file"}}) {
    const auto message = data_error([&] { read_router_checkpoint(golden(item.name)); });
    INFO(message);
    CHECK(mentions(message, item.reason));
  }
}

TEST_CASE("a router checkpoint is read back bit for bit", "[weights][router]") {
  const Scratch scratch;
  const TensorMap router{{"a", at::randn({3, 4}).to(at::kBFloat16)},
                         {"b", at::randn({300}).to(at::kDouble)},
                         {"c", at::randn({2, 3}).t()},
                         {"d", at::empty({0, 2})},
                         {"e", at::arange(5)},
                         {"f", at::randn({}).to(at::kHalf)}};
  write_router_checkpoint(scratch.dir / "router.pt", router);
  const auto read = read_router_checkpoint(scratch.dir / "router.pt");
  REQUIRE(read.size() == router.size());
  for (const auto& [name, tensor] : router) {
    CHECK(at::equal(read.at(name), tensor));
    CHECK(read.at(name).scalar_type() == tensor.scalar_type());
  }
  CHECK(mentions(data_error([&] { write_router_checkpoint(scratch.dir / "x.pt", {{"b", at::ones({1}, at::kBool)}}); }),
                 "not written"));
}

TEST_CASE("pickles that run programs or lie about storages are refused", "[weights][router]") {
  const Scratch scratch;
  struct Case {
    std::string pickle, reason;
  };
  const std::vector<Case> cases{
      {"cos\nsystem\n(X\x02\0\0\0lstR.", "\"system\" from the Python module \"os\""},
      {"\x80\x02"
       "cposix\nsystem\n.",
       "posix"},
      {"", "truncated"},
      {"}", "truncated"},
      {".", "more than one value"},
      {"}}.", "more than one value"},
      {"s.", "stack is empty"},
      {"(.", "mark where a value"},
      {"h\x05.", "memo slot 5"},
      {"i", "instruction 0x69"},
      {"\x80\x01}.", "protocol 1"},
      {"}X\xff\xff\xff\xff.", "truncated"},
      {"}X\x01" + std::string(3, '\0') +
           "\xff"
           "Ns.",
       "UTF-8"},
      {tensor_pickle(6, 0, {7}, {1}), "leaves its storage"},
      {tensor_pickle(6, 1, {6}, {1}), "leaves its storage"},
      {tensor_pickle(6, 0, {3, 3}, {1, 1}), "share memory"},
      {tensor_pickle(6, 0, {3}, {0}), "share memory"},
      {tensor_pickle(6, 0, {2, 3}, {1}), "differ in length"},
      {tensor_pickle(7, 0, {6}, {1}), "7 elements by the pickle"},
  };
  for (const auto& item : cases) {
    const auto message = data_error([&] { read_router_checkpoint(scratch.write("bad.pt", archive(item.pickle))); });
    INFO(message << " / wanted: " << item.reason);
    CHECK(mentions(message, item.reason));
  }
  CHECK(
      read_router_checkpoint(scratch.write("good.pt", archive(tensor_pickle(6, 0, {2, 3}, {3, 1})))).at("a").numel() ==
      6);
}

TEST_CASE("every truncation and every flipped byte of an archive is refused or harmless", "[weights][router]") {
  const Scratch scratch;
  const auto bytes = vorta::read_file(golden("dict.pt"));
  for (std::size_t size = 0; size < bytes.size(); size += 7) {
    const auto path = scratch.write("cut.pt", bytes.substr(0, size));
    CHECK_THROWS_AS(read_router_checkpoint(path), vorta::DataError);
  }
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    auto damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    const auto path = scratch.write("flip.pt", damaged);
    try {
      check_router(read_router_checkpoint(path));  // padding, dates: the values are whole
    } catch (const vorta::DataError&) {
    }
  }
}
