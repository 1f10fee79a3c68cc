#pragma once
// One point that is open: its devices, the server of them, what is mounted, and the overlay of a
// writable one. It outlives the objects that it is served by: suspend() takes them away, serve()
// makes them again, with what was flushed to the overlay and at the same place.
//
// Thread: home, one call at a time (opened_points.hpp sees to it). The copy's calls run on the disk
// pool, the clients' requests on threads of their own, mounting on further ones: it waits for
// clients' requests.

#include "replicator/base/async.hpp"
#include "replicator/catalogue/catalogue.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/receiver/point_mount.hpp"
#include "replicator/replica/overlay_space.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/session/status.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

/// What openings of a group are served by.
struct opening_means {
    std::string group;
    std::string directory; ///< below it each has one of its own, by its id
    file_system *files = nullptr;
    std::vector<executor> nbd_loops;
    executor clients;                           ///< their requests
    executor mounting;                          ///< not the same threads, if anything is mounted
    std::function<nbd::client_bounds()> bounds; ///< of one server's clients
};

class opening {
  public:
    opening(catalogued_opening record, nbd::endpoint where) // `where`: of record.nbd
        : record_(std::move(record)), where_(std::move(where)) {}

    const catalogued_opening &record() const { return record_; }
    bool served() const { return !devices_.empty(); }
    std::string directory(const opening_means &means) const {
        return join_path(means.directory, record_.id);
    }

    /// Makes the overlay's files. Once in the opening's life, before the first serve().
    task<result<>> create_overlay(const runtime &run, const opening_means &means,
                                  std::vector<replica_volume> volumes);
    /// `first`: errors of mounting count; later they are only told by view(), for clients of the
    /// server must not wait for the mount. After an error it is as suspended.
    task<result<>> serve(const runtime &run, const opening_means &means,
                         std::shared_ptr<replica_group> copy, bool first);
    /// Unmounts, ends the server, lets the copy go. What was written is flushed, so that it is
    /// there when the opening is served again; `dropped`: it is not wanted any more.
    task<void> suspend(const runtime &run, const opening_means &means, bool dropped);
    /// view() shows them before it was served.
    void name_volumes(const std::vector<replica_volume> &volumes);

    opened_point view(const std::string &group) const;
    const std::vector<std::shared_ptr<block_device>> &devices() const { return devices_; }

    bool suspect_said = false; ///< who opened it knows that the point is, or was told
    bool busy = false;         ///< somebody serves, suspends or closes it
    bool gone = false;         ///< closed
    bool kept = true;          ///< in the catalogue: it outlives the process
    bool attached = false;     ///< ends with who asked for it: never in the catalogue
    /// Opened on a full disk: it should be in the catalogue, and is not.
    bool unrecorded() const { return !kept && !attached; }
    static constexpr const char *unrecorded_words =
        "a restart of the receiver closes it as long as the disk of `state` is full";
    time_point since{};
    std::optional<std::string> trouble; ///< why it is not served, or not mounted
    time_point next_try{};

  private:
    task<result<>> open_devices(const runtime &run, const opening_means &means,
                                std::shared_ptr<replica_group> copy);
    result<std::unique_ptr<nbd::server>> start_server(const opening_means &means,
                                                      nbd::endpoint &where) const;
    task<result<>> mount(const runtime &run, const opening_means &means);

    catalogued_opening record_;
    nbd::endpoint where_;
    std::vector<std::string> volumes_; ///< known once it was served
    std::vector<std::shared_ptr<block_device>> devices_;
    std::shared_ptr<overlay_space> space_;
    std::unique_ptr<nbd::server> server_;       ///< at where_
    std::unique_ptr<nbd::server> mount_server_; ///< at a socket of ours, for nbdfuse
    std::unique_ptr<point_mount> mount_;
};

/// Takes down what an earlier process mounted for an opening, and removes its overlay. It is
/// suspended or none at all, and not in the catalogue.
task<result<>> remove_opening_files(const runtime &run, const opening_means &means, std::string id);

/// As nbd::parse_endpoint reads it.
std::string endpoint_text(const nbd::endpoint &where);

} // namespace farshore
