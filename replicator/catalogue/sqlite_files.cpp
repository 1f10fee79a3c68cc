#include "replicator/catalogue/sqlite_files.hpp"

#include "replicator/base/assert.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <random>
#include <sqlite3.h>

namespace farshore {
namespace {

constexpr int path_bytes_max = 4096;
constexpr int sector_bytes = 4096;

/// What SQLite holds of a file: its methods, then ours.
struct open_file {
    sqlite3_file base;
    std::unique_ptr<file> content;
    sqlite_files *owner;
    bool name_unsynced; ///< made here, and not synced since
};

open_file &of(sqlite3_file *f) { return *reinterpret_cast<open_file *>(f); }

int close_file(sqlite3_file *f) {
    std::destroy_at(&of(f).content);
    return SQLITE_OK;
}

/// Behind the end are zeroes, and SQLite wants to be told.
int read_file(sqlite3_file *f, void *out, int count, sqlite3_int64 offset) {
    open_file &o = of(f);
    const bytes_span bytes(static_cast<std::byte *>(out), static_cast<std::size_t>(count));
    const auto size = o.content->size();
    if (!size) {
        return o.owner->failed(size.error(), SQLITE_IOERR_READ);
    }
    const auto at = static_cast<std::uint64_t>(offset);
    const std::uint64_t there = at >= *size ? 0 : std::min<std::uint64_t>(*size - at, bytes.size());
    if (there > 0) {
        if (auto read = o.content->read_at(at, bytes.first(static_cast<std::size_t>(there)));
            !read) {
            return o.owner->failed(read.error(), SQLITE_IOERR_READ);
        }
    }
    std::ranges::fill(bytes.subspan(static_cast<std::size_t>(there)), std::byte{0});
    return there == bytes.size() ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

int write_file(sqlite3_file *f, const void *data, int count, sqlite3_int64 offset) {
    open_file &o = of(f);
    const bytes_view bytes(static_cast<const std::byte *>(data), static_cast<std::size_t>(count));
    if (auto written = o.content->write_at(static_cast<std::uint64_t>(offset), bytes); !written) {
        const bool full = is_errno(written.error(), ENOSPC);
        return o.owner->failed(written.error(), full ? SQLITE_FULL : SQLITE_IOERR_WRITE);
    }
    return SQLITE_OK;
}

int truncate_file(sqlite3_file *f, sqlite3_int64 size) {
    open_file &o = of(f);
    auto done = o.content->truncate(static_cast<std::uint64_t>(size));
    return done ? SQLITE_OK : o.owner->failed(done.error(), SQLITE_IOERR_TRUNCATE);
}

int sync_file(sqlite3_file *f, int) {
    open_file &o = of(f);
    if (auto synced = o.content->sync_data(); !synced) {
        return o.owner->failed(synced.error(), SQLITE_IOERR_FSYNC);
    }
    if (o.name_unsynced) {
        if (auto named = o.owner->files().sync_directory(parent_path(o.content->path())); !named) {
            return o.owner->failed(named.error(), SQLITE_IOERR_DIR_FSYNC);
        }
        o.name_unsynced = false;
    }
    return SQLITE_OK;
}

int size_of_file(sqlite3_file *f, sqlite3_int64 *out) {
    open_file &o = of(f);
    const auto size = o.content->size();
    if (!size) {
        return o.owner->failed(size.error(), SQLITE_IOERR_FSTAT);
    }
    *out = static_cast<sqlite3_int64>(*size);
    return SQLITE_OK;
}

int no_lock(sqlite3_file *, int) { return SQLITE_OK; }
int no_reserved_lock(sqlite3_file *, int *out) {
    *out = 0;
    return SQLITE_OK;
}
int no_control(sqlite3_file *, int, void *) { return SQLITE_NOTFOUND; }
int sector_of(sqlite3_file *) { return sector_bytes; }
/// A write that a power cut tears changes nothing beside it.
int character_of(sqlite3_file *) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

constexpr sqlite3_io_methods methods = [] {
    sqlite3_io_methods m{};
    m.iVersion = 1;
    m.xClose = close_file;
    m.xRead = read_file;
    m.xWrite = write_file;
    m.xTruncate = truncate_file;
    m.xSync = sync_file;
    m.xFileSize = size_of_file;
    m.xLock = no_lock;
    m.xUnlock = no_lock;
    m.xCheckReservedLock = no_reserved_lock;
    m.xFileControl = no_control;
    m.xSectorSize = sector_of;
    m.xDeviceCharacteristics = character_of;
    return m;
}();

sqlite_files &owner_of(sqlite3_vfs *vfs) { return *static_cast<sqlite_files *>(vfs->pAppData); }

/// Temporary files, which have no name, are kept in memory (PRAGMA temp_store).
int open_file_at(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags,
                 int *out_flags) {
    f->pMethods = nullptr;
    if (name == nullptr) {
        return SQLITE_CANTOPEN;
    }
    sqlite_files &owner = owner_of(vfs);
    const auto present = owner.files().exists(name);
    if (!present) {
        return owner.failed(present.error(), SQLITE_CANTOPEN);
    }
    auto opened = owner.files().open(
        name, (flags & SQLITE_OPEN_CREATE) != 0 ? open_mode::create : open_mode::read_write);
    if (!opened) {
        return owner.failed(opened.error(), SQLITE_CANTOPEN);
    }
    open_file &o = of(f);
    std::construct_at(&o.content, std::move(*opened));
    o.owner = &owner;
    o.name_unsynced = !*present;
    o.base.pMethods = &methods;
    if (out_flags != nullptr) {
        *out_flags = flags;
    }
    return SQLITE_OK;
}

int delete_file(sqlite3_vfs *vfs, const char *name, int sync_name) {
    sqlite_files &owner = owner_of(vfs);
    auto done = owner.files().remove(name);
    if (done && sync_name != 0) {
        done = owner.files().sync_directory(parent_path(name));
    }
    return done ? SQLITE_OK : owner.failed(done.error(), SQLITE_IOERR_DELETE);
}

int access_file(sqlite3_vfs *vfs, const char *name, int, int *out) {
    sqlite_files &owner = owner_of(vfs);
    const auto present = owner.files().exists(name);
    if (!present) {
        return owner.failed(present.error(), SQLITE_IOERR_ACCESS);
    }
    *out = *present ? 1 : 0;
    return SQLITE_OK;
}

int full_path(sqlite3_vfs *, const char *name, int bytes, char *out) {
    const std::size_t length = std::strlen(name);
    if (length >= static_cast<std::size_t>(bytes)) {
        return SQLITE_CANTOPEN;
    }
    std::memcpy(out, name, length + 1);
    return SQLITE_OK;
}

/// The salt of a WAL: another one each time, and nothing that must be a secret. From the files'
/// clock, so that a simulated disk is the same for the same seed.
int randomness(sqlite3_vfs *vfs, int bytes, char *out) {
    std::mt19937_64 random(static_cast<std::uint64_t>(owner_of(vfs).files().now()));
    std::generate_n(out, bytes, [&] { return static_cast<char>(random()); });
    return bytes;
}

int no_sleep(sqlite3_vfs *, int) { return 0; }
/// Julian days; no table of ours asks.
int current_time(sqlite3_vfs *, double *out) {
    *out = 2440587.5;
    return SQLITE_OK;
}
int no_last_error(sqlite3_vfs *, int, char *) { return 0; }

} // namespace

sqlite_files::sqlite_files(file_system &files) : files_(files) {
    static std::atomic<std::uint64_t> made{0};
    name_ = "farshore-" + std::to_string(made.fetch_add(1));
    vfs_ = std::make_unique<sqlite3_vfs>();
    *vfs_ = {};
    vfs_->iVersion = 1;
    vfs_->szOsFile = sizeof(open_file);
    vfs_->mxPathname = path_bytes_max;
    vfs_->zName = name_.c_str();
    vfs_->pAppData = this;
    vfs_->xOpen = open_file_at;
    vfs_->xDelete = delete_file;
    vfs_->xAccess = access_file;
    vfs_->xFullPathname = full_path;
    vfs_->xRandomness = randomness;
    vfs_->xSleep = no_sleep;
    vfs_->xCurrentTime = current_time;
    vfs_->xGetLastError = no_last_error;
    const int registered = sqlite3_vfs_register(vfs_.get(), 0);
    REPL_ASSERT(registered == SQLITE_OK);
}

sqlite_files::~sqlite_files() { sqlite3_vfs_unregister(vfs_.get()); }

int sqlite_files::failed(const error &e, int code) {
    error_ = e;
    return code;
}

} // namespace farshore
