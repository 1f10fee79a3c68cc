#pragma once
// One group at the DR site: its storage (replica_group), the session that feeds it, the applier behind it, the points that
// are open.
//
// Path of a frame: data link -> frame_assembly (order) -> journal append -> at a barrier one sync -> ack
// "durable" -> applier (batches, on the disk pool) -> ack "applied". The journal never waits for the applier.
//
// Whose fault a failure is decides (reaction.hpp): a rule that the sender broke is found before journal and replica are
// touched and ends the session, nothing else. A storage failure ends the session with words for the sender's operator,
// and the storage is opened anew after a pause (roll back, replay), so that space that comes back is enough to go on.
//
// Thread: home; storage calls on the disk pool.

#include "replicator/apply/replica_group.hpp"
#include "replicator/base/async.hpp"
#include "replicator/capture/nbd_server.hpp"
#include "replicator/engine/config.hpp"
#include "replicator/engine/frame_assembly.hpp"
#include "replicator/engine/group_memory.hpp"
#include "replicator/engine/handshake.hpp"
#include "replicator/engine/status.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/storage/file_system.hpp"
#include "transport/link.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>

namespace farshore::engine {

struct receiver_group_options {
    receiver_group_config config;
    std::string state_directory; ///< STATE/groups/NAME
    receiver_memory memory{};
    /// The copy of another group that is paired with the same sender; null: none.
    std::function<std::shared_ptr<replica_group>(const std::string &)> lender;
};

class receiver_session;

class receiver_group {
  public:
    receiver_group(receiver_group_options options, runtime run, file_system &files, std::vector<executor> nbd_loops);
    ~receiver_group();

    /// Opens the copy if there is one. Errors that need the operator (wrong size, locked) fail the start.
    task<result<>> start();
    task<void> stop();

    const std::string &name() const { return options_.config.name; }
    std::shared_ptr<replica_group> copy() const { return copy_; }
    receiver_group_status status() const;
    bool connected() const;
    std::string session_address() const;

    /// What attach() would say to it now.
    hello_verdict judge(const wire::hello &hello, bool pinned) const { return judge_hello(facts(pinned), hello); }
    /// A link whose hello names this group, control or data; takes over. `pinned`: its fingerprint is the group's.
    task<void> attach(std::unique_ptr<transport::link> link, wire::hello hello, bool pinned);
    void drop_session(const char *why);

    result<std::vector<point_info>> points() const;
    task<result<opened_point>> open_point(std::string point, std::string nbd);
    result<open_replica_point> open_devices(const std::string &point);
    std::vector<opened_point> opened() const;
    task<bool> close_point(std::string id);

  private:
    friend class receiver_session;
    struct opened_entry {
        opened_point view;
        nbd::endpoint where;
        interval_id point;
        std::unique_ptr<nbd::server> server; ///< null while the copy is being opened anew
    };

    task<result<>> open_copy();
    task<result<>> create_copy(std::vector<wire::volume_entry> volumes);
    replica_options storage_options() const;
    std::string path_of(const std::string &volume) const;
    receiver_facts facts(bool pinned) const;
    wire::welcome make_welcome();
    result<replica_point> resolve_point(const std::string &text) const;

    /// Serves the point's devices where the entry says, by the copy that is open now.
    task<result<>> serve(opened_entry &entry);
    /// The copy is opened anew: clients are disconnected, find the point again at the same place, and the opening keeps
    /// its id. One whose point is gone is closed, and said.
    task<void> suspend_openings();
    task<void> resume_openings();
    task<void> reopen_copy();
    task<void> apply_loop();
    task<result<>> apply_once();
    /// What a failure leads to, by whose fault it is (reaction.hpp). Doesn't wait for the line to take the words.
    void react(error e);
    /// Ends the session with the error as words for the sender's operator.
    void storage_failed(error e);
    void note_peer_fault(const error &rule);
    task<void> send_ack();
    /// Tells the sender what of the copy is wrong.
    task<void> tell_damage(const apply_outcome &done, std::uint64_t count);
    void note_durable();
    std::uint64_t newest_point() const;

    receiver_group_options options_;
    runtime run_;
    file_system &files_;
    std::vector<executor> nbd_loops_;
    task_group tasks_;
    bool stopping_ = false;

    std::shared_ptr<replica_group> copy_; ///< shared with pool work under way
    std::optional<error> failure_;         ///< storage failed; opened anew at reopen_at_
    time_point reopen_at_{};
    wire::key32 digest_key_{};
    std::shared_ptr<receiver_session> session_;
    std::uint64_t bytes_applied_ = 0;
    std::uint64_t wire_bytes_before_ = 0;
    bool greeting_ = false; ///< a control link is being taken over
    std::uint64_t told_damage_ = 0;         ///< count that the session was told: an ack must not overtake its nak
    std::optional<std::string> damage_;     ///< the last that was found, until it is healed
    std::string peer_fault_;                ///< logged last
    std::optional<std::string> last_error_; ///< until a session works again, or apply does
    bool apply_waits_ = false;              ///< for space: what is durable is not all applied
    barrier_info durable_barrier_;
    barrier_info applied_barrier_;
    time_point next_commit_{};
    time_point next_retain_{};
    std::uint64_t next_open_id_ = 1;
    std::map<std::string, opened_entry> opened_;

    condition work_;    ///< something durable to apply, or stop
    condition applied_; ///< the applied position moved
};

} // namespace farshore::engine
