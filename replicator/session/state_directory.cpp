#include "replicator/session/state_directory.hpp"

#include <fmt/format.h>

namespace farshore {

state_directory::state_directory(file_system &files, executor disk, std::string path)
    : trust(files, disk, join_path(path, "trust.json")), files_(files), disk_(std::move(disk)),
      path_(std::move(path)) {}

task<result<>> state_directory::open() {
    FS_CO_TRY(found, co_await run_on(disk_, [this] { return open_on_disk(); }));
    trust.found(std::move(found));
    co_return result<>{};
}

result<trust_store> state_directory::open_on_disk() {
    FS_CHECK(files_.make_directories(path_));
    FS_TRY(lock_file, files_.open(join_path(path_, "lock"), open_mode::create));
    if (auto locked = lock_file->lock(); !locked) {
        return fail(locked.error().code,
                    fmt::format("the state directory {} is used by another daemon", path_));
    }
    lock_ = std::move(lock_file);
    FS_TRY(present, files_.exists(trust.path()));
    if (!present) {
        return trust_store{};
    }
    FS_TRY(text, files_.read_file(trust.path()));
    auto parsed = trust_store::parse(std::string(as_text(text)));
    if (!parsed) {
        return fail(parsed.error().code,
                    fmt::format("{}: {}", trust.path(), parsed.error().context));
    }
    return parsed;
}

} // namespace farshore
