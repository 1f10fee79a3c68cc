#include "replicator/carry/opening.hpp"
#include "replicator/carry/qemu_img.hpp"
#include "replicator/carry/seed_files.hpp"
#include "replicator/carry/sha256.hpp"

#include <doctest/doctest.h>

namespace farshore::carry {

using control::json;

TEST_SUITE("carry_words") {
    TEST_CASE("qemu-img's progress is read, and what is none is not") {
        CHECK(percent_of("    (43.50/100%)\r") == 4350U);
        CHECK(percent_of("    (1.00/100%)\r    (2.01/100%)\r") == 201U);
        CHECK(percent_of("    (100.00/100%)\r") == 10'000U);
        CHECK(!percent_of(""));
        CHECK(!percent_of("/100%)"));
        CHECK(!percent_of("(x/100%)"));
        CHECK(!percent_of("(7000.00/100%)"));
    }

    TEST_CASE("formats have the names that qemu-img knows") {
        for (const char *name : {"raw", "qcow2", "vmdk", "vhdx", "vdi"}) {
            const auto format = image_format_of(name);
            REQUIRE(format);
            CHECK(std::string(name_of(*format)) == name);
        }
        CHECK(!image_format_of("vpc"));
    }

    TEST_CASE("an opening is what the daemon told, its volumes sorted") {
        const json told{{"group", "shop"},
                        {"point", "17"},
                        {"uris", {{"wal", "u2"}, {"data", "u1"}}},
                        {"facts", {{"id", "17"}}}};
        const auto o = opening_of(told);
        REQUIRE(o);
        CHECK(o->volumes.size() == 2);
        CHECK(o->volumes[0].name == "data");
        CHECK(choose_volume(*o, "wal")->uri == "u2");
        CHECK(is(choose_volume(*o, "").error(), errc::invalid));
        CHECK(is(choose_volume(*o, "none").error(), errc::not_found));
        for (const json &bad : {json::array(), json{{"group", "shop"}}, json{{"group", 1}},
                                json{{"group", "shop"}, {"point", "1"}, {"uris", {{"a", 1}}}}}) {
            CHECK(is(opening_of(bad).error(), errc::corrupt));
        }
    }

    TEST_CASE(
        "a seed is refused where there is a copy or a sender, and goes where the group's is") {
        json told{{"group", "shop"},       {"state", "empty"},
                  {"copy", false},         {"connected", false},
                  {"directory", "/srv/r"}, {"targets", {{"wal", "/dev/vg1/wal"}}}};
        const auto place = seed_place_of(told);
        REQUIRE(place);
        CHECK(check_wanted(*place));
        CHECK(*image_path(*place, "data") == "/srv/r/data.img");
        CHECK(*image_path(*place, "wal") == "/dev/vg1/wal");
        told["copy"] = true;
        CHECK(is(check_wanted(*seed_place_of(told)).error(), errc::refused));
        told["copy"] = false;
        told["connected"] = true;
        CHECK(is(check_wanted(*seed_place_of(told)).error(), errc::refused));
        told["directory"] = "";
        CHECK(is(image_path(*seed_place_of(told), "data").error(), errc::not_found));
        CHECK(!seed_place_of(json::array()));
    }

    TEST_CASE("a digest over pieces, zeroes and copies is that of the whole") {
        CHECK(sha256_of(as_bytes("abc")) ==
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        byte_vector whole(300'000);
        std::fill_n(whole.begin(), 1000, std::byte{7});
        sha256_thread pieces;
        pieces.add(std::make_shared<const byte_vector>(4096, std::byte{7}), 600);
        pieces.add_copy(bytes_view(whole).first(400));
        pieces.add(nullptr, whole.size() - 1000);
        CHECK(pieces.finish() == sha256_of(whole));
        const sha256_thread dropped; // ends without being asked
    }
}

} // namespace farshore::carry
