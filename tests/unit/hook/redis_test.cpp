// A Redis that is restarted, paused or written by somebody else, or refuses.

#include "replicator/hook/redis.hpp"
#include "tests/unit/hook/fake_server.hpp"

#include <condition_variable>
#include <fstream>
#include <map>

using namespace farshore;
using namespace farshore::hook;

namespace {

/// As far as a hook sees it: writes wait while it is paused.
struct fake_redis {
    temp_directory directory;
    std::mutex mutex;
    std::condition_variable changed;
    bool paused = false;
    bool ended = false;
    int unpauses = 0;
    std::string run_id = "first";
    std::string role = "master";
    std::string version = "7.0.15";
    std::string log_bytes = "100";
    std::string write_status = "ok";
    std::optional<fake_server> server;
    request asked;

    fake_redis() {
        asked.type = application::redis;
        asked.where = "socket=" + (directory / "redis") + " user=u password=secret";
        asked.outside = true;
        std::ofstream(directory / "log.aof") << "x";
        server.emplace(directory / "redis", [this](fake_client &client) { talk(client); });
    }
    ~fake_redis() {
        set([&] { ended = true; });
        server.reset();
    }
    template <class Change>
    void set(Change change) {
        const std::scoped_lock lock(mutex);
        change();
        changed.notify_all();
    }
    /// Somebody else's: what waited is let through.
    void pause(bool now) {
        set([&] { paused = now; });
    }
    bool is_paused() {
        const std::scoped_lock lock(mutex);
        return paused;
    }
    int unpaused() {
        const std::scoped_lock lock(mutex);
        return unpauses;
    }

    void talk(fake_client &client) {
        for (;;) {
            const auto head = client.take_until("\r\n");
            if (!head || head->front() != '*') {
                return;
            }
            std::vector<std::string> words(std::stoul(head->substr(1)));
            for (std::string &one : words) {
                const auto size = client.take_until("\r\n");
                const auto word = size ? client.take(std::stoul(size->substr(1)) + 2) : size;
                if (!word) {
                    return;
                }
                one = word->substr(0, word->size() - 2);
            }
            if (!client.say(answer(words))) {
                return;
            }
        }
    }
    static std::string bulk(const std::string &text) {
        return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
    }
    std::string answer(const std::vector<std::string> &words) {
        std::unique_lock lock(mutex);
        if (words[0] == "PUBLISH") {
            changed.wait(lock, [&] { return !paused || ended; });
            return ":0\r\n";
        }
        if (words[0] == "AUTH") {
            return words.back() == "secret" ? "+OK\r\n" : "-WRONGPASS invalid\r\n";
        }
        if (words[0] == "CLIENT") {
            paused = words[1] == "PAUSE";
            unpauses += paused ? 0 : 1;
            changed.notify_all();
            return "+OK\r\n";
        }
        if (words[0] == "INFO") {
            return bulk(fields(words[1]));
        }
        const std::map<std::string, std::string> settings{
            {"dir", directory.path()}, {"appendfsync", "everysec"}, {"appendfilename", "log.aof"}};
        const auto found = settings.find(words[2]);
        return found == settings.end() ? "*0\r\n" : "*2\r\n" + bulk(words[2]) + bulk(found->second);
    }
    std::string fields(const std::string &section) const {
        if (section == "server") {
            return "redis_version:" + version + "\r\nrun_id:" + run_id + "\r\n";
        }
        if (section == "replication") {
            return "role:" + role + "\r\nmaster_repl_offset:7\r\n";
        }
        return "loading:0\r\naof_enabled:1\r\naof_pending_bio_fsync:0\r\naof_buffer_length:0\r\n"
               "aof_last_write_status:" +
               write_status + "\r\naof_current_size:" + log_bytes + "\r\n";
    }
};

std::string redis_refusal(fake_redis &redis) {
    redis_freezer one(redis.asked);
    tether t(std::chrono::seconds(5));
    const auto got = one.freeze(t);
    REQUIRE_FALSE(got);
    CHECK(one.let_go(t));
    return got.error().text();
}

/// Frozen, then changed: prove() says why it is not as it was.
std::string not_proved(fake_redis &redis, const std::function<void()> &change) {
    redis_freezer one(redis.asked);
    tether t(std::chrono::seconds(5));
    const auto frozen = one.freeze(t);
    REQUIRE_MESSAGE(frozen, frozen.error().text());
    REQUIRE(one.prove(t));
    change();
    std::this_thread::sleep_for(std::chrono::milliseconds(50)); // an answer may be on its way
    const auto proved = one.prove(t);
    REQUIRE_FALSE(proved);
    CHECK(one.let_go(t));
    return proved.error().text();
}

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("redis: paused, proved, goes on") {
        fake_redis redis;
        redis_freezer one(redis.asked);
        tether t(std::chrono::seconds(5));
        const auto known = one.freeze(t);
        REQUIRE_MESSAGE(known, known.error().text());
        CHECK(redis.is_paused());
        CHECK(one.prove(t));
        CHECK(one.release(t));
        CHECK_FALSE(redis.is_paused());
    }
    TEST_CASE("redis: a wrong password, one that is down, a replica, one too old") {
        fake_redis redis;
        SUBCASE("password") {
            redis.asked.where = "socket=" + (redis.directory / "redis") + " password=wrong";
            CHECK(redis_refusal(redis).contains("WRONGPASS"));
        }
        SUBCASE("down") {
            redis.asked.where = "socket=" + (redis.directory / "nobody");
            CHECK(redis_refusal(redis).contains("No such file"));
        }
        SUBCASE("replica") {
            redis.role = "slave";
            CHECK(redis_refusal(redis).contains("is a replica"));
        }
        SUBCASE("old") {
            redis.version = "6.0.16";
            CHECK(redis_refusal(redis).contains("can't pause writes"));
        }
        CHECK(redis.unpaused() == 0);
    }
    TEST_CASE("redis: a log that can't be written is no freeze") {
        fake_redis redis;
        redis.write_status = "err";
        CHECK(redis_refusal(redis).contains("append-only file"));
        CHECK_FALSE(redis.is_paused());
    }
    TEST_CASE("redis: paused by somebody else, and left so") {
        fake_redis redis;
        redis.pause(true);
        CHECK(redis_refusal(redis).contains("paused already"));
        CHECK(redis.is_paused());
        CHECK(redis.unpaused() == 0);
    }
    TEST_CASE("redis: restarted while frozen is not proved") {
        fake_redis redis;
        CHECK(not_proved(redis, [&] {
                  redis.set([&] { redis.run_id = "second"; });
              }).contains("changed"));
    }
    TEST_CASE("redis: written while frozen is not proved") {
        fake_redis redis;
        CHECK(not_proved(redis, [&] {
                  redis.set([&] { redis.log_bytes = "101"; });
              }).contains("changed"));
    }
    TEST_CASE("redis: a pause that ended and began again is not proved") {
        fake_redis redis;
        const auto twice = [&] {
            redis.pause(false);
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            redis.pause(true);
        };
        CHECK(not_proved(redis, twice).contains("pause of Redis ended"));
    }
    TEST_CASE("redis: its sessions dropped while frozen are not proved") {
        fake_redis redis;
        not_proved(redis, [&] { redis.server->drop_clients(); });
        CHECK_FALSE(redis.is_paused());
    }
    TEST_CASE("redis: by force only the run that was paused goes on") {
        fake_redis redis;
        redis.pause(true);
        redis_freezer one(redis.asked);
        tether t(std::chrono::seconds(5));
        CHECK(one.force_release(t, "another"));
        CHECK(redis.unpaused() == 0);
        CHECK(one.force_release(t, "first"));
        CHECK(redis.unpaused() == 1);
        redis.asked.where = "socket=" + (redis.directory / "nobody");
        CHECK(one.force_release(t, "first"));
    }
}
