#include "replicator/hook/freezer.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/hook/filesystem.hpp"
#include "replicator/hook/guest_agent.hpp"
#include "replicator/hook/mariadb.hpp"
#include "replicator/hook/postgresql.hpp"
#include "replicator/hook/redis.hpp"
#include "replicator/hook/script.hpp"
#include "replicator/hook/sqlite.hpp"

namespace farshore::hook {

std::unique_ptr<freezer> make_freezer(const request &asked) {
    switch (asked.type) {
    case application::filesystem:
        return std::make_unique<filesystem_freezer>(asked);
    case application::postgresql:
        return std::make_unique<postgresql_freezer>(asked);
    case application::mariadb:
        return std::make_unique<mariadb_freezer>(asked);
    case application::redis:
        return std::make_unique<redis_freezer>(asked);
    case application::sqlite:
        return std::make_unique<sqlite_freezer>(asked);
    case application::qemu_guest_agent:
        return std::make_unique<guest_agent_freezer>(asked);
    case application::script:
        return std::make_unique<script_freezer>(asked);
    }
    REPL_ASSERT(false);
    return nullptr;
}

} // namespace farshore::hook
