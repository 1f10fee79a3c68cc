#pragma once
// One group at the DR site: its storage (replica_group), the session that feeds it, the applier
// behind it, the points that are open.
//
// Path of a frame: data link -> frame_assembly (order) -> journal append -> at a barrier one sync
// -> ack "durable" -> applier (batches, on the disk pool) -> ack "applied". The journal never waits
// for the applier.
//
// Whose fault a failure is decides (reaction.hpp): a rule that the sender broke is found before
// journal and replica are touched and ends the session, nothing else. A storage failure ends the
// session with words for the sender's operator, and the storage is opened anew after a pause (roll
// back, replay), so that space that comes back is enough to go on.
//
// Thread: home; storage calls on the disk pool.

#include "replicator/base/async.hpp"
#include "replicator/base/log.hpp"
#include "replicator/base/log_repeat.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/replica/retention_clock.hpp"
#include "replicator/session/config.hpp"
#include "replicator/session/frame_assembly.hpp"
#include "replicator/session/group_memory.hpp"
#include "replicator/session/handshake.hpp"
#include "replicator/session/peer_clock.hpp"
#include "replicator/session/status.hpp"
#include "replicator/storage/file_system.hpp"
#include "transport/link.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>

namespace farshore {

struct receiver_group_options {
    receiver_group_config config;
    std::string state_directory; ///< STATE/groups/NAME
    receiver_memory memory{};
    std::shared_ptr<memory_account>
        account; ///< of what clients of opened points hold; null: a test's own
    std::shared_ptr<nbd::client_places> places; ///< of the daemon, with the account
    std::function<executor()>
        make_point_disk; ///< threads for the clients of opened points; may be empty
    /// The copy of another group that is paired with the same sender; null: none.
    std::function<std::shared_ptr<replica_group>(const std::string &)> lender;
};

class receiver_session;

/// Counts a command for as long as it uses its group.
class command_under_way {
  public:
    explicit command_under_way(std::size_t &count) : count_(count) { ++count_; }
    ~command_under_way() { --count_; }
    command_under_way(const command_under_way &) = delete;
    command_under_way &operator=(const command_under_way &) = delete;

  private:
    std::size_t &count_;
};

class receiver_group {
  public:
    receiver_group(receiver_group_options options, runtime run, file_system &files,
                   std::vector<executor> nbd_loops);
    ~receiver_group();

    /// Opens the copy if there is one. When that fails (an image of a wrong size, a missing disk)
    /// the group is `failed` with the reason and tried again, and the daemon's others are served.
    task<void> start();
    /// Commands under way end soon; the group itself goes on until stop(), which joins them.
    void end_commands();
    task<void> stop();

    const std::string &name() const { return options_.config.name; }
    std::shared_ptr<replica_group> copy() const { return copy_; }
    receiver_group_status status() const;
    bool connected() const;
    std::string session_address() const;
    std::string session_fingerprint() const; ///< of the control link; empty without a session
    bool may_lend() const { return options_.config.loans; }
    const std::string &peer_name() const { return options_.config.peer_name; }

    /// What attach() would say to it now.
    hello_verdict judge(const wire::hello &hello, bool pinned) const;
    /// A link whose hello names this group, control or data; takes over. `pinned`: its fingerprint
    /// is the group's.
    task<void> attach(std::unique_ptr<transport::link> link, wire::hello hello, bool pinned);
    void drop_session(const char *why);

    task<result<std::vector<point_info>>> points();
    /// Returns when `point` can be resolved: `latest` is the newest durable barrier, so apply has
    /// to reach what is durable now (bytes of the journal as progress). errc::not_in_sync when it
    /// can't. Cancel it freely.
    task<result<>> reach(std::string point, progress_report progress);
    /// Why no point is made of what arrives.
    std::optional<std::string> held_back() const;
    /// Of what the images show now. `suspect`: also of a point that is.
    task<result<opened_point>> open_point(std::string point, std::string nbd, bool suspect);
    result<open_replica_point> open_devices(const std::string &point);
    std::vector<opened_point> opened() const;
    task<bool> close_point(std::string id);

  private:
    friend class receiver_session;
    struct opened_entry {
        opened_point view;
        nbd::endpoint where;
        interval_id point;
        bool suspect = false;                ///< asked for such a one
        bool suspect_said = false;           ///< who opened it knows that it is, or was told
        std::unique_ptr<nbd::server> server; ///< null while the copy is being opened anew
        time_point since{};
    };

    task<result<>> open_copy();
    task<result<>> open_if_present();
    void open_failed(const error &e);
    task<result<>> create_copy(std::vector<wire::volume_entry> volumes);
    replica_options storage_options() const;
    std::string path_of(const std::string &volume) const;
    receiver_facts facts(bool pinned) const;
    wire::welcome make_welcome();
    result<> check_served() const;
    result<replica_point> resolve_point(const std::string &text) const;

    /// Serves the point's devices where the entry says, by the copy that is open now.
    task<result<>> serve(opened_entry &entry);
    /// The copy is opened anew: clients are disconnected, find the point again at the same place,
    /// and the opening keeps its id. One whose point is gone is closed, and said.
    task<void> suspend_openings();
    task<void> resume_openings(bool all);
    task<void> reopen_copy();
    task<void> apply_loop();
    task<result<>> apply_once();
    /// What a failure leads to, by whose fault it is (reaction.hpp). Doesn't wait for the line to
    /// take the words.
    void react(error e);
    task<result<>> retain();
    wall_time retention_time();
    wall_time stamp(); ///< the arrival of what is journaled now
    void note_newest();
    duration age_of(const replica_point &p) const;
    /// Ends the session with the error as words for the sender's operator.
    void storage_failed(error e);
    void note_peer_fault(const error &rule);
    task<void> send_ack();
    /// One line for the log, unless it says what was just said (base/log_repeat.hpp).
    void tell(log::level level, const std::string &text) { tell(level, text, text); }
    /// `kind`: the text without what varies.
    void tell(log::level level, const std::string &text, const std::string &kind);
    std::uint64_t newest_point() const;

    // receiver_group_replay.cpp
    void begin_replay(const replica_position &at);
    std::optional<replay_status> replay() const;
    result<bool> wants_all_durable(const std::string &point) const;
    void apply_failed(error e);
    void apply_worked();
    std::string with_open_points(const error &e) const;
    std::string words_for_sender() const;
    void tell_sender();
    void tell_damage(const replica_position &at);
    void tell_suspect(const replica_position &at);
    task<void> tell_verified(std::vector<verify_answer> answers);
    result<> load_digest_key();

    receiver_group_options options_;
    runtime run_;
    file_system &files_;
    std::vector<executor> nbd_loops_;
    std::optional<executor> point_disk_; ///< made with the first point that is opened
    task_group tasks_;
    bool ending_ = false;      ///< commands end; then the group stops
    std::size_t commands_ = 0; ///< under way
    bool stopping_ = false;

    std::shared_ptr<replica_group> copy_; ///< shared with pool work under way
    std::optional<error> failure_;        ///< storage failed; opened anew at reopen_at_
    time_point reopen_at_{};
    wire::key32 digest_key_{};
    std::shared_ptr<receiver_session> session_;
    std::uint64_t bytes_applied_ = 0;
    std::uint64_t wire_bytes_before_ = 0;
    bool greeting_ = false;                  ///< a control link is being taken over
    std::optional<std::string> revoked_;     ///< why it must not be, since drop_session()
    std::string peer_fault_;                 ///< logged last
    std::optional<std::string> last_error_;  ///< until a session works again, or apply does
    bool apply_waits_ = false;               ///< for space: what is durable is not all applied
    std::optional<std::string> apply_error_; ///< until apply works again
    std::uint64_t damage_told_ =
        0; ///< by nak or verify answer; the rest is told with the next welcome
    std::uint64_t wrong_bases_ = 0;
    interval_id replay_until_; ///< durable when the copy was opened
    std::uint64_t replay_total_ = 0;
    time_point replay_began_{};
    peer_clock clock_; ///< the primary's
    retention_clock retention_;
    interval_id newest_seen_; ///< newest point, and since when it is that, by the steady clock
    time_point newest_since_{};
    time_point next_commit_{};
    time_point next_retain_{};
    std::uint64_t next_open_id_ = 1;
    std::map<std::string, opened_entry> opened_;
    bool openings_wait_ =
        false; ///< since the copy was opened anew, for what is not applied again yet

    log::repeats failures_; ///< and sessions; until something becomes durable
    interval_id durable_seen_;

    condition work_;    ///< something durable to apply, or stop
    condition applied_; ///< the applied position moved
};

} // namespace farshore
