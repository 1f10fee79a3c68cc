#pragma once
// All access to files and disks goes through these interfaces, so that tests and the simulation can
// lose what was not synced, tear writes, run out of space and fail any call. The real one is
// posix_file_system.hpp, the simulated one tests/support/sim_file_system.hpp.
//
// Threads: a file_system and its files may be used from several threads at once. Every call may
// block. Failures carry the path and errno.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"
#include "replicator/base/file_identity.hpp"
#include "replicator/base/types.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace farshore {

/// Memory shared with a file (mmap MAP_SHARED). What is stored survives a kill of the process at
/// once, a power cut only after sync(). Unmapped at destruction.
class shared_map {
  public:
    virtual ~shared_map() = default;
    virtual bytes_span bytes() = 0;
    /// Durable on return (msync MS_SYNC of the whole map).
    virtual result<> sync() = 0;
};

class file {
  public:
    virtual ~file() = default;

    virtual const std::string &path() const = 0;
    virtual result<std::uint64_t> size() = 0;
    virtual bool block_special() const = 0; ///< a block device: fixed size, not to be truncated
    virtual result<file_identity> identity() = 0;
    /// Whether path() still leads to this file: false when it was deleted, renamed or replaced.
    virtual result<bool> named() = 0;

    /// Reads exactly out.size() bytes (short reads and EINTR are retried); bytes beyond the end of
    /// the file fail with errc::corrupt.
    virtual result<> read_at(std::uint64_t offset, bytes_span out) = 0;
    /// As read_at, only if every byte is in the page cache (preadv2 RWF_NOWAIT); false when not or
    /// when the file can't tell.
    virtual result<bool> read_at_cached(std::uint64_t offset, bytes_span out) = 0;
    /// Writes all bytes. Not durable before sync_data().
    virtual result<> write_at(std::uint64_t offset, bytes_view data) = 0;
    /// False: a write or zeroing there has to do other work first, which waits for a disk.
    virtual bool writes_at_once(byte_range) { return true; }
    /// fdatasync. A failure is final for this file object: every later sync_data() and write_at()
    /// fails with errc::dead, since the kernel may have dropped the dirty pages.
    virtual result<> sync_data() = 0;
    /// fsync: as sync_data, and a power cut leaves also what identity() tells now, the times
    /// included.
    virtual result<> sync_all() = 0;
    /// The file's times become now, as a write makes them. Durable with the next sync_all(). A
    /// block device has none.
    virtual result<> renew_times() = 0;
    virtual result<> truncate(std::uint64_t size) = 0;
    /// Reserves space so that later writes inside [0, size) don't fail for lack of it.
    virtual result<> allocate(std::uint64_t size) = 0;
    /// The range reads as zero afterwards, its space given back where the file system can
    /// (FALLOC_FL_PUNCH_HOLE, or zero-range when `keep_allocated`); fails with ENOTSUP when only
    /// writing zeroes would do it and `only_if_fast`; otherwise writes zeroes.
    virtual result<> zero(byte_range range, bool keep_allocated, bool only_if_fast) = 0;
    /// Next data at or after `offset` (SEEK_DATA) and the hole after it: {data start, data end};
    /// length 0 at the file's end when there is none. A file that can't tell is all data.
    virtual result<byte_range> next_data(std::uint64_t offset) = 0;
    /// True: all of the range, which is not empty, is a hole inside the file and reads as zero.
    /// False: there is data, the file can't tell, or it would take long to find out.
    virtual result<bool> is_hole(byte_range range) = 0;
    /// Takes the file for this object alone for its life: locks that other programs of ours and
    /// QEMU respect; errc::busy when another process or object has it, a loop device stands on it,
    /// or it is mounted.
    virtual result<> lock() = 0;
    /// Who may write to the file past all locks (a loop device), in words with what to do. Empty:
    /// nobody is seen.
    virtual std::string intruder() = 0;
    /// The content is a disk's, used in small pieces anywhere: nothing is read ahead, and the page
    /// cache keeps small pages (docs/decisions/0006). Call it after lock(). Only advice.
    virtual void expect_scattered_use() {}
    /// Syncs, then gives the file's page cache back as far as nobody else uses it.
    virtual result<> drop_cached() { return sync_data(); }
    /// Maps [0, size); the file must be at least that long and allocated.
    virtual result<std::unique_ptr<shared_map>> map(std::uint64_t size) = 0;
};

enum class open_mode : std::uint8_t {
    read,       ///< must exist, read-only
    read_write, ///< must exist
    create,     ///< read_write, made empty if absent (mode 0600)
    create_new, ///< read_write, fails with EEXIST if present (mode 0600)
    // Of a name that we gave ourselves: ELOOP where it is a symbolic link (in the directory itself;
    // parents are followed).
    read_write_no_link,
    create_no_link,
};

class file_system {
  public:
    virtual ~file_system() = default;
    virtual result<std::unique_ptr<file>> open(const std::string &path, open_mode mode) = 0;
    virtual result<bool> exists(const std::string &path) = 0;
    virtual result<>
    make_directories(const std::string &path) = 0; ///< mode 0700, parents too; durable
    virtual result<std::vector<std::string>>
    list(const std::string &directory) = 0; ///< names, sorted
    virtual result<> rename(const std::string &from, const std::string &to) = 0;
    virtual result<> remove(const std::string &path) = 0; ///< ok when it is not there
    /// Makes creations, renames and removals in the directory durable.
    virtual result<> sync_directory(const std::string &directory) = 0;
    virtual result<std::uint64_t> free_bytes(const std::string &path) = 0;
    /// What a change made now is stamped with, about: ns since 1970 of the clock behind
    /// file_identity's times.
    virtual std::int64_t now() = 0;

    /// Whole small files, at most 4 MiB. replace_file is atomic and durable: temporary, sync,
    /// rename, directory sync.
    result<byte_vector> read_file(const std::string &path);
    result<> replace_file(const std::string &path, bytes_view content);
};

/// Joins with one slash.
std::string join_path(const std::string &directory, const std::string &name);
/// Everything before the last slash; "." when there is none.
std::string parent_path(const std::string &path);

} // namespace farshore
