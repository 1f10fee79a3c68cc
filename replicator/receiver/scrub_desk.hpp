#pragma once
// The scrub of a group at the DR site: journal, history and images are read once a period, or when
// an operator asks, piece by piece and in that order; images are compared with the primary besides.
// What is found damaged is marked at once (replica_group::note_damage), and what of the images
// differs is shipped again by the primary.
//
// It gives way: no piece is read while apply is behind, and no faster than scrub_pace.hpp says. How
// far it came is written down now and then, so that a daemon restarted each day comes through, too.
//
// Thread: home; reading on the disk pool.

#include "replicator/base/async.hpp"
#include "replicator/receiver/group_log.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/session/status.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

/// What a scrub needs of its group.
class scrub_host {
  public:
    /// The copy, while it is served and may be read; else null.
    virtual std::shared_ptr<replica_group> scrub_copy() const = 0;
    /// Durable intervals wait for apply.
    virtual bool apply_behind() const = 0;
    virtual bool sender_connected() const = 0;
    /// As receiver_session::compare(); errc::not_in_sync without a session.
    virtual task<result<>> compare(volume_index volume, byte_range range) = 0;

  protected:
    ~scrub_host() = default;
};

class scrub_desk {
  public:
    /// `every`: nothing: only when asked.
    scrub_desk(scrub_host &host, group_log &words, runtime run, std::optional<duration> every);
    ~scrub_desk();

    /// Works until end().
    task<void> run();
    void end();
    /// Lets the copy go; returns when nothing of it is used. Until go_on() nothing is read.
    task<void> suspend();
    void go_on();

    /// Begins a pass from the beginning, at the operator's rate. errc::busy: one that was asked for
    /// is under way.
    result<> ask();
    /// Until the pass that was asked for last is over. errc::closed: the receiver stops, or the
    /// copy failed.
    task<result<scrub_outcome>> wait_asked(progress_report progress);
    scrub_status status() const;

  private:
    struct pass;

    bool usable() const;
    task<void> one_pass(std::shared_ptr<replica_group> copy);
    task<result<>> read_part(pass &p, scrub_part part);
    task<result<bool>> read_piece(pass &p, scrub_source &source, scrub_part part);
    task<result<>> compare(pass &p, volume_index volume, byte_range range);
    task<result<>> compare_images(pass &p, std::uint64_t from, std::uint64_t upto);
    task<bool> give_way(const pass &p);
    task<result<>> save(pass &p);
    void finish(pass &p, const result<> &done);

    scrub_host &host_;
    group_log &log_;
    runtime run_;
    std::optional<duration> every_;
    bool ending_ = false;
    bool suspended_ = false;
    bool asked_ = false;               ///< a pass is to begin, or that under way was asked for
    bool begin_anew_ = false;          ///< asked for while another one is under way
    std::unique_ptr<pass> pass_;       ///< under way
    std::optional<scrub_record> last_; ///< as the copy's catalogue has it; nothing: not read yet
    std::uint64_t total_bytes_ = 0;    ///< of the last pass
    std::optional<result<scrub_outcome>> outcome_; ///< of the last pass that was asked for
    std::string waits_;
    condition changed_;
};

} // namespace farshore
