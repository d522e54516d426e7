// SPDX-License-Identifier: Apache-2.0
#include "engine/base/utf8.h"

#include "tests/support/catch.h"

TEST_CASE("strict UTF-8 round trips and refuses what is not", "[weights][utf8]") {
  const std::u32string points = U"a\u00e9\u732b\U0001F600\U0010FFFF";
  CHECK(vorta::decode_utf8(vorta::encode_utf8(points)) == points);
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xc3", "\xe2\x82", "\xff", "a\xc3(", "\xf0\x80\x80\x80"}) {
    CHECK_FALSE(vorta::is_utf8(bad));
  }
}
