// What was printed of other people's bytes moves no cursor, and cuts no sentence.
#include "tools/printable.h"

#include <doctest/doctest.h>

using namespace gneiss;

TEST_CASE("control characters are shown, not sent") {
  CHECK(printable("\x1b[2J\x1b]0;pwn\x07") == "\\x1b[2J\\x1b]0;pwn\\x07");
  CHECK(printable(std::string_view("a\0b\n\r\t\x7f", 7)) == "a\\x00b\\x0a\\x0d\\x09\\x7f");
  CHECK(printable("\xc2\x9b"
                  "2J") == "\\xc2\\x9b2J");  // U+009B, as ESC [ to some terminals
}

TEST_CASE("UTF-8 stays as it is, and bytes that are none are shown") {
  for (const char* text : {"", "caf\xc3\xa9 x", "\xe2\x82\xac", "\xf0\x9f\x8e\x93", "\xc2\xa0",
                           "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf"})
    CHECK(printable(text) == text);
  CHECK(printable("d\xe9 x") == "d\\xe9 x");
  CHECK(printable("\x9b"
                  "2J") == "\\x9b2J");
  CHECK(printable("\xe2\x82") == "\\xe2\\x82");                    // cut short
  CHECK(printable("\xc0\x9b") == "\\xc0\\x9b");                    // longer than it need be
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");           // half of a pair
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // beyond the last
}
