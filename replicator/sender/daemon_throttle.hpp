#pragma once
// The cap on all groups of a sender together: what the configuration and the operator say
// (throttle.hpp), kept in the state directory, put to work in one pacer that every link of the
// daemon waits for. Thread: home.

#include "replicator/base/async.hpp"
#include "replicator/sender/throttle.hpp"
#include "replicator/session/kept.hpp"
#include "replicator/storage/file_system.hpp"
#include "transport/pacer.hpp"

#include <memory>
#include <optional>
#include <string>

namespace farshore {

class daemon_throttle {
  public:
    daemon_throttle(runtime run, file_system &files, std::string path);

    /// Before start(). errc::corrupt, with what to do.
    task<result<>> load();
    /// Holds from here on; overrides end when they say, by a task of `owner` until end().
    void start(task_group &owner);
    void end();

    /// Durable when it succeeds; takes hold then. Any failure changes nothing.
    task<result<>> set(std::optional<std::uint64_t> bytes_per_second,
                       std::optional<duration> lasts);
    task<result<>> clear();
    throttle_view view() const { return view_of(*setting_, run_.time->wall()); }
    const std::shared_ptr<transport::pacer> &pace() const { return pace_; }

  private:
    result<throttle_setting> read() const;
    template <class F>
    task<result<>> change(F f);
    task<void> expire(task_group &owner);
    void apply() { pace_->set_rate(view().rate); }

    runtime run_;
    file_system &files_;
    kept<throttle_setting> setting_;
    std::shared_ptr<transport::pacer> pace_;
    condition changed_;
    bool ending_ = false;
};

} // namespace farshore
