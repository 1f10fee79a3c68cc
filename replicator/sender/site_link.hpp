#pragma once
// One DR site of a group, seen from the primary: the session with it, what it has of the stream
// (site_ledger), the catch-up that brings it in step, and what it says is wrong with its copy. It
// sends what the pipeline holds; it cuts nothing and encodes nothing.
//
// Life: wait for a pairing -> connect -> greet -> plan_session() says where to go on -> ship, with
// the scan beside it -> the session ends, by the line, by a rule that was broken, or by restart()
// -> again, after a pause that grows unless the session made something durable.
//
// Thread: home. Failures of the line end a session and nothing else.

#include "replicator/base/log_repeat.hpp"
#include "replicator/sender/borrower.hpp"
#include "replicator/sender/catch_up_hold.hpp"
#include "replicator/sender/catch_up_scan.hpp"
#include "replicator/sender/pipeline.hpp"
#include "replicator/sender/sender_session.hpp"
#include "replicator/sender/site_ledger.hpp"
#include "replicator/session/handshake.hpp"
#include "replicator/session/path_judge.hpp"
#include "replicator/session/peer_clock.hpp"
#include "replicator/session/peer_trust.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace farshore {

/// What a link asks of its group, and what it tells it. Home thread; none of it may wait but where
/// it says so.
class site_link_host {
  public:
    virtual bool paused() const = 0;
    /// Somebody waits for a barrier to be at the DR site.
    virtual bool awaited() const = 0;
    /// A verify runs, which heals what it finds at its end.
    virtual bool verifying() const = 0;

    /// What the DR site says of its role; the answer is this site's own, as it was before. May
    /// wait for a disk.
    virtual task<result<wire::site_claim>> meet(wire::site_claim theirs) = 0;
    /// Something that is waited for may have come.
    virtual void moved() = 0;
    /// The DR site has a point of the stream, the first one.
    virtual void came_in_sync() = 0;
    /// fault::peer when it answers what was not asked.
    virtual result<> on_verify(const wire::verify_result &r) = 0;
    /// The DR site wants a range compared; tell() answers.
    virtual void on_compare(const wire::compare_request &r) = 0;
    /// Answers to barriers through this one went to an earlier session, or go to none.
    virtual void verified_through(interval_id barrier) = 0;
    virtual void session_ended(const error &reason) = 0;

  protected:
    ~site_link_host() = default;
};

struct site_link_options {
    std::string group;
    std::string peer;      ///< host:port; empty: as the pairing says
    std::string peer_name; ///< under [tls]
    std::vector<std::string> volumes;
    std::uint32_t links = 4;
    wire::id16 sender{};
    std::uint64_t instance = 0;
    trust_mode trust = trust_mode::pinned;
    transport::pacers pace;
    /// Has the other groups offer their content; called before much is shipped. Ends early when it
    /// is not wanted any more. May be empty.
    std::function<task<void>(std::function<bool()> wanted)> gather_offers;
};

/// What of the catch-up an operator is shown.
struct sync_progress {
    std::uint64_t total_bytes = 0; ///< to look at; holes leave it when they are settled
    time_point began{};
};

class site_link {
  private:
    enum class stage : std::uint8_t {
        apart,    ///< no session, or where it goes on is not settled
        holding,  ///< the catch-up waits for writers, and then begins
        shipping, ///< frames are on their way, the scan runs
    };

  public:
    site_link(site_link_options options, runtime run, network &net, pipeline &stream,
              borrower &loans, site_link_host &host);
    site_link(const site_link &) = delete;
    site_link &operator=(const site_link &) = delete;

    void start(std::optional<pinned_peer> peer);
    /// The session ends, and no other begins; join() waits for it.
    void end();
    task<void> join() { return tasks_.join(); }

    /// What the DR site has, and what order that makes.
    const site_ledger &ledger() const { return ledger_; }
    stream_order order() const;
    bool in_sync() const { return ledger_.has_point(); }

    /// The other site follows, and has dialled: a session begins on its link, after the one that is
    /// live has ended.
    void take(std::unique_ptr<transport::link> control);
    /// Of the session with this id; else it is closed.
    void take_data(std::unique_ptr<transport::link> link, std::uint64_t session);
    /// Who follows knows roles, and all that was cut is applied there, of this stream.
    bool may_hand_over() const {
        return connected() && now_.knows_roles && in_sync() && now_.at == stage::shipping;
    }
    /// Somebody is there to send to, or was.
    bool known() const { return peer_.has_value() || offered_before_; }

    /// Another pairing: another session.
    void set_peer(std::optional<pinned_peer> peer);
    const std::optional<pinned_peer> &peer() const { return peer_; }
    std::string address() const;
    void set_paused(bool paused);
    /// Frames are in the spool, or somebody waits for a barrier.
    void kick();
    /// The session ends, and another begins at once.
    void restart(const char *why);

    /// Clients wrote more than memory holds: the next catch-up waits for them to slow down.
    void hold_catch_up_for_writers();
    /// The next catch-up begins at once; `full`: it ships everything.
    void catch_up_now(bool full);
    /// The stream is over; what the DR site has of it stays good.
    void stream_ended() { ledger_.end(); }

    /// Its copy is wrong, as it counts such findings: `count` of them are dirty here, or known. A
    /// catch-up repairs it.
    void on_damage(std::string what, std::uint64_t count);
    /// To the session that is live; it asked.
    void tell(wire::compare_reply reply);
    /// To the session that is live. False: nothing of it went out; else it may have.
    bool offer(wire::role_offer offer);
    /// Findings that it told in passing and that nothing else explained.
    void look_at_damage_said();
    std::uint64_t damage_known() const { return damage_known_; }
    void note_damage_known(std::uint64_t count);

    bool connected() const { return now_.at >= stage::holding; }
    /// The DR site of the session that is live knows bookmarks.
    bool takes_labels() const { return now_.takes_labels; }
    const wire::key32 &digest_key() const { return digest_key_; }
    std::uint64_t wire_bytes() const;
    const sync_progress &sync() const { return sync_; }
    const catch_up_hold &hold() const { return hold_; }
    std::optional<std::string> clock_warning() const { return words_.clock.warning(); }
    /// Why so much is compared, until the DR site is in sync again.
    const std::optional<std::string> &compared() const { return words_.compared; }
    void set_compared(std::string why) { words_.compared = std::move(why); }
    /// What is wrong with line, path or copy, in words for the operator.
    std::optional<std::string> trouble() const;

  private:
    // site_link.cpp
    task<void> session_loop();
    task<error> run_session();
    sender_session::make_connector connector() const;
    sender_session::callbacks callbacks();
    void note_failure(const error &e);
    void note_end(const error &reason);
    // site_link_begin.cpp
    wire::hello make_hello() const;
    sender_facts facts() const;
    task<result<>> begin_shipping();
    task<result<>> go_on(const sender_plan &plan, const wire::welcome &theirs);
    void settle(const wire::welcome &theirs);
    task<void> hold_catch_up();
    task<result<>> begin_new_stream(const sender_plan &plan, const wire::welcome &theirs);
    task<result<>> settle_dirty(const sender_plan &plan, const wire::welcome &theirs);
    task<void> run_scan();
    task<void> gather_offers();
    void note_same(const pending_range &piece);
    std::uint64_t dirty_bytes() const;
    // site_link_said.cpp
    void on_ack(const wire::ack &a);
    void on_newly_durable(const newly_durable &told, const wire::ack &a);
    task<void> on_nak(wire::nak n);

    site_link_options options_;
    runtime run_;
    network &net_;
    pipeline &stream_;
    borrower &loans_;
    site_link_host &host_;
    task_group tasks_;
    bool ending_ = false;
    condition wanted_; ///< a session may begin
    condition held_;   ///< a catch-up that is held may have to go on

    // Over all sessions.
    std::optional<pinned_peer> peer_;
    site_ledger ledger_;
    wire::id16 receiver_{}; ///< the copy that the ledger speaks of
    interval_id sent_;      ///< no barrier of the stream above it was sent
    std::uint64_t damage_known_ = 0;
    bool scan_full_ = false; ///< the next scan ships everything
    catch_up_hold hold_;     ///< since writers outran memory
    sync_progress sync_;
    std::uint64_t wire_bytes_before_ = 0; ///< of ended sessions
    bool reconnect_now_ = false;
    std::unique_ptr<transport::link> offered_; ///< by who follows
    bool offered_before_ = false;

    std::unique_ptr<sender_session> session_;
    std::unique_ptr<catch_up_scan> scan_;
    wire::key32 digest_key_{}; ///< secret to the pair; of the newest session
    /// Of one session.
    struct in_session {
        stage at = stage::apart;
        /// Where it goes on is settled: from here on acks count. Until then the newest one waits.
        bool settled = false;
        std::optional<wire::ack> early_ack;
        std::uint64_t damage_said = 0; ///< by its acks
        bool worked = false;           ///< it made something durable
        bool takes_labels = false;     ///< by its welcome
        bool knows_roles = false;      ///< likewise
    };
    in_session now_;

    /// For the operator.
    struct words {
        path_judge path;
        peer_clock clock;
        std::optional<std::string> notice;   ///< the DR site's words, in this session
        std::optional<std::string> error;    ///< of the newest session, until one works
        std::optional<std::string> damage;   ///< until the DR site has a point again
        std::optional<std::string> compared; ///< until it is in sync again
        log::repeats failures;               ///< until something is acknowledged
        log::repeats begins;                 ///< what each session begins with
    };
    words words_;
};

} // namespace farshore
