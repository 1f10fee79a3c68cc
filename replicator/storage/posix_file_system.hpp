#pragma once
// The file_system of the machine: Linux system calls, nothing cached or buffered in between.
//
// Threads: stateless; every member may be called from several threads at once. Two calls that
// replace or create the same path race as the system calls do: callers serialise by path.
//
// Opens regular files and block devices only, never follows into a FIFO or socket (errc::invalid;
// EISDIR for a directory). Descriptors are close-on-exec.

#include "replicator/storage/file_system.hpp"

namespace farshore {

class posix_file_system final : public file_system {
  public:
    result<std::unique_ptr<file>> open(const std::string &path, open_mode mode) override;
    result<bool> exists(const std::string &path) override;
    result<> make_directories(const std::string &path) override;
    result<std::vector<std::string>> list(const std::string &directory) override;
    result<> rename(const std::string &from, const std::string &to) override;
    /// Removes files and empty directories.
    result<> remove(const std::string &path) override;
    result<> sync_directory(const std::string &directory) override;
    result<std::uint64_t> free_bytes(const std::string &path) override;
    std::int64_t now() override;
};

} // namespace farshore
