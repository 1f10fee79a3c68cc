#include "replicator/history/stretch_maker.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/hash.hpp"

#include <algorithm>
#include <cerrno>
#include <set>

namespace farshore {
namespace {

/// A delta of up to so many bytes is taken before a copy is looked for.
constexpr std::size_t small_delta = 256;

std::size_t bytes_of(std::span<const codec_format::delta_run> runs) {
    std::size_t sum = 0;
    for (const auto &run : runs) {
        sum += run.length;
    }
    return sum;
}

} // namespace

stretch_maker::stretch_maker(file_system &files, std::string path, stretch_options options,
                             stretch_input input, fact_contents &contents,
                             const chain_depths &depths)
    : files_(files), path_(std::move(path)), options_(options), input_(std::move(input)),
      contents_(contents), depths_(depths), content_(block_bytes), base_(block_bytes) {
    std::set<interval_id> bounds;
    for (const packed_point &p : input_.about.points) {
        bounds.insert(p.id);
    }
    if (input_.about.moment.value != 0) {
        bounds.insert(input_.about.moment);
    }
    bounds_.assign(bounds.begin(), bounds.end());
}

result<bool> stretch_maker::step(std::size_t blocks) {
    switch (stage_) {
    case stage::sort:
        FS_CHECK(sort());
        return true;
    case stage::look:
        FS_CHECK(look(blocks));
        return true;
    case stage::write:
        FS_CHECK(write(blocks));
        return true;
    case stage::finish:
        FS_CHECK(writer_->finish(std::move(input_.about)));
        stage_ = stage::done;
        return false;
    case stage::done:
        return false;
    }
    return false;
}

result<> stretch_maker::sort() {
    input_.facts = disjoint_facts(std::move(input_.facts));
    options_.rows_about = input_.facts.size();
    FS_TRY(made, stretch_writer::create(files_, path_, options_));
    writer_ = std::move(made);
    const bool copies = input_.about.moment.value != 0 && !input_.merged;
    stage_ = copies ? stage::look : stage::write;
    return {};
}

std::span<const packed_fact> stretch_maker::next_group() {
    const std::size_t first = at_;
    const auto &facts = input_.facts;
    while (at_ < facts.size() && facts[at_].key == facts[first].key) {
        ++at_;
    }
    return std::span(facts).subspan(first, at_ - first);
}

/// What each block of the stretch holds as of the moment, by its checksum.
result<> stretch_maker::look(std::size_t blocks) {
    for (std::size_t n = 0; n < blocks && at_ < input_.facts.size(); ++n) {
        const auto group = next_group();
        if (group.front().count == 1) {
            const auto read = contents_.read_as_of_moment(group.front().key, base_);
            FS_TRY(there, usable(read));
            if (there && !is_zero(base_)) {
                as_of_moment_.try_emplace(checksum64(base_), group.front().key);
            }
        }
    }
    if (at_ == input_.facts.size()) {
        at_ = 0;
        stage_ = stage::write;
    }
    return {};
}

result<> stretch_maker::write(std::size_t blocks) {
    for (std::size_t n = 0; n < blocks && at_ < input_.facts.size(); ++n) {
        FS_CHECK(write_group(next_group()));
    }
    if (at_ == input_.facts.size()) {
        stage_ = stage::finish;
    }
    return {};
}

std::size_t stretch_maker::window_of(interval_id interval) const {
    const auto &points = input_.about.points;
    return static_cast<std::size_t>(
        std::ranges::lower_bound(points, interval, {}, &packed_point::id) - points.begin());
}

void stretch_maker::lead_to(std::uint64_t key, std::uint8_t depth) {
    std::uint8_t &known = new_depths_[key];
    known = std::max(known, depth);
}

// `depth`: how many may have led to the row.
result<> stretch_maker::write_group(std::span<const packed_fact> group) {
    const packed_fact source_last = group.back();
    const std::vector<packed_fact> kept = thinned(group, bounds_);
    const std::uint64_t key = kept.front().key;
    std::uint8_t depth = input_.merged ? kept.front().depth : depths_.of(key);
    for (std::size_t i = 0; i < kept.size(); ++i) {
        const packed_fact &fact = kept[i];
        packed_row row;
        row.volume = packed_volume(fact.key);
        row.block = packed_block(fact.key);
        row.count = fact.count;
        row.interval = fact.interval;
        row.depth = depth;
        if (fact.zero) {
            FS_CHECK(writer_->add_zero(row, window_of(fact.interval)));
            depth = 0;
            continue;
        }
        const bool last = i + 1 == kept.size();
        std::uint8_t allowed = packed_depth_max; // the row leads on while its depth is below
        if (last && input_.merged) {
            allowed = source_last.led ? static_cast<std::uint8_t>(source_last.depth + 1) : 0;
            allowed = std::min(allowed, packed_depth_max);
        }
        FS_TRY(led, write_content(row, fact, last ? nullptr : &kept[i + 1], allowed));
        depth = led ? static_cast<std::uint8_t>(depth + 1) : 0;
    }
    if (kept.front().count == 1) {
        lead_to(key, depth);
    }
    return {};
}

/// False: lost.
result<bool> stretch_maker::usable(const result<> &read) const {
    const bool lost = !read && (is(read.error(), errc::corrupt) ||
                                (input_.unreadable_is_lost && is_errno(read.error(), EIO)));
    if (!read && !lost) {
        return std::unexpected(read.error());
    }
    return read.has_value();
}

/// Into base_; false: there is none that helps. `after`: the next row of the block.
result<bool> stretch_maker::next_version(const packed_fact &fact, const packed_fact *after) {
    if (after != nullptr) {
        if (after->zero) {
            return false;
        }
        return usable(contents_.read(*after, base_));
    }
    if (fact.interval > input_.about.moment) {
        return false;
    }
    return usable(contents_.read_as_of_moment(fact.key, base_));
}

/// Another block that holds content_ as of the moment, into `row`.
result<bool> stretch_maker::find_copy(const packed_fact &fact, packed_row &row) {
    const std::uint64_t sum = contents_.checksum(fact);
    const auto found = sum == 0 ? as_of_moment_.end() : as_of_moment_.find(sum);
    if (found == as_of_moment_.end() || found->second == fact.key ||
        fact.interval > input_.about.moment) {
        return false;
    }
    FS_TRY(there, usable(contents_.read_as_of_moment(found->second, base_)));
    if (!there || !std::ranges::equal(base_, content_)) {
        return false;
    }
    row.from_volume = packed_volume(found->second);
    row.from_block = packed_block(found->second);
    return true;
}

/// Whether the row leads to the next version of its block.
result<bool> stretch_maker::write_content(packed_row row, const packed_fact &fact,
                                          const packed_fact *after, std::uint8_t allowed) {
    const std::size_t window = window_of(fact.interval);
    auto read = contents_.read(fact, content_);
    if (!read) { // once more: nothing is lost because of one read
        read = contents_.read(fact, content_);
    }
    FS_TRY(there, usable(read));
    if (!there) {
        lost_.push_back(fact);
        FS_CHECK(writer_->add_lost(row, window, contents_.checksum(fact)));
        return false;
    }
    bool delta = false;
    if (row.depth < allowed) {
        FS_TRY(base, next_version(fact, after));
        delta = base && dedupe::find_runs(base_, content_, runs_);
    }
    if ((!delta || bytes_of(runs_) > small_delta) && row.depth < packed_depth_max) {
        packed_row copy = row;
        FS_TRY(found, find_copy(fact, copy));
        if (found) {
            lead_to(packed_key(copy.from_volume, copy.from_block),
                    static_cast<std::uint8_t>(row.depth + 1));
            FS_CHECK(writer_->add_copy(copy, window, content_));
            return false;
        }
    }
    if (delta) {
        FS_CHECK(writer_->add_delta(row, window, content_, runs_));
        return true;
    }
    FS_CHECK(writer_->add_full(row, window, content_));
    return false;
}

} // namespace farshore
