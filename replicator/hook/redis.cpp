#include "replicator/hook/redis.hpp"

#include "replicator/hook/file_sync.hpp"
#include "replicator/hook/group_files.hpp"
#include "replicator/hook/hook_limits.hpp"
#include "replicator/hook/refusal.hpp"

#include <fmt/format.h>

#include <cerrno>

namespace farshore::hook {
namespace {

using std::chrono::milliseconds;

/// Nobody subscribes to it.
const redis_session::words publish_nothing{"PUBLISH", "farshore:hook:probe", ""};
/// appendfsync everysec looks once a second, at whole seconds.
constexpr milliseconds everysec_is_over{2'100};

bool older_than_6_2(const std::string &version) {
    int major = 0;
    int minor = 0;
    if (std::sscanf(version.c_str(), "%d.%d", &major, &minor) != 2) {
        return true;
    }
    return major < 6 || (major == 6 && minor < 2);
}

} // namespace

result<> redis_freezer::connect(const tether &t) {
    FS_TRY(words, redis_session::words_of(asked_.where));
    FS_TRY(session, redis_session::open(words, t));
    FS_TRY(probe, redis_session::open(words, t));
    session_ = std::move(session);
    probe_ = std::move(probe);
    local_ = !words.get("socket").empty();
    return {};
}

/// Whether it can be frozen, before anything is touched.
result<> redis_freezer::check(const tether &t) {
    FS_TRY(server, session_->info(t, "server"));
    version_ = server["redis_version"];
    run_id_ = server["run_id"];
    if (older_than_6_2(version_)) {
        return refusal(fmt::format("Redis {} can't pause writes alone; 6.2 can", version_));
    }
    FS_TRY(replication, session_->info(t, "replication"));
    if (replication["role"] != "master") {
        return refusal("this Redis is a replica, which can't be paused: its primary goes on");
    }
    FS_TRY(kept, session_->info(t, "persistence"));
    if (kept["loading"] != "0") {
        return refusal("this Redis is still loading its data");
    }
    log_ = kept["aof_enabled"] == "1";
    FS_TRY(directory, session_->setting(t, "dir"));
    FS_TRY(sync, session_->setting(t, "appendfsync"));
    directory_ = directory;
    sync_ = sync;
    if (!local_ && log_ && sync_ == "no") {
        return refusal("appendfsync is \"no\" and the server is reached by TCP: nobody can tell "
                       "when its log is on disk; use everysec, always, or its Unix socket");
    }
    if (local_ && !asked_.outside) {
        FS_TRY(files, group_files::look(asked_));
        FS_CHECK(files.check("Redis: the directory of its data", directory_));
    }
    FS_CHECK(probe_->send(t, publish_nothing));
    FS_TRY(answers, probe_->stirs(t, limits::probe_patience * 4));
    if (!answers) {
        return refusal("this Redis is paused already by somebody else, and left so");
    }
    FS_CHECK(probe_->reply(t));
    return {};
}

result<> redis_freezer::save(const tether &t) {
    const auto settled = [&]() -> result<std::string> {
        for (;;) {
            FS_TRY(kept, session_->info(t, "persistence"));
            if (kept["rdb_bgsave_in_progress"] == "0") {
                return kept["rdb_last_bgsave_status"];
            }
            FS_CHECK(t.sleep(limits::look_every));
        }
    };
    FS_CHECK(settled()); // one that began before the pause has not all of it
    FS_CHECK(session_->command(t, {"BGSAVE"}));
    FS_TRY(status, settled());
    if (status != "ok") {
        return refusal("Redis could not save its data; its log says why");
    }
    if (!local_) {
        return {};
    }
    FS_TRY(file, session_->setting(t, "dbfilename"));
    FS_CHECK(sync_path(directory_ + "/" + file));
    return sync_path(directory_);
}

result<> redis_freezer::sync_log(const tether &t) {
    const auto begun = tether::clock::now();
    const milliseconds least = local_ || sync_ == "always" ? milliseconds(0) : everysec_is_over;
    for (;;) {
        FS_TRY(kept, session_->info(t, "persistence"));
        const bool synced = local_ || kept["aof_pending_bio_fsync"] == "0";
        if (kept["aof_last_write_status"] != "ok") {
            return refusal("Redis could not write its append-only file; its log says why");
        }
        if (kept["aof_buffer_length"] == "0" && synced && tether::clock::now() - begun >= least) {
            break;
        }
        FS_CHECK(t.sleep(limits::look_every));
    }
    if (!local_) {
        return {};
    }
    FS_TRY(folder, session_->setting(t, "appenddirname")); // from 7.0
    if (!folder.empty()) {
        FS_CHECK(sync_files_in(directory_ + "/" + folder));
    } else {
        FS_TRY(file, session_->setting(t, "appendfilename"));
        FS_CHECK(sync_path(directory_ + "/" + file));
    }
    return sync_path(directory_);
}

/// What changes with the data.
result<std::string> redis_freezer::marks(const tether &t) {
    FS_TRY(kept, session_->info(t, "persistence"));
    return log_ ? kept["aof_current_size"]
                : kept["rdb_changes_since_last_save"] + " since " + kept["rdb_last_save_time"];
}

result<facts> redis_freezer::freeze(tether &t) {
    FS_CHECK(connect(t));
    FS_CHECK(check(t));
    FS_CHECK(t.arm(run_id_));
    paused_ = true;
    FS_CHECK(
        session_->command(t, {"CLIENT", "PAUSE", std::to_string(t.left().count() + 1), "WRITE"}));
    FS_CHECK(probe_->send(t, publish_nothing));
    FS_CHECK(log_ ? sync_log(t) : save(t));
    FS_TRY(now, marks(t));
    marks_ = now;
    FS_TRY(answered, probe_->stirs(t, milliseconds(0)));
    if (answered) {
        return refusal("Redis takes writes although it was paused");
    }
    FS_TRY(replication, session_->info(t, "replication"));
    facts known;
    known.add("version", version_);
    known.add("run_id", run_id_);
    known.add("starts_from", log_ ? "append-only file" : "snapshot");
    known.add("repl_offset", replication["master_repl_offset"]);
    known.add("files", asked_.outside ? "not checked: outside = true"
                       : local_       ? "on the group's volumes"
                                      : "not checked: the server is reached by TCP");
    return known;
}

result<> redis_freezer::prove(tether &t) {
    FS_TRY(answered, probe_->stirs(t, milliseconds(0)));
    if (answered) {
        return refusal("the pause of Redis ended before the release");
    }
    FS_TRY(server, session_->info(t, "server"));
    FS_TRY(now, marks(t));
    if (server["run_id"] != run_id_ || now != marks_) {
        return refusal("the data of Redis changed before the release");
    }
    return {};
}

result<facts> redis_freezer::release(tether &t) {
    FS_TRY(answered, probe_->stirs(t, milliseconds(0)));
    FS_CHECK(session_->command(t, {"CLIENT", "UNPAUSE"}));
    paused_ = false;
    if (answered) {
        return refusal("the pause of Redis ended before the release");
    }
    return facts{};
}

result<> redis_freezer::let_go(tether &t) {
    if (!paused_) {
        return {};
    }
    // A new session: a reply of the old one may be on its way.
    FS_CHECK(end_pause(t, run_id_));
    paused_ = false;
    return {};
}

result<> redis_freezer::force_release(tether &t, const std::string &trace) {
    const auto ended = end_pause(t, trace);
    if (!ended) {
        return refusal(ended.error().text() + "; Redis ends the pause when its time is over");
    }
    return ended;
}

result<> redis_freezer::end_pause(const tether &t, const std::string &run_id) const {
    FS_TRY(words, redis_session::words_of(asked_.where));
    auto session = redis_session::open(words, t);
    if (!session) {
        const error &e = session.error();
        const bool down = is_errno(e, ECONNREFUSED) || e.context.contains("Connection refused") ||
                          e.context.contains("No such file");
        return down ? result<>{} : std::unexpected(e); // a pause does not outlive its server
    }
    FS_TRY(server, session->info(t, "server"));
    if (server["run_id"] == run_id) {
        FS_CHECK(session->command(t, {"CLIENT", "UNPAUSE"}));
    }
    return {};
}

} // namespace farshore::hook
