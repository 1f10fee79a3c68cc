#pragma once
// One group at the primary: its life, the operator's settings and commands on it. The parts:
//
//   pipeline       the stream: capture, barriers, encoder, spool
//   site_link      the DR site: session, what it has, catch-up, damage
//   borrower       loans to and from other groups of the pair
//   verify_desk    verify, under way or answered late
//   bookmark_desk  named points, with applications still around them
//   volume_upkeep  what has to be looked at while volumes are served
//
// They know each other one way (link -> pipeline -> borrower) and ask this class for the rest
// (pipeline_host, site_link_host). Thread: home.

#include "replicator/base/async.hpp"
#include "replicator/nbd/server.hpp"
#include "replicator/roles/role_steps.hpp"
#include "replicator/sender/bookmark_desk.hpp"
#include "replicator/sender/bookmark_schedule.hpp"
#include "replicator/sender/borrower.hpp"
#include "replicator/sender/group_settings.hpp"
#include "replicator/sender/group_share.hpp"
#include "replicator/sender/pipeline.hpp"
#include "replicator/sender/sender.hpp"
#include "replicator/sender/served_half.hpp"
#include "replicator/sender/site_link.hpp"
#include "replicator/sender/switchover.hpp"
#include "replicator/sender/verify_desk.hpp"
#include "replicator/sender/volume_upkeep.hpp"
#include "replicator/session/commands_under_way.hpp"
#include "replicator/session/config.hpp"
#include "replicator/session/group_memory.hpp"
#include "replicator/session/group_role.hpp"
#include "replicator/session/io_gate.hpp"
#include "replicator/session/kept.hpp"
#include "replicator/session/network.hpp"
#include "replicator/session/trust.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

struct sender_group_options {
    sender_group_config config;
    std::string state_directory;       ///< STATE/groups/NAME
    std::shared_ptr<memory_pool> pool; ///< of memory for intervals
    std::size_t number = 0;            ///< in the pool
    history_memory history{};
    std::shared_ptr<page_pool> pages; ///< of all groups
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
    /// See site_link_options.
    std::function<task<void>(std::function<bool()> wanted)> gather_offers;
    std::shared_ptr<application_host> applications; ///< null: no hook can be frozen
    /// The group's role at this site, see site::role_of.
    std::function<task<result<kept<group_role> *>>()> role;
    std::function<void(last_meeting)> met; ///< may be empty
    served_half half;                      ///< of a promoted copy
};

class sender_group final : public switchover_party, private pipeline_host, private site_link_host {
  public:
    sender_group(sender_group_options options, runtime run, file_system &files, network &net,
                 std::shared_ptr<transport::pacer> daemon_pace, std::vector<executor> nbd_loops);
    ~sender_group();

    task<result<>> start(std::optional<pinned_peer> peer);
    /// Commands under way end soon; the group itself goes on until stop(), which joins them.
    void end_commands();
    task<void> stop(time_point drain_until);

    const std::string &name() const override { return options_.config.name; }
    sender_group_status status() const;
    peer_status peer() const;
    std::shared_ptr<block_device> device(volume_index v) {
        return make_gated_device(stream_->capture().device(v), role_.gate);
    }

    pipeline &stream() { return *stream_; }
    /// Its role may have changed: clients are served, or are not.
    void heed_role();
    /// See site_link: links that the site which follows has made.
    void take_link(std::unique_ptr<transport::link> control) { site_->take(std::move(control)); }
    void take_data_link(std::unique_ptr<transport::link> link, std::uint64_t session) {
        site_->take_data(std::move(link), session);
    }

    /// See borrower.
    void offer_soon(time_point until) { loans_->offer_soon(until); }
    bool offers() const { return loans_->offers(); }

    void set_peer(std::optional<pinned_peer> peer); ///< join, unpair: drops the session
    /// Who is trusted has changed: connects again.
    void prove_anew() { site_->restart("the files of [tls] changed"); }
    task<result<wait_outcome>> wait(bool durable_only, duration timeout);
    task<result<bookmark_outcome>> bookmark(bookmark_request wanted);
    task<result<>> set_paused(bool paused);
    task<result<>> resync(bool full);
    task<result<verify_outcome>> verify(progress_report progress);
    task<result<>> throttle_set(std::optional<std::uint64_t> rate, std::optional<duration> lasts);
    task<result<>> throttle_clear();

    // sender_group_switchover.cpp
    std::shared_ptr<void> stay() override {
        return std::make_shared<commands_under_way::mark>(commands_);
    }
    result<> may_hand_over() const override;
    task<result<>> catch_up(duration patience) override;
    void hold() override;
    task<result<>> prove(time_point until) override;
    task<result<switchover_outcome>> hand_over() override;
    void go_on() override;
    /// `promote --force` while it is not known whether the other site took the role, or was
    /// promoted (`start`). The generation that is served.
    task<result<std::string>> take_role_back();

  private:
    content_claim proved() const;

    // sender_group_role.cpp
    task<result<>> open_role();
    task<result<wire::site_claim>> meet(wire::site_claim theirs) override;
    void shut_gate();
    bool another_may_serve() const;
    void look_for_contact();
    bool fenced() const;

    // What the parts ask and tell.
    bool in_sync() const override { return site_->in_sync(); }
    bool wants_point() const override;
    bool awaited() const override { return waits_.any(); }
    bool paused() const override { return settings_->paused; }
    bool verifying() const override { return verify_->running(); }
    void moved() override { progress_.notify_all(); }
    void spooled() override { site_->kick(); }
    void on_cut(const interval &closed) override { verify_->on_cut(closed); }
    void writers_outran() override { site_->hold_catch_up_for_writers(); }
    void stream_ended() override;
    void order_lost(const std::string &why) override;
    void came_in_sync() override;
    result<> on_verify(const wire::verify_result &r) override;
    void on_compare(const wire::compare_request &r) override;
    void verified_through(interval_id barrier) override { verify_->forget_through(barrier); }
    void session_ended(const error &reason) override;

    task<result<>> open_stages();
    result<> serve_nbd();
    task<void> close_nbd();
    task<void> drain(time_point until);
    task<void> upkeep_loop();
    void apply_throttle();
    template <class F>
    task<result<>> change_throttle(F f);
    site_link_options link_options() const;
    bookmark_options desk_options() const;
    std::string why_no_verify() const;
    task<std::optional<barrier_info>> cut_for_wait(time_point deadline);

    // sender_group_status.cpp
    void describe_lag(sender_group_status &s) const;
    void describe_sync(sender_group_status &s) const;
    void describe_volumes(sender_group_status &s) const;
    std::optional<std::string> trouble(const sender_group_status &s) const;
    sender_state state() const;
    std::uint64_t bytes_at_risk() const;

    sender_group_options options_;
    runtime run_;
    file_system &files_;
    network &net_;
    std::shared_ptr<transport::pacer> daemon_pace_;
    std::shared_ptr<transport::pacer> pace_;
    std::vector<executor> nbd_loops_;
    kept<group_settings> settings_;
    struct {
        kept<group_role> *kept = nullptr; ///< the site's; set at the start
        std::shared_ptr<io_gate> gate = std::make_shared<io_gate>();
        bool awaits_contact = false; ///< `start = "after-contact"` holds its clients
        bool switching = false;      ///< a switchover does
    } role_;

    group_share share_; ///< outlives capture, which asks it
    std::unique_ptr<borrower> loans_;
    std::unique_ptr<pipeline> stream_;
    std::unique_ptr<site_link> site_;
    std::unique_ptr<verify_desk> verify_;
    std::unique_ptr<bookmark_desk> bookmarks_;
    std::unique_ptr<bookmark_schedule> scheduled_;
    std::unique_ptr<volume_upkeep> upkeep_;
    std::vector<std::unique_ptr<nbd::server>> servers_;

    task_group tasks_;
    bool stopping_ = false;
    commands_under_way commands_; ///< that wait for something
    commands_under_way waits_;    ///< those of them that wait for a barrier to be there
    condition progress_; ///< an ack came, a barrier was cut, order was lost, a command ended
    wall_time started_{};
    std::optional<std::string> order_lost_; ///< why, until it is kept again
};

} // namespace farshore
