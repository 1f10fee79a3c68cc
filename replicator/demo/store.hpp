#pragma once
// Where the demo's writers put their bytes: straight into the volumes by NBD, or into files of a
// real ext4 on each of them. Both keep the same promise to the check: record n is on volume B only
// after it is on volume A.

#include "replicator/base/error.hpp"
#include "replicator/demo/records.hpp"

#include <array>
#include <memory>
#include <string>

namespace farshore::demo {

constexpr std::array volume_letters{'A', 'B'};
constexpr std::array<const char *, 2> volume_names{"alpha", "beta"};
constexpr std::uint64_t volume_bytes = 128ULL << 20;
constexpr std::uint64_t ballast_bytes = 80ULL << 20; ///< of each volume, rewritten at random

/// One writer's hold on the storage. A thread of its own each; calls block.
class store {
  public:
    virtual ~store() = default;
    /// On return the record is where a crash of the writer can't lose it.
    virtual result<> put_record(std::size_t volume, std::uint64_t number, bytes_view record) = 0;
    /// Other data, in [0, ballast_bytes).
    virtual result<> put_ballast(std::size_t volume, std::uint64_t offset, bytes_view data) = 0;
};

/// Makes stores for the writers, and finds the records again on an opened point.
class storage {
  public:
    virtual ~storage() = default;
    virtual std::string description() const = 0;
    virtual result<std::unique_ptr<store>> connect() = 0;
    /// Whether writers survive a kill of the sender under them (they connect again).
    virtual bool survives_sender() const = 0;
    /// The records of one volume that is served at `uri`. `scratch` is a directory to work in.
    virtual result<ring_content> read_records(std::size_t volume, const std::string &uri,
                                              const std::string &scratch) = 0;
    /// Ends the use of the volumes, everything flushed.
    virtual result<> release() = 0;
};

/// `uris`: NBD URIs of the live volumes A and B.
std::unique_ptr<storage> nbd_storage(std::array<std::string, 2> uris);

/// Whether ext4 on the volumes is possible here (root, nbdfuse, mkfs.ext4, loop and fuse devices);
/// otherwise the reason. Moves the process into a mount namespace of its own, so that no mount can
/// be left behind: call it before any thread starts.
result<> prepare_for_ext4();
/// Makes and mounts the file systems below `directory`.
result<std::unique_ptr<storage>> ext4_storage(std::array<std::string, 2> uris,
                                              const std::string &directory);

} // namespace farshore::demo
