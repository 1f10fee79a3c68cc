#pragma once
// One group at the primary: capture, the stages behind it (close -> encode -> spool), the session
// that ships it, the scan that catches up, and the commands on it.
//
// The order of writes is either unbroken (a stream: capture records, every interval since the DR
// site's position is held) or lost (tracking). lose_order() is the only way from the first to the
// second, begin_stream() the only way back; both are on the home thread.
//
// Thread: home. Capture works on clients' threads beside it and only calls `attention`.

#include "dedupe/codec.hpp"
#include "replicator/base/async.hpp"
#include "replicator/base/log_repeat.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/sender/catch_up_hold.hpp"
#include "replicator/sender/catch_up_scan.hpp"
#include "replicator/sender/group_settings.hpp"
#include "replicator/sender/known_places.hpp"
#include "replicator/sender/level_policy.hpp"
#include "replicator/sender/loans.hpp"
#include "replicator/sender/sender.hpp"
#include "replicator/sender/sender_session.hpp"
#include "replicator/sender/stream_ledger.hpp"
#include "replicator/session/config.hpp"
#include "replicator/session/group_memory.hpp"
#include "replicator/session/handshake.hpp"
#include "replicator/session/kept.hpp"
#include "replicator/session/network.hpp"
#include "replicator/session/path_judge.hpp"
#include "replicator/session/peer_clock.hpp"
#include "replicator/session/peer_trust.hpp"
#include "replicator/session/trust.hpp"

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>

namespace farshore {

struct sender_group_options {
    sender_group_config config;
    std::string state_directory; ///< STATE/groups/NAME
    sender_memory memory{};
    std::uint32_t links = 4;
    wire::id16 sender{};
    std::uint64_t instance = 0;
    std::string boot_id;
    wall_time boot_began{}; ///< 0: not known
    trust_mode trust = trust_mode::pinned;
    std::vector<executor> volume_disks; ///< threads for the clients of each volume
    std::optional<nbd::client_bounds>
        clients;                        ///< with the daemon's other groups; none: a test's own
    std::shared_ptr<pair_index> shared; ///< of all groups; null when this is the only one
    /// Has the other groups offer their content; called before much is shipped. Ends early when it
    /// is not wanted any more.
    std::function<task<void>(std::function<bool()> wanted)> gather_offers;
};

class verify_run;
class verify_questions;

class sender_group {
  public:
    sender_group(sender_group_options options, runtime run, file_system &files, network &net,
                 std::shared_ptr<transport::pacer> daemon_pace, std::vector<executor> nbd_loops);
    ~sender_group();

    task<result<>> start(std::optional<pinned_peer> peer);
    /// Commands under way end soon; the group itself goes on until stop(), which joins them.
    void end_commands();
    task<void> stop(time_point drain_until);

    const std::string &name() const { return options_.config.name; }
    sender_group_status status() const;
    peer_status peer() const;
    std::shared_ptr<block_device> device(volume_index v) { return capture_->device(v); }

    /// Puts the volumes' blocks into the shared index, once in a life, until the time or as many as
    /// it holds.
    void offer_soon(time_point until);
    /// It is at that, and its disk answers.
    bool offers() const;

    void set_peer(std::optional<pinned_peer> peer); ///< join, unpair: drops the session
    /// Who is trusted has changed: connects again.
    void prove_anew() { restart_session("the files of [tls] changed"); }
    task<result<wait_outcome>> wait(bool durable_only, duration timeout);
    task<result<>> set_paused(bool paused);
    task<result<>> resync(bool full);
    task<result<verify_outcome>> verify(progress_report progress);
    task<result<>> throttle_set(std::optional<std::uint64_t> rate, std::optional<duration> lasts);
    task<result<>> throttle_clear();

  private:
    // stages
    task<void> close_loop();
    task<void> encode_loop();
    encoder_load load_of(const interval &taken) const;
    task<std::vector<dedupe::loan>> borrow(std::shared_ptr<interval> taken, executor pool);
    task<std::vector<dedupe::loan>> ask_for_loans(std::vector<loan_candidate> candidates,
                                                  interval_id interval);
    task<void> upkeep_loop();
    task<void> reread();
    std::uint64_t unreadable_bytes() const;
    struct cut_outcome {
        barrier_info barrier;
        bool consistent = false;
    };
    std::optional<cut_outcome> cut(bool even_if_empty, bool requested);
    void lose_order(const std::string &why);
    std::uint64_t closed_bytes() const;
    /// What of closed_bytes_max may wait when another interval closes; the rest is for the
    /// encoder's output.
    std::uint64_t closed_room() const { return options_.memory.closed_bytes_max / 2; }
    /// `little`: for a piece of the scan that has waited long; then only memory counts.
    bool pipeline_has_room(bool little) const;
    // session
    task<void> session_loop();
    task<error> run_session();
    task<result<wire::key32>> begin_shipping(sender_session::make_connector connect);
    task<void> hold_catch_up();
    task<result<>> begin_new_stream(const sender_plan &plan, const wire::welcome &theirs);
    task<result<>> settle_dirty(const sender_plan &plan, const wire::welcome &theirs);
    task<void> run_scan(wire::key32 key);
    task<void> gather_offers();
    task<void> offer_content(time_point until);
    sender_facts facts() const;
    wire::hello make_hello() const;
    std::shared_ptr<dedupe::encoder> make_encoder() const;
    void note_same(const pending_range &piece);
    void learn(dedupe::encoder &encoder);
    std::uint64_t offer_piece(volume_index v, byte_range piece);
    void on_ack(const wire::ack &a);
    void look_at_damage_said();
    void on_late_answer(const wire::verify_result &r);
    task<void> on_nak(wire::nak n);
    void on_damage(std::string what, std::uint64_t count);
    result<> on_verify(const wire::verify_result &r);
    void heal(const verify_run &run);
    void restart_session(const char *why);
    task<std::vector<pending_range>> take_to_verify();
    // small things
    std::uint64_t dirty_bytes() const;
    stream_order order() const {
        return ledger_.order(capture_->mode() == capture_mode::recording);
    }
    bool consistent() const { return ledger_.has_point(); }
    task<void> close_nbd();
    result<> serve_nbd();
    void tidy_soon();
    task<void> tidy_spool();
    void apply_throttle();
    void reset_stream();
    void note_failure(const error &e);
    std::optional<time_point> oldest_unsafe_write() const;
    std::uint64_t bytes_at_risk() const;

    sender_group_options options_;
    runtime run_;
    file_system &files_;
    network &net_;
    std::shared_ptr<transport::pacer> daemon_pace_;
    std::shared_ptr<transport::pacer> pace_;
    std::vector<executor> nbd_loops_;

    std::unique_ptr<capture_group> capture_;
    std::unique_ptr<spool> spool_;
    known_places known_;                       ///< for the encoder's index
    std::shared_ptr<dedupe::encoder> encoder_; ///< shared with the encoding under way
    level_policy level_;
    busy_share encoder_busy_;
    stream_id encoded_stream_;        ///< of the interval encoded last
    std::size_t number_ = 0;          ///< in the shared index
    std::optional<loan_round> loans_; ///< while replies are awaited
    loan_patience loan_patience_;
    bool offered_ = false;
    std::optional<time_point> offer_read_; ///< since when the read for an offer is under way
    bool loan_sending_ = false;            ///< the session must stay
    std::uint64_t next_loan_id_ = 1;
    condition loans_answered_;
    std::vector<std::unique_ptr<nbd::server>> servers_;
    task_group tasks_;
    bool ending_ = false; ///< commands end; then the group stops
    bool stopping_ = false;
    bool tidying_ = false;

    stream_ledger ledger_;
    interval_id sent_; ///< no barrier of the ledger's stream above it was sent
    std::deque<std::unique_ptr<interval>> closed_;
    std::uint64_t encoding_bytes_ = 0;         ///< memory of the interval being encoded
    std::optional<time_point> encoding_since_; ///< its first write
    std::uint64_t heals_ = 0;
    wire::key32 digest_key_{}; ///< of the session; secret to the pair
    bool scan_full_ = false;   ///< the next scan ships everything
    catch_up_hold hold_;       ///< since writers outran memory
    std::size_t waits_ = 0;    ///< `wait` commands under way
    std::size_t commands_ = 0; ///< all that wait for something

    // Told by the DR site, over all streams.
    wire::id16 receiver_{};
    std::uint64_t damage_known_ = 0;
    std::uint64_t sync_total_ =
        0; ///< what the catch-up had to look at; holes leave it when they are settled
    time_point sync_began_{};

    // The session.
    std::optional<pinned_peer> peer_;
    std::unique_ptr<sender_session> session_;
    std::unique_ptr<catch_up_scan> scan_;
    bool session_up_ = false; ///< greeted and shipping
    bool settled_ = false;    ///< its stream was begun, or goes on: from here on acks count
    std::optional<wire::ack> early_ack_; ///< the newest one before that
    std::uint64_t damage_said_ = 0;      ///< by acks of this session
    bool reconnect_now_ = false;
    bool session_worked_ = false; ///< the last session made something durable
    path_judge path_;
    std::unique_ptr<verify_run> verify_; ///< while a verify command runs
    std::unique_ptr<verify_questions> verify_questions_;

    kept<group_settings> settings_;

    condition work_; ///< a stage has something to do
    condition session_wanted_;
    condition progress_; ///< an ack came, a barrier was cut, order was lost
    std::shared_ptr<std::atomic<bool>> attention_posted_ =
        std::make_shared<std::atomic<bool>>(false);
    std::shared_ptr<bool> alive_ =
        std::make_shared<bool>(true); ///< handlers posted from clients' threads check it
    wall_time started_{};
    bool close_early_ = false;
    time_point next_close_{};
    time_point next_upkeep_{};
    time_point next_reread_{}; ///< of what the volumes' disks could not read
    duration reread_after_{};

    // Counters since start.
    std::uint64_t folded_bytes_ = 0;
    std::uint64_t encoded_bytes_ = 0;
    std::uint64_t encoder_faults_ = 0;
    std::uint64_t wire_bytes_before_ = 0; ///< of ended sessions
    std::optional<std::string> error_;    ///< last error, until things work again
    log::repeats failures_;    ///< of the session, until the DR site acknowledges something
    log::repeats connections_; ///< what each one begins with
    log::repeats upkeep_failures_;
    std::optional<std::string> notice_;     ///< the DR site's words
    peer_clock clock_;                      ///< the DR site's
    std::optional<std::string> order_lost_; ///< why, until it is kept again
    std::optional<std::string>
        damage_; ///< what the DR site found wrong, until it has a point again
    std::optional<std::string> disturbed_; ///< a volume's file is not ours alone; for good
    std::optional<std::string>
        compared_; ///< why so much is compared, until the DR site is in sync again
};

} // namespace farshore
