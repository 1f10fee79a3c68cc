// A PostgreSQL that is restarted, ends a session, refuses, or has files elsewhere: its side of the
// protocol (its documentation, chapter "Message Formats"), as far as libpq asks for it.

#include "replicator/hook/postgresql.hpp"
#include "tests/unit/hook/fake_server.hpp"

#include <map>

using namespace farshore;
using namespace farshore::hook;

namespace {

std::string big_endian(std::uint32_t number, int bytes) {
    std::string text;
    for (int i = bytes - 1; i >= 0; --i) {
        text += static_cast<char>(number >> (8 * i));
    }
    return text;
}
std::string zero_ended(const std::string &text) { return text + '\0'; }
std::string pg_message(char type, const std::string &body) {
    return type + big_endian(std::uint32_t(body.size()) + 4, 4) + body;
}
std::string pg_error(const std::string &text) {
    return pg_message('E', "S" + zero_ended("FATAL") + "C" + zero_ended("28P01") + "M" +
                               zero_ended(text) + '\0');
}
std::string pg_row(const std::vector<std::string> &values) {
    std::string columns = big_endian(std::uint32_t(values.size()), 2);
    std::string row = columns;
    for (const std::string &one : values) {
        // No table, type text, of any length, as text.
        columns += zero_ended("c") + big_endian(0, 4) + big_endian(0, 2) + big_endian(25, 4) +
                   big_endian(0xFFFF, 2) + big_endian(0xFFFFFFFF, 4) + big_endian(0, 2);
        row += big_endian(std::uint32_t(one.size()), 4) + one;
    }
    return pg_message('T', columns) + pg_message('D', row);
}

struct fake_postgresql {
    temp_directory directory;
    std::mutex mutex;
    std::string started = "monday";
    std::string backends = "1"; ///< that hold backup mode, as another session sees it
    std::string refuses;        ///< who connects
    std::string backup_fails;
    std::vector<std::string> asked_for;
    std::optional<fake_server> server;
    request asked;

    fake_postgresql() {
        asked.type = application::postgresql;
        asked.group = "shop";
        asked.bookmark = "nightly";
        asked.where = "host=" + directory.path() + " port=5432 dbname=postgres user=farshore";
        asked.outside = true;
        server.emplace(directory / ".s.PGSQL.5432", [this](fake_client &c) { talk(c); });
    }
    template <class Change>
    void set(Change change) {
        const std::scoped_lock lock(mutex);
        change();
    }
    bool was_asked(std::string_view words) {
        const std::scoped_lock lock(mutex);
        return std::ranges::any_of(asked_for, [&](const auto &one) { return one.contains(words); });
    }

    static std::optional<std::string> body_of(fake_client &client) {
        const auto size = client.take(4);
        std::uint32_t bytes = 0;
        for (std::size_t i = 0; size && i < 4; ++i) {
            bytes = bytes << 8 | static_cast<unsigned char>((*size)[i]);
        }
        return size ? client.take(bytes - 4) : size;
    }
    void talk(fake_client &client) {
        if (!body_of(client)) { // the first has no type
            return;
        }
        if (!refuses.empty()) {
            client.say(pg_error(refuses));
            return;
        }
        const std::string ready = pg_message('Z', "I");
        client.say(pg_message('R', big_endian(0, 4)) +
                   pg_message('S', zero_ended("server_version") + zero_ended("15.4")) +
                   pg_message('K', big_endian(77, 4) + big_endian(1, 4)) + ready);
        std::string statement;
        while (const auto type = client.take(1)) {
            const auto body = body_of(client);
            if (!body || *type == "X") {
                return;
            }
            if (*type == "P") {
                statement = body->substr(1, body->find('\0', 1) - 1); // behind an empty name
            }
            if (*type == "S") {
                client.say(answer(statement) + ready);
            }
        }
    }
    std::string answer(const std::string &statement) {
        const std::scoped_lock lock(mutex);
        asked_for.push_back(statement);
        if (statement.contains("pg_backup_start") && !backup_fails.empty()) {
            return pg_error(backup_fails);
        }
        const std::vector<std::pair<const char *, std::vector<std::string>>> known{
            {"count(*)", {started, backends}},
            {"pg_is_in_recovery", {started, "noon", "false", "15.4"}},
            {"set_config", {"200"}},
            {"data_directory", {"the data directory", directory.path()}},
            {"pg_backup_start", {"0/16B3748"}},
            {"timeline_id", {"1"}},
            {"pg_backup_stop", {"0/3000060"}},
            {"pg_terminate_backend", {"t"}}};
        for (const auto &[words, values] : known) {
            if (statement.contains(words)) {
                return pg_message('1', "") + pg_message('2', "") + pg_row(values) +
                       pg_message('C', zero_ended("SELECT 1"));
            }
        }
        return pg_error("this is not known here: " + statement);
    }
};

std::string pg_refusal(fake_postgresql &postgresql) {
    postgresql_freezer one(postgresql.asked);
    tether t(std::chrono::seconds(5));
    const auto got = one.freeze(t);
    REQUIRE_FALSE(got);
    CHECK(one.let_go(t));
    return got.error().text();
}

} // namespace

TEST_SUITE("hook") {
    TEST_CASE("postgresql: a bracket, proved, and its end") {
        fake_postgresql postgresql;
        postgresql_freezer one(postgresql.asked);
        tether t(std::chrono::seconds(5));
        const auto known = one.freeze(t);
        REQUIRE_MESSAGE(known, known.error().text());
        const auto lsn = std::pair<std::string, std::string>("lsn", "0/16B3748");
        CHECK(std::ranges::find(known->all(), lsn) != known->all().end());
        const auto proved = one.prove(t);
        CHECK_MESSAGE(proved, proved.error().text());
        const auto released = one.release(t);
        REQUIRE_MESSAGE(released, released.error().text());
        CHECK(released->all()[0] == std::pair<std::string, std::string>("stop_lsn", "0/3000060"));
    }
    TEST_CASE("postgresql: a wrong password, one that is down, a backup that fails") {
        fake_postgresql postgresql;
        SUBCASE("password") {
            postgresql.refuses = "password authentication failed for user \"farshore\"";
            CHECK(pg_refusal(postgresql).contains("password authentication failed"));
        }
        SUBCASE("down") {
            postgresql.asked.where = "host=" + (postgresql.directory / "nobody");
            CHECK(pg_refusal(postgresql).contains("nobody"));
        }
        SUBCASE("backup") {
            postgresql.backup_fails = "a backup is already in progress";
            CHECK(pg_refusal(postgresql).contains("already in progress"));
        }
        CHECK_FALSE(postgresql.was_asked("timeline_id"));
    }
    TEST_CASE("postgresql: files that are not on the group's volumes") {
        fake_postgresql postgresql;
        postgresql.asked.outside = false;
        const std::string why = pg_refusal(postgresql);
        CHECK(why.contains("the data directory"));
        CHECK(why.contains("no volume of the group"));
        CHECK_FALSE(postgresql.was_asked("pg_backup_start"));
    }
    TEST_CASE("postgresql: restarted while frozen is not proved") {
        fake_postgresql postgresql;
        postgresql_freezer one(postgresql.asked);
        tether t(std::chrono::seconds(5));
        REQUIRE(one.freeze(t));
        postgresql.set([&] { postgresql.started = "tuesday"; });
        const auto proved = one.prove(t);
        REQUIRE_FALSE(proved);
        CHECK(proved.error().text().contains("restarted"));
    }
    TEST_CASE("postgresql: a session that was ended while frozen is not proved") {
        fake_postgresql postgresql;
        postgresql_freezer one(postgresql.asked);
        tether t(std::chrono::seconds(5));
        REQUIRE(one.freeze(t));
        SUBCASE("as another one sees it") {
            postgresql.set([&] { postgresql.backends = "0"; });
            const auto proved = one.prove(t);
            REQUIRE_FALSE(proved);
            CHECK(proved.error().text().contains("is gone"));
        }
        SUBCASE("as it is found at the release") {
            postgresql.server->drop_clients();
            CHECK(one.prove(t)); // a new one number 77, which is there
            CHECK_FALSE(one.release(t));
        }
        CHECK(one.let_go(t));
    }
    TEST_CASE("postgresql: a backend that is at work is ended by force") {
        fake_postgresql postgresql;
        postgresql_freezer one(postgresql.asked);
        tether t(std::chrono::seconds(5));
        CHECK(one.force_release(t, "77 noon"));
        CHECK(postgresql.was_asked("pg_terminate_backend"));
    }
}
