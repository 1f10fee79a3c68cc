#pragma once
// The stage behind the journal: what is durable is decoded and written to the images, batch by
// batch; every few seconds a commit, and now and then the retention rules. It runs on the copy that
// is open, tells what it finds (damage, answers to a verify, positions), and ends when the copy is
// not served any more.
//
// A lack of space stops it for a while and loses nothing. Any other failure is final for the copy;
// its words stay until a copy that was opened anew lets it work again.
//
// Thread: home; the copy's calls on the pools.

#include "replicator/base/async.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/receiver/group_log.hpp"
#include "replicator/receiver/pack_stage.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/session/status.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

/// What the stage needs of its group, and all that it may do to it.
class apply_host {
  public:
    /// False: run() returns when what is under way has ended.
    virtual bool serves() const = 0;
    /// Not for a lack of space. serves() is false afterwards.
    virtual void storage_failed(error e) = 0;
    /// words_for_sender() are others.
    virtual void words_changed() = 0;
    /// What had kept it from going on is over.
    virtual void works_again() = 0;
    /// The applied position moved.
    virtual void moved() = 0;
    /// After a batch or a commit: damage that nobody was told of, points that are suspect now.
    virtual void looked(const replica_position &at) = 0;
    /// Everything that is durable is applied.
    virtual void all_applied() = 0;
    /// To the sender, in this order before any later acknowledgement; nobody without a session.
    virtual task<void> tell(wire::nak n) = 0;
    virtual task<void> tell(wire::verify_result v) = 0;
    /// With what an operator could do about it.
    virtual std::string words_of(const error &e) const = 0;
    virtual wall_time retention_time() = 0;

  protected:
    ~apply_host() = default;
};

class apply_stage {
  public:
    apply_stage(apply_host &host, group_log &words, runtime run);

    /// A copy that was opened; what is durable in it is to be replayed.
    void begin(std::shared_ptr<replica_group> copy);
    /// Works on it until the host serves it no more, or its storage fails.
    task<void> run();
    /// Before the copy is closed or opened anew; run() has returned.
    void let_go() { copy_.reset(); }
    /// It looks now whether there is something to do.
    void wake() { work_.notify_all(); }
    void commit_soon();

    /// Notified when the applied position moves or a suspicion is marked, and when waiting for it
    /// is in vain.
    condition &applied() { return applied_; }
    /// Space: what is durable is not all applied.
    bool waits() const { return trouble_ == trouble::space; }
    /// Why it can't go on; empty: it does.
    const std::string &words() const { return words_of_trouble_; }
    std::string words_for_sender() const;
    std::optional<replay_status> replay() const;
    std::uint64_t bytes_applied() const { return bytes_applied_; }
    std::uint64_t wrong_bases() const { return wrong_bases_; }

  private:
    enum class trouble : std::uint8_t {
        none,
        space,  ///< it may come back; the points that are there stay
        failed, ///< until a copy opened anew works
    };

    task<result<>> once();
    task<result<>> rest();
    task<result<>> keep_house();
    task<void> tell(apply_outcome done, const replica_position &at);
    task<void> tell_verified(std::vector<verify_answer> answers, std::uint64_t damage_count);
    void failed(error e);
    void worked();

    apply_host &host_;
    group_log &log_;
    runtime run_;
    std::shared_ptr<replica_group> copy_; ///< shared with pool work under way
    trouble trouble_ = trouble::none;
    std::string words_of_trouble_;
    std::uint64_t bytes_applied_ = 0;
    std::uint64_t wrong_bases_ = 0;
    interval_id replay_until_; ///< durable when the copy was opened
    std::uint64_t replay_total_ = 0;
    time_point replay_began_{};
    time_point next_commit_{};
    time_point next_retain_{};
    condition work_;     ///< something durable to apply, or the end
    condition applied_;  ///< see applied()
    pack_stage packing_; ///< as long as run() runs
};

} // namespace farshore
