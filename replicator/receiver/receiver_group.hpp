#pragma once
// One group at the DR site: its storage (replica_group), and the objects around it: the session
// that feeds it, the apply stage behind it, the points that are open. Which of them may touch the
// copy when is a table (receiver_cases.hpp).
//
// Path of a frame: data link -> frame_assembly (order) -> journal append -> at a barrier one sync
// -> ack "durable" -> apply stage (batches, on the CPU pool) -> ack "applied". The journal never
// waits for apply.
//
// Whose fault a failure is decides (reaction.hpp): a rule that the sender broke is found before
// journal and replica are touched and ends the session, nothing else. A storage failure ends the
// session with words for the sender's operator, and the storage is opened anew after a pause (roll
// back, replay), so that space that comes back is enough to go on.
//
// Thread: home; storage calls on the disk pool.

#include "replicator/base/async.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/receiver/apply_stage.hpp"
#include "replicator/receiver/exposure_watch.hpp"
#include "replicator/receiver/group_clock.hpp"
#include "replicator/receiver/group_log.hpp"
#include "replicator/receiver/opened_points.hpp"
#include "replicator/receiver/receiver_cases.hpp"
#include "replicator/receiver/receiver_loans.hpp"
#include "replicator/receiver/recovery_report.hpp"
#include "replicator/receiver/scrub_desk.hpp"
#include "replicator/receiver/served_copy.hpp"
#include "replicator/receiver/session_host.hpp"
#include "replicator/replica/replica_group.hpp"
#include "replicator/roles/role_steps.hpp"
#include "replicator/session/commands_under_way.hpp"
#include "replicator/session/config.hpp"
#include "replicator/session/group_memory.hpp"
#include "replicator/session/group_role.hpp"
#include "replicator/session/handshake.hpp"
#include "replicator/session/kept.hpp"
#include "replicator/session/status.hpp"
#include "replicator/storage/file_system.hpp"
#include "transport/link.hpp"

#include <functional>
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
    /// Another group that is paired with the same sender.
    std::function<loan_offer(const std::string &)> lender;
    /// The group's role at this site, see site::role_of.
    std::function<task<result<kept<group_role> *>>()> role;
    /// Of who serves the group's volumes: links of the other site, which follows and has dialled.
    std::function<void(std::unique_ptr<transport::link> control)> followed;
    std::function<void(std::unique_ptr<transport::link> link, std::uint64_t session)> followed_data;
    std::function<void()> role_changed;    ///< by what the other site said
    std::function<void(last_meeting)> met; ///< may be empty
    /// Whether the group's volumes could be served here. errc::invalid, in words. May be empty.
    std::function<result<>(const std::vector<replica_volume> &)> may_serve;
};

class receiver_session;

class receiver_group final : session_host, apply_host, scrub_host {
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

    const std::string &name() const override { return options_.config.name; }
    receiver_group_status status() const;
    bool connected() const;
    std::string session_address() const;
    std::string session_fingerprint() const; ///< of the control link; empty without a session
    bool may_lend() const { return options_.config.loans; }
    loan_offer lends() {
        return serves() && !copy_->served() ? loan_offer{copy_, &desk_} : loan_offer{};
    }
    const std::string &peer_name() const { return options_.config.peer_name; }

    /// What attach() would say to it now.
    hello_verdict judge(const wire::hello &hello, bool pinned) const;
    /// A link whose hello names this group, control or data; takes over. `pinned`: its fingerprint
    /// is the group's. `theirs`: what a sender that knows roles said of its own, after ours.
    task<void> attach(std::unique_ptr<transport::link> link, wire::hello hello, bool pinned,
                      std::optional<role_state> theirs);
    /// What this site says of its role; nothing: it is not known yet.
    std::optional<wire::site_claim> claim() const;
    /// The group has another primary: paired anew. Nothing while this site serves.
    task<result<>> forget_lineage();

    // Roles (receiver_group_role.cpp): as receiver.hpp has them.
    task<result<promote_outcome>> promote(std::string point, bool forced, progress_report progress);
    task<result<>> settle();
    task<result<>> discard();
    task<result<>> reverse(role_step step);
    std::optional<served_copy> serving() const;
    /// Nobody serves the copy any more, and by its role it follows: it is opened as one that does.
    task<result<>> heed_role();
    /// Of a site that hands over: its offers are void, durably, if this one did not take one.
    task<result<>> meet_before(const role_state &theirs);
    /// It follows, and its copy can be fed: what its volumes are.
    std::optional<std::vector<wire::volume_entry>> fed() const;
    bool in_session(std::uint64_t id) const;
    /// The session ends, and a link that is being greeted is refused: whom they came from is
    /// trusted no more.
    void drop_session(const char *why);

    task<result<std::vector<point_info>>> points();
    /// Returns when `point` can be resolved: `latest` is the newest durable barrier, so apply has
    /// to reach what is durable now (bytes of the journal as progress). errc::not_in_sync when it
    /// can't. Cancel it freely.
    task<result<>> reach(std::string point, progress_report progress);
    /// Why no point is made of what arrives.
    std::optional<std::string> held_back() const;
    // Retention by hand (receiver_group_retention.cpp). Durable on return.
    task<result<point_info>> pin(std::string point, bool pinned);
    task<result<point_info>> forget(std::string point);
    task<result<retention_outlook>> plan(retention_trial trial);
    // Rehearsals (receiver_group_tests.cpp): as receiver.hpp has them.
    task<result<point_info>> note_test(std::string point, test_info test);
    task<result<>> note_unrun(test_info test);
    const std::vector<start_step> &start_steps() const { return options_.config.start; }
    task<result<std::optional<wall_time>>> begun(std::string what);
    task<result<>> set_begun(std::string what, wall_time at);
    // Record (receiver_group_report.cpp): as receiver.hpp has it.
    task<result<recovery_report>> report(wall_time since);
    // Scrub (receiver_group_scrub.cpp)
    /// Begins a pass; `wait`: and returns when it is over. errc::busy: one runs that was asked for;
    /// errc::not_in_sync: there is no copy to read.
    task<result<std::optional<scrub_outcome>>> scrub(bool wait, progress_report progress);
    /// Of what the images show now. `suspect`: also of a point that is.
    task<result<opened_point>> open_point(open_request wanted);
    result<open_replica_point> open_devices(const std::string &point);
    std::vector<opened_point> opened() const { return openings_.list(); }
    seed_target seed() const;
    bool has_opened(const std::string &id) const { return openings_.has(id); }
    task<result<>> close_point(std::string id) { return openings_.close(std::move(id)); }
    /// Of what is open under that id; empty: it is not served now.
    std::vector<std::shared_ptr<block_device>> opened_devices(const std::string &id) const {
        return openings_.devices(id);
    }

  private:
    // session_host
    result<> clock_heard(std::uint64_t clock_ms) override { return clock_.heard(clock_ms); }
    void covered_heard(interval_id barrier) override;
    wall_time stamp() override { return clock_.stamp(copy_->position(), connected()); }
    void apply_soon() override { stage_.wake(); }
    void commit_soon() override { stage_.commit_soon(); }
    void offered(const wire::role_offer &offer) override;
    void note_durable(interval_id newest) override;
    task<void> wait_applied(time_point deadline) override;
    std::string words_for_sender() const override { return stage_.words_for_sender(); }
    void storage_failed(error e) override; // apply_host, too
    void note_peer_fault(const error &rule) override;
    void tell(log::level level, const std::string &text, const std::string &kind) override;
    loan_offer lender(const std::string &group) override;

    // apply_host
    bool serves() const override { return is_served(phase_); }
    void words_changed() override;
    void works_again() override { said_.last_error.reset(); }
    void moved() override;
    void looked(const replica_position &at) override;
    void all_applied() override;
    task<void> tell(wire::nak n) override;
    task<void> tell(wire::verify_result v) override;
    std::string words_of(const error &e) const override;
    wall_time retention_time() override;

    // scrub_host
    std::shared_ptr<replica_group> scrub_copy() const override;
    bool apply_behind() const override;
    bool sender_connected() const override { return connected(); }
    task<result<>> compare(volume_index volume, byte_range range) override;

    /// The only place that changes the phase.
    group_action step(group_event event);
    /// Opens the copy anew when it failed, and lets the stage work while it is served.
    task<void> live();
    task<void> reopen_copy();
    task<result<>> open_copy();
    task<result<>> open_if_present();
    void open_failed(const error &e);
    opened_points::means opening_means(std::vector<executor> nbd_loops);
    void resume_openings(bool all);
    task<void> resume_them(bool all);
    task<result<>> create_copy(std::vector<wire::volume_entry> volumes);
    replica_options storage_options() const;
    std::string path_of(const std::string &volume) const;
    result<> load_digest_key();

    // receiver_group_role.cpp
    const role_state &role() const { return (*role_.kept)->state; }
    bool wants_to_serve() const;
    task<result<>> check_turn() const;
    task<result<>> primary_is_silent() const;
    task<result<>> end_following(progress_report progress);
    task<result<>> turn(std::function<result<>(group_role &)> to);
    task<void> turn_copy();
    task<void> take_role(role_offer offer);
    task<result<>> begin_offered(const role_offer &offer);
    result<content_claim> shown() const;
    task<result<>> finish_turn();
    enum class met : std::uint8_t {
        follows, ///< this site; the link is a sender's
        serves,  ///< this site, and the other one follows
        refused,
    };
    struct meeting_end {
        met how;
        std::string words; ///< refused
    };
    task<meeting_end> meet_sender(std::optional<role_state> theirs);
    task<result<>> store_meeting(const meeting &m, const role_state &theirs);
    task<result<>> follow_again(role_step step, std::string leave_as);
    std::optional<served_status> served_seen() const;

    // receiver_group_greeting.cpp
    receiver_facts facts(bool pinned) const;
    hello_verdict weigh(const wire::hello &hello, bool pinned) const;
    task<void> greet(std::unique_ptr<transport::link> link, wire::hello hello);
    task<result<>> make_ready(std::uint64_t drops);

    result<> check_served() const;
    result<replica_point> resolve_point(const std::string &text) const;
    point_info info_of(const replica_point &p) const;
    task<result<point_info>>
    change_point(std::string point, std::function<result<>(replica_group &, interval_id)> how);
    result<bool> wants_all_durable(const std::string &point) const;
    std::optional<tests_status> tests_seen() const;
    /// Whether the age of the newest point is what may be lost: `untold` while the sender, who
    /// knows whether anything was written since, is about to say so or was heard just now.
    enum class risk : std::uint8_t { counts, untold };
    /// Before the newest good point may become another one, or the session begins or ends.
    void look_at_exposure(risk counted = risk::counts);
    task<void> keep_exposure();
    task<void> watch_exposure();
    result<std::shared_ptr<replica_group>> copy_there() const;

    receiver_group_options options_;
    runtime run_;
    file_system &files_;
    task_group tasks_;
    condition changed_; ///< the phase
    group_phase phase_ = group_phase::opening;
    error failure_; ///< why it is not served, while it is not; it is opened anew at reopen_at_
    time_point reopen_at_{};
    std::shared_ptr<replica_group> copy_; ///< shared with pool work under way
    wire::key32 digest_key_{};
    std::shared_ptr<receiver_session> session_;
    struct {
        std::uint64_t count = 0;
        std::string why;
    } drops_;                             ///< calls of drop_session(), and why it was last
    std::uint64_t wire_bytes_before_ = 0; ///< of sessions that are over
    struct {
        std::string peer_fault;                ///< logged last
        std::optional<std::string> last_error; ///< until a session works again, or apply does
    } said_;
    struct {
        kept<group_role> *kept = nullptr; ///< the site's; null: it was not read yet
        bool turning = false;             ///< a command changes it: no session begins
        std::string follower; ///< fingerprint of the site that follows, of its last link
    } role_;
    interval_id durable_seen_;
    group_log log_; ///< of failures and sessions, until something becomes durable
    group_clock clock_;
    loan_desk desk_; ///< where others look into the copy
    commands_under_way commands_;
    opened_points openings_;
    bool resuming_ = false; ///< openings_, by a task of its own
    apply_stage stage_;
    scrub_desk scrub_;
    struct {
        exposure_watch watch;
        std::optional<replica_point> newest; ///< good one, as it was last looked at
        interval_id covered;                 ///< held all that was written, and when that was last
        time_point covered_at{};
    } exposure_;
};

} // namespace farshore
