// Guest agents that lie, refuse, say nonsense, or were somebody else's before.

#include "replicator/hook/guest_agent.hpp"
#include "tests/unit/hook/fake_server.hpp"

#include <nlohmann/json.hpp>

#include <atomic>

using namespace farshore;
using namespace farshore::hook;

namespace {

struct fake_agent {
    temp_directory directory;
    std::string to_sync;     ///< said before each answer to guest-sync-delimited
    std::string to_freeze;   ///< said in the place of the answer to a freeze
    bool ends_here = false;  ///< with that
    int file_systems = 2;    ///< that a freeze finds
    std::atomic<int> thawed; ///< file systems that a thaw finds; -1: as many as were frozen
    std::atomic<bool> frozen = false;
    std::atomic<int> thaws = 0;
    fake_server server{directory / "agent", [this](fake_client &client) { talk(client); }};
    request asked;

    fake_agent() : thawed(-1) {
        asked.type = application::qemu_guest_agent;
        asked.where = directory / "agent";
    }
    void talk(fake_client &client) {
        while (const auto line = client.take_until("\n")) {
            if (!client.say(answer(*line)) || (ends_here && line->contains("-freeze"))) {
                return;
            }
        }
    }
    std::string answer(const std::string &line) {
        const auto asks = nlohmann::json::parse(line.substr(line.front() == '\xFF' ? 1 : 0));
        const std::string command = asks["execute"];
        if (command == "guest-sync-delimited") {
            return to_sync + "\xFF{\"return\":" + asks["arguments"]["id"].dump() + "}\n";
        }
        if (command == "guest-fsfreeze-status") {
            return frozen ? "{\"return\":\"frozen\"}\n" : "{\"return\":\"thawed\"}\n";
        }
        if (command == "guest-fsfreeze-freeze") {
            frozen = file_systems > 0;
            return to_freeze.empty() ? "{\"return\":" + std::to_string(file_systems) + "}\n"
                                     : to_freeze;
        }
        if (command == "guest-fsfreeze-thaw") {
            ++thaws;
            const int all = thawed >= 0 ? thawed.load() : frozen ? file_systems : 0;
            frozen = false;
            return "{\"return\":" + std::to_string(all) + "}\n";
        }
        return "{\"error\":{\"desc\":\"no such command\"}}\n";
    }
};

std::string agent_refusal(fake_agent &agent) {
    guest_agent_freezer one(agent.asked);
    tether t(std::chrono::seconds(5));
    const auto got = one.freeze(t);
    REQUIRE_FALSE(got);
    CHECK(one.let_go(t));
    return got.error().text();
}

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("guest: frozen, proved, thawed") {
        fake_agent agent;
        guest_agent_freezer one(agent.asked);
        tether t(std::chrono::seconds(5));
        const auto known = one.freeze(t);
        REQUIRE_MESSAGE(known, known.error().text());
        CHECK(agent.frozen);
        CHECK(known->all().back() == std::pair<std::string, std::string>("file_systems", "2"));
        CHECK(one.prove(t));
        CHECK(one.release(t));
        CHECK_FALSE(agent.frozen);
    }
    TEST_CASE("guest: what an earlier client left unread is nobody's answer") {
        fake_agent agent;
        agent.to_sync = "{\"return\":\"frozen\"}\n\xFF{\"return\":7}\n{\"return\":";
        guest_agent_freezer one(agent.asked);
        tether t(std::chrono::seconds(5));
        CHECK(one.freeze(t));
        CHECK(one.prove(t));
        CHECK(one.release(t));
    }
    TEST_CASE("guest: frozen by somebody else, and left so") {
        fake_agent agent;
        agent.frozen = true;
        CHECK(agent_refusal(agent).contains("frozen already"));
        CHECK(agent.frozen);
        CHECK(agent.thaws == 0);
    }
    TEST_CASE("guest: one that freezes nothing is not frozen") {
        fake_agent agent;
        agent.file_systems = 0;
        CHECK(agent_refusal(agent).contains("frozen no file system"));
    }
    TEST_CASE("guest: an agent that refuses, says nonsense or never ends, is thawed") {
        fake_agent agent;
        SUBCASE("refuses") {
            agent.to_freeze = "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no space\"}}\n";
            CHECK(agent_refusal(agent).contains("no space"));
        }
        SUBCASE("nonsense") {
            agent.to_freeze = "}}}\n";
            CHECK(agent_refusal(agent).contains("no JSON object"));
        }
        SUBCASE("without end") {
            agent.to_freeze = std::string(300'000, '[');
            CHECK(agent_refusal(agent).contains("too long"));
        }
        SUBCASE("the end") {
            agent.to_freeze = "{\"ret";
            agent.ends_here = true;
            CHECK(agent_refusal(agent).contains("was closed"));
        }
        CHECK(agent.thaws == 1);
        CHECK_FALSE(agent.frozen);
    }
    TEST_CASE("guest: a thaw in between is not proved, nor one that finds too few") {
        fake_agent agent;
        guest_agent_freezer one(agent.asked);
        tether t(std::chrono::seconds(5));
        REQUIRE(one.freeze(t));
        SUBCASE("in between") {
            agent.frozen = false;
            const auto proved = one.prove(t);
            REQUIRE_FALSE(proved);
            CHECK(proved.error().text().contains("the guest is thawed"));
            CHECK(one.let_go(t));
        }
        SUBCASE("too few") {
            REQUIRE(one.prove(t));
            agent.thawed = 1;
            CHECK_FALSE(one.release(t));
        }
    }
    TEST_CASE("guest: a thaw by force; no guest is no failure") {
        fake_agent agent;
        agent.frozen = true;
        guest_agent_freezer one(agent.asked);
        tether t(std::chrono::seconds(5));
        CHECK(one.force_release(t, agent.asked.where));
        CHECK(agent.thaws == 1);
        agent.asked.where = agent.directory / "nobody";
        CHECK(one.force_release(t, agent.asked.where));
    }
}
