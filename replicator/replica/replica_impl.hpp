#pragma once
// The inside of replica_group: shared by replica_group.cpp, replica_commit.cpp,
// replica_space.cpp, replica_points.cpp, replica_facts.cpp, replica_changed.cpp,
// replica_packing.cpp, replica_scrub.cpp and replica_served.cpp (running), and
// replica_recovery.cpp (create and open).

#include "replicator/format/group_state.hpp"
#include "replicator/log/interval_log.hpp"
#include "replicator/replica/applier.hpp"
#include "replicator/replica/before_keeper.hpp"
#include "replicator/replica/history_packer.hpp"
#include "replicator/replica/image_cases.hpp"
#include "replicator/replica/known_points.hpp"
#include "replicator/replica/loan_store.hpp"
#include "replicator/replica/point_view.hpp"
#include "replicator/replica/recovery_cases.hpp"
#include "replicator/replica/replica_group.hpp"

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace farshore {

struct replica_group::impl {
    file_system &files;
    replica_options options;
    std::vector<replica_volume> volumes;
    std::array<std::byte, 16> identity{};
    std::shared_ptr<replica_core> core;
    std::unique_ptr<catalogue> facts;
    std::unique_ptr<interval_log> journal;
    std::unique_ptr<loan_store> loans;
    std::unique_ptr<applier> apply_stage;

    // The apply thread's own.
    commit_record committed; ///< in the newer slot; its images: as they were left then
    std::uint64_t next_slot = 0;
    bool uncommitted = false;

    std::mutex
        facts_mutex;   ///< one change of the catalogue at a time; before `mutex`, over disk work
    interval_id noted; ///< the catalogue's noted_through; by facts_mutex

    struct {
        std::unique_ptr<history_packer> packer; ///< of who calls pack()
        std::mutex mutex; ///< one change of what is packed at a time; over disk work
    } packing;

    mutable std::mutex mutex; ///< guards what follows; not held over disk work
    applied_state applied;
    interval_id safe; ///< both commit records are at this interval or later
    struct {
        std::uint64_t history = 0; ///< and their history ended in this segment or a later one
        std::uint64_t rollback = 0;
    } older_segments;
    known_points known;
    std::uint64_t reported_damage = 0; ///< not yet known to the apply thread
    bool append_starved = false;       ///< append found no room since the last apply()
    std::string dead;                  ///< why nothing is changed any more; empty: alive
    bool images_proved = false;        ///< at open; constant after it
    std::string trouble;               ///< why damage was counted last; empty: not in this life

    impl(file_system &f, replica_options o) : files(f), options(std::move(o)) {}

    std::unique_ptr<before_keeper> served; ///< clients write to the images; else null
    std::atomic<bool> keep_all{false};     ///< while they do

    // Served (replica_served.cpp)
    result<> settle_served();
    result<> recover_served();
    result<> end_served();
    result<> begin_served();
    result<> commit_served(bool always);
    stream_position after_all() const;
    undo_outcome outcome_now() const;

    // Open (replica_recovery.cpp)
    result<> open();
    result<std::unique_ptr<undo_log>> open_undo(const std::string &name, segment_place end,
                                                std::uint64_t covered);
    result<std::unique_ptr<packed_store>> open_packed();
    result<> settle_packed();
    result<> read_commit(file &state, std::optional<commit_record> &newest, interval_id &older);
    recovery_evidence gather(const std::optional<commit_record> &newest) const;
    own_writes our_writes() const;
    result<image_case> look_at_images();
    result<> note_touch();
    result<> touch_if_late();
    result<> note_suspicion();
    result<> recover(const recovery_decision &decision);
    result<> count_damage(const recovery_decision &decision);
    result<> roll_back();
    result<> cut_tails();
    result<std::uint64_t> put_back(const undo_log &log, const undo_record &record);
    std::vector<catalogued_point> points_of_history() const;
    result<> rebuild_points(const recovery_decision &decision);
    void applied_as_committed();

    // Running
    result<> check_alive() const;
    std::unexpected<error> die(error e);
    stream_position last_known() const;
    result<> check_order(const frame_header &header) const;
    result<> check_verify(bytes_view frame) const;
    result<> check_frame(bytes_view frame) const;
    result<apply_outcome> apply_once();
    void found_damage(std::string why);
    std::uint64_t damage_counted() const;
    interval_id hold_point_before(interval_id id);                            // replica_changed.cpp
    result<point_changes> changes_between(interval_id since, interval_id id); // replica_points.cpp

    // Commits (replica_commit.cpp)
    result<> commit(bool always);
    result<std::string> find_disturbed() const;
    result<> check_undisturbed();
    result<commit_record> next_record() const;
    result<> write_commit(const commit_record &record);
    void give_back(interval_id through);
    bool starved() const;
    result<> free_committed();

    // What the catalogue holds (replica_facts.cpp)
    result<> settle_facts(std::vector<catalogued_point> history);
    result<> read_openings();
    void note_points(interval_id through);
    interval_id labels_noted();
    void take_labels(std::vector<catalogued_point> &history, interval_id through) const;
    result<> note_points_now(interval_id through);
    result<> check_committed(interval_id id) const;
    result<> forget_committed(interval_id id);
    result<> in_words(result<> of_points) const;

    // Damage (replica_scrub.cpp)
    result<> mark_different(const std::vector<verify_answer> &answers);
    result<> mark(std::span<noted_damage> all);
    result<> save_marks();
    result<> settle_marks();

    // Points (replica_points.cpp)
    std::vector<std::uint64_t> history_bytes(const std::vector<interval_id> &ids) const;

    // Packing (replica_packing.cpp)
    packer_facts facts_for_packing();
    result<> close_quiet_history();
    result<> drop_packed_before(interval_id needed);

    // Space (replica_space.cpp)
    std::uint64_t used_bytes() const {
        return journal->used_bytes() + core->history().used_bytes() + core->packed().used_bytes() +
               core->rollback().used_bytes() + (loans ? loans->used_bytes() : 0);
    }
    result<> make_room(std::uint64_t bytes, std::uint64_t limit);
    bool drop_oldest_point();
    result<> reclaim();
    std::string space_holder() const;
};

/// What `journal` is for append: the last eighth is for undo, since a journal that took all space
/// could not be applied any more.
std::uint64_t append_limit_of(std::uint64_t journal_bytes_max);
/// Below it retention drops nothing for space: one to two parts in 32 stay free for append, since
/// removing segments waits for the disk, and append is what acknowledgements wait for.
std::uint64_t roomy_limit_of(std::uint64_t journal_bytes_max);

packer_options packer_options_of(const replica_options &options,
                                 const std::array<std::byte, 16> &identity);

std::vector<spacing_rule> rules_of(const std::vector<retention_rule> &retain);

std::string state_path(const std::string &directory);
std::string volumes_path(const std::string &directory);

} // namespace farshore
