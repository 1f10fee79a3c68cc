// Words of others on one line of ours.

#include "replicator/base/clean_text.hpp"
#include "replicator/base/log.hpp"

#include <doctest/doctest.h>

#include <vector>

namespace farshore {

TEST_SUITE("base") {
    TEST_CASE("clean text: what breaks a line, moves a cursor or hides becomes a visible escape") {
        struct {
            std::string_view given;
            std::string_view wanted;
        } const cases[] = {
            {"plain words, 100 %", "plain words, 100 %"},
            {"Gr\xC3\xBC\xC3\x9F"
             "e \xE2\x82\xAC \xF0\x9F\x98\x80",
             "Gr\xC3\xBC\xC3\x9F"
             "e \xE2\x82\xAC \xF0\x9F\x98\x80"},
            {"a\nb\rc\td", "a\\nb\\rc\\td"},
            {"\x1b]0;title\x07", "\\x1b]0;title\\x07"},
            {"\x7f\xC2\x9b", "\\x7f\\x9b"},
            {std::string_view("a\0b", 3), "a\\x00b"},
            {"\xE2\x80\xAE"
             "abc",
             "\\u{202e}abc"},
            {"\xE2\x80\xA8|\xE2\x80\xA9|\xEF\xBB\xBF|\xE2\x80\x8B",
             "\\u{2028}|\\u{2029}|\\u{feff}|\\u{200b}"},
            {"\xF3\xA0\x81\x81", "\\u{e0041}"},
            {"\xFF\xC3", "\\xff\\xc3"},
            {"\xC0\xAF\xED\xA0\x80\xF4\x90\x80\x80",
             "\\xc0\\xaf\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80"},
            {"\\n stays", "\\n stays"},
            {"", ""},
        };
        for (const auto &c : cases) {
            CHECK(clean_text(c.given) == c.wanted);
            CHECK(clean_text(clean_text(c.given)) == c.wanted);
        }
    }

    TEST_CASE("clean text: it has an end, and no half character or escape at it") {
        CHECK(clean_text("0123456789", 10) == "0123456789");
        CHECK(clean_text("0123456789a", 10) == "0123456...");
        CHECK(clean_text("01234\xE2\x82\xAC"
                         "89a",
                         10) == "01234...");
        CHECK(clean_text("01234\n\n\n", 10) == "01234\\n...");
        CHECK(clean_text("\x1b\x1b\x1b", 10) == "\\x1b...");
        CHECK(clean_text(std::string(100000, '\n'), 4096).size() <= 4096);
        CHECK(clean_text("abc", 2).size() <= 2);
        const std::string cut = clean_text(std::string(50, '\x1b'), 33);
        CHECK(clean_text(cut, 33) == cut);
    }

    TEST_CASE("log: a message is one line whatever somebody else put into it") {
        std::vector<std::string> lines;
        log::set_sink([&](log::level, std::string_view m) { lines.emplace_back(m); });
        log::warning("refused: {}", "x\n2026-01-01 info: paired\x1b[2J");
        log::set_sink({});
        REQUIRE(lines.size() == 1);
        CHECK(lines.front() == "refused: x\\n2026-01-01 info: paired\\x1b[2J");
    }
}

} // namespace farshore
