#pragma once
// A group that follows a site which it has to dial: who dials stays as configured, whichever way
// data flows. On the control link that it makes the other site is the sender: it says hello, its
// frames come on the data links that are dialled for it, and the group at this end takes them as
// from any sender.
//
//   this site                                  the other, which serves
//   hello (link 0), says what it is ---------->
//                                   <--------- site_claim
//   site_claim (following) ------------------->
//                                   <--------- hello of its own, or refusal
//   welcome ... as a receiver                  ... as a sender
//   hello (each data link, its session) ------>
//                                   <--------- frames
//
// Any failure ends the session, and it is dialled anew after a pause. Thread: home.

#include "replicator/base/async.hpp"
#include "replicator/base/log_repeat.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/roles/role_state.hpp"
#include "transport/link.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace farshore {

struct follower_means {
    std::string group;
    std::uint32_t links = 4;
    /// Null: there is nobody to dial now.
    std::function<result<std::unique_ptr<transport::connector>>(bool control)> connector;
    /// What this site says of itself in its hello, and of its role; nothing: it does not follow, or
    /// its copy can't be fed now.
    std::function<std::optional<wire::hello>()> hello;
    std::function<std::optional<wire::site_claim>()> claim;
    /// Of a site that hands its role over, before the claim: its offers are void, durably.
    std::function<task<result<>>(role_state theirs)> meet_before;
    /// The group takes the link over (receiver_group::attach); of a control link it returns when
    /// the session is over.
    std::function<task<void>(std::unique_ptr<transport::link> link, wire::hello hello,
                             std::optional<role_state> theirs)>
        attach;
    /// A session with this id is being served.
    std::function<bool(std::uint64_t session)> in_session;
};

class follower {
  public:
    follower(follower_means means, runtime run);

    void start();
    void end();
    task<void> join();
    /// Why there is no session; empty: there is one, or nobody wants it.
    const std::string &trouble() const { return trouble_; }

  private:
    task<void> loop();
    task<result<>> session();
    task<result<std::unique_ptr<transport::link>>> dial(bool control, wire::hello hello);
    task<result<transport::message>> answer(transport::link &link);
    task<void> dial_data(wire::hello of, std::uint32_t index);
    task<void> watch(std::shared_ptr<transport::link *> link, time_point until);

    follower_means means_;
    runtime run_;
    task_group tasks_;
    condition wanted_;
    bool ending_ = false;
    transport::link *greeting_ = nullptr; ///< until the group has it
    std::string trouble_;
    log::repeats failures_;
};

} // namespace farshore
