// SPDX-License-Identifier: Apache-2.0
#include <ATen/ATen.h>

#include "engine/weights/safetensors.h"
#include "tests/engine/weights/scratch.h"

using namespace vorta::engine;

namespace {

const char* const kIndex = "model.safetensors.index.json";

void write_shards(const Scratch& scratch) {
  write_safetensors(scratch.dir / "s1.safetensors", {{"a", at::ones({1})}, {"b", at::ones({2})}});
  write_safetensors(scratch.dir / "s2.safetensors", {{"c", at::ones({3})}});
}

}  // namespace

TEST_CASE("shards are joined by their index", "[weights][folder]") {
  const Scratch scratch;
  write_shards(scratch);
  scratch.write(kIndex,
                R"({"metadata":{},"weight_map":{"a":"s1.safetensors","b":"s1.safetensors","c":"s2.safetensors"}})");
  const auto all = read_weight_folder(scratch.dir);
  REQUIRE(all.size() == 3);
  CHECK(all.at("c").numel() == 3);
}

TEST_CASE("an index that lies is refused with the shard and the name", "[weights][folder]") {
  struct Case {
    std::string map, reason;
  };
  for (const auto& item : std::vector<Case>{
           {R"({"a":"s1.safetensors","x":"s2.safetensors"})", "\"x\" is missing"},
           {R"({"a":"s3.safetensors"})", "shard is missing"},
           {R"({"a":"../s1.safetensors"})", "beside the index"},
           {R"({"a":"/etc/passwd"})", "beside the index"},
           {R"({"a":".."})", "beside the index"},
           {R"({"a":""})", "beside the index"},
           {R"({"a":"s1\u0000"})", "beside the index"},
           {R"({"a":1})", "no shard name"},
       }) {
    const Scratch scratch;
    write_shards(scratch);
    scratch.write(kIndex, R"({"weight_map":)" + item.map + "}");
    const auto message = data_error([&] { read_weight_folder(scratch.dir); });
    INFO(message);
    CHECK(mentions(message, item.reason));
  }
}

TEST_CASE("no weights, and weights in two forms, are told apart", "[weights][folder]") {
  const Scratch scratch;
  CHECK(mentions(data_error([&] { read_weight_folder(scratch.dir / "none"); }), "folder"));
  CHECK(mentions(data_error([&] { read_weight_folder(scratch.dir); }), "found none"));
  scratch.write("pytorch_model.bin", "x");
  CHECK(mentions(data_error([&] { read_weight_folder(scratch.dir); }), "is a pickle"));
  write_safetensors(scratch.dir / "model.safetensors", {{"a", at::ones({1})}});
  CHECK(read_weight_folder(scratch.dir).size() == 1);
  scratch.write(kIndex, R"({"weight_map":{}})");
  CHECK(mentions(data_error([&] { read_weight_folder(scratch.dir); }), "both"));
}
