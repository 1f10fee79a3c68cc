#include "replicator/replica/history_packer.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <map>

namespace farshore {
namespace {

constexpr std::size_t step_blocks = 512;
constexpr std::uint64_t kept_share = 4;        ///< at most one in so many points stays
constexpr std::size_t merged_min = 4;          ///< stretches, or
constexpr std::size_t let_go_min = 8;          ///< points
constexpr unsigned refused_max = 5;            ///< failed jobs; then what can't be read is lost
constexpr std::size_t small_run = 8;           ///< stretches of about one size
constexpr std::uint64_t room_share = 2;        ///< a stretch is reckoned with half of its undo
constexpr std::uint64_t entries_max = 1 << 20; ///< of raw undo in one stretch (but one segment)

} // namespace

namespace {

merge_choice let_go_run(std::span<const merge_candidate> all) {
    for (std::size_t first = 0; first < all.size(); ++first) {
        std::size_t count = 0;
        std::size_t let_go = 0;
        std::uint64_t rows = 0;
        for (; first + count < all.size(); ++count) {
            const merge_candidate &c = all[first + count];
            if (c.kept * kept_share > c.listed || rows + c.rows > merged_rows_max) {
                break;
            }
            rows += c.rows;
            let_go += c.listed - c.kept;
        }
        if (count >= merged_min || let_go >= let_go_min) {
            return {first, count};
        }
    }
    return {};
}

/// Of stretches of one tier each is rewritten once for the next one.
unsigned tier_of(const merge_candidate &c) {
    constexpr unsigned bits = 3; // a factor of small_run
    constexpr std::uint64_t least = 512;
    return static_cast<unsigned>(std::bit_width(std::max(c.rows, least)) - 1) / bits;
}

merge_choice small_ones(std::span<const merge_candidate> all) {
    std::size_t first = 0;
    for (std::size_t at = 0; at < all.size(); ++at) {
        if (all[at].rows > merged_rows_max / small_run) {
            first = at + 1;
        } else if (tier_of(all[at]) != tier_of(all[first])) {
            first = at;
        } else if (at + 1 - first == small_run) {
            return {first, small_run};
        }
    }
    return {};
}

} // namespace

merge_choice choose_merge(std::span<const merge_candidate> all) {
    const merge_choice thinned = let_go_run(all);
    return thinned.count > 0 ? thinned : small_ones(all);
}

struct history_packer::job {
    std::unique_ptr<stretch_maker> maker;
    std::unique_ptr<fact_contents> contents;
    std::shared_ptr<point_view> view; ///< keeps what it reads
    std::uint64_t last_segment = 0;   ///< of raw undo that it stands for; 0: merged
};

namespace {

/// Contents of raw undo, and the state at the moment.
class raw_contents final : public fact_contents {
  public:
    struct place {
        segment_place content;
        std::uint64_t checksum = 0;
    };

    explicit raw_contents(std::shared_ptr<replica_core> core) : core_(std::move(core)) {}

    std::uint32_t add(place p) {
        places_.push_back(p);
        return static_cast<std::uint32_t>(places_.size() - 1);
    }
    void set_view(std::shared_ptr<point_view> view) { view_ = std::move(view); }

    result<> read(const packed_fact &fact, bytes_span out) override {
        const place &p = places_[fact.source];
        return core_->history().read_content(p.content, p.checksum, out);
    }
    std::uint64_t checksum(const packed_fact &fact) override {
        return places_[fact.source].checksum;
    }
    result<> read_as_of_moment(std::uint64_t key, bytes_span out) override {
        return core_->read_blocks(*view_, packed_volume(key), packed_block(key), out);
    }

  private:
    std::shared_ptr<replica_core> core_;
    std::shared_ptr<point_view> view_;
    std::vector<place> places_;
};

/// Contents of the stretches that are merged.
class merged_contents final : public fact_contents {
  public:
    explicit merged_contents(std::shared_ptr<replica_core> core) : core_(std::move(core)) {}

    void from(std::shared_ptr<const stretch> s) { stretches_.push_back(std::move(s)); }
    std::uint32_t add(const packed_row &row) {
        rows_.push_back({static_cast<std::uint32_t>(stretches_.size() - 1), row});
        return static_cast<std::uint32_t>(rows_.size() - 1);
    }

    result<> read(const packed_fact &fact, bytes_span out) override {
        packed_row row = rows_[fact.source].row;
        row.block = packed_block(fact.key);
        row.count = fact.count;
        return core_->read_row(stretches_[rows_[fact.source].stretch], row, out);
    }
    std::uint64_t checksum(const packed_fact &fact) override {
        return rows_[fact.source].row.checksum;
    }
    result<> read_as_of_moment(std::uint64_t key, bytes_span out) override {
        return core_->read_as_of(stretches_.back()->foot().moment, packed_volume(key),
                                 packed_block(key), out);
    }

  private:
    struct source {
        std::uint32_t stretch = 0;
        packed_row row;
    };
    std::shared_ptr<replica_core> core_;
    std::vector<std::shared_ptr<const stretch>> stretches_;
    std::vector<source> rows_;
};

/// The segments of one stretch: the oldest that are not packed yet, whole ones.
std::vector<segment_info> choose_segments(const undo_log &history, std::uint64_t covered,
                                          const packer_facts &facts,
                                          const packer_options &options) {
    std::map<std::uint64_t, std::pair<std::uint64_t, interval_id>> inside; // entries, last interval
    std::int64_t oldest = 0;
    history.each([&](const undo_record &r) {
        if (r.place.segment > covered) {
            oldest = oldest == 0 ? r.header.written : oldest;
            auto &[entries, last] = inside[r.place.segment];
            entries += r.header.entries;
            last = r.header.position.interval;
        }
    });
    std::vector<segment_info> chosen;
    std::uint64_t bytes = 0;
    std::uint64_t entries = 0;
    bool full = false;
    for (const segment_info &s : history.segments()) {
        if (s.number <= covered) {
            continue;
        }
        const auto &[some, last] = inside[s.number];
        if (!s.closed || s.number >= facts.end_segment || last > facts.newest_point) {
            break;
        }
        full = bytes + s.bytes > options.stretch_bytes || entries + some > entries_max;
        const bool fits = bytes + s.bytes <= facts.room * room_share;
        if ((full && !chosen.empty()) || !fits) {
            break;
        }
        chosen.push_back(s);
        bytes += s.bytes;
        entries += some;
    }
    const bool old = oldest != 0 && facts.now - oldest > options.age_max.count();
    const bool quiet = facts.now - history.last_written() > history_packer::quiet_after.count();
    return full || old || quiet ? chosen : std::vector<segment_info>();
}

void add_stream(std::vector<packed_stream> &streams, stream_position at) {
    if (!streams.empty() && streams.back().stream == at.stream) {
        streams.back().last = at.interval;
    } else {
        streams.push_back({at.interval, at.stream});
    }
}

} // namespace

history_packer::history_packer(file_system &files, std::shared_ptr<replica_core> core,
                               packer_options options)
    : files_(files), core_(std::move(core)), options_(options),
      depths_(core_->packed().list()->empty()) {}

history_packer::~history_packer() = default;

result<history_packer::outcome> history_packer::step(const packer_facts &facts) {
    if (!job_) {
        FS_TRY(next, next_job(facts));
        job_ = std::move(next);
        return job_ ? outcome::goes_on : outcome::idle;
    }
    const auto more = job_->maker->step(step_blocks);
    if (!more) {
        failures_ +=
            is_errno(more.error(), EIO) ? 1 : 0; // a full disk is no reason to lose content
        return std::unexpected(more.error());
    }
    return *more ? outcome::goes_on : outcome::made;
}

void history_packer::give_up() { job_.reset(); }

result<std::unique_ptr<history_packer::job>> history_packer::next_job(const packer_facts &facts) {
    FS_TRY(of_raw, raw(facts));
    if (of_raw) {
        return of_raw;
    }
    return merge(facts);
}

result<std::unique_ptr<history_packer::job>> history_packer::raw(const packer_facts &facts) {
    undo_log &history = core_->history();
    const std::uint64_t covered = covered_segment(*core_->packed().list());
    const auto segments = choose_segments(history, covered, facts, options_);
    if (segments.empty()) {
        return nullptr;
    }
    stretch_input input;
    input.unreadable_is_lost = failures_ >= refused_max;
    input.about.first_segment = segments.front().number;
    input.about.last_segment = segments.back().number;
    auto contents = std::make_unique<raw_contents>(core_);
    interval_id first;
    for (const undo_record &record : history.records_after(interval_id{})) {
        if (record.place.segment < input.about.first_segment ||
            record.place.segment > input.about.last_segment) {
            continue;
        }
        const undo_header &header = record.header;
        const interval_id at = header.position.interval;
        first = first.value == 0 ? at : first;
        input.about.last_interval = at;
        input.about.undo_bytes += header.record_bytes();
        add_stream(input.about.streams, header.position);
        if (header.last && header.point) {
            input.about.moment = at;
            if (facts.kept.contains(at)) {
                input.about.points.push_back({at, header.time, header.arrival, 0});
            }
        }
        FS_TRY(table, history.read_table(record));
        segment_place content{record.place.segment, record.place.offset + undo_header_bytes};
        for (const undo_entry &e : table.entries) {
            packed_fact fact;
            fact.key = packed_key(e.volume, e.block.value);
            fact.count = e.count;
            fact.interval = at;
            fact.zero = e.kind == undo_kind::zero;
            fact.source = contents->add({content, e.checksum});
            content.offset += fact.zero ? 0 : block_bytes;
            input.facts.push_back(fact);
        }
    }
    if (first.value == 0) {
        return nullptr; // no record in them
    }
    auto made = std::make_unique<job>();
    made->last_segment = input.about.last_segment;
    if (input.about.moment.value != 0) {
        FS_TRY(view, core_->open_view(input.about.moment, view_kind::moment));
        contents->set_view(view);
        made->view = std::move(view);
    }
    made->maker = std::make_unique<stretch_maker>(
        files_, core_->packed().draft_path(),
        stretch_options{options_.identity, first, 0, options_.level}, std::move(input), *contents,
        depths_);
    made->contents = std::move(contents);
    return made;
}

result<std::unique_ptr<history_packer::job>> history_packer::merge(const packer_facts &facts) {
    const auto list = core_->packed().list();
    std::vector<merge_candidate> candidates;
    for (const auto &s : *list) {
        const auto stays = [&](const packed_point &p) { return facts.kept.contains(p.id); };
        candidates.push_back({s->foot().rows, s->points().size(),
                              static_cast<std::size_t>(std::ranges::count_if(s->points(), stays))});
    }
    const merge_choice choice = choose_merge(candidates);
    if (choice.count == 0) {
        return nullptr;
    }
    stretch_input input;
    input.merged = true;
    input.unreadable_is_lost = failures_ >= refused_max;
    auto contents = std::make_unique<merged_contents>(core_);
    const packed_foot &oldest = (*list)[choice.first]->foot();
    const packed_foot &newest = (*list)[choice.first + choice.count - 1]->foot();
    std::uint64_t bytes = 0;
    for (std::size_t i = choice.first; i < choice.first + choice.count; ++i) {
        const stretch &from = *(*list)[i];
        contents->from((*list)[i]);
        bytes += from.file_bytes();
        FS_CHECK(from.visit([&](const packed_row &row) -> result<> {
            packed_fact fact;
            fact.key = packed_key(row.volume, row.block);
            fact.count = row.count;
            fact.interval = row.interval;
            fact.source = contents->add(row);
            fact.zero = row.kind == packed_kind::zero;
            fact.led = row.kind == packed_kind::delta;
            fact.depth = row.depth;
            input.facts.push_back(fact);
            return {};
        }));
        for (const packed_point &p : from.points()) {
            if (facts.kept.contains(p.id)) {
                input.about.points.push_back(p);
            }
        }
        for (const packed_stream &s : from.streams()) {
            add_stream(input.about.streams, {s.stream, s.last});
        }
        input.about.merges = std::max(input.about.merges, from.foot().merges + 1);
        input.about.undo_bytes += from.foot().undo_bytes;
    }
    if (bytes > facts.room) {
        return nullptr;
    }
    input.about.first_segment = oldest.first_segment;
    input.about.last_segment = newest.last_segment;
    input.about.last_interval = newest.last_interval;
    input.about.moment = newest.moment;
    auto made = std::make_unique<job>();
    FS_TRY(view, core_->open_view(newest.last_interval, view_kind::moment));
    made->view = std::move(view);
    made->maker = std::make_unique<stretch_maker>(
        files_, core_->packed().draft_path(),
        stretch_options{options_.identity, oldest.first_interval, 0, options_.level},
        std::move(input), *contents, depths_);
    made->contents = std::move(contents);
    return made;
}

result<> history_packer::take_in() {
    REPL_ASSERT(job_ != nullptr);
    const auto done = std::move(job_);
    FS_TRY(adopted, core_->packed().adopt_draft());
    FS_CHECK(core_->set_packed());
    failures_ = 0;
    lost_.insert(lost_.end(), done->maker->lost().begin(), done->maker->lost().end());
    if (done->last_segment != 0) { // merged ones have no place among the newest
        for (const auto &[key, depth] : done->maker->depths()) {
            depths_.set(key, depth);
        }
        FS_CHECK(core_->history().drop_packed(adopted->foot().last_segment));
    }
    return core_->packed().remove_covered();
}

} // namespace farshore
