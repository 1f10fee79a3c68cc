#include "replicator/carry/manifest.hpp"

#include <doctest/doctest.h>

namespace farshore::carry {
namespace {

using control::json;

const std::string sum(64, 'a');

manifest sample() {
    return {"shop", "17", json{{"id", "17"}}, {{"data", 4096, sum}, {"wal", 1ULL << 40, sum}}};
}

} // namespace

TEST_SUITE("carry_manifest") {
    TEST_CASE("what is written is read") {
        const auto m = parse_manifest(to_text(sample()));
        REQUIRE(m);
        CHECK(m->group == "shop");
        CHECK(m->point == "17");
        CHECK(m->facts == json{{"id", "17"}});
        CHECK(m->volumes == sample().volumes);
    }

    TEST_CASE("every changed bit of a manifest is found") {
        const std::string good = to_text(sample());
        for (std::size_t at = 0; at + 1 < good.size(); ++at) {
            for (int bit = 0; bit < 8; ++bit) {
                std::string bad = good;
                bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
                const auto m = parse_manifest(bad);
                // A digit of a number may become a blank, or "1" "1.", which mean the same.
                const bool same = m && to_text(*m) == good;
                CHECK((!m || same));
            }
        }
        for (std::size_t length = 0; length + 1 < good.size(); ++length) {
            CHECK(!parse_manifest(good.substr(0, length)));
        }
    }

    TEST_CASE("other programs' documents and other versions are refused in words") {
        CHECK(is(parse_manifest("[]").error(), errc::corrupt));
        CHECK(is(parse_manifest(R"({"format": "other", "version": 1})").error(), errc::corrupt));
        const auto newer = parse_manifest(R"({"format": "farshore-group", "version": 2})");
        REQUIRE(!newer);
        CHECK(is(newer.error(), errc::unsupported));
        CHECK(newer.error().context.contains("version 2"));
        CHECK(!parse_manifest(R"({"format": "farshore-group"})"));
    }

    TEST_CASE("volumes that can't be are refused, though the sum is right") {
        for (const manifest_volume &v :
             {manifest_volume{"../data", 4096, sum}, manifest_volume{"", 4096, sum},
              manifest_volume{"data", (1ULL << 50) + 1, sum}, manifest_volume{"data", 1, "ab"}}) {
            manifest m = sample();
            m.volumes = {v};
            CHECK(is(parse_manifest(to_text(m)).error(), errc::corrupt));
        }
        manifest none = sample();
        none.volumes.clear();
        CHECK(!parse_manifest(to_text(none)));
    }

    TEST_CASE("what arrived is compared: missing, more, size, content") {
        const manifest m = sample();
        CHECK(check_arrived(m, m.volumes));
        auto arrived = m.volumes;
        arrived[0].sha256[3] = 'b';
        CHECK(check_arrived(m, arrived).error().context.contains("content of volume data"));
        arrived = m.volumes;
        arrived[1].size = 7;
        CHECK(check_arrived(m, arrived).error().context.contains("volume wal has 7 bytes"));
        arrived.pop_back();
        CHECK(check_arrived(m, arrived).error().context.contains("volume wal is missing"));
        arrived = m.volumes;
        arrived.push_back({"more", 1, sum});
        CHECK(check_arrived(m, arrived).error().context.contains("3 volumes, it should have 2"));
    }

    TEST_CASE("only VOLUME.img is a volume's entry") {
        CHECK(volume_of_entry("data.img") == "data");
        CHECK(volume_of_entry("a.b-c_1.img") == "a.b-c_1");
        for (const char *bad : {"data", ".img", "../data.img", "a/b.img", "data.img/", "-x.img"}) {
            CAPTURE(bad);
            CHECK(volume_of_entry(bad).empty());
        }
    }
}

} // namespace farshore::carry
