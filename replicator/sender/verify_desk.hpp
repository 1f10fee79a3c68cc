#pragma once
// `verify` of a group, and what the DR site's scrub wants compared: one at a time. Puts ranges into
// barriers, hears what the DR site found, and has what differs shipped again. The bookkeeping of a
// run is in sender_verify.hpp. A verify waits for the range that a scrub is at; a scrub tries again
// later. Thread: home.

#include "replicator/sender/pipeline.hpp"
#include "replicator/sender/sender_verify.hpp"
#include "replicator/sender/site_link.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace farshore {

class verify_desk {
  public:
    verify_desk(std::string group, std::vector<std::string> volumes, runtime run, pipeline &stream,
                site_link &site);
    ~verify_desk();
    verify_desk(const verify_desk &) = delete;
    verify_desk &operator=(const verify_desk &) = delete;

    /// Compares everything, at barriers; the group is streaming. errc::busy: another one runs.
    /// errc::closed: end() came. Any other error: not all of it was compared; what was found
    /// different by then is shipped again all the same.
    task<result<verify_outcome>> run(progress_report progress);
    /// Compares what the DR site asked for, and answers. `not_now`: why not; empty: it may.
    task<void> answer(wire::compare_request request, std::string not_now);
    bool running() const { return run_ != nullptr; }
    bool verifying() const { return run_ != nullptr && !comparing_; } ///< for an operator
    /// A run under way ends soon.
    void end();

    void on_cut(const interval &closed);
    /// fault::peer when it names what was not asked; nothing has changed then.
    result<> on_answer(const wire::verify_result &r);
    void forget_through(interval_id barrier) { questions_.forget_through(barrier); }
    void stream_ended() { questions_.clear(); }
    void session_ended(const error &reason);

  private:
    void on_late_answer(const wire::verify_result &r);
    std::vector<std::uint64_t> sizes() const;
    task<result<>> compare(pending_range range);
    task<result<std::unique_ptr<verify_run>>> walk(progress_report progress);
    task<void> compare_more();
    task<std::vector<pending_range>> take_ranges();
    task<void> add(const std::vector<pending_range> &ranges);
    void heal(const verify_run &run);

    std::string group_;
    std::vector<std::string> volumes_;
    runtime runtime_;
    pipeline &stream_;
    site_link &site_;
    verify_questions questions_;
    std::unique_ptr<verify_run> run_;
    digest_function digest_; ///< of the session that it runs over
    condition answered_;
    bool comparing_ = false;     ///< the run is a scrub's
    std::uint64_t waiting_ = 0;  ///< verifies that wait for it
    std::uint64_t sessions_ = 0; ///< that ended: an answer goes to who asked
    bool ending_ = false;
};

} // namespace farshore
