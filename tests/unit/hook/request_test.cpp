#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/request.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace farshore;
using namespace farshore::hook;
using nlohmann::json;

namespace {

json good() {
    return {{"version", 1},
            {"name", "db"},
            {"type", "postgresql"},
            {"timeout_ms", 10000},
            {"group", "shop"},
            {"bookmark", "before-upgrade"},
            {"connect", "host=/run/postgresql"},
            {"outside", true},
            {"volumes", {{{"name", "data"}, {"path", "/vols/data.img"}}}},
            {"never", {"/var/lib/farshore"}}};
}
json of_type(const std::string &type, const std::string &key, const json &value) {
    json all = good();
    all.erase("connect");
    all["type"] = type;
    all[key] = value;
    return all;
}
std::string refusal_of(const json &document) {
    const auto got = parse_request(document.dump());
    REQUIRE_FALSE(got);
    return got.error().text();
}

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("request: every key is taken") {
        const auto got = parse_request(good().dump());
        REQUIRE(got);
        CHECK(got->name == "db");
        CHECK(got->type == application::postgresql);
        CHECK(got->timeout == std::chrono::seconds(10));
        CHECK(got->group == "shop");
        CHECK(got->bookmark == "before-upgrade");
        CHECK(got->where == "host=/run/postgresql");
        CHECK(got->outside);
        REQUIRE(got->volumes.size() == 1);
        CHECK(got->volumes[0].name == "data");
        CHECK(got->volumes[0].path == "/vols/data.img");
        CHECK(got->never == std::vector<std::string>{"/var/lib/farshore"});
    }
    TEST_CASE("request: each type has its key, and no other one") {
        const std::vector<std::tuple<std::string, std::string, json>> types{
            {"filesystem", "mount", "/srv"},
            {"postgresql", "connect", "a"},
            {"mariadb", "connect", "a"},
            {"mysql", "connect", "a"},
            {"redis", "connect", "a"},
            {"sqlite", "file", "/srv/a.db"},
            {"qemu-guest-agent", "socket", "/run/ga.sock"},
            {"script", "run", {"/bin/true"}}};
        for (const auto &[type, key, value] : types) {
            CAPTURE(type);
            const auto got = parse_request(of_type(type, key, value).dump());
            REQUIRE(got);
            CHECK(name_of(got->type) == (type == "mysql" ? "mariadb" : type));
            for (const auto &[other, other_key, other_value] : types) {
                if (other_key != key) {
                    json both = of_type(type, key, value);
                    both[other_key] = other_value;
                    CHECK(refusal_of(both).contains("\"" + other_key + "\" does not belong to"));
                }
            }
            json without = of_type(type, key, value);
            without.erase(key);
            CHECK(refusal_of(without).contains("\"" + key + "\" is missing"));
        }
    }
    TEST_CASE("request: a user is a script's") {
        json script = of_type("script", "run", {"/bin/true", "a b"});
        script["user"] = "nobody";
        const auto got = parse_request(script.dump());
        REQUIRE(got);
        CHECK(got->run == std::vector<std::string>{"/bin/true", "a b"});
        CHECK(got->user == "nobody");
        json other = good();
        other["user"] = "nobody";
        CHECK(refusal_of(other).contains("\"user\" does not belong to type postgresql"));
    }
    TEST_CASE("request: what is missing or unknown is named") {
        for (const char *key : {"name", "type", "timeout_ms", "group", "bookmark"}) {
            json all = good();
            all.erase(key);
            CHECK(refusal_of(all).contains(std::string("\"") + key + "\" is missing"));
        }
        json all = good();
        all.erase("version");
        CHECK(refusal_of(all).contains("\"version\" is not 1"));
        all["version"] = 2;
        CHECK(refusal_of(all).contains("\"version\" is not 1"));
        all = good();
        all["colour"] = 1;
        CHECK(refusal_of(all).contains("\"colour\" is unknown"));
        all = good();
        all["type"] = "oracle";
        CHECK(refusal_of(all).contains("\"oracle\", which is no type of hook"));
        CHECK_FALSE(parse_request("[]"));
        CHECK_FALSE(parse_request(""));
        CHECK_FALSE(parse_request("{"));
    }
    TEST_CASE("request: values of another kind, and limits") {
        for (const json &time : {json(99), json(600001), json(-1), json("1"), json(1.5)}) {
            json all = good();
            all["timeout_ms"] = time;
            CHECK(refusal_of(all).contains("\"timeout_ms\" is no number from 100 to 600000"));
        }
        for (const int time : {100, 600000}) {
            json all = good();
            all["timeout_ms"] = time;
            CHECK(parse_request(all.dump()));
        }
        json all = good();
        all["name"] = std::string(limits::name_bytes_max + 1, 'n');
        CHECK(refusal_of(all).contains("\"name\" has more than 256 bytes"));
        all["name"] = std::string(limits::name_bytes_max, 'n');
        CHECK(parse_request(all.dump()));
        all["name"] = "";
        CHECK(refusal_of(all).contains("\"name\" is empty"));
        all["name"] = std::string("a\0b", 3);
        CHECK(refusal_of(all).contains("\"name\" has a NUL"));
        all = good();
        all["outside"] = "yes";
        CHECK(refusal_of(all).contains("\"outside\""));
        all = good();
        all["volumes"][0]["size"] = 1;
        CHECK(refusal_of(all).contains("\"volumes\""));
        all = good();
        all["never"] = json::array();
        for (std::size_t i = 0; i <= limits::never_max; ++i) {
            all["never"].push_back("/");
        }
        CHECK(refusal_of(all).contains("\"never\""));
        CHECK(refusal_of(of_type("script", "run", {"true"})).contains("\"run\" does not begin"));
        CHECK(refusal_of(of_type("script", "run", json::array())).contains("\"run\""));
        CHECK(refusal_of(of_type("sqlite", "file", "a.db")).contains("\"file\" is no full path"));
    }
    TEST_CASE("request: a line at the limit and one beyond") {
        json all = good();
        const std::size_t now = all.dump().size();
        all["connect"] = std::string(all["connect"]) + std::string(1000, ' ');
        CHECK(parse_request(all.dump()));
        const std::string line = good().dump() + std::string(limits::request_bytes_max - now, ' ');
        CHECK(parse_request(line));
        CHECK_FALSE(parse_request(line + " "));
    }
}
